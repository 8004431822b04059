/*
 * UDP sockets and addresses. Inside pskd every address is a sockaddr_in6, IPv4
 * mapped into it (RFC 4291 section 2.5.5.2); only here is it known that a
 * machine without IPv6 needs an IPv4 socket.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define UDP_TEXT_MAX 64

struct udp {
	int fd;
	bool v4_only;
};

/* One of this machine's addresses; all zeros: whichever the kernel chooses. */
struct udp_local {
	struct in6_addr address;
	uint32_t ifindex; /* that it came in by; counts for an address that is one link's */
};

/* Where a datagram came from, and to: what answers it goes back so. */
struct udp_ends {
	struct sockaddr_in6 peer;
	struct udp_local local;
};

/* Bind to at (port 0: any). 0 or a negative errno; *out holds a non-blocking fd that udp_close() closes. */
int udp_open(struct udp *out, const struct sockaddr_in6 *at);
/*
 * Take fd, which may have been opened by udp_open() in an earlier life: 0, or
 * -EINVAL when it is not what udp_open(at) would give; then it is left alone.
 */
int udp_adopt(struct udp *out, int fd, const struct sockaddr_in6 *at);
void udp_close(struct udp *u);
/* The port that it is bound to. */
uint16_t udp_port(const struct udp *u);

/* Who may cut up datagrams that are too big for their way. */
enum udp_df {
	UDP_DF_KERNEL, /* nobody: sending what the kernel knows to be too big gives EMSGSIZE */
	UDP_DF_SET,    /* nobody, and what the kernel thinks of the path does not count */
	UDP_DF_OWN,    /* this machine, what it knows to be too big: of single datagrams, the rest has DF set */
	UDP_DF_CLEAR,  /* IPv4: anyone; IPv6: this machine, to the least size of a path */
};
void udp_set_df(const struct udp *u, enum udp_df df);
/* The traffic class (DSCP and ECN) of what is sent from now on. */
void udp_set_class(const struct udp *u, uint8_t traffic_class);
/* What a datagram came with, as recvmsg() told it; 0 when it did not. */
uint8_t udp_get_class(struct msghdr *m);
#define UDP_CLASS_SPACE CMSG_SPACE(sizeof(int))
/* What it was sent to, into *out: all zeros when recvmsg() did not tell. */
void udp_get_local(struct udp_local *out, struct msghdr *m);
/* The most that recvmsg() tells of one message: its class, how it was put together, what it was sent to, IPv4's way and IPv6's. */
#define UDP_RECEIVED_SPACE \
	(2 * UDP_CLASS_SPACE + CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct in_pktinfo)) + UDP_WAY_SPACE_MAX)
/* Another class for the one that is sent to there, into c, which has room for UDP_CLASS_SPACE. */
void udp_put_class(struct cmsghdr *c, const struct sockaddr_in6 *to, uint8_t traffic_class);
/* How much room the next takes; 0: nothing has to be said. */
#define UDP_WAY_SPACE_MAX CMSG_SPACE(sizeof(struct in6_pktinfo))
size_t udp_way_space(const struct sockaddr_in6 *to, uint32_t way, const struct udp_local *local);
/* Sending to there by this device (0: any) and from this address, when it is of use for that, into c. */
void udp_put_way(struct cmsghdr *c, const struct sockaddr_in6 *to, uint32_t way, const struct udp_local *local);
/* Why the kernel would not send from an address: it may be gone, or of no use there. */
bool udp_is_refusal(int error);
bool udp_is_local(const struct udp_local *l);
/* The payload of a datagram that fits the route to there by this device (0: any), as far as the kernel knows; 0: not known. */
uint16_t udp_route_payload(const struct udp *u, const struct sockaddr_in6 *to, uint32_t way);

/* Between our form and the socket's. */
socklen_t udp_to_socket(const struct udp *u, struct sockaddr_storage *out, const struct sockaddr_in6 *a);
void udp_from_socket(struct sockaddr_in6 *out, const struct sockaddr_storage *a);

/* One datagram. 0 or a negative errno. */
int udp_send(const struct udp *u, const void *data, size_t len, const struct sockaddr_in6 *to);
/*
 * The same by this device: 0: as the kernel chooses; WAY_NONE of way.h: not at all, which is -ENETUNREACH. From this
 * address; where the kernel will not, it is all zeros afterwards, and the datagram has gone without. With a traffic
 * class of its own, or -1: the socket's.
 */
int udp_send_by(const struct udp *u, const void *data, size_t len, const struct sockaddr_in6 *to, uint32_t way,
		struct udp_local *local, int traffic_class);

bool udp_same(const struct sockaddr_in6 *a, const struct sockaddr_in6 *b);
/* "192.0.2.1:7200", "[2001:db8::1]:7200", "[fe80::1%eth0]:7200". */
void udp_format(char out[static UDP_TEXT_MAX], const struct sockaddr_in6 *a);
/*
 * "7200", "192.0.2.1:7200", "[::]:7200", "[fe80::1%eth0]:7200": numbers only. 0 or -EINVAL.
 */
int udp_parse(struct sockaddr_in6 *out, const char *text);
/*
 * Split "host:port", "[v6]:port" or, with default_port != 0, a host alone.
 * 0 or -EINVAL.
 */
int udp_split(char *host, size_t cap, uint16_t *port, const char *text, uint16_t default_port);

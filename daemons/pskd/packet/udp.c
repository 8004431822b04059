/* UDP sockets; see udp.h. Nothing here blocks or resolves names. */
#include "pskd/packet/udp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "pskd/network/way.h"

/* As much as the kernel's limit gives: bursts wait here while the loop is elsewhere. */
#define SOCKET_BUFFER (4 * 1024 * 1024)
/* Every path of IPv6 carries this. */
#define IPV6_LEAST 1280

static const uint8_t mapped_prefix[12] = { [10] = 0xff, [11] = 0xff };

static bool is_mapped(const struct sockaddr_in6 *a)
{
	return memcmp(a->sin6_addr.s6_addr, mapped_prefix, 12) == 0;
}

socklen_t udp_to_socket(const struct udp *u, struct sockaddr_storage *out, const struct sockaddr_in6 *a)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = a->sin6_port };

	if (!u->v4_only) {
		memcpy(out, a, sizeof(*a));
		return sizeof(*a);
	}
	/* The wildcard is all zeros in both families. */
	memcpy(&v4.sin_addr, a->sin6_addr.s6_addr + 12, 4);
	memcpy(out, &v4, sizeof(v4));
	return sizeof(v4);
}

void udp_from_socket(struct sockaddr_in6 *out, const struct sockaddr_storage *a)
{
	struct sockaddr_in v4;

	if (a->ss_family == AF_INET6) {
		memcpy(out, a, sizeof(*out));
		out->sin6_flowinfo = 0;
		return;
	}
	memcpy(&v4, a, sizeof(v4));
	*out = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = v4.sin_port };
	memcpy(out->sin6_addr.s6_addr, mapped_prefix, 12);
	memcpy(out->sin6_addr.s6_addr + 12, &v4.sin_addr, 4);
}

void udp_set_df(const struct udp *u, enum udp_df df)
{
	static const struct {
		int v4, v6;
	} modes[] = {
		[UDP_DF_KERNEL] = { IP_PMTUDISC_DO, IPV6_PMTUDISC_DO },
		[UDP_DF_SET] = { IP_PMTUDISC_PROBE, IPV6_PMTUDISC_PROBE },
		[UDP_DF_OWN] = { IP_PMTUDISC_WANT, IPV6_PMTUDISC_WANT },
		[UDP_DF_CLEAR] = { IP_PMTUDISC_DONT, IPV6_PMTUDISC_DONT },
	};
	int v6_size = df == UDP_DF_CLEAR ? IPV6_LEAST : 0;

	/* IPv4 goes through the same socket. */
	setsockopt(u->fd, IPPROTO_IP, IP_MTU_DISCOVER, &modes[df].v4, sizeof(modes[df].v4));
	if (u->v4_only)
		return;
	setsockopt(u->fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &modes[df].v6, sizeof(modes[df].v6));
	setsockopt(u->fd, IPPROTO_IPV6, IPV6_MTU, &v6_size, sizeof(v6_size));
}

/* A socket of IPv6 speaks IPv4, too: both are told. */
static void set_both(const struct udp *u, int v4_option, int v6_option, int value)
{
	setsockopt(u->fd, IPPROTO_IP, v4_option, &value, sizeof(value));
	if (!u->v4_only)
		setsockopt(u->fd, IPPROTO_IPV6, v6_option, &value, sizeof(value));
}

void udp_set_class(const struct udp *u, uint8_t traffic_class)
{
	set_both(u, IP_TOS, IPV6_TCLASS, traffic_class);
}

uint8_t udp_get_class(struct msghdr *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		int value;

		/* IPv4 tells it in a byte, IPv6 in an int. */
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS && c->cmsg_len >= CMSG_LEN(1))
			return *CMSG_DATA(c);
		if (c->cmsg_level != IPPROTO_IPV6 || c->cmsg_type != IPV6_TCLASS || c->cmsg_len < CMSG_LEN(sizeof(value)))
			continue;
		memcpy(&value, CMSG_DATA(c), sizeof(value));
		return (uint8_t)value;
	}
	return 0;
}

void udp_put_class(struct cmsghdr *c, const struct sockaddr_in6 *to, uint8_t traffic_class)
{
	bool v4 = is_mapped(to);
	int value = traffic_class;

	c->cmsg_level = v4 ? IPPROTO_IP : IPPROTO_IPV6;
	c->cmsg_type = v4 ? IP_TOS : IPV6_TCLASS;
	c->cmsg_len = CMSG_LEN(sizeof(value));
	memcpy(CMSG_DATA(c), &value, sizeof(value));
}

void udp_get_local(struct udp_local *out, struct msghdr *m)
{
	struct udp_local l = { .ifindex = 0 };
	struct in6_pktinfo v6;
	struct in_pktinfo v4;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		/* Of IPv4, too, through a socket of IPv6: mapped. */
		if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO && c->cmsg_len >= CMSG_LEN(sizeof(v6))) {
			memcpy(&v6, CMSG_DATA(c), sizeof(v6));
			l = (struct udp_local){ .address = v6.ipi6_addr, .ifindex = v6.ipi6_ifindex };
		} else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO && c->cmsg_len >= CMSG_LEN(sizeof(v4))) {
			memcpy(&v4, CMSG_DATA(c), sizeof(v4));
			memcpy(l.address.s6_addr, mapped_prefix, 12);
			memcpy(l.address.s6_addr + 12, &v4.ipi_spec_dst, 4);
			l.ifindex = (uint32_t)v4.ipi_ifindex;
		}
	}
	*out = l;
}

bool udp_is_local(const struct udp_local *l)
{
	return !IN6_IS_ADDR_UNSPECIFIED(&l->address);
}

bool udp_is_refusal(int error)
{
	return error == EINVAL || error == EADDRNOTAVAIL || error == ENETUNREACH || error == ENODEV;
}

/* To the kernel the device is a wish, no more, where an address of IPv6 is given beside it; but the way has to be right. */
static bool is_of_use(const struct udp_local *l, const struct sockaddr_in6 *to, uint32_t way)
{
	bool v4 = is_mapped(to);

	return udp_is_local(l) && !!IN6_IS_ADDR_V4MAPPED(&l->address) == v4 && (v4 || !way);
}

size_t udp_way_space(const struct sockaddr_in6 *to, uint32_t way, const struct udp_local *local)
{
	if (!way && !is_of_use(local, to, way))
		return 0;
	return is_mapped(to) ? CMSG_SPACE(sizeof(struct in_pktinfo)) : CMSG_SPACE(sizeof(struct in6_pktinfo));
}

void udp_put_way(struct cmsghdr *c, const struct sockaddr_in6 *to, uint32_t way, const struct udp_local *local)
{
	struct in_pktinfo v4 = { .ipi_ifindex = (int)way };
	struct in6_pktinfo v6 = { .ipi6_ifindex = way };
	bool is_v4 = is_mapped(to);

	if (is_of_use(local, to, way)) {
		memcpy(&v4.ipi_spec_dst, local->address.s6_addr + 12, 4);
		v6.ipi6_addr = local->address;
		/* Any other may be used by whichever way the route is. */
		if (IN6_IS_ADDR_LINKLOCAL(&local->address))
			v6.ipi6_ifindex = local->ifindex;
	}
	c->cmsg_level = is_v4 ? IPPROTO_IP : IPPROTO_IPV6;
	c->cmsg_type = is_v4 ? IP_PKTINFO : IPV6_PKTINFO;
	c->cmsg_len = CMSG_LEN(is_v4 ? sizeof(v4) : sizeof(v6));
	if (is_v4)
		memcpy(CMSG_DATA(c), &v4, sizeof(v4));
	else
		memcpy(CMSG_DATA(c), &v6, sizeof(v6));
}

/* A socket that only asks for routes. */
static void ask_by(int fd, uint32_t way)
{
	int index = (int)way;

	if (way && way != WAY_NONE)
		setsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &index, sizeof(index));
}

uint16_t udp_route_payload(const struct udp *u, const struct sockaddr_in6 *to, uint32_t way)
{
	bool v4 = u->v4_only || is_mapped(to);
	_cleanup_close_ int fd = socket(v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	const struct udp own = { .fd = fd, .v4_only = v4 };
	struct sockaddr_storage ss;
	socklen_t len = udp_to_socket(&own, &ss, to), size = sizeof(int);
	int mtu, headers = (v4 ? 20 : 40) + 8;

	ask_by(fd, way);
	/* Connecting sends nothing; it looks the route up. */
	if (fd < 0 || connect(fd, (struct sockaddr *)&ss, len) < 0 ||
	    getsockopt(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_MTU : IPV6_MTU, &mtu, &size) < 0 || mtu <= headers)
		return 0;
	return mtu - headers > UINT16_MAX ? UINT16_MAX : (uint16_t)(mtu - headers);
}

/* What is to be told of each datagram. A socket of IPv6 tells what IPv4's were sent to with the one option. */
static void ask_for_more(const struct udp *u)
{
	int on = 1;

	set_both(u, IP_RECVTOS, IPV6_RECVTCLASS, on);
	if (u->v4_only)
		setsockopt(u->fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on));
	else
		setsockopt(u->fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on));
}

int udp_open(struct udp *out, const struct sockaddr_in6 *at)
{
	struct udp u = { .fd = -1 };
	struct sockaddr_storage ss;
	int off = 0, buffer = SOCKET_BUFFER, r;
	socklen_t len;

	u.fd = socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (u.fd < 0 && errno == EAFNOSUPPORT) {
		u.v4_only = true;
		u.fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	}
	if (u.fd < 0)
		return -errno;
	if (!u.v4_only)
		setsockopt(u.fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	ask_for_more(&u);
	setsockopt(u.fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer));
	setsockopt(u.fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
	len = udp_to_socket(&u, &ss, at);
	if (bind(u.fd, (struct sockaddr *)&ss, len) < 0) {
		r = -errno;
		close(u.fd);
		return r;
	}
	*out = u;
	return 0;
}

static bool option_is(int fd, int level, int option, int wanted)
{
	int value = -1;
	socklen_t len = sizeof(value);

	return getsockopt(fd, level, option, &value, &len) == 0 && value == wanted;
}

/* One made in another network namespace would send there. */
static bool is_of_this_network(int fd)
{
	_cleanup_close_ int own = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint64_t theirs, ours;
	socklen_t len = sizeof(theirs), own_len = sizeof(ours);

	if (own < 0)
		own = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return own >= 0 && getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &theirs, &len) == 0 &&
	       getsockopt(own, SOL_SOCKET, SO_NETNS_COOKIE, &ours, &own_len) == 0 && theirs == ours;
}

int udp_adopt(struct udp *out, int fd, const struct sockaddr_in6 *at)
{
	struct udp u = { .fd = fd, .v4_only = option_is(fd, SOL_SOCKET, SO_DOMAIN, AF_INET) };
	struct sockaddr_storage ss = { 0 }, peer;
	socklen_t len = sizeof(ss), peer_len = sizeof(peer);
	struct sockaddr_in6 bound, wanted = *at;

	if (!option_is(fd, SOL_SOCKET, SO_TYPE, SOCK_DGRAM) || !option_is(fd, SOL_SOCKET, SO_PROTOCOL, IPPROTO_UDP))
		return -EINVAL;
	if (!u.v4_only && (!option_is(fd, SOL_SOCKET, SO_DOMAIN, AF_INET6) ||
			   !option_is(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0)))
		return -EINVAL;
	if (!is_of_this_network(fd))
		return -EINVAL;
	if (getpeername(fd, (struct sockaddr *)&peer, &peer_len) == 0 ||
	    getsockname(fd, (struct sockaddr *)&ss, &len) < 0)
		return -EINVAL;
	udp_from_socket(&bound, &ss);
	if (bound.sin6_port == 0)
		return -EINVAL;
	/* Any port will do: then this one, which the peer knows. */
	if (wanted.sin6_port == 0)
		wanted.sin6_port = bound.sin6_port;
	if (u.v4_only && IN6_IS_ADDR_UNSPECIFIED(&wanted.sin6_addr))
		memcpy(wanted.sin6_addr.s6_addr, mapped_prefix, 12);
	if (!udp_same(&bound, &wanted))
		return -EINVAL;
	/* One that an earlier version made was not told so. */
	ask_for_more(&u);
	*out = u;
	return 0;
}

void udp_close(struct udp *u)
{
	if (u->fd >= 0)
		close(u->fd);
	u->fd = -1;
}

uint16_t udp_port(const struct udp *u)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t len = sizeof(ss);
	struct sockaddr_in6 a;

	if (getsockname(u->fd, (struct sockaddr *)&ss, &len) < 0)
		return 0;
	udp_from_socket(&a, &ss);
	return ntohs(a.sin6_port);
}

int udp_send(const struct udp *u, const void *data, size_t len, const struct sockaddr_in6 *to)
{
	struct sockaddr_storage ss;
	socklen_t ss_len = udp_to_socket(u, &ss, to);

	if (u->v4_only && !is_mapped(to))
		return -EAFNOSUPPORT;
	if (sendto(u->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&ss, ss_len) < 0)
		return -errno;
	return 0;
}

static int send_from(const struct udp *u, const void *data, size_t len, const struct sockaddr_in6 *to, uint32_t way,
		     const struct udp_local *local, int traffic_class)
{
	union {
		struct cmsghdr align;
		uint8_t room[UDP_CLASS_SPACE + UDP_WAY_SPACE_MAX];
	} control = { .room = { 0 } };
	struct sockaddr_storage ss;
	struct iovec iov = { (void *)(uintptr_t)data, len };
	size_t way_space = udp_way_space(to, way, local);
	struct msghdr m = { .msg_name = &ss, .msg_namelen = udp_to_socket(u, &ss, to), .msg_iov = &iov, .msg_iovlen = 1,
			    .msg_control = &control };

	if (traffic_class >= 0) {
		udp_put_class(&control.align, to, (uint8_t)traffic_class);
		m.msg_controllen += UDP_CLASS_SPACE;
	}
	if (way_space) {
		udp_put_way((struct cmsghdr *)(void *)(control.room + m.msg_controllen), to, way, local);
		m.msg_controllen += way_space;
	}
	return sendmsg(u->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int udp_send_by(const struct udp *u, const void *data, size_t len, const struct sockaddr_in6 *to, uint32_t way,
		struct udp_local *local, int traffic_class)
{
	int r;

	if (u->v4_only && !is_mapped(to))
		return -EAFNOSUPPORT;
	if (way == WAY_NONE)
		return -ENETUNREACH;
	r = send_from(u, data, len, to, way, local, traffic_class);
	if (!udp_is_refusal(-r) || !udp_is_local(local))
		return r;
	*local = (struct udp_local){ .ifindex = 0 };
	return send_from(u, data, len, to, way, local, traffic_class);
}

bool udp_same(const struct sockaddr_in6 *a, const struct sockaddr_in6 *b)
{
	return a->sin6_port == b->sin6_port && a->sin6_scope_id == b->sin6_scope_id &&
	       memcmp(&a->sin6_addr, &b->sin6_addr, sizeof(a->sin6_addr)) == 0;
}

/* By its name, which it has again after a reboot; the number may be another's then. One that is gone has but that. */
static void format_scope(char out[static 1 + IF_NAMESIZE], uint32_t scope)
{
	char name[IF_NAMESIZE];

	/* One that could not be read back: the kernel takes nearly anything for a name. */
	if (if_indextoname(scope, name) && !strpbrk(name, "[]%"))
		snprintf(out, 1 + IF_NAMESIZE, "%%%s", name);
	else
		snprintf(out, 1 + IF_NAMESIZE, "%%%u", scope);
}

void udp_format(char out[static UDP_TEXT_MAX], const struct sockaddr_in6 *a)
{
	char host[INET6_ADDRSTRLEN], scope[1 + IF_NAMESIZE] = "";

	if (is_mapped(a)) {
		inet_ntop(AF_INET, a->sin6_addr.s6_addr + 12, host, sizeof(host));
		snprintf(out, UDP_TEXT_MAX, "%s:%u", host, ntohs(a->sin6_port));
		return;
	}
	inet_ntop(AF_INET6, &a->sin6_addr, host, sizeof(host));
	if (a->sin6_scope_id)
		format_scope(scope, a->sin6_scope_id);
	snprintf(out, UDP_TEXT_MAX, "[%.39s%.16s]:%u", host, scope, ntohs(a->sin6_port));
}

int udp_split(char *host, size_t cap, uint16_t *port, const char *text, uint16_t default_port)
{
	const char *end, *colon = NULL;
	uint64_t p = default_port;
	size_t len;

	if (text[0] == '[') {
		end = strchr(++text, ']');
		if (!end || (end[1] != '\0' && end[1] != ':'))
			return -EINVAL;
		colon = end[1] == ':' ? end + 1 : NULL;
	} else {
		colon = strchr(text, ':');
		/* More than one colon without brackets is an IPv6 address alone. */
		if (colon && strchr(colon + 1, ':'))
			colon = NULL;
		end = colon ? colon : text + strlen(text);
	}
	if (colon && text_parse_u64(&p, colon + 1, 1, 65535) != 0)
		return -EINVAL;
	len = (size_t)(end - text);
	if (p == 0 || len == 0 || len >= cap)
		return -EINVAL;
	memcpy(host, text, len);
	host[len] = '\0';
	*port = (uint16_t)p;
	return 0;
}

int udp_parse(struct sockaddr_in6 *out, const char *text)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6 };
	char host[80], *scope;
	uint64_t number;
	uint16_t port;

	if (text_parse_u64(&number, text, 1, 65535) == 0) {
		a.sin6_port = htons((uint16_t)number);
		*out = a;
		return 0;
	}
	if (udp_split(host, sizeof(host), &port, text, 0) != 0)
		return -EINVAL;
	a.sin6_port = htons(port);
	scope = strchr(host, '%');
	if (scope) {
		*scope++ = '\0';
		/* By name, or by number, where udp_format() knew none. */
		a.sin6_scope_id = if_nametoindex(scope);
		if (a.sin6_scope_id == 0 && text_parse_u64(&number, scope, 1, UINT32_MAX) == 0)
			a.sin6_scope_id = (uint32_t)number;
		if (a.sin6_scope_id == 0)
			return -EINVAL;
	}
	if (inet_pton(AF_INET, host, a.sin6_addr.s6_addr + 12) == 1)
		memcpy(a.sin6_addr.s6_addr, mapped_prefix, 12);
	else if (inet_pton(AF_INET6, host, &a.sin6_addr) != 1)
		return -EINVAL;
	*out = a;
	return 0;
}

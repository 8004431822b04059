/*
 * Echo requests over the kernel's ping sockets (net.ipv4.ping_group_range), or
 * raw ones for root. On ping sockets the kernel chooses the identifier and sorts the
 * replies; on raw ones every reply on the interface within the wait counts, which is
 * as good: it is an answer.
 */
#include "ctl/link/link_answer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if_arp.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

struct asker {
	int fd, family;
	bool raw;
};

static int open_asker(struct asker *a, int family, const struct link_state *l)
{
	int protocol = family == AF_INET6 ? (int)IPPROTO_ICMPV6 : (int)IPPROTO_ICMP;

	*a = (struct asker){ .family = family };
	a->fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
	if (a->fd < 0) {
		a->raw = true;
		a->fd = socket(family, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
	}
	if (a->fd < 0)
		return -errno;
	/* IPv4 has no scope: without the right to bind, the route decides. */
	setsockopt(a->fd, SOL_SOCKET, SO_BINDTODEVICE, l->name, (socklen_t)strlen(l->name) + 1);
	return 0;
}

static uint16_t checksum(const uint8_t *p, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	sum = (sum >> 16) + (sum & 0xffff);
	sum += sum >> 16;
	return htons((uint16_t)~sum);
}

static void ask_v6(const struct asker *a, const struct link_state *l, const uint8_t to[static 16])
{
	struct sockaddr_in6 where = { .sin6_family = AF_INET6, .sin6_scope_id = (uint32_t)l->index };
	/* The kernel sums ICMPv6 on raw sockets, too (RFC 3542 section 3.1). */
	struct icmp6_hdr echo = { .icmp6_type = ICMP6_ECHO_REQUEST };

	memcpy(where.sin6_addr.s6_addr, to, 16);
	sendto(a->fd, &echo, sizeof(echo), 0, (struct sockaddr *)&where, sizeof(where));
}

static void ask_v4(const struct asker *a, const uint8_t to[static 4])
{
	struct sockaddr_in where = { .sin_family = AF_INET };
	/* RFC 792: type, code, checksum, identifier, sequence number. */
	uint8_t echo[8] = { ICMP_ECHO };
	uint16_t id = htons((uint16_t)getpid()), sum;

	memcpy(&where.sin_addr, to, 4);
	memcpy(echo + 4, &id, sizeof(id));
	sum = checksum(echo, sizeof(echo));
	memcpy(echo + 2, &sum, sizeof(sum));
	sendto(a->fd, echo, sizeof(echo), 0, (struct sockaddr *)&where, sizeof(where));
}

static bool is_own(const struct link_state *l, int family, const void *address)
{
	for (size_t i = 0; i < l->n_addresses; i++)
		if (l->addresses[i].family == family &&
		    memcmp(l->addresses[i].address, address, family == AF_INET6 ? 16 : 4) == 0)
			return true;
	return false;
}

static void note(struct link_answers *out, const char *text)
{
	for (size_t i = 0; i < out->n; i++)
		if (strcmp(out->text[i], text) == 0)
			return;
	if (out->n < LINK_ANSWERS_MAX)
		snprintf(out->text[out->n++], LINK_ANSWER_TEXT, "%s", text);
}

/* Raw IPv4 sockets show the IP header; others begin at ICMP's type. */
static bool is_reply(const struct asker *a, const uint8_t *p, size_t len)
{
	size_t head = a->raw && a->family == AF_INET && len > 0 ? 4 * (size_t)(p[0] & 0x0f) : 0;

	return len > head &&
	       p[head] == (a->family == AF_INET6 ? ICMP6_ECHO_REPLY : ICMP_ECHOREPLY);
}

static void hear(struct link_answers *out, const struct asker *a, const struct link_state *l)
{
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} from = { 0 };
	socklen_t from_len = sizeof(from);
	char text[INET6_ADDRSTRLEN], full[LINK_ANSWER_TEXT];
	uint8_t packet[256];
	const void *address;
	ssize_t n;

	n = recvfrom(a->fd, packet, sizeof(packet), 0, &from.any, &from_len);
	if (n <= 0 || !is_reply(a, packet, (size_t)n) || from.any.sa_family != a->family)
		return;
	address = a->family == AF_INET6 ? (const void *)&from.v6.sin6_addr : &from.v4.sin_addr;
	if (is_own(l, a->family, address) ||
	    (a->family == AF_INET6 && from.v6.sin6_scope_id &&
	     from.v6.sin6_scope_id != (uint32_t)l->index))
		return;
	inet_ntop(a->family, address, text, sizeof(text));
	snprintf(full, sizeof(full), "%s%s%s", text,
		 a->family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&from.v6.sin6_addr) ? "%" : "",
		 a->family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&from.v6.sin6_addr) ? l->name : "");
	note(out, full);
}

static void collect(struct link_answers *out, const struct asker *askers, size_t n,
		    const struct link_state *l)
{
	uint64_t begin = clock_now_ms(), now = begin;
	struct pollfd p[2];

	for (size_t i = 0; i < n; i++)
		p[i] = (struct pollfd){ .fd = askers[i].fd, .events = POLLIN };
	while (now - begin < LINK_ANSWER_MS && poll(p, n, (int)(LINK_ANSWER_MS - (now - begin))) > 0) {
		for (size_t i = 0; i < n; i++)
			if (p[i].revents)
				hear(out, &askers[i], l);
		now = clock_now_ms();
	}
}

int link_ask(struct link_answers *out, const struct link_state *l, const struct link_cidr *peers,
	     size_t n)
{
	static const uint8_t all_nodes[16] = { 0xff, 0x02, [15] = 1 };
	struct asker askers[2];
	struct link_answers heard = { .n = 0 };
	size_t open = 0;
	int r = 0;

	for (size_t i = 0; i < 2; i++) {
		int family = i == 0 ? AF_INET6 : AF_INET, e = open_asker(&askers[open], family, l);

		if (e)
			r = e;
		else
			open++;
	}
	if (open == 0)
		return r;
	for (size_t i = 0; i < open; i++) {
		if (askers[i].family == AF_INET6)
			ask_v6(&askers[i], l, all_nodes);
		for (size_t k = 0; k < n; k++) {
			if (peers[k].family != askers[i].family)
				continue;
			if (peers[k].family == AF_INET6)
				ask_v6(&askers[i], l, peers[k].address);
			else
				ask_v4(&askers[i], peers[k].address);
		}
	}
	collect(&heard, askers, open, l);
	for (size_t i = 0; i < open; i++)
		close(askers[i].fd);
	*out = heard;
	return 0;
}

/* ---- ARP ---- */

enum { PROBES = 3, PROBE_MS = 250 };

/* RFC 826 over Ethernet. */
struct arp {
	uint16_t hardware, protocol;
	uint8_t hardware_len, protocol_len;
	uint16_t operation;
	uint8_t sender_mac[6], sender[4], target_mac[6], target[4];
};
_Static_assert(sizeof(struct arp) == 28, "no gaps");

/* Whoever says that it is the sender of that address has it: in an answer, or a request. */
static bool hear_arp(int fd, const struct link_cidr *address, const uint8_t own[static 6])
{
	struct arp a;

	while (recv(fd, &a, sizeof(a), 0) >= (ssize_t)sizeof(a))
		if (a.protocol == htons(ETH_P_IP) && memcmp(a.sender, address->address, 4) == 0 &&
		    memcmp(a.sender_mac, own, 6) != 0)
			return true;
	return false;
}

bool link_is_taken(const struct link_state *l, const struct link_cidr *address)
{
	struct sockaddr_ll everybody = { .sll_family = AF_PACKET,
					 .sll_protocol = htons(ETH_P_ARP),
					 .sll_ifindex = l->index,
					 .sll_halen = 6,
					 .sll_addr = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } };
	struct arp probe = { .hardware = htons(ARPHRD_ETHER),
			     .protocol = htons(ETH_P_IP),
			     .hardware_len = 6,
			     .protocol_len = 4,
			     .operation = htons(ARPOP_REQUEST) };
	_cleanup_close_ int fd = -1;
	bool taken = false;

	if (address->family != AF_INET || !l->up || !l->carrier ||
	    sscanf(l->mac, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx", &probe.sender_mac[0],
		   &probe.sender_mac[1], &probe.sender_mac[2], &probe.sender_mac[3],
		   &probe.sender_mac[4], &probe.sender_mac[5]) != 6)
		return false;
	fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&everybody, sizeof(everybody)) < 0)
		return false;
	memcpy(probe.target, address->address, 4);
	for (int i = 0; i < PROBES && !taken; i++) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		uint64_t since = clock_now_ms(), now = since;

		sendto(fd, &probe, sizeof(probe), 0, (struct sockaddr *)&everybody, sizeof(everybody));
		while (!taken && now - since < PROBE_MS &&
		       poll(&p, 1, (int)(PROBE_MS - (now - since))) > 0) {
			taken = hear_arp(fd, address, probe.sender_mac);
			now = clock_now_ms();
		}
	}
	return taken;
}

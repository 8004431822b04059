/*
 * rtnetlink(7) tells of links and addresses. Of routes only of the widest, in any table, which lead out of the
 * machine; when one goes that tund has set, or the kernel with an address; or when one of the main table takes the
 * place of another, which the kernel sorts out: a router has many, and nothing is to wake us while nothing changes
 * for us. Of a route whose place is taken nothing else is told, and of those of IPv4 that go with their device or
 * its address nothing at all.
 */
#include "pskd/network/netwatch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stddef.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "event/loop.h"
#include "proto/tund_msg.h"
#include "pskd/network/rtnl.h"

/* The kernel's own macros step from record to record by char *; it aligns them. */
#pragma GCC diagnostic ignored "-Wcast-align"

/* Routes follow their address, and one change comes as several. */
#define SETTLE_MS 200
/* A network that never rests is heard so often. */
#define NETWORK_MS 1000
/* A default route, its halves, or what some set in its place: fewer than all addresses, but still the world. */
#define WIDEST_MAX 4
#define MESSAGES_A_TURN 64
/* Beyond so many devices at once all are looked at. */
#define DEVICES_MAX 256

struct netwatch {
	int fd;
	struct loop_io *io;
	struct loop_timer *settle;
	bool settling, network, all_devices;
	uint64_t told_ms; /* when on_network() was last called; 0: never */
	unsigned int devices[DEVICES_MAX];
	size_t n_devices;
	const struct netwatch_ops *ops;
	void *arg;
};

/* Ours are all named so (tund_msg.h); each would have every tunnel look again. */
static bool is_tunnels_name(const char *name)
{
	return strncmp(name, "hf", 2) == 0;
}

/* One that is gone has no name any more; its link tells of it by name. */
static bool is_of_tunnel(unsigned int index)
{
	char name[IF_NAMESIZE];

	return !if_indextoname(index, name) || is_tunnels_name(name);
}

static bool is_link_of_tunnel(const struct nlmsghdr *h)
{
	const struct ifinfomsg *link = NLMSG_DATA(h);
	size_t left = IFLA_PAYLOAD(h);

	for (const struct rtattr *a = IFLA_RTA(link); RTA_OK(a, left); a = rtnl_next(a, &left))
		if (a->rta_type == IFLA_IFNAME && RTA_PAYLOAD(a) > 2)
			return is_tunnels_name(RTA_DATA(a));
	return is_of_tunnel((unsigned int)link->ifi_index);
}

static bool is_running(const struct ifinfomsg *link)
{
	return (link->ifi_flags & (IFF_UP | IFF_RUNNING)) == (IFF_UP | IFF_RUNNING);
}

static void note_device(struct netwatch *w, unsigned int index)
{
	for (size_t i = 0; i < w->n_devices; i++)
		if (w->devices[i] == index)
			return;
	if (index && w->n_devices < DEVICES_MAX)
		w->devices[w->n_devices++] = index;
	else
		w->all_devices = true;
}

/* A route's device stands in an attribute. */
static unsigned int device_of_route(const struct nlmsghdr *h)
{
	const struct rtmsg *m = NLMSG_DATA(h);
	size_t left = RTM_PAYLOAD(h);
	unsigned int index = 0;

	for (const struct rtattr *a = RTM_RTA(m); RTA_OK(a, left); a = rtnl_next(a, &left))
		if (a->rta_type == RTA_OIF && RTA_PAYLOAD(a) == sizeof(index))
			memcpy(&index, RTA_DATA(a), sizeof(index));
	return index;
}

/* So does where it leads; without it, everywhere. */
static bool network_of_route(struct prefix *out, const struct nlmsghdr *h)
{
	const struct rtmsg *m = NLMSG_DATA(h);
	size_t left = RTM_PAYLOAD(h), len = m->rtm_family == AF_INET ? 4 : 16;
	uint8_t address[16] = { 0 };

	if ((m->rtm_family != AF_INET && m->rtm_family != AF_INET6) || m->rtm_dst_len > 8 * len)
		return false;
	for (const struct rtattr *a = RTM_RTA(m); RTA_OK(a, left); a = rtnl_next(a, &left))
		if (a->rta_type == RTA_DST && RTA_PAYLOAD(a) == len)
			memcpy(address, RTA_DATA(a), len);
	*out = prefix_make(m->rtm_family == AF_INET ? 4 : 6, address, m->rtm_dst_len);
	return true;
}

/* One that is in a tunnel's place now. */
static void take_replacement(struct netwatch *w, const struct nlmsghdr *h)
{
	unsigned int device;
	struct prefix to;

	if (!network_of_route(&to, h))
		return;
	device = w->ops->route_device(&to, w->arg);
	if (device)
		note_device(w, device);
}

/* Devices that are gone have no name any more: whether one was a tunnel's, its tunnel knows. */
static void take_link(struct netwatch *w, const struct nlmsghdr *h)
{
	const struct ifinfomsg *link = NLMSG_DATA(h);

	if (!is_link_of_tunnel(h))
		w->network = true;
	else if (h->nlmsg_type == RTM_DELLINK || !is_running(link))
		note_device(w, (unsigned int)link->ifi_index);
}

static void take_address(struct netwatch *w, const struct nlmsghdr *h)
{
	const struct ifaddrmsg *address = NLMSG_DATA(h);

	if (!is_of_tunnel(address->ifa_index))
		w->network = true;
	else if (h->nlmsg_type == RTM_DELADDR)
		note_device(w, address->ifa_index);
}

/* Some have no device, and some several. */
static bool is_way_out(const struct nlmsghdr *h)
{
	const struct rtmsg *m = NLMSG_DATA(h);
	unsigned int device = device_of_route(h);

	return m->rtm_dst_len <= WIDEST_MAX && m->rtm_protocol != TUND_ROUTE_PROTOCOL && !(device && is_of_tunnel(device));
}

static void take_route(struct netwatch *w, const struct nlmsghdr *h)
{
	const struct rtmsg *m = NLMSG_DATA(h);

	w->network = w->network || is_way_out(h);
	if (h->nlmsg_type == RTM_NEWROUTE && (h->nlmsg_flags & NLM_F_REPLACE) && m->rtm_table == RT_TABLE_MAIN)
		take_replacement(w, h);
	else if (h->nlmsg_type == RTM_DELROUTE && (m->rtm_protocol == TUND_ROUTE_PROTOCOL || m->rtm_protocol == RTPROT_KERNEL))
		note_device(w, device_of_route(h));
}

static void take(struct netwatch *w, const struct nlmsghdr *h)
{
	switch (h->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		if (h->nlmsg_len >= NLMSG_LENGTH(sizeof(struct ifinfomsg)))
			take_link(w, h);
		return;
	case RTM_NEWADDR:
	case RTM_DELADDR:
		if (h->nlmsg_len >= NLMSG_LENGTH(sizeof(struct ifaddrmsg)))
			take_address(w, h);
		return;
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		if (h->nlmsg_len >= NLMSG_LENGTH(sizeof(struct rtmsg)))
			take_route(w, h);
		return;
	default:
		return;
	}
}

static void on_readable(int fd, unsigned int events, void *arg)
{
	struct netwatch *w = arg;
	_Alignas(struct nlmsghdr) uint8_t buf[8192];

	(void)events;
	for (int i = 0; i < MESSAGES_A_TURN; i++) {
		const struct nlmsghdr *h = (const void *)buf;
		ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		/* More than the queue holds: something of it mattered. */
		if (n < 0 && errno == ENOBUFS)
			w->network = w->all_devices = true;
		if (n <= 0)
			break;
		/* NLMSG_NEXT() would cast away the alignment. */
		for (size_t left = (size_t)n; NLMSG_OK(h, left);) {
			size_t len = NLMSG_ALIGN(h->nlmsg_len);

			take(w, h);
			if (len >= left)
				break;
			left -= len;
			h = (const void *)((const uint8_t *)h + len);
		}
	}
	if ((w->network || w->all_devices || w->n_devices > 0) && !w->settling && loop_timer_start(w->settle, SETTLE_MS) == 0)
		w->settling = true;
}

/* Of devices that changed meanwhile is heard sooner: they start the timer anew. */
static void tell_network(struct netwatch *w)
{
	uint64_t now = clock_now_ms(), since_ms = clock_since_ms(w->told_ms, now);

	if (w->told_ms && since_ms < NETWORK_MS && loop_timer_start(w->settle, NETWORK_MS - since_ms) == 0)
		return;
	w->network = false;
	w->told_ms = now;
	w->ops->on_network(w->arg);
}

static void on_settled(void *arg)
{
	struct netwatch *w = arg;

	struct netwatch was = *w;

	w->settling = w->all_devices = false;
	w->n_devices = 0;
	if (was.all_devices)
		w->ops->on_device(0, w->arg);
	for (size_t i = 0; i < was.n_devices && !was.all_devices; i++)
		w->ops->on_device(was.devices[i], w->arg);
	if (was.network)
		tell_network(w);
}

/* The groups of routes to hear; none where the kernel would wake us for all of them. */
static uint32_t filter_routes(int fd)
{
	enum { TYPE_AT = offsetof(struct nlmsghdr, nlmsg_type),
	       FLAGS_AT = offsetof(struct nlmsghdr, nlmsg_flags),
	       WIDTH_AT = NLMSG_HDRLEN + offsetof(struct rtmsg, rtm_dst_len),
	       TABLE_AT = NLMSG_HDRLEN + offsetof(struct rtmsg, rtm_table),
	       PROTOCOL_AT = NLMSG_HDRLEN + offsetof(struct rtmsg, rtm_protocol) };
	/* Loads are big-endian, the header is as the machine has it. */
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, TYPE_AT),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(RTM_NEWROUTE), 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(RTM_DELROUTE), 0, 12),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, WIDTH_AT),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, WIDEST_MAX, 0, 10),
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, TYPE_AT),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(RTM_NEWROUTE), 3, 0),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, PROTOCOL_AT),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TUND_ROUTE_PROTOCOL, 6, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, RTPROT_KERNEL, 5, 4),
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, FLAGS_AT),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, htons(NLM_F_REPLACE), 0, 2),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, TABLE_AT),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, RT_TABLE_MAIN, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
	};
	const struct sock_fprog program = { .len = ARRAY_SIZE(code), .filter = code };

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0 ?
		       0 :
		       RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
}

int netwatch_new(struct netwatch **out, struct loop *l, const struct netwatch_ops *ops, void *arg)
{
	_cleanup_(netwatch_freep) struct netwatch *w = calloc(1, sizeof(*w));
	struct sockaddr_nl at = { .nl_family = AF_NETLINK,
				  .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR };
	int r;

	if (!w)
		return -ENOMEM;
	w->ops = ops;
	w->arg = arg;
	w->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (w->fd >= 0)
		at.nl_groups |= filter_routes(w->fd);
	if (w->fd < 0 || bind(w->fd, (struct sockaddr *)&at, sizeof(at)) < 0)
		return -errno;
	r = loop_timer_new(&w->settle, l, on_settled, w);
	if (!r)
		r = loop_io_new(&w->io, l, w->fd, LOOP_READ, on_readable, w);
	if (r)
		return r;
	*out = steal(&w);
	return 0;
}

struct netwatch *netwatch_free(struct netwatch *w)
{
	if (!w)
		return NULL;
	loop_io_free(w->io);
	loop_timer_free(w->settle);
	if (w->fd >= 0)
		close(w->fd);
	free(w);
	return NULL;
}

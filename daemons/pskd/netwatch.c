/*
 * rtnetlink(7) tells of links and addresses. Not of routes: a router has many,
 * and here one follows its address. Nothing wakes us while nothing changes.
 */
#include "pskd/netwatch.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "event/loop.h"

/* The kernel's own macros step from record to record by char *; it aligns them. */
#pragma GCC diagnostic ignored "-Wcast-align"

/* Routes follow their address, and one change comes as several. */
#define SETTLE_MS 200
#define MESSAGES_A_TURN 64

struct netwatch {
	int fd;
	struct loop_io *io;
	struct loop_timer *settle;
	bool settling;
	void (*fn)(void *arg);
	void *arg;
};

/* Ours are all named so (tund_msg.h); each would have every tunnel look again. */
static bool is_of_tunnel(unsigned int index)
{
	char name[IF_NAMESIZE];

	return !if_indextoname(index, name) || strncmp(name, "hf", 2) == 0;
}

static bool matters(const struct nlmsghdr *h)
{
	const struct ifinfomsg *link = NLMSG_DATA(h);
	const struct ifaddrmsg *address = NLMSG_DATA(h);

	if (h->nlmsg_type == RTM_NEWLINK && h->nlmsg_len >= NLMSG_LENGTH(sizeof(*link)))
		return (link->ifi_flags & (IFF_UP | IFF_RUNNING)) == (IFF_UP | IFF_RUNNING) &&
		       !is_of_tunnel((unsigned int)link->ifi_index);
	if (h->nlmsg_type == RTM_NEWADDR && h->nlmsg_len >= NLMSG_LENGTH(sizeof(*address)))
		return !is_of_tunnel(address->ifa_index);
	return false;
}

static void on_readable(int fd, unsigned int events, void *arg)
{
	struct netwatch *w = arg;
	_Alignas(struct nlmsghdr) uint8_t buf[8192];
	bool changed = false;

	(void)events;
	for (int i = 0; i < MESSAGES_A_TURN; i++) {
		const struct nlmsghdr *h = (const void *)buf;
		ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		/* More than the queue holds: something of it mattered. */
		if (n < 0 && errno == ENOBUFS)
			changed = true;
		if (n <= 0)
			break;
		/* NLMSG_NEXT() would cast away the alignment. */
		for (size_t left = (size_t)n; NLMSG_OK(h, left);) {
			size_t len = NLMSG_ALIGN(h->nlmsg_len);

			changed = changed || matters(h);
			if (len >= left)
				break;
			left -= len;
			h = (const void *)((const uint8_t *)h + len);
		}
	}
	if (changed && !w->settling && loop_timer_start(w->settle, SETTLE_MS) == 0)
		w->settling = true;
}

static void on_settled(void *arg)
{
	struct netwatch *w = arg;

	w->settling = false;
	w->fn(w->arg);
}

int netwatch_new(struct netwatch **out, struct loop *l, void (*fn)(void *arg), void *arg)
{
	_cleanup_(netwatch_freep) struct netwatch *w = calloc(1, sizeof(*w));
	struct sockaddr_nl at = { .nl_family = AF_NETLINK,
				  .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR };
	int r;

	if (!w)
		return -ENOMEM;
	w->fn = fn;
	w->arg = arg;
	w->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);
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

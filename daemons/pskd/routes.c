/*
 * A dump that the kernel filters by device (Linux 4.20): a router may have a
 * million others. An older kernel tells of all, and they are passed over here.
 * A wanted route is as good when somebody else has set it to the device, and
 * tund would not set it again; of those that nobody wants, others' may stay.
 */
#include "pskd/routes.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/cleanup.h"

/* The kernel's own macros step from record to record by char *; it aligns them. */
#pragma GCC diagnostic ignored "-Wcast-align"

#define REPLY_MAX 32768
#define PATIENCE_S 5

struct look {
	int ifindex;
	const struct networks *wanted;
	bool found[NETWORKS_MAX];
	size_t others;
};

static bool take_attributes(const struct nlmsghdr *h, struct prefix *to, int *ifindex)
{
	const struct rtmsg *m = NLMSG_DATA(h);
	size_t len = m->rtm_family == AF_INET ? 4 : 16, left = RTM_PAYLOAD(h);
	uint8_t address[16] = { 0 };

	*ifindex = 0;
	for (const struct rtattr *a = RTM_RTA(m); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		if (a->rta_type == RTA_DST && RTA_PAYLOAD(a) == len)
			memcpy(address, RTA_DATA(a), len);
		else if (a->rta_type == RTA_OIF && RTA_PAYLOAD(a) == sizeof(*ifindex))
			memcpy(ifindex, RTA_DATA(a), sizeof(*ifindex));
	}
	if (m->rtm_dst_len > 8 * len)
		return false;
	*to = prefix_make(m->rtm_family == AF_INET ? 4 : 6, address, m->rtm_dst_len);
	return true;
}

static void look_at(const struct nlmsghdr *h, struct look *l)
{
	const struct rtmsg *m = NLMSG_DATA(h);
	struct prefix to;
	int ifindex;

	if (h->nlmsg_type != RTM_NEWROUTE || h->nlmsg_len < NLMSG_LENGTH(sizeof(*m)) ||
	    (m->rtm_family != AF_INET && m->rtm_family != AF_INET6) || m->rtm_table != RT_TABLE_MAIN ||
	    m->rtm_type != RTN_UNICAST || !take_attributes(h, &to, &ifindex) || ifindex != l->ifindex)
		return;
	for (size_t i = 0; i < l->wanted->n; i++)
		if (prefix_equal(&l->wanted->v[i], &to)) {
			l->found[i] = true;
			return;
		}
	l->others += m->rtm_protocol == TUND_ROUTE_PROTOCOL;
}

static int ask(int fd, int family, int ifindex)
{
	struct {
		struct nlmsghdr h;
		struct rtmsg m;
		struct rtattr oif;
		int index;
	} q = {
		.h = { .nlmsg_len = sizeof(q), .nlmsg_type = RTM_GETROUTE, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.m = { .rtm_family = (unsigned char)family, .rtm_table = RT_TABLE_MAIN },
		.oif = { .rta_len = RTA_LENGTH(sizeof(int)), .rta_type = RTA_OIF },
		.index = ifindex,
	};

	return send(fd, &q, sizeof(q), 0) < 0 ? -errno : 0;
}

/* 0 when all was read. */
static int dump(int fd, int family, struct look *l)
{
	_cleanup_free_ uint8_t *buf = malloc(REPLY_MAX);
	int r = buf ? ask(fd, family, l->ifindex) : -ENOMEM;

	while (!r) {
		const struct nlmsghdr *h = (const void *)buf;
		ssize_t n = recv(fd, buf, REPLY_MAX, 0);

		if (n < 0)
			return -errno;
		for (size_t left = (size_t)n; NLMSG_OK(h, left);) {
			size_t len = NLMSG_ALIGN(h->nlmsg_len);

			if (h->nlmsg_type == NLMSG_DONE)
				return 0;
			if (h->nlmsg_type == NLMSG_ERROR)
				return -EPROTO;
			look_at(h, l);
			if (len >= left)
				break;
			left -= len;
			h = (const void *)((const uint8_t *)h + len);
		}
	}
	return r;
}

static bool is_all_found(const struct look *l)
{
	for (size_t i = 0; i < l->wanted->n; i++)
		if (!l->found[i])
			return false;
	return true;
}

bool routes_are(const char *ifname, const struct networks *wanted)
{
	_cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	struct look l = { .ifindex = (int)if_nametoindex(ifname), .wanted = wanted };
	const struct timeval patience = { .tv_sec = PATIENCE_S };
	const int on = 1;

	if (fd < 0 || l.ifindex == 0)
		return false;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof(on));
	/* A machine without one of the two has no such routes. */
	if (dump(fd, AF_INET, &l) != 0 && networks_have_family(wanted, 4))
		return false;
	if (dump(fd, AF_INET6, &l) != 0 && networks_have_family(wanted, 6))
		return false;
	return l.others == 0 && is_all_found(&l);
}

/*
 * A dump that the kernel filters by device: a router may have a million others.
 * A wanted route is as good when somebody else has set it to the device, and
 * tund would not set it again; of those that nobody wants, others' may stay.
 */
#include "pskd/network/routes.h"

#include <net/if.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "proto/tund_msg.h"
#include "pskd/network/rtnl.h"

/* The kernel's own macros step from record to record by char *; it aligns them. */
#pragma GCC diagnostic ignored "-Wcast-align"

struct look {
	int ifindex;
	size_t n;
	struct prefix wanted[NETWORKS_MAX + TUND_CONNECTED_MAX];
	bool found[NETWORKS_MAX + TUND_CONNECTED_MAX];
	size_t others;
};

static bool take_attributes(const struct nlmsghdr *h, struct prefix *to, int *ifindex)
{
	const struct rtmsg *m = NLMSG_DATA(h);
	size_t len = m->rtm_family == AF_INET ? 4 : 16, left = RTM_PAYLOAD(h);
	uint8_t address[16] = { 0 };

	*ifindex = 0;
	for (const struct rtattr *a = RTM_RTA(m); RTA_OK(a, left); a = rtnl_next(a, &left)) {
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

static void look_at(const struct nlmsghdr *h, void *arg)
{
	const struct rtmsg *m = NLMSG_DATA(h);
	struct look *l = arg;
	struct prefix to;
	int ifindex;

	if (h->nlmsg_type != RTM_NEWROUTE || h->nlmsg_len < NLMSG_LENGTH(sizeof(*m)) ||
	    (m->rtm_family != AF_INET && m->rtm_family != AF_INET6) || m->rtm_table != RT_TABLE_MAIN ||
	    m->rtm_type != RTN_UNICAST || !take_attributes(h, &to, &ifindex) || ifindex != l->ifindex)
		return;
	for (size_t i = 0; i < l->n; i++)
		if (prefix_equal(&l->wanted[i], &to)) {
			l->found[i] = true;
			return;
		}
	l->others += m->rtm_protocol == TUND_ROUTE_PROTOCOL;
}

static int ask(int fd, int family, struct look *l)
{
	const struct {
		struct nlmsghdr h;
		struct rtmsg m;
		struct rtattr oif;
		int index;
	} q = {
		.h = { .nlmsg_len = sizeof(q), .nlmsg_type = RTM_GETROUTE, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.m = { .rtm_family = (unsigned char)family, .rtm_table = RT_TABLE_MAIN },
		.oif = { .rta_len = RTA_LENGTH(sizeof(int)), .rta_type = RTA_OIF },
		.index = l->ifindex,
	};

	return rtnl_dump(fd, &q.h, look_at, l);
}

static bool is_all_found(const struct look *l)
{
	for (size_t i = 0; i < l->n; i++)
		if (!l->found[i])
			return false;
	return true;
}

static bool wants_family(const struct look *l, uint8_t family)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->wanted[i].family == family)
			return true;
	return false;
}

static void want(struct look *l, const struct tunnel_addresses *a)
{
	struct tund_request q = { 0 };

	address_ask(&q, a);
	l->n = tund_connected(l->wanted, &q);
	for (size_t i = 0; i < a->routes.n; i++)
		l->wanted[l->n++] = a->routes.v[i];
}

bool routes_are(const char *ifname, const struct tunnel_addresses *a)
{
	_cleanup_close_ int fd = rtnl_open();
	struct look l = { .ifindex = (int)if_nametoindex(ifname) };

	if (fd < 0 || l.ifindex == 0)
		return false;
	want(&l, a);
	/* A machine without one of the two has no such routes. */
	if (ask(fd, AF_INET, &l) != 0 && wants_family(&l, 4))
		return false;
	if (ask(fd, AF_INET6, &l) != 0 && wants_family(&l, 6))
		return false;
	return l.others == 0 && is_all_found(&l);
}

/*
 * The kernel is asked for the route itself (RTM_F_FIB_MATCH, Linux 4.13): where that leads into the tunnel, again
 * for each other device. Of those that have one the most particular wins, then the cheapest, as among routes.
 */
#include "pskd/network/way.h"

#include <errno.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "pskd/network/rtnl.h"

/* The kernel's own macros step from record to record by char *; it aligns them. */
#pragma GCC diagnostic ignored "-Wcast-align"

struct question {
	struct nlmsghdr h;
	struct rtmsg m;
	uint8_t room[64];
};

struct route {
	unsigned int ifindex, len;
	uint32_t metric;
	struct in6_addr gateway, source;
};

static void put(struct question *q, unsigned short type, const void *data, size_t len)
{
	struct rtattr *a = (struct rtattr *)(void *)((uint8_t *)q + NLMSG_ALIGN(q->h.nlmsg_len));

	a->rta_type = type;
	a->rta_len = (unsigned short)RTA_LENGTH(len);
	memcpy(RTA_DATA(a), data, len);
	q->h.nlmsg_len = (uint32_t)(NLMSG_ALIGN(q->h.nlmsg_len) + RTA_ALIGN(a->rta_len));
}

static void take_address(struct in6_addr *out, const void *data, size_t len)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	if (len == 16)
		memcpy(out->s6_addr, data, len);
	if (len != 4)
		return;
	memcpy(out->s6_addr, mapped, sizeof(mapped));
	memcpy(out->s6_addr + 12, data, len);
}

static void read_route(struct route *out, const struct nlmsghdr *h)
{
	const struct rtmsg *m = NLMSG_DATA(h);
	size_t left = RTM_PAYLOAD(h);

	*out = (struct route){ .len = m->rtm_dst_len };
	for (const struct rtattr *a = RTM_RTA(m); RTA_OK(a, left); a = rtnl_next(a, &left)) {
		if (a->rta_type == RTA_OIF && RTA_PAYLOAD(a) == sizeof(out->ifindex))
			memcpy(&out->ifindex, RTA_DATA(a), sizeof(out->ifindex));
		else if (a->rta_type == RTA_PRIORITY && RTA_PAYLOAD(a) == sizeof(out->metric))
			memcpy(&out->metric, RTA_DATA(a), sizeof(out->metric));
		else if (a->rta_type == RTA_GATEWAY)
			take_address(&out->gateway, RTA_DATA(a), RTA_PAYLOAD(a));
		else if (a->rta_type == RTA_VIA && RTA_PAYLOAD(a) > sizeof(struct rtvia))
			take_address(&out->gateway, (const uint8_t *)RTA_DATA(a) + sizeof(struct rtvia),
				     RTA_PAYLOAD(a) - sizeof(struct rtvia));
		else if (a->rta_type == RTA_PREFSRC)
			take_address(&out->source, RTA_DATA(a), RTA_PAYLOAD(a));
	}
}

/*
 * The route to there, by this device (0: any): as it was set (RTM_F_FIB_MATCH), or what comes of it. 0, or a negative
 * errno when there is none.
 */
static int ask(int fd, struct route *out, const struct sockaddr_in6 *to, unsigned int by, unsigned int flags)
{
	const uint8_t *address = to->sin6_addr.s6_addr;
	bool v4 = IN6_IS_ADDR_V4MAPPED(&to->sin6_addr);
	struct question q = {
		.h = { .nlmsg_len = NLMSG_LENGTH(sizeof(q.m)), .nlmsg_type = RTM_GETROUTE, .nlmsg_flags = NLM_F_REQUEST },
		.m = { .rtm_family = v4 ? AF_INET : AF_INET6, .rtm_dst_len = v4 ? 32 : 128, .rtm_flags = flags },
	};
	_Alignas(struct nlmsghdr) uint8_t buf[4096];
	const struct nlmsghdr *h = (const void *)buf;
	ssize_t n;

	put(&q, RTA_DST, v4 ? address + 12 : address, v4 ? 4 : 16);
	if (by)
		put(&q, RTA_OIF, &by, sizeof(by));
	if (send(fd, &q, q.h.nlmsg_len, 0) < 0)
		return -errno;
	n = recv(fd, buf, sizeof(buf), 0);
	if (n < 0)
		return -errno;
	if (!NLMSG_OK(h, (size_t)n) || h->nlmsg_type != RTM_NEWROUTE || h->nlmsg_len < NLMSG_LENGTH(sizeof(q.m)) ||
	    ((const struct rtmsg *)NLMSG_DATA(h))->rtm_type != RTN_UNICAST)
		return -ENETUNREACH;
	read_route(out, h);
	return 0;
}

/* Other tunnels' devices are no way out of this one. */
static bool is_way_out(const struct if_nameindex *d, unsigned int ifindex)
{
	return d->if_index != ifindex && strncmp(d->if_name, "hf", 2) != 0;
}

uint32_t way_find(const struct sockaddr_in6 *to, unsigned int ifindex)
{
	_cleanup_close_ int fd = rtnl_open();
	struct route first, best = { .ifindex = 0 }, r;
	struct if_nameindex *all;

	if (fd < 0 || ifindex == 0 || to->sin6_scope_id || ask(fd, &first, to, 0, RTM_F_FIB_MATCH) != 0 || first.ifindex != ifindex)
		return 0;
	all = if_nameindex();
	for (const struct if_nameindex *d = all; d && d->if_index; d++) {
		if (!is_way_out(d, ifindex) || ask(fd, &r, to, d->if_index, RTM_F_FIB_MATCH) != 0 || r.ifindex != d->if_index)
			continue;
		if (!best.ifindex || r.len > best.len || (r.len == best.len && r.metric < best.metric))
			best = r;
	}
	if_freenameindex(all);
	return best.ifindex ? best.ifindex : WAY_NONE;
}

int way_look(struct way_out *out, const struct sockaddr_in6 *to, uint32_t by)
{
	_cleanup_close_ int fd = rtnl_open();
	struct route found;
	int r;

	if (fd < 0)
		return fd;
	r = by == WAY_NONE ? -ENETUNREACH : ask(fd, &found, to, to->sin6_scope_id ? to->sin6_scope_id : by, 0);
	if (r)
		return r;
	*out = (struct way_out){ .ifindex = found.ifindex, .gateway = found.gateway, .source = found.source };
	return 0;
}

bool way_same(const struct way_out *a, const struct way_out *b)
{
	return a->ifindex == b->ifindex && memcmp(&a->gateway, &b->gateway, sizeof(a->gateway)) == 0 &&
	       memcmp(&a->source, &b->source, sizeof(a->source)) == 0;
}

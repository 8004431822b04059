/* rtnetlink (rtnetlink(7)): requests with an acknowledgement, and dumps. */
#include "tund/netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "proto/tund_msg.h"

/* The kernel's own macros step from record to record by char *; it aligns them. */
#pragma GCC diagnostic ignored "-Wcast-align"

#define REPLY_MAX 65536

struct request {
	struct nlmsghdr h;
	union {
		struct ifinfomsg link;
		struct ifaddrmsg address;
		struct rtmsg route;
	};
	uint8_t attributes[256];
};

int netlink_open(void)
{
	struct timeval patience = { .tv_sec = 5 };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return fd;
}

static void begin(struct request *q, uint16_t type, uint16_t flags, size_t body)
{
	memset(q, 0, sizeof(*q));
	q->h.nlmsg_type = type;
	q->h.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	q->h.nlmsg_len = (uint32_t)NLMSG_LENGTH(body);
}

/* Append an attribute; callers' sums are far below the room. Returns where it begins, for nesting. */
static struct rtattr *put(struct request *q, unsigned short type, const void *data, size_t len)
{
	struct rtattr *a = (struct rtattr *)(void *)((uint8_t *)q + NLMSG_ALIGN(q->h.nlmsg_len));

	a->rta_type = type;
	a->rta_len = (unsigned short)RTA_LENGTH(len);
	if (len > 0)
		memcpy(RTA_DATA(a), data, len);
	q->h.nlmsg_len = (uint32_t)(NLMSG_ALIGN(q->h.nlmsg_len) + RTA_ALIGN(a->rta_len));
	return a;
}

static void end_nest(struct request *q, struct rtattr *a)
{
	a->rta_len = (unsigned short)((uint8_t *)q + q->h.nlmsg_len - (uint8_t *)a);
}

/* Send and wait for the acknowledgement. */
static int transact(int nl, struct request *q)
{
	struct {
		struct nlmsghdr h;
		struct nlmsgerr e;
		uint8_t more[1024];
	} reply;
	ssize_t n;

	q->h.nlmsg_flags |= NLM_F_ACK;
	if (send(nl, q, q->h.nlmsg_len, 0) < 0)
		return -errno;
	n = recv(nl, &reply, sizeof(reply), 0);
	if (n < 0)
		return -errno;
	if ((size_t)n < sizeof(reply.h) + sizeof(reply.e) || reply.h.nlmsg_type != NLMSG_ERROR)
		return -EPROTO;
	return reply.e.error;
}

int netlink_quiet(int nl, int ifindex)
{
	const uint8_t none = IN6_ADDR_GEN_MODE_NONE;
	struct rtattr *spec, *inet6;
	struct request q;

	begin(&q, RTM_NEWLINK, 0, sizeof(q.link));
	q.link.ifi_index = ifindex;
	spec = put(&q, IFLA_AF_SPEC | NLA_F_NESTED, NULL, 0);
	inet6 = put(&q, AF_INET6 | NLA_F_NESTED, NULL, 0);
	put(&q, IFLA_INET6_ADDR_GEN_MODE, &none, sizeof(none));
	end_nest(&q, inet6);
	end_nest(&q, spec);
	return transact(nl, &q);
}

int netlink_set_up(int nl, int ifindex, uint16_t mtu)
{
	const uint32_t value = mtu;
	struct request q;

	begin(&q, RTM_NEWLINK, 0, sizeof(q.link));
	q.link.ifi_index = ifindex;
	q.link.ifi_flags = IFF_UP;
	q.link.ifi_change = IFF_UP;
	put(&q, IFLA_MTU, &value, sizeof(value));
	return transact(nl, &q);
}

int netlink_set_queue(int nl, int ifindex, uint32_t packets)
{
	struct request q;

	begin(&q, RTM_NEWLINK, 0, sizeof(q.link));
	q.link.ifi_index = ifindex;
	put(&q, IFLA_TXQLEN, &packets, sizeof(packets));
	return transact(nl, &q);
}

int netlink_add_address(int nl, int ifindex, int family, const uint8_t *local, const uint8_t *peer,
			uint8_t prefix)
{
	/* A point-to-point link has nobody to detect duplicates with. */
	const uint32_t flags = IFA_F_NODAD;
	size_t len = family == AF_INET ? 4 : 16;
	struct request q;

	begin(&q, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, sizeof(q.address));
	q.address.ifa_family = (uint8_t)family;
	q.address.ifa_prefixlen = prefix;
	q.address.ifa_index = (uint32_t)ifindex;
	put(&q, IFA_LOCAL, local, len);
	put(&q, IFA_ADDRESS, peer ? peer : local, len);
	if (family == AF_INET6)
		put(&q, IFA_FLAGS, &flags, sizeof(flags));
	return transact(nl, &q);
}

static int route(int nl, uint16_t type, uint16_t flags, int ifindex, const struct prefix *to)
{
	const uint32_t device = (uint32_t)ifindex;
	struct request q;

	begin(&q, type, flags, sizeof(q.route));
	q.route.rtm_family = to->family == 4 ? AF_INET : AF_INET6;
	q.route.rtm_dst_len = to->len;
	q.route.rtm_table = RT_TABLE_MAIN;
	q.route.rtm_protocol = TUND_ROUTE_PROTOCOL;
	q.route.rtm_scope = to->family == 4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
	q.route.rtm_type = RTN_UNICAST;
	put(&q, RTA_DST, to->a, to->family == 4 ? 4 : 16);
	put(&q, RTA_OIF, &device, sizeof(device));
	return transact(nl, &q);
}

int netlink_add_connected(int nl, int ifindex, const struct prefix *to, const uint8_t *local)
{
	/* As the kernel has them. */
	const uint32_t device = (uint32_t)ifindex, metric = 256;
	size_t len = to->family == 4 ? 4 : 16;
	struct request q;

	begin(&q, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, sizeof(q.route));
	q.route.rtm_family = to->family == 4 ? AF_INET : AF_INET6;
	q.route.rtm_dst_len = to->len;
	q.route.rtm_table = RT_TABLE_MAIN;
	q.route.rtm_protocol = RTPROT_KERNEL;
	q.route.rtm_scope = to->family == 4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
	q.route.rtm_type = RTN_UNICAST;
	put(&q, RTA_DST, to->a, len);
	put(&q, RTA_OIF, &device, sizeof(device));
	if (to->family == 4)
		put(&q, RTA_PREFSRC, local, len);
	else
		put(&q, RTA_PRIORITY, &metric, sizeof(metric));
	return transact(nl, &q);
}

int netlink_add_route(int nl, int ifindex, const struct prefix *to)
{
	return route(nl, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, ifindex, to);
}

/* ---- what is there ---- */

typedef void (*look_fn)(const struct nlmsghdr *h, void *arg);

/* The attribute of this type with at least len bytes, or NULL. */
static const uint8_t *find(const struct nlmsghdr *h, size_t body, unsigned short type, size_t len)
{
	const struct rtattr *a = (const struct rtattr *)(const void *)((const uint8_t *)NLMSG_DATA(h) + NLMSG_ALIGN(body));
	ssize_t left = (ssize_t)h->nlmsg_len - (ssize_t)NLMSG_LENGTH(NLMSG_ALIGN(body));

	for (; left > 0 && RTA_OK(a, (size_t)left); a = RTA_NEXT(a, left))
		if (a->rta_type == type && RTA_PAYLOAD(a) >= len)
			return RTA_DATA(a);
	return NULL;
}

/* As NLMSG_NEXT() does, which takes more than there is when the last message's length is not aligned. */
static struct nlmsghdr *next(struct nlmsghdr *h, size_t *left)
{
	size_t step = NLMSG_ALIGN(h->nlmsg_len);

	*left -= step < *left ? step : *left;
	return (struct nlmsghdr *)(void *)((uint8_t *)h + step);
}

/* Messages that are too short for their kind are passed over. */
static int dump(int nl, uint16_t type, int family, look_fn look, void *arg)
{
	size_t body = type == RTM_GETADDR ? sizeof(struct ifaddrmsg) : sizeof(struct rtmsg);
	_cleanup_free_ uint8_t *buf = malloc(REPLY_MAX);
	struct request q;

	if (!buf)
		return -ENOMEM;
	begin(&q, type, NLM_F_DUMP, body);
	/* ifa_family and rtm_family are both the first byte. */
	q.address.ifa_family = (uint8_t)family;
	if (send(nl, &q, q.h.nlmsg_len, 0) < 0)
		return -errno;
	for (;;) {
		ssize_t n = recv(nl, buf, REPLY_MAX, 0);
		struct nlmsghdr *h = (struct nlmsghdr *)(void *)buf;

		if (n < 0)
			return -errno;
		for (size_t left = (size_t)n; NLMSG_OK(h, left); h = next(h, &left)) {
			if (h->nlmsg_type == NLMSG_DONE)
				return 0;
			if (h->nlmsg_type == NLMSG_ERROR)
				return -EPROTO;
			if (h->nlmsg_len >= NLMSG_LENGTH(body))
				look(h, arg);
		}
	}
}

static size_t address_len(int family)
{
	return family == AF_INET ? 4 : 16;
}

/* The network that an address message tells of; behind a point-to-point address it is the peer's. */
static bool network_of_address(struct prefix *out, const struct nlmsghdr *h)
{
	const struct ifaddrmsg *m = NLMSG_DATA(h);
	const uint8_t *a = find(h, sizeof(*m), IFA_ADDRESS, address_len(m->ifa_family));

	if (!a)
		a = find(h, sizeof(*m), IFA_LOCAL, address_len(m->ifa_family));
	if (!a || m->ifa_prefixlen > 8 * address_len(m->ifa_family))
		return false;
	*out = prefix_make(m->ifa_family == AF_INET ? 4 : 6, a, m->ifa_prefixlen);
	return true;
}

/* Of the main table: what the others hold is not for everybody. */
static bool network_of_route(struct prefix *out, uint32_t *ifindex, const struct nlmsghdr *h)
{
	const struct rtmsg *m = NLMSG_DATA(h);
	static const uint8_t none[16];
	const uint8_t *to = find(h, sizeof(*m), RTA_DST, address_len(m->rtm_family));
	const uint8_t *device = find(h, sizeof(*m), RTA_OIF, sizeof(*ifindex));

	if (m->rtm_table != RT_TABLE_MAIN || m->rtm_dst_len > 8 * address_len(m->rtm_family) ||
	    (!to && m->rtm_dst_len > 0))
		return false;
	*ifindex = 0;
	if (device)
		memcpy(ifindex, device, sizeof(*ifindex));
	*out = prefix_make(m->rtm_family == AF_INET ? 4 : 6, to ? to : none, m->rtm_dst_len);
	return true;
}

/* ---- conflicts ---- */

struct search {
	int ifindex, family;
	const uint8_t *address;
	uint8_t prefix;
	const struct prefix *to; /* of netlink_find_taken() */
	char *what;
	size_t cap;
	bool found;
};

static bool same_network(const uint8_t *a, const uint8_t *b, unsigned int prefix)
{
	unsigned int whole = prefix / 8, rest = prefix % 8;

	if (memcmp(a, b, whole) != 0)
		return false;
	return rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

static void report(struct search *s, const char *kind, const uint8_t *address, unsigned int prefix,
		   unsigned int ifindex)
{
	char text[INET6_ADDRSTRLEN], name[IF_NAMESIZE] = "?";

	inet_ntop(s->family, address, text, sizeof(text));
	if_indextoname(ifindex, name);
	snprintf(s->what, s->cap, "%s %s/%u on %s", kind, text, prefix, name);
	s->found = true;
}

static void look_at_address(const struct nlmsghdr *h, void *arg)
{
	const struct ifaddrmsg *m = NLMSG_DATA(h);
	struct search *s = arg;
	const uint8_t *a;
	unsigned int shorter;

	if (s->found || m->ifa_family != s->family || (int)m->ifa_index == s->ifindex)
		return;
	a = find(h, sizeof(*m), IFA_LOCAL, address_len(s->family));
	if (!a)
		a = find(h, sizeof(*m), IFA_ADDRESS, address_len(s->family));
	if (!a)
		return;
	shorter = m->ifa_prefixlen < s->prefix ? m->ifa_prefixlen : s->prefix;
	if (same_network(a, s->address, shorter))
		report(s, "address", a, m->ifa_prefixlen, m->ifa_index);
}

static void look_at_route(const struct nlmsghdr *h, void *arg)
{
	const struct rtmsg *m = NLMSG_DATA(h);
	const uint8_t *to, *device;
	struct search *s = arg;
	uint32_t ifindex = 0;

	/* A wider route loses against ours, as routes do; the same or a narrower one would take packets from us. */
	if (s->found || m->rtm_family != s->family || m->rtm_table != RT_TABLE_MAIN || m->rtm_dst_len < s->prefix)
		return;
	to = find(h, sizeof(*m), RTA_DST, address_len(s->family));
	device = find(h, sizeof(*m), RTA_OIF, 4);
	if (device)
		memcpy(&ifindex, device, sizeof(ifindex));
	if (!to || (int)ifindex == s->ifindex || !same_network(to, s->address, s->prefix))
		return;
	report(s, "route", to, m->rtm_dst_len, ifindex);
}

static void look_for_taken_address(const struct nlmsghdr *h, void *arg)
{
	const struct ifaddrmsg *m = NLMSG_DATA(h);
	struct search *s = arg;
	struct prefix net;

	if (s->found || m->ifa_family != s->family || (int)m->ifa_index == s->ifindex ||
	    !network_of_address(&net, h) || !prefix_contains(&net, s->to))
		return;
	report(s, "network", net.a, net.len, m->ifa_index);
}

/* A default route without gateway, as telephone lines have, is no network of neighbours. */
static bool is_neighbourhood(const struct nlmsghdr *h, const struct prefix *net)
{
	const struct rtmsg *m = NLMSG_DATA(h);

	return net->len >= (net->family == 4 ? 8 : 16) && !find(h, sizeof(*m), RTA_GATEWAY, 1) &&
	       !find(h, sizeof(*m), RTA_VIA, 1) && !find(h, sizeof(*m), RTA_MULTIPATH, 1) &&
	       !find(h, sizeof(*m), RTA_NH_ID, 1) && m->rtm_type == RTN_UNICAST;
}

static void look_for_taken_route(const struct nlmsghdr *h, void *arg)
{
	const struct rtmsg *m = NLMSG_DATA(h);
	struct search *s = arg;
	struct prefix net;
	uint32_t ifindex;

	if (s->found || m->rtm_family != s->family || !network_of_route(&net, &ifindex, h) ||
	    (int)ifindex == s->ifindex)
		return;
	if (prefix_equal(&net, s->to) || (is_neighbourhood(h, &net) && prefix_contains(&net, s->to)))
		report(s, "route", net.a, net.len, ifindex);
}

bool netlink_is_tun(int nl, int ifindex)
{
	_cleanup_free_ uint8_t *buf = malloc(REPLY_MAX);
	const struct rtattr *kind;
	const uint8_t *info;
	struct nlmsghdr *h = (struct nlmsghdr *)(void *)buf;
	struct request q;
	ssize_t n;

	if (!buf)
		return false;
	begin(&q, RTM_GETLINK, 0, sizeof(q.link));
	q.link.ifi_index = ifindex;
	n = send(nl, &q, q.h.nlmsg_len, 0) < 0 ? -1 : recv(nl, buf, REPLY_MAX, 0);
	if (n < 0 || !NLMSG_OK(h, (size_t)n) || h->nlmsg_type != RTM_NEWLINK)
		return false;
	/* Its first member is the kind. */
	info = find(h, sizeof(q.link), IFLA_LINKINFO, RTA_LENGTH(4));
	kind = (const struct rtattr *)(const void *)info;
	return kind && kind->rta_type == IFLA_INFO_KIND && kind->rta_len == RTA_LENGTH(4) &&
	       memcmp(RTA_DATA(kind), "tun", 4) == 0;
}

int netlink_find_conflict(int nl, int ifindex, int family, const uint8_t *address, uint8_t prefix,
			  char *what, size_t cap)
{
	struct search s = { .ifindex = ifindex, .family = family, .address = address,
			    .prefix = prefix, .what = what, .cap = cap };
	int r;

	r = dump(nl, RTM_GETADDR, family, look_at_address, &s);
	if (!r && !s.found)
		r = dump(nl, RTM_GETROUTE, family, look_at_route, &s);
	return r ? r : s.found;
}

int netlink_find_taken(int nl, int ifindex, const struct prefix *to, char *what, size_t cap)
{
	struct search s = { .ifindex = ifindex, .family = to->family == 4 ? AF_INET : AF_INET6, .to = to,
			    .what = what, .cap = cap };
	int r;

	r = dump(nl, RTM_GETADDR, s.family, look_for_taken_address, &s);
	if (!r && !s.found)
		r = dump(nl, RTM_GETROUTE, s.family, look_for_taken_route, &s);
	return r ? r : s.found;
}

/* ---- routes that go ---- */

struct old_routes {
	int ifindex;
	const struct prefix *keep;
	size_t n_keep, n;
	struct prefix v[TUND_ROUTES_MAX];
};

static void look_for_old(const struct nlmsghdr *h, void *arg)
{
	const struct rtmsg *m = NLMSG_DATA(h);
	struct old_routes *old = arg;
	struct prefix net;
	uint32_t ifindex;

	if (m->rtm_protocol != TUND_ROUTE_PROTOCOL || (m->rtm_family != AF_INET && m->rtm_family != AF_INET6) ||
	    !network_of_route(&net, &ifindex, h) || (int)ifindex != old->ifindex || old->n == TUND_ROUTES_MAX)
		return;
	for (size_t i = 0; i < old->n_keep; i++)
		if (prefix_equal(&old->keep[i], &net))
			return;
	old->v[old->n++] = net;
}

int netlink_drop_routes(int nl, int ifindex, const struct prefix *keep, size_t n)
{
	struct old_routes old = { .ifindex = ifindex, .keep = keep, .n_keep = n };
	int r;

	r = dump(nl, RTM_GETROUTE, AF_INET, look_for_old, &old);
	if (!r)
		r = dump(nl, RTM_GETROUTE, AF_INET6, look_for_old, &old);
	for (size_t i = 0; i < old.n && !r; i++)
		r = route(nl, RTM_DELROUTE, 0, ifindex, &old.v[i]);
	return r;
}

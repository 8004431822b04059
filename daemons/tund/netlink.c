/* rtnetlink (rtnetlink(7)): requests with an acknowledgement, and two dumps. */
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

/* ---- conflicts ---- */

struct search {
	int ifindex, family;
	const uint8_t *address;
	uint8_t prefix;
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

static void report(struct search *s, const char *kind, const uint8_t *address, unsigned int prefix,
		   unsigned int ifindex)
{
	char text[INET6_ADDRSTRLEN], name[IF_NAMESIZE] = "?";

	inet_ntop(s->family, address, text, sizeof(text));
	if_indextoname(ifindex, name);
	snprintf(s->what, s->cap, "%s %s/%u on %s", kind, text, prefix, name);
	s->found = true;
}

static void look_at_address(struct search *s, const struct nlmsghdr *h)
{
	const struct ifaddrmsg *m = NLMSG_DATA(h);
	const uint8_t *a;
	unsigned int shorter;

	if (m->ifa_family != s->family || (int)m->ifa_index == s->ifindex)
		return;
	a = find(h, sizeof(*m), IFA_LOCAL, s->family == AF_INET ? 4 : 16);
	if (!a)
		a = find(h, sizeof(*m), IFA_ADDRESS, s->family == AF_INET ? 4 : 16);
	if (!a)
		return;
	shorter = m->ifa_prefixlen < s->prefix ? m->ifa_prefixlen : s->prefix;
	if (same_network(a, s->address, shorter))
		report(s, "address", a, m->ifa_prefixlen, m->ifa_index);
}

static void look_at_route(struct search *s, const struct nlmsghdr *h)
{
	const struct rtmsg *m = NLMSG_DATA(h);
	const uint8_t *to, *device;
	uint32_t ifindex = 0;

	/* A wider route loses against ours, as routes do; the same or a narrower one would take packets from us. */
	if (m->rtm_family != s->family || m->rtm_table != RT_TABLE_MAIN || m->rtm_dst_len < s->prefix)
		return;
	to = find(h, sizeof(*m), RTA_DST, s->family == AF_INET ? 4 : 16);
	device = find(h, sizeof(*m), RTA_OIF, 4);
	if (device)
		memcpy(&ifindex, device, sizeof(ifindex));
	if (!to || (int)ifindex == s->ifindex || !same_network(to, s->address, s->prefix))
		return;
	report(s, "route", to, m->rtm_dst_len, ifindex);
}

/* As NLMSG_NEXT() does, which takes more than there is when the last message's length is not aligned. */
static struct nlmsghdr *next(struct nlmsghdr *h, size_t *left)
{
	size_t step = NLMSG_ALIGN(h->nlmsg_len);

	*left -= step < *left ? step : *left;
	return (struct nlmsghdr *)(void *)((uint8_t *)h + step);
}

static int dump(int nl, uint16_t type, struct search *s)
{
	_cleanup_free_ uint8_t *buf = malloc(REPLY_MAX);
	struct request q;

	if (!buf)
		return -ENOMEM;
	begin(&q, type, NLM_F_DUMP, type == RTM_GETADDR ? sizeof(q.address) : sizeof(q.route));
	/* ifa_family and rtm_family are both the first byte. */
	q.address.ifa_family = (uint8_t)s->family;
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
			if (s->found)
				continue;
			if (type == RTM_GETADDR)
				look_at_address(s, h);
			else
				look_at_route(s, h);
		}
	}
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

	r = dump(nl, RTM_GETADDR, &s);
	if (!r && !s.found)
		r = dump(nl, RTM_GETROUTE, &s);
	return r ? r : s.found;
}

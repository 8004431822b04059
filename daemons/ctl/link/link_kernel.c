/*
 * rtnetlink dumps and ethtool's questions. A dump is read whole before it is
 * looked at; the kernel is trusted, yet no length in it is.
 */
#include "ctl/link/link_kernel.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/if_arp.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/cleanup.h"

enum { REPLY_MAX = 65536, LINKS_MAX = 1024, PATIENCE_S = 5 };

/* ---- addresses as text ---- */

static size_t address_len(int family)
{
	return family == AF_INET6 ? 16 : 4;
}

static bool same_bits(const uint8_t *a, const uint8_t *b, unsigned int bits)
{
	unsigned int whole = bits / 8, rest = bits % 8;

	if (memcmp(a, b, whole) != 0)
		return false;
	return rest == 0 || (a[whole] ^ b[whole]) >> (8 - rest) == 0;
}

static bool is_one_machine(const struct link_cidr *a)
{
	struct in6_addr v6;
	uint32_t v4, host;

	if (a->family == AF_INET6) {
		memcpy(&v6, a->address, sizeof(v6));
		return !IN6_IS_ADDR_UNSPECIFIED(&v6) && !IN6_IS_ADDR_LOOPBACK(&v6) &&
		       !IN6_IS_ADDR_MULTICAST(&v6) && !IN6_IS_ADDR_V4MAPPED(&v6) &&
		       !IN6_IS_ADDR_LINKLOCAL(&v6);
	}
	memcpy(&v4, a->address, sizeof(v4));
	v4 = ntohl(v4);
	if (v4 >> 24 == 0 || v4 >> 24 == 127 || v4 >> 28 >= 0xe)
		return false;
	if (a->prefix >= 31)
		return true;
	/* The first and the last address of a network are the network's and everybody's. */
	host = 0xffffffffU >> a->prefix;
	return (v4 & host) != 0 && (v4 & host) != host;
}

int link_cidr_parse(struct link_cidr *out, const char *text)
{
	struct link_cidr a = { 0 };
	char copy[LINK_CIDR_TEXT], *slash, *end;
	unsigned long prefix;

	if (strlen(text) >= sizeof(copy))
		return -EINVAL;
	strcpy(copy, text);
	slash = strchr(copy, '/');
	if (!slash || slash[1] < '0' || slash[1] > '9')
		return -EINVAL;
	*slash = '\0';
	a.family = strchr(copy, ':') ? AF_INET6 : AF_INET;
	if (inet_pton(a.family, copy, a.address) != 1)
		return -EINVAL;
	prefix = strtoul(slash + 1, &end, 10);
	if (*end || prefix < 1 || prefix > 8 * address_len(a.family))
		return -EINVAL;
	a.prefix = (uint8_t)prefix;
	if (!is_one_machine(&a))
		return -EINVAL;
	*out = a;
	return 0;
}

void link_cidr_format(char out[static LINK_CIDR_TEXT], const struct link_cidr *a, bool with_prefix)
{
	char text[INET6_ADDRSTRLEN] = "";

	inet_ntop(a->family, a->address, text, sizeof(text));
	if (with_prefix)
		snprintf(out, LINK_CIDR_TEXT, "%s/%u", text, a->prefix);
	else
		snprintf(out, LINK_CIDR_TEXT, "%s", text);
}

bool link_cidr_holds(const struct link_cidr *network, const struct link_cidr *address)
{
	return network->family == address->family &&
	       same_bits(network->address, address->address, network->prefix);
}

bool link_cidr_same_address(const struct link_cidr *a, const struct link_cidr *b)
{
	return a->family == b->family &&
	       memcmp(a->address, b->address, address_len(a->family)) == 0;
}

/* ---- rtnetlink ---- */

/* As NLMSG_NEXT() and RTA_NEXT() do; the kernel aligns what it writes to four bytes. */
static const struct nlmsghdr *next_message(const struct nlmsghdr *h, size_t *left)
{
	size_t step = NLMSG_ALIGN(h->nlmsg_len);

	*left -= step < *left ? step : *left;
	return (const struct nlmsghdr *)(const void *)((const uint8_t *)h + step);
}

static const struct rtattr *next_attribute(const struct rtattr *a, size_t *left)
{
	size_t step = RTA_ALIGN(a->rta_len);

	*left -= step < *left ? step : *left;
	return (const struct rtattr *)(const void *)((const uint8_t *)a + step);
}

typedef void (*message_fn)(const struct nlmsghdr *h, void *arg);

static int dump(uint16_t type, message_fn fn, void *arg)
{
	_cleanup_close_ int nl = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	_cleanup_free_ uint8_t *buf = malloc(REPLY_MAX);
	struct timeval patience = { .tv_sec = PATIENCE_S };
	struct {
		struct nlmsghdr h;
		struct rtmsg body; /* the largest of the three; all begin with the family */
		uint8_t more[4];
	} q = { .h = { .nlmsg_type = type,
		       .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
		       .nlmsg_len = sizeof(q) } };

	if (!buf)
		return -ENOMEM;
	if (nl < 0)
		return -errno;
	setsockopt(nl, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (send(nl, &q, q.h.nlmsg_len, 0) < 0)
		return -errno;
	for (;;) {
		ssize_t n = recv(nl, buf, REPLY_MAX, 0);
		const struct nlmsghdr *h = (const struct nlmsghdr *)(const void *)buf;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		for (size_t left = (size_t)n; NLMSG_OK(h, left); h = next_message(h, &left)) {
			if (h->nlmsg_type == NLMSG_DONE)
				return 0;
			if (h->nlmsg_type == NLMSG_ERROR)
				return -EPROTO;
			fn(h, arg);
		}
	}
}

/* The attribute's value of at least len bytes, or NULL. */
static const void *find(const struct nlmsghdr *h, size_t body, unsigned short type, size_t len,
			size_t *have)
{
	const struct rtattr *a;
	size_t left;

	if (h->nlmsg_len < NLMSG_LENGTH(body))
		return NULL;
	left = h->nlmsg_len - NLMSG_LENGTH(body);
	a = (const struct rtattr *)(const void *)((const uint8_t *)NLMSG_DATA(h) + NLMSG_ALIGN(body));
	for (; RTA_OK(a, left); a = next_attribute(a, &left)) {
		if ((a->rta_type & NLA_TYPE_MASK) != type || RTA_PAYLOAD(a) < len)
			continue;
		if (have)
			*have = RTA_PAYLOAD(a);
		return RTA_DATA(a);
	}
	return NULL;
}

static uint32_t find_u32(const struct nlmsghdr *h, size_t body, unsigned short type)
{
	const void *p = find(h, body, type, sizeof(uint32_t), NULL);
	uint32_t v = 0;

	if (p)
		memcpy(&v, p, sizeof(v));
	return v;
}

struct links {
	struct link_state *all;
	size_t n, cap;
	bool no_memory;
};

/* IFLA_LINKINFO is a row of attributes of its own. */
static void read_kind(struct link_state *l, const struct nlmsghdr *h)
{
	size_t left;
	const struct rtattr *a = find(h, sizeof(struct ifinfomsg), IFLA_LINKINFO, sizeof(*a), &left);

	for (; a && RTA_OK(a, left); a = next_attribute(a, &left))
		if (a->rta_type == IFLA_INFO_KIND)
			snprintf(l->kind, sizeof(l->kind), "%.*s", (int)RTA_PAYLOAD(a),
				 (const char *)RTA_DATA(a));
}

static void on_link(const struct nlmsghdr *h, void *arg)
{
	const struct ifinfomsg *m = NLMSG_DATA(h);
	struct links *s = arg;
	struct link_state *l;
	const uint8_t *mac;
	const char *name;
	size_t len;

	if (h->nlmsg_type != RTM_NEWLINK || h->nlmsg_len < NLMSG_LENGTH(sizeof(*m)) ||
	    s->n == LINKS_MAX)
		return;
	name = find(h, sizeof(*m), IFLA_IFNAME, 1, &len);
	if (!name)
		return;
	if (s->n == s->cap) {
		size_t cap = s->cap ? 2 * s->cap : 8;

		l = reallocarray(s->all, cap, sizeof(*l));
		if (!l) {
			s->no_memory = true;
			return;
		}
		s->all = l;
		s->cap = cap;
	}
	l = &s->all[s->n++];
	*l = (struct link_state){ .index = m->ifi_index, .hardware = m->ifi_type };
	snprintf(l->name, sizeof(l->name), "%.*s", (int)len, name);
	l->up = m->ifi_flags & IFF_UP;
	l->carrier = (m->ifi_flags & IFF_LOWER_UP) != 0;
	l->mtu = find_u32(h, sizeof(*m), IFLA_MTU);
	l->mtu_min = find_u32(h, sizeof(*m), IFLA_MIN_MTU);
	l->mtu_max = find_u32(h, sizeof(*m), IFLA_MAX_MTU);
	l->master = (int)find_u32(h, sizeof(*m), IFLA_MASTER);
	mac = find(h, sizeof(*m), IFLA_ADDRESS, 6, NULL);
	if (mac && l->hardware == ARPHRD_ETHER)
		snprintf(l->mac, sizeof(l->mac), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1],
			 mac[2], mac[3], mac[4], mac[5]);
	read_kind(l, h);
}

static struct link_state *by_index(const struct links *s, int index)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->all[i].index == index)
			return &s->all[i];
	return NULL;
}

static void on_address(const struct nlmsghdr *h, void *arg)
{
	const struct ifaddrmsg *m = NLMSG_DATA(h);
	struct links *s = arg;
	struct link_cidr *a;
	struct link_state *l;
	const void *p;

	if (h->nlmsg_type != RTM_NEWADDR || h->nlmsg_len < NLMSG_LENGTH(sizeof(*m)) ||
	    (m->ifa_family != AF_INET && m->ifa_family != AF_INET6))
		return;
	l = by_index(s, (int)m->ifa_index);
	p = find(h, sizeof(*m), IFA_LOCAL, address_len(m->ifa_family), NULL);
	if (!p)
		p = find(h, sizeof(*m), IFA_ADDRESS, address_len(m->ifa_family), NULL);
	/* One that is being checked for duplicates, or was found to be one, is not ours to use. */
	if (!l || !p || (m->ifa_flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)))
		return;
	a = reallocarray(l->addresses, l->n_addresses + 1, sizeof(*a));
	if (!a) {
		s->no_memory = true;
		return;
	}
	l->addresses = a;
	a += l->n_addresses++;
	*a = (struct link_cidr){ .family = m->ifa_family, .prefix = m->ifa_prefixlen };
	memcpy(a->address, p, address_len(m->ifa_family));
}

static void mark_default(const struct links *s, int index)
{
	struct link_state *l = by_index(s, index);

	if (l)
		l->default_route = true;
}

/* A default route may have one interface, or several next hops with one each. */
static void on_route(const struct nlmsghdr *h, void *arg)
{
	const struct rtmsg *m = NLMSG_DATA(h);
	const struct rtnexthop *hop;
	size_t left;

	if (h->nlmsg_type != RTM_NEWROUTE || h->nlmsg_len < NLMSG_LENGTH(sizeof(*m)) ||
	    m->rtm_dst_len != 0 || m->rtm_type != RTN_UNICAST)
		return;
	mark_default(arg, (int)find_u32(h, sizeof(*m), RTA_OIF));
	hop = find(h, sizeof(*m), RTA_MULTIPATH, sizeof(*hop), &left);
	while (hop && left >= sizeof(*hop) && hop->rtnh_len >= sizeof(*hop) && hop->rtnh_len <= left) {
		size_t step = RTNH_ALIGN(hop->rtnh_len);

		mark_default(arg, hop->rtnh_ifindex);
		if (step >= left)
			break;
		left -= step;
		hop = (const struct rtnexthop *)(const void *)((const uint8_t *)hop + step);
	}
}

/* ---- ethtool ---- */

static bool ask_ethtool(int fd, const struct link_state *l, void *question)
{
	struct ifreq r = { .ifr_data = question };

	memcpy(r.ifr_name, l->name, sizeof(l->name));
	return ioctl(fd, SIOCETHTOOL, &r) == 0;
}

static enum link_feature feature(int fd, const struct link_state *l, uint32_t command, uint32_t bit)
{
	struct ethtool_value v = { .cmd = command };

	if (!ask_ethtool(fd, l, &v))
		return LINK_FEATURE_UNKNOWN;
	return v.data & bit ? LINK_FEATURE_ON : LINK_FEATURE_OFF;
}

static void read_speed(int fd, struct link_state *l)
{
	/* Three masks follow, whose length in words is an int8_t. */
	union {
		struct ethtool_link_settings s;
		uint8_t room[sizeof(struct ethtool_link_settings) + 3 * 128 * sizeof(uint32_t)];
	} q = { .room = { 0 } };

	/* The first answer says how many words a mask has, as a negative number. */
	q.s.cmd = ETHTOOL_GLINKSETTINGS;
	if (!ask_ethtool(fd, l, &q) || q.s.link_mode_masks_nwords >= 0)
		return;
	q.s.cmd = ETHTOOL_GLINKSETTINGS;
	q.s.link_mode_masks_nwords = (int8_t)-q.s.link_mode_masks_nwords;
	if (!ask_ethtool(fd, l, &q) || q.s.speed == (uint32_t)SPEED_UNKNOWN)
		return;
	l->speed_mbit = q.s.speed;
	l->full_duplex = q.s.duplex == DUPLEX_FULL;
}

static bool has_radio(const struct link_state *l)
{
	static const char *const signs[] = { "wireless", "phy80211" };
	char path[64 + IF_NAMESIZE];
	struct stat st;

	for (size_t i = 0; i < ARRAY_SIZE(signs); i++) {
		snprintf(path, sizeof(path), "/sys/class/net/%s/%s", l->name, signs[i]);
		if (stat(path, &st) == 0)
			return true;
	}
	return false;
}

static void read_details(int fd, struct link_state *l)
{
	l->wireless = has_radio(l);
	if (fd < 0)
		return;
	read_speed(fd, l);
	l->gro = feature(fd, l, ETHTOOL_GGRO, 1);
	l->gso = feature(fd, l, ETHTOOL_GGSO, 1);
	l->tso = feature(fd, l, ETHTOOL_GTSO, 1);
	l->lro = feature(fd, l, ETHTOOL_GFLAGS, ETH_FLAG_LRO);
}

/* ---- outside ---- */

static int compare_index(const void *a, const void *b)
{
	const struct link_state *x = a, *y = b;

	return (x->index > y->index) - (x->index < y->index);
}

void link_state_done(struct link_state *l)
{
	free(steal(&l->addresses));
	l->n_addresses = 0;
}

void link_list_done(struct link_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		link_state_done(&l->all[i]);
	free(steal(&l->all));
	l->n = 0;
}

int link_read_all(struct link_list *out)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct links s = { 0 };
	int r = dump(RTM_GETLINK, on_link, &s);

	if (!r)
		r = dump(RTM_GETADDR, on_address, &s);
	if (!r)
		r = dump(RTM_GETROUTE, on_route, &s);
	out->all = s.all;
	out->n = s.n;
	if (!r && s.no_memory)
		r = -ENOMEM;
	if (r)
		return r;
	for (size_t i = 0; i < s.n; i++)
		read_details(fd, &s.all[i]);
	if (s.n)
		qsort(s.all, s.n, sizeof(*s.all), compare_index);
	return 0;
}

const struct link_state *link_find(const struct link_list *l, const char *name)
{
	for (size_t i = 0; i < l->n; i++)
		if (strcmp(l->all[i].name, name) == 0)
			return &l->all[i];
	return NULL;
}

int link_read(struct link_state *out, const char *name)
{
	_cleanup_(link_list_done) struct link_list list = { 0 };
	struct link_state *found;
	int r = link_read_all(&list);

	if (r)
		return r;
	/* The list is ours: so is what it points to. */
	found = (struct link_state *)(uintptr_t)link_find(&list, name);
	if (!found)
		return -ENODEV;
	*out = *found;
	found->addresses = NULL;
	return 0;
}

bool link_is_wired(const struct link_state *l)
{
	return l->hardware == ARPHRD_ETHER && !l->wireless &&
	       (*l->kind == '\0' || strcmp(l->kind, "veth") == 0);
}

bool link_find_conflict(char *what, size_t cap, const struct link_list *all,
			const struct link_state *self, const struct link_cidr *wanted)
{
	for (size_t i = 0; i < all->n; i++) {
		const struct link_state *l = &all->all[i];

		if (l->index == self->index)
			continue;
		for (size_t k = 0; k < l->n_addresses; k++) {
			const struct link_cidr *have = &l->addresses[k];
			char text[LINK_CIDR_TEXT];

			if (!link_cidr_holds(wanted, have) && !link_cidr_holds(have, wanted))
				continue;
			link_cidr_format(text, have, true);
			snprintf(what, cap, "%s has %s", l->name, text);
			return true;
		}
	}
	return false;
}

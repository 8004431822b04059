/* A dump that the kernel filters by device: each of a thousand tunnels asks for its own. */
#include "pskd/network/device_address.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "pskd/network/rtnl.h"

/* The kernel's own macros step from record to record by char *; it aligns them. */
#pragma GCC diagnostic ignored "-Wcast-align"

struct look {
	unsigned int ifindex;
	int family;
	const struct tunnel_addresses *wanted;
	struct device_addresses *seen;
};

/* An address of the device, and who is behind it where that is one machine. */
struct found {
	bool has_local, has_peer;
	uint8_t local[16], peer[16];
	uint8_t prefix;
};

static void take_attributes(struct found *f, const struct nlmsghdr *h)
{
	const struct ifaddrmsg *m = NLMSG_DATA(h);
	size_t len = m->ifa_family == AF_INET ? 4 : 16, left = IFA_PAYLOAD(h);

	*f = (struct found){ .prefix = m->ifa_prefixlen };
	for (const struct rtattr *a = IFA_RTA(m); RTA_OK(a, left); a = rtnl_next(a, &left)) {
		if (a->rta_type == IFA_LOCAL && RTA_PAYLOAD(a) == len) {
			memcpy(f->local, RTA_DATA(a), len);
			f->has_local = true;
		} else if (a->rta_type == IFA_ADDRESS && RTA_PAYLOAD(a) == len) {
			memcpy(f->peer, RTA_DATA(a), len);
			f->has_peer = true;
		}
	}
	/* Where there is one address only it is the device's own. */
	if (!f->has_local) {
		memcpy(f->local, f->peer, len);
		f->has_local = f->has_peer;
		f->has_peer = false;
	}
}

static bool is_right_v4(const struct found *f, const struct tunnel_addresses *a)
{
	static const uint8_t none[4];

	if (!a->has_v4 || memcmp(f->local, a->v4_local, 4) != 0 || f->prefix != a->v4_prefix)
		return false;
	if (a->v4_prefix == 32 && memcmp(a->v4_peer, none, 4) != 0)
		return f->has_peer && memcmp(f->peer, a->v4_peer, 4) == 0;
	return true;
}

static bool is_right_v6(const struct found *f, const struct tunnel_addresses *a)
{
	return a->has_v6 && memcmp(f->local, a->v6_local, 16) == 0 && f->prefix == a->v6_prefix;
}

static void look_at(const struct nlmsghdr *h, void *arg)
{
	const struct ifaddrmsg *m = NLMSG_DATA(h);
	struct look *l = arg;
	struct in6_addr v6;
	struct found f;

	/* A kernel without a family answers for the other one. */
	if (h->nlmsg_type != RTM_NEWADDR || h->nlmsg_len < NLMSG_LENGTH(sizeof(*m)) || m->ifa_family != l->family ||
	    m->ifa_index != l->ifindex)
		return;
	take_attributes(&f, h);
	memcpy(&v6, f.local, sizeof(v6));
	if (!f.has_local || (m->ifa_family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&v6)))
		return;
	if (m->ifa_family == AF_INET ? is_right_v4(&f, l->wanted) : is_right_v6(&f, l->wanted))
		l->seen->right++;
	else
		l->seen->foreign = true;
}

static int ask(int fd, int family, struct look *l)
{
	const struct {
		struct nlmsghdr h;
		struct ifaddrmsg m;
	} q = {
		.h = { .nlmsg_len = sizeof(q), .nlmsg_type = RTM_GETADDR, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.m = { .ifa_family = (unsigned char)family, .ifa_index = l->ifindex },
	};

	l->family = family;
	return rtnl_dump(fd, &q.h, look_at, l);
}

int device_addresses_look(struct device_addresses *out, const char *ifname, const struct tunnel_addresses *wanted)
{
	_cleanup_close_ int fd = rtnl_open();
	struct look l = { .ifindex = if_nametoindex(ifname), .wanted = wanted, .seen = out };
	int r;

	*out = (struct device_addresses){ .right = 0 };
	if (fd < 0 || l.ifindex == 0)
		return fd < 0 ? fd : -ENODEV;
	r = ask(fd, AF_INET, &l);
	if (r)
		return r;
	r = ask(fd, AF_INET6, &l);
	/* A kernel without IPv6 has no such addresses. */
	return r && wanted->has_v6 ? r : 0;
}

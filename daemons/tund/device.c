/*
 * TUN devices. A device that cannot be configured as asked is not handed out:
 * it disappears with its descriptor. Nothing outside devices named hf* is
 * ever changed.
 */
#include "tund/device.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "tund/netlink.h"

/*
 * As network cards have, and twice what a TUN device begins with. A sender of small packets on the reader's
 * processor goes on for a scheduler's turn of three or four milliseconds; what does not fit meanwhile is lost.
 */
#define QUEUE_PACKETS 1000

static void refuse(struct tund_reply *reply, int error, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void refuse(struct tund_reply *reply, int error, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(reply->detail, sizeof(reply->detail), fmt, ap);
	va_end(ap);
	reply->error = error;
}

static int make(const struct tund_request *q, struct tund_reply *reply)
{
	_cleanup_close_ int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	struct ifreq ifr = { .ifr_flags = IFF_TUN | IFF_NO_PI };

	if (fd < 0) {
		refuse(reply, errno, "/dev/net/tun: %s", strerror(errno));
		return -1;
	}
	if (q->flags & TUND_VNET_HDR)
		ifr.ifr_flags |= IFF_VNET_HDR;
	memcpy(ifr.ifr_name, q->ifname, sizeof(ifr.ifr_name));
	if (ioctl(fd, TUNSETIFF, &ifr) < 0) {
		refuse(reply, errno, errno == EBUSY ? "there is a device %s already" : "cannot make %s",
		       q->ifname);
		return -1;
	}
	memcpy(reply->ifname, ifr.ifr_name, sizeof(reply->ifname));
	reply->ifname[sizeof(reply->ifname) - 1] = '\0';
	return steal_fd(&fd);
}

bool device_is(int fd, const char *name)
{
	_cleanup_close_ int ns = ioctl(fd, TUNGETDEVNETNS, NULL);
	struct ifreq ifr = { 0 };
	struct stat theirs, ours;

	if (ns < 0 || fstat(ns, &theirs) < 0 || stat("/proc/self/ns/net", &ours) < 0 ||
	    theirs.st_ino != ours.st_ino || theirs.st_dev != ours.st_dev)
		return false;
	return ioctl(fd, TUNGETIFF, &ifr) == 0 && strncmp(ifr.ifr_name, name, sizeof(ifr.ifr_name)) == 0;
}

static int check_free(int nl, int ifindex, int family, const uint8_t *address, uint8_t prefix,
		      struct tund_reply *reply)
{
	char what[96];
	int r = netlink_find_conflict(nl, ifindex, family, address, prefix, what, sizeof(what));

	if (r > 0)
		refuse(reply, EADDRINUSE, "it overlaps with %s", what);
	else if (r < 0)
		refuse(reply, -r, "cannot list addresses and routes");
	return r;
}

static bool is_point_to_point(const struct tund_request *q)
{
	static const uint8_t none[4];

	return q->v4_prefix == 32 && memcmp(q->v4_peer, none, 4) != 0;
}

static int check_v4(int nl, int ifindex, const struct tund_request *q, struct tund_reply *reply)
{
	return check_free(nl, ifindex, AF_INET, is_point_to_point(q) ? q->v4_peer : q->v4_local, q->v4_prefix, reply);
}

static int check_v6(int nl, int ifindex, const struct tund_request *q, struct tund_reply *reply)
{
	return check_free(nl, ifindex, AF_INET6, q->v6_local, q->v6_prefix, reply);
}

static int add_v4(int nl, int ifindex, const struct tund_request *q, struct tund_reply *reply)
{
	int r;

	if (check_v4(nl, ifindex, q, reply))
		return -1;
	r = netlink_add_address(nl, ifindex, AF_INET, q->v4_local, is_point_to_point(q) ? q->v4_peer : NULL, q->v4_prefix);
	/* Configured again, it may have it still. */
	if (r == -EEXIST)
		return 0;
	if (r)
		refuse(reply, -r, "cannot set the IPv4 address: %s", strerror(-r));
	return r;
}

static int add_v6(int nl, int ifindex, const struct tund_request *q, struct tund_reply *reply)
{
	int r;

	if (check_v6(nl, ifindex, q, reply))
		return -1;
	r = netlink_add_address(nl, ifindex, AF_INET6, q->v6_local, NULL, q->v6_prefix);
	if (r == -EEXIST)
		return 0;
	/* A machine without IPv6 still gets its IPv4 tunnel. */
	if (r == -EOPNOTSUPP || r == -EACCES || r == -EAFNOSUPPORT)
		return q->has_v4 ? 0 : r;
	if (r)
		refuse(reply, -r, "cannot set the IPv6 address: %s", strerror(-r));
	return r;
}

static void refuse_route(struct tund_reply *reply, const struct prefix *to, int r)
{
	char text[PREFIX_TEXT_MAX];

	prefix_format(text, to);
	refuse(reply, -r, "cannot set the route %s: %s", text, strerror(-r));
}

/* Another device's network or route comes first. */
static int check_route(int nl, int ifindex, const struct prefix *to, struct tund_reply *reply)
{
	char text[PREFIX_TEXT_MAX], what[64];
	int r = netlink_find_taken(nl, ifindex, to, what, sizeof(what));

	if (r > 0) {
		prefix_format(text, to);
		refuse(reply, EEXIST, "%s: it would take from %s", text, what);
	} else if (r < 0) {
		refuse_route(reply, to, r);
	}
	return r;
}

/* What is here already is fine. */
static int add_route(int nl, int ifindex, const struct prefix *to, struct tund_reply *reply)
{
	int r;

	if (check_route(nl, ifindex, to, reply))
		return -1;
	r = netlink_add_route(nl, ifindex, to);
	if (r == 0 || r == -EEXIST)
		return 0;
	refuse_route(reply, to, r);
	return r;
}

static int set_routes(int nl, int ifindex, const struct tund_request *q, struct tund_reply *reply)
{
	/* A new device has none. */
	int r = q->type == TUND_CREATE ? 0 : netlink_drop_routes(nl, ifindex, q->routes, q->n_routes);

	if (r) {
		refuse(reply, -r, "cannot remove earlier routes: %s", strerror(-r));
		return r;
	}
	for (size_t i = 0; i < q->n_routes && !r; i++)
		r = add_route(nl, ifindex, &q->routes[i], reply);
	return r;
}

/*
 * Nobody behind a tunnel is this machine's router. pskd lets no such message
 * through; this is for one that could. Where the kernel's settings cannot be
 * written (a container, a kernel without IPv6) that alone holds.
 */
static void refuse_routers(const char *name)
{
	static const struct {
		const char *family, *setting;
	} off[] = { { "ipv6", "accept_ra" }, { "ipv6", "autoconf" }, { "ipv6", "accept_redirects" },
		    { "ipv4", "accept_redirects" } };
	char file[64 + IF_NAMESIZE];

	for (size_t i = 0; i < ARRAY_SIZE(off); i++) {
		_cleanup_close_ int fd = -1;

		snprintf(file, sizeof(file), "/proc/sys/net/%s/conf/%s/%s", off[i].family, name, off[i].setting);
		fd = open(file, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
		if (fd < 0 || write(fd, "0", 1) != 1)
			log_debug("%s stays as it is", file);
	}
}

/* A device goes on with the queue that it has where this cannot be done, or has been done otherwise since. */
static void lengthen_queue(const char *name)
{
	_cleanup_close_ int nl = netlink_open();
	int r = nl < 0 ? nl : netlink_set_queue(nl, (int)if_nametoindex(name), QUEUE_PACKETS);

	if (r)
		log_debug("%s keeps its queue: %s", name, strerror(-r));
}

/* They came with the addresses; where there is no IPv6 one of them did not. */
static void set_connected(int nl, int ifindex, const struct tund_request *q)
{
	struct prefix to[TUND_CONNECTED_MAX];
	size_t n = tund_connected(to, q);

	for (size_t i = 0; i < n; i++) {
		int r = netlink_add_connected(nl, ifindex, &to[i], to[i].family == 4 ? q->v4_local : q->v6_local);

		if (r && r != -EEXIST)
			log_debug("the network of an address is not routed to: %s", strerror(-r));
	}
}

static int configure(const struct tund_request *q, const char *name, struct tund_reply *reply)
{
	_cleanup_close_ int nl = netlink_open();
	int ifindex = (int)if_nametoindex(name);
	int r;

	if (nl < 0 || ifindex == 0) {
		refuse(reply, nl < 0 ? -nl : ENODEV, "%s: %s", name, strerror(nl < 0 ? -nl : ENODEV));
		return -1;
	}
	if (!netlink_is_tun(nl, ifindex)) {
		refuse(reply, ENODEV, "%s is no TUN device", name);
		return -1;
	}
	/* Old kernels and those without IPv6 do not know it; then there is chatter, or no IPv6. */
	netlink_quiet(nl, ifindex);
	refuse_routers(name);
	if (q->has_v4 && add_v4(nl, ifindex, q, reply))
		return -1;
	r = netlink_set_up(nl, ifindex, q->mtu);
	if (r) {
		refuse(reply, -r, "cannot bring %s up: %s", name, strerror(-r));
		return -1;
	}
	if (q->has_v6 && add_v6(nl, ifindex, q, reply))
		return -1;
	set_connected(nl, ifindex, q);
	return set_routes(nl, ifindex, q, reply);
}

/* Of the device, or of those that are to come; a machine that does not say has it. */
static bool has_no_v6(const char *name)
{
	char file[64 + IF_NAMESIZE], value = '0';
	_cleanup_close_ int fd = -1;

	snprintf(file, sizeof(file), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
	fd = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return fd >= 0 && read(fd, &value, 1) == 1 && value == '1';
}

/* All that configure() would find, before anything is changed. */
static void check(const struct tund_request *q, struct tund_reply *reply)
{
	_cleanup_close_ int nl = netlink_open();
	int index = (int)if_nametoindex(q->ifname), ifindex = index ? index : -1, r = 0;
	bool no_v6 = has_no_v6(index ? q->ifname : "default");

	if (nl < 0) {
		refuse(reply, -nl, "cannot list addresses and routes");
		return;
	}
	if (q->has_v4)
		r = check_v4(nl, ifindex, q, reply);
	if (!r && q->has_v6 && !no_v6)
		r = check_v6(nl, ifindex, q, reply);
	for (size_t i = 0; i < q->n_routes && !r; i++) {
		r = q->routes[i].family == 6 && no_v6 ? -EACCES : 0;
		if (r)
			refuse(reply, -r, "a route of IPv6, which is switched off here (disable_ipv6)");
		else
			r = check_route(nl, ifindex, &q->routes[i], reply);
	}
}

void device_handle(const struct tund_request *q, struct tund_reply *reply, int *fd)
{
	*fd = -1;
	*reply = (struct tund_reply){ 0 };
	if (q->type == TUND_CHECK) {
		memcpy(reply->ifname, q->ifname, sizeof(reply->ifname));
		check(q, reply);
		return;
	}
	if (q->type == TUND_CREATE) {
		*fd = make(q, reply);
		if (*fd < 0)
			return;
		lengthen_queue(reply->ifname);
		/* mtu 0: the caller configures it later. */
		if (q->mtu == 0 || configure(q, reply->ifname, reply) == 0)
			return;
		close(*fd);
		*fd = -1;
		return;
	}
	memcpy(reply->ifname, q->ifname, sizeof(reply->ifname));
	configure(q, q->ifname, reply);
}

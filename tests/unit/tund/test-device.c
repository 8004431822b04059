/* Devices, in a network namespace of the test's own; without root there is nothing to test. */
#include "tund/device.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tund/netlink.h"
#include "unit/lib/test.h"

static void own_namespace(void)
{
	if (unshare(CLONE_NEWNET) < 0)
		test_skip("no network namespace: %s", strerror(errno));
	if (access("/dev/net/tun", R_OK | W_OK) < 0)
		test_skip("no /dev/net/tun");
}

static struct tund_request ask(const char *v4, const char *v6)
{
	struct tund_request q = { .type = TUND_CREATE, .ifname = "hf%d", .mtu = 1420 };

	if (v4) {
		q.has_v4 = true;
		q.v4_prefix = 30;
		inet_pton(AF_INET, v4, q.v4_local);
	}
	if (v6) {
		q.has_v6 = true;
		q.v6_prefix = 64;
		inet_pton(AF_INET6, v6, q.v6_local);
	}
	return q;
}

TEST(device_lives_as_long_as_its_descriptor)
{
	struct tund_request q = ask("10.1.0.1", "fd01::1");
	struct tund_reply y;
	int fd;

	own_namespace();
	device_handle(&q, &y, &fd);
	CHECK_EQ(y.error, 0);
	CHECK(fd >= 0);
	CHECK_STR(y.ifname, "hf0");
	CHECK(if_nametoindex("hf0") != 0);
	close(fd);
	CHECK_EQ(if_nametoindex("hf0"), 0);
}

/* ifr_qlen, after setting it when to is not 0. */
static int queue_of(const char *name, int to)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct ifreq ifr = { .ifr_qlen = to };

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	CHECK(to == 0 || ioctl(fd, SIOCSIFTXQLEN, &ifr) == 0);
	CHECK_EQ(ioctl(fd, SIOCGIFTXQLEN, &ifr), 0);
	return ifr.ifr_qlen;
}

TEST(a_new_device_has_the_queue_of_a_network_card)
{
	struct tund_request q = ask("10.1.0.1", NULL), bare = ask(NULL, NULL);
	struct tund_reply y;
	int fd, other;

	own_namespace();
	device_handle(&q, &y, &fd);
	CHECK_EQ(y.error, 0);
	CHECK_EQ(queue_of("hf0", 0), 1000);
	bare.mtu = 0;
	device_handle(&bare, &y, &other);
	CHECK_EQ(y.error, 0);
	CHECK_EQ(queue_of("hf1", 0), 1000);
	close(other);
	close(fd);
}

TEST(what_was_set_to_the_queue_since_stays)
{
	struct tund_request q = ask("10.1.0.1", NULL);
	struct tund_reply y;
	int fd, none;

	own_namespace();
	device_handle(&q, &y, &fd);
	CHECK_EQ(queue_of("hf0", 300), 300);
	q.type = TUND_CONFIGURE;
	memcpy(q.ifname, "hf0", 4);
	device_handle(&q, &y, &none);
	CHECK_EQ(y.error, 0);
	CHECK_EQ(queue_of("hf0", 0), 300);
	close(fd);
}

TEST(conflict_leaves_no_device)
{
	struct tund_request first = ask("10.1.0.1", NULL), second = ask("10.1.0.2", NULL);
	struct tund_reply y;
	int fd, none;

	own_namespace();
	device_handle(&first, &y, &fd);
	CHECK_EQ(y.error, 0);
	device_handle(&second, &y, &none);
	CHECK_EQ(y.error, EADDRINUSE);
	CHECK_EQ(none, -1);
	CHECK(strstr(y.detail, "10.1.0.1/30 on hf0") != NULL);
	CHECK_EQ(if_nametoindex("hf1"), 0);
	close(fd);
}

TEST(conflicts_are_those_that_would_take_packets)
{
	static const struct {
		const char *address;
		uint8_t prefix;
		int conflict;
	} cases[] = {
		{ "10.1.0.1", 30, 1 }, { "10.1.0.0", 16, 1 }, { "10.1.0.2", 32, 1 }, { "10.1.0.4", 30, 0 },
		{ "10.2.0.1", 30, 0 }, { "0.0.0.0", 0, 1 },
	};
	struct tund_request q = ask("10.1.0.1", NULL);
	struct tund_reply y;
	char what[100];
	int fd, nl;

	own_namespace();
	device_handle(&q, &y, &fd);
	CHECK_EQ(y.error, 0);
	nl = netlink_open();
	CHECK(nl >= 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t a[4];

		inet_pton(AF_INET, cases[i].address, a);
		CHECK_EQ(netlink_find_conflict(nl, 0, AF_INET, a, cases[i].prefix, what, sizeof(what)),
			 cases[i].conflict);
	}
	close(nl);
	close(fd);
}

static void add_route(struct tund_request *q, const char *text)
{
	CHECK_EQ(prefix_parse(&q->routes[q->n_routes++], text), 0);
}

/* What a route is refused for, or "". */
static const char *taken(const char *text)
{
	static char what[100];
	int nl = netlink_open();
	struct prefix p;

	CHECK(nl >= 0);
	CHECK_EQ(prefix_parse(&p, text), 0);
	what[0] = '\0';
	CHECK_EQ(netlink_find_taken(nl, 0, &p, what, sizeof(what)), *what ? 1 : 0);
	close(nl);
	return what;
}

TEST(routes_go_with_the_device_and_are_exactly_those_asked_for)
{
	struct tund_request q = ask("10.1.0.1", "fd01::1");
	struct tund_reply y;
	int fd, none;

	own_namespace();
	add_route(&q, "10.7.0.0/16");
	add_route(&q, "10.7.3.0/24");
	add_route(&q, "fd07::/48");
	device_handle(&q, &y, &fd);
	CHECK_EQ(y.error, 0);
	CHECK(strstr(taken("10.7.0.0/16"), "10.7.0.0/16 on hf0") != NULL);
	CHECK(strstr(taken("fd07::/48"), "hf0") != NULL);
	CHECK_STR(taken("10.8.0.0/16"), "");
	/* Others now: those that are not among them go, those that are stay. */
	q.type = TUND_CONFIGURE;
	memcpy(q.ifname, y.ifname, sizeof(q.ifname));
	q.n_routes = 0;
	add_route(&q, "10.7.0.0/16");
	add_route(&q, "10.8.0.0/16");
	device_handle(&q, &y, &none);
	CHECK_EQ(y.error, 0);
	CHECK(strstr(taken("10.7.0.0/16"), "10.7.0.0/16 on hf0") != NULL);
	CHECK(strstr(taken("10.7.3.0/24"), "10.7.0.0/16 on hf0") != NULL);
	CHECK(strstr(taken("10.8.0.0/16"), "hf0") != NULL);
	CHECK_STR(taken("fd07::/48"), "");
	close(fd);
	CHECK_STR(taken("10.7.0.0/16"), "");
}

TEST(a_route_that_came_with_an_address_comes_again)
{
	struct tund_request q = ask("10.1.0.1", "fd01::1");
	static const char *const networks[] = { "10.1.0.0/30", "fd01::/64" };
	struct tund_reply y;
	int fd, none;

	own_namespace();
	device_handle(&q, &y, &fd);
	CHECK_EQ(y.error, 0);
	CHECK_EQ(system("ip route flush dev hf0; ip -6 route flush dev hf0"), 0);
	CHECK(system("ip route show dev hf0 | grep -q . || ip -6 route show dev hf0 | grep -q .") != 0);
	q.type = TUND_CONFIGURE;
	memcpy(q.ifname, y.ifname, sizeof(q.ifname));
	device_handle(&q, &y, &none);
	CHECK_EQ(y.error, 0);
	for (size_t i = 0; i < ARRAY_SIZE(networks); i++) {
		char command[100];

		snprintf(command, sizeof(command), "ip -%d route show dev hf0 proto kernel | grep -q '^%s '", i ? 6 : 4, networks[i]);
		CHECK_EQ(system(command), 0);
	}
	close(fd);
}

TEST(a_route_does_not_take_what_another_device_has)
{
	struct tund_request first = ask("10.1.0.1", "fd01::1"), second = ask("10.2.0.1", "fd02::1");
	static const char *const refused[] = { "10.1.0.0/30", "10.1.0.2/32", "fd01::/64", "fd01::8/126", "10.7.0.0/16",
					       "10.7.128.0/17" };
	static const char *const fine[] = { "10.1.0.0/29", "10.0.0.0/8", "fd01::/48", "10.6.0.0/15" };
	struct tund_reply y;
	int fd, other;

	own_namespace();
	add_route(&first, "10.7.0.0/16");
	device_handle(&first, &y, &fd);
	CHECK_EQ(y.error, 0);
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		second.n_routes = 0;
		add_route(&second, refused[i]);
		device_handle(&second, &y, &other);
		CHECK_EQ(y.error, EEXIST);
		CHECK(strstr(y.detail, refused[i]) != NULL && strstr(y.detail, "hf0") != NULL);
		CHECK_EQ(other, -1);
	}
	for (size_t i = 0; i < ARRAY_SIZE(fine); i++) {
		second.n_routes = 0;
		add_route(&second, fine[i]);
		device_handle(&second, &y, &other);
		CHECK_EQ(y.error, 0);
		close(other);
	}
	close(fd);
}

/* What a check of this says, of hf0 or (none) of a device to come. */
static int checked(struct tund_request q, const char *name, struct tund_reply *y)
{
	int none;

	q.type = TUND_CHECK;
	snprintf(q.ifname, sizeof(q.ifname), "%s", name);
	device_handle(&q, y, &none);
	CHECK_EQ(none, -1);
	return y->error;
}

TEST(a_check_says_what_would_be_refused_and_changes_nothing)
{
	struct tund_request one = ask("10.1.0.1", "fd01::1"), two = ask("10.2.0.1", NULL), q;
	struct tund_reply y;
	int fd, other;

	own_namespace();
	device_handle(&one, &y, &fd);
	device_handle(&two, &y, &other);
	CHECK_STR(y.ifname, "hf1");
	CHECK_EQ(checked(one, "hf0", &y), 0);
	CHECK_EQ(checked(one, "hf%d", &y), EADDRINUSE);
	CHECK(strstr(y.detail, "10.1.0.1/30 on hf0") != NULL);
	CHECK_EQ(checked(two, "hf0", &y), EADDRINUSE);
	q = ask(NULL, "fd01::2");
	CHECK_EQ(checked(q, "hf1", &y), EADDRINUSE);
	q = one;
	q.n_routes = 1;
	prefix_parse(&q.routes[0], "10.2.0.0/30");
	CHECK_EQ(checked(q, "hf0", &y), EEXIST);
	CHECK(strstr(y.detail, "10.2.0.0/30") != NULL);
	prefix_parse(&q.routes[0], "10.7.0.0/16");
	CHECK_EQ(checked(q, "hf0", &y), 0);
	CHECK_EQ(checked(ask("10.3.0.1", "fd03::1"), "hf%d", &y), 0);
	CHECK(if_nametoindex("hf2") == 0);
	/* None of it was set. */
	CHECK_EQ(checked(q, "hf1", &y), EADDRINUSE);
	q = two;
	q.n_routes = 1;
	prefix_parse(&q.routes[0], "10.7.0.0/16");
	CHECK_EQ(checked(q, "hf1", &y), 0);
	close(other);
	close(fd);
}

TEST(a_check_tells_of_ipv6_that_is_switched_off)
{
	struct tund_request q = ask("10.1.0.1", "fd01::1");
	struct tund_reply y;
	FILE *f;

	own_namespace();
	f = fopen("/proc/sys/net/ipv6/conf/default/disable_ipv6", "w");
	if (!f)
		test_skip("IPv6 cannot be switched off");
	CHECK(fputs("1", f) >= 0 && fclose(f) == 0);
	/* Then its address is done without, as ever; a route cannot be. */
	CHECK_EQ(checked(q, "hf%d", &y), 0);
	q.n_routes = 1;
	prefix_parse(&q.routes[0], "fd77::/48");
	CHECK_EQ(checked(q, "hf%d", &y), EACCES);
	CHECK(strstr(y.detail, "disable_ipv6") != NULL);
}

TEST(configuring_what_is_no_tun_device_is_refused)
{
	struct tund_request q = ask("10.1.0.1", NULL);
	struct tund_reply y;
	int fd;

	own_namespace();
	q.type = TUND_CONFIGURE;
	snprintf(q.ifname, sizeof(q.ifname), "lo");
	device_handle(&q, &y, &fd);
	CHECK_EQ(y.error, ENODEV);
	CHECK_EQ(fd, -1);
}

TEST(device_can_be_made_first_and_configured_later)
{
	struct tund_request q = ask(NULL, NULL);
	struct tund_reply y;
	int fd, none;

	own_namespace();
	q.mtu = 0;
	device_handle(&q, &y, &fd);
	CHECK_EQ(y.error, 0);
	q = ask("10.1.0.1", "fd01::1");
	q.type = TUND_CONFIGURE;
	memcpy(q.ifname, y.ifname, sizeof(q.ifname));
	device_handle(&q, &y, &none);
	CHECK_EQ(y.error, 0);
	CHECK_EQ(none, -1);
	close(fd);
}

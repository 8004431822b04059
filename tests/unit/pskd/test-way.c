/* Ways out beside a tunnel, in a network namespace of the test's own; without root there is nothing to test. */
#include "pskd/network/way.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "pskd/packet/udp.h"
#include "unit/lib/test.h"

static void run(const char *commands)
{
	CHECK_EQ(system(commands), 0);
}

/* Two cards, and a tunnel's device that takes all. */
static void network(void)
{
	if (system("command -v ip >/dev/null") != 0)
		test_skip("no ip(8)");
	if (unshare(CLONE_NEWNET) < 0)
		test_skip("no network namespace: %s", strerror(errno));
	run("ip link set lo up; for i in 0 1; do ip link add eth$i type veth peer name far$i && ip link set far$i up &&"
	    " ip link set eth$i up && ip addr add 10.99.$i.1/24 dev eth$i && ip addr add fd99:$i::1/64 dev eth$i nodad || exit 1;"
	    " done; ip link add hf0 type veth peer name hf9 && ip link set hf0 up && ip link set hf9 up &&"
	    " ip addr add 10.9.0.1/30 dev hf0 && ip addr add 10.9.1.1/30 dev hf9 &&"
	    " ip route add 0.0.0.0/1 dev hf0 && ip route add 128.0.0.0/1 dev hf0 &&"
	    " ip -6 route add ::/1 dev hf0 && ip -6 route add 8000::/1 dev hf0");
}

static uint32_t way(const char *to)
{
	struct sockaddr_in6 a;

	CHECK_EQ(udp_parse(&a, to), 0);
	return way_find(&a, if_nametoindex("hf0"));
}

TEST(the_way_out_is_that_of_the_best_other_route)
{
	uint32_t eth0, eth1;

	network();
	eth0 = if_nametoindex("eth0");
	eth1 = if_nametoindex("eth1");
	CHECK_EQ(way("203.0.113.9:7200"), WAY_NONE);
	CHECK_EQ(way("[2001:db8::9]:7200"), WAY_NONE);
	run("ip route add default via 10.99.0.2 metric 20 && ip -6 route add default via fd99::2 metric 20");
	CHECK_EQ(way("203.0.113.9:7200"), eth0);
	CHECK_EQ(way("[2001:db8::9]:7200"), eth0);
	/* A cheaper one. */
	run("ip route add default via 10.99.1.2 metric 10 && ip -6 route add default via fd99:1::2 metric 10");
	CHECK_EQ(way("203.0.113.9:7200"), eth1);
	CHECK_EQ(way("[2001:db8::9]:7200"), eth1);
	/* A more particular one, which is still wider than the tunnel's. */
	run("ip route del 128.0.0.0/1 dev hf0 && ip route add 192.0.0.0/2 dev hf0 && ip route add 128.0.0.0/1 via 10.99.0.2");
	CHECK_EQ(way("203.0.113.9:7200"), eth0);
}

TEST(where_the_kernel_is_right_it_is_left_alone)
{
	network();
	run("ip route add default via 10.99.0.2");
	CHECK_EQ(way("10.99.1.7:7200"), 0);
	CHECK_EQ(way("[fd99::7]:7200"), 0);
	run("ip route add 203.0.113.9 via 10.99.1.2");
	CHECK_EQ(way("203.0.113.9:7200"), 0);
	/* Another tunnel may be the way, but is never looked for as one. */
	run("ip route add 198.51.100.0/24 dev hf9");
	CHECK_EQ(way("198.51.100.1:7200"), 0);
	run("ip route del default; ip route add default dev hf9");
	CHECK_EQ(way("203.0.114.9:7200"), WAY_NONE);
}

static struct way_out look(const char *to, uint32_t by)
{
	struct way_out out = { 0 };
	struct sockaddr_in6 a;

	CHECK_EQ(udp_parse(&a, to), 0);
	CHECK_EQ(way_look(&out, &a, by), 0);
	return out;
}

static void check_way(const struct way_out *w, uint32_t ifindex, const char *gateway, const char *source)
{
	struct sockaddr_in6 g = { 0 }, s;

	if (gateway)
		CHECK_EQ(udp_parse(&g, gateway), 0);
	CHECK_EQ(udp_parse(&s, source), 0);
	CHECK_EQ(w->ifindex, ifindex);
	CHECK_MEM(&w->gateway, &g.sin6_addr, sizeof(w->gateway));
	CHECK_MEM(&w->source, &s.sin6_addr, sizeof(w->source));
}

TEST(a_way_is_device_gateway_and_own_address)
{
	struct way_out v4, v6, now;
	struct sockaddr_in6 a;
	uint32_t eth0, eth1;

	network();
	eth0 = if_nametoindex("eth0");
	eth1 = if_nametoindex("eth1");
	run("ip route del 128.0.0.0/1; ip route del 0.0.0.0/1; ip -6 route del ::/1; ip -6 route del 8000::/1; true");
	CHECK_EQ(udp_parse(&a, "203.0.113.9:7200"), 0);
	CHECK(way_look(&now, &a, 0) < 0);
	CHECK(way_look(&now, &a, WAY_NONE) < 0);
	run("ip route add default via 10.99.0.2 && ip -6 route add default via fd99::2");
	v4 = look("203.0.113.9:7200", 0);
	v6 = look("[2001:db8::9]:7200", 0);
	check_way(&v4, eth0, "10.99.0.2:1", "10.99.0.1:1");
	check_way(&v6, eth0, "[fd99::2]:1", "[fd99::1]:1");
	CHECK(way_same(&v4, &v4) && !way_same(&v4, &v6));
	/* Another gateway of the same network: only that differs. */
	run("ip route replace default via 10.99.0.3 && ip -6 route replace default via fd99::3");
	now = look("203.0.113.9:7200", 0);
	check_way(&now, eth0, "10.99.0.3:1", "10.99.0.1:1");
	CHECK(!way_same(&now, &v4));
	now = look("[2001:db8::9]:7200", 0);
	CHECK(!way_same(&now, &v6));
	/* Without a gateway; over one of the other family; and by one device of two. */
	now = look("10.99.1.9:7200", 0);
	check_way(&now, eth1, NULL, "10.99.1.1:1");
	run("ip -4 route replace default via inet6 fd99:1::2 dev eth1");
	now = look("203.0.113.9:7200", 0);
	check_way(&now, eth1, "[fd99:1::2]:1", "10.99.1.1:1");
	run("ip route add default via 10.99.0.2 metric 50");
	now = look("203.0.113.9:7200", eth0);
	check_way(&now, eth0, "10.99.0.2:1", "10.99.0.1:1");
}

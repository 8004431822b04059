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

/* What of a network's changes is heard, in a network namespace of the test's own; without root there is nothing to test. */
#include "pskd/network/netwatch.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "event/loop.h"
#include "proto/prefix.h"
#include "unit/lib/test.h"

struct heard {
	unsigned int network, device, last;
};

static void on_network(void *arg)
{
	((struct heard *)arg)->network++;
}

static void on_device(unsigned int ifindex, void *arg)
{
	struct heard *h = arg;

	h->device++;
	h->last = ifindex;
}

static unsigned int route_device(const struct prefix *to, void *arg)
{
	(void)to;
	(void)arg;
	return 0;
}

static const struct netwatch_ops ops = { .on_network = on_network, .on_device = on_device, .route_device = route_device };

static void run(const char *commands)
{
	CHECK_EQ(system(commands), 0);
}

/* Two cards, a tunnel's device, and a route out of IPv4. */
static void network(void)
{
	if (system("command -v ip >/dev/null") != 0)
		test_skip("no ip(8)");
	if (unshare(CLONE_NEWNET) < 0)
		test_skip("no network namespace: %s", strerror(errno));
	run("sysctl -qw net.ipv6.conf.default.accept_dad=0; ip link set lo up; for i in eth0 eth1 hf0; do ip link add $i type veth peer name far$i && ip link set far$i up &&"
	    " ip link set $i up || exit 1; done; ip addr add 10.99.0.1/24 dev eth0 && ip addr add 10.99.1.1/24 dev eth1 &&"
	    " ip addr add fd99::1/64 dev eth0 nodad && ip addr add 10.9.0.1/30 dev hf0 &&"
	    " ip route add default via 10.99.0.2 metric 10");
}

/* Until something is heard; or, of what is not to be heard, for more than it takes. */
static void listen_for(struct loop *l, const unsigned int *what, uint64_t max_ms)
{
	uint64_t end = clock_now_ms() + max_ms;

	while (*what == 0 && clock_now_ms() < end)
		loop_step(l, 50);
}

/* What happened before, duplicate address detection for one, is none of the test's. */
static void come_to_rest(struct loop *l, struct heard *h)
{
	do {
		*h = (struct heard){ 0 };
		for (uint64_t end = clock_now_ms() + 1200; clock_now_ms() < end;)
			loop_step(l, 50);
	} while (h->network > 0);
}

static void check_heard(struct loop *l, struct heard *h, const char *commands)
{
	*h = (struct heard){ 0 };
	run(commands);
	listen_for(l, &h->network, 60000);
	if (h->network == 0)
		test_fail(__FILE__, __LINE__, "not heard: %s", commands);
}

TEST(default_routes_that_come_go_or_move_are_heard)
{
	_cleanup_(loop_freep) struct loop *l = NULL;
	_cleanup_(netwatch_freep) struct netwatch *w = NULL;
	struct heard h = { 0 };

	network();
	CHECK_EQ(loop_new(&l), 0);
	CHECK_EQ(netwatch_new(&w, l, &ops, &h), 0);
	come_to_rest(l, &h);
	check_heard(l, &h, "ip route add default via 10.99.1.2 metric 5");
	check_heard(l, &h, "ip route del default metric 5");
	check_heard(l, &h, "ip route replace default via 10.99.0.3 metric 10");
	check_heard(l, &h, "ip route add default metric 3 nexthop via 10.99.0.3 nexthop via 10.99.1.2");
	check_heard(l, &h, "ip -6 route add default via fd99::2");
	check_heard(l, &h, "ip -6 route del default");
	/* Halves, and a table of its own, as other tunnels do. */
	check_heard(l, &h, "ip route add 128.0.0.0/1 via 10.99.1.2");
	check_heard(l, &h, "ip -6 route add 2000::/4 via fd99::2");
	check_heard(l, &h, "ip route add default via 10.99.1.2 table 51820");
}

TEST(what_takes_routes_away_unsaid_is_heard)
{
	_cleanup_(loop_freep) struct loop *l = NULL;
	_cleanup_(netwatch_freep) struct netwatch *w = NULL;
	struct heard h = { 0 };

	network();
	CHECK_EQ(loop_new(&l), 0);
	CHECK_EQ(netwatch_new(&w, l, &ops, &h), 0);
	come_to_rest(l, &h);
	check_heard(l, &h, "ip addr del 10.99.1.1/24 dev eth1");
	come_to_rest(l, &h);
	check_heard(l, &h, "ip link set eth1 down");
	come_to_rest(l, &h);
	check_heard(l, &h, "ip link del eth0");
}

TEST(what_leads_nowhere_new_is_not_heard)
{
	_cleanup_(loop_freep) struct loop *l = NULL;
	_cleanup_(netwatch_freep) struct netwatch *w = NULL;
	struct heard h = { 0 };

	network();
	CHECK_EQ(loop_new(&l), 0);
	CHECK_EQ(netwatch_new(&w, l, &ops, &h), 0);
	come_to_rest(l, &h);
	run("ip route add 10.50.0.0/16 via 10.99.0.2 && ip route replace 10.50.0.0/16 via 10.99.1.2 && ip route del 10.50.0.0/16 &&"
	    " ip -6 route add fd50::/32 via fd99::2 && ip -6 route del fd50::/32");
	/* Tunnels' own. */
	run("ip route add default dev hf0 metric 2 && ip route add 0.0.0.0/1 dev hf0 && ip -6 route add default dev hf0 metric 2 &&"
	    " ip route del default dev hf0 && ip -6 route del default dev hf0");
	run("ip route add 128.0.0.0/1 via 10.99.0.2 protocol 72 && ip route del 128.0.0.0/1 protocol 72");
	listen_for(l, &h.network, 1500);
	CHECK_EQ(h.network, 0);
}

/* Only whoever administers the network can send such a one, or a kernel that errs. */
TEST(what_lies_behind_a_message_is_no_part_of_it)
{
	_cleanup_(loop_freep) struct loop *l = NULL;
	_cleanup_(netwatch_freep) struct netwatch *w = NULL;
	_cleanup_close_ int fd = -1;
	struct {
		struct nlmsghdr h;
		struct ifinfomsg link;
		struct rtattr odd;
		uint8_t odd_value[4]; /* one byte of it */
		struct rtattr behind;
		char name[8];
	} m = {
		.h = { .nlmsg_type = RTM_DELLINK },
		.link = { .ifi_index = 9999 },
		.odd = { .rta_len = 5, .rta_type = IFLA_UNSPEC },
		.behind = { .rta_len = 9, .rta_type = IFLA_IFNAME },
		.name = "eth9",
	};
	/* The first such socket of a process has the number of the process. */
	struct sockaddr_nl to = { .nl_family = AF_NETLINK, .nl_pid = (uint32_t)getpid() };
	struct heard h = { 0 };

	network();
	CHECK_EQ(loop_new(&l), 0);
	CHECK_EQ(netwatch_new(&w, l, &ops, &h), 0);
	come_to_rest(l, &h);
	h = (struct heard){ 0 };
	m.h.nlmsg_len = NLMSG_LENGTH(sizeof(m.link)) + m.odd.rta_len;
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	CHECK_EQ(sendto(fd, &m, sizeof(m), 0, (const struct sockaddr *)&to, sizeof(to)), sizeof(m));
	listen_for(l, &h.device, 20000);
	CHECK_EQ(h.last, 9999);
	CHECK_EQ(h.network, 0);
}

TEST(a_network_that_never_rests_is_heard_once_a_second)
{
	_cleanup_(loop_freep) struct loop *l = NULL;
	_cleanup_(netwatch_freep) struct netwatch *w = NULL;
	struct heard h = { 0 };
	uint64_t began, took;
	unsigned int index;

	network();
	CHECK_EQ(loop_new(&l), 0);
	CHECK_EQ(netwatch_new(&w, l, &ops, &h), 0);
	come_to_rest(l, &h);
	began = clock_now_ms();
	for (int i = 0; i < 40; i++) {
		run(i % 2 ? "ip route replace default via 10.99.0.2 metric 10" : "ip route replace default via 10.99.0.3 metric 10");
		for (uint64_t end = clock_now_ms() + 100; clock_now_ms() < end;)
			loop_step(l, 20);
	}
	listen_for(l, &h.network, 60000);
	took = clock_now_ms() - began;
	CHECK(h.network >= 1);
	CHECK(h.network <= 1 + took / 1000);
	/* What is a tunnel's does not wait for that second. */
	index = if_nametoindex("hf0");
	h = (struct heard){ 0 };
	run("ip route replace default via 10.99.0.3 metric 10; ip addr del 10.9.0.1/30 dev hf0");
	listen_for(l, &h.device, 60000);
	CHECK_EQ(h.last, index);
	listen_for(l, &h.network, 60000);
	CHECK_EQ(h.network, 1);
}

/* The addresses of one device among many, in a network namespace of the test's own; without root there is nothing to test. */
#include "pskd/network/device_address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "unit/lib/test.h"

/* What the kernel tells. */
static size_t heard;

ssize_t recv(int fd, void *buf, size_t len, int flags)
{
	ssize_t n = syscall(SYS_recvfrom, fd, buf, len, flags, NULL, NULL);

	heard += n > 0 ? (size_t)n : 0;
	return n;
}

static void own_namespace(void)
{
	if (unshare(CLONE_NEWNET) < 0)
		test_skip("no network namespace: %s", strerror(errno));
	if (access("/dev/net/tun", R_OK | W_OK) < 0)
		test_skip("no /dev/net/tun");
}

static void device(const char *name)
{
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	struct ifreq ifr = { .ifr_flags = IFF_TUN | IFF_NO_PI };

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	CHECK(fd >= 0);
	CHECK_EQ(ioctl(fd, TUNSETIFF, &ifr), 0);
	/* It lives as long as the test. */
}

static void ip_addr(const char *what, const char *name)
{
	char command[200];

	snprintf(command, sizeof(command), "ip addr %s dev %s", what, name);
	if (system(command) != 0)
		test_fail(__FILE__, __LINE__, "%s failed", command);
}

static struct tunnel_addresses wanted(const char *v4, const char *v4_peer, uint8_t prefix, const char *v6)
{
	struct tunnel_addresses a = { .has_v4 = v4 != NULL, .v4_prefix = prefix, .has_v6 = v6 != NULL, .v6_prefix = 64 };

	if (v4)
		CHECK_EQ(inet_pton(AF_INET, v4, a.v4_local), 1);
	if (v4_peer)
		CHECK_EQ(inet_pton(AF_INET, v4_peer, a.v4_peer), 1);
	if (v6)
		CHECK_EQ(inet_pton(AF_INET6, v6, a.v6_local), 1);
	return a;
}

static void check(const struct tunnel_addresses *a, unsigned int right, bool foreign)
{
	struct device_addresses s;

	CHECK_EQ(device_addresses_look(&s, "hf0", a), 0);
	CHECK_EQ(s.right, right);
	CHECK_EQ(s.foreign, foreign);
}

TEST(addresses_are_judged_by_themselves_their_prefix_and_their_peer)
{
	struct tunnel_addresses net = wanted("10.1.0.1", NULL, 30, "fd01::1"), host = wanted("10.2.0.1", "10.2.0.2", 32, NULL);
	struct device_addresses s;

	own_namespace();
	CHECK_EQ(device_addresses_look(&s, "hf0", &net), -ENODEV);
	device("hf0");
	check(&net, 0, false);
	ip_addr("add 10.1.0.1/30", "hf0");
	ip_addr("add fd01::1/64", "hf0");
	check(&net, 2, false);
	check(&host, 0, true);
	ip_addr("del fd01::1/64", "hf0");
	check(&net, 1, false);
	ip_addr("add fe80::7/64", "hf0");
	check(&net, 1, false);
	ip_addr("add fd01::1/60", "hf0");
	check(&net, 1, true);
	ip_addr("flush", "hf0");
	ip_addr("add 10.2.0.1 peer 10.2.0.2/32", "hf0");
	check(&host, 1, false);
	host = wanted("10.2.0.1", "10.2.0.3", 32, NULL);
	check(&host, 0, true);
	host = wanted("10.2.0.1", NULL, 32, NULL);
	check(&host, 1, false);
}

TEST(the_kernel_tells_of_one_device_however_many_there_are)
{
	struct tunnel_addresses a = wanted("10.1.0.1", NULL, 30, "fd01::1");
	size_t alone;

	own_namespace();
	device("hf0");
	ip_addr("add 10.1.0.1/30", "hf0");
	ip_addr("add fd01::1/64", "hf0");
	heard = 0;
	check(&a, 2, false);
	alone = heard;
	CHECK(alone > 0);
	for (int i = 1; i < 40; i++) {
		char name[16], add[64];

		snprintf(name, sizeof(name), "hf%d", i);
		device(name);
		snprintf(add, sizeof(add), "add 10.1.%d.1/30", i);
		ip_addr(add, name);
	}
	heard = 0;
	check(&a, 2, false);
	CHECK_EQ(heard, alone);
}

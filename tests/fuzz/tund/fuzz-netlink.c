/* What the kernel answers about devices, addresses and routes, as datagrams of any content on a socket of ours. */
#include <assert.h>
#include <linux/netlink.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tund/netlink.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX = 8192 };

static int ours = -1, theirs;

/* Each part has a length of its own, and what is read of a dump ends. */
static void answer(const uint8_t *data, size_t size)
{
	static const struct nlmsghdr done = { .nlmsg_len = NLMSG_LENGTH(0), .nlmsg_type = NLMSG_DONE };

	if (size > 0)
		assert(send(theirs, data, size, 0) == (ssize_t)size);
	assert(send(theirs, &done, sizeof(done), 0) == sizeof(done));
}

static void drain(int fd)
{
	uint8_t buf[MAX];

	while (recv(fd, buf, sizeof(buf), MSG_DONTWAIT) >= 0)
		;
}

static void check_routes(uint8_t how, uint8_t len)
{
	static const uint8_t address[16] = { 10, 64, 0, 1 };
	struct prefix to = prefix_make(how & 1 ? 6 : 4, address, (uint8_t)(len % (how & 1 ? 129 : 33)));
	char what[128] = "";
	int r;

	if (how & 2) {
		/* What it takes away is acknowledged by what comes, or by nobody. */
		(void)netlink_drop_routes(ours, 9, &to, 1);
		return;
	}
	r = netlink_find_taken(ours, 9, &to, what, sizeof(what));
	assert(r <= 1 && memchr(what, 0, sizeof(what)));
	assert(r != 1 || *what);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t address[16] = { 10, 64, 0, 1 };
	char what[128];
	int r;

	if (ours < 0) {
		int pair[2];

		assert(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0);
		ours = pair[0];
		theirs = pair[1];
	}
	if (size < 2 || size > MAX)
		return 0;
	if (data[0] & 4) {
		answer(data + 2, (size - 2) / 2);
		answer(data + 2 + (size - 2) / 2, size - 2 - (size - 2) / 2);
		check_routes(data[0], data[1]);
	} else switch (data[0] & 3) {
	case 0:
		answer(data + 2, size - 2);
		(void)netlink_is_tun(ours, 1);
		break;
	case 1:
		answer(data + 2, size - 2);
		(void)netlink_set_up(ours, 1, 1400);
		break;
	default:
		answer(data + 2, (size - 2) / 2);
		answer(data + 2 + (size - 2) / 2, size - 2 - (size - 2) / 2);
		memset(what, 0, sizeof(what));
		r = netlink_find_conflict(ours, 9, data[0] & 1 ? AF_INET6 : AF_INET, address, data[1] % (data[0] & 1 ? 129 : 33), what, sizeof(what));
		assert(r <= 1 && memchr(what, 0, sizeof(what)));
		assert(r != 1 || *what);
	}
	drain(ours);
	drain(theirs);
	return 0;
}

/* Answers as the kernel would not write them. */
#include "tund/netlink.h"

#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "unit/lib/test.h"

static void say(int fd, const void *data, size_t len)
{
	CHECK_EQ(send(fd, data, len, 0), (ssize_t)len);
}

TEST(i4_a_message_that_ends_unaligned_is_the_last)
{
	static const uint8_t address[4] = { 10, 64, 0, 1 };
	const struct nlmsghdr done = { .nlmsg_len = NLMSG_LENGTH(0), .nlmsg_type = NLMSG_DONE };
	_Alignas(struct nlmsghdr) uint8_t odd[NLMSG_LENGTH(0) + 1] = { 0 };
	const struct nlmsghdr head = { .nlmsg_len = sizeof(odd), .nlmsg_type = RTM_NEWADDR };
	char what[64] = "";
	int pair[2];

	memcpy(odd, &head, sizeof(head));
	CHECK_EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
	for (int i = 0; i < 2; i++) {
		say(pair[1], odd, sizeof(odd));
		say(pair[1], &done, sizeof(done));
	}
	CHECK_EQ(netlink_find_conflict(pair[0], 9, AF_INET, address, 24, what, sizeof(what)), 0);
	close(pair[0]);
	close(pair[1]);
}

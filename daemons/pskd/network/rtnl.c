/* rtnetlink(7): with a strict check the kernel looks at what a dump is to be limited to. */
#include "pskd/network/rtnl.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/cleanup.h"

/* The kernel's own macros step from record to record by char *; it aligns them. */
#pragma GCC diagnostic ignored "-Wcast-align"

#define REPLY_MAX 32768
#define PATIENCE_S 5

int rtnl_open(void)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	const struct timeval patience = { .tv_sec = PATIENCE_S };
	const int on = 1;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof(on));
	return fd;
}

int rtnl_dump(int fd, const struct nlmsghdr *q, void (*fn)(const struct nlmsghdr *h, void *arg), void *arg)
{
	_cleanup_free_ uint8_t *buf = malloc(REPLY_MAX);

	if (!buf)
		return -ENOMEM;
	if (send(fd, q, q->nlmsg_len, 0) < 0)
		return -errno;
	for (;;) {
		const struct nlmsghdr *h = (const void *)buf;
		ssize_t n = recv(fd, buf, REPLY_MAX, 0);

		if (n < 0)
			return -errno;
		for (size_t left = (size_t)n; NLMSG_OK(h, left);) {
			size_t len = NLMSG_ALIGN(h->nlmsg_len);

			if (h->nlmsg_type == NLMSG_DONE)
				return 0;
			if (h->nlmsg_type == NLMSG_ERROR)
				return -EPROTO;
			fn(h, arg);
			if (len >= left)
				break;
			left -= len;
			h = (const void *)((const uint8_t *)h + len);
		}
	}
}

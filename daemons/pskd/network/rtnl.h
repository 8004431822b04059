/* Questions to the kernel that it answers for one device alone (Linux 4.20); an older one tells of all. */
#pragma once

#include <linux/rtnetlink.h>
#include <stddef.h>
#include <stdint.h>

/* A socket for them, or a negative errno. */
int rtnl_open(void);
/*
 * Send q, which asks for a dump, and hand each message of the answer to fn, which passes over what it did not ask
 * for. 0 when all was read, or a negative errno.
 */
int rtnl_dump(int fd, const struct nlmsghdr *q, void (*fn)(const struct nlmsghdr *h, void *arg), void *arg);

/* As RTA_NEXT() does, which takes more than there is when the last attribute's length is not aligned. */
static inline const struct rtattr *rtnl_next(const struct rtattr *a, size_t *left)
{
	size_t step = RTA_ALIGN(a->rta_len);

	*left -= step < *left ? step : *left;
	return (const void *)((const uint8_t *)a + step);
}

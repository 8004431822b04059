/* The few rtnetlink requests that a TUN device needs; blocking, in microseconds. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A NETLINK_ROUTE socket or a negative errno. */
int netlink_open(void);

/* No IPv6 address but those given: a tunnel's packets cost key material, and chatter is packets. 0 or negative errno. */
int netlink_quiet(int nl, int ifindex);
/* Whether the device is a TUN or TAP. */
bool netlink_is_tun(int nl, int ifindex);
/* 0 or a negative errno. */
int netlink_set_up(int nl, int ifindex, uint16_t mtu);
/*
 * family AF_INET or AF_INET6, addresses of 4 or 16 bytes. peer NULL: the
 * prefix is a subnet; else a point-to-point address. 0 or a negative errno.
 */
int netlink_add_address(int nl, int ifindex, int family, const uint8_t *local, const uint8_t *peer,
			uint8_t prefix);

/*
 * Look for an address on another device whose subnet overlaps ours, or a
 * route to the same or a smaller network. 0: none; 1: there is one, described
 * in what; negative errno.
 */
int netlink_find_conflict(int nl, int ifindex, int family, const uint8_t *address, uint8_t prefix,
			  char *what, size_t cap);

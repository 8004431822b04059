/* The few rtnetlink requests that a TUN device needs; blocking, in microseconds. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/prefix.h"

/* A NETLINK_ROUTE socket or a negative errno. */
int netlink_open(void);

/* No IPv6 address but those given: a tunnel's packets cost key material, and chatter is packets. 0 or negative errno. */
int netlink_quiet(int nl, int ifindex);
/* Whether the device is a TUN or TAP. */
bool netlink_is_tun(int nl, int ifindex);
/* 0 or a negative errno. */
int netlink_set_up(int nl, int ifindex, uint16_t mtu);
/* How many packets may wait for whoever reads the device. 0 or a negative errno. */
int netlink_set_queue(int nl, int ifindex, uint32_t packets);
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

/* The route that comes with an address, which somebody may have taken; one that is there already is -EEXIST. */
int netlink_add_connected(int nl, int ifindex, const struct prefix *to, const uint8_t *local);
/* A route to the device, marked as ours; one that is there already is -EEXIST. 0 or a negative errno. */
int netlink_add_route(int nl, int ifindex, const struct prefix *to);
/* Take away what we set to the device, but the n routes of keep. 0 or a negative errno. */
int netlink_drop_routes(int nl, int ifindex, const struct prefix *keep, size_t n);
/*
 * Look for what a route to the device would take from another one: a network
 * that it is in itself (by an address, or a route without gateway) and that the
 * route is a part of, or a route to just the same. A narrower network keeps its
 * packets, and a gateway's wider one is there to be refined. Answers as above.
 */
int netlink_find_taken(int nl, int ifindex, const struct prefix *to, char *what, size_t cap);

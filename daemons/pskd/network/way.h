/*
 * By which device packets to a peer leave when a route of its own tunnel covers the peer: they would go into the
 * tunnel, and round in circles. So they take the way that there would be without it.
 */
#pragma once

#include <stdint.h>

struct sockaddr_in6;

/* There is none but through the tunnel itself. */
#define WAY_NONE UINT32_MAX

/*
 * The index of the device to send by to there, of a tunnel whose own device is ifindex: 0 where the kernel's own
 * choice is right, or nobody knows better; or WAY_NONE. Asks the kernel, some microseconds for each device.
 */
uint32_t way_find(const struct sockaddr_in6 *to, unsigned int ifindex);

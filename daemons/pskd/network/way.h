/*
 * By which device packets to a peer leave when a route of its own tunnel covers the peer: they would go into the
 * tunnel, and round in circles. So they take the way that there would be without it.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

/* There is none but through the tunnel itself. */
#define WAY_NONE UINT32_MAX

/*
 * The index of the device to send by to there, of a tunnel whose own device is ifindex: 0 where the kernel's own
 * choice is right, or nobody knows better; or WAY_NONE. Asks the kernel, some microseconds for each device.
 */
uint32_t way_find(const struct sockaddr_in6 *to, unsigned int ifindex);

/* How packets to somewhere leave: by which device, to whom there (none: all zeros), and from which address; IPv4 mapped. */
struct way_out {
	uint32_t ifindex;
	struct in6_addr gateway, source;
};

/* The way to there by this device (0: any), as the kernel has it now. 0, or a negative errno: there is none. */
int way_look(struct way_out *out, const struct sockaddr_in6 *to, uint32_t by);
bool way_same(const struct way_out *a, const struct way_out *b);

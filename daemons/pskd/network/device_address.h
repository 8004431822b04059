/* The addresses of a tunnel's device, as the kernel has them now. */
#pragma once

#include <stdbool.h>

#include "pskd/network/address.h"

struct device_addresses {
	unsigned int right; /* of the tunnel's */
	bool foreign;	    /* and one that is not */
};

/* Those of ifname beside the wanted; its link-local ones do not count. 0, -ENODEV, or another negative errno. */
int device_addresses_look(struct device_addresses *out, const char *ifname, const struct tunnel_addresses *wanted);

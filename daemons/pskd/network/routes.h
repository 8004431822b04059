/* The routes that tund has set to a device, as the kernel has them now. */
#pragma once

#include <stdbool.h>

#include "pskd/network/address.h"

/*
 * Whether the device has the tunnel's, and those to the networks of its addresses, whoever set them, and none else
 * that tund has set.
 */
bool routes_are(const char *ifname, const struct tunnel_addresses *a);

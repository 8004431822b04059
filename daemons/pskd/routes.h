/* The routes that tund has set to a device, as the kernel has them now. */
#pragma once

#include <stdbool.h>

#include "pskd/networks.h"

/* Whether the device has these, whoever set them, and none else that tund has set. */
bool routes_are(const char *ifname, const struct networks *wanted);

/* The routes that tund has set to a device, as the kernel has them now. */
#pragma once

#include <stdbool.h>

#include "pskd/networks.h"

/* Whether they are these and no others. */
bool routes_are(const char *ifname, const struct networks *wanted);

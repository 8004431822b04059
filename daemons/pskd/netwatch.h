/* Tells when this machine's network changed: whoever looks for a peer need not wait for its timer. */
#pragma once

#include "base/cleanup.h"

struct loop;
struct netwatch;

/*
 * fn(arg) comes from the loop, once for changes close together: an interface
 * came up, an address came. Devices of tunnels do not count. 0 or a negative errno.
 */
int netwatch_new(struct netwatch **out, struct loop *l, void (*fn)(void *arg), void *arg);
struct netwatch *netwatch_free(struct netwatch *w);
DEFINE_CLEANUP(struct netwatch *, netwatch_free);

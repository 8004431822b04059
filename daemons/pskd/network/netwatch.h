/*
 * Tells when this machine's network changed: whoever looks for a peer need not
 * wait for its timer, and whoever lost its device's addresses sets them again.
 */
#pragma once

#include "base/cleanup.h"

struct loop;
struct netwatch;
struct prefix;

struct netwatch_ops {
	/*
	 * Once for changes close together, and once a second at most: an interface, an address or a default route came
	 * or went. Devices of tunnels do not count.
	 */
	void (*on_network)(void *arg);
	/*
	 * A device of a tunnel, or what tund gave it, was changed or taken away by
	 * somebody; also once for changes close together. 0: nobody knows which.
	 */
	void (*on_device)(unsigned int ifindex, void *arg);
	/* The device of the tunnel that has this route, 0: none has. */
	unsigned int (*route_device)(const struct prefix *to, void *arg);
};

/* Both come from the loop. 0 or a negative errno. */
int netwatch_new(struct netwatch **out, struct loop *l, const struct netwatch_ops *ops, void *arg);
struct netwatch *netwatch_free(struct netwatch *w);
DEFINE_CLEANUP(struct netwatch *, netwatch_free);

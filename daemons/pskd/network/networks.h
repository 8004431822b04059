/* The networks of a tunnel as its file names them: those behind the peer, and those the peer may speak for. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"
#include "proto/prefix.h"
#include "proto/tund_msg.h"

#define NETWORKS_MAX TUND_ROUTES_MAX

struct networks {
	size_t n;
	struct prefix v[NETWORKS_MAX];
};

/* For config_option: NULL when the value is one, else what would be. */
const char *networks_check_route(const char *value);
const char *networks_check_allowed(const char *value);

/*
 * What a checked list names. Of routes, "default" is the halves of both
 * families' worlds, and 0.0.0.0/0 and ::/0 are those of one: the machine's own
 * default route stays beside them. 0, or -E2BIG: more than NETWORKS_MAX.
 */
int networks_routes(struct networks *out, const struct config_list *list);
int networks_allowed(struct networks *out, const struct config_list *list);
bool networks_have_family(const struct networks *n, uint8_t family);
/* One that both have, or NULL: no two tunnels can have the same route. */
const struct prefix *networks_common(const struct networks *a, const struct networks *b);

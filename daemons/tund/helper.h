/* The helper's socket: who may ask, and one answer a question. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/cleanup.h"

struct loop;
struct helper;

/* What callers may ask for beyond the private networks. */
struct helper_rules {
	bool any_address, any_route;
};

/* users: the uids that may ask, besides root; copied. Takes listen_fd on success. 0 or a negative errno. */
int helper_new(struct helper **out, struct loop *l, int listen_fd, const uid_t *users, size_t n_users,
	       const struct helper_rules *rules);
struct helper *helper_free(struct helper *h);
DEFINE_CLEANUP(struct helper *, helper_free);

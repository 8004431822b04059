/*
 * Generations of the server's keys (OPRF seed and AKE key), with the password stretching that their
 * users chose. The newest one is for registrations; the one before it serves who has not moved yet. At most two live.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "crypto/opaque.h"

struct json_t;
struct keys;
struct state;

struct generation {
	int64_t id;
	struct opaque_keys *keys;
	uint32_t memory_kib, passes; /* Argon2id */
	int64_t created_at;
	uint8_t names_key[32]; /* see keys_for_nobody() */
};

enum { KEYS_E_TWO = 1, KEYS_E_NO_SUCH, KEYS_E_NEWEST, KEYS_E_IN_USE, KEYS_E_BROKEN };

/*
 * Load, and make the first generation where there is none. *sealed tells how many were sealed now. 0,
 * KEYS_E_BROKEN (keys at rest are damaged), or a negative errno.
 */
int keys_open(struct keys **out, struct state *s, uint32_t memory_kib, uint32_t passes, size_t *sealed);
struct keys *keys_free(struct keys *k);
DEFINE_CLEANUP(struct keys *, keys_free);

const struct generation *keys_newest(const struct keys *k);
/* NULL for a generation that is retired, or never was. */
const struct generation *keys_find(const struct keys *k, int64_t id);
size_t keys_count(const struct keys *k);
const struct generation *keys_at(const struct keys *k, size_t i);

/*
 * Which generation answers for a name that nobody has: users move to a new one with time, and so do
 * these names, each at a time of its own that nobody can tell beforehand, and some never. now: state_now().
 */
const struct generation *keys_for_nobody(const struct keys *k, const char *name, int64_t now);

/* A new generation. 0, KEYS_E_TWO (retire the old one first), or a negative errno. */
int keys_rotate(struct keys *k, uint32_t memory_kib, uint32_t passes);
/*
 * Erase the one before the newest. Users that are still of it need a new invitation: without force, when there are
 * any, KEYS_E_IN_USE. 0, KEYS_E_NO_SUCH, KEYS_E_NEWEST, or a negative errno.
 */
int keys_retire(struct keys *k, int64_t id, bool force);
/* {name, memory_kib, passes, parallelism}: what a client stretches its password by. A new reference, NULL without memory. */
struct json_t *generation_json(const struct generation *g);
/* One that another server made, unloaded, with its keys as they are. 0 or a negative errno. */
int keys_import(struct state *s, int64_t id, const uint8_t keys[static OPAQUE_KEYS_LEN], const struct generation *g);
/* Users of a generation. */
int keys_users(struct keys *k, int64_t id, int64_t *out);

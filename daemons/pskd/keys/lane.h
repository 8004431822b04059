/*
 * The drawn slots of one direction: a window [from, to) over the row of slots, in secret memory.
 * For a ratchet each comes with its chain, and the chain of the next one not drawn.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pskd/keys/keys.h"
#include "pskd/keys/ratchet.h"

struct secret;

struct lane {
	struct secret *mem;
	struct slot_key *ring;
	uint8_t (*chains)[RATCHET_CHAIN_LEN]; /* NULL for a key file */
	uint8_t *next_chain;		      /* the chain at `to` */
	unsigned int direction;
	size_t cap;
	uint64_t from, to;
	uint64_t base; /* the first slot still wanted; `to` follows when it is behind */
	bool held;     /* drawing failed just now: not again yet */
	int error;     /* of the last attempt: 0, -EBADMSG (the file changed) or another negative errno */
};

/* Room for cap slots. 0 or -ENOMEM. */
int lane_init(struct lane *l, unsigned int direction, bool is_ratchet, size_t cap);
void lane_done(struct lane *l);

/* Begin at slot, with its chain (NULL for a key file); nothing before base is wanted. */
void lane_start(struct lane *l, uint64_t slot, const uint8_t *chain, uint64_t base);

static inline bool lane_has(const struct lane *l, uint64_t slot)
{
	return slot >= l->from && slot < l->to;
}

/* The slot, which must be there. */
static inline const struct slot_key *lane_slot(const struct lane *l, uint64_t slot)
{
	return &l->ring[slot % l->cap];
}

/* The chain at slot, or NULL when it is not at hand. Ratchet only. */
const uint8_t *lane_chain(const struct lane *l, uint64_t slot);

/* Where drawing goes on. */
static inline uint64_t lane_next(const struct lane *l)
{
	return l->to > l->base ? l->to : l->base;
}

/* Slots before base are not needed any more, and are wiped. */
void lane_release(struct lane *l, uint64_t base);

/* Put what was drawn from first = an earlier lane_next() on; chains (n + 1 of them) for a ratchet. */
void lane_put(struct lane *l, uint64_t first, size_t n, const struct slot_key *slots,
	      uint8_t (*chains)[RATCHET_CHAIN_LEN]);

/*
 * A ring of bits, as in RFC 6479: whole words are cleared as the window moves,
 * so that nothing shifts. One word more than the window keeps the promise that
 * size packets behind the highest are always judged.
 */
#include "pskd/packet/replay.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define WORD_BITS 64u

struct replay {
	uint64_t first; /* the floor of an earlier life */
	uint64_t next;
	uint32_t size;
	uint32_t words;
	uint64_t bits[];
};

int replay_new(struct replay **out, uint32_t size, uint64_t floor)
{
	uint32_t words = size / WORD_BITS + 1;
	struct replay *r;

	assert(size % WORD_BITS == 0 && size > 0);
	r = calloc(1, sizeof(*r) + words * sizeof(r->bits[0]));
	if (!r)
		return -ENOMEM;
	r->size = size;
	r->words = words;
	r->first = floor;
	r->next = floor;
	*out = r;
	return 0;
}

struct replay *replay_free(struct replay *r)
{
	free(r);
	return NULL;
}

uint64_t replay_floor(const struct replay *r)
{
	uint64_t low = r->next > r->size ? r->next - r->size : 0;

	return low > r->first ? low : r->first;
}

uint64_t replay_next(const struct replay *r)
{
	return r->next;
}

static uint64_t *word_of(struct replay *r, uint64_t sequence)
{
	assert(r->words > 0);
	return &r->bits[sequence / WORD_BITS % r->words];
}

enum replay_verdict replay_check(const struct replay *r, uint64_t sequence)
{
	if (sequence >= r->next)
		return REPLAY_NEW;
	if (sequence < replay_floor(r))
		return REPLAY_OLD;
	if (r->bits[sequence / WORD_BITS % r->words] >> (sequence % WORD_BITS) & 1)
		return REPLAY_SEEN;
	return REPLAY_NEW;
}

void replay_accept(struct replay *r, uint64_t sequence)
{
	if (sequence >= r->next) {
		/* Words between the old top and the new one hold bits of a lap before. */
		uint64_t top = r->next ? (r->next - 1) / WORD_BITS : 0;
		uint64_t steps = sequence / WORD_BITS - top;

		if (steps > r->words)
			steps = r->words;
		for (uint64_t i = 1; i <= steps; i++)
			r->bits[(top + i) % r->words] = 0;
		r->next = sequence + 1;
	}
	*word_of(r, sequence) |= UINT64_C(1) << (sequence % WORD_BITS);
}

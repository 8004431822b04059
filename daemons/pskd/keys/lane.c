/* A ring indexed by slot number; what leaves the window is wiped at once. */
#include "pskd/keys/lane.h"

#include <string.h>

#include "crypto/secret.h"

int lane_init(struct lane *l, unsigned int direction, bool is_ratchet, size_t cap)
{
	size_t chains = is_ratchet ? (cap + 1) * RATCHET_CHAIN_LEN : 0;
	uint8_t *p;
	int r;

	r = secret_new(&l->mem, cap * sizeof(*l->ring) + chains, &p);
	if (r)
		return r;
	l->direction = direction;
	l->cap = cap;
	if (is_ratchet) {
		l->chains = (void *)p;
		l->next_chain = l->chains[cap];
	}
	l->ring = (void *)(p + chains);
	return 0;
}

void lane_done(struct lane *l)
{
	secret_free(l->mem);
	*l = (struct lane){ 0 };
}

void lane_start(struct lane *l, uint64_t slot, const uint8_t *chain, uint64_t base)
{
	l->from = l->to = slot;
	l->base = base;
	if (l->chains)
		memcpy(l->next_chain, chain, RATCHET_CHAIN_LEN);
}

const uint8_t *lane_chain(const struct lane *l, uint64_t slot)
{
	if (slot == l->to)
		return l->next_chain;
	return lane_has(l, slot) ? l->chains[slot % l->cap] : NULL;
}

static void forget_before(struct lane *l, uint64_t base)
{
	for (; l->from < l->to && l->from < base; l->from++) {
		wipe(&l->ring[l->from % l->cap], sizeof(*l->ring));
		if (l->chains)
			wipe(l->chains[l->from % l->cap], RATCHET_CHAIN_LEN);
	}
}

void lane_release(struct lane *l, uint64_t base)
{
	if (base <= l->base)
		return;
	l->base = base;
	forget_before(l, base);
}

void lane_put(struct lane *l, uint64_t first, size_t n, const struct slot_key *slots,
	      uint8_t (*chains)[RATCHET_CHAIN_LEN])
{
	if (l->from == l->to)
		l->from = first;
	for (size_t i = 0; i < n; i++) {
		l->ring[(first + i) % l->cap] = slots[i];
		if (l->chains)
			memcpy(l->chains[(first + i) % l->cap], chains[i], RATCHET_CHAIN_LEN);
	}
	if (l->chains)
		memcpy(l->next_chain, chains[n], RATCHET_CHAIN_LEN);
	l->to = first + n;
	/* Some may have been let go while they were drawn. */
	forget_before(l, l->base);
}

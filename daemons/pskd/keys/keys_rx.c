/*
 * Receiving: which slots there are to open with, and the mark. Without handshakes nothing is acted on before a mark
 * above it is durable: keys_rx_usable() tells up to where that is, and looks at every record that a later life could
 * possibly find, as tx_usable() of keys.c does.
 */
#include "pskd/keys/keys_internal.h"

#include <errno.h>

#include "base/clock.h"
#include "pskd/packet/drops.h"

enum {
	RX_WAIT_MS = 50,	 /* prototype: how long one packet may wait for the disk */
	INLINE_STEPS_MAX = 4096, /* about 10 ms of hashing */
};

uint64_t keys_rx_usable(const struct keys *k)
{
	uint64_t usable = min_u64(k->newest->rx_mark, k->attempt_rx);

	if (!k->prototype)
		return k->end;
	/* Whoever finds an older life's word of what was received must see that it is older: received.c. */
	if (ledger_writes(k->ledger) < k->rx_writes)
		return 0;
	if (k->other_ok)
		usable = min_u64(usable, k->other->rx_mark + k->other->rx_limit);
	return usable;
}

uint64_t keys_rx_exact(const struct keys *k)
{
	uint64_t high = figure_get(&k->rx_high);

	return max_u64(k->rx_floor, high == LEDGER_NONE ? 0 : high + 1);
}

/* The first sequence that the replay window can still accept. */
static uint64_t rx_window_start(const struct keys *k)
{
	uint64_t exact = keys_rx_exact(k);

	return max_u64(k->rx_floor, exact > k->window ? exact - k->window : 0);
}

uint64_t keys_rx_need(const struct keys *k)
{
	return ledger_slot(max_u64(keys_rx_exact(k), k->rx_expect)) + SLOTS_AHEAD + 1;
}

const struct slot_key *keys_rx_slot(const struct keys *k, uint64_t slot)
{
	if (!lane_has(&k->rx, slot) || slot >= keys_rx_need(k))
		return NULL;
	return lane_slot(&k->rx, slot);
}

uint64_t keys_rx_floor(const struct keys *k)
{
	return k->rx_floor;
}

uint64_t keys_rx_high(const struct keys *k)
{
	uint64_t exact = keys_rx_exact(k);

	return exact > 0 ? exact - 1 : UINT64_MAX;
}

/* Prototype: have the mark above seq on disk before anyone acts on seq. */
static bool rx_make_durable(struct keys *k, uint64_t seq)
{
	uint64_t until_us;

	k->settle = false;
	if (seq + RX_AHEAD / 2 < keys_rx_usable(k))
		return true;
	k->rx_wanted = max_u64(k->rx_wanted, seq + 1 + RX_AHEAD);
	keys_kick(k);
	if (seq < keys_rx_usable(k)) {
		k->rx_impatient = false;
		return true;
	}
	/*
	 * Dropping is right, but after a silence it would hit every single packet of a slow
	 * conversation. A short wait is less than the retransmission would be; the kernel
	 * queues what comes meanwhile.
	 */
	until_us = clock_now_us() + RX_WAIT_MS * 1000;
	/* A life's first packet waits for one record more. */
	if (ledger_writes(k->ledger) < k->rx_writes)
		until_us += RX_WAIT_MS * 1000;
	while (!k->rx_impatient && seq >= keys_rx_usable(k) && ledger_is_busy(k->ledger)) {
		uint64_t now_us = clock_now_us();

		if (now_us >= until_us || !ledger_wait(k->ledger, (unsigned int)((until_us - now_us) / 1000 + 1)))
			k->rx_impatient = true;
	}
	return seq < keys_rx_usable(k);
}

bool keys_rx_advance(struct keys *k, uint64_t highest)
{
	bool new_slot;

	if (highest >= k->end || highest < k->rx_floor ||
	    (k->rx_high != LEDGER_NONE && highest <= k->rx_high))
		return highest < k->end && highest >= k->rx_floor;
	if (k->prototype && !rx_make_durable(k, highest))
		return false;

	new_slot = k->rx_high == LEDGER_NONE || ledger_slot(highest) != ledger_slot(k->rx_high);
	figure_set(&k->rx_high, highest);
	if (k->received)
		received_set(k->received, highest + 1);
	if (!new_slot)
		return true;
	lane_release(&k->rx, ledger_slot(rx_window_start(k)));
	if (!k->prototype && keys_rx_exact(k) - k->newest->rx_mark > k->block_max / 2)
		k->due = true;
	if (keys_has_work(k))
		keys_kick_soon(k);
	return true;
}

/* KEYS_E_NEEDS_BURN, negative errno, or 0: *draw when the slots there are wanted at once. */
static int rx_expect(struct keys *k, uint64_t next, bool burn, bool *draw)
{
	HOLD(k->thread);
	uint64_t exact = keys_rx_exact(k), steps;

	if (next > k->end)
		return -ERANGE;
	/* What was agreed to once, by a burn perhaps, needs no second word. */
	exact = max_u64(exact, k->rx_expect);
	if (next <= exact || next == k->end)
		return 0;
	if (next - exact > keys_jump_limit(k, burn))
		return KEYS_E_NEEDS_BURN;

	k->rx_expect = max_u64(k->rx_expect, next);
	/* Beyond the window nothing that came before can come any more. */
	if (next - exact > k->window) {
		k->rx_floor = next;
		if (k->received)
			received_set(k->received, keys_rx_exact(k));
		lane_release(&k->rx, ledger_slot(next));
	}
	/* The peer's first packets are on their way: if it takes but a moment, do it now. */
	steps = k->rx.base > k->rx.to ? k->rx.base - k->rx.to : 0;
	*draw = k->file || steps <= INLINE_STEPS_MAX;
	k->asked = true;
	return 0;
}

int keys_rx_forward(struct keys *k, uint64_t next, bool burn)
{
	bool draw = false;
	int r = rx_expect(k, next, burn, &draw);

	if (r)
		return r;
	if (draw)
		(void)keys_draw_now(k, &k->rx, keys_rx_missing);
	keys_go_on(k);
	return 0;
}

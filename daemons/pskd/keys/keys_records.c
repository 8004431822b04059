/*
 * The ledger's records: what the next one should say, when it is due, and what those that may be on the disk allow.
 * Before one is written attempt() notes what it allows, for a later life may find it from then on; when it is durable
 * adopt() takes its word; and when writing failed give_up() keeps to the least that any of them allows. This is what
 * tx_usable() of keys.c and keys_rx_usable() rest on.
 */
#include "pskd/keys/keys_internal.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"

enum {
	BLOCK_BURST_MS = 50,   /* used up sooner than this: eight times as much */
	BLOCK_FAST_MS = 1000,  /* sooner than this: double it */
	BLOCK_SLOW_MS = 30000, /* later: halve it */
};

/* Up to where sequences should be usable now: a block on, or to where the slots end that could be drawn. */
static uint64_t tx_goal(const struct keys *k)
{
	uint64_t goal = min_u64(k->tx_next + k->block, k->end);

	return k->tx.held ? min_u64(goal, k->tx.to * SLOT_PACKETS) : goal;
}

static uint64_t next_reserve(const struct keys *k)
{
	uint64_t now = k->newest->tx_reserved;

	if (k->closing)
		return k->tx_next;
	if (k->tx_wanted)
		return max_u64(max_u64(tx_goal(k), k->tx_next), now);
	if (k->settle && now > k->tx_next + BLOCK_MIN)
		return min_u64(k->tx_next + BLOCK_MIN, k->end);
	return max_u64(now, k->tx_next);
}

static uint64_t next_mark(const struct keys *k)
{
	/* What is erased cannot be received any more. */
	uint64_t least = max_u64(keys_rx_exact(k), k->edge.to * SLOT_PACKETS);

	if (!k->prototype || k->settle || k->closing)
		return least;
	return max_u64(max_u64(k->newest->rx_mark, least), min_u64(k->rx_wanted, k->end));
}

/*
 * The ratchet's chain at the slot of seq: from the lane, or the newest record's
 * own. NULL while a job is still on its way there.
 */
static const uint8_t *chain_at(const struct lane *l, uint64_t seq, uint64_t recorded_seq,
			       const uint8_t *recorded)
{
	if (ledger_slot(seq) == ledger_slot(recorded_seq))
		return recorded;
	return lane_chain(l, ledger_slot(seq));
}

/*
 * True while a record still holds a chain whose slot both this life and the
 * next have left behind: with it, the disk would tell the keys of packets that are past.
 */
bool keys_chains_lag(const struct keys *k)
{
	uint64_t rx = keys_rx_exact(k);

	if (k->file || !chain_at(&k->rx, rx, k->newest->rx_mark, k->newest->rx_chain))
		return false;
	return !k->other_ok || ledger_slot(k->newest->rx_mark) < ledger_slot(rx) ||
	       ledger_slot(k->other->rx_mark) < ledger_slot(rx) ||
	       ledger_slot(k->other->tx_reserved) < ledger_slot(k->tx_next);
}

/* What the next record should say, in k->work. */
static void compose(struct keys *k)
{
	const struct ledger_record *now = k->newest;
	uint64_t reserve = next_reserve(k), mark = next_mark(k);
	struct ledger_record *r = k->work;
	const uint8_t *chain;

	*r = *now;
	chain = k->file ? r->tx_chain : chain_at(&k->tx, reserve, now->tx_reserved, now->tx_chain);
	/* Without its chain a mark stays as it is: what lies beyond is not usable yet either. */
	if (chain) {
		r->tx_next = k->tx_next;
		r->tx_reserved = reserve;
		memmove(r->tx_chain, chain, RATCHET_CHAIN_LEN);
	}
	chain = k->file ? r->rx_chain : chain_at(&k->rx, mark, now->rx_mark, now->rx_chain);
	if (chain) {
		r->rx_high = k->rx_high;
		r->rx_mark = mark;
		memmove(r->rx_chain, chain, RATCHET_CHAIN_LEN);
	}
	r->tx_limit = (uint32_t)k->block_max;
	r->rx_limit = k->prototype ? RX_AHEAD : 0;
	r->handshaken = k->handshaken;
	/* A handshake finds out what was used since. */
	r->restored = now->restored && !k->handshaken;
	r->erase_to = k->edge.to;
	memcpy(r->edge_sum, k->edge.sum, sizeof(r->edge_sum));
	r->erased = k->erased;
}

/* From here on the record may be found by a later life. */
static void attempt(struct keys *k)
{
	k->attempt_tx = min_u64(k->attempt_tx, k->work->tx_reserved);
	k->attempt_rx = min_u64(k->attempt_rx, k->work->rx_mark);
	if (k->received)
		received_expect(k->received, k->generation + ledger_writes(k->ledger) + 1);
}

/*
 * Writing failed: the block holds what it held, what we wrote, or neither. While it may still hold the
 * old record, what that one promised binds as before.
 */
static void give_up(struct keys *k)
{
	if (k->other_ok) {
		k->attempt_tx = min_u64(k->attempt_tx, k->other->tx_reserved + k->other->tx_limit);
		k->attempt_rx = min_u64(k->attempt_rx, k->other->rx_mark + k->other->rx_limit);
	}
	k->other_ok = false;
}

static void adopt(struct keys *k, const struct ledger_record *r)
{
	*k->other = *k->newest;
	*k->newest = *r;
	k->other_ok = true;
	k->attempt_tx = k->attempt_rx = UINT64_MAX;
	k->hold_erase = k->erase_error == -EBADMSG;
}

static void resize_block(struct keys *k)
{
	uint64_t now = clock_now_ms(), took = now - k->reserved_ms;

	k->reserved_ms = now;
	/* A burst begins: catch up with it in a few writes. */
	if (took < BLOCK_BURST_MS)
		k->block = min_u64(k->block * 8, k->block_max);
	else if (took < BLOCK_FAST_MS)
		k->block = min_u64(k->block * 2, k->block_max);
	else if (took > BLOCK_SLOW_MS)
		k->block = max_u64(k->block / 2, min_u64(BLOCK_MIN, k->block_max));
}

void keys_on_written(int error, const struct ledger_record *r, void *arg)
{
	struct keys *k = arg;
	HOLD(k->thread);

	if (error) {
		give_up(k);
		k->write_error = error;
		keys_retry_later(k, &k->hold_writes, error);
		return;
	}
	if (r->tx_reserved > k->newest->tx_reserved)
		resize_block(k);
	adopt(k, r);
	if (k->write_error) {
		/* It works again: whoever was told of the error hears that, too. */
		k->write_error = 0;
		k->retry_ms = 0;
		keys_tell(k, 0);
	}
	k->rx_durable_ms = clock_now_ms();
	if (keys_tx_left(k) >= min_u64(k->block / 2, k->end - k->tx_next))
		k->tx_wanted = false;
	if (k->rx_wanted <= keys_rx_usable(k))
		k->rx_wanted = 0;
	if (k->settling)
		k->settle = false;
	keys_tell_waiting(k);
	keys_kick(k);
}

bool keys_record_is_due(const struct keys *k)
{
	uint64_t goal = tx_goal(k);

	if (k->tx_wanted && k->tx_next + keys_tx_left(k) < goal && k->tx.to >= keys_slots_for(goal))
		return true;
	if (k->prototype && k->rx_wanted > keys_rx_usable(k))
		return true;
	return k->settle || k->due || (k->tidy && (keys_erase_wants_record(k) || keys_chains_lag(k)));
}

void keys_submit_record(struct keys *k)
{
	k->due = false;
	k->settling = k->settle;
	compose(k);
	attempt(k);
	ledger_submit(k->ledger, k->work);
}

/* ---- by hand ---- */

static void begin_write(struct keys *k, bool marks_only)
{
	HOLD(k->thread);
	bool wanted = k->tx_wanted;

	if (marks_only)
		k->tx_wanted = false;
	compose(k);
	k->tx_wanted = wanted;
	attempt(k);
}

static void end_write(struct keys *k, bool good)
{
	HOLD(k->thread);

	if (good)
		adopt(k, k->work);
	else
		give_up(k);
}

/* So many records. marks_only: no more is reserved for what traffic wants. */
static int write_records(struct keys *k, unsigned int times, bool marks_only)
{
	bool held = k->hold;
	int r;

	/* The one in flight first, for what it says is the base of ours; and no other after it. */
	k->hold = true;
	while (ledger_is_busy(k->ledger))
		ledger_wait(k->ledger, 1000);
	begin_write(k, marks_only);
	for (;;) {
		/* The disk is not waited for under a hold: packets go on with what all records allow, this one included. */
		r = ledger_write(k->ledger, k->work);
		HOLD(k->thread);

		end_write(k, r == 0);
		if (r || --times == 0)
			break;
		begin_write(k, marks_only);
	}
	k->hold = held;
	return r;
}

int keys_write_now(struct keys *k)
{
	return write_records(k, 1, false);
}

static void go_on_after_write(struct keys *k)
{
	HOLD(k->thread);

	keys_tell_waiting(k);
	keys_kick(k);
}

int keys_make_durable(struct keys *k)
{
	int r;

	/* The marks alone: what traffic wants beyond them comes with its slots. */
	r = write_records(k, 2, true);
	go_on_after_write(k);
	return r;
}

int keys_mark_handshaken(struct keys *k)
{
	int r;

	if (k->newest->handshaken && k->other_ok && k->other->handshaken)
		return 0;
	/* In both records, so that the loss of one does not forget it. */
	k->handshaken = true;
	r = write_records(k, 2, false);
	go_on_after_write(k);
	return r;
}

/*
 * I1 is held here. A sequence is handed out only when
 *
 *   - it was never handed out before in this life: tx_next only rises;
 *   - a durable record says so to every later life: it is below tx_usable(),
 *     which looks at every record that a later life could possibly find;
 *   - no other process does the same: the ledger and the key file are locked.
 *
 * tx_usable() is where to look first. After a power cut one may find the newest record, or, if that
 * one is lost, the other, and then burns other.tx_limit from there; or a record whose writing was
 * under way or failed, which may yet have reached the disk. The smallest of what these allow is what
 * may be used. A write is thus never waited for by rule, only by consequence.
 *
 * The work that reads, derives or erases is done by the loop's workers in jobs, one at a time for
 * each tunnel; the ledger's thread writes records. Everything else is in the loop's thread, and
 * kick() is its heart: it looks at what is and what should be, and starts what is missing.
 *
 * A packet thread may take sequences and tell what was received, where there is one. Those two change
 * nothing else, and start nothing: ask() leaves that to the loop's thread, which holds the packet thread
 * whenever it changes what those two look at, or looks at what they change. So there is one of both at a time.
 */
#include "pskd/keys/keys_internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "crypto/kdf.h"
#include "event/loop.h"
#include "pskd/packet/drops.h"

enum {
	BLOCK_BURST_MS = 50,   /* used up sooner than this: eight times as much */
	BLOCK_FAST_MS = 1000,  /* sooner than this: double it */
	BLOCK_SLOW_MS = 30000, /* later: halve it */
	RX_WAIT_MS = 50,       /* prototype: how long one packet may wait for the disk */
	RX_LAZY_MS = 10000,    /* handshake: how old the durable receive mark may get while traffic flows */
	QUIET_MS = 5000,
	JOB_SLOTS_MAX = 256,
	INLINE_STEPS_MAX = 4096, /* about 10 ms of hashing */
	RETRY_MIN_MS = 1000,
	RETRY_MAX_MS = 60000,
	ERASE_EVERY_MS = 100, /* each step reads and hashes up to 2 MiB */
};

/* How far the ratchet jumps for a handshake, and how far for an administrator, in packets. */
#define RATCHET_JUMP ((UINT64_C(1) << 20) * SLOT_PACKETS)
#define RATCHET_BURN (KEYS_RATCHET_BURN_SLOTS * SLOT_PACKETS)

static void kick(struct keys *k);

/* kick(), soon, where this may be the packet thread. */
static void ask(struct keys *k)
{
	if (k->thread)
		k->asked = true;
	else
		kick(k);
}

bool keys_ask(const struct keys *k)
{
	return k->asked;
}

void keys_go_on(struct keys *k)
{
	HOLD(k->thread);

	if (!k->asked)
		return;
	k->asked = false;
	kick(k);
}

static uint64_t slots_for(uint64_t end_seq)
{
	return (end_seq + SLOT_PACKETS - 1) / SLOT_PACKETS;
}

/* ---- what may be used ---- */

static uint64_t tx_usable(const struct keys *k)
{
	uint64_t usable = min_u64(k->newest->tx_reserved, k->attempt_tx);

	if (k->other_ok)
		usable = min_u64(usable, k->other->tx_reserved + k->other->tx_limit);
	return min_u64(usable, k->tx.to * SLOT_PACKETS);
}

static uint64_t tx_left(const struct keys *k)
{
	uint64_t usable = tx_usable(k);

	return usable > k->tx_next ? usable - k->tx_next : 0;
}

/* Sequences below may be received and acted on. Handshakes make old packets dead in another way. */
static uint64_t rx_usable(const struct keys *k)
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

/* The furthest that a handshake, or recovery, moves without being asked for. */
static uint64_t jump_limit(const struct keys *k)
{
	return k->file ? max_u64(k->end / 100, 4 * k->block_max) : RATCHET_JUMP;
}

static uint64_t burn_limit(const struct keys *k)
{
	return k->file ? k->end : RATCHET_BURN;
}

/* ---- what should be drawn ---- */

/* How many slots the lane should be drawn further, so that all before `need` are there; 0: none. */
static size_t lane_missing(const struct keys *k, const struct lane *l, uint64_t need)
{
	uint64_t first = lane_next(l), total = slots_for(k->end), last, ahead = keys_draw_ahead(k);

	/* A file may lie on a slow disk, and whoever draws may be busy: begin long before it is urgent. */
	if (first >= min_u64(need + ahead / 2, total))
		return 0;
	last = min_u64(need + ahead, total);
	if (k->file)
		last = min_u64(last, keyfile_piece_end(k->file, first));
	last = min_u64(last, l->base + l->cap);
	last = min_u64(last, first + JOB_SLOTS_MAX);
	return last > first ? (size_t)(last - first) : 0;
}

/* The slots that each lane should have: need is one past the last. */
static uint64_t tx_need(const struct keys *k)
{
	uint64_t until = k->tx_next;

	if (k->tx_wanted)
		until = max_u64(min_u64(k->tx_next + k->block, k->end), k->newest->tx_reserved);
	return max_u64(slots_for(until), ledger_slot(k->tx_next) + 2);
}

static uint64_t rx_need(const struct keys *k)
{
	return ledger_slot(max_u64(keys_rx_exact(k), k->rx_expect)) + SLOTS_AHEAD + 1;
}

size_t keys_tx_missing(const struct keys *k)
{
	return lane_missing(k, &k->tx, tx_need(k));
}

size_t keys_rx_missing(const struct keys *k)
{
	return lane_missing(k, &k->rx, rx_need(k));
}

static struct job *next_draw(struct keys *k)
{
	if (!k->tx.held && keys_tx_missing(k) > 0)
		return job_draw(k, &k->tx, keys_tx_missing(k));
	return job_draw(k, &k->rx, keys_rx_missing(k));
}

static bool has_draw(const struct keys *k)
{
	return (!k->tx.held && keys_tx_missing(k) > 0) || (!k->rx.held && keys_rx_missing(k) > 0);
}

/* ---- telling ---- */

void keys_on_tell(void *arg)
{
	struct keys *k = arg;
	int error = k->tell_error;

	k->tell_error = 0;
	/* Last: it may close us. */
	k->on_ready(error, k->arg);
}

/* Call on_ready soon. Not from here: the caller may be in the middle of its own work. */
static void tell(struct keys *k, int error)
{
	if (!k->on_ready)
		return;
	k->tell_error = error;
	(void)loop_timer_start(k->tell, 0);
}

void keys_on_retry(void *arg)
{
	struct keys *k = arg;
	HOLD(k->thread);

	k->hold_writes = k->tx.held = k->rx.held = false;
	kick(k);
}

/* What failed waits; the rest goes on. */
static void retry_later(struct keys *k, bool *hold, int error)
{
	*hold = true;
	k->retry_ms = k->retry_ms ? min_u64(k->retry_ms * 2, RETRY_MAX_MS) : RETRY_MIN_MS;
	(void)loop_timer_start(k->retry, k->retry_ms);
	tell(k, error);
}

/* Something became possible: whoever was refused hears of it. */
static void tell_waiting(struct keys *k)
{
	if (!k->tx_waiting || tx_left(k) == 0)
		return;
	k->tx_waiting = false;
	tell(k, 0);
}

/* ---- records ---- */

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
		retry_later(k, &k->hold_writes, error);
		return;
	}
	if (r->tx_reserved > k->newest->tx_reserved)
		resize_block(k);
	adopt(k, r);
	if (k->write_error) {
		/* It works again: whoever was told of the error hears that, too. */
		k->write_error = 0;
		k->retry_ms = 0;
		tell(k, 0);
	}
	k->rx_durable_ms = clock_now_ms();
	if (tx_left(k) >= min_u64(k->block / 2, k->end - k->tx_next))
		k->tx_wanted = false;
	if (k->rx_wanted <= rx_usable(k))
		k->rx_wanted = 0;
	if (k->settling)
		k->settle = false;
	tell_waiting(k);
	kick(k);
}

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
static int write_now(struct keys *k, unsigned int times, bool marks_only)
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
	return write_now(k, 1, false);
}

/* ---- erasing ---- */

/* Slots below were left behind both ways, window included. */
static uint64_t spent_slots(const struct keys *k, uint64_t tx_next, uint64_t rx_mark)
{
	uint64_t behind = (uint64_t)k->window + RX_AHEAD;

	return ledger_slot(min_u64(tx_next, rx_mark > behind ? rx_mark - behind : 0));
}

/*
 * The same, whichever record a later life finds. A mark may be ahead of what was received, and is lowered to that
 * one day: no further than it will then be.
 */
static uint64_t spent_by_records(const struct keys *k)
{
	uint64_t marked = min_u64(k->newest->rx_mark, k->other->rx_mark);

	return spent_slots(k, min_u64(k->newest->tx_next, k->other->tx_next), min_u64(marked, keys_rx_exact(k)));
}

static bool is_announced(const struct keys *k)
{
	return k->newest->erase_to == k->edge.to && k->other->erase_to == k->edge.to;
}

/*
 * Erasing goes in three steps, each durable before the next: the hash of the piece as it will be, in
 * both records; then the zeros; then the count. A crash between them finds
 * a hash that fits, whichever record is read and however far the zeros got.
 */
static bool erase_is_due(const struct keys *k)
{
	if (k->erase == KEYS_ERASE_NONE || !k->other_ok || k->hold_erase)
		return false;
	if (k->edge.to > k->erased)
		return is_announced(k);
	return spent_by_records(k) > k->edge.to &&
	       (k->tidy || clock_now_ms() - k->erase_ms >= ERASE_EVERY_MS);
}

static struct job *next_erase(struct keys *k)
{
	bool has_edge = k->edge.to > k->erased;
	struct job *j = job_new(k, has_edge ? JOB_ERASE : JOB_EDGE);

	if (!j)
		return NULL;
	j->erase_from = k->erased;
	j->erase_to = has_edge ? k->edge.to : spent_by_records(k);
	k->erase_ms = clock_now_ms();
	return j;
}

/* In a silence: would one more record let erasing go on? */
static bool erase_wants_record(const struct keys *k)
{
	uint64_t spent = spent_slots(k, k->tx_next, keys_rx_exact(k));

	if (k->erase == KEYS_ERASE_NONE || k->hold_erase)
		return false;
	if (k->edge.to > k->erased)
		return !k->other_ok || !is_announced(k);
	return spent > k->edge.to && (!k->other_ok || spent_by_records(k) < spent);
}

static void finish_erase(struct keys *k, const struct job *j)
{
	k->erase_error = j->error == KEYS_E_CHANGED ? -EBADMSG : err_fold(j->error);
	/* Until the next record, or for good when the file is not what it was. */
	k->hold_erase = j->error;
	if (j->error)
		return;
	if (j->kind == JOB_EDGE)
		k->edge = j->next_edge;
	else
		k->erased = j->erase_to;
}

/* ---- the heart ---- */

static bool record_is_due(const struct keys *k)
{
	uint64_t goal = tx_goal(k);

	if (k->tx_wanted && k->tx_next + tx_left(k) < goal && k->tx.to >= slots_for(goal))
		return true;
	if (k->prototype && k->rx_wanted > rx_usable(k))
		return true;
	return k->settle || k->due || (k->tidy && (erase_wants_record(k) || keys_chains_lag(k)));
}

static void on_job(void *arg, bool cancelled);

static bool start_job(struct keys *k, struct job *j)
{
	if (!j || worker_start(NULL, k->loop, job_work, on_job, j)) {
		job_free(j);
		return false;
	}
	k->job = j;
	return true;
}

/* What kick() would begin now. Whoever is asked for nothing would hold the packet thread for nothing. */
static bool has_work(const struct keys *k)
{
	if (!k->job && (has_draw(k) || erase_is_due(k)))
		return true;
	return !k->hold_writes && !ledger_is_busy(k->ledger) && record_is_due(k);
}

static void kick(struct keys *k)
{
	if (k->hold)
		return;
	if (!k->job && has_draw(k) && !start_job(k, next_draw(k))) {
		k->tx.held = true;
		retry_later(k, &k->rx.held, -EAGAIN);
	}
	if (!k->hold_writes && !ledger_is_busy(k->ledger) && record_is_due(k)) {
		k->due = false;
		k->settling = k->settle;
		compose(k);
		attempt(k);
		ledger_submit(k->ledger, k->work);
	}
	if (!k->job && erase_is_due(k))
		(void)start_job(k, next_erase(k));
}

static void finish_draw(struct keys *k, const struct job *j)
{
	if (j->error) {
		j->lane->error = j->error == KEYS_E_CHANGED ? -EBADMSG : err_fold(j->error);
		retry_later(k, &j->lane->held, j->lane->error);
		return;
	}
	if (j->lane->error) {
		j->lane->error = 0;
		k->retry_ms = 0;
		tell(k, 0);
	}
	job_deliver(j);
	tell_waiting(k);
}

static void on_job(void *arg, bool cancelled)
{
	struct job *j = arg;
	struct keys *k = j->keys;
	HOLD(k ? k->thread : NULL);

	if (k) {
		k->job = NULL;
		if (!cancelled && j->kind == JOB_DRAW)
			finish_draw(k, j);
		else if (!cancelled)
			finish_erase(k, j);
		/* An error in erasing waits for the next record rather than try for ever. */
		if (!cancelled && (j->kind == JOB_DRAW || !j->error))
			kick(k);
	}
	job_free(j);
}

/* *out NULL: nothing is missing. */
static int begin_draw(struct job **out, struct keys *k, struct lane *l, size_t (*missing)(const struct keys *k))
{
	HOLD(k->thread);
	size_t n = k->job ? 0 : missing(k);

	*out = n > 0 ? job_draw(k, l, n) : NULL;
	return n > 0 && !*out ? -ENOMEM : 0;
}

static void end_draw(struct keys *k, const struct job *j)
{
	HOLD(k->thread);

	job_deliver(j);
}

int keys_draw_now(struct keys *k, struct lane *l, size_t (*missing)(const struct keys *k))
{
	struct job *j;
	int r;

	while ((r = begin_draw(&j, k, l, missing)) == 0 && j) {
		job_work(j);
		r = j->error;
		if (!r)
			end_draw(k, j);
		job_free(j);
		if (r)
			break;
	}
	return r;
}

void keys_hand_over(struct keys *k, void (*on_ready)(int error, void *arg), void *arg)
{
	k->on_ready = on_ready;
	k->arg = arg;
}

/* ---- sending ---- */

uint64_t keys_tx_next(const struct keys *k)
{
	return figure_get(&k->tx_next);
}

/* Traffic: what silence would have lowered stays up. */
static void want_tx(struct keys *k)
{
	k->settle = k->tidy = false;
	k->tx_wanted = true;
	if (has_work(k))
		ask(k);
}

int keys_tx_take(struct keys *k, unsigned int n, uint64_t *first, const struct slot_key **slot)
{
	uint64_t left, in_slot;

	assert(n > 0);
	if (k->tx_next >= k->end)
		return -KEYS_E_EXHAUSTED;

	lane_release(&k->tx, ledger_slot(k->tx_next));
	left = tx_left(k);
	if (left == 0) {
		k->tx_waiting = true;
		want_tx(k);
		return -KEYS_E_NOT_READY;
	}
	in_slot = SLOT_PACKETS - k->tx_next % SLOT_PACKETS;
	n = (unsigned int)min_u64(n, min_u64(left, in_slot));

	assert(lane_has(&k->tx, ledger_slot(k->tx_next)));
	*first = k->tx_next;
	*slot = lane_slot(&k->tx, ledger_slot(k->tx_next));
	figure_add(&k->tx_next, n);
	figure_add(&k->taken, n);

	if (left - n < k->block / 2 && k->tx_next < k->end)
		want_tx(k);
	else if (n == in_slot && has_work(k))
		ask(k);
	return (int)n;
}

int keys_tx_forward(struct keys *k, uint64_t next, bool burn)
{
	HOLD(k->thread);
	uint64_t jump = next > k->tx_next ? next - k->tx_next : 0;

	if (next >= k->end || k->tx_next >= k->end)
		return KEYS_E_EXHAUSTED;
	if (jump > (burn ? burn_limit(k) : jump_limit(k)))
		return KEYS_E_NEEDS_BURN;
	figure_add(&k->tx_next, jump);
	lane_release(&k->tx, ledger_slot(k->tx_next));
	/* Traffic is about to follow: have some ready. */
	if (tx_left(k) == 0) {
		k->tx_waiting = true;
		k->tx_wanted = false;
		want_tx(k);
	}
	keys_go_on(k);
	return jump > 0 && tx_left(k) == 0 ? KEYS_E_NOT_READY : 0;
}

static void go_on_after_write(struct keys *k)
{
	HOLD(k->thread);

	tell_waiting(k);
	kick(k);
}

int keys_make_durable(struct keys *k)
{
	int r;

	/* The marks alone: what traffic wants beyond them comes with its slots. */
	r = write_now(k, 2, true);
	go_on_after_write(k);
	return r;
}

/* ---- receiving ---- */

const struct slot_key *keys_rx_slot(const struct keys *k, uint64_t slot)
{
	if (!lane_has(&k->rx, slot) || slot >= rx_need(k))
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
	if (seq + RX_AHEAD / 2 < rx_usable(k))
		return true;
	k->rx_wanted = max_u64(k->rx_wanted, seq + 1 + RX_AHEAD);
	kick(k);
	if (seq < rx_usable(k)) {
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
	while (!k->rx_impatient && seq >= rx_usable(k) && ledger_is_busy(k->ledger)) {
		uint64_t now_us = clock_now_us();

		if (now_us >= until_us || !ledger_wait(k->ledger, (unsigned int)((until_us - now_us) / 1000 + 1)))
			k->rx_impatient = true;
	}
	return seq < rx_usable(k);
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
	if (has_work(k))
		ask(k);
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
	if (next - exact > (burn ? burn_limit(k) : jump_limit(k)))
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

/* Nothing came or went since the last tick, and nothing is due. */
static bool is_at_rest(const struct keys *k, uint64_t now_ms)
{
	return figure_get(&k->tx_next) == k->seen_tx && figure_get(&k->rx_high) == k->seen_rx &&
	       (k->settled || now_ms - k->quiet_since_ms < QUIET_MS);
}

/* Traffic flows. */
static void tick_busy(struct keys *k, uint64_t now_ms)
{
	bool lazy = !k->prototype && now_ms - k->rx_durable_ms >= RX_LAZY_MS &&
		    ledger_slot(keys_rx_exact(k)) > ledger_slot(k->newest->rx_mark);

	k->seen_tx = figure_get(&k->tx_next);
	k->seen_rx = figure_get(&k->rx_high);
	k->quiet_since_ms = now_ms;
	/* The packet thread need not be held where nothing of its own changes: what was not settled is not tidied up. */
	if (!lazy && !k->settled)
		return;
	HOLD(k->thread);

	k->settled = k->tidy = false;
	if (!lazy)
		return;
	k->due = true;
	kick(k);
}

void keys_tick(struct keys *k, uint64_t now_ms)
{
	if (is_at_rest(k, now_ms))
		return;
	if (figure_get(&k->tx_next) != k->seen_tx || figure_get(&k->rx_high) != k->seen_rx) {
		tick_busy(k, now_ms);
		return;
	}
	HOLD(k->thread);

	k->settled = true;
	k->tidy = true;
	k->block = min_u64(BLOCK_MIN, k->block_max);
	/*
	 * A crash from now on loses little: what a burst reserved, and (prototype)
	 * what was marked as received ahead, is given back. Not for less, for a
	 * keepalive must not cost a write.
	 */
	k->settle = (k->prototype && k->newest->rx_mark != keys_rx_exact(k)) ||
		    k->newest->tx_reserved > k->tx_next + 4 * BLOCK_MIN;
	kick(k);
}

/* ---- about ---- */

void keys_hello_key(const struct keys *k, uint8_t out[static 32])
{
	memcpy(out, k->newest->hello_key, 32);
}

void keys_hint_of(const struct ledger_record *r, uint8_t out[static 8])
{
	static const char domain[] = "handfast key hint";
	uint8_t data[sizeof(domain) - 1 + 32], mac[HMAC_SHA256_LEN];

	memcpy(data, domain, sizeof(domain) - 1);
	memcpy(data + sizeof(domain) - 1, r->fingerprint, 32);
	hmac_sha256(mac, r->hello_key, 32, data, sizeof(data));
	memcpy(out, mac, 8);
}

void keys_hint(const struct keys *k, uint8_t out[static 8])
{
	keys_hint_of(k->newest, out);
}

int keys_mark_handshaken(struct keys *k)
{
	int r;

	if (k->newest->handshaken && k->other_ok && k->other->handshaken)
		return 0;
	/* In both records, so that the loss of one does not forget it. */
	k->handshaken = true;
	r = write_now(k, 2, false);
	go_on_after_write(k);
	return r;
}

uint64_t keys_end(const struct keys *k)
{
	return k->end;
}

void keys_info(const struct keys *k, struct keys_info *out)
{
	uint64_t tx_next = figure_get(&k->tx_next);

	*out = (struct keys_info){
		.is_file = k->file != NULL,
		.handshaken = k->handshaken,
		.slots_total = k->newest->slots_total,
		.tx_next = tx_next,
		.tx_reserved = k->newest->tx_reserved,
		.rx_high = figure_get(&k->rx_high),
		.rx_floor = k->rx_floor,
		.slots_erased = k->erased,
		.packets_left = k->file ? k->end - tx_next : UINT64_MAX,
		.taken = figure_get(&k->taken),
		.ledger_writes = ledger_writes(k->ledger),
		.write_error = k->write_error,
		.source_error = k->tx.error ? k->tx.error : k->rx.error,
		.erase_error = k->erase_error,
	};
	memcpy(out->fingerprint, k->newest->fingerprint, sizeof(out->fingerprint));
}

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
 * keys_kick() is its heart: it looks at what is and what should be, and starts what is missing.
 *
 * A packet thread may take sequences and tell what was received, where there is one. Those two change
 * nothing else, and start nothing: keys_kick_soon() leaves that to the loop's thread, which holds the packet thread
 * whenever it changes what those two look at, or looks at what they change. So there is one of both at a time.
 *
 * Here: what may be used, sending, and the heart. keys_records.c: what is written, and what of it counts. keys_rx.c:
 * receiving. keys_draw.c and keys_erase.c: which slots are drawn and erased. keys_job.c: the jobs. keys_open.c: a
 * life's beginning and end.
 */
#include "pskd/keys/keys_internal.h"

#include <assert.h>
#include <errno.h>

#include "base/clock.h"
#include "base/error.h"
#include "event/loop.h"
#include "pskd/packet/drops.h"

enum {
	RX_LAZY_MS = 10000, /* handshake: how old the durable receive mark may get while traffic flows */
	QUIET_MS = 5000,
	RETRY_MIN_MS = 1000,
	RETRY_MAX_MS = 60000,
};

/* How far the ratchet jumps for a handshake, and how far for an administrator, in packets. */
#define RATCHET_JUMP ((UINT64_C(1) << 20) * SLOT_PACKETS)
#define RATCHET_BURN (KEYS_RATCHET_BURN_SLOTS * SLOT_PACKETS)

/* ---- what may be used ---- */

static uint64_t tx_usable(const struct keys *k)
{
	uint64_t usable = min_u64(k->newest->tx_reserved, k->attempt_tx);

	if (k->other_ok)
		usable = min_u64(usable, k->other->tx_reserved + k->other->tx_limit);
	return min_u64(usable, k->tx.to * SLOT_PACKETS);
}

uint64_t keys_tx_left(const struct keys *k)
{
	uint64_t usable = k->closing ? 0 : tx_usable(k);

	return usable > k->tx_next ? usable - k->tx_next : 0;
}

uint64_t keys_jump_limit(const struct keys *k, bool burn)
{
	if (burn)
		return k->file ? k->end : RATCHET_BURN;
	return k->file ? max_u64(k->end / 100, 4 * k->block_max) : RATCHET_JUMP;
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

void keys_tell(struct keys *k, int error)
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
	keys_kick(k);
}

void keys_retry_later(struct keys *k, bool *hold, int error)
{
	*hold = true;
	k->retry_ms = k->retry_ms ? min_u64(k->retry_ms * 2, RETRY_MAX_MS) : RETRY_MIN_MS;
	(void)loop_timer_start(k->retry, k->retry_ms);
	keys_tell(k, error);
}

void keys_tell_waiting(struct keys *k)
{
	if (!k->tx_waiting || keys_tx_left(k) == 0)
		return;
	k->tx_waiting = false;
	keys_tell(k, 0);
}

void keys_hand_over(struct keys *k, void (*on_ready)(int error, void *arg), void *arg)
{
	k->on_ready = on_ready;
	k->arg = arg;
}

/* ---- the heart ---- */

void keys_kick_soon(struct keys *k)
{
	if (k->thread)
		k->asked = true;
	else
		keys_kick(k);
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
	keys_kick(k);
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

bool keys_has_work(const struct keys *k)
{
	if (!k->job && (keys_has_draw(k) || keys_erase_is_due(k)))
		return true;
	return !k->hold_writes && !ledger_is_busy(k->ledger) && keys_record_is_due(k);
}

void keys_kick(struct keys *k)
{
	if (k->hold)
		return;
	if (!k->job && keys_has_draw(k) && !start_job(k, keys_next_draw(k))) {
		k->tx.held = true;
		keys_retry_later(k, &k->rx.held, -EAGAIN);
	}
	if (!k->hold_writes && !ledger_is_busy(k->ledger) && keys_record_is_due(k))
		keys_submit_record(k);
	if (!k->job && keys_erase_is_due(k))
		(void)start_job(k, keys_next_erase(k));
}

static void finish_draw(struct keys *k, const struct job *j)
{
	if (j->error) {
		j->lane->error = j->error == KEYS_E_CHANGED ? -EBADMSG : err_fold(j->error);
		keys_retry_later(k, &j->lane->held, j->lane->error);
		return;
	}
	if (j->lane->error) {
		j->lane->error = 0;
		k->retry_ms = 0;
		keys_tell(k, 0);
	}
	job_deliver(j);
	keys_tell_waiting(k);
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
			keys_finish_erase(k, j);
		/* One that failed may have kept others waiting. */
		if (!cancelled)
			keys_kick(k);
	}
	job_free(j);
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
	if (keys_has_work(k))
		keys_kick_soon(k);
}

int keys_tx_take(struct keys *k, unsigned int n, uint64_t *first, const struct slot_key **slot)
{
	uint64_t left, in_slot;

	assert(n > 0);
	if (k->tx_next >= k->end)
		return -KEYS_E_EXHAUSTED;

	lane_release(&k->tx, ledger_slot(k->tx_next));
	left = keys_tx_left(k);
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
	else if (n == in_slot && keys_has_work(k))
		keys_kick_soon(k);
	return (int)n;
}

int keys_tx_forward(struct keys *k, uint64_t next, bool burn)
{
	HOLD(k->thread);
	uint64_t jump = next > k->tx_next ? next - k->tx_next : 0;

	if (next >= k->end || k->tx_next >= k->end)
		return KEYS_E_EXHAUSTED;
	if (jump > keys_jump_limit(k, burn))
		return KEYS_E_NEEDS_BURN;
	figure_add(&k->tx_next, jump);
	lane_release(&k->tx, ledger_slot(k->tx_next));
	/* Traffic is about to follow: have some ready. */
	if (keys_tx_left(k) == 0) {
		k->tx_waiting = true;
		want_tx(k);
	}
	keys_go_on(k);
	return jump > 0 && keys_tx_left(k) == 0 ? KEYS_E_NOT_READY : 0;
}

/* ---- silence ---- */

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
	keys_kick(k);
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
	keys_kick(k);
}

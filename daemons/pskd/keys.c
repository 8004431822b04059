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
 */
#include "pskd/keys.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "crypto/kdf.h"
#include "crypto/secret.h"
#include "event/loop.h"
#include "pskd/keyfile.h"
#include "pskd/ledger.h"
#include "pskd/ratchet.h"

enum {
	BLOCK_MIN = 256,
	/* 0.6 s at 400,000 packets a second; more would only cost more when the power is cut. */
	BLOCK_MAX = 1 << 18,
	/*
	 * A prototype peer accepts at most 16 slots more than it has seen. After the loss of a
	 * record up to two blocks are skipped: fewer than 16,000 packets must do.
	 */
	BLOCK_MAX_PROTOTYPE = 7000,
	BLOCK_FAST_MS = 1000,  /* used up sooner than this: double it */
	BLOCK_SLOW_MS = 30000, /* later: halve it */
	RX_AHEAD = 256,	       /* prototype: how far the receive mark may be ahead */
	RX_WAIT_MS = 50,       /* prototype: how long one packet may wait for the disk */
	RX_LAZY_MS = 10000,    /* handshake: how old the durable receive mark may get while traffic flows */
	QUIET_MS = 5000,
	SLOTS_AHEAD = 16,
	/* Drawing from a key file hashes a whole piece, so draw many slots at once. */
	FILE_AHEAD = 128,
	JOB_SLOTS_MAX = 256,
	INLINE_STEPS_MAX = 4096, /* about 10 ms of hashing */
	RETRY_MIN_MS = 1000,
	RETRY_MAX_MS = 60000,
};

/* How far the ratchet jumps for a handshake, and how far for an administrator, in packets. */
#define RATCHET_JUMP ((UINT64_C(1) << 20) * SLOT_PACKETS)
#define RATCHET_BURN ((UINT64_C(1) << 24) * SLOT_PACKETS)

/* One direction's drawn slots, [from, to); memory is one secret. */
struct lane {
	struct secret *mem;
	struct slot_key *ring;
	uint8_t (*chains)[RATCHET_CHAIN_LEN]; /* ratchet: the chain at each drawn slot */
	uint8_t *next_chain;		      /* ratchet: the chain at `to` */
	unsigned int direction;
	size_t cap;
	uint64_t from, to;
	uint64_t base; /* the first slot still wanted; `to` follows by a job when it is behind */
};

enum job_kind { JOB_DRAW, JOB_EDGE, JOB_ERASE };

/* What a worker does; owns all that it touches, so that it may outlive its keys. */
struct job {
	struct keys *keys; /* NULL: nobody wants the result any more */
	struct keyfile *file;
	enum job_kind kind;
	struct keyfile_edge edge;
	int error; /* outcome: KEYS_E_CHANGED or a negative errno */
	/* draw */
	struct lane *lane;
	unsigned int direction;
	uint64_t skip; /* ratchet: steps before the first */
	uint64_t first;
	size_t n;
	struct secret *mem;
	struct slot_key *slots;
	uint8_t (*chains)[RATCHET_CHAIN_LEN]; /* n + 1 of them, the last is the cursor */
	/* edge, erase */
	uint64_t erase_from, erase_to;
	enum keys_erase how;
	struct keyfile_edge next_edge;
};

struct keys {
	struct loop *loop;
	void (*on_ready)(int error, void *arg);
	void *arg;
	bool prototype;
	uint32_t window;
	enum keys_erase erase;

	struct ledger *ledger;
	struct keyfile *file; /* NULL: ratchet */
	struct secret *records_mem;
	struct ledger_record *newest, *other, *work;
	bool other_ok; /* false: the other block is known to be broken, or was being written when it failed */
	/* The least that any record allows which may have reached the disk since the last success. */
	uint64_t attempt_tx, attempt_rx;
	bool hold; /* a record is being written by hand: submit none */

	uint64_t end; /* one past the last sequence there is */
	uint64_t tx_next;
	bool tx_wanted; /* make more of it usable */
	uint64_t block, block_max;
	uint64_t reserved_ms;
	uint64_t rx_high, rx_floor, rx_expect;
	uint64_t rx_wanted; /* prototype: the mark should become at least this; 0: nothing wanted */
	bool rx_impatient;  /* the disk was slow: drop, do not wait */
	uint64_t rx_durable_ms;
	bool handshaken;
	bool due;     /* a record should be written though no mark must move */
	bool closing; /* marks become exact */

	struct lane tx, rx;
	struct job *job;

	struct keyfile_edge edge; /* what the next record says of erasing */
	uint64_t erased;
	int erase_error;

	/* What the last tick saw. */
	uint64_t seen_tx, seen_rx, quiet_since_ms;
	bool settled; /* nothing more to do in this silence */
	bool settle;  /* lower the marks with the next record */
	bool settling; /* the record in flight does */

	struct loop_timer *retry, *tell;
	uint64_t retry_ms;
	int draw_error, write_error;
	int tell_error;
	bool tx_waiting;
};

static void kick(struct keys *k);

static int explain(char *detail, size_t cap, int r, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static int explain(char *detail, size_t cap, int r, const char *fmt, ...)
{
	va_list ap;

	if (cap > 0) {
		va_start(ap, fmt);
		vsnprintf(detail, cap, fmt, ap);
		va_end(ap);
	}
	return r;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
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
	if (k->other_ok)
		usable = min_u64(usable, k->other->rx_mark + k->other->rx_limit);
	return usable;
}

static uint64_t rx_exact(const struct keys *k)
{
	return max_u64(k->rx_floor, k->rx_high == LEDGER_NONE ? 0 : k->rx_high + 1);
}

/* The first sequence that the replay window can still accept. */
static uint64_t rx_window_start(const struct keys *k)
{
	uint64_t exact = rx_exact(k);

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

/* ---- lanes ---- */

static int lane_init(struct lane *l, unsigned int direction, bool is_ratchet, size_t cap)
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

static bool lane_has(const struct lane *l, uint64_t slot)
{
	return slot >= l->from && slot < l->to;
}

/* The chain at slot, or NULL when it is not at hand. */
static const uint8_t *lane_chain(const struct lane *l, uint64_t slot)
{
	if (slot == l->to)
		return l->next_chain;
	return lane_has(l, slot) ? l->chains[slot % l->cap] : NULL;
}

/* Slots before base are not needed any more. */
static void lane_release(struct lane *l, uint64_t base)
{
	if (base <= l->base)
		return;
	l->base = base;
	while (l->from < l->to && l->from < base) {
		wipe(&l->ring[l->from % l->cap], sizeof(*l->ring));
		if (l->chains)
			wipe(l->chains[l->from % l->cap], RATCHET_CHAIN_LEN);
		l->from++;
	}
}

static void lane_take(struct lane *l, const struct job *j)
{
	uint64_t end = j->first + j->n;

	/* Nothing before base: it was let go meanwhile. */
	if (j->first > l->to || l->from == l->to)
		l->from = j->first;
	for (size_t i = 0; i < j->n; i++) {
		uint64_t slot = j->first + i;

		l->ring[slot % l->cap] = j->slots[i];
		if (l->chains)
			memcpy(l->chains[slot % l->cap], j->chains[i], RATCHET_CHAIN_LEN);
	}
	if (l->chains)
		memcpy(l->next_chain, j->chains[j->n], RATCHET_CHAIN_LEN);
	l->to = end;
	if (l->from < l->base) {
		uint64_t base = l->base;

		l->base = l->from;
		lane_release(l, base);
	}
}

/* ---- jobs ---- */

static void job_free(struct job *j)
{
	if (!j)
		return;
	keyfile_unref(j->file);
	secret_free(j->mem);
	free(j);
}

static void job_work(void *arg)
{
	struct job *j = arg;

	switch (j->kind) {
	case JOB_EDGE:
		j->error = keyfile_move_edge(j->file, &j->edge, j->erase_to, &j->next_edge);
		break;
	case JOB_ERASE:
		j->error = keyfile_erase(j->file, j->erase_from, j->erase_to, j->how);
		break;
	case JOB_DRAW:
		if (j->file) {
			j->error = keyfile_draw(j->file, j->direction, j->first, j->n, &j->edge,
						j->slots);
			break;
		}
		ratchet_step(j->chains[0], j->skip);
		for (size_t i = 0; i < j->n; i++) {
			ratchet_slot(&j->slots[i], j->chains[i]);
			memcpy(j->chains[i + 1], j->chains[i], RATCHET_CHAIN_LEN);
			ratchet_step(j->chains[i + 1], 1);
		}
		break;
	}
}

static struct job *job_new(struct keys *k, enum job_kind kind)
{
	struct job *j = calloc(1, sizeof(*j));

	if (!j)
		return NULL;
	j->keys = k;
	j->kind = kind;
	j->file = k->file ? keyfile_ref(k->file) : NULL;
	j->edge = k->edge;
	j->how = k->erase;
	return j;
}

/* Draw n slots of the lane from where it stands, or from its base. */
static struct job *job_draw(struct keys *k, struct lane *l, size_t n)
{
	uint64_t first = max_u64(l->to, l->base);
	struct job *j = job_new(k, JOB_DRAW);
	size_t chains;
	uint8_t *p;

	if (!j)
		return NULL;
	chains = k->file ? 0 : (n + 1) * RATCHET_CHAIN_LEN;
	if (secret_new(&j->mem, n * sizeof(*j->slots) + chains, &p)) {
		job_free(j);
		return NULL;
	}
	j->chains = (void *)p;
	j->slots = (void *)(p + chains);
	j->lane = l;
	j->direction = l->direction;
	j->first = first;
	j->n = n;
	if (!k->file) {
		j->skip = first - l->to;
		memcpy(j->chains[0], l->next_chain, RATCHET_CHAIN_LEN);
	}
	return j;
}

/* How many slots the lane should be drawn further, so that all before `need` are there; 0: none. */
static size_t lane_missing(const struct keys *k, const struct lane *l, uint64_t need)
{
	uint64_t first = max_u64(l->to, l->base), last;
	uint64_t slots_total = slots_for(k->end);

	need = min_u64(need, slots_total);
	if (first >= need)
		return 0;
	last = k->file ? min_u64(need + FILE_AHEAD, keyfile_piece_end(k->file, first)) : need;
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
	return ledger_slot(max_u64(rx_exact(k), k->rx_expect)) + SLOTS_AHEAD + 1;
}

static size_t tx_missing(const struct keys *k)
{
	return lane_missing(k, &k->tx, tx_need(k));
}

static size_t rx_missing(const struct keys *k)
{
	return lane_missing(k, &k->rx, rx_need(k));
}

static struct job *next_draw(struct keys *k)
{
	size_t n = tx_missing(k);

	if (n > 0)
		return job_draw(k, &k->tx, n);
	n = rx_missing(k);
	return n > 0 ? job_draw(k, &k->rx, n) : NULL;
}

static bool has_draw(const struct keys *k)
{
	return tx_missing(k) > 0 || rx_missing(k) > 0;
}

/* ---- telling ---- */

static void on_tell(void *arg)
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

static void on_retry(void *arg)
{
	kick(arg);
}

static void retry_later(struct keys *k, int error)
{
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

static uint64_t next_reserve(const struct keys *k)
{
	uint64_t now = k->newest->tx_reserved;

	if (k->closing)
		return k->tx_next;
	if (k->tx_wanted)
		return max_u64(min_u64(k->tx_next + k->block, k->end), now);
	if (k->settle && now > k->tx_next + BLOCK_MIN)
		return min_u64(k->tx_next + BLOCK_MIN, k->end);
	return max_u64(now, k->tx_next);
}

static uint64_t next_mark(const struct keys *k)
{
	if (!k->prototype || k->settle || k->closing)
		return rx_exact(k);
	return max_u64(max_u64(k->newest->rx_mark, rx_exact(k)), min_u64(k->rx_wanted, k->end));
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
	r->erase_to = k->edge.to;
	memcpy(r->edge_sum, k->edge.sum, sizeof(r->edge_sum));
	r->erased = k->erased;
}

/* From here on the record may be found by a later life. */
static void attempt(struct keys *k)
{
	k->attempt_tx = min_u64(k->attempt_tx, k->work->tx_reserved);
	k->attempt_rx = min_u64(k->attempt_rx, k->work->rx_mark);
}

static void adopt(struct keys *k, const struct ledger_record *r)
{
	*k->other = *k->newest;
	*k->newest = *r;
	k->other_ok = true;
	k->attempt_tx = k->attempt_rx = UINT64_MAX;
}

static void resize_block(struct keys *k)
{
	uint64_t now = clock_now_ms(), took = now - k->reserved_ms;

	k->reserved_ms = now;
	if (took < BLOCK_FAST_MS)
		k->block = min_u64(k->block * 2, k->block_max);
	else if (took > BLOCK_SLOW_MS)
		k->block = max_u64(k->block / 2, min_u64(BLOCK_MIN, k->block_max));
}

static void on_written(int error, const struct ledger_record *r, void *arg)
{
	struct keys *k = arg;

	if (error) {
		/* The block holds what it held, what we wrote, or neither. */
		k->other_ok = false;
		k->write_error = error;
		retry_later(k, error);
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

/* Write what is now by hand, and wait. 0 or a negative errno. */
static int write_now(struct keys *k)
{
	bool held = k->hold;
	int r;

	/* The one in flight first, for what it says is the base of ours; and no other after it. */
	k->hold = true;
	while (ledger_is_busy(k->ledger))
		ledger_wait(k->ledger, 1000);
	compose(k);
	attempt(k);
	r = ledger_write(k->ledger, k->work);
	if (!r)
		adopt(k, k->work);
	else
		k->other_ok = false;
	k->hold = held;
	return r;
}

static bool record_is_due(const struct keys *k)
{
	uint64_t goal = min_u64(k->tx_next + k->block, k->end);

	if (k->tx_wanted && tx_left(k) < goal - k->tx_next && k->tx.to >= slots_for(goal))
		return true;
	if (k->prototype && k->rx_wanted > rx_usable(k))
		return true;
	return k->settle || k->due;
}

/* ---- erasing ---- */

/* Slots below were left behind by this record, both ways, window included. */
static uint64_t spent_slots(const struct keys *k, const struct ledger_record *r)
{
	uint64_t behind = (uint64_t)k->window + RX_AHEAD;
	uint64_t rx = r->rx_mark > behind ? r->rx_mark - behind : 0;

	return ledger_slot(min_u64(r->tx_next, rx));
}

/*
 * Erasing goes in three steps, each durable before the next: the hash of the piece as it will be, in
 * both records; then the zeros; then the count. A crash between them finds
 * a hash that fits, whichever record is read and however far the zeros got.
 */
static struct job *next_erase(struct keys *k)
{
	uint64_t goal;
	struct job *j;

	if (k->erase == KEYS_ERASE_NONE || !k->other_ok || k->erase_error == -EBADMSG)
		return NULL;
	if (k->edge.to > k->erased) {
		if (k->newest->erase_to != k->edge.to || k->other->erase_to != k->edge.to)
			return NULL;
		j = job_new(k, JOB_ERASE);
		if (!j)
			return NULL;
		j->erase_from = k->erased;
		j->erase_to = k->edge.to;
		return j;
	}
	goal = min_u64(spent_slots(k, k->newest), spent_slots(k, k->other));
	if (goal <= k->edge.to)
		return NULL;
	j = job_new(k, JOB_EDGE);
	if (j)
		j->erase_to = goal;
	return j;
}

static void finish_erase(struct keys *k, const struct job *j)
{
	k->erase_error = j->error == KEYS_E_CHANGED ? -EBADMSG : err_fold(j->error);
	if (j->error)
		return;
	if (j->kind == JOB_EDGE)
		k->edge = j->next_edge;
	else
		k->erased = j->erase_to;
}

/* ---- the heart ---- */

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

static void kick(struct keys *k)
{
	struct job *j;

	if (k->hold || loop_timer_is_running(k->retry))
		return;
	if (!k->job && has_draw(k) && !start_job(k, next_draw(k))) {
		retry_later(k, -EAGAIN);
		return;
	}
	if (!ledger_is_busy(k->ledger) && record_is_due(k)) {
		k->due = false;
		k->settling = k->settle;
		compose(k);
		attempt(k);
		ledger_submit(k->ledger, k->work);
	}
	if (!k->job) {
		j = next_erase(k);
		if (j)
			(void)start_job(k, j);
	}
}

static int job_errno(int e)
{
	return e == KEYS_E_CHANGED ? -EBADMSG : err_fold(e);
}

static void finish_draw(struct keys *k, const struct job *j)
{
	if (j->error) {
		k->draw_error = job_errno(j->error);
		retry_later(k, k->draw_error);
		return;
	}
	if (k->draw_error) {
		k->draw_error = 0;
		k->retry_ms = 0;
		tell(k, 0);
	}
	lane_take(j->lane, j);
	tell_waiting(k);
}

static void on_job(void *arg, bool cancelled)
{
	struct job *j = arg;
	struct keys *k = j->keys;

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

/*
 * Draw here and now all that the lane misses: while opening, or where the wait
 * would cost packets. 0, KEYS_E_CHANGED or a negative errno.
 */
static int draw_now(struct keys *k, struct lane *l, size_t (*missing)(const struct keys *k))
{
	size_t n;

	while (!k->job && (n = missing(k)) > 0) {
		struct job *j = job_draw(k, l, n);
		int r;

		if (!j)
			return -ENOMEM;
		job_work(j);
		r = j->error;
		if (!r)
			lane_take(l, j);
		job_free(j);
		if (r)
			return r;
	}
	return 0;
}

/* ---- creating ---- */

static uint64_t limit_for(const struct ledger_record *r, bool prototype)
{
	uint64_t limit = BLOCK_MAX;

	if (r->slots_total)
		limit = min_u64(limit, max_u64(r->slots_total * SLOT_PACKETS / 400, BLOCK_MIN));
	return prototype ? min_u64(limit, BLOCK_MAX_PROTOTYPE) : limit;
}

static int refuse_twin(const struct keys_options *o, const struct ledger_record *r, char *detail,
		       size_t cap)
{
	char name[256];
	int e;

	if (!o->ledgers_dir)
		return 0;
	e = ledger_find_twin(o->ledgers_dir, o->ledger_path, r->fingerprint, name, sizeof(name));
	if (e < 0)
		return explain(detail, cap, e, "cannot look through %s: %s", o->ledgers_dir,
			       strerror(-e));
	if (e > 0)
		return explain(detail, cap, KEYS_E_IN_USE,
			       "the same key material is in the ledger %s/%s", o->ledgers_dir, name);
	return 0;
}

/* The record is complete but for what every new ledger has. */
static int create(const struct keys_options *o, struct ledger_record *r, char *detail, size_t cap)
{
	int e;

	r->role = (uint8_t)o->role;
	r->rx_high = LEDGER_NONE;
	r->tx_limit = (uint32_t)limit_for(r, o->prototype);
	r->rx_limit = o->prototype ? RX_AHEAD : 0;
	e = refuse_twin(o, r, detail, cap);
	if (e)
		return e;
	e = ledger_create(o->ledger_path, r);
	if (e == -EEXIST)
		return explain(detail, cap, KEYS_E_EXISTS, "%s exists already", o->ledger_path);
	if (e)
		return explain(detail, cap, e, "cannot make %s: %s", o->ledger_path, strerror(-e));
	return 0;
}

struct permille {
	void (*fn)(unsigned int permille, void *arg);
	void *arg;
};

static int on_progress(uint64_t done, uint64_t total, void *arg)
{
	const struct permille *p = arg;

	if (p->fn)
		p->fn((unsigned int)(done * 1000 / total), p->arg);
	return 0;
}

static bool path_is_there(const char *path)
{
	return access(path, F_OK) == 0;
}

int keys_create_file(const struct keys_options *o, void (*progress)(unsigned int permille, void *arg),
		     void *progress_arg, char *detail, size_t detail_cap)
{
	struct permille p = { progress, progress_arg };
	_cleanup_(secret_freep) struct secret *mem = NULL;
	_cleanup_close_ int lock_fd = -1;
	struct ledger_record *r;
	char table[PATH_MAX];
	uint8_t *bytes;
	int e;

	if (path_is_there(o->ledger_path))
		return explain(detail, detail_cap, KEYS_E_EXISTS, "%s exists already", o->ledger_path);
	e = secret_new(&mem, sizeof(*r), &bytes);
	if (e)
		return e;
	r = (void *)bytes;

	e = keyfile_add(r, &lock_fd, o->key_file, o->ledger_path, o->erase != KEYS_ERASE_NONE,
			on_progress, &p, detail, detail_cap);
	if (e)
		return e;
	e = create(o, r, detail, detail_cap);
	/* Someone else's table, when the ledger came into being meanwhile: the lock on the key file forbids it. */
	if (e && e != KEYS_E_EXISTS && !keyfile_table_path(table, sizeof(table), o->ledger_path))
		unlink(table);
	return e;
}

int keys_create_root(const struct keys_options *o, uint8_t root[static 32],
		     const uint8_t tunnel_id[static 16], char *detail, size_t detail_cap)
{
	static const char domain[] = "handfast pairing tunnel";
	_cleanup_(secret_freep) struct secret *mem = NULL;
	uint8_t named[sizeof(domain) + 16];
	struct ledger_record *r;
	struct slot_key *slot;
	uint8_t *bytes;
	int e;

	e = secret_new(&mem, sizeof(*r) + sizeof(*slot), &bytes);
	if (e)
		return e;
	r = (void *)bytes;
	slot = (void *)(bytes + sizeof(*r));

	r->kind = LEDGER_ROOT;
	memcpy(r->tunnel_id, tunnel_id, sizeof(r->tunnel_id));
	memcpy(named, domain, sizeof(domain));
	memcpy(named + sizeof(domain), tunnel_id, 16);
	sha256(r->fingerprint, named, sizeof(named));

	/* Slot 0's way back gives the hello key, as in a key file. */
	ratchet_start(r->tx_chain, root, tunnel_id, 1);
	ratchet_slot(slot, r->tx_chain);
	hkdf_sha256(r->hello_key, sizeof(r->hello_key), NULL, 0, slot->key, sizeof(slot->key), "hello", 5);

	ratchet_start(r->tx_chain, root, tunnel_id, o->role == KEYS_INITIATOR ? 0 : 1);
	ratchet_start(r->rx_chain, root, tunnel_id, o->role == KEYS_INITIATOR ? 1 : 0);

	e = create(o, r, detail, detail_cap);
	if (!e)
		wipe(root, 32);
	return e;
}

/* ---- opening ---- */

static int explain_open(int e, const char *path, char *detail, size_t cap)
{
	switch (e) {
	case -EWOULDBLOCK:
		return explain(detail, cap, KEYS_E_IN_USE, "%s is open in another process", path);
	case LEDGER_E_BROKEN:
		return explain(detail, cap, KEYS_E_LEDGER,
			       "both records of %s are damaged: which keys are spent is not known any more",
			       path);
	case LEDGER_E_NEWER:
		return explain(detail, cap, KEYS_E_LEDGER, "%s was written by a newer handfast", path);
	case LEDGER_E_MIXED:
		return explain(detail, cap, KEYS_E_LEDGER,
			       "the two records of %s are of different tunnels", path);
	default:
		return explain(detail, cap, err_fold(e), "cannot open %s: %s", path,
			       strerror(-err_fold(e)));
	}
}

static int check_options(const struct keys *k, const struct keys_options *o, char *detail, size_t cap)
{
	const struct ledger_record *r = k->newest;

	if (r->role != o->role)
		return explain(detail, cap, KEYS_E_LEDGER,
			       "%s was made for the %s: in the other role it would send with the peer's keys",
			       o->ledger_path, r->role == KEYS_INITIATOR ? "initiator" : "responder");
	if ((r->kind == LEDGER_FILE) != (o->key_file != NULL))
		return explain(detail, cap, KEYS_E_LEDGER, "%s belongs to a %s", o->ledger_path,
			       r->kind == LEDGER_FILE ? "key file" : "pairing");
	if (o->prototype && r->handshaken)
		return explain(detail, cap, KEYS_E_NEEDS_HANDSHAKE,
			       "this key material has been used with handshakes and needs them for ever");
	return 0;
}

static int load(struct keys *k, const struct keys_options *o, char *detail, size_t cap)
{
	_cleanup_(secret_freep) struct secret *mem = NULL;
	struct ledger_state *state;
	uint8_t *bytes;
	int r;

	r = secret_new(&mem, sizeof(*state), &bytes);
	if (r)
		return r;
	state = (void *)bytes;
	r = ledger_open(&k->ledger, o->ledger_path, state);
	if (r)
		return explain_open(r, o->ledger_path, detail, cap);
	*k->newest = state->newest;
	*k->other = state->other;
	k->other_ok = state->other_ok;
	return 0;
}

static void recover(struct keys *k, uint64_t *recovered)
{
	const struct ledger_record *r = k->newest;
	uint64_t tx = r->tx_reserved, rx = r->rx_mark;

	/* The lost record may have been the newer: go where it can have gone at most. */
	if (!k->other_ok) {
		tx = min_u64(tx + r->tx_limit, k->end);
		rx = min_u64(rx + r->rx_limit, k->end);
	}
	if (recovered)
		*recovered = tx - r->tx_next;
	k->tx_next = tx;
	k->rx_floor = rx;
	k->rx_high = r->rx_high;
	k->handshaken = r->handshaken;
	k->edge.to = r->erase_to;
	memcpy(k->edge.sum, r->edge_sum, sizeof(k->edge.sum));
	k->erased = r->erased;
}

static int init_lanes(struct keys *k)
{
	unsigned int out = k->newest->role == KEYS_INITIATOR ? 0 : 1;
	size_t spare = k->file ? FILE_AHEAD : 0;
	size_t tx_cap = (size_t)(k->block_max / SLOT_PACKETS) + 4 + spare;
	size_t rx_cap = 2 * (k->window / SLOT_PACKETS) + 4 + 2 * (SLOTS_AHEAD + 1) + spare;
	int r;

	r = lane_init(&k->tx, out, !k->file, tx_cap);
	if (!r)
		r = lane_init(&k->rx, !out, !k->file, rx_cap);
	if (r)
		return r;
	k->tx.from = k->tx.to = ledger_slot(k->newest->tx_reserved);
	k->rx.from = k->rx.to = ledger_slot(k->newest->rx_mark);
	k->tx.base = ledger_slot(k->tx_next);
	k->rx.base = ledger_slot(k->rx_floor);
	if (!k->file) {
		memcpy(k->tx.next_chain, k->newest->tx_chain, RATCHET_CHAIN_LEN);
		memcpy(k->rx.next_chain, k->newest->rx_chain, RATCHET_CHAIN_LEN);
	}
	return 0;
}

static int alloc_records(struct keys *k)
{
	uint8_t *bytes;
	int r;

	r = secret_new(&k->records_mem, 3 * sizeof(struct ledger_record), &bytes);
	if (r)
		return r;
	k->newest = (void *)bytes;
	k->other = k->newest + 1;
	k->work = k->newest + 2;
	return 0;
}

static int explain_draw(int r, const char *path, char *detail, size_t cap)
{
	if (r == KEYS_E_CHANGED)
		return explain(detail, cap, r, "%s is not as it was when it was added", path);
	if (r == -ENOMEM)
		return r;
	return explain(detail, cap, KEYS_E_UNREADABLE, "cannot read %s: %s", path, strerror(-r));
}

int keys_open(struct keys **out, const struct keys_options *o, uint64_t *recovered, char *detail,
	      size_t detail_cap)
{
	_cleanup_(keys_closep) struct keys *k = NULL;
	int r;

	assert(o->window > 0 && o->loop);
	k = calloc(1, sizeof(*k));
	if (!k)
		return -ENOMEM;
	k->loop = o->loop;
	k->on_ready = o->on_ready;
	k->arg = o->arg;
	k->prototype = o->prototype;
	k->window = o->window;
	k->erase = o->key_file ? o->erase : KEYS_ERASE_NONE;
	k->attempt_tx = k->attempt_rx = UINT64_MAX;
	/* Nothing is written by closing until all is well. */
	k->hold = true;

	r = alloc_records(k);
	if (!r)
		r = load(k, o, detail, detail_cap);
	if (!r)
		r = check_options(k, o, detail, detail_cap);
	if (!r)
		r = refuse_twin(o, k->newest, detail, detail_cap);
	if (!r && o->key_file)
		r = keyfile_attach(&k->file, o->key_file, o->ledger_path,
				   k->erase != KEYS_ERASE_NONE, k->newest, detail, detail_cap);
	if (r)
		return r;

	k->end = k->newest->slots_total ? k->newest->slots_total * SLOT_PACKETS : LEDGER_SEQ_MAX;
	k->block_max = limit_for(k->newest, k->prototype);
	k->block = min_u64(BLOCK_MIN, k->block_max);
	recover(k, recovered);

	r = init_lanes(k);
	if (!r)
		r = loop_timer_new(&k->retry, k->loop, on_retry, k);
	if (!r)
		r = loop_timer_new(&k->tell, k->loop, on_tell, k);
	if (r)
		return r;
	r = draw_now(k, &k->tx, tx_missing);
	if (!r)
		r = draw_now(k, &k->rx, rx_missing);
	if (r)
		return explain_draw(r, o->key_file ? o->key_file : "the ratchet", detail, detail_cap);
	if (!k->other_ok) {
		r = write_now(k);
		if (r)
			return explain(detail, detail_cap, r, "cannot repair %s: %s", o->ledger_path,
				       strerror(-r));
	}
	r = ledger_start(k->ledger, k->loop, on_written, k);
	if (r)
		return r;
	k->rx_durable_ms = k->quiet_since_ms = clock_now_ms();
	k->seen_tx = k->tx_next;
	k->seen_rx = k->rx_high;
	k->settled = true;
	k->hold = false;
	*out = steal(&k);
	return 0;
}

static bool is_exact(const struct keys *k)
{
	return k->other_ok && k->newest->tx_next == k->tx_next &&
	       k->newest->tx_reserved == k->tx_next && k->newest->rx_high == k->rx_high && k->newest->rx_mark == rx_exact(k) &&
	       k->newest->erased == k->erased;
}

/* The thread that may still read or erase owns all that it needs; what it erases is spent. */
static void abandon_job(struct keys *k)
{
	if (k->job)
		k->job->keys = NULL;
	k->job = NULL;
}

struct keys *keys_close(struct keys *k)
{
	if (!k)
		return NULL;
	abandon_job(k);
	/* hold: opening failed half-way, and what it found stays as it is. */
	if (k->ledger && !k->hold) {
		k->on_ready = NULL;
		k->closing = true;
		/* When this fails, what was reserved is lost to the next life, and nothing else. */
		if (!is_exact(k) || ledger_is_busy(k->ledger))
			(void)write_now(k);
	}
	ledger_close(k->ledger);
	loop_timer_free(k->retry);
	loop_timer_free(k->tell);
	if (k->file)
		keyfile_unlock(k->file);
	keyfile_unref(k->file);
	secret_free(k->tx.mem);
	secret_free(k->rx.mem);
	secret_free(k->records_mem);
	wipe(k, sizeof(*k));
	free(k);
	return NULL;
}

static int zero_and_unlink(const char *path, size_t len)
{
	static const uint8_t zeros[LEDGER_LEN];
	_cleanup_close_ int fd = -1;

	fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	/* Best effort, as all overwriting is; that the name goes is what counts. */
	if (file_pwrite_all(fd, zeros, len, 0) == 0)
		(void)fdatasync(fd);
	return unlink(path) < 0 ? -errno : 0;
}

int keys_remove(const char *ledger_path)
{
	char table[PATH_MAX];
	int r;

	r = zero_and_unlink(ledger_path, LEDGER_LEN);
	if (!r)
		r = keyfile_table_path(table, sizeof(table), ledger_path);
	if (!r && unlink(table) < 0 && errno != ENOENT)
		r = -errno;
	return r ? r : file_sync_parent(ledger_path);
}

/* ---- sending ---- */

uint64_t keys_tx_next(const struct keys *k)
{
	return k->tx_next;
}

/* Traffic: what silence would have lowered stays up. */
static void want_tx(struct keys *k)
{
	k->settle = false;
	if (k->tx_wanted)
		return;
	k->tx_wanted = true;
	kick(k);
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
	*slot = &k->tx.ring[ledger_slot(k->tx_next) % k->tx.cap];
	k->tx_next += n;

	if (left - n < k->block / 2 && k->tx_next < k->end)
		want_tx(k);
	else if (n == in_slot && !k->job)
		kick(k);
	return (int)n;
}

int keys_tx_forward(struct keys *k, uint64_t next, bool burn)
{
	uint64_t jump = next > k->tx_next ? next - k->tx_next : 0;

	if (next >= k->end || k->tx_next >= k->end)
		return KEYS_E_EXHAUSTED;
	if (jump > (burn ? burn_limit(k) : jump_limit(k)))
		return KEYS_E_NEEDS_BURN;
	k->tx_next += jump;
	lane_release(&k->tx, ledger_slot(k->tx_next));
	/* Traffic is about to follow: have some ready. */
	if (tx_left(k) == 0) {
		k->tx_waiting = true;
		k->tx_wanted = false;
		want_tx(k);
	}
	return jump > 0 && tx_left(k) == 0 ? KEYS_E_NOT_READY : 0;
}

/* ---- receiving ---- */

const struct slot_key *keys_rx_slot(const struct keys *k, uint64_t slot)
{
	if (!lane_has(&k->rx, slot) || slot >= rx_need(k))
		return NULL;
	return &k->rx.ring[slot % k->rx.cap];
}

uint64_t keys_rx_floor(const struct keys *k)
{
	return k->rx_floor;
}

uint64_t keys_rx_high(const struct keys *k)
{
	return k->rx_high;
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
	k->rx_high = highest;
	if (!new_slot)
		return true;
	lane_release(&k->rx, ledger_slot(rx_window_start(k)));
	if (!k->prototype && rx_exact(k) - k->newest->rx_mark > k->block_max / 2)
		k->due = true;
	if (k->due || !k->job)
		kick(k);
	return true;
}

int keys_rx_forward(struct keys *k, uint64_t next, bool burn)
{
	uint64_t exact = rx_exact(k), steps;

	if (next > k->end)
		return -ERANGE;
	if (next <= exact || next == k->end)
		return 0;
	if (next - exact > (burn ? burn_limit(k) : jump_limit(k)))
		return KEYS_E_NEEDS_BURN;

	k->rx_expect = max_u64(k->rx_expect, next);
	/* Beyond the window nothing that came before can come any more. */
	if (next - exact > k->window) {
		k->rx_floor = next;
		lane_release(&k->rx, ledger_slot(next));
	}
	/* The peer's first packets are on their way: if it takes but a moment, do it now. */
	steps = k->rx.base > k->rx.to ? k->rx.base - k->rx.to : 0;
	if (k->file || steps <= INLINE_STEPS_MAX)
		(void)draw_now(k, &k->rx, rx_missing);
	kick(k);
	return 0;
}

void keys_tick(struct keys *k, uint64_t now_ms)
{
	if (k->tx_next != k->seen_tx || k->rx_high != k->seen_rx) {
		k->seen_tx = k->tx_next;
		k->seen_rx = k->rx_high;
		k->quiet_since_ms = now_ms;
		k->settled = false;
		if (!k->prototype && now_ms - k->rx_durable_ms >= RX_LAZY_MS &&
		    ledger_slot(rx_exact(k)) > ledger_slot(k->newest->rx_mark)) {
			k->due = true;
			kick(k);
		}
		return;
	}
	if (k->settled || now_ms - k->quiet_since_ms < QUIET_MS)
		return;
	k->settled = true;
	k->block = min_u64(BLOCK_MIN, k->block_max);
	/*
	 * A crash from now on loses little: what a burst reserved, and (prototype)
	 * what was marked as received ahead, is given back. Not for less, for a
	 * keepalive must not cost a write.
	 */
	k->settle = (k->prototype && k->newest->rx_mark != rx_exact(k)) ||
		    k->newest->tx_reserved > k->tx_next + 4 * BLOCK_MIN;
	if (k->settle)
		kick(k);
}

/* ---- about ---- */

void keys_hello_key(const struct keys *k, uint8_t out[static 32])
{
	memcpy(out, k->newest->hello_key, 32);
}

void keys_hint(const struct keys *k, uint8_t out[static 8])
{
	static const char domain[] = "handfast key hint";
	uint8_t data[sizeof(domain) - 1 + 32], mac[HMAC_SHA256_LEN];

	memcpy(data, domain, sizeof(domain) - 1);
	memcpy(data + sizeof(domain) - 1, k->newest->fingerprint, 32);
	hmac_sha256(mac, k->newest->hello_key, 32, data, sizeof(data));
	memcpy(out, mac, 8);
}

int keys_mark_handshaken(struct keys *k)
{
	int r;

	if (k->newest->handshaken && k->other_ok && k->other->handshaken)
		return 0;
	/* In both records, so that the loss of one does not forget it. */
	k->handshaken = true;
	r = write_now(k);
	if (!r)
		r = write_now(k);
	kick(k);
	return r;
}

void keys_info(const struct keys *k, struct keys_info *out)
{
	*out = (struct keys_info){
		.is_file = k->file != NULL,
		.handshaken = k->handshaken,
		.slots_total = k->newest->slots_total,
		.tx_next = k->tx_next,
		.tx_reserved = k->newest->tx_reserved,
		.rx_high = k->rx_high,
		.rx_floor = k->rx_floor,
		.slots_erased = k->erased,
		.packets_left = k->file ? k->end - k->tx_next : UINT64_MAX,
		.ledger_writes = ledger_writes(k->ledger),
		.write_error = k->write_error,
		.source_error = k->draw_error,
		.erase_error = k->erase_error,
	};
	memcpy(out->fingerprint, k->newest->fingerprint, sizeof(out->fingerprint));
}

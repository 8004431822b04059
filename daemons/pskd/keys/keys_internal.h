/* What the parts of keys.h's implementation, the files named keys*.c, share. */
#pragma once

#include "pskd/keys/keyfile.h"
#include "pskd/keys/keys.h"
#include "pskd/keys/lane.h"
#include "pskd/keys/ledger.h"
#include "pskd/keys/received.h"
#include "pskd/packet/hold.h"

struct loop_timer;

enum {
	BLOCK_MIN = 256,
	RX_AHEAD = 256, /* prototype: how far the receive mark may be ahead */
	SLOTS_AHEAD = 16,
	/* Drawing from a key file hashes a whole piece, so draw many slots at once: a tunnel at full speed does so twice a second. */
	FILE_AHEAD = 256,
	/* A fast processor's packets of a fifth of a second. */
	RATCHET_AHEAD = 64,
	/* A file may lie on a slow disk, and whoever draws may be busy: begin so many slots before it is urgent. */
	FILE_EARLY = 64,
	RATCHET_EARLY = 32,
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
	struct hold *thread; /* that takes sequences; NULL: this one */
	bool asked; /* by it: kick() has something to do */
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
	uint64_t taken; /* of them, by packets in this life */
	bool tx_wanted; /* make more of it usable */
	uint64_t block, block_max;
	uint64_t reserved_ms;
	uint64_t rx_high, rx_floor, rx_expect;
	uint64_t rx_wanted; /* prototype: the mark should become at least this; 0: nothing wanted */
	bool rx_impatient;  /* the disk was slow: drop, do not wait */
	struct received *received; /* prototype: the truth behind the mark; NULL: not kept */
	uint64_t generation;	   /* of the newest record that was found */
	unsigned int rx_writes;	   /* prototype: so many records first, before anything is received */
	uint64_t rx_durable_ms;
	bool handshaken;
	bool due;     /* a record should be written though no mark must move */
	bool closing; /* marks become exact */

	struct lane tx, rx;
	struct job *job;

	struct keyfile_edge edge; /* what the next record says of erasing */
	uint64_t erased;
	uint64_t erase_ms; /* when the last step began */
	int erase_error;
	bool tidy; /* in this silence, finish erasing, and let both records move on */

	/* What the last tick saw. */
	uint64_t seen_tx, seen_rx, quiet_since_ms;
	bool settled; /* nothing more to do in this silence */
	bool settle;  /* lower the marks with the next record */
	bool settling; /* the record in flight does */

	struct loop_timer *retry, *tell;
	uint64_t retry_ms;
	bool hold_writes, hold_erase; /* it failed just now */
	int write_error;
	int tell_error;
	bool tx_waiting;
};

/* ---- keys_job.c ---- */

/* Does the work; in a worker's thread, or here. */
void job_work(void *arg);
void job_free(struct job *j);
struct job *job_new(struct keys *k, enum job_kind kind);
/* Draw n slots of the lane from where it goes on. */
struct job *job_draw(struct keys *k, struct lane *l, size_t n);
/* Put what was drawn where it belongs. */
void job_deliver(const struct job *j);

/* ---- keys.c ---- */

/* How many sequences may be sent now. */
uint64_t keys_tx_left(const struct keys *k);
/* The furthest that a handshake, or recovery, moves without being asked for; burn: that a person moves, in packets. */
uint64_t keys_jump_limit(const struct keys *k, bool burn);
/* What keys_kick() would begin now. Whoever is asked for nothing would hold the packet thread for nothing. */
bool keys_has_work(const struct keys *k);
/* Start whatever is missing. In the loop's thread, under the hold. */
void keys_kick(struct keys *k);
/* The same, soon, where this may be the packet thread. */
void keys_kick_soon(struct keys *k);
/* Call on_ready soon. Not from here: the caller may be in the middle of its own work. */
void keys_tell(struct keys *k, int error);
/* Something became possible: whoever was refused hears of it. */
void keys_tell_waiting(struct keys *k);
/* What failed waits, as *hold says; the rest goes on. */
void keys_retry_later(struct keys *k, bool *hold, int error);
void keys_on_retry(void *arg);
void keys_on_tell(void *arg);

static inline uint64_t keys_slots_for(uint64_t end_seq)
{
	return (end_seq + SLOT_PACKETS - 1) / SLOT_PACKETS;
}

/* ---- keys_draw.c ---- */

/* How many slots more than are needed are drawn, and room for them. */
static inline size_t keys_draw_ahead(const struct keys *k)
{
	return k->file ? FILE_AHEAD : RATCHET_AHEAD;
}

size_t keys_tx_missing(const struct keys *k);
size_t keys_rx_missing(const struct keys *k);
bool keys_has_draw(const struct keys *k);
/* NULL: no memory. */
struct job *keys_next_draw(struct keys *k);
/*
 * Draw here and now all that the lane misses: while opening, or where the wait
 * would cost packets. 0, KEYS_E_CHANGED or a negative errno.
 */
int keys_draw_now(struct keys *k, struct lane *l, size_t (*missing)(const struct keys *k));

/* ---- keys_records.c ---- */

bool keys_chains_lag(const struct keys *k);
bool keys_record_is_due(const struct keys *k);
/* Have the ledger's thread write what is now; none may be in flight. */
void keys_submit_record(struct keys *k);
void keys_on_written(int error, const struct ledger_record *r, void *arg);
/* Write what is now by hand, and wait. 0 or a negative errno. */
int keys_write_now(struct keys *k);

/* ---- keys_erase.c ---- */

bool keys_erase_is_due(const struct keys *k);
/* NULL: no memory. */
struct job *keys_next_erase(struct keys *k);
/* In a silence: would one more record let erasing go on? */
bool keys_erase_wants_record(const struct keys *k);
void keys_finish_erase(struct keys *k, const struct job *j);

/* ---- keys_rx.c ---- */

/* The next sequence to be received, as far as is known. */
uint64_t keys_rx_exact(const struct keys *k);
/* Sequences below may be received and acted on. Handshakes make old packets dead in another way. */
uint64_t keys_rx_usable(const struct keys *k);
/* One past the last slot that should be there. */
uint64_t keys_rx_need(const struct keys *k);

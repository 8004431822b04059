/*
 * The key material of one tunnel together with its ledger: the only module
 * that knows which sequences may still be used, and so the one that holds I1.
 * Sources: a key file (rows of 120-byte slots) or a pairing's root (one ratchet
 * per direction). Sequence s lies in slot s / 1000; each direction has its own
 * half of a slot. All functions are called from the control loop's thread,
 * those that say so from a packet thread or under its hold instead;
 * the ledger's own thread does the writing and fsync.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

#define SLOT_LEN 120
#define SLOT_PACKETS 1000
#define SLOT_TAG_LEN 16
#define SLOT_NONCE_LEN 12
#define SLOT_KEY_LEN 32

struct hold;
struct keys;
struct loop;
struct twins;

/* One direction of one slot, as drawn from the source. */
struct slot_key {
	uint8_t tag[SLOT_TAG_LEN];
	uint8_t nonce[SLOT_NONCE_LEN];
	uint8_t key[SLOT_KEY_LEN];
};

/* What a person may give up of a pairing's keys at once; a key file has its end. */
#define KEYS_RATCHET_BURN_SLOTS (UINT64_C(1) << 24)

enum keys_role { KEYS_INITIATOR = 0, KEYS_RESPONDER = 1 };
enum keys_erase { KEYS_ERASE_NONE, KEYS_ERASE_ZERO, KEYS_ERASE_PUNCH };

/* Outcomes of opening and adding. */
enum {
	KEYS_E_BAD_FILE = 1,  /* not a regular file, empty, no multiple of 120, or all zero where it must not be */
	KEYS_E_CHANGED,	      /* size or a per-MiB hash differs from when it was added */
	KEYS_E_IN_USE,	      /* another ledger has this fingerprint, or another process holds the lock */
	KEYS_E_UNREADABLE,    /* open or read failed: see detail */
	KEYS_E_EXHAUSTED,     /* nothing left to send with */
	KEYS_E_LEDGER,	      /* both records are broken, or of a newer version: see detail */
	KEYS_E_NOT_READY,     /* reservation is being made durable; on_ready follows */
	KEYS_E_NEEDS_BURN,    /* a jump of more than 1 % of the material needs `handfast tunnel burn` */
	KEYS_E_BEHIND,	      /* asked to go back */
	KEYS_E_NEEDS_HANDSHAKE, /* opened as prototype, but this ledger has seen a handshake */
	KEYS_E_EXISTS,	      /* creating: there is one already */
	KEYS_E_SHORTAGE,      /* the key file or its table was not opened for want of memory or descriptors, which says nothing of it */
};

struct keys_options {
	const char *ledger_path; /* file of its own, 0600 */
	const char *ledgers_dir; /* all ledgers here are searched for the same fingerprint */
	struct twins *twins;	 /* which knows them; NULL: they are read */
	enum keys_role role;
	bool prototype; /* receive mark durable ahead too */
	/* Creating: the name of the ledger that has this material already, with KEYS_E_IN_USE; cap 0: not wanted. */
	char *twin;
	size_t twin_cap;
	bool restored; /* creating: what was used before is not known here; without handshakes a burn must tell */
	/* Prototype: where received.h keeps what a crash should not cost; NULL: nowhere. */
	const char *received_path;
	uint32_t window; /* packets, >= 4096 */
	/* Key file source: path and erase; else root source: key_file is NULL. */
	const char *key_file;
	enum keys_erase erase;
	struct loop *loop;
	/* Of the packet thread that takes sequences, which then asks: keys_ask(); NULL: none. */
	struct hold *hold;
	/*
	 * After KEYS_E_NOT_READY or a failed write: something changed, try again. error 0, a
	 * negative errno of the ledger's disk, or -EBADMSG: the key file is not as it was when it
	 * was added. May close the keys.
	 */
	void (*on_ready)(int error, void *arg);
	void *arg;
};

/*
 * Make a new ledger. The key file is read whole and fingerprinted, which is slow: progress (may be
 * NULL) is told as keyfile_hash() does, in bytes, and what is not 0 ends it: -ECANCELED, and nothing is left.
 */
int keys_create_file(const struct keys_options *o, int (*progress)(uint64_t done, uint64_t total, void *arg),
		     void *progress_arg, char *detail, size_t detail_cap);
/* From a moved root; root is wiped on success. 0, KEYS_E_EXISTS, negative errno. Durable when it returns 0. */
int keys_create_root(const struct keys_options *o, uint8_t root[static 32],
		     const uint8_t tunnel_id[static 16], char *detail, size_t detail_cap);

/* Open, lock, recover. detail says what failed in words. recovered (may be NULL): what was burned by recovery, in packets. */
int keys_open(struct keys **out, const struct keys_options *o, uint64_t *recovered, char *detail,
	      size_t detail_cap);
/* Clean stop: exact marks are made durable, spent chains leave the disk, secrets are wiped. Blocks for up to three fsyncs. */
struct keys *keys_close(struct keys *k);
/*
 * keys_close() is to follow soon: from now on nothing is given out, and the exact marks are on their way to the disk, so that
 * many may go there together. Nobody is told of anything any more.
 */
void keys_begin_close(struct keys *k);
DEFINE_CLEANUP(struct keys *, keys_close);

/*
 * Overwrite and delete a ledger that is not open, and what belongs to it. 0 or a negative errno. The
 * key file stays, and nobody knows any more what of it is spent: never for one that may be used again.
 */
int keys_remove(const char *ledger_path);

/* From now on another owner is told what keys_options.on_ready is told. */
void keys_hand_over(struct keys *k, void (*on_ready)(int error, void *arg), void *arg);

/* ---- sending ---- */
uint64_t keys_tx_next(const struct keys *k);
/*
 * Take up to n consecutive sequences inside one slot that no other packet ever
 * had or will have: *first and the count as return value (>= 1), or
 * -KEYS_E_NOT_READY, -KEYS_E_EXHAUSTED. *slot is the expanded half-slot of *first,
 * valid until the next call into this module. From the packet thread, or under its hold.
 */
int keys_tx_take(struct keys *k, unsigned int n, uint64_t *first, const struct slot_key **slot);
/*
 * Go forward so that the next sequence is at least next (a handshake told that
 * the peer has seen higher ones). 0, KEYS_E_NEEDS_BURN (unless burn), KEYS_E_EXHAUSTED,
 * KEYS_E_NOT_READY (durable soon; on_ready).
 */
int keys_tx_forward(struct keys *k, uint64_t next, bool burn);
/*
 * What was given up is on the disk, in both records, when this returns 0: for what a person is told of. A negative
 * errno: it may be forgotten. A ratchet's mark may follow later, when its keys are derived; its handshakes hold I1.
 */
int keys_make_durable(struct keys *k);

/* Something is to be done that the packet thread may not do: the control thread calls keys_go_on(). */
bool keys_ask(const struct keys *k);
void keys_go_on(struct keys *k);

/* ---- receiving ---- */
/* The half-slot when it is expanded, else NULL. Never reads, derives or writes. Thread: as keys_tx_take(). */
const struct slot_key *keys_rx_slot(const struct keys *k, uint64_t slot);
/* Sequences below were received, or given up, in an earlier life: refuse them. */
uint64_t keys_rx_floor(const struct keys *k);
/* Highest authenticated or given up so far, of earlier lives too; UINT64_MAX: none. */
uint64_t keys_rx_high(const struct keys *k);
/*
 * An authenticated packet raised the highest sequence: expand 16 slots ahead,
 * let go of what the window no longer needs, move the durable marks (prototype:
 * ahead of what may be acted on; returns false when the packet must be dropped
 * because its mark is not durable yet). Thread: as keys_tx_take(); a prototype's never from a packet thread.
 */
bool keys_rx_advance(struct keys *k, uint64_t highest);
/* The peer proved by handshake that it will send from next on: expand there. 0, KEYS_E_NEEDS_BURN, negative errno. */
int keys_rx_forward(struct keys *k, uint64_t next, bool burn);
/*
 * Lower marks, and finish erasing what is spent, after 5 s of silence. Call at most once a second while traffic
 * flows, and once more at least 5 s after the call that saw the last of it.
 */
void keys_tick(struct keys *k, uint64_t now_ms);

/* ---- about ---- */
/* HKDF(slot 0's responder-to-initiator key, "hello"): derived at creation and kept in the ledger. */
void keys_hello_key(const struct keys *k, uint8_t out[static 32]);
/* 8-byte clear hint that names the key material without telling of it. */
void keys_hint(const struct keys *k, uint8_t out[static 8]);
/* The same of a ledger's record. */
struct ledger_record;
void keys_hint_of(const struct ledger_record *r, uint8_t out[static 8]);
/* Durable: from now on this material needs handshakes. */
int keys_mark_handshaken(struct keys *k);

/* One more than the last sequence there is. */
uint64_t keys_end(const struct keys *k);

struct keys_info {
	bool is_file, handshaken;
	uint64_t slots_total; /* 0: no end (ratchet) */
	uint64_t tx_next, tx_reserved, rx_high, rx_floor;
	uint64_t slots_erased;
	uint64_t packets_left; /* to send; UINT64_MAX: no end */
	uint64_t taken; /* sequences that keys_tx_take() gave out */
	uint64_t ledger_writes;
	uint8_t fingerprint[32];
	/* Negative errno of the last attempt, 0 when it worked: writing the ledger; drawing slots
	 * (-EBADMSG: the key file is not as it was when it was added); erasing. */
	int write_error, source_error, erase_error;
};
void keys_info(const struct keys *k, struct keys_info *out);

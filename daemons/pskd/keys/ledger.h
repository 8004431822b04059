/*
 * The ledger of one tunnel: which sequences are spent, durably. A file of two
 * blocks of 4 KiB, each holding one checksummed record, written in turn, so
 * that one of them is whole at any time. The format is in handfast-ledger(5).
 *
 * What a record promises about the one written after it is what makes the loss of
 * one survivable: no later record, before another write, allows more than
 * tx_limit sequences past tx_reserved to be used, nor more than rx_limit past
 * rx_mark to be received.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

#define LEDGER_BLOCK_LEN 4096
#define LEDGER_LEN (2 * LEDGER_BLOCK_LEN)
#define LEDGER_VERSION 2
#define LEDGER_SEQ_MAX (UINT64_C(1) << 62) /* every sequence is below */
#define LEDGER_TX_LIMIT_MAX (UINT64_C(1) << 20)
#define LEDGER_RX_LIMIT_MAX 65536
#define LEDGER_NONE UINT64_MAX

enum ledger_kind { LEDGER_FILE = 1, LEDGER_ROOT = 2 };

/* Holds secrets (hello_key, chains): wipe it. */
struct ledger_record {
	/* As it was read; what is written depends on what there is to say. */
	uint32_t version;
	bool sealed;
	uint64_t generation;
	/* What never changes. */
	uint8_t kind;
	uint8_t role; /* enum keys_role */
	uint8_t fingerprint[32];
	uint8_t tunnel_id[16]; /* zero for a key file */
	uint8_t hello_key[32];
	uint64_t slots_total;	 /* 0: no end */
	uint8_t table_sum[32];	 /* SHA-256 of the table of chunk hashes; zero for a root */
	/* What does. */
	bool handshaken;
	bool restored; /* made from a backup: more may have been used since than this says */
	uint64_t tx_next;     /* next to be sent when this was written */
	uint64_t tx_reserved; /* sequences below may have been sent */
	uint32_t tx_limit;
	uint64_t rx_high; /* highest received, LEDGER_NONE: none */
	uint64_t rx_mark; /* sequences below may have been received */
	uint32_t rx_limit;
	uint64_t erase_to; /* slots below are being erased, or are */
	uint64_t erased;   /* slots below are */
	uint8_t edge_sum[32]; /* hash of the chunk that erase_to cuts, with zeros below it */
	/* Ratchet: the chains at the slots of tx_reserved and rx_mark. Zero for a key file. */
	uint8_t tx_chain[32];
	uint8_t rx_chain[32];
};

static inline uint64_t ledger_slot(uint64_t seq)
{
	return seq / 1000;
}

/*
 * From now on the secrets of every record that is written are sealed under this
 * key, and sealed ones are opened with it; NULL: neither. One for the process, set before
 * the first ledger is opened; it must live as long.
 */
struct seal_key;
void ledger_use_key(const struct seal_key *key);
bool ledger_has_key(void);

/* ---- the format: pure but for that key ---- */

/* Outcomes of reading a ledger. */
enum {
	LEDGER_E_BROKEN = 1, /* a record: no magic, wrong checksum, or values that contradict each other; a ledger: both are */
	LEDGER_E_NEWER,	     /* written by a newer handfast */
	LEDGER_E_SEALED,     /* its secrets are sealed, and there is no key */
	LEDGER_E_OTHER_KEY,  /* they are sealed under another key */
	LEDGER_E_MIXED,	     /* two whole records of different material: not one tunnel's ledger */
};

void ledger_encode(uint8_t block[static LEDGER_BLOCK_LEN], const struct ledger_record *r);
/* The same without the key, whether there is one or not: for what leaves this machine. */
void ledger_encode_plain(uint8_t block[static LEDGER_BLOCK_LEN], const struct ledger_record *r);
/*
 * 0, LEDGER_E_BROKEN, _NEWER (with r->version), _SEALED or _OTHER_KEY (with all that is no
 * secret). *r may be written in part unless 0.
 */
int ledger_decode(struct ledger_record *r, const uint8_t block[static LEDGER_BLOCK_LEN]);

/* Both records, judged. */
struct ledger_state {
	struct ledger_record newest;
	struct ledger_record other; /* when other_ok */
	unsigned int newest_at;	    /* block 0 or 1 */
	bool any_plain;		    /* a whole record's secrets are not sealed */
	bool other_ok; /* false: the other block is broken or does not directly precede newest */
};
void ledger_state_wipe(struct ledger_state *s);

/*
 * Judge what a ledger file holds; len may be short (the rest is missing). 0,
 * LEDGER_E_BROKEN (no whole record at all), LEDGER_E_NEWER, _SEALED, _OTHER_KEY (one of the
 * records is; s->newest is that one, as far as it was read) or LEDGER_E_MIXED.
 */
int ledger_judge(struct ledger_state *s, const uint8_t *data, size_t len);

/* ---- the file ---- */

struct ledger;
struct loop;

/*
 * Make path (0600), both blocks alike but for their generations, durable when it
 * returns 0. -EEXIST when there is one; nothing is left behind on failure.
 */
int ledger_create(const char *path, const struct ledger_record *first);

/*
 * Open and lock for the life of the object. 0; -EWOULDBLOCK when another
 * process (or another object) has it; a LEDGER_E_ outcome; or the errno of
 * opening or reading. Nothing is written.
 */
int ledger_open(struct ledger **out, const char *path, struct ledger_state *state);

/*
 * Write r as the newest record, with the generation that is due, and wait until
 * it is durable. Whatever was in flight is waited for first and its outcome
 * told as usual. On failure the block holds the old record, r, or neither.
 */
int ledger_write(struct ledger *l, const struct ledger_record *r);

/*
 * Start the thread that writes. done(error, record, arg) comes in the loop for each
 * ledger_submit(), error 0 or a negative errno; record is what was written.
 */
typedef void (*ledger_done_fn)(int error, const struct ledger_record *r, void *arg);
int ledger_start(struct ledger *l, struct loop *loop, ledger_done_fn done, void *arg);

/* Write r in the thread. One at a time: asserts that none is in flight. */
void ledger_submit(struct ledger *l, const struct ledger_record *r);
bool ledger_is_busy(const struct ledger *l);
/* Wait up to ms for the one in flight; true when it came, and done was called. */
bool ledger_wait(struct ledger *l, unsigned int ms);

uint64_t ledger_writes(const struct ledger *l);

/* Waits for the one in flight (done is not called) and unlocks. */
struct ledger *ledger_close(struct ledger *l);
DEFINE_CLEANUP(struct ledger *, ledger_close);

/*
 * Look through dir for another ledger of the same material than the file at
 * own (may be NULL, or a file not made yet). 0 none; 1 and its name in *name
 * (name_cap bytes); negative errno.
 */
int ledger_find_twin(const char *dir, const char *own, const uint8_t fingerprint[static 32],
		     char *name, size_t name_cap);

struct stat;
/*
 * What material the file name in dir_fd is of, and *st. 0; LEDGER_E_BROKEN when it is no ledger, or another of the
 * outcomes that do not tell; or a negative errno.
 */
int ledger_material(int dir_fd, const char *name, struct stat *st, uint8_t fingerprint[static 32]);

/* Read and judge without a lock: what is being written meanwhile is an other that is not ok. As ledger_judge(), or a negative errno. */
int ledger_look(const char *path, struct ledger_state *s);

/*
 * Before any ledger of dir is used: refuse the whole folder when one of them is of a newer handfast,
 * or sealed under a key that is not ours; then, with a key, seal what is not, and count those in
 * *sealed. 0; 1 with the sentence in why (cap bytes), nothing having changed; or a negative errno.
 */
int ledgers_prepare(const char *dir, size_t *sealed, char *why, size_t cap);

/*
 * A ledger that came from a backup and is not open: it counts from slot to_slot on, in both
 * directions, and as any other. 0; a LEDGER_E_ outcome; -ERANGE when the slot is not after all that may have been
 * used, or there is none such; -EINVAL when the ledger did not come from a backup; another negative errno.
 */
int ledger_burn_restored(const char *path, uint64_t to_slot);
/*
 * A key file's ledger that is not open: all that is left of it is given up, for ever; erased: and the file is zeros. It
 * remembers the fingerprint, so that the file is never taken again. Both records say so when it
 * returns 0; else as ledger_burn_restored().
 */
int ledger_finish(const char *path, bool erased);
bool ledger_record_is_finished(const struct ledger_record *r);
/*
 * The ledger of a key file that had its time was lost: a finished one takes its place, durably, and whatever is left of
 * it. Its table, when it is still there, stays. 0 or a negative errno.
 */
int ledger_bury(const char *path, uint8_t role, const uint8_t fingerprint[static 32]);
/* Both records are whole, and say that nothing was ever sent, received or agreed with its keys. */
bool ledger_state_is_unused(const struct ledger_state *s);

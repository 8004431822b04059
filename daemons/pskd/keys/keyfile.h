/*
 * A key file as the source of slots: locked, and believed piece by piece. The hashes of its pieces
 * were taken when it was added; they lie in a table beside the ledger, whose own hash is in the
 * ledger. No slot is used from a piece that has not just passed its hash, so that opening a file of
 * any size is quick and a changed one is noticed wherever the change is.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "crypto/keyfile_io.h"
#include "pskd/keys/keys.h"

struct keyfile;
struct ledger_record;

/* The table of the ledger at ledger_path. 0 or -ENAMETOOLONG. */
int keyfile_table_path(char *out, size_t cap, const char *ledger_path);

/*
 * Read the file whole, lock it while doing so, write its table and fill the
 * record's fields that come from it. 0, a KEYS_E_ outcome or a negative errno;
 * detail says what. *lock_fd keeps the file locked until it is closed.
 */
int keyfile_add(struct ledger_record *r, int *lock_fd, const char *path, const char *ledger_path,
		bool writable, keyfile_progress_fn progress, void *arg, char *detail, size_t cap);

/* Open and lock. 0, a KEYS_E_ outcome or a negative errno. */
int keyfile_attach(struct keyfile **out, const char *path, const char *ledger_path, bool writable,
		   const struct ledger_record *r, char *detail, size_t cap);

/* Where erasing stands: the piece that slot `to` cuts has `sum` for its hash once zeros are below. */
struct keyfile_edge {
	uint64_t to;
	uint8_t sum[KEYFILE_HASH_LEN];
};

/*
 * Whether it is the file of its ledger, as one piece tells that is not erased, or the first slot, which is among the
 * erased ones: attaching looks at the size alone. 0, KEYS_E_CHANGED or a negative errno.
 */
int keyfile_check(struct keyfile *f, const struct keyfile_edge *now, uint64_t erased);

/*
 * Draw n half-slots from number first, all inside one piece. Reads; called in
 * threads. 0, KEYS_E_CHANGED or a negative errno; -ENODATA when first is below the edge.
 */
int keyfile_draw(struct keyfile *f, unsigned int direction, uint64_t first, size_t n,
		 const struct keyfile_edge *edge, struct slot_key *out);
/* The piece's last slot and one, for the rule above. */
uint64_t keyfile_piece_end(const struct keyfile *f, uint64_t slot);

/* The edge that moves erasing from *now to `to`: reads one or two pieces. As keyfile_draw(). */
int keyfile_move_edge(struct keyfile *f, const struct keyfile_edge *now, uint64_t to,
		      struct keyfile_edge *out);
/* Make slots [from, to) zeros on the disk; durable when 0. A negative errno. */
int keyfile_erase(struct keyfile *f, uint64_t from, uint64_t to, enum keys_erase how);

/* References are the loop thread's alone; unlock lets others have the file while a thread still reads. */
struct keyfile *keyfile_ref(struct keyfile *f);
struct keyfile *keyfile_unref(struct keyfile *f);
DEFINE_CLEANUP(struct keyfile *, keyfile_unref);
void keyfile_unlock(struct keyfile *f);

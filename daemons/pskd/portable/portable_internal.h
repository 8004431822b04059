/*
 * What the files behind portable.h share.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/json.h"
#include "pskd/keys/keyfile.h"
#include "pskd/keys/ledger.h"
#include "pskd/portable/portable.h"
#include "pskd/tunnel/spec.h"
#include "service/export.h"

#define TUNNELS "tunnels"
#define LEDGERS "ledgers"
#define STAGE "import.new"
#define COMMITTED "import"
#define JSON ".json"
#define LEDGER ".ledger"
#define CHUNKS ".ledger.chunks"
#define UNREADABLE "unreadable.json"
/* In what is staged: the files that go before the others get their places, a path below the state folder a line. */
#define REMOVE "remove"

enum { FILE_NAME_MAX = 80 };

/* The names in a folder with this suffix, sorted; one that is not there is empty. */
struct portable_names {
	char **v;
	size_t n;
};

struct portable_work { /* holds secrets: lies in secret memory */
	struct ledger_state state;
	struct ledger_record record, other;
	uint8_t block[LEDGER_BLOCK_LEN];
};

static inline bool portable_ends_with(const char *name, const char *suffix)
{
	size_t n = strlen(name), m = strlen(suffix);

	return n > m && strcmp(name + n - m, suffix) == 0;
}

static inline uint64_t portable_end_of(const struct ledger_record *r)
{
	return r->slots_total * SLOT_PACKETS;
}

/* l is to be done with, also after an error. 0 or a negative errno. */
int portable_names_read(struct portable_names *l, const char *dir, const char *suffix);
void portable_names_done(struct portable_names *l);

/* The file name of a piece in one of the two folders; NULL when it is neither. */
const char *portable_file_of(const struct bundle_piece *p, const char *folder, const char *suffix);
/* The next three: 0, or -1 with the sentence in why. *out is the caller's. */
int portable_parse_spec(struct spec **out, const struct bundle_piece *p, const char *file, char *why, size_t cap);
int portable_parse_ledger(struct ledger_record *r, const struct bundle_piece *p, char *why, size_t cap);
/* The table that belongs to a ledger's record. */
int portable_check_table(const struct ledger_record *r, const struct bundle_piece *p, const void *bundle, size_t len,
			 struct bundle_piece *table, char *why, size_t cap);

/* All of it, also what a stop in the middle of a write left. 0, also when it is not there, or a negative errno. */
int portable_remove_tree(const char *dir);
int portable_sync_dir(const char *dir);

/*
 * authd.db: users, sessions, invitations, server keys and notes. What is secret in it is sealed: server keys
 * under the state key (where there is one), a session's key under the session id, of which the database has
 * only a hash, and under the state key besides.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "store/store.h"

struct opstat;
struct seal_key;
struct secret;
struct state;

/* Outcomes of state_open(): the administrator mends them. */
enum {
	STATE_E_NEWER = 1, /* of a newer handfast */
	STATE_E_CORRUPT,
	STATE_E_LOCKED,	   /* another authd has it */
	STATE_E_SEALED,	   /* sealed, and there is no state key */
	STATE_E_OTHER_KEY, /* sealed under another one */
};

/* key may be NULL and must outlive the state. 0; an outcome, or a negative errno, with the sentence in why. */
int state_open(struct state **out, const char *dir, const struct seal_key *key, char *why, size_t cap);
struct state *state_free(struct state *s);
DEFINE_CLEANUP(struct state *, state_free);

/*
 * The same for an import, which replaces all that is sealed: whatever it is sealed under. look: to look alone, at a
 * database that is there (store_look()).
 */
int state_open_import(struct state **out, const char *dir, const struct seal_key *key, bool look, char *why, size_t cap);

struct store *state_store(struct state *s);

/* For a scope that ends in state_commit(), or is rolled back: _cleanup_(state_end) struct state_tx tx = { NULL }; */
struct state_tx {
	struct store *store;
};
int state_begin(struct state_tx *tx, struct state *s);
int state_commit(struct state_tx *tx); /* durable when 0 */
void state_end(struct state_tx *tx);

/* A statement's one integer; fallback when there is no row. Binds a when it is not NULL. */
int state_number(struct state *s, const char *sql, const int64_t *a, int64_t fallback, int64_t *out);
/* Run a statement with up to two integers bound. */
int state_run(struct state *s, const char *sql, const int64_t *a, const int64_t *b);

/* Room for a secret of len bytes at rest. */
#define STATE_SEALED_SPACE(len) ((len) + 52)
/* The form in which a secret is stored: sealed where there is a state key, else as it is. context says what it is. */
void state_seal(struct state *s, uint8_t *out, size_t *out_len, const uint8_t *in, size_t len, const char *context);
/* And back. 0, -EBADMSG (also what should be sealed and is not) or -ENOMEM. */
int state_unseal(struct state *s, struct secret **out, const void *in, size_t in_len, size_t len, const char *context);

/* How often, and how long it took; whole sessions are sealed and opened in two layers, of which this is the outer. */
const struct opstat *state_sealing(const struct state *s);
const struct opstat *state_opening(const struct state *s);

/*
 * Whether there is a state key that nothing here was sealed under before: what is secret is to be sealed, and then that
 * noted, in one transaction; sessions that were sealed by their ids alone end with it. state_seals() after it: what is
 * not sealed is refused from then on.
 */
bool state_is_to_seal(const struct state *s);
int state_begin_sealing(struct state *s);
void state_seals(struct state *s);

/* Whether the disk takes what is written: 0 or a negative errno. */
int state_try(struct state *s);

/* Have what was deleted leave the file and its log. */
int state_scrub(struct state *s);

/*
 * The durable mark of the wall clock, in seconds: the latest time that a request's time stamp may have been
 * accepted at. state_mark() raises it.
 */
int64_t state_marked(const struct state *s);
int state_mark(struct state *s, int64_t at);

/* Seconds since the epoch that never go back, nor stand still while the wall clock is behind: what sessions end by. */
int64_t state_now(const struct state *s);
/* Make that durable, with whatever else is written; state_mark() does. */
int state_tick(struct state *s);

/*
 * The origin that is served from now on. When users are there whose records were made under another one, that one
 * goes into before (cap bytes, else left alone) and stays noted. 0 or a negative errno.
 */
int state_take_origin(struct state *s, const char *origin, char *before, size_t cap);
/* The origin under which records were made; "" when none was noted. */
int state_origin(struct state *s, char *out, size_t cap);

/* Latest time that anything was made at or ended by, as stored. */
int64_t state_seen(const struct state *s);
/*
 * For an import, within its transaction: another origin; what is sealed is under this state's key from now on, or
 * not at all; clocks that are never behind what they were here or there.
 */
int state_import(struct state *s, const char *origin, int64_t mark, int64_t seen);

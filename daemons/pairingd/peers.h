/*
 * What pairingd keeps: paired devices with the roots that wait to be moved,
 * and the secrets that were spent. One SQLite file; each function that changes
 * something is durable when it returns 0.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "crypto/secret.h"
#include "crypto/sign.h"
#include "pairingd/pairing.h"

struct peers;

/*
 * Unconfirmed pairings with one peer. Each may be the one that the peer has, so none makes place for a
 * newer one; each takes two people and a relay that lets them down.
 */
#define PEERS_PREPARED_MAX 8

/* Failed secrets in a row after which PINs grow, and their two lengths. */
#define PEERS_FAILURES_MAX 3
#define PEERS_PIN_SHORT 6
#define PEERS_PIN_LONG 8

enum {
	PEERS_E_NO_SUCH = 1,
	PEERS_E_NAME_TAKEN,
	PEERS_E_NO_ROOT,    /* moved already */
	PEERS_E_SPENT,	    /* a secret was spent on this session before */
	PEERS_E_NEWER,	    /* the file is of a newer handfast */
	PEERS_E_CORRUPT,
	PEERS_E_LOCKED,	    /* another daemon has it */
	PEERS_E_SEALED,	    /* roots are sealed, and there is no state key */
	PEERS_E_OTHER_KEY,  /* they are sealed under another one */
	PEERS_E_FULL,	    /* PEERS_PREPARED_MAX pairings with the peer are unconfirmed */
};

struct peer {
	uint8_t id[IDENTITY_ID_LEN];
	char name[IDENTITY_NAME_MAX + 1]; /* ours for it */
	struct pairing_identity identity; /* as it said; signature and tunnel_share are not kept */
	enum pairing_role role;		  /* ours */
	bool active;
	char profile[PROFILE_NAME_MAX + 1];
	bool sas_compared;
	int64_t paired_at; /* wall clock, for showing */
	uint16_t own_port;
	uint8_t tunnel_id[16];
	bool has_root;
	bool restored; /* from a backup, without a root: must be paired again for a tunnel */
	bool newer_unconfirmed; /* active, and a prepared pairing with the same identity waits beside it */
};

/* In folder dir. 0, PEERS_E_NEWER, _CORRUPT, _LOCKED, or a negative errno. */
int peers_open(struct peers **out, const char *dir);
/*
 * The same with a state key (NULL: none), under which roots are sealed; *n_sealed is how many were
 * sealed just now. Also PEERS_E_SEALED and PEERS_E_OTHER_KEY. With an outcome, why (cap bytes) has the
 * sentence. The key is the caller's and must live as long.
 */
struct seal_key;
int peers_open_sealed(struct peers **out, const char *dir, const struct seal_key *key, size_t *n_sealed,
		      char *why, size_t cap);
/*
 * For replacing what is there: whether and how roots are sealed does not matter. look: only for reading
 * what is there; nothing in the file changes, not even its version.
 */
int peers_open_import(struct peers **out, const char *dir, bool look, char *why, size_t cap);
struct peers *peers_free(struct peers *p);
DEFINE_CLEANUP(struct peers *, peers_free);
const char *peers_outcome_text(int outcome);

/* ---- spent secrets (I3) ---- */

/* Digits of the next PIN, and failures in a row. */
unsigned int peers_pin_digits(const struct peers *p);
/* True when a secret was spent on this session code before: its PIN must not be tried again. */
bool peers_is_spent(struct peers *p, const char *code);
/*
 * A secret is about to be used in this session; it counts as failed until
 * peers_proven(). 0, PEERS_E_SPENT, or a negative errno.
 */
int peers_spend(struct peers *p, const char *code, const uint8_t session_id[static 16],
		enum pairing_role role, enum secret_class class);
/* The peer had the same secret. */
int peers_proven(struct peers *p, const uint8_t session_id[static 16]);
/* How a pairing that had spent its secret ended, for the record. */
int peers_ended(struct peers *p, const uint8_t session_id[static 16], const char *outcome);
/* Pairings that were cut off by the last stop, between spending and their end; forgotten by the call. */
int peers_take_cut_off(struct peers *p, unsigned int *n);

/* ---- pairings ---- */

/*
 * Store as prepared. wanted is the name that the person chose, NULL or ""
 * for the peer's own; a name that another identity has gets "-2", "-3" …; a
 * known identity keeps its name unless wanted says otherwise. out->name and id
 * say what it became. Earlier pairings with the same identity, active or
 * prepared, stay beside it until this one is active. out may be NULL. 0,
 * PEERS_E_FULL, negative errno.
 */
int peers_store(struct peers *p, const struct pairing_result *result, uint16_t own_port,
		const char *wanted, struct peer *out);
/*
 * The pairing of this tunnel becomes active and what came before it goes. Prepared
 * ones that came after it stay: the peer may have one of them. One that is active
 * already needs nothing. 0, PEERS_E_NO_SUCH, negative errno.
 */
int peers_activate(struct peers *p, const uint8_t id[static IDENTITY_ID_LEN],
		   const uint8_t tunnel_id[static IDENTITY_TUNNEL_ID_LEN]);
/* Remove the prepared one of this tunnel; earlier ones stay. 0, PEERS_E_NO_SUCH, negative errno. */
int peers_remove_prepared(struct peers *p, const uint8_t id[static IDENTITY_ID_LEN],
			  const uint8_t tunnel_id[static IDENTITY_TUNNEL_ID_LEN]);
/* Remove all of this identity. */
int peers_forget(struct peers *p, const uint8_t id[static IDENTITY_ID_LEN]);
/* new_name must be a name (text_is_name()). 0, PEERS_E_NO_SUCH, PEERS_E_NAME_TAKEN, negative errno. */
int peers_rename(struct peers *p, const uint8_t id[static IDENTITY_ID_LEN], const char *new_name);

/* One identity: the active pairing, else the newest prepared one. 0, PEERS_E_NO_SUCH, negative errno. */
int peers_get(struct peers *p, const uint8_t id[static IDENTITY_ID_LEN], struct peer *out);
/* The one of an identity's pairings that has this tunnel. */
int peers_get_tunnel(struct peers *p, const uint8_t id[static IDENTITY_ID_LEN],
		     const uint8_t tunnel_id[static IDENTITY_TUNNEL_ID_LEN], struct peer *out);
/* By name, or by its id in hex (8 or more digits, if only one fits). */
int peers_find(struct peers *p, const char *name, struct peer *out);
/* Each identity in order of names, as peers_get() gives it. 0 or a negative errno. */
int peers_each(struct peers *p, void (*fn)(const struct peer *peer, void *arg), void *arg);
/* Each pairing; of an identity's the one last that peers_get() gives. 0 or a negative errno. */
int peers_each_pairing(struct peers *p, void (*fn)(const struct peer *peer, void *arg), void *arg);
/* Each pairing whose root waits, an identity's in the order in which they were made. 0 or a negative errno. */
int peers_each_root(struct peers *p, void (*fn)(const struct peer *peer, void *arg), void *arg);
/* True when a stored pairing has this as its own tunnel port. */
bool peers_port_is_used(struct peers *p, uint16_t port);

/* True for 8 to 32 hex digits: an id, or the beginning of one, which no peer may be called. */
bool peers_name_is_id(const char *name);

/* ---- from a backup ---- */

/*
 * In place of all pairings there are, these n, restored and without roots; own is the identity
 * that they were made with. What was spent stays spent; that roots were sealed, and under which
 * key, is forgotten with them. 0 or a negative errno.
 */
int peers_replace(struct peers *p, const struct peer *v, size_t n, const struct sign_public *own);
/*
 * The identity that peers_replace() named, until peers_import_done(): its key may not have its place
 * yet. 0, PEERS_E_NO_SUCH, PEERS_E_CORRUPT, negative errno.
 */
int peers_imported_identity(struct peers *p, struct sign_public *own);
int peers_import_done(struct peers *p);

/* ---- roots ---- */

/* A copy of the root that waits. 0, PEERS_E_NO_SUCH, PEERS_E_NO_ROOT, negative errno. */
int peers_root(struct peers *p, const uint8_t id[static IDENTITY_ID_LEN],
	       const uint8_t tunnel_id[static IDENTITY_TUNNEL_ID_LEN], struct secret **root);
/* The other daemon has it durably: erase ours, from the file too (see peers_scrub()). */
int peers_root_moved(struct peers *p, const uint8_t id[static IDENTITY_ID_LEN],
		     const uint8_t tunnel_id[static IDENTITY_TUNNEL_ID_LEN]);
/*
 * Overwrite what was deleted, in the file and its log. Whatever deletes does
 * so itself; when the disk refuses, the deletion still holds, and fn is told, to
 * call this again later. 0 or a negative errno.
 */
int peers_scrub(struct peers *p);
void peers_on_unscrubbed(struct peers *p, void (*fn)(int r, void *arg), void *arg);

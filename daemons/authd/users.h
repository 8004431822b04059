/* Users and their records, invitations, and the addresses that users came from. Names are canonical (proto/username.h). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/opaque.h"
#include "proto/username.h"

struct address_key;
struct state;

struct user {
	int64_t id;
	char name[USERNAME_SPACE];
	uint8_t record[OPAQUE_RECORD_LEN];
	int64_t generation;
	int64_t version; /* another one: logins that were started before are void */
	bool disabled;
	int64_t created_at, changed_at, seen_at; /* seen_at 0: never logged in */
	int64_t sessions;			 /* users_list() alone */
};

enum { USERS_E_NO_SUCH = 1, USERS_E_TAKEN, USERS_E_FULL, USERS_E_INVITATION };

/*
 * The user of this name. Does the same for a name that nobody has: reads one row and
 * compares it. 0, USERS_E_NO_SUCH, or a negative errno.
 */
int users_find(struct state *s, const char *name, struct user *out);

#define INVITATION_HASH_LEN 32

/* How somebody may register. */
struct users_claim {
	int64_t user;			 /* in a session: whose; else 0 */
	const uint8_t *invitation_hash; /* NULL: none */
};

/*
 * Store a record. A claim of nothing makes a new user alone (USERS_E_TAKEN); one by invitation makes
 * or replaces the user whom it names, or makes a new one, and is used up; one of a user
 * replaces its own record, and its sessions but keep_session end. *replaced tells which it was. 0,
 * USERS_E_TAKEN, USERS_E_FULL (max), USERS_E_INVITATION (none that allows it), USERS_E_NO_SUCH, or a negative errno.
 */
int users_register(struct state *s, const char *name, const uint8_t record[static OPAQUE_RECORD_LEN],
		   int64_t generation, const struct users_claim *claim, int64_t keep_session, int64_t max,
		   bool *replaced);

/*
 * Whether this invitation, if there is one, would allow name, and is *for_it alone; uses nothing up. 0,
 * USERS_E_INVITATION, or a negative errno.
 */
int invitation_check(struct state *s, const uint8_t hash[static INVITATION_HASH_LEN], const char *name, bool *for_it);
/* name may be NULL: whoever is no user yet. 0, USERS_E_TAKEN (there is one of this hash), or a negative errno. */
int invitation_add(struct state *s, const uint8_t hash[static INVITATION_HASH_LEN], const char *name, uint64_t ttl_s);

struct invitation {
	int64_t id;
	char name[USERNAME_SPACE]; /* "" for any */
	int64_t created_at, expires_at;
};
/* Those behind after, ascending; returns how many (at most max) or a negative errno. */
int invitations_list(struct state *s, int64_t after, struct invitation *out, size_t max);
int invitation_remove(struct state *s, int64_t id); /* 0, USERS_E_NO_SUCH, or a negative errno */

/* Disabling ends the user's sessions. 0, USERS_E_NO_SUCH, or a negative errno. */
int users_set_disabled(struct state *s, const char *name, bool disabled);
int users_delete(struct state *s, const char *name);
/* One of a backup, as it is; there is none of this name. 0 or a negative errno. */
int users_import(struct state *s, const struct user *u);
/* Users behind after ("" for the first), in order of names; how many (at most max) or a negative errno. */
int users_list(struct state *s, const char *after, struct user *out, size_t max);
int users_count(struct state *s, int64_t *out);

/*
 * Whether a user logged in from this address lately. user 0: nobody's. False also where it cannot be told, and for a
 * Unix socket.
 */
bool users_knows_address(struct state *s, int64_t user, const struct address_key *a);
/* A login from it; inside of a transaction. */
int users_learn_address(struct state *s, int64_t user, const struct address_key *a);

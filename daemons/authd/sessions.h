/*
 * Sessions, durable. A session id is 32 random bytes; here is its hash, and the key of its proofs, sealed under
 * what is derived from the id: without the id, which only the client has, the database gives no key.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "authd/users.h"
#include "base/base64.h"

struct address_key;
struct secret;
struct state;

#define SESSION_ID_LEN 32
#define SESSION_ID_SPACE BASE64_SPACE(SESSION_ID_LEN)
#define SESSION_ADDRESS_SPACE 48

struct session {
	int64_t id; /* of the row: what lists and logs show */
	int64_t user;
	char name[USERNAME_SPACE];
	int64_t generation; /* of the user's record */
	int64_t created_at, expires_at;
	char address[SESSION_ADDRESS_SPACE]; /* from where the login came; sessions_list() alone */
	struct secret *key;		     /* sessions_find() alone: free it with session_done() */
};

void session_done(struct session *s);

enum { SESSIONS_E_NONE = 1, SESSIONS_E_VOID };

/*
 * A login is over: a new session of user, if its version still is this one (SESSIONS_E_VOID otherwise: disabled,
 * deleted or registered anew meanwhile). The oldest go where there are more than max. The client's address is
 * remembered. 0 or a negative errno besides.
 */
int sessions_add(struct state *s, int64_t user, int64_t version, const struct secret *key, uint64_t ttl_s,
		 const struct address_key *address, const char *address_text, uint64_t max,
		 char id[static SESSION_ID_SPACE]);

/* The living session of this id (len characters). 0, SESSIONS_E_NONE, or a negative errno. */
int sessions_find(struct state *s, const char *id, size_t len, struct session *out);

/* End one. 0, SESSIONS_E_NONE, or a negative errno. */
int sessions_end(struct state *s, int64_t id);
/* End all of a user's; how many went, or a negative errno. */
int sessions_end_user(struct state *s, const char *name);
/* Those behind after, of a user (NULL: of all); how many (at most max) or a negative errno. */
int sessions_list(struct state *s, const char *name, int64_t after, struct session *out, size_t max);
int sessions_count(struct state *s, int64_t *out);

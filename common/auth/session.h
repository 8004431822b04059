/*
 * A login and what it is good for: signing requests (proto/pop.h). It notices by itself when the
 * server takes its own nonces alone. No socket and no disk here.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/exchange.h"
#include "base/cleanup.h"
#include "proto/pop.h"

struct json_t;
struct secret;

struct auth_session {
	struct auth_url url; /* of the authd that gave it */
	char origin[AUTH_ORIGIN_SPACE]; /* what that calls itself */
	char user[72];
	char id[POP_SESSION_MAX + 1];
	int64_t created_s, expires_s; /* Unix seconds by this machine's clock, to show and to tidy up */
	struct secret *key;
	char snonce[POP_SNONCE_MAX + 1]; /* the server's latest, "" in mode "time" */
};

/* New from a session id and an OPAQUE session key (not kept). 0, AUTH_E_BAD_ANSWER for an id that is none, or -ENOMEM. */
int auth_session_new(struct auth_session **out, const char *id, const struct secret *opaque_key);
struct auth_session *auth_session_free(struct auth_session *s);
DEFINE_CLEANUP(struct auth_session *, auth_session_free);

/* Header fields of one signed request. */
enum { AUTH_FIELDS_MAX = 5 };
struct auth_fields {
	size_t n;
	struct {
		const char *name;
		char value[POP_SNONCE_MAX + 16];
	} v[AUTH_FIELDS_MAX];
};

/*
 * Sign. request's authority is as pop_authority() gives it; body may be NULL with len 0. now_s:
 * Unix seconds. 0, or POP_E_REQUEST.
 */
int auth_sign(struct auth_fields *out, const struct auth_session *s, const struct pop_request *request,
	      const void *body, size_t len, int64_t now_s);

/* The same with the SHA-256 of a body that the caller does not hold whole. */
int auth_sign_digest(struct auth_fields *out, const struct auth_session *s, const struct pop_request *request,
		     const uint8_t body_sha256[static POP_DIGEST_LEN], int64_t now_s);

/*
 * Look at an answer: snonce is its X-SNONCE, NULL when absent. True when the request, signed
 * again, has a new chance: 401 with a nonce that was not used yet. Ask once for each request.
 */
bool auth_session_retry(struct auth_session *s, unsigned int status, const char *snonce);

/*
 * All but the key, as JSON, a new reference, NULL without memory; and back, without a key: 0, -EBADMSG or
 * -ENOMEM. The key is for whoever keeps it to keep apart.
 */
struct json_t *auth_session_to_json(const struct auth_session *s);
int auth_session_from_json(struct auth_session **out, const struct json_t *o);

/*
 * Proof of possession: each protected request carries a MAC over what it asks
 * for, under a key that only the two ends of an OPAQUE login have. A stolen
 * session id is worth nothing without the key, and a request that was seen is
 * worth nothing again. Both sides of the header fields are here; who keeps
 * clocks, nonces and sessions decides what is fresh.
 *
 *	Authorization: Bearer SESSION
 *	X-TS: 1785000000	Unix seconds, or instead of it
 *	X-SNONCE: TEXT		a nonce that the server gave with a 401
 *	X-NONCE: TEXT		16 or more random bytes, base64url without padding
 *	Content-Digest: sha-256=:BASE64:	RFC 9530, of the body; of no body, too
 *	X-POP: TEXT		the MAC, base64url without padding
 *
 * The MAC is HMAC-SHA-256 over these, each after its length in four bytes
 * (big-endian): "handfast-pop-v1"; "time" or "nonce"; "https" or "http"; the
 * authority in its canonical spelling; the method; path and query as sent;
 * the value of X-TS or X-SNONCE; of X-NONCE; of Content-Digest. Values are as
 * sent, without the white space around them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/base64.h"
#include "crypto/secret.h"

#define POP_KEY_LEN 32
#define POP_MAC_LEN 32
#define POP_DIGEST_LEN 32

#define POP_SESSION_MAX 256   /* characters of a session id: RFC 6750's b64token */
#define POP_NONCE_BYTES_MIN 16
#define POP_NONCE_BYTES_MAX 64
#define POP_NONCE_BYTES 16    /* as our own client makes them */
#define POP_SNONCE_MAX 256    /* characters: base64url */
#define POP_METHOD_MAX 32
#define POP_AUTHORITY_MAX 262 /* a name of 255, a colon and a port */
#define POP_TARGET_MAX 8192
#define POP_CONTENT_DIGEST_MAX 512

#define POP_TS_SPACE 21
#define POP_NONCE_SPACE BASE64_SPACE(POP_NONCE_BYTES)
#define POP_MAC_SPACE BASE64_SPACE(POP_MAC_LEN)
#define POP_CONTENT_DIGEST_SPACE (sizeof("sha-256=::") - 1 + BASE64_SPACE(POP_DIGEST_LEN))
#define POP_AUTHORITY_SPACE (POP_AUTHORITY_MAX + 1)

/* Outcomes. */
enum {
	POP_E_NO_SESSION = 1, /* no Authorization, or not Bearer with a session id */
	POP_E_TIME,	      /* neither X-TS nor X-SNONCE, both, or one that is malformed */
	POP_E_NONCE,	      /* X-NONCE is absent, malformed, too short or too long */
	POP_E_DIGEST,	      /* Content-Digest is absent, malformed, or without sha-256 */
	POP_E_MAC,	      /* X-POP is absent or malformed */
	POP_E_REQUEST,	      /* scheme, authority, method or target is malformed or too long */
	POP_E_WRONG,	      /* the MAC is another, the digest that of another body */
};

/* "no session", "wrong proof" …, for answers and logs. */
const char *pop_outcome_text(int outcome);

/* A new secret of POP_KEY_LEN bytes: HKDF-SHA-256 of the OPAQUE session key, label "handfast pop". 0 or -ENOMEM. */
int pop_key(struct secret **out, const struct secret *session_key);

/* What a request asks for. All text is the caller's and NUL-terminated. */
struct pop_request {
	const char *scheme;    /* "https" or "http" */
	const char *authority; /* from pop_authority() */
	const char *method;    /* as sent: upper and lower case differ */
	const char *target;    /* path and query as sent, not decoded; begins with / */
};

/*
 * The canonical spelling of an authority as in a URL or a Host field: lower
 * case, without the scheme's default port and without leading zeros in
 * another. A name, an IPv4 address, or an IPv6 address in brackets; no user,
 * no white space. 0 or POP_E_REQUEST.
 */
int pop_authority(char out[static POP_AUTHORITY_SPACE], const char *scheme, const char *authority);

/* ---- server ---- */

/* Values of the header fields, NUL-terminated; NULL where absent. A field that came twice is for the caller to refuse. */
struct pop_fields {
	const char *authorization;
	const char *ts;
	const char *snonce;
	const char *nonce;
	const char *content_digest;
	const char *mac;
};

/* The same fields, well formed. Pointers are into the fields' text and live as long. */
struct pop_proof {
	const char *session; /* the b64token; ends where authorization does, but for white space */
	size_t session_len;
	int64_t ts;	    /* Unix seconds; used when snonce is NULL */
	const char *snonce; /* NULL in mode "time" */
	size_t snonce_len;
	uint8_t nonce[POP_NONCE_BYTES_MAX];
	size_t nonce_len;
	uint8_t digest[POP_DIGEST_LEN]; /* SHA-256 of the body, as the client says */
	uint8_t mac[POP_MAC_LEN];
	const struct pop_fields *fields;
};

/* Read the fields. 0, or the first of the outcomes, in their order, that applies; *out is written on success alone. */
int pop_parse(struct pop_proof *out, const struct pop_fields *fields);

/*
 * Is the MAC that of this request under this key? In time that depends on the
 * lengths alone. 0, POP_E_REQUEST or POP_E_WRONG. What is left for the caller: time
 * or server nonce, whether X-NONCE was seen before, and the body's digest.
 */
int pop_check(const struct pop_proof *proof, const struct pop_request *request,
	      const struct secret *key);

/* Is the digest that of this body? 0 or POP_E_WRONG. */
int pop_check_body(const struct pop_proof *proof, const void *body, size_t len);

/*
 * SHA-256 out of a Content-Digest (RFC 9530 section 2): a dictionary of byte
 * sequences (RFC 8941) with one sha-256 among them; members for other
 * algorithms are let be. No parameters, no member twice. 0 or POP_E_DIGEST.
 */
int pop_digest_parse(uint8_t out[static POP_DIGEST_LEN], const char *content_digest);

/* ---- client ---- */

/* What to send beside Authorization and X-SNONCE. */
struct pop_signed {
	char ts[POP_TS_SPACE]; /* empty with a server nonce */
	char nonce[POP_NONCE_SPACE];
	char content_digest[POP_CONTENT_DIGEST_SPACE];
	char mac[POP_MAC_SPACE];
};

/*
 * Sign a request whose body has this SHA-256. snonce is the server's, or NULL
 * for mode "time" with ts. nonce is POP_NONCE_BYTES random bytes, or NULL for
 * fresh ones. 0, POP_E_REQUEST, or POP_E_TIME for an unusable snonce or ts.
 */
int pop_sign(struct pop_signed *out, const struct pop_request *request, const char *snonce,
	     int64_t ts, const uint8_t body_sha256[static POP_DIGEST_LEN],
	     const uint8_t nonce[POP_NONCE_BYTES], const struct secret *key);

/* "sha-256=:…:" of a body's SHA-256. */
void pop_digest_format(char out[static POP_CONTENT_DIGEST_SPACE],
		       const uint8_t body_sha256[static POP_DIGEST_LEN]);

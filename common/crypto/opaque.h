/*
 * OPAQUE-3DH of RFC 9807 with ristretto255-SHA512, HKDF-SHA-512 and
 * HMAC-SHA-512: a login by password in which the server never sees the
 * password. Functions of bytes to bytes, in the wire formats of the RFC:
 *
 *	register	client  opaque_register_start()		-> request 32
 *			server  opaque_server_register()	-> response 64
 *			client  opaque_register_finish()	-> record 192, for the server to keep
 *	log in		client  opaque_login_start()		-> KE1 96
 *			server  opaque_server_ke2()		-> KE2 320, and a login state
 *			client  opaque_login_finish()		-> KE3 64, and the session key
 *			server  opaque_server_finish()		-> the session key
 *
 * Fields of the wrong length are for whoever decodes them to refuse. Elements
 * that are not canonical, and the identity, are refused here. Messages never
 * alias each other. All that is secret lies in secrets (crypto/secret.h) or is
 * wiped before a function returns; time depends on nothing secret but the
 * password's length and whether a message was accepted.
 *
 * Outcomes are positive (below); -ENOMEM when there is no memory. Results are
 * written on success alone, unless it says otherwise.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "crypto/secret.h"

/* Wire formats (RFC 9807 sections 5.1 and 6.1). */
#define OPAQUE_REQUEST_LEN 32	/* blinded element */
#define OPAQUE_RESPONSE_LEN 64	/* evaluated element, server's public key */
#define OPAQUE_RECORD_LEN 192	/* client's public key, masking key 64, envelope 96 */
#define OPAQUE_KE1_LEN 96	/* request, client's nonce, client's key share */
#define OPAQUE_KE2_LEN 320	/* credential response 192, server's nonce, server's key share, MAC 64 */
#define OPAQUE_KE3_LEN 64	/* client's MAC */

#define OPAQUE_PUBLIC_LEN 32
#define OPAQUE_KEYS_LEN 96	   /* OPRF seed 64, server's private key 32 (little-endian) */
#define OPAQUE_SESSION_KEY_LEN 64
#define OPAQUE_EXPORT_KEY_LEN 64
#define OPAQUE_LOGIN_STATE_LEN 128 /* client's MAC as expected 64, session key 64 */
/* The longest password, identity and context: what two bytes of length can say. */
#define OPAQUE_FIELD_MAX 65535
/* The longest credential identifier: ours are user names. */
#define OPAQUE_CREDENTIAL_ID_MAX 256

/* Outcomes. */
enum {
	OPAQUE_E_BAD_MESSAGE = 1, /* the peer's message has an element that is none, or the identity */
	OPAQUE_E_WRONG,		  /* wrong password, other server, other identities, tampered with: not told apart */
	OPAQUE_E_BAD_KEYS,	  /* the server's keys, or a record from its store, are damaged */
	OPAQUE_E_BAD_PARAMETER,	  /* a password, identity or context too long; Argon2id's limits out of range */
};

/*
 * Who the two sides are, beside their keys, and the application: each must be
 * the same on both sides, at registration and at every login (the context at
 * login alone). An identity that is NULL is the side's public key.
 */
struct opaque_ids {
	const void *client;
	size_t client_len;
	const void *server;
	size_t server_len;
	const void *context;
	size_t context_len;
};

/* The key stretching function, which the client alone computes (RFC 9807 section 2.2). */
struct opaque_ksf {
	enum {
		OPAQUE_KSF_ARGON2ID, /* p = 1, salt of 16 zero bytes, 64 bytes out */
		OPAQUE_KSF_IDENTITY, /* none: the RFC's vectors; a stolen record is guessed cheaply */
	} kind;
	uint32_t mem_kib, passes; /* Argon2id's m and t */
};

/*
 * Every random choice of a client or server. A NULL pointer to it in the calls below
 * means fresh random bytes, which is what programs pass; vectors and fuzzers fill it.
 */
struct opaque_client_random {
	uint8_t blind[32];	    /* a scalar, neither zero nor above the order */
	uint8_t envelope_nonce[32]; /* at registration */
	uint8_t client_nonce[32];   /* at login, as is the next */
	uint8_t keyshare_seed[32];
};

struct opaque_server_random {
	uint8_t masking_nonce[32];
	uint8_t server_nonce[32];
	uint8_t keyshare_seed[32];
};

/* A client between its two steps; holds the password. One for each registration or login. */
struct opaque_client;

/*
 * The client's first message of a registration (RFC 9807 section 5.2.1).
 * 0 with a new client, or OPAQUE_E_BAD_PARAMETER.
 */
int opaque_register_start(struct opaque_client **out, uint8_t request[static OPAQUE_REQUEST_LEN],
			  const uint8_t *password, size_t password_len,
			  const struct opaque_client_random *random);

/*
 * The record to send, from the server's answer (section 5.2.3). export_key may be NULL;
 * else *export_key becomes a new secret of 64 bytes that only this password
 * gives again. Stretches the password: takes long, call it in a worker.
 * 0, OPAQUE_E_BAD_MESSAGE or OPAQUE_E_BAD_PARAMETER; -EINVAL for a client of
 * opaque_login_start().
 */
int opaque_register_finish(struct opaque_client *c, uint8_t record[static OPAQUE_RECORD_LEN],
			   struct secret **export_key,
			   const uint8_t response[static OPAQUE_RESPONSE_LEN],
			   const struct opaque_ids *ids, const struct opaque_ksf *ksf);

/* The client's first message of a login (section 6.2.1). 0 with a new client, or OPAQUE_E_BAD_PARAMETER. */
int opaque_login_start(struct opaque_client **out, uint8_t ke1[static OPAQUE_KE1_LEN],
		       const uint8_t *password, size_t password_len,
		       const struct opaque_client_random *random);

/*
 * Check the server and make the client's proof (section 6.2.3). On 0 the
 * server knew the record of this password: ke3 goes to it, *session_key is a
 * new secret of 64 bytes, and *export_key one like that of registration
 * (export_key may be NULL). Stretches the password: takes long. OPAQUE_E_WRONG,
 * OPAQUE_E_BAD_MESSAGE, OPAQUE_E_BAD_PARAMETER; -EINVAL for a client of
 * opaque_register_start().
 */
int opaque_login_finish(struct opaque_client *c, uint8_t ke3[static OPAQUE_KE3_LEN],
			struct secret **session_key, struct secret **export_key,
			const uint8_t ke2[static OPAQUE_KE2_LEN], const struct opaque_ids *ids,
			const struct opaque_ksf *ksf);

struct opaque_client *opaque_client_free(struct opaque_client *c);
DEFINE_CLEANUP(struct opaque_client *, opaque_client_free);

/* A server's long-lived keys, and its fake record. Read only: any number of threads may use them. */
struct opaque_keys;

/* New random keys. 0 or -ENOMEM. */
int opaque_keys_generate(struct opaque_keys **out);

/* Keys as opaque_keys_export() gives them. 0, OPAQUE_E_BAD_KEYS or -ENOMEM. */
int opaque_keys_import(struct opaque_keys **out, const uint8_t bytes[static OPAQUE_KEYS_LEN]);

/* A new secret of OPAQUE_KEYS_LEN bytes: OPRF seed, then private key. 0 or -ENOMEM. */
int opaque_keys_export(struct secret **out, const struct opaque_keys *k);

/* The server's public key; valid while k lives. */
const uint8_t *opaque_keys_public(const struct opaque_keys *k);

struct opaque_keys *opaque_keys_free(struct opaque_keys *k);
DEFINE_CLEANUP(struct opaque_keys *, opaque_keys_free);

/*
 * The server's answer to a registration (section 5.2.2), for known and unknown
 * users alike. credential_id is what the user's OPRF key is derived from: unique
 * to the user, the same at every login, at most OPAQUE_CREDENTIAL_ID_MAX bytes. 0,
 * OPAQUE_E_BAD_MESSAGE or OPAQUE_E_BAD_PARAMETER.
 */
int opaque_server_register(const struct opaque_keys *k,
			   uint8_t response[static OPAQUE_RESPONSE_LEN],
			   const uint8_t request[static OPAQUE_REQUEST_LEN],
			   const void *credential_id, size_t credential_id_len);

/* A record as a client sends it: 0, or OPAQUE_E_BAD_MESSAGE when it must not be stored. */
int opaque_record_check(const uint8_t record[static OPAQUE_RECORD_LEN]);

/*
 * The server's answer to KE1 (section 6.2.2). record is the user's; NULL for
 * a user that is unknown, whose answer is made by the same work from a fake
 * record and looks the same (sections 6.3.2.2 and 10.9). *login_state becomes a
 * new secret of OPAQUE_LOGIN_STATE_LEN bytes, all that opaque_server_finish()
 * needs. 0, OPAQUE_E_BAD_MESSAGE, OPAQUE_E_BAD_PARAMETER, or OPAQUE_E_BAD_KEYS for a
 * record that opaque_record_check() would not have taken.
 */
int opaque_server_ke2(const struct opaque_keys *k, uint8_t ke2[static OPAQUE_KE2_LEN],
		      struct secret **login_state, const uint8_t record[OPAQUE_RECORD_LEN],
		      const void *credential_id, size_t credential_id_len,
		      const uint8_t ke1[static OPAQUE_KE1_LEN], const struct opaque_ids *ids,
		      const struct opaque_server_random *random);

/*
 * The client's proof against a login state (section 6.2.4). 0 with the session
 * key in a new secret of 64 bytes, OPAQUE_E_WRONG, or -ENOMEM. A login state
 * is good for one call: whoever keeps it forgets it before calling.
 */
int opaque_server_finish(struct secret **session_key,
			 const uint8_t login_state[static OPAQUE_LOGIN_STATE_LEN],
			 const uint8_t ke3[static OPAQUE_KE3_LEN]);

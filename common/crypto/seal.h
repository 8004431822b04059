/*
 * Secrets at rest under a key: XChaCha20-Poly1305 with random nonces. A key
 * has a short public id, so that a wrong key is told from damage. The context
 * says what is sealed, so that one sealed thing cannot be put in place of another.
 *
 *   sealed blob: "HFS1" (4), key id (8), nonce (24), ciphertext, tag (16);
 *   additional data: "handfast sealed " and the context.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/secret.h"

#define SEAL_ID_LEN 8
#define SEAL_NONCE_LEN 24
#define SEAL_TAG_LEN 16
#define SEAL_EXTRA (SEAL_NONCE_LEN + SEAL_TAG_LEN)
#define SEAL_BLOB_EXTRA (4 + SEAL_ID_LEN + SEAL_EXTRA)
#define SEAL_CONTEXT_MAX 128

struct seal_key;

/* Key and id: HKDF-SHA-256(ikm = master, info = label), 32 and 8 bytes. 0 or -ENOMEM. */
int seal_key_new(struct seal_key **out, const struct secret *master, const char *label);
const uint8_t *seal_key_id(const struct seal_key *k);
struct seal_key *seal_key_free(struct seal_key *k);
DEFINE_CLEANUP(struct seal_key *, seal_key_free);

/* nonce, ciphertext and tag into out: len + SEAL_EXTRA bytes. */
void seal_make(uint8_t *out, const uint8_t *in, size_t len, const void *aad, size_t aad_len,
	       const struct seal_key *k);
/* len counts nonce and tag. 0, or -EBADMSG with out zeroed. */
int seal_open(uint8_t *out, const uint8_t *in, size_t len, const void *aad, size_t aad_len,
	      const struct seal_key *k);

/* Outcomes of opening a blob. */
enum {
	SEAL_E_PLAIN = 1, /* it is not sealed */
	SEAL_E_NO_KEY,	  /* it is, and there is no key */
	SEAL_E_OTHER_KEY, /* it is, under another key */
	SEAL_E_BROKEN,	  /* damaged, or of another context */
};

bool seal_is_blob(const void *data, size_t len);
/* A whole blob: out has room for len + SEAL_BLOB_EXTRA. */
void seal_blob(uint8_t *out, const uint8_t *in, size_t len, const void *context, size_t context_len,
	       const struct seal_key *k);
/* k may be NULL. 0 with a new secret, an outcome above, or -ENOMEM. */
int seal_blob_open(struct secret **out, const void *blob, size_t len, const void *context,
		   size_t context_len, const struct seal_key *k);

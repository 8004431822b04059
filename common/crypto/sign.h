/* Ed25519 (RFC 8032) device identity keys, and the identity id made of them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/secret.h"

#define SIGN_PUBLIC_LEN 32
#define SIGN_SEED_LEN 32
#define SIGN_LEN 64
#define IDENTITY_ID_LEN 16

struct sign_public {
	uint8_t b[SIGN_PUBLIC_LEN];
};

struct sign_key; /* secret half, locked */

/* 0 or -ENOMEM. The seed is wiped by from_seed on success. */
int sign_key_generate(struct sign_key **out);
int sign_key_from_seed(struct sign_key **out, uint8_t seed[static SIGN_SEED_LEN]);
/* The seed, for storing; a new secret. 0 or -ENOMEM. */
int sign_key_seed(const struct sign_key *k, struct secret **seed);
void sign_key_public(const struct sign_key *k, struct sign_public *out);
struct sign_key *sign_key_free(struct sign_key *k);
DEFINE_CLEANUP(struct sign_key *, sign_key_free);

/* The most that context and message may be together. */
#define SIGN_MESSAGE_MAX 4096

/*
 * Sign message for one use, which context names: a short public
 * NUL-terminated string ("handfast pairing identity"). The signed bytes are
 * be16(len(context)) || context || message, at most SIGN_MESSAGE_MAX (asserted).
 */
void sign_make(uint8_t sig[static SIGN_LEN], const struct sign_key *k, const char *context,
	       const void *message, size_t len);
/* Strict: small-order keys and non-canonical encodings are refused, as is what is too long. */
bool sign_verify(const uint8_t sig[static SIGN_LEN], const struct sign_public *pub,
		 const char *context, const void *message, size_t len);

/* Plain RFC 8032, without a context: for peers' formats that have their own, and published vectors. */
void sign_make_plain(uint8_t sig[static SIGN_LEN], const struct sign_key *k, const void *message,
		     size_t len);
bool sign_verify_plain(const uint8_t sig[static SIGN_LEN], const struct sign_public *pub,
		       const void *message, size_t len);

/* First 16 bytes of SHA-256(public key); the 8-byte id is its prefix. */
void identity_id(uint8_t out[static IDENTITY_ID_LEN], const struct sign_public *pub);

/*
 * Ed25519 by libsodium, which derives the nonce from key and message (RFC
 * 8032 section 5.1.6) and verifies strictly: canonical S, R and key, none of
 * small order. The secret half stays in libsodium's 64-byte form: seed, then
 * public key.
 */
#include "crypto/sign.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "base/bytes.h"
#include "crypto/kdf.h"

static_assert(SIGN_PUBLIC_LEN == crypto_sign_ed25519_PUBLICKEYBYTES, "public key length");
static_assert(SIGN_SEED_LEN == crypto_sign_ed25519_SEEDBYTES, "seed length");
static_assert(SIGN_LEN == crypto_sign_ed25519_BYTES, "signature length");

struct sign_key {
	struct secret *secret;
	struct sign_public public;
};

/* The bytes that are signed for one use. Returns their length, 0 when they are too many. */
static size_t bind_context(uint8_t out[static SIGN_MESSAGE_MAX], const char *context,
			   const void *message, size_t len)
{
	size_t context_len = strlen(context);

	assert(context_len <= 255);
	if (len > SIGN_MESSAGE_MAX - 2 - context_len)
		return 0;
	be16_store(out, (uint16_t)context_len);
	memcpy(out + 2, context, context_len);
	if (len > 0)
		memcpy(out + 2 + context_len, message, len);
	return 2 + context_len + len;
}

int sign_key_generate(struct sign_key **out)
{
	uint8_t seed[SIGN_SEED_LEN];
	int r;

	random_bytes(seed, sizeof(seed));
	r = sign_key_from_seed(out, seed);
	wipe(seed, sizeof(seed));
	return r;
}

int sign_key_from_seed(struct sign_key **out, uint8_t seed[static SIGN_SEED_LEN])
{
	_cleanup_(sign_key_freep) struct sign_key *k = NULL;
	uint8_t *bytes;
	int r;

	k = calloc(1, sizeof(*k));
	if (!k)
		return -ENOMEM;
	r = secret_new(&k->secret, crypto_sign_ed25519_SECRETKEYBYTES, &bytes);
	if (r)
		return r;
	crypto_sign_ed25519_seed_keypair(k->public.b, bytes, seed);
	wipe(seed, SIGN_SEED_LEN);
	*out = steal(&k);
	return 0;
}

int sign_key_seed(const struct sign_key *k, struct secret **seed)
{
	uint8_t *bytes;
	int r;

	r = secret_new(seed, SIGN_SEED_LEN, &bytes);
	if (r)
		return r;
	crypto_sign_ed25519_sk_to_seed(bytes, secret_bytes(k->secret));
	return 0;
}

void sign_key_public(const struct sign_key *k, struct sign_public *out)
{
	*out = k->public;
}

struct sign_key *sign_key_free(struct sign_key *k)
{
	if (!k)
		return NULL;
	secret_free(k->secret);
	free(k);
	return NULL;
}

void sign_make(uint8_t sig[static SIGN_LEN], const struct sign_key *k, const char *context,
	       const void *message, size_t len)
{
	uint8_t bound[SIGN_MESSAGE_MAX];
	size_t bound_len = bind_context(bound, context, message, len);

	assert(bound_len > 0);
	sign_make_plain(sig, k, bound, bound_len);
}

bool sign_verify(const uint8_t sig[static SIGN_LEN], const struct sign_public *pub,
		 const char *context, const void *message, size_t len)
{
	uint8_t bound[SIGN_MESSAGE_MAX];
	size_t bound_len = bind_context(bound, context, message, len);

	return bound_len > 0 && sign_verify_plain(sig, pub, bound, bound_len);
}

void sign_make_plain(uint8_t sig[static SIGN_LEN], const struct sign_key *k, const void *message,
		     size_t len)
{
	crypto_sign_ed25519_detached(sig, NULL, message, len, secret_bytes(k->secret));
}

bool sign_verify_plain(const uint8_t sig[static SIGN_LEN], const struct sign_public *pub,
		       const void *message, size_t len)
{
	return crypto_sign_ed25519_verify_detached(sig, message, len, pub->b) == 0;
}

void identity_id(uint8_t out[static IDENTITY_ID_LEN], const struct sign_public *pub)
{
	uint8_t hash[SHA256_LEN];

	sha256(hash, pub->b, sizeof(pub->b));
	memcpy(out, hash, IDENTITY_ID_LEN);
}

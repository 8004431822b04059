/*
 * In place of elliptic curves, for state machines that need no more of them than that both sides come to the same
 * and nobody else does: the numbers modulo 2^61 - 1, where an element is its own logarithm. Signatures are
 * sums that anybody could make who knew how; inputs do not. Encodings are as strict as the real ones. Included once, in the
 * fuzzer's own file: what is defined here goes before the archive's.
 */
#pragma once

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "crypto/group.h"
#include "crypto/secret.h"
#include "crypto/sign.h"
#include "crypto/spake2_group.h"
#include "crypto/x25519.h"
#include "fuzz/lib/quick_sum.h"

#define GROUP_ORDER ((UINT64_C(1) << 61) - 1)

static uint64_t group_times(uint64_t a, uint64_t b)
{
	return (uint64_t)((unsigned __int128)a * b % GROUP_ORDER);
}

static uint64_t group_number(const uint8_t *b)
{
	uint64_t v;

	memcpy(&v, b, sizeof(v));
	return v % GROUP_ORDER;
}

static void group_encode(uint8_t out[static 32], uint64_t v)
{
	memset(out, 0, 32);
	memcpy(out, &v, sizeof(v));
}

/* False for what group_encode() would not have made, and for zero. */
static bool group_decode(uint64_t *v, const uint8_t in[static 32])
{
	uint8_t again[32];

	*v = group_number(in);
	group_encode(again, *v);
	return *v != 0 && memcmp(again, in, sizeof(again)) == 0;
}

/* ---- crypto/group.h ---- */

int group_check_scalar(const uint8_t scalar[static GROUP_SCALAR_LEN])
{
	uint64_t v;

	return group_decode(&v, scalar) ? 0 : GROUP_E_BAD_SCALAR;
}

int group_check_element(const uint8_t element[static GROUP_ELEMENT_LEN])
{
	uint64_t v;

	return group_decode(&v, element) ? 0 : GROUP_E_BAD_ELEMENT;
}

int group_multiply(uint8_t out[static GROUP_ELEMENT_LEN], const uint8_t scalar[static GROUP_SCALAR_LEN],
		   const uint8_t element[static GROUP_ELEMENT_LEN])
{
	uint64_t by, v;

	if (!group_decode(&by, scalar))
		return GROUP_E_BAD_SCALAR;
	if (!group_decode(&v, element))
		return GROUP_E_BAD_ELEMENT;
	group_encode(out, group_times(by, v));
	return 0;
}

int group_public_key(uint8_t out[static GROUP_ELEMENT_LEN], const uint8_t scalar[static GROUP_SCALAR_LEN])
{
	static const uint8_t generator[GROUP_ELEMENT_LEN] = { 9 };

	return group_multiply(out, scalar, generator);
}

/* Fermat: to the power of the order less two. */
int group_invert(uint8_t out[static GROUP_SCALAR_LEN], const uint8_t scalar[static GROUP_SCALAR_LEN])
{
	uint64_t v, inverse = 1;

	if (!group_decode(&v, scalar))
		return GROUP_E_BAD_SCALAR;
	for (uint64_t left = GROUP_ORDER - 2; left > 0; left >>= 1, v = group_times(v, v))
		if (left & 1)
			inverse = group_times(inverse, v);
	group_encode(out, inverse);
	return 0;
}

static void group_encode_sum(uint8_t out[static 32], const void *msg, size_t msg_len, const void *dst, size_t dst_len)
{
	uint8_t all[32 + 32];

	quick_sum(all, msg, msg_len);
	quick_sum(all + 32, dst, dst_len);
	quick_sum(all, all, sizeof(all));
	group_encode(out, group_number(all));
}

void group_hash_to_element(uint8_t out[static GROUP_ELEMENT_LEN], const void *msg, size_t msg_len, const void *dst,
			   size_t dst_len)
{
	group_encode_sum(out, msg, msg_len, dst, dst_len);
}

void group_hash_to_scalar(uint8_t out[static GROUP_SCALAR_LEN], const void *msg, size_t msg_len, const void *dst,
			  size_t dst_len)
{
	group_encode_sum(out, msg, msg_len, dst, dst_len);
}

void group_random_scalar(uint8_t out[static GROUP_SCALAR_LEN])
{
	do {
		random_bytes(out, GROUP_SCALAR_LEN);
		group_encode(out, group_number(out));
	} while (group_check_scalar(out));
}

/* ---- crypto/spake2_group.h ---- */

void spake2_group_reduce(uint8_t out[static SPAKE2_SCALAR_LEN], const uint8_t be[static 64])
{
	uint8_t sum[32];

	quick_sum(sum, be, 64);
	group_encode(out, group_number(sum));
}

int spake2_group_share(uint8_t share[static SPAKE2_ELEMENT_LEN], const uint8_t x[static SPAKE2_SCALAR_LEN],
		       const uint8_t w[static SPAKE2_SCALAR_LEN], const uint8_t blind[static SPAKE2_ELEMENT_LEN])
{
	uint64_t xn = group_number(x), wn = group_number(w);

	if (!xn || !wn)
		return -EINVAL;
	group_encode(share, (xn + group_times(wn, group_number(blind))) % GROUP_ORDER);
	return 0;
}

int spake2_group_agree(uint8_t k[static SPAKE2_ELEMENT_LEN], const uint8_t x[static SPAKE2_SCALAR_LEN],
		       const uint8_t w[static SPAKE2_SCALAR_LEN], const uint8_t share[static SPAKE2_ELEMENT_LEN],
		       const uint8_t blind[static SPAKE2_ELEMENT_LEN])
{
	uint64_t theirs, wn = group_number(w);

	if (!group_decode(&theirs, share))
		return SPAKE2_GROUP_E_BAD_ELEMENT;
	theirs += GROUP_ORDER - group_times(wn, group_number(blind));
	group_encode(k, group_times(group_number(x), theirs % GROUP_ORDER));
	return 0;
}

/* ---- crypto/x25519.h ---- */

int x25519(struct secret **shared, const struct secret *priv, const uint8_t pub[static X25519_LEN])
{
	uint64_t theirs;
	uint8_t *bytes;
	int r;

	assert(secret_len(priv) == X25519_LEN);
	if (!group_decode(&theirs, pub))
		return -EBADMSG;
	r = secret_new(shared, X25519_LEN, &bytes);
	if (r)
		return r;
	group_encode(bytes, group_times(group_number(secret_bytes(priv)), theirs));
	return 0;
}

int x25519_keypair(struct secret **priv, uint8_t pub[static X25519_LEN])
{
	int r = secret_random(priv, X25519_LEN);

	if (!r)
		group_encode(pub, group_times(group_number(secret_bytes(*priv)), 9));
	return r;
}

/* ---- crypto/sign.h ---- */

struct sign_key {
	struct sign_public public;
};

int sign_key_from_seed(struct sign_key **out, uint8_t seed[static SIGN_SEED_LEN])
{
	struct sign_key *k = calloc(1, sizeof(*k));

	if (!k)
		return -ENOMEM;
	quick_sum(k->public.b, seed, SIGN_SEED_LEN);
	wipe(seed, SIGN_SEED_LEN);
	*out = k;
	return 0;
}

void sign_key_public(const struct sign_key *k, struct sign_public *out)
{
	*out = k->public;
}

struct sign_key *sign_key_free(struct sign_key *k)
{
	free(k);
	return NULL;
}

/* Both halves, each of all there is. */
static void sign_sum(uint8_t sig[static SIGN_LEN], const struct sign_public *pub, const char *context, const void *message,
		     size_t len)
{
	uint8_t all[SIGN_PUBLIC_LEN + 32 + 32];

	memcpy(all, pub->b, SIGN_PUBLIC_LEN);
	quick_sum(all + SIGN_PUBLIC_LEN, context, strlen(context));
	quick_sum(all + SIGN_PUBLIC_LEN + 32, message, len);
	quick_sum(sig, all, sizeof(all));
	all[0] ^= 0xff;
	quick_sum(sig + 32, all, sizeof(all));
}

void sign_make(uint8_t sig[static SIGN_LEN], const struct sign_key *k, const char *context, const void *message, size_t len)
{
	assert(len + strlen(context) + 2 <= SIGN_MESSAGE_MAX);
	sign_sum(sig, &k->public, context, message, len);
}

bool sign_verify(const uint8_t sig[static SIGN_LEN], const struct sign_public *pub, const char *context, const void *message,
		 size_t len)
{
	uint8_t again[SIGN_LEN];

	sign_sum(again, pub, context, message, len);
	return memcmp(again, sig, SIGN_LEN) == 0;
}

void identity_id(uint8_t out[static IDENTITY_ID_LEN], const struct sign_public *pub)
{
	uint8_t sum[32];

	quick_sum(sum, pub->b, sizeof(pub->b));
	memcpy(out, sum, IDENTITY_ID_LEN);
}

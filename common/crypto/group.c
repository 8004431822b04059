/*
 * On libsodium's ristretto255. Its multiplication refuses encodings that are
 * not canonical and products that are the identity, but 1.0.18 looks at no
 * element's highest bit and takes any 32 bytes for a scalar: both are checked
 * here. Its one-way map (RFC 9496 section 4.3.4) is the one that RFC 9380
 * appendix B asks for.
 */
#include "crypto/group.h"

#include <assert.h>
#include <string.h>

#include <sodium.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "crypto/kdf.h"
#include "crypto/secret.h"

enum { BLOCK_LEN = 128, UNIFORM_LEN = 64 };

static_assert(crypto_core_ristretto255_NONREDUCEDSCALARBYTES == UNIFORM_LEN &&
		      crypto_core_ristretto255_HASHBYTES == UNIFORM_LEN,
	      "scalars and elements are made of 64 bytes");

void group_random_scalar(uint8_t out[static GROUP_SCALAR_LEN])
{
	uint8_t wide[UNIFORM_LEN];

	do {
		random_bytes(wide, sizeof(wide));
		crypto_core_ristretto255_scalar_reduce(out, wide);
	} while (sodium_is_zero(out, GROUP_SCALAR_LEN));
	wipe(wide, sizeof(wide));
}

int group_check_scalar(const uint8_t scalar[static GROUP_SCALAR_LEN])
{
	uint8_t wide[UNIFORM_LEN] = { 0 }, reduced[GROUP_SCALAR_LEN];
	bool canonical;

	memcpy(wide, scalar, GROUP_SCALAR_LEN);
	crypto_core_ristretto255_scalar_reduce(reduced, wide);
	canonical = bytes_equal(reduced, scalar, GROUP_SCALAR_LEN);
	wipe(wide, sizeof(wide));
	wipe(reduced, sizeof(reduced));
	return canonical && !sodium_is_zero(scalar, GROUP_SCALAR_LEN) ? 0 : GROUP_E_BAD_SCALAR;
}

/* RFC 9496 section 4.3.1: an encoding is a number below 2^255 - 19. */
static bool has_high_bit(const uint8_t element[static GROUP_ELEMENT_LEN])
{
	return element[GROUP_ELEMENT_LEN - 1] & 0x80;
}

int group_check_element(const uint8_t element[static GROUP_ELEMENT_LEN])
{
	/* The identity's encoding is 32 zero bytes. */
	if (has_high_bit(element) || !crypto_core_ristretto255_is_valid_point(element) ||
	    sodium_is_zero(element, GROUP_ELEMENT_LEN))
		return GROUP_E_BAD_ELEMENT;
	return 0;
}

int group_public_key(uint8_t out[static GROUP_ELEMENT_LEN],
		     const uint8_t scalar[static GROUP_SCALAR_LEN])
{
	if (group_check_scalar(scalar) || crypto_scalarmult_ristretto255_base(out, scalar) != 0)
		return GROUP_E_BAD_SCALAR;
	return 0;
}

int group_multiply(uint8_t out[static GROUP_ELEMENT_LEN],
		   const uint8_t scalar[static GROUP_SCALAR_LEN],
		   const uint8_t element[static GROUP_ELEMENT_LEN])
{
	if (group_check_scalar(scalar))
		return GROUP_E_BAD_SCALAR;
	if (has_high_bit(element) || crypto_scalarmult_ristretto255(out, scalar, element) != 0)
		return GROUP_E_BAD_ELEMENT;
	return 0;
}

int group_invert(uint8_t out[static GROUP_SCALAR_LEN],
		 const uint8_t scalar[static GROUP_SCALAR_LEN])
{
	if (group_check_scalar(scalar) || crypto_core_ristretto255_scalar_invert(out, scalar) != 0)
		return GROUP_E_BAD_SCALAR;
	return 0;
}

/* ---- hashing ---- */

/* A message may be a password: the hash's state and every block are as secret. */
struct work {
	crypto_hash_sha512_state st;
	uint8_t b0[SHA512_LEN];
	uint8_t bi[SHA512_LEN];
};

static void work_wipe(struct work *w)
{
	wipe(w, sizeof(*w));
}

static void add_dst(struct work *w, const void *dst, size_t dst_len)
{
	uint8_t len = (uint8_t)dst_len;

	crypto_hash_sha512_update(&w->st, dst, dst_len);
	crypto_hash_sha512_update(&w->st, &len, 1);
}

/* Step 6: H(Z_pad || msg || length || 0 || DST_prime). */
static void hash_message(struct work *w, size_t out_len, const void *msg, size_t msg_len,
			 const void *dst, size_t dst_len)
{
	static const uint8_t z_pad[BLOCK_LEN];
	uint8_t length[3] = { 0 };

	be16_store(length, (uint16_t)out_len);
	crypto_hash_sha512_init(&w->st);
	crypto_hash_sha512_update(&w->st, z_pad, sizeof(z_pad));
	crypto_hash_sha512_update(&w->st, msg, msg_len);
	crypto_hash_sha512_update(&w->st, length, sizeof(length));
	add_dst(w, dst, dst_len);
	crypto_hash_sha512_final(&w->st, w->b0);
}

void group_expand_message(uint8_t *out, size_t out_len, const void *msg, size_t msg_len,
			  const void *dst, size_t dst_len)
{
	_cleanup_(work_wipe) struct work w = { 0 };

	assert(out_len <= 255 * SHA512_LEN && dst_len <= GROUP_DST_MAX);
	hash_message(&w, out_len, msg, msg_len, dst, dst_len);

	/* Steps 7 to 11. b_0 xor b_(i-1), where for the first block b_(i-1) is still zero. */
	for (uint8_t i = 1; out_len > 0; i++) {
		size_t n = out_len < SHA512_LEN ? out_len : SHA512_LEN;

		for (size_t j = 0; j < SHA512_LEN; j++)
			w.bi[j] ^= w.b0[j];
		crypto_hash_sha512_init(&w.st);
		crypto_hash_sha512_update(&w.st, w.bi, sizeof(w.bi));
		crypto_hash_sha512_update(&w.st, &i, 1);
		add_dst(&w, dst, dst_len);
		crypto_hash_sha512_final(&w.st, w.bi);
		memcpy(out, w.bi, n);
		out += n;
		out_len -= n;
	}
}

void group_hash_to_element(uint8_t out[static GROUP_ELEMENT_LEN], const void *msg, size_t msg_len,
			   const void *dst, size_t dst_len)
{
	uint8_t uniform[UNIFORM_LEN];

	group_expand_message(uniform, sizeof(uniform), msg, msg_len, dst, dst_len);
	crypto_core_ristretto255_from_hash(out, uniform);
	wipe(uniform, sizeof(uniform));
}

void group_hash_to_scalar(uint8_t out[static GROUP_SCALAR_LEN], const void *msg, size_t msg_len,
			  const void *dst, size_t dst_len)
{
	uint8_t uniform[UNIFORM_LEN];

	group_expand_message(uniform, sizeof(uniform), msg, msg_len, dst, dst_len);
	crypto_core_ristretto255_scalar_reduce(out, uniform);
	wipe(uniform, sizeof(uniform));
}

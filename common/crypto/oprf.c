/*
 * On libsodium's ristretto255. Its multiplication refuses encodings that are
 * not canonical and products that are the identity, but 1.0.18 looks at no
 * element's highest bit and takes any 32 bytes for a scalar: both are checked here.
 */
#include "crypto/oprf.h"

#include <assert.h>
#include <string.h>

#include <sodium.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "crypto/hash_to_group.h"
#include "crypto/kdf.h"
#include "crypto/secret.h"

static_assert(OPRF_ELEMENT_LEN == GROUP_ELEMENT_LEN && OPRF_SCALAR_LEN == GROUP_SCALAR_LEN,
	      "the OPRF's group is ristretto255");
static_assert(OPRF_OUTPUT_LEN == SHA512_LEN, "the output is a hash");

/* RFC 9497 section 3.1: "OPRFV1-", the mode in a byte, "-", the suite. */
#define CONTEXT "OPRFV1-\0-ristretto255-SHA512"

/* Without the NUL that C adds. */
#define TAG(text) (text), sizeof(text) - 1

struct work {
	uint8_t scalar[OPRF_SCALAR_LEN];
	uint8_t element[OPRF_ELEMENT_LEN];
	uint8_t wide[crypto_core_ristretto255_NONREDUCEDSCALARBYTES];
	crypto_hash_sha512_state hash;
};

static void work_wipe(struct work *w)
{
	wipe(w, sizeof(*w));
}

void oprf_random_scalar(uint8_t out[static OPRF_SCALAR_LEN])
{
	_cleanup_(work_wipe) struct work w = { 0 };

	do {
		random_bytes(w.wide, sizeof(w.wide));
		crypto_core_ristretto255_scalar_reduce(out, w.wide);
	} while (sodium_is_zero(out, OPRF_SCALAR_LEN));
}

int oprf_check_scalar(const uint8_t scalar[static OPRF_SCALAR_LEN])
{
	_cleanup_(work_wipe) struct work w = { 0 };

	memcpy(w.wide, scalar, OPRF_SCALAR_LEN);
	crypto_core_ristretto255_scalar_reduce(w.scalar, w.wide);
	if (!bytes_equal(w.scalar, scalar, OPRF_SCALAR_LEN) ||
	    sodium_is_zero(scalar, OPRF_SCALAR_LEN))
		return OPRF_E_BAD_SCALAR;
	return 0;
}

/* RFC 9496 section 4.3.1: an encoding is a number below 2^255 - 19. */
static bool has_high_bit(const uint8_t element[static OPRF_ELEMENT_LEN])
{
	return element[OPRF_ELEMENT_LEN - 1] & 0x80;
}

int oprf_check_element(const uint8_t element[static OPRF_ELEMENT_LEN])
{
	/* The identity's encoding is 32 zero bytes. */
	if (has_high_bit(element) || !crypto_core_ristretto255_is_valid_point(element) ||
	    sodium_is_zero(element, OPRF_ELEMENT_LEN))
		return OPRF_E_BAD_ELEMENT;
	return 0;
}

int oprf_multiply(uint8_t out[static OPRF_ELEMENT_LEN], const uint8_t scalar[static OPRF_SCALAR_LEN],
		  const uint8_t element[static OPRF_ELEMENT_LEN])
{
	if (has_high_bit(element) || crypto_scalarmult_ristretto255(out, scalar, element) != 0)
		return OPRF_E_BAD_ELEMENT;
	return 0;
}

int oprf_public_key(uint8_t out[static OPRF_ELEMENT_LEN], const uint8_t key[static OPRF_SCALAR_LEN])
{
	if (oprf_check_scalar(key) || crypto_scalarmult_ristretto255_base(out, key) != 0)
		return OPRF_E_BAD_SCALAR;
	return 0;
}

int oprf_blind(uint8_t blinded[static OPRF_ELEMENT_LEN], const void *input, size_t input_len,
	       const uint8_t blind[static OPRF_SCALAR_LEN])
{
	_cleanup_(work_wipe) struct work w = { 0 };

	if (oprf_check_scalar(blind))
		return OPRF_E_BAD_SCALAR;
	if (input_len > OPRF_INPUT_MAX)
		return OPRF_E_BAD_INPUT;
	group_hash_to_element(w.element, input, input_len, TAG("HashToGroup-" CONTEXT));
	/* A good scalar's product is the identity only when the element is. */
	return oprf_multiply(blinded, blind, w.element) ? OPRF_E_BAD_INPUT : 0;
}

int oprf_blind_evaluate(uint8_t evaluated[static OPRF_ELEMENT_LEN],
			const uint8_t blinded[static OPRF_ELEMENT_LEN],
			const uint8_t key[static OPRF_SCALAR_LEN])
{
	if (oprf_check_scalar(key))
		return OPRF_E_BAD_SCALAR;
	return oprf_multiply(evaluated, key, blinded);
}

/* A part of what Finalize hashes: its length in two bytes, then itself. */
static void hash_part(crypto_hash_sha512_state *st, const void *part, size_t len)
{
	uint8_t prefix[2];

	be16_store(prefix, (uint16_t)len);
	crypto_hash_sha512_update(st, prefix, sizeof(prefix));
	crypto_hash_sha512_update(st, part, len);
}

int oprf_finalize(uint8_t out[static OPRF_OUTPUT_LEN], const void *input, size_t input_len,
		  const uint8_t blind[static OPRF_SCALAR_LEN],
		  const uint8_t evaluated[static OPRF_ELEMENT_LEN])
{
	_cleanup_(work_wipe) struct work w = { 0 };

	if (oprf_check_scalar(blind))
		return OPRF_E_BAD_SCALAR;
	if (input_len > OPRF_INPUT_MAX)
		return OPRF_E_BAD_INPUT;
	if (crypto_core_ristretto255_scalar_invert(w.scalar, blind) != 0 ||
	    oprf_multiply(w.element, w.scalar, evaluated))
		return OPRF_E_BAD_ELEMENT;

	crypto_hash_sha512_init(&w.hash);
	hash_part(&w.hash, input, input_len);
	hash_part(&w.hash, w.element, sizeof(w.element));
	crypto_hash_sha512_update(&w.hash, (const uint8_t *)"Finalize", strlen("Finalize"));
	crypto_hash_sha512_final(&w.hash, out);
	return 0;
}

int oprf_derive_key(uint8_t key[static OPRF_SCALAR_LEN], const uint8_t seed[static OPRF_SEED_LEN],
		    const void *info, size_t info_len)
{
	uint8_t input[OPRF_SEED_LEN + 2 + OPRF_INFO_MAX + 1];
	size_t counter_at = OPRF_SEED_LEN + 2 + info_len;
	int r = OPRF_E_BAD_INPUT;

	if (info_len > OPRF_INFO_MAX)
		return OPRF_E_BAD_INPUT;
	memcpy(input, seed, OPRF_SEED_LEN);
	be16_store(input + OPRF_SEED_LEN, (uint16_t)info_len);
	if (info_len > 0)
		memcpy(input + OPRF_SEED_LEN + 2, info, info_len);

	for (unsigned int counter = 0; r && counter <= UINT8_MAX; counter++) {
		input[counter_at] = (uint8_t)counter;
		group_hash_to_scalar(key, input, counter_at + 1, TAG("DeriveKeyPair" CONTEXT));
		if (!sodium_is_zero(key, OPRF_SCALAR_LEN))
			r = 0;
	}
	wipe(input, sizeof(input));
	return r;
}

/* RFC 9497 over the group. What is secret on the way is wiped; time is as group.h says. */
#include "crypto/oprf.h"

#include <assert.h>
#include <string.h>

#include <sodium.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "crypto/group.h"
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
	crypto_hash_sha512_state hash;
};

static void work_wipe(struct work *w)
{
	wipe(w, sizeof(*w));
}

/* What the group says of an element and a scalar, in this module's words. */
static int outcome_of(int r)
{
	return r == GROUP_E_BAD_SCALAR ? OPRF_E_BAD_SCALAR : r ? OPRF_E_BAD_ELEMENT : 0;
}

int oprf_blind(uint8_t blinded[static OPRF_ELEMENT_LEN], const void *input, size_t input_len,
	       const uint8_t blind[static OPRF_SCALAR_LEN])
{
	_cleanup_(work_wipe) struct work w = { 0 };
	int r;

	if (input_len > OPRF_INPUT_MAX)
		return OPRF_E_BAD_INPUT;
	group_hash_to_element(w.element, input, input_len, TAG("HashToGroup-" CONTEXT));
	r = outcome_of(group_multiply(blinded, blind, w.element));
	/* The element is our own: bad only when it is the identity. */
	return r == OPRF_E_BAD_ELEMENT ? OPRF_E_BAD_INPUT : r;
}

int oprf_blind_evaluate(uint8_t evaluated[static OPRF_ELEMENT_LEN],
			const uint8_t blinded[static OPRF_ELEMENT_LEN],
			const uint8_t key[static OPRF_SCALAR_LEN])
{
	return outcome_of(group_multiply(evaluated, key, blinded));
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
	int r;

	if (input_len > OPRF_INPUT_MAX)
		return OPRF_E_BAD_INPUT;
	r = group_invert(w.scalar, blind);
	if (!r)
		r = group_multiply(w.element, w.scalar, evaluated);
	if (r)
		return outcome_of(r);

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
		if (group_check_scalar(key) == 0)
			r = 0;
	}
	wipe(input, sizeof(input));
	return r;
}

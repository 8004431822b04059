/*
 * The oblivious pseudorandom function of RFC 9497, mode 0 (OPRF), suite
 * ristretto255-SHA512: a client learns F(key, input) without showing the input,
 * a server helps without learning input or output.
 *
 * Scalars are 32 bytes, little-endian, below the group's order; elements are
 * canonical ristretto255 encodings (RFC 9496). Buffers are the caller's, who
 * wipes what is secret: blinds, keys, inputs, outputs. Time depends on nothing
 * secret but the length of an input.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define OPRF_ELEMENT_LEN 32
#define OPRF_SCALAR_LEN 32
#define OPRF_OUTPUT_LEN 64
#define OPRF_SEED_LEN 32
/* RFC 9497 section 1.2: the longest input. */
#define OPRF_INPUT_MAX 65535
/* The longest info of a key; the RFC allows more, and nobody has it. */
#define OPRF_INFO_MAX 256

/* Outcomes. */
enum {
	OPRF_E_BAD_ELEMENT = 1, /* not a canonical encoding, or the identity */
	OPRF_E_BAD_SCALAR,	/* zero, or not below the group's order */
	OPRF_E_BAD_INPUT,	/* too long, or (one in 2^252) it hashes to the identity */
};

/*
 * Client, first step (RFC 9497 section 3.3.1, Blind): the element to send.
 * blind comes from group_random_scalar() (or from a vector) and is kept for
 * oprf_finalize(). 0, OPRF_E_BAD_SCALAR or OPRF_E_BAD_INPUT.
 */
int oprf_blind(uint8_t blinded[static OPRF_ELEMENT_LEN], const void *input, size_t input_len,
	       const uint8_t blind[static OPRF_SCALAR_LEN]);

/*
 * Server (BlindEvaluate): the answer to a client's element. 0,
 * OPRF_E_BAD_ELEMENT, or OPRF_E_BAD_SCALAR for a key that is none.
 */
int oprf_blind_evaluate(uint8_t evaluated[static OPRF_ELEMENT_LEN],
			const uint8_t blinded[static OPRF_ELEMENT_LEN],
			const uint8_t key[static OPRF_SCALAR_LEN]);

/*
 * Client, second step (Finalize): the function's value, from the same input
 * and blind as before. 0, OPRF_E_BAD_ELEMENT, OPRF_E_BAD_SCALAR or OPRF_E_BAD_INPUT.
 */
int oprf_finalize(uint8_t out[static OPRF_OUTPUT_LEN], const void *input, size_t input_len,
		  const uint8_t blind[static OPRF_SCALAR_LEN],
		  const uint8_t evaluated[static OPRF_ELEMENT_LEN]);

/*
 * DeriveKeyPair (RFC 9497 section 3.2.1): a private key of a seed and of a
 * public info. 0, or OPRF_E_BAD_INPUT when info is too long or each of the
 * 256 attempts gave zero (never seen).
 */
int oprf_derive_key(uint8_t key[static OPRF_SCALAR_LEN], const uint8_t seed[static OPRF_SEED_LEN],
		    const void *info, size_t info_len);

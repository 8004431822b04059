/*
 * SPAKE2 over edwards25519 whose messages and key agree with python-spake2
 * 0.8 (SPAKE2_A and SPAKE2_B, ParamsEd25519): the same M and N, the same
 * password-to-scalar map, the same 33-byte messages (side byte, then element)
 * and the same SHA-256 transcript key. Stricter than it in what a peer may
 * send: non-canonical encodings are refused, as are reflected messages.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "crypto/secret.h"

#define SPAKE2_MSG_LEN 33
#define SPAKE2_KEY_LEN 32

enum spake2_side { SPAKE2_A, SPAKE2_B };

struct spake2;

/*
 * Outcome of spake2_finish(): wrong length or side byte, not a canonical
 * encoding of an element of the prime-order group, the identity, or our own
 * element; or finished before: a second message would be a second guess.
 */
enum { SPAKE2_E_BAD_MESSAGE = 1 };

/*
 * New state with a random scalar. password is any length; id_a and id_b are
 * the identities of the two sides as python-spake2's idA and idB. 0 or -ENOMEM.
 */
int spake2_new(struct spake2 **out, enum spake2_side side, const uint8_t *password,
	       size_t password_len, const void *id_a, size_t id_a_len, const void *id_b,
	       size_t id_b_len);

/*
 * The same with 64 bytes of chosen entropy in place of random ones (vectors,
 * self-check). -EINVAL when they amount to the scalar zero.
 */
int spake2_new_seeded(struct spake2 **out, enum spake2_side side, const uint8_t *password,
		      size_t password_len, const void *id_a, size_t id_a_len, const void *id_b,
		      size_t id_b_len, const uint8_t seed[static 64]);

/* Our message; the same bytes each time. */
void spake2_message(const struct spake2 *s, uint8_t out[static SPAKE2_MSG_LEN]);

/* Take the peer's message, once: 0 with a new 32-byte secret, SPAKE2_E_BAD_MESSAGE, or -ENOMEM. */
int spake2_finish(struct spake2 *s, struct secret **key, const uint8_t *msg, size_t len);

struct spake2 *spake2_free(struct spake2 *s);
DEFINE_CLEANUP(struct spake2 *, spake2_free);

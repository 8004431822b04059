/*
 * SPAKE2's two group operations over edwards25519, apart from any protocol's
 * choice of M and N, encodings and hashes. Scalars are 32 bytes,
 * little-endian, below L; elements are RFC 8032 encodings. Time depends on
 * nothing secret: every scalar here is, the elements given are public.
 */
#pragma once

#include <stdint.h>

#define SPAKE2_ELEMENT_LEN 32
#define SPAKE2_SCALAR_LEN 32

/* An element as peers send it is well formed: canonical, of prime order. */
enum { SPAKE2_GROUP_E_BAD_ELEMENT = 1 };

/* share = x B + w blind. 0, or -EINVAL when x or w is zero. */
int spake2_group_share(uint8_t share[static SPAKE2_ELEMENT_LEN],
		       const uint8_t x[static SPAKE2_SCALAR_LEN],
		       const uint8_t w[static SPAKE2_SCALAR_LEN],
		       const uint8_t blind[static SPAKE2_ELEMENT_LEN]);

/*
 * k = x (share - w blind), for the peer's share and the peer's blind. 0,
 * -EINVAL as above, or SPAKE2_GROUP_E_BAD_ELEMENT when share is not canonical,
 * not on the curve, of small order, or outside of the prime-order group.
 */
int spake2_group_agree(uint8_t k[static SPAKE2_ELEMENT_LEN],
		       const uint8_t x[static SPAKE2_SCALAR_LEN],
		       const uint8_t w[static SPAKE2_SCALAR_LEN],
		       const uint8_t share[static SPAKE2_ELEMENT_LEN],
		       const uint8_t blind[static SPAKE2_ELEMENT_LEN]);

/* A scalar of 64 big-endian bytes modulo L, as python-spake2 makes them. */
void spake2_group_reduce(uint8_t out[static SPAKE2_SCALAR_LEN], const uint8_t be[static 64]);

/*
 * Hashing to ristretto255 (RFC 9380) with SHA-512: what OPRF and OPAQUE make
 * of a password or a label. Time depends on the lengths alone.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define GROUP_ELEMENT_LEN 32
#define GROUP_SCALAR_LEN 32
/* The longest domain separation tag; a longer one would have to be hashed first (RFC 9380 section 5.3.3). */
#define GROUP_DST_MAX 255

/*
 * expand_message_xmd with SHA-512 (RFC 9380 section 5.3.1): out_len bytes, at
 * most 255 * 64, of msg under the tag dst. Lengths out of range are the
 * caller's mistake (asserted).
 */
void group_expand_message(uint8_t *out, size_t out_len, const void *msg, size_t msg_len,
			  const void *dst, size_t dst_len);

/* hash_to_ristretto255 (RFC 9380 appendix B): an element whose logarithm nobody knows. */
void group_hash_to_element(uint8_t out[static GROUP_ELEMENT_LEN], const void *msg, size_t msg_len,
			   const void *dst, size_t dst_len);

/* HashToScalar of RFC 9497 section 4.1: a scalar below the group's order, little-endian. */
void group_hash_to_scalar(uint8_t out[static GROUP_SCALAR_LEN], const void *msg, size_t msg_len,
			  const void *dst, size_t dst_len);

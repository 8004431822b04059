/*
 * The prime-order group ristretto255 (RFC 9496), and hashing to it (RFC 9380)
 * with SHA-512: what OPRF and OPAQUE are made of.
 *
 * Scalars are 32 bytes, little-endian, below the group's order; elements are
 * canonical encodings of 32 bytes. Time depends on the lengths alone, and on
 * whether something was refused. Buffers are the caller's to wipe; an output
 * may be the input of its own length.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define GROUP_ELEMENT_LEN 32
#define GROUP_SCALAR_LEN 32
/* The longest domain separation tag; a longer one would have to be hashed first (RFC 9380 section 5.3.3). */
#define GROUP_DST_MAX 255

/* Outcomes. */
enum {
	GROUP_E_BAD_ELEMENT = 1, /* not a canonical encoding, or the identity */
	GROUP_E_BAD_SCALAR,	 /* zero, or not below the group's order */
};

/* A random scalar that is not zero (RFC 9497 section 2.1). */
void group_random_scalar(uint8_t out[static GROUP_SCALAR_LEN]);

/* 0 or GROUP_E_BAD_SCALAR. */
int group_check_scalar(const uint8_t scalar[static GROUP_SCALAR_LEN]);
/* 0 or GROUP_E_BAD_ELEMENT. */
int group_check_element(const uint8_t element[static GROUP_ELEMENT_LEN]);

/* The generator times a scalar: a public key of a private one. 0 or GROUP_E_BAD_SCALAR. */
int group_public_key(uint8_t out[static GROUP_ELEMENT_LEN],
		     const uint8_t scalar[static GROUP_SCALAR_LEN]);

/* An element times a scalar: Diffie-Hellman. 0, GROUP_E_BAD_SCALAR, or GROUP_E_BAD_ELEMENT. */
int group_multiply(uint8_t out[static GROUP_ELEMENT_LEN],
		   const uint8_t scalar[static GROUP_SCALAR_LEN],
		   const uint8_t element[static GROUP_ELEMENT_LEN]);

/* The scalar that undoes a scalar. 0 or GROUP_E_BAD_SCALAR. */
int group_invert(uint8_t out[static GROUP_SCALAR_LEN],
		 const uint8_t scalar[static GROUP_SCALAR_LEN]);

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

/* HashToScalar of RFC 9497 section 4.1; zero for one message in 2^252. */
void group_hash_to_scalar(uint8_t out[static GROUP_SCALAR_LEN], const void *msg, size_t msg_len,
			  const void *dst, size_t dst_len);

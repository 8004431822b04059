/*
 * ChaCha20-Poly1305 for the packet path: RFC 8439's AEAD over one packet, with
 * the 32-byte header in front of it as the associated data, in place. The same
 * bytes as aead_seal() and aead_open() give, sooner (see bulk.c).
 *
 *	header           header + 32        + len             + 16
 *	| header         | packet           | tag             |
 *
 * Nothing outside of this is read or written, so packets may lie back to back,
 * as UDP_SEGMENT and UDP_GRO have them. No alignment is needed.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "crypto/aead.h"

#define BULK_HEADER_LEN 32
/* What must be free behind a packet for its tag. */
#define BULK_ROOM AEAD_TAG_LEN

/* Encrypt the len bytes after header and write the tag behind them. Never fails. */
void bulk_seal(uint8_t *header, size_t len, const uint8_t nonce[static AEAD_NONCE_LEN],
	       const uint8_t key[static AEAD_KEY_LEN]);

/*
 * Verify, then decrypt the len bytes after header (the tag behind them not
 * counted). 0; or -EBADMSG, and then no byte has changed.
 */
int bulk_open(uint8_t *header, size_t len, const uint8_t nonce[static AEAD_NONCE_LEN],
	      const uint8_t key[static AEAD_KEY_LEN]);

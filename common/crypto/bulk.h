/*
 * ChaCha20-Poly1305 for the packet path: RFC 8439's AEAD over one packet, with
 * the 32-byte header in front of it as the associated data, in place. The same
 * bytes as aead_seal() and aead_open() in fewer passes (see bulk.c).
 *
 *	header - BULK_ROOM    header     header + 32         + len       + 16
 *	| room, kept as it is | header   | packet (len)      | tag       | room, kept |
 *
 * BULK_ROOM bytes before the header and BULK_ROOM bytes after the packet (its
 * tag among them) must be readable and writable. They are borrowed and given
 * back unchanged, so packets may lie back to back, as UDP_SEGMENT and UDP_GRO
 * want them, as long as the buffer has that room before its first and after
 * its last packet, and no other thread works on the neighbours meanwhile.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "crypto/aead.h"

#define BULK_HEADER_LEN 32
#define BULK_ROOM 32

/* Encrypt the len bytes after header and write the tag behind them. Never fails. */
void bulk_seal(uint8_t *header, size_t len, const uint8_t nonce[static AEAD_NONCE_LEN],
	       const uint8_t key[static AEAD_KEY_LEN]);

/*
 * Verify, then decrypt the len bytes after header (the tag behind them not
 * counted). 0; or -EBADMSG, and then no byte has changed.
 */
int bulk_open(uint8_t *header, size_t len, const uint8_t nonce[static AEAD_NONCE_LEN],
	      const uint8_t key[static AEAD_KEY_LEN]);

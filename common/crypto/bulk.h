/*
 * ChaCha20-Poly1305 for the packet path: RFC 8439's AEAD over one packet, with
 * the 32-byte header in front of it as the associated data, in place. The same
 * bytes as aead_seal() and aead_open() give, sooner: by libsodium (see
 * bulk_sodium.c), or by intel-ipsec-mb where that is present, proves itself
 * equal and is faster.
 *
 *	header           header + 32        + len             + 16
 *	| header         | packet           | tag             |
 *
 * Nothing outside of this is read or written, so packets may lie back to back,
 * as UDP_SEGMENT and UDP_GRO have them. No alignment is needed.
 */
#pragma once

#include <stdbool.h>
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

enum bulk_choice { BULK_AUTO, BULK_SODIUM, BULK_IPSEC_MB };
/* "auto", "libsodium", "ipsec-mb": in the order of the enum, then NULL. */
extern const char *const bulk_choice_names[];

enum {
	BULK_E_UNAVAILABLE = 1, /* ipsec-mb was asked for, and is not here or not for this processor */
	BULK_E_WRONG,		/* ipsec-mb is here and not equal to libsodium; said with BULK_AUTO, too */
};

/*
 * Choose what seals from now on, before any other thread does; without a call
 * it is libsodium. BULK_AUTO measures, for some milliseconds. 0 or BULK_E_:
 * libsodium seals then, and bulk_info() tells why.
 */
int bulk_choose(enum bulk_choice choice);

struct bulk_info {
	const char *name; /* what seals: "libsodium" or "ipsec-mb" */
	char note[160];	  /* why, or of which kind it is */
	const char *hint; /* a sentence on how to make it faster, or NULL */
};
const struct bulk_info *bulk_info(void);

/* Whether libsodium's way, and ipsec-mb's where it is present, give what aead_seal() gives. */
bool bulk_selfcheck(void);

/* ChaCha20-Poly1305 of RFC 8439, one message at a time. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define AEAD_KEY_LEN 32
#define AEAD_NONCE_LEN 12
#define AEAD_TAG_LEN 16

/* Seal len bytes into out, which gets len + AEAD_TAG_LEN bytes; out may equal in. Never fails. */
void aead_seal(uint8_t *out, const uint8_t *in, size_t len, const void *aad, size_t aad_len,
	       const uint8_t nonce[static AEAD_NONCE_LEN], const uint8_t key[static AEAD_KEY_LEN]);

/*
 * Open len bytes (tag included) into out (len - AEAD_TAG_LEN bytes; may equal
 * in). Returns 0, or -EBADMSG with out untouched or zeroed.
 */
int aead_open(uint8_t *out, const uint8_t *in, size_t len, const void *aad, size_t aad_len,
	      const uint8_t nonce[static AEAD_NONCE_LEN], const uint8_t key[static AEAD_KEY_LEN]);

/* Hashes, MACs and key derivation: SHA-256/512, HMAC, HKDF (RFC 5869), Argon2id (RFC 9106). */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "crypto/secret.h"

#define SHA256_LEN 32
#define SHA512_LEN 64
#define HMAC_SHA256_LEN 32

void sha256(uint8_t out[static SHA256_LEN], const void *data, size_t len);
void sha512(uint8_t out[static SHA512_LEN], const void *data, size_t len);

/* HMAC-SHA-256 (RFC 2104) with a key of any length. */
void hmac_sha256(uint8_t out[static HMAC_SHA256_LEN], const void *key, size_t key_len,
		 const void *data, size_t len);

/*
 * HKDF-SHA-256 (RFC 5869), extract then expand, out_len <= 255 * 32. salt may
 * be NULL with salt_len 0. info is the context, public. Never fails for
 * lengths in range (asserted).
 */
void hkdf_sha256(uint8_t *out, size_t out_len, const void *salt, size_t salt_len,
		 const void *ikm, size_t ikm_len, const void *info, size_t info_len);

/* The same with SHA-512, out_len <= 255 * 64. */
void hkdf_sha512(uint8_t *out, size_t out_len, const void *salt, size_t salt_len,
		 const void *ikm, size_t ikm_len, const void *info, size_t info_len);

/* A new secret of len bytes: HKDF-SHA-256(salt = none, ikm, info = label). 0 or -ENOMEM. */
int kdf_expand(struct secret **out, size_t len, const struct secret *ikm, const char *label);

/*
 * Argon2id, p = 1, version 0x13. salt is 16 bytes. Takes long: call it in a
 * worker thread. Returns 0 with a new secret of out_len bytes, or -ENOMEM.
 */
int argon2id(struct secret **out, size_t out_len, const uint8_t *password, size_t password_len,
	     const uint8_t salt[static 16], uint32_t mem_kib, uint32_t passes);

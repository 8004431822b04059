/*
 * libsodium 1.0.19's crypto_kdf_hkdf_sha256_* and _sha512_* (RFC 5869) for
 * Debian 12's 1.0.18, with its names and signatures; of them, what we use.
 * Where the library has them (26.1 is 1.0.19) this declares nothing.
 */
#pragma once

#include <sodium.h>

#if SODIUM_LIBRARY_VERSION_MAJOR < 26 || \
	(SODIUM_LIBRARY_VERSION_MAJOR == 26 && SODIUM_LIBRARY_VERSION_MINOR < 1)
#define HANDFAST_COMPAT_HKDF 1

#define crypto_kdf_hkdf_sha256_KEYBYTES crypto_auth_hmacsha256_BYTES
#define crypto_kdf_hkdf_sha256_BYTES_MIN 0U
#define crypto_kdf_hkdf_sha256_BYTES_MAX (0xff * crypto_auth_hmacsha256_BYTES)

int crypto_kdf_hkdf_sha256_extract(unsigned char prk[crypto_kdf_hkdf_sha256_KEYBYTES],
				   const unsigned char *salt, size_t salt_len,
				   const unsigned char *ikm, size_t ikm_len);
int crypto_kdf_hkdf_sha256_expand(unsigned char *out, size_t out_len, const char *ctx,
				  size_t ctx_len,
				  const unsigned char prk[crypto_kdf_hkdf_sha256_KEYBYTES]);

#define crypto_kdf_hkdf_sha512_KEYBYTES crypto_auth_hmacsha512_BYTES
#define crypto_kdf_hkdf_sha512_BYTES_MIN 0U
#define crypto_kdf_hkdf_sha512_BYTES_MAX (0xff * crypto_auth_hmacsha512_BYTES)

int crypto_kdf_hkdf_sha512_extract(unsigned char prk[crypto_kdf_hkdf_sha512_KEYBYTES],
				   const unsigned char *salt, size_t salt_len,
				   const unsigned char *ikm, size_t ikm_len);
int crypto_kdf_hkdf_sha512_expand(unsigned char *out, size_t out_len, const char *ctx,
				  size_t ctx_len,
				  const unsigned char prk[crypto_kdf_hkdf_sha512_KEYBYTES]);
#endif

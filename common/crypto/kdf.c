/* Thin and total: every function here gives its result or, where memory can run out, says so. */
#include "crypto/kdf.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include <sodium.h>

#include "crypto/sodium-compat/crypto_kdf_hkdf.h"

/* An empty input may be NULL; libsodium declares that it wants a place even then. */
static const void *place(const void *p)
{
	return p ? p : "";
}

void sha256(uint8_t out[static SHA256_LEN], const void *data, size_t len)
{
	crypto_hash_sha256(out, data, len);
}

void sha512(uint8_t out[static SHA512_LEN], const void *data, size_t len)
{
	crypto_hash_sha512(out, data, len);
}

void hmac_sha256(uint8_t out[static HMAC_SHA256_LEN], const void *key, size_t key_len,
		 const void *data, size_t len)
{
	crypto_auth_hmacsha256_state st;

	crypto_auth_hmacsha256_init(&st, place(key), key_len);
	crypto_auth_hmacsha256_update(&st, data, len);
	crypto_auth_hmacsha256_final(&st, out);
	wipe(&st, sizeof(st));
}

void hkdf_sha256(uint8_t *out, size_t out_len, const void *salt, size_t salt_len,
		 const void *ikm, size_t ikm_len, const void *info, size_t info_len)
{
	uint8_t prk[crypto_kdf_hkdf_sha256_KEYBYTES];

	assert(out_len <= crypto_kdf_hkdf_sha256_BYTES_MAX);
	crypto_kdf_hkdf_sha256_extract(prk, salt, salt_len, place(ikm), ikm_len);
	crypto_kdf_hkdf_sha256_expand(out, out_len, info, info_len, prk);
	wipe(prk, sizeof(prk));
}

void hkdf_sha512(uint8_t *out, size_t out_len, const void *salt, size_t salt_len,
		 const void *ikm, size_t ikm_len, const void *info, size_t info_len)
{
	uint8_t prk[crypto_kdf_hkdf_sha512_KEYBYTES];

	assert(out_len <= crypto_kdf_hkdf_sha512_BYTES_MAX);
	crypto_kdf_hkdf_sha512_extract(prk, salt, salt_len, place(ikm), ikm_len);
	crypto_kdf_hkdf_sha512_expand(out, out_len, info, info_len, prk);
	wipe(prk, sizeof(prk));
}

int kdf_expand(struct secret **out, size_t len, const struct secret *ikm, const char *label)
{
	uint8_t *bytes;
	int r;

	r = secret_new(out, len, &bytes);
	if (r)
		return r;
	hkdf_sha256(bytes, len, NULL, 0, secret_bytes(ikm), secret_len(ikm), label, strlen(label));
	return 0;
}

/* More than libsodium's Argon2id takes; a thread has 8 MiB, or 128 KiB at least. */
enum { ARGON2_STACK = 32 * 1024 };

int argon2id(struct secret **out, size_t out_len, const uint8_t *password, size_t password_len,
	     const uint8_t salt[static 16], uint32_t mem_kib, uint32_t passes)
{
	_cleanup_(secret_freep) struct secret *s = NULL;
	uint8_t *bytes;
	int r, failed;

	/* RFC 9106 section 3.1; below these libsodium refuses, and memory is then not the reason. */
	assert(out_len >= crypto_pwhash_argon2id_BYTES_MIN);
	assert(mem_kib >= crypto_pwhash_argon2id_MEMLIMIT_MIN / 1024);
	assert(passes >= crypto_pwhash_argon2id_OPSLIMIT_MIN);
	static_assert(crypto_pwhash_argon2id_SALTBYTES == 16, "salt length");

	r = secret_new(&s, out_len, &bytes);
	if (r)
		return r;
	failed = crypto_pwhash_argon2id(bytes, out_len, place(password), password_len, salt,
					passes, (size_t)mem_kib * 1024,
					crypto_pwhash_argon2id_ALG_ARGON2ID13);
	/* libsodium leaves the result on the stack, and a worker's stack lives as long as the daemon. */
	sodium_stackzero(ARGON2_STACK);
	if (failed)
		return -ENOMEM;
	*out = steal(&s);
	return 0;
}

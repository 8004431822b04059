/* HKDF-SHA-512 (RFC 5869) as libsodium 1.0.19 has it. */
#include "crypto/sodium-compat/crypto_kdf_hkdf.h"

#include <errno.h>
#include <string.h>

#ifdef HANDFAST_COMPAT_HKDF

/* RFC 5869 section 2.2. */
int crypto_kdf_hkdf_sha512_extract(unsigned char prk[crypto_kdf_hkdf_sha512_KEYBYTES],
				   const unsigned char *salt, size_t salt_len,
				   const unsigned char *ikm, size_t ikm_len)
{
	crypto_auth_hmacsha512_state st;

	/* Without a salt it may be NULL, which the next one does not take. */
	crypto_auth_hmacsha512_init(&st, salt ? salt : (const unsigned char *)"", salt_len);
	crypto_auth_hmacsha512_update(&st, ikm, ikm_len);
	crypto_auth_hmacsha512_final(&st, prk);
	sodium_memzero(&st, sizeof(st));
	return 0;
}

/* RFC 5869 section 2.3: T(i) = HMAC(prk, T(i - 1) || ctx || i). */
int crypto_kdf_hkdf_sha512_expand(unsigned char *out, size_t out_len, const char *ctx,
				  size_t ctx_len,
				  const unsigned char prk[crypto_kdf_hkdf_sha512_KEYBYTES])
{
	crypto_auth_hmacsha512_state st;
	unsigned char t[crypto_auth_hmacsha512_BYTES];
	unsigned char counter = 0;
	size_t t_len = 0;

	if (out_len > crypto_kdf_hkdf_sha512_BYTES_MAX) {
		errno = EINVAL;
		return -1;
	}
	while (out_len > 0) {
		size_t n = out_len < sizeof(t) ? out_len : sizeof(t);

		counter++;
		crypto_auth_hmacsha512_init(&st, prk, crypto_kdf_hkdf_sha512_KEYBYTES);
		crypto_auth_hmacsha512_update(&st, t, t_len);
		crypto_auth_hmacsha512_update(&st, (const unsigned char *)ctx, ctx_len);
		crypto_auth_hmacsha512_update(&st, &counter, 1);
		crypto_auth_hmacsha512_final(&st, t);
		t_len = sizeof(t);
		memcpy(out, t, n);
		out += n;
		out_len -= n;
	}
	sodium_memzero(t, sizeof(t));
	sodium_memzero(&st, sizeof(st));
	return 0;
}
#endif

/* libsodium's ChaCha20-Poly1305 (RFC 8439 section 2.8), nothing added. */
#include "crypto/aead.h"

#include <assert.h>
#include <errno.h>

#include <sodium.h>

static_assert(AEAD_KEY_LEN == crypto_aead_chacha20poly1305_ietf_KEYBYTES, "key length");
static_assert(AEAD_NONCE_LEN == crypto_aead_chacha20poly1305_ietf_NPUBBYTES, "nonce length");
static_assert(AEAD_TAG_LEN == crypto_aead_chacha20poly1305_ietf_ABYTES, "tag length");

void aead_seal(uint8_t *out, const uint8_t *in, size_t len, const void *aad, size_t aad_len,
	       const uint8_t nonce[static AEAD_NONCE_LEN], const uint8_t key[static AEAD_KEY_LEN])
{
	crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, in, len, aad, aad_len, NULL, nonce,
						  key);
}

int aead_open(uint8_t *out, const uint8_t *in, size_t len, const void *aad, size_t aad_len,
	      const uint8_t nonce[static AEAD_NONCE_LEN], const uint8_t key[static AEAD_KEY_LEN])
{
	if (len < AEAD_TAG_LEN ||
	    crypto_aead_chacha20poly1305_ietf_decrypt(out, NULL, NULL, in, len, aad, aad_len,
						      nonce, key) != 0)
		return -EBADMSG;
	return 0;
}

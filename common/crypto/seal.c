/* libsodium's XChaCha20-Poly1305; nonces of 24 random bytes never meet again. */
#include "crypto/seal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "crypto/kdf.h"

static const char magic[4] = { 'H', 'F', 'S', '1' };
static const char domain[] = "handfast sealed ";

enum { KEY_LEN = 32, DOMAIN_LEN = sizeof(domain) - 1 };

struct seal_key {
	struct secret *key; /* the key, then its id */
};

static_assert(crypto_aead_xchacha20poly1305_ietf_KEYBYTES == KEY_LEN, "key length");
static_assert(crypto_aead_xchacha20poly1305_ietf_NPUBBYTES == SEAL_NONCE_LEN, "nonce length");
static_assert(crypto_aead_xchacha20poly1305_ietf_ABYTES == SEAL_TAG_LEN, "tag length");

int seal_key_new(struct seal_key **out, const struct secret *master, const char *label)
{
	struct seal_key *k = calloc(1, sizeof(*k));
	int r;

	if (!k)
		return -ENOMEM;
	r = kdf_expand(&k->key, KEY_LEN + SEAL_ID_LEN, master, label);
	if (r) {
		free(k);
		return r;
	}
	*out = k;
	return 0;
}

const uint8_t *seal_key_id(const struct seal_key *k)
{
	return secret_bytes(k->key) + KEY_LEN;
}

struct seal_key *seal_key_free(struct seal_key *k)
{
	if (!k)
		return NULL;
	secret_free(k->key);
	free(k);
	return NULL;
}

void seal_make(uint8_t *out, const uint8_t *in, size_t len, const void *aad, size_t aad_len,
	       const struct seal_key *k)
{
	random_bytes(out, SEAL_NONCE_LEN);
	crypto_aead_xchacha20poly1305_ietf_encrypt(out + SEAL_NONCE_LEN, NULL, in, len, aad, aad_len, NULL, out,
						   secret_bytes(k->key));
}

int seal_open(uint8_t *out, const uint8_t *in, size_t len, const void *aad, size_t aad_len,
	      const struct seal_key *k)
{
	if (len < SEAL_EXTRA ||
	    crypto_aead_xchacha20poly1305_ietf_decrypt(out, NULL, NULL, in + SEAL_NONCE_LEN, len - SEAL_NONCE_LEN,
						       aad, aad_len, in, secret_bytes(k->key)) != 0)
		return -EBADMSG;
	return 0;
}

bool seal_is_blob(const void *data, size_t len)
{
	return len >= SEAL_BLOB_EXTRA && memcmp(data, magic, sizeof(magic)) == 0;
}

static size_t make_aad(uint8_t out[static DOMAIN_LEN + SEAL_CONTEXT_MAX], const void *context, size_t len)
{
	assert(len <= SEAL_CONTEXT_MAX);
	memcpy(out, domain, DOMAIN_LEN);
	if (len > 0)
		memcpy(out + DOMAIN_LEN, context, len);
	return DOMAIN_LEN + len;
}

void seal_blob(uint8_t *out, const uint8_t *in, size_t len, const void *context, size_t context_len,
	       const struct seal_key *k)
{
	uint8_t aad[DOMAIN_LEN + SEAL_CONTEXT_MAX];

	memcpy(out, magic, sizeof(magic));
	memcpy(out + sizeof(magic), seal_key_id(k), SEAL_ID_LEN);
	seal_make(out + sizeof(magic) + SEAL_ID_LEN, in, len, aad, make_aad(aad, context, context_len), k);
}

int seal_blob_open(struct secret **out, const void *blob, size_t len, const void *context,
		   size_t context_len, const struct seal_key *k)
{
	_cleanup_(secret_freep) struct secret *s = NULL;
	uint8_t aad[DOMAIN_LEN + SEAL_CONTEXT_MAX], *bytes;
	const uint8_t *p = blob;
	int r;

	if (!seal_is_blob(blob, len))
		return SEAL_E_PLAIN;
	if (!k)
		return SEAL_E_NO_KEY;
	if (memcmp(p + sizeof(magic), seal_key_id(k), SEAL_ID_LEN) != 0)
		return SEAL_E_OTHER_KEY;
	r = secret_new(&s, len - SEAL_BLOB_EXTRA, &bytes);
	if (r)
		return r;
	if (seal_open(bytes, p + sizeof(magic) + SEAL_ID_LEN, len - sizeof(magic) - SEAL_ID_LEN, aad,
		      make_aad(aad, context, context_len), k))
		return SEAL_E_BROKEN;
	*out = steal(&s);
	return 0;
}

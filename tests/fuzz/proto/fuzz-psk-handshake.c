/* Handshake messages: what is taken has one encoding, up to its MAC. */
#include <assert.h>
#include <string.h>

#include "crypto/secret.h"
#include "proto/psk_handshake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t key[PSKH_KEY_LEN];
	uint8_t again[PSKH_MAX], hash[PSKH_HASH_LEN];
	struct pskh m;

	assert(crypto_init() == 0);
	if (pskh_decode(&m, data, size) != 0)
		return 0;
	assert(pskh_encode(again, &m, key) == size);
	assert(memcmp(again, data, size - PSKH_MAC_LEN) == 0);
	assert(pskh_is_authentic(again, size, key));
	pskh_signed_hash(hash, &m, data, size);
	return 0;
}

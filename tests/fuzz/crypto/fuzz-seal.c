/* What is sealed at rest: no bytes open that were not sealed under the key, and what was sealed comes back. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "crypto/seal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX = 1024 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t blob[MAX + SEAL_BLOB_EXTRA], out[MAX];
	static struct seal_key *key;
	static const char context[] = "a context";
	_cleanup_(secret_freep) struct secret *s = NULL, *back = NULL;
	int r;

	if (!key) {
		_cleanup_(secret_freep) struct secret *master = NULL;
		uint8_t bytes[32] = { 7 };

		assert(crypto_init() == 0 && secret_take(&master, bytes, sizeof(bytes)) == 0);
		assert(seal_key_new(&key, master, "a label") == 0);
	}
	if (size > MAX)
		return 0;
	r = seal_blob_open(&s, data, size, context, sizeof(context), key);
	assert(r > 0 && !s && (r == SEAL_E_PLAIN) == !seal_is_blob(data, size));
	r = seal_blob_open(&s, data, size, context, sizeof(context), NULL);
	assert(r == SEAL_E_PLAIN || r == SEAL_E_NO_KEY);
	if (size >= SEAL_EXTRA)
		assert(seal_open(out, data, size, context, sizeof(context), key) == -EBADMSG);
	if (size == 0)
		return 0;
	seal_blob(blob, data, size, context, sizeof(context), key);
	/* One byte of it changed: which, and how, is in the input, too. */
	if (data[size - 1]) {
		blob[data[0] * size % (size + SEAL_BLOB_EXTRA)] ^= data[size - 1];
		assert(seal_blob_open(&s, blob, size + SEAL_BLOB_EXTRA, context, sizeof(context), key) > 0);
		return 0;
	}
	assert(seal_blob_open(&back, blob, size + SEAL_BLOB_EXTRA, context, sizeof(context), key) == 0);
	assert(secret_len(back) == size && memcmp(secret_bytes(back), data, size) == 0);
	return 0;
}

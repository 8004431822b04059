/* A peer's SPAKE2 message: any bytes are refused or give a key, and once only. */
#include <assert.h>

#include "crypto/spake2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t seed[64] = { 1, 2, 3 };
	_cleanup_(spake2_freep) struct spake2 *s = NULL;
	_cleanup_(secret_freep) struct secret *key = NULL, *again = NULL;
	enum spake2_side side = size & 1 ? SPAKE2_A : SPAKE2_B;
	int r;

	r = spake2_new_seeded(&s, side, (const uint8_t *)"123456", 6, data, size, NULL, 0, seed);
	assert(r == 0);
	r = spake2_finish(s, &key, data, size);
	assert(r == (key ? 0 : SPAKE2_E_BAD_MESSAGE));
	assert(spake2_finish(s, &again, data, size) == SPAKE2_E_BAD_MESSAGE && !again);
	return 0;
}

/*
 * A peer's SPAKE2 message: any bytes are refused or give a key, and once only. Of 32 bytes and more the first are
 * also taken for an element of the right side, which is most of the way into the group.
 */
#include <assert.h>
#include <string.h>

#include "crypto/spake2.h"

/* One of each side serves all runs: what it made of its own half does not change. */
#include "../../../common/crypto/spake2.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void finish(struct spake2 *s, const uint8_t *msg, size_t len)
{
	_cleanup_(secret_freep) struct secret *key = NULL, *again = NULL;
	int r;

	s->finished = false;
	r = spake2_finish(s, &key, msg, len);
	assert(r == (key ? 0 : SPAKE2_E_BAD_MESSAGE));
	assert(spake2_finish(s, &again, msg, len) == SPAKE2_E_BAD_MESSAGE && !again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t seed[64] = { 1, 2, 3 };
	static struct spake2 *both[2];
	uint8_t msg[SPAKE2_MSG_LEN];
	unsigned int i = size & 1;

	for (unsigned int n = 0; n < 2 && !both[n]; n++)
		assert(spake2_new_seeded(&both[n], n ? SPAKE2_A : SPAKE2_B, (const uint8_t *)"123456", 6, "a", 1, "b", 1, seed) == 0);
	finish(both[i], data, size);
	if (size < SPAKE2_ELEMENT_LEN)
		return 0;
	msg[0] = i ? 'B' : 'A';
	memcpy(msg + 1, data, SPAKE2_ELEMENT_LEN);
	finish(both[i], msg, sizeof(msg));
	return 0;
}

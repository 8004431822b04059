/* The arena of secrets under any order of taking and freeing: no overlap, and what is new is zero. */
#include <assert.h>
#include <string.h>

#include "crypto/secret.h"

enum { SLOTS = 64 };

static struct {
	struct secret *s;
	uint8_t value;
} held[SLOTS];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_filled(const uint8_t *p, uint8_t value, size_t len)
{
	/* Each byte is as the one before it. */
	return len == 0 || (p[0] == value && memcmp(p, p + 1, len - 1) == 0);
}

static void let_go(size_t i)
{
	if (!held[i].s)
		return;
	assert(is_filled(secret_bytes(held[i].s), held[i].value, secret_len(held[i].s)));
	held[i].s = secret_free(held[i].s);
}

/* Three bytes a step: which slot, then how much; a slot in use is freed. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	for (; size >= 3; data += 3, size -= 3) {
		size_t i = data[0] % SLOTS, len = (size_t)data[1] << (data[2] % 10);
		uint8_t *bytes;

		if (held[i].s) {
			let_go(i);
			continue;
		}
		if (secret_new(&held[i].s, len, &bytes))
			continue;
		assert(is_filled(bytes, 0, len));
		held[i].value = data[2];
		if (len > 0)
			memset(bytes, data[2], len);
	}
	for (size_t i = 0; i < SLOTS; i++)
		let_go(i);
	return 0;
}

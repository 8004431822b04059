/* The replay window against a model of it that keeps every sequence: nothing is new twice, and what is near the top is never lost. */
#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "pskd/packet/replay.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SIZE = 256, SPAN = 1 << 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(replay_freep) struct replay *r = NULL;
	static uint64_t seen[SPAN / 64];
	uint64_t base, next;

	if (size < 3)
		return 0;
	/* Anywhere below the end of all sequences. */
	base = (uint64_t)data[0] << (data[1] % 55);
	next = base;
	memset(seen, 0, sizeof(seen));
	assert(replay_new(&r, SIZE, base) == 0 && replay_next(r) == base);
	for (data += 2, size -= 2; size >= 3; data += 3, size -= 3) {
		/* From 127 below the top to 128 above it, or anywhere. */
		uint64_t near = next - base + data[0] - 127, far = be16_load(data + 1);
		uint64_t at = data[0] == 255 ? far : near < SPAN ? near : 0, sequence = base + at;
		bool known = seen[at / 64] >> at % 64 & 1;
		enum replay_verdict v = replay_check(r, sequence);

		assert(v == replay_check(r, sequence));
		assert(!known || v != REPLAY_NEW);
		assert((v == REPLAY_OLD) == (sequence < replay_floor(r)));
		/* Of the window's span nothing is forgotten, but the blocks of 64 that make it. */
		if (!known && sequence + SIZE - 64 >= next)
			assert(v == REPLAY_NEW);
		if (v != REPLAY_NEW || !(data[1] & 1))
			continue;
		replay_accept(r, sequence);
		seen[at / 64] |= UINT64_C(1) << at % 64;
		if (sequence >= next)
			next = sequence + 1;
		assert(replay_next(r) == next && replay_check(r, sequence) != REPLAY_NEW);
	}
	return 0;
}

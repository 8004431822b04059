/*
 * In place of SHA-256 where a checksum over 4 KiB would take most of a fuzzer's time, and any sum will do: a fuzzer
 * defines sha256 as quick_sum and includes the source file that it tests.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline void quick_mix(uint64_t state[static 4], uint64_t v)
{
	for (unsigned int i = 0; i < 4; i++) {
		state[i] = (state[i] ^ v ^ i) * UINT64_C(0x9e3779b97f4a7c15);
		state[i] ^= state[i] >> 29;
		v += state[i];
	}
}

static inline void quick_sum(uint8_t out[static 32], const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t state[4] = { len, 1, 2, 3 };

	for (; len >= 8; p += 8, len -= 8) {
		uint64_t v;

		memcpy(&v, p, sizeof(v));
		state[0] = (state[0] ^ v) * UINT64_C(0x100000001b3);
		state[1] = state[1] * 31 + state[0];
	}
	if (len > 0) {
		uint64_t v = 0;

		memcpy(&v, p, len);
		state[0] = (state[0] ^ v) * UINT64_C(0x100000001b3);
		state[1] = state[1] * 31 + state[0];
	}
	quick_mix(state, 0);
	memcpy(out, state, sizeof(state));
}

/*
 * What sequence fuzzers share: an input is a row of happenings, each a byte that says what, a
 * byte of length and that many bytes; randomness is the same in every run of one input.
 */
#pragma once

#include <sodium.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct happening {
	uint8_t what;
	const uint8_t *data;
	size_t len;
};

struct sequence {
	const uint8_t *p;
	size_t left;
};

/* The next one; the last may be cut short. */
static inline bool sequence_next(struct sequence *s, struct happening *h)
{
	if (s->left < 2)
		return false;
	h->what = s->p[0];
	h->len = s->p[1] < s->left - 2 ? s->p[1] : s->left - 2;
	h->data = s->p + 2;
	s->p += 2 + h->len;
	s->left -= 2 + h->len;
	return true;
}

/* Byte i of what came with it, 0 when there is none. */
static inline uint8_t happening_byte(const struct happening *h, size_t i)
{
	return i < h->len ? h->data[i] : 0;
}

static inline uint64_t happening_number(const struct happening *h, size_t at, size_t bytes)
{
	uint64_t v = 0;

	for (size_t i = 0; i < bytes; i++)
		v = v << 8 | happening_byte(h, at + i);
	return v;
}

static uint64_t sequence_random_state;

static inline uint32_t sequence_random32(void)
{
	/* splitmix64 */
	uint64_t z = sequence_random_state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return (uint32_t)(z ^ z >> 31);
}

static inline void sequence_random_bytes(void *out, size_t len)
{
	uint8_t *p = out;

	while (len > 0) {
		uint32_t v = sequence_random32();
		size_t n = len < sizeof(v) ? len : sizeof(v);

		memcpy(p, &v, n);
		p += n;
		len -= n;
	}
}

static inline const char *sequence_random_name(void)
{
	return "sequence";
}

/* Before crypto_init(): all randomness of the process comes from here. */
static inline void sequence_own_randomness(void)
{
	static struct randombytes_implementation own = {
		.implementation_name = sequence_random_name,
		.random = sequence_random32,
		.buf = sequence_random_bytes,
	};

	randombytes_set_implementation(&own);
}

/*
 * Each 32-bit lane takes the two words that it reads, so that a lane cannot
 * overflow: 65535 bytes are 2048 steps of twice 65535. With AVX2 this is as
 * fast as the packet can be read; the compiler makes what there is of the same
 * lines for other processors.
 */
#include "pskd/packet/checksum.h"

typedef uint32_t lanes __attribute__((vector_size(32), aligned(1), may_alias));

/* Headers, small packets and what is left of large ones: not worth the lanes. */
static uint64_t add_short(uint64_t sum, const uint8_t *p, size_t len)
{
	uint32_t words;
	uint16_t word = 0;

	for (; len >= 4; p += 4, len -= 4) {
		memcpy(&words, p, 4);
		sum += words;
	}
	if (len >= 2) {
		memcpy(&word, p, 2);
		sum += word;
		p += 2;
		len -= 2;
	}
	word = 0;
	memcpy(&word, p, len);
	return sum + word;
}

__attribute__((always_inline)) static inline uint64_t add_wide(uint64_t sum, const uint8_t *p, size_t len)
{
	lanes a = { 0 }, b = { 0 };

	for (; len >= 2 * sizeof(lanes); p += 2 * sizeof(lanes), len -= 2 * sizeof(lanes)) {
		const lanes x = *(const lanes *)p, y = *(const lanes *)(p + sizeof(lanes));

		a += (x & 0xffff) + (x >> 16);
		b += (y & 0xffff) + (y >> 16);
	}
	for (int i = 0; i < 8; i++)
		sum += (uint64_t)a[i] + b[i];
	return add_short(sum, p, len);
}

#ifdef __x86_64__
__attribute__((target("avx2"))) static uint64_t add_avx2(uint64_t sum, const uint8_t *p, size_t len)
{
	return add_wide(sum, p, len);
}

static uint64_t add_long(uint64_t sum, const uint8_t *p, size_t len)
{
	return __builtin_cpu_supports("avx2") ? add_avx2(sum, p, len) : add_wide(sum, p, len);
}
#else
static uint64_t add_long(uint64_t sum, const uint8_t *p, size_t len)
{
	return add_wide(sum, p, len);
}
#endif

uint64_t checksum_add(uint64_t sum, const void *data, size_t len)
{
	return len < 128 ? add_short(sum, data, len) : add_long(sum, data, len);
}

/*
 * The Internet checksum (RFC 1071) of the packets inside. Sums are of 16-bit
 * words as they lie in memory, so that no byte order matters: what is folded
 * is stored as it is.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* sum and the words of data; an odd last byte counts as if a zero followed. Any alignment, len at most 65535. */
uint64_t checksum_add(uint64_t sum, const void *data, size_t len);

/* One word more, given as a number. */
static inline uint64_t checksum_add16(uint64_t sum, uint16_t word)
{
	const uint8_t bytes[2] = { (uint8_t)(word >> 8), (uint8_t)word };
	uint16_t as_stored;

	memcpy(&as_stored, bytes, sizeof(as_stored));
	return sum + as_stored;
}

/* To 16 bits. A packet whose checksum is right folds to 0xffff. */
static inline uint16_t checksum_fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* The checksum of a packet whose other words add up to sum. */
static inline void checksum_store(uint8_t *p, uint64_t sum)
{
	uint16_t v = (uint16_t)~checksum_fold(sum);

	memcpy(p, &v, sizeof(v));
}

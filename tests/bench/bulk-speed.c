/*
 * The packet path's AEAD alone, by each library, in buffers like its own: 64 packets in a row, each
 * sealed and opened again. One line of JSON: Gb/s of packets by one thread, both ways in turn.
 *
 *	bulk-speed [PACKET-BYTES] [SECONDS]
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "crypto/bulk.h"
#include "crypto/secret.h"

enum { PACKETS = 64 };

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool pass(uint8_t *buf, size_t stride, size_t len, const uint8_t *key)
{
	uint8_t nonce[AEAD_NONCE_LEN] = { 0 };

	for (int i = 0; i < PACKETS; i++) {
		nonce[0] = (uint8_t)i;
		bulk_seal(buf + (size_t)i * stride, len, nonce, key);
	}
	for (int i = 0; i < PACKETS; i++) {
		nonce[0] = (uint8_t)i;
		if (bulk_open(buf + (size_t)i * stride, len, nonce, key) != 0)
			return false;
	}
	return true;
}

/* Packets sealed and opened again in a second: the best tenth of the time. -1: it is broken. */
static double rate(size_t len, double seconds)
{
	size_t stride = BULK_HEADER_LEN + len + 2 * BULK_ROOM;
	_cleanup_free_ uint8_t *buf = calloc(PACKETS, stride);
	uint8_t key[AEAD_KEY_LEN];
	double best = 0, end = now_s() + seconds;

	random_bytes(key, sizeof(key));
	while (buf && now_s() < end) {
		double begun = now_s(), until = begun + seconds / 10, took;
		unsigned long passes = 0;

		do {
			if (!pass(buf, stride, len, key))
				return -1;
			passes++;
			took = now_s() - begun;
		} while (begun + took < until);
		if ((double)passes * PACKETS / took > best)
			best = (double)passes * PACKETS / took;
	}
	return best;
}

int main(int argc, char **argv)
{
	size_t len = argc > 1 ? strtoul(argv[1], NULL, 10) : 1420;
	double seconds = argc > 2 ? strtod(argv[2], NULL) : 1;

	if (crypto_init() != 0 || len == 0 || len > 65535 || seconds <= 0)
		return 2;
	printf("{\"bytes\": %zu", len);
	for (enum bulk_choice c = BULK_SODIUM; c <= BULK_IPSEC_MB; c++) {
		double packets;

		if (bulk_choose(c) != 0)
			continue;
		packets = rate(len, seconds);
		if (packets < 0)
			return 1;
		printf(", \"%s\": {\"gbps\": %.3f, \"ns\": %.0f, \"note\": \"%s\"}", bulk_info()->name,
		       packets * (double)len * 8 / 1e9, 1e9 / packets, bulk_info()->note);
	}
	printf("}\n");
	return 0;
}

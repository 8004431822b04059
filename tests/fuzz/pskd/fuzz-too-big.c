/*
 * Any bytes as a packet that is too big, for a path of any size: what is said of it is a whole message that quotes it,
 * and never about what nobody may be told of; its fragments fit, and are it when they are put together.
 */
#include "pskd/packet/too_big.h"

#include <assert.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint16_t sum(uint32_t sum, const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static void check_answer(const uint8_t *out, size_t n, const uint8_t *packet, size_t size, uint16_t mtu)
{
	size_t header = packet[0] >> 4 == 4 ? 20 : 40, quoted = n - header - 8;
	const uint8_t *icmp = out + header;

	assert(n > header + 8 && n <= TOO_BIG_ANSWER_MAX && quoted <= size);
	assert(memcmp(icmp + 8, packet, quoted) == 0);
	if (header == 20) {
		assert(out[0] == 0x45 && be16_load(out + 2) == n && sum(0, out, 20) == 0xffff);
		assert(memcmp(out + 16, packet + 12, 4) == 0 && be16_load(icmp + 6) == mtu && sum(0, icmp, n - 20) == 0xffff);
		/* Only who forbade to cut it up, and of no error. */
		assert(packet[6] & 0x40);
		assert(packet[9] != IPPROTO_ICMP || packet[(packet[0] & 15) * 4] != 3);
		return;
	}
	assert(out[0] >> 4 == 6 && be16_load(out + 4) == n - 40 && memcmp(out + 24, packet + 8, 16) == 0);
	assert(be32_load(icmp + 4) == mtu && sum((uint32_t)(n - 40) + 58 + sum(0, out + 8, 32), icmp, n - 40) == 0xffff);
	assert(packet[6] != IPPROTO_ICMPV6 || packet[40] >= 128);
}

static void check_fragments(const uint8_t *packet, size_t size, uint16_t mtu)
{
	_cleanup_free_ uint8_t *out = malloc(mtu), *whole = malloc(size + 1);
	size_t done = 0, at = 0, n, before = 0;

	assert(out && whole);
	while ((n = too_big_fragment(out, packet, size, mtu, &done)) > 0) {
		uint16_t fragment = be16_load(out + 6), first = be16_load(packet + 6);

		assert(n > 20 && n <= mtu && be16_load(out + 2) == n && sum(0, out, 20) == 0xffff);
		assert((fragment & 0x1fff) == (first & 0x1fff) + at / 8);
		assert(done > before && done == at + n - 20);
		assert(((fragment & 0x2000) != 0) == (done < size - 20 || (first & 0x2000)));
		memcpy(whole + at, out + 20, n - 20);
		at += n - 20;
		before = done;
	}
	if (at > 0)
		assert(at == size - 20 && memcmp(whole, packet + 20, at) == 0 && !(packet[6] & 0x40));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct tunnel_addresses addresses[2] = { { .has_v4 = true, .v4_peer = { 10, 9, 0, 2 }, .has_v6 = true,
								.v6_peer = { 0xfd, 9, [15] = 2 } } };
	_cleanup_free_ uint8_t *packet = NULL;
	uint8_t out[TOO_BIG_ANSWER_MAX];
	uint16_t mtu;
	size_t n;

	if (size < 3)
		return 0;
	mtu = (uint16_t)(1184 + be16_load(data) % (9000 - 1184));
	data += 2;
	size -= 2;
	/* In memory that ends with the packet. */
	packet = malloc(size);
	assert(packet);
	memcpy(packet, data, size);
	n = too_big_answer(out, packet, size, mtu, &addresses[size % 2]);
	if (n > 0)
		check_answer(out, n, packet, size, mtu);
	check_fragments(packet, size, mtu);
	assert(memcmp(packet, data, size) == 0);
	return 0;
}

/* Who is told that a packet was too big, in which words, and who never is. */
#include "pskd/packet/too_big.h"

#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "crypto/secret.h"
#include "unit/lib/test.h"

enum { V4 = 20, V6 = 40, ICMP = 8, BIG = 1400, MTU = 1320 };

static const struct tunnel_addresses addresses = {
	.has_v4 = true, .has_v6 = true, .v4_peer = { 10, 9, 0, 2 }, .v6_peer = { 0xfd, 9, [15] = 2 },
};
static const struct tunnel_addresses no_addresses;

static uint16_t sum(uint32_t s, const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		s += i % 2 ? p[i] : (uint32_t)p[i] << 8;
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return (uint16_t)s;
}

static size_t make_v4(uint8_t *p, size_t len, uint16_t fragment)
{
	random_bytes(p, len);
	p[0] = 0x45;
	be16_store(p + 2, (uint16_t)len);
	be16_store(p + 6, fragment);
	p[9] = IPPROTO_TCP;
	memcpy(p + 12, (uint8_t[]){ 10, 9, 0, 1, 192, 0, 2, 7 }, 8);
	return len;
}

static size_t make_v6(uint8_t *p, size_t len)
{
	random_bytes(p, len);
	p[0] = 0x60;
	be16_store(p + 4, (uint16_t)(len - V6));
	p[6] = IPPROTO_TCP;
	p[8] = 0xfd;
	p[24] = 0x20;
	return len;
}

/* In exactly as many bytes, so that a sanitizer sees one read too far. */
static size_t answer(uint8_t *out, const uint8_t *packet, size_t len, const struct tunnel_addresses *a)
{
	uint8_t *p = malloc(len ? len : 1);
	size_t n;

	CHECK(p != NULL);
	memcpy(p, packet, len);
	n = too_big_answer(out, p, len, MTU, a);
	free(p);
	return n;
}

TEST(an_ipv4_sender_is_told_what_fits)
{
	uint8_t p[BIG], out[TOO_BIG_ANSWER_MAX];
	size_t len = make_v4(p, BIG, 0x4000), n = answer(out, p, len, &addresses);

	CHECK_EQ(n, 576);
	CHECK_EQ(out[0], 0x45);
	CHECK_EQ(be16_load(out + 2), n);
	CHECK_EQ(out[9], IPPROTO_ICMP);
	CHECK_EQ(sum(0, out, V4), 0xffff);
	CHECK_MEM(out + 12, addresses.v4_peer, 4);
	CHECK_MEM(out + 16, p + 12, 4);
	CHECK_EQ(out[V4], ICMP_DEST_UNREACH);
	CHECK_EQ(out[V4 + 1], ICMP_FRAG_NEEDED);
	CHECK_EQ(be32_load(out + V4 + 4), MTU);
	CHECK_EQ(sum(0, out + V4, n - V4), 0xffff);
	CHECK_MEM(out + V4 + ICMP, p, n - V4 - ICMP);
	/* Without an address of the family, from where the packet was to go. */
	CHECK_EQ(answer(out, p, len, &no_addresses), 576);
	CHECK_MEM(out + 12, p + 16, 4);
}

TEST(an_ipv6_sender_is_told_what_fits)
{
	uint8_t p[BIG], out[TOO_BIG_ANSWER_MAX];
	size_t len = make_v6(p, BIG), n = answer(out, p, len, &addresses);

	CHECK_EQ(n, 1280);
	CHECK_EQ(out[0], 0x60);
	CHECK_EQ(be16_load(out + 4), n - V6);
	CHECK_EQ(out[6], IPPROTO_ICMPV6);
	CHECK_MEM(out + 8, addresses.v6_peer, 16);
	CHECK_MEM(out + 24, p + 8, 16);
	CHECK_EQ(out[V6], ICMP6_PACKET_TOO_BIG);
	CHECK_EQ(out[V6 + 1], 0);
	CHECK_EQ(be32_load(out + V6 + 4), MTU);
	CHECK_EQ(sum((uint32_t)(n - V6) + IPPROTO_ICMPV6 + sum(0, out + 8, 32), out + V6, n - V6), 0xffff);
	CHECK_MEM(out + V6 + ICMP, p, n - V6 - ICMP);
	CHECK_EQ(answer(out, p, len, &no_addresses), 1280);
	CHECK_MEM(out + 8, p + 24, 16);
}

TEST(an_odd_packet_is_summed_to_its_end)
{
	uint8_t p[BIG], out[TOO_BIG_ANSWER_MAX];
	size_t n;

	make_v4(p, 101, 0x4000);
	n = answer(out, p, 101, &addresses);
	CHECK_EQ(n, V4 + ICMP + 101);
	CHECK_EQ(sum(0, out + V4, n - V4), 0xffff);
	make_v6(p, 101);
	n = answer(out, p, 101, &addresses);
	CHECK_EQ(n, V6 + ICMP + 101);
	CHECK_EQ(sum((uint32_t)(n - V6) + IPPROTO_ICMPV6 + sum(0, out + 8, 32), out + V6, n - V6), 0xffff);
}

TEST(what_may_be_cut_up_is_not_answered)
{
	uint8_t p[BIG], out[TOO_BIG_ANSWER_MAX];

	CHECK_EQ(answer(out, p, make_v4(p, BIG, 0), &addresses), 0);
	CHECK_EQ(answer(out, p, make_v4(p, BIG, 0x2000), &addresses), 0);
}

TEST(no_error_is_answered_by_an_error)
{
	uint8_t p[BIG], out[TOO_BIG_ANSWER_MAX];
	size_t len = make_v4(p, BIG, 0x4000);

	p[9] = IPPROTO_ICMP;
	for (unsigned int type = 0; type < 256; type++) {
		p[V4] = (uint8_t)type;
		CHECK_EQ(answer(out, p, len, &addresses) > 0, type == 0 || type == 8 || type == 13 || type == 14);
	}
	len = make_v6(p, BIG);
	p[6] = IPPROTO_ICMPV6;
	for (unsigned int type = 0; type < 256; type++) {
		p[V6] = (uint8_t)type;
		CHECK_EQ(answer(out, p, len, &addresses) > 0, type >= 128 && type != 137);
	}
	/* One whose type nobody can see. */
	make_v4(p, V4, 0x4000);
	p[9] = IPPROTO_ICMP;
	CHECK_EQ(answer(out, p, V4, &addresses), 0);
	make_v6(p, V6);
	p[6] = IPPROTO_ICMPV6;
	CHECK_EQ(answer(out, p, V6, &addresses), 0);
}

TEST(an_error_behind_extension_headers_is_not_answered_either)
{
	static const uint8_t kinds[] = { 0, 43, 44, 60 };
	uint8_t p[BIG], out[TOO_BIG_ANSWER_MAX];

	for (size_t i = 0; i < sizeof(kinds); i++)
		for (unsigned int type = 0; type < 256; type++) {
			size_t len = make_v6(p, BIG);

			p[6] = kinds[i];
			memset(p + V6, 0, 8 + 16);
			p[V6] = 60;
			p[V6 + 8] = IPPROTO_ICMPV6;
			p[V6 + 16] = (uint8_t)type;
			CHECK_EQ(answer(out, p, len, &addresses) > 0, type >= 128 && type != 137);
			/* Cut off before the type can be seen. */
			CHECK_EQ(answer(out, p, V6 + 12, &addresses), 0);
		}
	/* Options without end hide anything. */
	make_v6(p, BIG);
	memset(p + V6, 0, BIG - V6);
	p[6] = 60;
	for (int i = 0; i < 40; i++)
		p[V6 + 8 * i] = 60;
	CHECK_EQ(answer(out, p, BIG, &addresses), 0);
}

TEST(only_one_host_is_told_and_only_by_a_first_fragment)
{
	static const uint8_t not_hosts[][4] = {
		{ 0, 0, 0, 0 }, { 127, 0, 0, 1 }, { 224, 0, 0, 1 }, { 255, 255, 255, 255 }, { 240, 0, 0, 1 },
	};
	uint8_t p[BIG], out[TOO_BIG_ANSWER_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(not_hosts); i++)
		for (size_t at = 12; at <= 16; at += 4) {
			make_v4(p, BIG, 0x4000);
			memcpy(p + at, not_hosts[i], 4);
			CHECK_EQ(answer(out, p, BIG, &addresses), 0);
		}
	CHECK_EQ(answer(out, p, make_v4(p, BIG, 0x4001), &addresses), 0);
	make_v6(p, BIG);
	p[8] = 0xff;
	CHECK_EQ(answer(out, p, BIG, &addresses), 0);
	make_v6(p, BIG);
	p[24] = 0xff;
	CHECK_EQ(answer(out, p, BIG, &addresses), 0);
	make_v6(p, BIG);
	memset(p + 8, 0, 16);
	CHECK_EQ(answer(out, p, BIG, &addresses), 0);
}

TEST(i4_broken_packets_are_not_answered)
{
	uint8_t p[BIG], out[TOO_BIG_ANSWER_MAX];

	make_v4(p, BIG, 0x4000);
	for (size_t n = 0; n < V4; n++)
		CHECK_EQ(answer(out, p, n, &addresses), 0);
	p[0] = 0x44;
	CHECK_EQ(answer(out, p, BIG, &addresses), 0);
	p[0] = 0x4f;
	CHECK_EQ(answer(out, p, 59, &addresses), 0);
	make_v6(p, BIG);
	for (size_t n = 0; n < V6; n++)
		CHECK_EQ(answer(out, p, n, &addresses), 0);
	p[0] = 0x15;
	CHECK_EQ(answer(out, p, BIG, &addresses), 0);
	for (int i = 0; i < 100000; i++) {
		size_t len = (size_t)i % 200;

		random_bytes(p, len);
		p[0] = (uint8_t)((i & 1 ? 0x40 : 0x60) | (p[0] & 0x0f));
		answer(out, p, len, &addresses);
	}
}

/* Puts fragments together again; the payload's length. */
static size_t put_together(uint8_t *payload, const uint8_t *packet, size_t len, uint16_t mtu, unsigned int *n)
{
	uint8_t out[9000];
	size_t done = 0, size, whole = 0;
	uint16_t first = be16_load(packet + 6) & 0x1fff;

	for (*n = 0; (size = too_big_fragment(out, packet, len, mtu, &done)) > 0; (*n)++) {
		uint16_t fragment = be16_load(out + 6);
		size_t at = (size_t)((fragment & 0x1fff) - first) * 8;
		bool is_last = done == len - V4;

		CHECK(size <= mtu);
		CHECK_EQ(be16_load(out + 2), size);
		CHECK_EQ(sum(0, out, V4), 0xffff);
		CHECK_EQ(at, whole);
		CHECK((size - V4) % 8 == 0 || is_last);
		CHECK_EQ((fragment & 0x2000) != 0, !is_last || (be16_load(packet + 6) & 0x2000));
		/* The same but for length, fragment and checksum. */
		CHECK_MEM(out + 4, packet + 4, 2);
		CHECK_MEM(out + 12, packet + 12, 8);
		CHECK_MEM(out + 8, packet + 8, 2);
		memcpy(payload + at, out + V4, size - V4);
		whole += size - V4;
	}
	return whole;
}

TEST(what_may_be_cut_up_comes_together_again)
{
	uint8_t p[9000], payload[9000];
	unsigned int n;

	for (size_t len = 1281; len <= 9000; len += 37)
		for (uint16_t mtu = 1280; mtu < 1400; mtu = (uint16_t)(mtu + 7)) {
			make_v4(p, len, 0);
			CHECK_EQ(put_together(payload, p, len, mtu, &n), len - V4);
			CHECK_MEM(payload, p + V4, len - V4);
			CHECK(n >= 2 || len <= mtu);
		}
}

TEST(a_fragment_is_cut_up_further)
{
	uint8_t p[1400], payload[1400];
	unsigned int n;

	/* In the middle of another: more come after it, and its own place counts. */
	make_v4(p, sizeof(p), 0x2000 | 150);
	CHECK_EQ(put_together(payload, p, sizeof(p), 1280, &n), sizeof(p) - V4);
	CHECK_EQ(n, 2);
	CHECK_MEM(payload, p + V4, sizeof(p) - V4);
}

TEST(what_may_not_be_cut_up_is_not)
{
	uint8_t p[1400], out[1400];
	size_t done = 0;

	CHECK_EQ(too_big_fragment(out, p, make_v4(p, sizeof(p), 0x4000), 1280, &done), 0);
	make_v4(p, sizeof(p), 0);
	p[0] = 0x46;
	CHECK_EQ(too_big_fragment(out, p, sizeof(p), 1280, &done), 0);
	p[0] = 0x60;
	CHECK_EQ(too_big_fragment(out, p, sizeof(p), 1280, &done), 0);
	make_v4(p, sizeof(p), 0);
	be16_store(p + 2, sizeof(p) - 1);
	CHECK_EQ(too_big_fragment(out, p, sizeof(p), 1280, &done), 0);
	/* It would reach beyond what an offset can say. */
	make_v4(p, sizeof(p), 0x1fff);
	CHECK_EQ(too_big_fragment(out, p, sizeof(p), 1280, &done), 0);
	CHECK_EQ(done, 0);
}

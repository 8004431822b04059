/* SYNs of every shape, with checksums worked out from scratch on both sides of the change. */
#include "pskd/packet/mss.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "crypto/secret.h"
#include "unit/lib/test.h"

enum { V4 = 20, V6 = 40, TCP = 20, MSS = 4 };

static uint32_t add(uint32_t sum, const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
	return sum;
}

/* Over pseudo-header and segment, with the checksum in it: 0xffff when that is right. */
static uint16_t tcp_sum(const uint8_t *packet, size_t header, size_t len)
{
	bool v4 = packet[0] >> 4 == 4;
	uint32_t sum = add(0, packet + (v4 ? 12 : 8), v4 ? 8 : 32);

	sum += IPPROTO_TCP + (uint32_t)(len - header);
	sum = add(sum, packet + header, len - header);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static void fill_tcp(uint8_t *packet, size_t header, const uint8_t *options, size_t options_len, uint8_t flags)
{
	uint8_t *tcp = packet + header;

	tcp[12] = (uint8_t)((TCP + options_len) / 4 << 4);
	tcp[13] = flags;
	memcpy(tcp + TCP, options, options_len);
	be16_store(tcp + 16, (uint16_t)~tcp_sum(packet, header, header + TCP + options_len));
}

static size_t make_v4(uint8_t *p, const uint8_t *options, size_t options_len, uint8_t flags)
{
	size_t len = V4 + TCP + options_len;

	random_bytes(p, len);
	p[0] = 0x45;
	be16_store(p + 2, (uint16_t)len);
	be16_store(p + 6, 0x4000);
	p[9] = IPPROTO_TCP;
	memset(p + V4 + 16, 0, 2);
	fill_tcp(p, V4, options, options_len, flags);
	return len;
}

/* With extension headers of 8 bytes of the types given. */
static size_t make_v6(uint8_t *p, const uint8_t *types, size_t n, const uint8_t *options, size_t options_len)
{
	size_t header = V6 + 8 * n, len = header + TCP + options_len;

	random_bytes(p, len);
	p[0] = 0x60;
	be16_store(p + 4, (uint16_t)(len - V6));
	p[6] = n ? types[0] : IPPROTO_TCP;
	for (size_t i = 0; i < n; i++) {
		p[V6 + 8 * i] = i + 1 < n ? types[i + 1] : IPPROTO_TCP;
		p[V6 + 8 * i + 1] = 0;
	}
	memset(p + header + 16, 0, 2);
	fill_tcp(p, header, options, options_len, 2);
	return len;
}

static const uint8_t usual[] = { 2, 4, 0x05, 0xb4, 4, 2, 1, 3, 3, 7, 0, 0 };

/* In exactly as many bytes as it has, so that a sanitizer sees one read too far. */
static bool clamp(const uint8_t *packet, size_t len, uint16_t mtu, uint8_t *after)
{
	uint8_t *p = malloc(len ? len : 1);
	bool changed;

	CHECK(p != NULL);
	memcpy(p, packet, len);
	changed = mss_clamp(p, len, mtu);
	memcpy(after, p, len);
	free(p);
	CHECK_EQ(changed, memcmp(packet, after, len) != 0);
	return changed;
}

TEST(a_syn_announces_no_more_than_fits)
{
	static const uint16_t mtus[] = { 1280, 1281, 1400, 1499 };
	uint8_t p[200], after[200];
	size_t len;

	for (size_t i = 0; i < ARRAY_SIZE(mtus); i++)
		for (int answer = 0; answer < 2; answer++) {
			len = make_v4(p, usual, sizeof(usual), answer ? 0x12 : 0x02);
			CHECK_EQ(tcp_sum(p, V4, len), 0xffff);
			CHECK(clamp(p, len, mtus[i], after));
			CHECK_EQ(be16_load(after + V4 + TCP + 2), mtus[i] - 40);
			CHECK_EQ(tcp_sum(after, V4, len), 0xffff);
		}
	for (size_t i = 0; i < ARRAY_SIZE(mtus); i++) {
		len = make_v6(p, NULL, 0, usual, sizeof(usual));
		CHECK(clamp(p, len, mtus[i], after));
		CHECK_EQ(be16_load(after + V6 + TCP + 2), mtus[i] - 60);
		CHECK_EQ(tcp_sum(after, V6, len), 0xffff);
	}
}

TEST(what_fits_is_left_alone)
{
	uint8_t p[200], after[200];
	size_t len = make_v4(p, usual, sizeof(usual), 2);

	CHECK(!clamp(p, len, 1500, after));
	CHECK(!clamp(p, len, 9000, after));
	CHECK(clamp(p, len, 1499, after));
}

TEST(checksums_are_right_at_odd_offsets_and_for_random_values)
{
	uint8_t options[16], p[200], after[200], before;
	size_t len;

	for (int i = 0; i < 20000; i++) {
		size_t at = (size_t)i % 4;

		memset(options, 1, sizeof(options));
		options[at] = 2;
		options[at + 1] = MSS;
		random_bytes(options + at + 2, 2);
		len = make_v4(p, options, sizeof(options), 2);
		before = be16_load(options + at + 2) > 1240;
		CHECK_EQ(clamp(p, len, 1280, after), before);
		CHECK_EQ(tcp_sum(after, V4, len), 0xffff);
	}
}

TEST(only_a_syn_is_changed)
{
	uint8_t p[200], after[200];
	size_t len;

	for (unsigned int flags = 0; flags < 256; flags++) {
		len = make_v4(p, usual, sizeof(usual), (uint8_t)flags);
		CHECK_EQ(clamp(p, len, 1280, after), (flags & 2) != 0);
	}
}

TEST(fragments_and_other_protocols_are_left_alone)
{
	static const uint16_t fragments[] = { 0x2000, 0x0001, 0x1fff, 0x3000 };
	uint8_t p[200], after[200];
	size_t len = make_v4(p, usual, sizeof(usual), 2);

	for (size_t i = 0; i < ARRAY_SIZE(fragments); i++) {
		be16_store(p + 6, fragments[i]);
		CHECK(!clamp(p, len, 1280, after));
	}
	be16_store(p + 6, 0);
	CHECK(clamp(p, len, 1280, after));
	p[9] = IPPROTO_UDP;
	CHECK(!clamp(p, len, 1280, after));
	p[9] = IPPROTO_TCP;
	p[0] = 0x55;
	CHECK(!clamp(p, len, 1280, after));
}

TEST(ipv6_is_followed_through_its_extension_headers_but_not_for_ever)
{
	static const uint8_t known[] = { IPPROTO_HOPOPTS, IPPROTO_DSTOPTS, IPPROTO_ROUTING, IPPROTO_DSTOPTS,
					 IPPROTO_DSTOPTS, IPPROTO_DSTOPTS, IPPROTO_DSTOPTS, IPPROTO_DSTOPTS,
					 IPPROTO_DSTOPTS };
	static const uint8_t fragment[] = { IPPROTO_FRAGMENT }, security[] = { IPPROTO_AH };
	uint8_t p[300], after[300];
	size_t len;

	for (size_t n = 0; n <= 8; n++) {
		len = make_v6(p, known, n, usual, sizeof(usual));
		CHECK(clamp(p, len, 1280, after));
		CHECK_EQ(be16_load(after + V6 + 8 * n + TCP + 2), 1220);
	}
	len = make_v6(p, known, 9, usual, sizeof(usual));
	CHECK(!clamp(p, len, 1280, after));
	len = make_v6(p, fragment, 1, usual, sizeof(usual));
	CHECK(!clamp(p, len, 1280, after));
	len = make_v6(p, security, 1, usual, sizeof(usual));
	CHECK(!clamp(p, len, 1280, after));
	/* One that says it goes on beyond the packet. */
	len = make_v6(p, known, 1, usual, sizeof(usual));
	p[V6 + 1] = 200;
	CHECK(!clamp(p, len, 1280, after));
}

TEST(broken_options_are_left_alone)
{
	static const struct {
		uint8_t options[8];
		bool changes;
	} cases[] = {
		{ { 2, 4, 0x05, 0xb4 }, true },
		{ { 1, 1, 2, 4, 0x05, 0xb4 }, true },
		{ { 8, 2, 2, 4, 0x05, 0xb4 }, true },
		{ { 0, 0, 2, 4, 0x05, 0xb4 }, false }, /* after the end */
		{ { 2, 3, 0x05, 0xb4 }, false },
		{ { 2, 0, 0x05, 0xb4 }, false },
		{ { 2, 1, 0x05, 0xb4 }, false },
		{ { 8, 0, 2, 4, 0x05, 0xb4 }, false }, /* would go round for ever */
		{ { 8, 1, 2, 4, 0x05, 0xb4 }, false },
		{ { 8, 200, 2, 4, 0x05, 0xb4 }, false },
		{ { 1, 1, 1, 1, 1, 2, 4, 5 }, false }, /* beyond the header */
		{ { 1, 1, 1, 1, 1, 1, 1, 2 }, false },
	};
	uint8_t p[200], after[200];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t len = make_v4(p, cases[i].options, 8, 2);

		CHECK_EQ(clamp(p, len, 1280, after), cases[i].changes);
	}
}

TEST(lengths_that_lie_are_not_believed)
{
	static const uint8_t one[] = { IPPROTO_DSTOPTS };
	uint8_t p[200], after[200];
	size_t len = make_v4(p, usual, sizeof(usual), 2), v6;

	for (size_t n = 0; n < len; n++)
		CHECK(!clamp(p, n, 1280, after));
	/* The data offset beyond the packet, or below a header. */
	for (unsigned int words = 0; words < 16; words++) {
		p[V4 + 12] = (uint8_t)(words << 4);
		CHECK_EQ(clamp(p, len, 1280, after), words >= 6 && words <= 8);
	}
	len = make_v4(p, usual, sizeof(usual), 2);
	for (unsigned int words = 0; words < 16; words++) {
		p[0] = (uint8_t)(0x40 | words);
		if (words != 5)
			CHECK(words > 5 || !clamp(p, len, 1280, after));
	}
	v6 = make_v6(p, one, 1, usual, sizeof(usual));
	for (size_t n = 0; n < v6; n++)
		CHECK(!clamp(p, n, 1280, after));
}

TEST(i4_random_packets_are_survived)
{
	uint8_t p[120], after[120];

	for (int i = 0; i < 200000; i++) {
		size_t len = (size_t)i % sizeof(p);

		random_bytes(p, sizeof(p));
		p[0] = (uint8_t)((i & 1 ? 0x40 : 0x60) | (p[0] & 0x0f));
		if (i & 2)
			p[i & 1 ? 9 : 6] = IPPROTO_TCP;
		clamp(p, len, 1280, after);
	}
}

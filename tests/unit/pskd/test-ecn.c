/* Every cell of RFC 6040's tables, for both versions of IP. */
#include "pskd/packet/ecn.h"

#include <string.h>

#include "base/bytes.h"
#include "crypto/secret.h"
#include "unit/lib/test.h"

#define DROPPED 9

enum { LEN = 48 };

static uint16_t sum_v4(const uint8_t *p)
{
	uint32_t sum = 0;

	for (int i = 0; i < 20; i += 2)
		sum += be16_load(p + i);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static void make(uint8_t *p, int version, uint8_t traffic_class)
{
	random_bytes(p, LEN);
	if (version == 4) {
		p[0] = 0x45;
		p[1] = traffic_class;
		be16_store(p + 10, 0);
		be16_store(p + 10, (uint16_t)~sum_v4(p));
	} else {
		p[0] = (uint8_t)(0x60 | traffic_class >> 4);
		p[1] = (uint8_t)(traffic_class << 4 | (p[1] & 0x0f));
	}
}

/* RFC 6040 figure 4, as it is printed: columns Not-ECT, ECT(0), ECT(1), CE. */
static const struct {
	uint8_t inner, out[4];
} figure[] = {
	{ ECN_NOT_ECT, { ECN_NOT_ECT, ECN_NOT_ECT, ECN_NOT_ECT, DROPPED } },
	{ ECN_ECT0, { ECN_ECT0, ECN_ECT0, ECN_ECT1, ECN_CE } },
	{ ECN_ECT1, { ECN_ECT1, ECN_ECT1, ECN_ECT1, ECN_CE } },
	{ ECN_CE, { ECN_CE, ECN_CE, ECN_CE, ECN_CE } },
};

static void check_cell(int version, uint8_t dscp, uint8_t inner, uint8_t outer, uint8_t out)
{
	uint8_t p[LEN], before[LEN];
	/* The outer DSCP is nobody's business inside. */
	uint8_t whole = (uint8_t)((dscp ^ 0x2a) << 2 | outer);

	make(p, version, (uint8_t)(dscp << 2 | inner));
	memcpy(before, p, LEN);
	CHECK_EQ(ecn_decapsulate(p, LEN, whole), out == DROPPED ? ECN_E_DROP : 0);
	if (out == DROPPED) {
		CHECK_MEM(p, before, LEN);
		return;
	}
	CHECK_EQ(ecn_get(p, LEN), dscp << 2 | out);
	if (version == 4)
		CHECK_EQ(sum_v4(p), 0xffff);
}

TEST(every_cell_of_rfc_6040_figure_4)
{
	static const uint8_t columns[] = { ECN_NOT_ECT, ECN_ECT0, ECN_ECT1, ECN_CE };

	for (uint8_t dscp = 0; dscp < 64; dscp++)
		for (size_t row = 0; row < ARRAY_SIZE(figure); row++)
			for (size_t column = 0; column < 4; column++)
				for (int version = 4; version <= 6; version += 2)
					check_cell(version, dscp, figure[row].inner, columns[column],
						   figure[row].out[column]);
}

TEST(only_the_two_bits_change)
{
	uint8_t p[LEN], before[LEN];

	for (int version = 4; version <= 6; version += 2) {
		make(p, version, 0xb8 | ECN_ECT0);
		memcpy(before, p, LEN);
		CHECK_EQ(ecn_decapsulate(p, LEN, ECN_CE), 0);
		CHECK(memcmp(p, before, LEN) != 0);
		if (version == 4) {
			before[1] |= ECN_CE;
			memcpy(before + 10, p + 10, 2);
		} else {
			before[1] |= ECN_CE << 4;
		}
		CHECK_MEM(p, before, LEN);
	}
}

TEST(outside_is_marked_only_for_a_peer_that_obeys)
{
	for (uint8_t inner = 0; inner < 4; inner++) {
		/* RFC 6040 figure 3: normal mode copies, compatibility mode clears. */
		CHECK_EQ(ecn_encapsulate(inner, 0, true), inner);
		CHECK_EQ(ecn_encapsulate(inner, 0, false), ECN_NOT_ECT);
		/* Whatever becomes of the rest of that byte. */
		CHECK_EQ(ecn_encapsulate(inner, ECN_DSCP_COPY, true), inner);
		CHECK_EQ(ecn_encapsulate(inner, ECN_DSCP_COPY, false), ECN_NOT_ECT);
	}
}

TEST(dscp_is_nothing_or_copied_or_a_number)
{
	for (unsigned int c = 0; c < 256; c++) {
		CHECK_EQ(ecn_encapsulate((uint8_t)c, 0, true), c & 3);
		CHECK_EQ(ecn_encapsulate((uint8_t)c, ECN_DSCP_COPY, true), c);
		CHECK_EQ(ecn_encapsulate((uint8_t)c, ECN_DSCP_COPY, false), c & 0xfc);
		CHECK_EQ(ecn_encapsulate((uint8_t)c, 46, true), 46 << 2 | (c & 3));
		CHECK_EQ(ecn_encapsulate((uint8_t)c, 63, false), 63 << 2);
	}
}

TEST(what_is_no_ip_packet_is_left_alone)
{
	uint8_t p[LEN], before[LEN];

	for (int version = 4; version <= 6; version += 2) {
		make(p, version, ECN_ECT0);
		memcpy(before, p, LEN);
		CHECK_EQ(ecn_get(p, version == 4 ? 19 : 39), 0);
	}
	memset(p, 0, LEN);
	CHECK_EQ(ecn_get(p, LEN), 0);
	CHECK_EQ(ecn_get(p, 0), 0);
	CHECK_EQ(ecn_decapsulate(p, LEN, ECN_ECT1), 0);
	CHECK_EQ(p[0] | p[1], 0);
}

/* text.h: what strangers send is harmless on a terminal; numbers are read whole or not at all. */
#include "unit/lib/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

static const char *clean(const char *in)
{
	static char out[256];

	text_clean(out, sizeof(out), in, strlen(in));
	return out;
}

TEST(i5_peer_text_cannot_steer_a_terminal)
{
	CHECK_STR(clean("a\x1b[31mred\x07\r\nnext\x7f"), "a[31mrednext");
	/* C1 controls, as one byte (invalid UTF-8) and as characters. */
	CHECK_STR(clean("a\x9b" "31m"), "a31m");
	CHECK_STR(clean("a\xc2\x9b" "31m"), "a31m");
}

TEST(bidi_and_invisible_characters_are_left_out)
{
	/* U+202E, U+2066, U+200F, U+061C, U+200B, U+FEFF, U+2028, U+E0041 */
	CHECK_STR(clean("a\u202eb\u2066c\u200fd\u061ce\u200bf\ufeffg\u2028h\U000e0041i"), "abcdefghi");
	CHECK_STR(clean("\u00ad\u034f\u115f\u3164\uffa0\ufe0f\ufff9x"), "x");
}

TEST(honest_letters_stay)
{
	CHECK_STR(clean("Küche \u05d0\u05d1 \u4e2d\u6587 \U0001f642"), "Küche \u05d0\u05d1 \u4e2d\u6587 \U0001f642");
}

TEST(invalid_utf8_is_left_out_and_never_hides_a_neighbour)
{
	CHECK_STR(clean("\xc3(\xa0\xa1x"), "(x");
	CHECK_STR(clean("\xc0\x80\xc1\xbf" "a"), "a");	      /* overlong */
	CHECK_STR(clean("\xe0\x80\x80\xf0\x80\x80\x80" "b"), "b"); /* overlong */
	CHECK_STR(clean("\xed\xa0\x80" "c"), "c");	      /* surrogate */
	CHECK_STR(clean("\xf4\x90\x80\x80\xf8\x88\x80\x80\x80" "d"), "d");
	CHECK_STR(clean("e\xe2\x82"), "e"); /* cut at the end */
	CHECK_STR(clean("\xe2\x80\x41"), "A");
}

TEST(cut_falls_between_characters)
{
	char out[6];

	for (size_t cap = 0; cap <= sizeof(out); cap++) {
		memset(out, 'x', sizeof(out));
		CHECK_EQ(text_clean(out, cap, "\u20ac\u20ac", 6), cap < 4 ? 0 : 3);
		CHECK(text_is_utf8(out, cap ? strlen(out) : 0));
	}
	CHECK_EQ(text_clean(out, sizeof(out), "ab\0cd", 5), 4);
	CHECK_STR(out, "abcd");
}

/* An independent statement of RFC 3629: encode every scalar value, take exactly those. */
TEST(utf8_is_accepted_exactly_where_a_scalar_value_encodes_to_it)
{
	for (uint32_t c = 1; c < 0x120000; c++) {
		char b[5] = { 0 };
		size_t n;
		bool scalar = c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);

		if (c < 0x80) {
			b[0] = (char)c;
			n = 1;
		} else if (c < 0x800) {
			b[0] = (char)(0xc0 | c >> 6);
			b[1] = (char)(0x80 | (c & 63));
			n = 2;
		} else if (c < 0x10000) {
			b[0] = (char)(0xe0 | c >> 12);
			b[1] = (char)(0x80 | (c >> 6 & 63));
			b[2] = (char)(0x80 | (c & 63));
			n = 3;
		} else {
			b[0] = (char)(0xf0 | c >> 18);
			b[1] = (char)(0x80 | (c >> 12 & 63));
			b[2] = (char)(0x80 | (c >> 6 & 63));
			b[3] = (char)(0x80 | (c & 63));
			n = 4;
		}
		if (text_is_utf8(b, n) != scalar)
			test_fail(__FILE__, __LINE__, "U+%04X", c);
		/* Every proper beginning is none. */
		for (size_t i = 1; i < n; i++)
			CHECK(!text_is_utf8(b, i));
	}
	CHECK(!text_is_utf8("a\0b", 3));
	CHECK(text_is_utf8("", 0));
}

TEST(names_are_short_and_plain)
{
	static const char *const good[] = { "a", "pi", "Pi-4.local_x", "0",
					    "abcdefghijklmnopqrstuvwxyz012345" };
	static const char *const bad[] = { "", ".", "-x", "_x", "..", "a/b", "a b", "a\n", "K\xc3\xbc",
					   "abcdefghijklmnopqrstuvwxyz0123456", "a%", "a:b" };

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		CHECK(text_is_name(good[i]));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(!text_is_name(bad[i]));
}

TEST(numbers_are_whole_and_alone)
{
	static const char *const bad[] = { "", " 1", "1 ", "+1", "-1", "0x1", "1.0", "1e3", "one", "1,000" };
	uint64_t v = 7;

	CHECK_EQ(text_parse_u64(&v, "18446744073709551615", 0, UINT64_MAX), 0);
	CHECK(v == UINT64_MAX);
	CHECK_EQ(text_parse_u64(&v, "00012", 0, 12), 0);
	CHECK_EQ(v, 12);
	CHECK_EQ(text_parse_u64(&v, "18446744073709551616", 0, UINT64_MAX), -ERANGE);
	CHECK_EQ(text_parse_u64(&v, "99999999999999999999999", 0, UINT64_MAX), -ERANGE);
	CHECK_EQ(text_parse_u64(&v, "99999999999999999999999x", 0, UINT64_MAX), -EINVAL);
	CHECK_EQ(text_parse_u64(&v, "4", 5, 10), -ERANGE);
	CHECK_EQ(text_parse_u64(&v, "11", 5, 10), -ERANGE);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK_EQ(text_parse_u64(&v, bad[i], 0, UINT64_MAX), -EINVAL);
	CHECK_EQ(v, 12);
}

TEST(sizes_have_their_units)
{
	static const struct {
		const char *s;
		uint64_t v;
	} good[] = { { "4096", 4096 },	 { "64K", 65536 },	{ "64KiB", 65536 },
		     { "64kB", 64000 },	 { "10M", 10485760 },	{ "3MB", 3000000 },
		     { "1G", 1 << 30 },	 { "2T", 2ULL << 40 },	{ "1TB", 1000000000000 },
		     { "0", 0 },	 { "16777215T", 16777215ULL << 40 } };
	static const char *const bad[] = { "", "K", "1KB", "1k", "1.5M", "-1K", "1MiBs", " 1K", "1K " };
	uint64_t v;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		CHECK_EQ(text_parse_size(&v, good[i].s), 0);
		CHECK(v == good[i].v);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK_EQ(text_parse_size(&v, bad[i]), -EINVAL);
	CHECK_EQ(text_parse_size(&v, "16777216T"), -ERANGE);
	CHECK_EQ(text_parse_size(&v, "18446744073709551616"), -ERANGE);
}

TEST(durations_have_their_units)
{
	static const struct {
		const char *s;
		uint64_t v;
	} good[] = { { "500ms", 500 }, { "30s", 30000 }, { "5min", 300000 },
		     { "1h", 3600000 }, { "2d", 172800000 }, { "7", 7000 }, { "0", 0 } };
	static const char *const bad[] = { "", "s", "1 hour", "1m30", "-1s", "1.5s", "1hs", "1y" };
	uint64_t v;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		CHECK_EQ(text_parse_duration_ms(&v, good[i].s), 0);
		CHECK(v == good[i].v);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK_EQ(text_parse_duration_ms(&v, bad[i]), -EINVAL);
	CHECK_EQ(text_parse_duration_ms(&v, "18446744073709551615"), -ERANGE);
}

static void check_size(uint64_t v, const char *wanted)
{
	char b[32];

	text_format_size(b, sizeof(b), v);
	CHECK_STR(b, wanted);
}

TEST(sizes_are_shown_short_and_never_larger_than_they_are)
{
	check_size(0, "0 B");
	check_size(1023, "1023 B");
	check_size(1024, "1 KiB");
	check_size(1536, "1.5 KiB");
	check_size(12 * 1024 + 1000, "12 KiB");
	check_size((1 << 20) - 1, "1023 KiB");
	check_size(3ULL << 29, "1.5 GiB");
	check_size(2ULL * (1 << 30) - 1, "1.9 GiB");
	check_size(UINT64_MAX, "15 EiB");
}

static void check_duration(uint64_t v, const char *wanted)
{
	char b[32];

	text_format_duration(b, sizeof(b), v);
	CHECK_STR(b, wanted);
}

TEST(durations_are_shown_in_two_units_at_most)
{
	check_duration(0, "0 s");
	check_duration(999, "999 ms");
	check_duration(5999, "5 s");
	check_duration(12 * 60000 + 30000, "12 min");
	check_duration(3600000, "1 h");
	check_duration(3600000 + 5 * 60000, "1 h 5 min");
	check_duration(86400000ULL * 3 + 4 * 3600000, "3 d 4 h");
	check_duration(86400000ULL * 2, "2 d");
	check_duration(UINT64_MAX, "213503982334 d 14 h");
}

TEST(an_explanation_is_cut_to_its_room_and_hands_the_outcome_on)
{
	char out[8] = "before";

	CHECK_EQ(text_explain(out, 0, -5, "%s", "nothing"), -5);
	CHECK(strcmp(out, "before") == 0);
	CHECK_EQ(text_explain(out, sizeof(out), -1, "%s: %d", "too long", 7), -1);
	CHECK(strcmp(out, "too lon") == 0);
}

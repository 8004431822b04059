/* bytes.h: nothing is read or written beyond the buffer, and errors stick. */
#include "unit/lib/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

TEST(what_is_written_is_read_back)
{
	uint8_t b[64], got[3];
	struct wbuf w;
	struct rbuf r;
	const uint8_t *v;
	size_t len;

	wbuf_init(&w, b, sizeof(b));
	wbuf_u8(&w, 0xfe);
	wbuf_be16(&w, 0x1234);
	wbuf_be32(&w, 0x89abcdef);
	wbuf_be64(&w, 0xfedcba9876543210ULL);
	wbuf_lv16(&w, "hello", 5);
	wbuf_lv16(&w, NULL, 0);
	wbuf_put(&w, "abc", 3);
	CHECK(wbuf_ok(&w));
	CHECK_EQ(w.len, 1 + 2 + 4 + 8 + 7 + 2 + 3);

	rbuf_init(&r, b, w.len);
	CHECK_EQ(rbuf_u8(&r), 0xfe);
	CHECK_EQ(rbuf_be16(&r), 0x1234);
	CHECK_EQ(rbuf_be32(&r), 0x89abcdef);
	CHECK(rbuf_be64(&r) == 0xfedcba9876543210ULL);
	v = rbuf_lv16(&r, &len);
	CHECK_EQ(len, 5);
	CHECK_MEM(v, "hello", 5);
	CHECK(rbuf_lv16(&r, &len) != NULL);
	CHECK_EQ(len, 0);
	CHECK(!rbuf_done(&r));
	rbuf_get(&r, got, 3);
	CHECK_MEM(got, "abc", 3);
	CHECK(rbuf_done(&r));
}

TEST(overflow_sticks_and_writes_nothing)
{
	uint8_t b[6] = { 1, 2, 3, 4, 5, 6 };
	struct wbuf w;

	wbuf_init(&w, b, 4);
	wbuf_be64(&w, 0);
	CHECK(!wbuf_ok(&w));
	wbuf_u8(&w, 9);
	CHECK(!wbuf_ok(&w));
	CHECK_EQ(w.len, 0);
	CHECK_MEM(b, "\1\2\3\4\5\6", 6);
}

TEST(a_field_longer_than_its_length_can_say_is_an_overflow)
{
	static uint8_t big[70000], b[70000];
	struct wbuf w;

	wbuf_init(&w, b, sizeof(b));
	wbuf_lv16(&w, big, 65536);
	CHECK(!wbuf_ok(&w));
	wbuf_init(&w, b, sizeof(b));
	wbuf_lv16(&w, big, 65535);
	CHECK(wbuf_ok(&w));
}

TEST(underflow_sticks_and_gives_zeros)
{
	static const uint8_t b[] = { 0xff, 0xff, 0xff };
	uint8_t out[8];
	struct rbuf r;
	size_t len = 1;

	rbuf_init(&r, b, sizeof(b));
	CHECK_EQ(rbuf_be32(&r), 0);
	CHECK(!rbuf_ok(&r));
	/* There are bytes, but a reader that failed gives nothing more. */
	CHECK_EQ(rbuf_u8(&r), 0);
	memset(out, 1, sizeof(out));
	rbuf_get(&r, out, sizeof(out));
	CHECK_MEM(out, "\0\0\0\0\0\0\0", 8);
	CHECK(rbuf_view(&r, 0) == NULL);
	CHECK(rbuf_lv16(&r, &len) == NULL);
	CHECK_EQ(len, 0);
	CHECK(!rbuf_done(&r));

	rbuf_init(&r, b, sizeof(b));
	CHECK(rbuf_lv16(&r, &len) == NULL);
	CHECK_EQ(len, 0);
	CHECK(!rbuf_ok(&r));

	rbuf_init(&r, NULL, 0);
	CHECK(rbuf_done(&r));
	CHECK(rbuf_view(&r, SIZE_MAX) == NULL);
}

TEST(hex_takes_exactly_its_digits)
{
	uint8_t b[3] = { 7, 7, 7 };
	char s[7];

	CHECK_EQ(hex_parse(b, 3, "00fFa9"), 0);
	CHECK_MEM(b, "\x00\xff\xa9", 3);
	hex_format(s, b, 3);
	CHECK_STR(s, "00ffa9");
	CHECK_EQ(hex_parse(b, 3, "00ffa"), -EINVAL);
	CHECK_EQ(hex_parse(b, 3, "00ffa9 "), -EINVAL);
	CHECK_EQ(hex_parse(b, 3, "00ffag"), -EINVAL);
	CHECK_EQ(hex_parse(b, 3, ""), -EINVAL);
	CHECK_EQ(hex_parse(b, 0, ""), 0);
	CHECK_MEM(b, "\x00\xff\xa9", 3);
}

TEST(hex_knows_every_digit_and_no_other_character)
{
	for (int c = 1; c < 256; c++) {
		char text[3] = { '0', (char)c, '\0' };
		char *end;
		long v = strtol(text + 1, &end, 16);
		uint8_t b = 0xff;

		if (end == text + 2) {
			CHECK_EQ(hex_parse(&b, 1, text), 0);
			CHECK_EQ(b, v);
		} else {
			CHECK_EQ(hex_parse(&b, 1, text), -EINVAL);
			CHECK_EQ(b, 0xff);
		}
	}
	for (unsigned int v = 0; v < 256; v++) {
		uint8_t b = (uint8_t)v;
		char text[3], wanted[3];

		hex_format(text, &b, 1);
		snprintf(wanted, sizeof(wanted), "%02x", v);
		CHECK_STR(text, wanted);
	}
}

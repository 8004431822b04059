/* base64.h against an encoder of the test's own, exhaustively for short texts. */
#include "unit/lib/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"

static const char alphabet[2][65] = {
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
};

/* The oracle: bit by bit, by the text of RFC 4648 section 4. */
static void oracle_encode(char *out, const uint8_t *p, size_t len, enum base64_variant v)
{
	size_t n = 0;

	for (size_t bit = 0; bit < 8 * len; bit += 6) {
		unsigned int d = 0;

		for (size_t i = bit; i < bit + 6; i++)
			d = d << 1 | (i < 8 * len ? p[i / 8] >> (7 - i % 8) & 1U : 0);
		out[n++] = alphabet[v][d];
	}
	while (v == BASE64_STANDARD && n % 4)
		out[n++] = '=';
	out[n] = '\0';
}

TEST(answers_of_rfc_4648_section_10)
{
	static const char *const text[] = { "", "f", "fo", "foo", "foob", "fooba", "foobar" };
	static const char *const wanted[] = { "",	  "Zg==",     "Zm8=",	  "Zm9v",
					      "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy" };

	for (size_t i = 0; i < 7; i++) {
		char out[BASE64_SPACE(6)];
		uint8_t back[6];
		size_t len;

		base64_encode(out, text[i], strlen(text[i]), BASE64_STANDARD);
		CHECK_STR(out, wanted[i]);
		CHECK_EQ(base64_decode(back, sizeof(back), &len, out, strlen(out), BASE64_STANDARD), 0);
		CHECK_EQ(len, i);
		CHECK_MEM(back, text[i], i);
	}
}

TEST(encoding_equals_the_oracle_and_comes_back)
{
	for (size_t len = 0; len < 200; len++) {
		for (int v = 0; v < 2; v++) {
			char a[BASE64_SPACE(200)], b[BASE64_SPACE(200)];
			uint8_t p[200], back[200];
			size_t got;

			for (size_t i = 0; i < len; i++)
				p[i] = (uint8_t)random();
			base64_encode(a, p, len, (enum base64_variant)v);
			oracle_encode(b, p, len, (enum base64_variant)v);
			CHECK_STR(a, b);
			CHECK(strlen(a) < BASE64_SPACE(len));
			CHECK_EQ(base64_decode(back, len, &got, a, strlen(a), (enum base64_variant)v), 0);
			CHECK_EQ(got, len);
			CHECK_MEM(back, p, len);
			CHECK_EQ(base64_decode_exact(back, len, a, (enum base64_variant)v), 0);
			if (len)
				CHECK_EQ(base64_decode(back, len - 1, &got, a, strlen(a),
						       (enum base64_variant)v),
					 -ENOSPC);
		}
	}
}

/* Is text what the oracle makes of some bytes? Decode freely, encode again, compare. */
static bool oracle_accepts(const char *text, size_t n, enum base64_variant v)
{
	uint8_t p[8] = { 0 };
	char again[16];
	size_t digits = n, len;

	while (v == BASE64_STANDARD && digits && text[digits - 1] == '=')
		digits--;
	for (size_t i = 0; i < digits; i++) {
		const char *at = text[i] ? strchr(alphabet[v], text[i]) : NULL;

		if (!at)
			return false;
		for (size_t b = 0; b < 6; b++)
			if ((at - alphabet[v]) >> (5 - b) & 1)
				p[(6 * i + b) / 8] |= (uint8_t)(0x80U >> (6 * i + b) % 8);
	}
	len = digits * 6 / 8;
	oracle_encode(again, p, len, v);
	return strlen(again) == n && memcmp(again, text, n) == 0;
}

static void check_text(const char *text, size_t n)
{
	for (int v = 0; v < 2; v++) {
		uint8_t out[8];
		size_t len;
		int r = base64_decode(out, sizeof(out), &len, text, n, (enum base64_variant)v);

		if ((r == 0) != oracle_accepts(text, n, (enum base64_variant)v) ||
		    (r && r != -EBADMSG))
			test_fail(__FILE__, __LINE__, "\"%.*s\" variant %d: %d", (int)n, text, v, r);
	}
}

TEST(every_text_of_up_to_two_bytes_is_judged_like_the_oracle)
{
	check_text("", 0);
	for (unsigned int i = 0; i < 65536; i++) {
		char t[2] = { (char)(i >> 8), (char)i };

		check_text(t, 1);
		check_text(t, 2);
	}
}

/* Every class of character, with digits of all low bits, in each place. */
TEST(every_text_of_three_and_four_characters_is_judged_like_the_oracle)
{
	static const char set[] =
		"AEIMQUYZabcdghklopqrstvwxyz0123456789+/-_= \n\r.@[`{";
	size_t n = sizeof(set); /* the NUL too */

	for (size_t a = 0; a < n; a++)
		for (size_t b = 0; b < n; b++)
			for (size_t c = 0; c < n; c++) {
				char t[4] = { set[a], set[b], set[c], '=' };

				check_text(t, 3);
				check_text(t, 4);
				for (size_t d = 0; d < n && a < 4; d++) {
					t[3] = set[d];
					check_text(t, 4);
				}
			}
}

TEST(padding_inside_or_alone_is_refused)
{
	static const char *const bad[] = { "=",	   "==",       "===",	   "====",     "A===",
					   "AA=A", "AA==AA==", "AAAA====", "AA==\n",   " AAAA",
					   "AB==", "AAB=",     "AAAA=",	   "AAAAA===", "AA" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint8_t out[16];
		size_t len;

		CHECK_EQ(base64_decode(out, sizeof(out), &len, bad[i], strlen(bad[i]), BASE64_STANDARD),
			 -EBADMSG);
	}
}

TEST(exact_wants_the_length_it_names)
{
	uint8_t out[4];

	CHECK_EQ(base64_decode_exact(out, 1, "AA==", BASE64_STANDARD), 0);
	CHECK_EQ(base64_decode_exact(out, 2, "AA==", BASE64_STANDARD), -EBADMSG);
	CHECK_EQ(base64_decode_exact(out, 3, "AA==", BASE64_STANDARD), -EBADMSG);
	CHECK_EQ(base64_decode_exact(out, 0, "AA==", BASE64_STANDARD), -EBADMSG);
	CHECK_EQ(base64_decode_exact(out, 0, "", BASE64_STANDARD), 0);
	CHECK_EQ(base64_decode_exact(out, 1, "AA", BASE64_URL), 0);
	CHECK_EQ(base64_decode_exact(out, 2, "AA", BASE64_URL), -EBADMSG);
	CHECK_EQ(base64_decode_exact(out, 1, "AA==", BASE64_URL), -EBADMSG);
	CHECK_EQ(base64_decode_exact(out, 4, "AAAAAA==extra", BASE64_STANDARD), -EBADMSG);
}

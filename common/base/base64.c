/*
 * RFC 4648 section 3.5: an encoder sets the unused bits to zero, and a decoder
 * may refuse others. We refuse, so that one value has one spelling. Digits are
 * computed, not looked up: an index into a table would leave the value of a
 * secret in the cache.
 */
#include "base/base64.h"

#include <errno.h>
#include <string.h>

/* All ones when lo <= c <= hi, else 0. */
static unsigned int in_range(unsigned int c, unsigned int lo, unsigned int hi)
{
	/* Both differences are non-negative inside the range: the borrow bit is clear. */
	return ((c - lo) >> 31 | (hi - c) >> 31) - 1U;
}

static char digit_encode(unsigned int v, enum base64_variant variant)
{
	unsigned int c62 = variant == BASE64_URL ? '-' : '+';
	unsigned int c63 = variant == BASE64_URL ? '_' : '/';

	return (char)((in_range(v, 0, 25) & (v + 'A')) | (in_range(v, 26, 51) & (v - 26 + 'a')) |
		      (in_range(v, 52, 61) & (v - 52 + '0')) | (in_range(v, 62, 62) & c62) |
		      (in_range(v, 63, 63) & c63));
}

/* The digit's value; bit 8 is set when c is none. */
static unsigned int digit_decode(unsigned char c, enum base64_variant variant)
{
	unsigned int c62 = variant == BASE64_URL ? '-' : '+';
	unsigned int c63 = variant == BASE64_URL ? '_' : '/';
	unsigned int upper = in_range(c, 'A', 'Z'), lower = in_range(c, 'a', 'z');
	unsigned int number = in_range(c, '0', '9');
	unsigned int is62 = in_range(c, c62, c62), is63 = in_range(c, c63, c63);
	unsigned int known = upper | lower | number | is62 | is63;

	return (upper & (c - 'A')) | (lower & (c - 'a' + 26U)) | (number & (c - '0' + 52U)) |
	       (is62 & 62U) | (is63 & 63U) | (~known & 0x100U);
}

void base64_encode(char *out, const void *data, size_t len, enum base64_variant v)
{
	const uint8_t *p = data;
	size_t i;

	for (i = 0; len - i >= 3; i += 3) {
		*out++ = digit_encode(p[i] >> 2, v);
		*out++ = digit_encode((p[i] & 3U) << 4 | p[i + 1] >> 4, v);
		*out++ = digit_encode((p[i + 1] & 15U) << 2 | p[i + 2] >> 6, v);
		*out++ = digit_encode(p[i + 2] & 63U, v);
	}
	if (len - i == 1) {
		*out++ = digit_encode(p[i] >> 2, v);
		*out++ = digit_encode((p[i] & 3U) << 4, v);
	} else if (len - i == 2) {
		*out++ = digit_encode(p[i] >> 2, v);
		*out++ = digit_encode((p[i] & 3U) << 4 | p[i + 1] >> 4, v);
		*out++ = digit_encode((p[i + 1] & 15U) << 2, v);
	}
	if (v == BASE64_STANDARD && len - i > 0) {
		*out++ = '=';
		if (len - i == 1)
			*out++ = '=';
	}
	*out = '\0';
}

/* Characters without padding, which the standard variant must have and the URL one must not. */
static int digits_of(size_t *n, const char *text, size_t text_len, enum base64_variant v)
{
	*n = text_len;
	if (v == BASE64_STANDARD) {
		if (text_len % 4)
			return -EBADMSG;
		for (int i = 0; i < 2 && *n > 0 && text[*n - 1] == '='; i++)
			--*n;
	}
	return *n % 4 == 1 ? -EBADMSG : 0;
}

int base64_decode(uint8_t *out, size_t cap, size_t *len, const char *text, size_t text_len,
		  enum base64_variant v)
{
	unsigned int bits = 0, bad = 0;
	size_t n, need, at = 0;
	int r;

	r = digits_of(&n, text, text_len, v);
	if (r)
		return r;
	need = n / 4 * 3 + (n % 4 ? n % 4 - 1 : 0);
	if (need > cap)
		return -ENOSPC;

	for (size_t i = 0; i < n; i++) {
		unsigned int d = digit_decode((unsigned char)text[i], v);

		bad |= d;
		bits = bits << 6 | (d & 63U);
		if (i % 4 == 0)
			continue;
		/* After 2, 3 and 4 digits a further byte is complete, with 4, 2 and 0 bits over. */
		out[at++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
	}
	if (n % 4 == 2)
		bad |= (bits & 15U) << 8;
	else if (n % 4 == 3)
		bad |= (bits & 3U) << 8;
	if (bad >> 8) {
		explicit_bzero(out, at);
		return -EBADMSG;
	}
	*len = need;
	return 0;
}

int base64_decode_exact(uint8_t *out, size_t len, const char *text, enum base64_variant v)
{
	/* The one length that gives len bytes; more is not even looked at. */
	size_t want = v == BASE64_STANDARD ? (len + 2) / 3 * 4 :
					     len / 3 * 4 + (len % 3 ? len % 3 + 1 : 0);
	size_t got;

	if (strnlen(text, want + 1) != want)
		return -EBADMSG;
	/* Padding may hide that the length is another: "AA==" where 2 bytes were wanted. */
	if (v == BASE64_STANDARD && want > 0) {
		size_t pad = (size_t)(text[want - 1] == '=') + (size_t)(text[want - 2] == '=');

		if (pad != (3 - len % 3) % 3)
			return -EBADMSG;
	}
	return base64_decode(out, len, &got, text, want, v) ? -EBADMSG : 0;
}

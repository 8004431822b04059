/*
 * One UTF-8 decoder (RFC 3629: shortest form, no surrogates, at most U+10FFFF)
 * serves validation and cleaning, so that the two cannot disagree.
 */
#include "base/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Bytes of the character at s, or 0 when it is no valid UTF-8. */
static size_t utf8_decode(uint32_t *out, const unsigned char *s, size_t len)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	uint32_t c = s[0];
	size_t n;

	if (c < 0x80) {
		*out = c;
		return 1;
	}
	if (c >= 0xc2 && c <= 0xdf)
		n = 2;
	else if (c >= 0xe0 && c <= 0xef)
		n = 3;
	else if (c >= 0xf0 && c <= 0xf4)
		n = 4;
	else
		return 0;
	if (len < n)
		return 0;
	c &= 0xffU >> (n + 1);
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3fU);
	}
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*out = c;
	return n;
}

/*
 * What a person cannot see, or what makes them see something else: controls,
 * the bidi controls of UAX #9, zero-width and filler characters, line and
 * paragraph separators, variation selectors, tags, noncharacters.
 */
static bool is_deceptive(uint32_t c)
{
	static const struct {
		uint32_t first, last;
	} ranges[] = {
		{ 0x0000, 0x001f },   { 0x007f, 0x009f },   { 0x00ad, 0x00ad },
		{ 0x034f, 0x034f },   { 0x061c, 0x061c },   { 0x115f, 0x1160 },
		{ 0x17b4, 0x17b5 },   { 0x180b, 0x180f },   { 0x200b, 0x200f },
		{ 0x2028, 0x202e },   { 0x2060, 0x206f },   { 0x3164, 0x3164 },
		{ 0xfdd0, 0xfdef },   { 0xfe00, 0xfe0f },   { 0xfeff, 0xfeff },
		{ 0xffa0, 0xffa0 },   { 0xfff0, 0xfffb },   { 0x1bca0, 0x1bca3 },
		{ 0x1d173, 0x1d17a }, { 0xe0000, 0xe0fff },
	};

	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
		if (c >= ranges[i].first && c <= ranges[i].last)
			return true;
	return (c & 0xfffe) == 0xfffe;
}

size_t text_clean(char *out, size_t cap, const char *in, size_t len)
{
	const unsigned char *s = (const unsigned char *)in;
	size_t at = 0;

	if (cap == 0)
		return 0;
	for (size_t i = 0; i < len;) {
		uint32_t c;
		size_t n = utf8_decode(&c, s + i, len - i);

		if (n == 0) {
			i++;
			continue;
		}
		if (!is_deceptive(c)) {
			if (n > cap - 1 - at)
				break;
			memcpy(out + at, in + i, n);
			at += n;
		}
		i += n;
	}
	out[at] = '\0';
	return at;
}

bool text_is_utf8(const char *s, size_t len)
{
	for (size_t i = 0; i < len;) {
		uint32_t c;
		size_t n = utf8_decode(&c, (const unsigned char *)s + i, len - i);

		if (n == 0 || c == 0)
			return false;
		i += n;
	}
	return true;
}

/* Not <ctype.h>: its answers depend on the locale. */
static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_alnum(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool text_is_name(const char *s)
{
	size_t n = strnlen(s, 33);

	if (n < 1 || n > 32 || !is_alnum(s[0]))
		return false;
	for (size_t i = 1; i < n; i++)
		if (!is_alnum(s[i]) && s[i] != '.' && s[i] != '_' && s[i] != '-')
			return false;
	return true;
}

/* Digits at *s, moved past them. -EINVAL without any, -ERANGE beyond 64 bits. */
static int take_number(uint64_t *out, const char **s)
{
	uint64_t v = 0;
	int r = 0;

	if (!is_digit(**s))
		return -EINVAL;
	for (; is_digit(**s); (*s)++) {
		if (__builtin_mul_overflow(v, 10U, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(**s - '0'), &v))
			r = -ERANGE;
	}
	*out = v;
	return r;
}

int text_parse_u64(uint64_t *out, const char *s, uint64_t min, uint64_t max)
{
	uint64_t v;
	int r = take_number(&v, &s);

	if (r == -EINVAL || *s)
		return -EINVAL;
	if (r || v < min || v > max)
		return -ERANGE;
	*out = v;
	return 0;
}

struct unit {
	const char *name;
	uint64_t factor;
};

/* A number and one of the units (an empty name is the default), nothing else. */
static int parse_with_unit(uint64_t *out, const char *s, const struct unit *units, size_t n)
{
	uint64_t v;
	int r = take_number(&v, &s);

	if (r == -EINVAL)
		return r;
	for (size_t i = 0; i < n; i++) {
		if (strcmp(s, units[i].name) != 0)
			continue;
		if (r || __builtin_mul_overflow(v, units[i].factor, &v))
			return -ERANGE;
		*out = v;
		return 0;
	}
	return -EINVAL;
}

int text_parse_size(uint64_t *out, const char *s)
{
	static const struct unit units[] = {
		{ "", 1 },
		{ "B", 1 },
		{ "K", 1ULL << 10 },
		{ "KiB", 1ULL << 10 },
		{ "kB", 1000 },
		{ "M", 1ULL << 20 },
		{ "MiB", 1ULL << 20 },
		{ "MB", 1000000 },
		{ "G", 1ULL << 30 },
		{ "GiB", 1ULL << 30 },
		{ "GB", 1000000000 },
		{ "T", 1ULL << 40 },
		{ "TiB", 1ULL << 40 },
		{ "TB", 1000000000000 },
	};

	return parse_with_unit(out, s, units, sizeof(units) / sizeof(units[0]));
}

int text_parse_duration_ms(uint64_t *out, const char *s)
{
	static const struct unit units[] = {
		{ "", 1000 },	  { "ms", 1 },	     { "s", 1000 },
		{ "min", 60000 }, { "h", 3600000 }, { "d", 86400000 },
	};

	return parse_with_unit(out, s, units, sizeof(units) / sizeof(units[0]));
}

void text_format_size(char *out, size_t cap, uint64_t bytes)
{
	static const char *const names[] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	uint64_t unit = 1024, tenth;
	size_t i = 0;

	if (bytes < 1024) {
		snprintf(out, cap, "%u B", (unsigned int)bytes);
		return;
	}
	while (i + 1 < sizeof(names) / sizeof(names[0]) && bytes / unit >= 1024) {
		unit *= 1024;
		i++;
	}
	/* Rounded down: what is left must not look like more than it is. At most 2^60 * 10: no overflow. */
	tenth = bytes % unit * 10 / unit;
	if (bytes / unit < 10 && tenth)
		snprintf(out, cap, "%u.%u %s", (unsigned int)(bytes / unit), (unsigned int)tenth,
			 names[i]);
	else
		snprintf(out, cap, "%u %s", (unsigned int)(bytes / unit), names[i]);
}

void text_format_duration(char *out, size_t cap, uint64_t ms)
{
	uint64_t s = ms / 1000, min = s / 60, h = min / 60, d = h / 24;

	if (d && h % 24)
		snprintf(out, cap, "%llu d %u h", (unsigned long long)d, (unsigned int)(h % 24));
	else if (d)
		snprintf(out, cap, "%llu d", (unsigned long long)d);
	else if (h && min % 60)
		snprintf(out, cap, "%u h %u min", (unsigned int)h, (unsigned int)(min % 60));
	else if (h)
		snprintf(out, cap, "%u h", (unsigned int)h);
	else if (min)
		snprintf(out, cap, "%u min", (unsigned int)min);
	else if (s || ms == 0)
		snprintf(out, cap, "%u s", (unsigned int)s);
	else
		snprintf(out, cap, "%u ms", (unsigned int)ms);
}

void text_say(char *out, size_t cap, const char *fmt, ...)
{
	va_list ap;

	if (cap == 0)
		return;
	va_start(ap, fmt);
	vsnprintf(out, cap, fmt, ap);
	va_end(ap);
}

/* Text for people: cleaning what peers sent, names, numbers with units. Everything is bounded by cap. */
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/*
 * Decode one UTF-8 character of at most len bytes. Returns its length and sets
 * *cp, or 0 when the bytes are none (overlong, surrogate, above U+10FFFF, cut).
 */
static size_t utf8_decode(uint32_t *cp, const unsigned char *s, size_t len)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t n;

	if (s[0] < 0x80) {
		*cp = s[0];
		return 1;
	}
	n = s[0] >= 0xf0 && s[0] <= 0xf4 ? 4 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : 0;
	if (!n || n > len)
		return 0;
	*cp = s[0] & (0xffu >> (n + 1));
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		*cp = *cp << 6 | (s[i] & 0x3f);
	}
	if (*cp < least[n] || *cp > 0x10ffff || (*cp >= 0xd800 && *cp <= 0xdfff))
		return 0;
	return n;
}

/* Characters that steer a terminal, reverse text, or cannot be seen. */
static bool is_unwanted(uint32_t c)
{
	static const struct {
		uint32_t first, last;
	} ranges[] = {
		{ 0x0000, 0x001f }, { 0x007f, 0x009f },	  { 0x00ad, 0x00ad }, { 0x034f, 0x034f },
		{ 0x061c, 0x061c }, { 0x115f, 0x1160 },	  { 0x17b4, 0x17b5 }, { 0x180b, 0x180f },
		{ 0x200b, 0x200f }, { 0x2028, 0x202e },	  { 0x2060, 0x206f }, { 0x3164, 0x3164 },
		{ 0xfe00, 0xfe0f }, { 0xfeff, 0xfeff },	  { 0xffa0, 0xffa0 }, { 0xfff0, 0xffff },
		{ 0x1bca0, 0x1bca3 }, { 0x1d173, 0x1d17a }, { 0xe0000, 0xe0fff },
	};

	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
		if (c >= ranges[i].first && c <= ranges[i].last)
			return true;
	return (c & 0xfffe) == 0xfffe;
}

size_t text_clean(char *out, size_t cap, const char *in, size_t len)
{
	const unsigned char *s = (const unsigned char *)in;
	size_t n = 0;

	if (!cap)
		return 0;
	while (len) {
		uint32_t c;
		size_t l = utf8_decode(&c, s, len);

		if (l && !is_unwanted(c)) {
			if (n + l >= cap)
				break;
			memcpy(out + n, s, l);
			n += l;
		}
		if (!l)
			l = 1;
		s += l;
		len -= l;
	}
	out[n] = '\0';
	return n;
}

bool text_is_utf8(const char *s, size_t len)
{
	while (len) {
		uint32_t c;
		size_t l = utf8_decode(&c, (const unsigned char *)s, len);

		if (!l || !c)
			return false;
		s += l;
		len -= l;
	}
	return true;
}

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool text_is_name(const char *s)
{
	size_t n = strlen(s);

	if (n < 1 || n > 32 || !is_alnum(s[0]))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!is_alnum(s[i]) && !strchr("._-", s[i]))
			return false;
	return true;
}

/* The digits s begins with. Returns where they end, NULL when there are none or they overflow. */
static const char *parse_digits(uint64_t *out, const char *s, int *error)
{
	uint64_t v = 0;
	const char *p = s;

	*error = -EINVAL;
	for (; *p >= '0' && *p <= '9'; p++) {
		uint64_t d = (uint64_t)(*p - '0');

		if (v > (UINT64_MAX - d) / 10) {
			*error = -ERANGE;
			return NULL;
		}
		v = v * 10 + d;
	}
	if (p == s)
		return NULL;
	*out = v;
	return p;
}

int text_parse_u64(uint64_t *out, const char *s, uint64_t min, uint64_t max)
{
	uint64_t v;
	int error;
	const char *end = parse_digits(&v, s, &error);

	if (!end)
		return error;
	if (*end)
		return -EINVAL;
	if (v < min || v > max)
		return -ERANGE;
	*out = v;
	return 0;
}

struct unit {
	const char *name;
	uint64_t factor;
};

static int parse_with_unit(uint64_t *out, const char *s, const struct unit *units, size_t n)
{
	uint64_t v;
	int error;
	const char *end = parse_digits(&v, s, &error);

	if (!end)
		return error;
	while (*end == ' ')
		end++;
	for (size_t i = 0; i < n; i++) {
		if (strcmp(end, units[i].name) != 0)
			continue;
		if (v > UINT64_MAX / units[i].factor)
			return -ERANGE;
		*out = v * units[i].factor;
		return 0;
	}
	return -EINVAL;
}

int text_parse_size(uint64_t *out, const char *s)
{
	static const struct unit units[] = {
		{ "", 1 },	    { "B", 1 },
		{ "K", 1ull << 10 }, { "KiB", 1ull << 10 }, { "kB", 1000ull },
		{ "M", 1ull << 20 }, { "MiB", 1ull << 20 }, { "MB", 1000000ull },
		{ "G", 1ull << 30 }, { "GiB", 1ull << 30 }, { "GB", 1000000000ull },
		{ "T", 1ull << 40 }, { "TiB", 1ull << 40 }, { "TB", 1000000000000ull },
	};

	return parse_with_unit(out, s, units, sizeof(units) / sizeof(units[0]));
}

int text_parse_duration_ms(uint64_t *out, const char *s)
{
	static const struct unit units[] = {
		{ "", 1000 },	  { "ms", 1 },	     { "s", 1000 },	{ "sec", 1000 },
		{ "min", 60000 }, { "m", 60000 },    { "h", 3600000 }, { "d", 86400000 },
	};

	return parse_with_unit(out, s, units, sizeof(units) / sizeof(units[0]));
}

void text_format_size(char *out, size_t cap, uint64_t bytes)
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double v = (double)bytes;
	int i = -1;

	while (v >= 1024 && i + 1 < (int)(sizeof(units) / sizeof(units[0]))) {
		v /= 1024;
		i++;
	}
	if (i < 0)
		snprintf(out, cap, "%u B", (unsigned int)bytes);
	else
		snprintf(out, cap, v < 10 ? "%.1f %s" : "%.0f %s", v, units[i]);
}

void text_format_duration(char *out, size_t cap, uint64_t ms)
{
	unsigned long long s = ms / 1000;

	if (ms < 1000)
		snprintf(out, cap, "%u ms", (unsigned int)ms);
	else if (s < 120)
		snprintf(out, cap, "%llu s", s);
	else if (s < 7200)
		snprintf(out, cap, "%llu min", s / 60);
	else if (s < 172800)
		snprintf(out, cap, "%llu h %llu min", s / 3600, s / 60 % 60);
	else
		snprintf(out, cap, "%llu d %llu h", s / 86400, s / 3600 % 24);
}

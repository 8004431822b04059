/* Networks as numbers: a comparison of leading bits, and nothing else. */
#include "proto/prefix.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

static unsigned int width(uint8_t family)
{
	return family == 4 ? 32 : 128;
}

static bool same_bits(const uint8_t *a, const uint8_t *b, unsigned int bits)
{
	unsigned int whole = bits / 8, rest = bits % 8;

	if (memcmp(a, b, whole) != 0)
		return false;
	return rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

struct prefix prefix_make(uint8_t family, const uint8_t *address, uint8_t len)
{
	struct prefix p = { .family = family, .len = len };
	unsigned int whole = len / 8, rest = len % 8;

	memcpy(p.a, address, whole);
	if (rest)
		p.a[whole] = (uint8_t)(address[whole] & (0xff00 >> rest));
	return p;
}

int prefix_parse(struct prefix *out, const char *text)
{
	const char *slash = strchr(text, '/');
	char address[INET6_ADDRSTRLEN];
	struct prefix p = { 0 };
	size_t n = slash ? (size_t)(slash - text) : strlen(text);
	uint64_t len;

	if (n >= sizeof(address))
		return -EINVAL;
	memcpy(address, text, n);
	address[n] = '\0';
	if (inet_pton(AF_INET, address, p.a) == 1)
		p.family = 4;
	else if (inet_pton(AF_INET6, address, p.a) == 1)
		p.family = 6;
	else
		return -EINVAL;
	len = width(p.family);
	if (slash && text_parse_u64(&len, slash + 1, 0, len) != 0)
		return -EINVAL;
	p.len = (uint8_t)len;
	if (!prefix_is_sound(&p))
		return -EINVAL;
	*out = p;
	return 0;
}

void prefix_format(char out[static PREFIX_TEXT_MAX], const struct prefix *p)
{
	char text[INET6_ADDRSTRLEN];

	inet_ntop(p->family == 4 ? AF_INET : AF_INET6, p->a, text, sizeof(text));
	snprintf(out, PREFIX_TEXT_MAX, "%s/%u", text, p->len);
}

bool prefix_is_sound(const struct prefix *p)
{
	struct prefix clean;

	if ((p->family != 4 && p->family != 6) || p->len > width(p->family))
		return false;
	clean = prefix_make(p->family, p->a, p->len);
	return memcmp(clean.a, p->a, sizeof(p->a)) == 0;
}

bool prefix_equal(const struct prefix *a, const struct prefix *b)
{
	return a->family == b->family && a->len == b->len && memcmp(a->a, b->a, sizeof(a->a)) == 0;
}

bool prefix_contains(const struct prefix *outer, const struct prefix *inner)
{
	return outer->family == inner->family && outer->len <= inner->len && same_bits(outer->a, inner->a, outer->len);
}

bool prefix_has(const struct prefix *p, uint8_t family, const uint8_t *address)
{
	return p->family == family && same_bits(p->a, address, p->len);
}

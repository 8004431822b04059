/* A few comparisons a packet; see sources.h. */
#include "pskd/packet/sources.h"

#include <string.h>

enum {
	IPV4_HEADER = 20,
	IPV6_HEADER = 40,
	ICMP = 1,
	ICMPV6 = 58,
	ICMP_REDIRECT = 5,
	/* RFC 4861 section 4: router solicitation 133, router advertisement, neighbours' two, redirect 137. */
	ND_FIRST = 133,
	ND_LAST = 137,
	/* RFC 8200 section 4.1 knows six kinds of extension header, one of which may stand twice. */
	EXTENSIONS_MAX = 8,
};

/* ---- who ---- */

static void add(struct sources *s, uint8_t family, const uint8_t *address, uint8_t len)
{
	if (s->allowed.n < NETWORKS_MAX)
		s->allowed.v[s->allowed.n++] = prefix_make(family, address, len);
}

static bool is_zero(const uint8_t *address, size_t len)
{
	static const uint8_t none[16];

	return memcmp(address, none, len) == 0;
}

void sources_init(struct sources *s, const struct tunnel_addresses *a, const struct networks *allowed)
{
	const struct networks *more = allowed->n > 0 ? allowed : &a->routes;

	memset(s, 0, sizeof(*s));
	if (a->has_v4) {
		bool known = !is_zero(a->v4_peer, 4);

		s->own[s->n_own++] = prefix_make(4, a->v4_local, 32);
		add(s, 4, known ? a->v4_peer : a->v4_local, known ? 32 : a->v4_prefix);
	}
	if (a->has_v6) {
		bool known = !is_zero(a->v6_peer, 16);

		s->own[s->n_own++] = prefix_make(6, a->v6_local, 128);
		add(s, 6, known ? a->v6_peer : a->v6_local, known ? 128 : a->v6_prefix);
	}
	for (size_t i = 0; i < more->n; i++)
		add(s, more->v[i].family, more->v[i].a, more->v[i].len);
}

/* Nobody's address, or this link's or this machine's alone: not even where the whole world is allowed. */
static bool is_nobodys(uint8_t family, const uint8_t *a)
{
	if (family == 4)
		return a[0] == 0 || a[0] == 127 || a[0] >= 224 || (a[0] == 169 && a[1] == 254);
	return a[0] == 0xff || (a[0] == 0xfe && (a[1] & 0xc0) == 0x80) || is_zero(a, 10);
}

static bool has_source(const struct sources *s, uint8_t family, const uint8_t *a)
{
	if (is_nobodys(family, a))
		return false;
	for (size_t i = 0; i < s->n_own; i++)
		if (prefix_has(&s->own[i], family, a))
			return false;
	for (size_t i = 0; i < s->allowed.n; i++)
		if (prefix_has(&s->allowed.v[i], family, a))
			return true;
	return false;
}

/* ---- what ---- */

static bool is_redirect_v4(const uint8_t *ip, size_t len)
{
	size_t header = (size_t)(ip[0] & 15) * 4;
	bool is_first = ((ip[6] & 0x1f) | ip[7]) == 0;

	return ip[9] == ICMP && is_first && header >= IPV4_HEADER && header < len && ip[header] == ICMP_REDIRECT;
}

/* RFC 8200 section 4.3 and following count in eights beyond the first, RFC 4302 section 2.2 in fours beyond two. */
static size_t extension_len(uint8_t kind, uint8_t field)
{
	return kind == 44 ? 8 : kind == 51 ? ((size_t)field + 2) * 4 : ((size_t)field + 1) * 8;
}

static bool is_discovery_v6(const uint8_t *ip, size_t len)
{
	uint8_t next = ip[6], following;
	size_t at = IPV6_HEADER;

	for (int i = 0; i < EXTENSIONS_MAX; i++) {
		if (next == ICMPV6)
			return at < len && ip[at] >= ND_FIRST && ip[at] <= ND_LAST;
		/* Hop-by-hop and destination options, routing, fragment, authentication. */
		if (next != 0 && next != 60 && next != 43 && next != 44 && next != 51)
			return false;
		if (at + 8 > len)
			return false;
		following = ip[at];
		/* What follows a later fragment's header is in the middle of something. */
		if (next == 44 && ((ip[at + 2] << 8 | ip[at + 3]) & 0xfff8))
			return false;
		at += extension_len(next, ip[at + 1]);
		next = following;
	}
	/* A chain longer than any honest one may hide anything. */
	return true;
}

enum sources_verdict sources_judge(const struct sources *s, const uint8_t *ip, size_t len)
{
	bool v4 = ip[0] >> 4 == 4;

	if (!has_source(s, v4 ? 4 : 6, ip + (v4 ? 12 : 8)))
		return SOURCES_FOREIGN;
	return (v4 ? is_redirect_v4(ip, len) : is_discovery_v6(ip, len)) ? SOURCES_ROUTER : SOURCES_FINE;
}

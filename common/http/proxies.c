/* Networks are kept as 16 bytes and a length; IPv4 is mapped (RFC 4291 section 2.5.5.2). */
#include "http/proxies.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

enum { MAPPED_BITS = 96 };

#define UNIX_SOCKETS "unix"

struct network {
	struct in6_addr ip;
	unsigned int bits;
};

struct http_proxies {
	bool unix_sockets;
	size_t n;
	struct network networks[];
};

static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

static bool is_mapped(const struct in6_addr *ip)
{
	return memcmp(ip->s6_addr, mapped, sizeof(mapped)) == 0;
}

/* Either family to 16 bytes; false for neither. */
static bool to_ip(struct in6_addr *out, const struct sockaddr *a)
{
	if (a->sa_family == AF_INET6) {
		*out = ((const struct sockaddr_in6 *)(const void *)a)->sin6_addr;
		return true;
	}
	if (a->sa_family != AF_INET)
		return false;
	memcpy(out->s6_addr, mapped, sizeof(mapped));
	memcpy(out->s6_addr + 12, &((const struct sockaddr_in *)(const void *)a)->sin_addr, 4);
	return true;
}

static bool parse_ip(struct in6_addr *out, const char *text)
{
	if (inet_pton(AF_INET6, text, out) == 1)
		return true;
	memcpy(out->s6_addr, mapped, sizeof(mapped));
	return inet_pton(AF_INET, text, out->s6_addr + 12) == 1;
}

/* The first bits of ip, the rest 0. */
static struct in6_addr masked(const struct in6_addr *ip, unsigned int bits)
{
	struct in6_addr m = *ip;

	for (unsigned int i = 0; i < 16; i++) {
		unsigned int keep = bits > 8 * i ? bits - 8 * i : 0;

		if (keep < 8)
			m.s6_addr[i] &= (uint8_t)(0xff00u >> keep);
	}
	return m;
}

static bool parse_network(struct network *out, const char *text)
{
	const char *slash = strchr(text, '/');
	char ip[INET6_ADDRSTRLEN];
	size_t len = slash ? (size_t)(slash - text) : strlen(text);
	bool is_v4 = memchr(text, ':', len) == NULL;
	uint64_t bits = is_v4 ? 32 : 128;
	struct in6_addr network;

	if (len >= sizeof(ip))
		return false;
	memcpy(ip, text, len);
	ip[len] = '\0';
	if (!parse_ip(&out->ip, ip) || (slash && text_parse_u64(&bits, slash + 1, 0, bits)))
		return false;
	out->bits = (unsigned int)bits + (is_v4 ? MAPPED_BITS : 0);
	network = masked(&out->ip, out->bits);
	/* 10.1.2.3/8: one of the two is a mistake, and nobody knows which. */
	return memcmp(&network, &out->ip, sizeof(network)) == 0;
}

const char *http_proxies_check(const char *text)
{
	struct network ignored;

	return strcmp(text, UNIX_SOCKETS) == 0 || parse_network(&ignored, text) ?
		       NULL :
		       "an address, a network's first address and length, or unix: 127.0.0.1, 10.0.0.0/8, fd00::/8";
}

int http_proxies_new(struct http_proxies **out, const char *const *texts, size_t n)
{
	_cleanup_(http_proxies_freep) struct http_proxies *p = calloc(1, sizeof(*p) + n * sizeof(p->networks[0]));

	if (!p)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		if (strcmp(texts[i], UNIX_SOCKETS) == 0)
			p->unix_sockets = true;
		else if (!parse_network(&p->networks[p->n++], texts[i]))
			return -EINVAL;
	}
	*out = steal(&p);
	return 0;
}

static bool has_ip(const struct http_proxies *p, const struct in6_addr *ip)
{
	for (size_t i = 0; p && i < p->n; i++) {
		const struct network *n = &p->networks[i];
		struct in6_addr m = masked(ip, n->bits);

		/* ::/0 is all of IPv6; that it holds mapped IPv4, too, is a matter of sockets. */
		if (is_mapped(ip) && n->bits < MAPPED_BITS)
			continue;
		if (memcmp(&m, &n->ip, sizeof(m)) == 0)
			return true;
	}
	return false;
}

bool http_proxies_has(const struct http_proxies *p, const struct sockaddr *address)
{
	struct in6_addr ip;

	if (address->sa_family == AF_UNIX)
		return p && p->unix_sockets;
	return to_ip(&ip, address) && has_ip(p, &ip);
}

/* "192.0.2.1", "192.0.2.1:4711", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:4711". */
static bool parse_hop(struct in6_addr *out, const char *s, size_t len)
{
	char text[INET6_ADDRSTRLEN + 9]; /* brackets, a port */
	char *port = NULL;
	uint64_t ignored;

	while (len && (*s == ' ' || *s == '\t'))
		s++, len--;
	while (len && (s[len - 1] == ' ' || s[len - 1] == '\t'))
		len--;
	if (len == 0 || len >= sizeof(text))
		return false;
	memcpy(text, s, len);
	text[len] = '\0';
	if (*text == '[') {
		char *end = strchr(text, ']');

		if (!end || (end[1] && end[1] != ':'))
			return false;
		port = end[1] ? end + 2 : NULL;
		*end = '\0';
		memmove(text, text + 1, (size_t)(end - text));
		if (!strchr(text, ':'))
			return false;
	} else if (strchr(text, '.') && strchr(text, ':') == strrchr(text, ':') && strchr(text, ':')) {
		port = strchr(text, ':');
		*port++ = '\0';
	}
	return (!port || text_parse_u64(&ignored, port, 0, 65535) == 0) && parse_ip(out, text);
}

static void to_sockaddr(struct sockaddr_storage *out, const struct in6_addr *ip)
{
	const struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_addr = *ip };

	memset(out, 0, sizeof(*out));
	memcpy(out, &a, sizeof(a));
}

void http_proxies_client(const struct http_proxies *p, const struct sockaddr *peer,
			 const char *forwarded, struct sockaddr_storage *out)
{
	struct in6_addr client = { 0 }, hop;
	size_t end = strlen(forwarded);

	bool known = to_ip(&client, peer);

	while (known ? has_ip(p, &client) : p && p->unix_sockets) {
		const char *comma = memrchr(forwarded, ',', end);
		size_t start = comma ? (size_t)(comma - forwarded) + 1 : 0;

		if (!parse_hop(&hop, forwarded + start, end - start))
			break;
		client = hop;
		known = true;
		if (start == 0)
			break;
		end = start - 1;
	}
	if (known)
		to_sockaddr(out, &client);
	else
		*out = (struct sockaddr_storage){ .ss_family = AF_UNIX };
}

struct http_proxies *http_proxies_free(struct http_proxies *p)
{
	free(p);
	return NULL;
}

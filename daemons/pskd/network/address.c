/* Addresses inside a tunnel; see address.h. Pure. */
#include "pskd/network/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "crypto/kdf.h"
#include "proto/tund_msg.h"

#define LABEL "handfast tunnel address"

void address_derive(struct tunnel_addresses *out, const uint8_t id[static 16], enum keys_role role)
{
	uint8_t text[sizeof(LABEL) - 1 + 16], h[SHA256_LEN];
	struct tunnel_addresses a = { .has_v4 = true, .has_v6 = true, .v4_prefix = 30, .v6_prefix = 64 };
	uint8_t own = role == KEYS_INITIATOR ? 1 : 2;
	uint32_t subnet, v4;

	memcpy(text, LABEL, sizeof(LABEL) - 1);
	memcpy(text + sizeof(LABEL) - 1, id, 16);
	sha256(h, text, sizeof(text));
	/* RFC 4193 section 3.2: fd, then a 40-bit global id. */
	a.v6_local[0] = 0xfd;
	memcpy(a.v6_local + 1, h, 5);
	memcpy(a.v6_peer, a.v6_local, 16);
	a.v6_local[15] = own;
	a.v6_peer[15] = own ^ 3;
	subnet = (uint32_t)h[5] << 12 | (uint32_t)h[6] << 4 | h[7] >> 4;
	v4 = UINT32_C(0x0a400000) | subnet << 2;
	v4 = htonl(v4);
	memcpy(a.v4_local, &v4, 4);
	memcpy(a.v4_peer, &v4, 4);
	a.v4_local[3] |= own;
	a.v4_peer[3] |= own ^ 3;
	*out = a;
}

static int parse_local(struct tunnel_addresses *a, char *text)
{
	char *slash = strchr(text, '/');
	uint64_t prefix;

	if (!slash)
		return -EINVAL;
	*slash = '\0';
	if (!a->has_v4 && inet_pton(AF_INET, text, a->v4_local) == 1) {
		if (text_parse_u64(&prefix, slash + 1, 1, 32) != 0)
			return -EINVAL;
		a->v4_prefix = (uint8_t)prefix;
		a->has_v4 = true;
		return 0;
	}
	if (a->has_v6 || inet_pton(AF_INET6, text, a->v6_local) != 1 ||
	    text_parse_u64(&prefix, slash + 1, 1, 128) != 0)
		return -EINVAL;
	a->v6_prefix = (uint8_t)prefix;
	a->has_v6 = true;
	return 0;
}

static int parse_peer(struct tunnel_addresses *a, char *text)
{
	if (a->has_v4 && inet_pton(AF_INET, text, a->v4_peer) == 1)
		return 0;
	return a->has_v6 && inet_pton(AF_INET6, text, a->v6_peer) == 1 ? 0 : -EINVAL;
}

static int each(struct tunnel_addresses *a, const char *list,
		int (*parse)(struct tunnel_addresses *a, char *text))
{
	char copy[256], *rest = NULL;
	int n = 0;

	if (strlen(list) >= sizeof(copy))
		return -EINVAL;
	memcpy(copy, list, strlen(list) + 1);
	for (char *one = strtok_r(copy, ", ", &rest); one; one = strtok_r(NULL, ", ", &rest), n++)
		if (parse(a, one))
			return -EINVAL;
	return n >= 1 && n <= 2 ? 0 : -EINVAL;
}

int address_parse(struct tunnel_addresses *out, const char *local, const char *peer)
{
	struct tunnel_addresses a = { 0 };

	if (each(&a, local, parse_local) || (peer && each(&a, peer, parse_peer)))
		return -EINVAL;
	*out = a;
	return 0;
}

void address_ask(struct tund_request *q, const struct tunnel_addresses *a)
{
	q->has_v4 = a->has_v4;
	q->has_v6 = a->has_v6;
	q->v4_prefix = a->v4_prefix;
	q->v6_prefix = a->v6_prefix;
	memcpy(q->v4_local, a->v4_local, sizeof(q->v4_local));
	memcpy(q->v4_peer, a->v4_peer, sizeof(q->v4_peer));
	memcpy(q->v6_local, a->v6_local, sizeof(q->v6_local));
	q->n_routes = a->routes.n;
	memcpy(q->routes, a->routes.v, a->routes.n * sizeof(a->routes.v[0]));
}

static const char *format(char out[static ADDRESS_TEXT_MAX], int family, const uint8_t *address,
			  unsigned int prefix, bool peer)
{
	static const uint8_t none[16];
	char text[INET6_ADDRSTRLEN];

	if (memcmp(address, none, family == AF_INET ? 4 : 16) == 0)
		return NULL;
	inet_ntop(family, address, text, sizeof(text));
	if (peer)
		snprintf(out, ADDRESS_TEXT_MAX, "%s", text);
	else
		snprintf(out, ADDRESS_TEXT_MAX, "%s/%u", text, prefix);
	return out;
}

const char *address_format_v4(char out[static ADDRESS_TEXT_MAX], const struct tunnel_addresses *a, bool peer)
{
	return a->has_v4 ? format(out, AF_INET, peer ? a->v4_peer : a->v4_local, a->v4_prefix, peer) : NULL;
}

const char *address_format_v6(char out[static ADDRESS_TEXT_MAX], const struct tunnel_addresses *a, bool peer)
{
	return a->has_v6 ? format(out, AF_INET6, peer ? a->v6_peer : a->v6_local, a->v6_prefix, peer) : NULL;
}

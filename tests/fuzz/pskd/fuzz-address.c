/* Addresses as people write them, inside the tunnel and around it: what is taken is written and taken again. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "pskd/network/address.h"
#include "pskd/packet/udp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_tunnel(const char *local, const char *peer)
{
	char v4[ADDRESS_TEXT_MAX], v6[ADDRESS_TEXT_MAX], again[2 * ADDRESS_TEXT_MAX + 3];
	struct tunnel_addresses a, b;
	const char *t4, *t6;

	if (address_parse(&a, local, peer))
		return;
	assert((a.has_v4 || a.has_v6) && a.v4_prefix <= 32 && a.v6_prefix <= 128);
	t4 = address_format_v4(v4, &a, false);
	t6 = address_format_v6(v6, &a, false);
	/* The unspecified address is none to show; the caller refuses it. */
	assert((!t4 || a.has_v4) && (!t6 || a.has_v6));
	if (!t4 == a.has_v4 || !t6 == a.has_v6)
		return;
	snprintf(again, sizeof(again), "%s%s%s", t4 ? t4 : "", t4 && t6 ? "," : "", t6 ? t6 : "");
	assert(address_parse(&b, again, NULL) == 0);
	assert(a.has_v4 == b.has_v4 && a.has_v6 == b.has_v6 && a.v4_prefix == b.v4_prefix && a.v6_prefix == b.v6_prefix);
	assert(!a.has_v4 || memcmp(a.v4_local, b.v4_local, 4) == 0);
	assert(!a.has_v6 || memcmp(a.v6_local, b.v6_local, 16) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = malloc(size + 1);
	char shown[UDP_TEXT_MAX], host[64], *peer;
	struct sockaddr_in6 a, b;
	uint16_t port;

	assert(text);
	memcpy(text, data, size);
	text[size] = '\0';
	/* An IPv4 address has no scope to show. */
	if (udp_parse(&a, text) == 0 && !(a.sin6_scope_id && IN6_IS_ADDR_V4MAPPED(&a.sin6_addr))) {
		udp_format(shown, &a);
		assert(udp_parse(&b, shown) == 0 && udp_same(&a, &b));
	}
	if (udp_split(host, sizeof(host), &port, text, size & 1 ? 7200 : 0) == 0)
		assert(*host && strlen(host) < sizeof(host) && port > 0);
	peer = strchr(text, '|');
	if (peer)
		*peer++ = '\0';
	check_tunnel(text, peer);
	return 0;
}

/* X-Forwarded-For: whatever stands there, an address comes out, and never a proxy's word about one that is none. */
#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "http/proxies.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const char *const ours[] = { "127.0.0.1", "10.0.0.0/8", "fd00::/8" };
	const struct sockaddr_in proxy = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	const struct sockaddr_in stranger = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0xc0000201) };
	_cleanup_(http_proxies_freep) struct http_proxies *p = NULL;
	_cleanup_free_ char *text = strndup((const char *)data, len), *behind = NULL;
	struct sockaddr_storage a, b, c;

	if (!text || http_proxies_new(&p, ours, ARRAY_SIZE(ours)) || asprintf(&behind, "%s, 198.51.100.7", text) < 0)
		abort();
	(void)http_proxies_check(text);
	http_proxies_client(p, (const struct sockaddr *)(const void *)&proxy, text, &a);
	assert(a.ss_family == AF_INET6);
	/* Who is no proxy is the client. */
	http_proxies_client(p, (const struct sockaddr *)(const void *)&stranger, text, &b);
	assert(memcmp(((struct sockaddr_in6 *)(void *)&b)->sin6_addr.s6_addr + 12, &stranger.sin_addr, 4) == 0);
	/* What a client wrote itself, before the proxy wrote whom it saw. */
	http_proxies_client(p, (const struct sockaddr *)(const void *)&proxy, behind, &c);
	assert(memcmp(((struct sockaddr_in6 *)(void *)&c)->sin6_addr.s6_addr + 12, "\xc6\x33\x64\x07", 4) == 0);
	return 0;
}

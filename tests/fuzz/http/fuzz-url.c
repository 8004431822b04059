/* URLs, addresses to listen on, and the heads of answers: what is taken holds no byte that could end a line. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "http/client.h"
#include "http/http_server.h"
#include "http/websocket_transport.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_plain(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s <= ' ' || (unsigned char)*s >= 0x7f)
			return false;
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = malloc(size + 1), *lines = malloc(size + 1);
	struct http_answer a = { .headers = lines, .headers_len = size };
	struct sockaddr_storage s;
	struct http_url u;
	unsigned int count;
	const char *value;
	bool all;

	assert(text && lines);
	memcpy(text, data, size);
	text[size] = '\0';
	if (http_url_parse(&u, text) == 0) {
		assert(*u.host && *u.port && *u.authority && u.path[0] == '/');
		assert(is_plain(u.host) && is_plain(u.authority) && is_plain(u.path));
		assert(strtoul(u.port, NULL, 10) >= 1 && strtoul(u.port, NULL, 10) <= 65535);
		assert(strstr(text, u.authority) && !strchr(u.authority, '@') && !strchr(u.authority, '/'));
	}
	/* Numbers alone: nothing is looked up. */
	if (size < 80 && http_parse_listen(&s, &all, text) == 0)
		assert(s.ss_family == AF_INET || s.ss_family == AF_INET6);
	(void)websocket_header_has(text, "websocket");
	/* As the client keeps an answer's lines. */
	for (size_t i = 0; i < size; i++)
		lines[i] = text[i] == '\n' ? '\0' : text[i];
	lines[size] = '\0';
	if (size > 0)
		lines[size - 1] = '\0';
	value = http_answer_header(&a, "Sec-WebSocket-Accept", &count);
	assert(!value == !count);
	assert(!value || (value >= lines && value <= lines + size));
	return 0;
}

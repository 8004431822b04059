/* Addresses of servers: what is read is canonical, and reads as itself. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/exchange.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct auth_url url, again;
	char origin[AUTH_ORIGIN_SPACE], whole[AUTH_ORIGIN_SPACE + sizeof(url.prefix)];
	char *text = malloc(len + 1);

	if (!text)
		return 0;
	memcpy(text, data, len);
	text[len] = '\0';
	if (auth_url_parse(&url, text) == 0) {
		auth_url_origin(origin, &url);
		snprintf(whole, sizeof(whole), "%s%s", origin, url.prefix);
		assert(auth_url_parse(&again, whole) == 0);
		assert(strcmp(again.scheme, url.scheme) == 0 && strcmp(again.authority, url.authority) == 0 &&
		       strcmp(again.prefix, url.prefix) == 0 && again.loopback == url.loopback);
		assert(!*url.prefix || (url.prefix[0] == '/' && url.prefix[strlen(url.prefix) - 1] != '/'));
	}
	free(text);
	return 0;
}

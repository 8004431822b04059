/* Request targets, session codes, invitations and relay URLs: text that people and strangers write. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proto/relay_frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char code[RELAY_CODE_LEN + 1], again[300], *text = malloc(size + 1);
	struct relay_invitation inv;
	enum relay_role role;

	memcpy(text, data, size);
	text[size] = '\0';
	if (relay_target_parse(code, &role, text) == 0)
		assert(relay_code_is_valid(code, strlen(code)) && strstr(text, relay_role_name(role)));
	if (relay_code_parse(code, text, size) == 0)
		assert(relay_code_is_valid(code, strlen(code)));
	if (relay_invitation_parse(&inv, text) == 0 && *inv.url) {
		/* A URL that was made is taken as it is. */
		assert(relay_url_parse(again, sizeof(again), inv.url) == 0);
		assert(strcmp(again, inv.url) == 0);
	}
	free(text);
	return 0;
}

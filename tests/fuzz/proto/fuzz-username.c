/* Any bytes for a user name: refused, or a name whose spelling is its own canonical one. */
#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"
#include "proto/username.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char out[USERNAME_SPACE], again[USERNAME_SPACE], clean[USERNAME_SPACE];
	const char *name = (const char *)data;
	int r = username_canonical(out, name, len);

	assert(r >= 0 && r <= USERNAME_E_CHARACTER);
	if (r)
		return 0;
	assert(strlen(out) == len && len > 0 && len <= USERNAME_MAX);
	assert(strncasecmp(out, name, len) == 0 && text_is_utf8(out, len));
	assert(text_clean(clean, sizeof(clean), out, len) == len && strcmp(clean, out) == 0);
	assert(username_canonical(again, out, len) == 0 && strcmp(again, out) == 0);
	assert(!strpbrk(out, " \"'%\\<>&;/"));
	return 0;
}

/* What decodes encodes to the same text again: one value, one spelling. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const char *text, size_t len, enum base64_variant v)
{
	uint8_t *out = malloc(len + 1);
	char *again = malloc(BASE64_SPACE(len));
	size_t got = 0;
	int r = base64_decode(out, len, &got, text, len, v);

	if (r != 0 && r != -EBADMSG)
		abort();
	if (r == 0) {
		base64_encode(again, out, got, v);
		if (strlen(again) != len || memcmp(again, text, len) != 0)
			abort();
		if (got && base64_decode(out, got - 1, &got, text, len, v) != -ENOSPC)
			abort();
	}
	base64_encode(again, text, len / 2, v);
	free(again);
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* An exact copy, so that a read beyond the end is seen. */
	char *text = malloc(size ? size : 1);
	uint8_t hex[16];
	char *string = malloc(size + 1);

	if (size)
		memcpy(text, data, size);
	memcpy(string, text, size);
	string[size] = '\0';
	check(text, size, BASE64_STANDARD);
	check(text, size, BASE64_URL);
	for (size_t len = 0; len < 12; len++) {
		uint8_t exact[12];

		base64_decode_exact(exact, len, string, size & 1 ? BASE64_URL : BASE64_STANDARD);
	}
	hex_parse(hex, size % 17, string);
	free(string);
	free(text);
	return 0;
}

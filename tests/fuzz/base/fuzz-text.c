/* Cleaned text is valid UTF-8 that fits, needs no cleaning, and holds no control; numbers stay in range. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_clean(const char *in, size_t len, size_t cap)
{
	char *out = malloc(cap + 1), *again = malloc(cap + 1);
	size_t n = text_clean(out, cap, in, len);

	if (cap) {
		if (n >= cap || strlen(out) != n || !text_is_utf8(out, n))
			abort();
		for (size_t i = 0; i < n; i++)
			if ((unsigned char)out[i] < 0x20 || out[i] == 0x7f)
				abort();
		if (text_clean(again, cap, out, n) != n || memcmp(again, out, n) != 0)
			abort();
	} else if (n) {
		abort();
	}
	free(again);
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = malloc(size ? size : 1), *string = malloc(size + 1), shown[64];
	uint64_t v;

	memcpy(string, data, size);
	memcpy(copy, data, size);
	string[size] = '\0';
	check_clean(copy, size, size + 1);
	check_clean(copy, size, size / 2);
	check_clean(copy, size, size ? data[0] % 8 : 0);
	if (text_is_name(string) && (strlen(string) > 32 || !text_is_utf8(string, strlen(string))))
		abort();
	if (text_parse_u64(&v, string, 5, 500) == 0 && (v < 5 || v > 500))
		abort();
	if (text_parse_size(&v, string) == 0)
		text_format_size(shown, sizeof(shown), v);
	if (text_parse_duration_ms(&v, string) == 0)
		text_format_duration(shown, sizeof(shown), v);
	free(string);
	free(copy);
	return 0;
}

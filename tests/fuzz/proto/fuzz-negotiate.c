/* Two offers of names, one a line, a blank line between them: the choice is symmetric and in both lists. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/negotiate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Lines up to a blank one; the first is the minimum. */
static bool read_offer(struct negotiate_offer *o, char **text)
{
	const char *names[PROFILES_MAX + 1];
	size_t n = 0;
	char *line;

	while ((line = strsep(text, "\n")) && *line)
		if (n <= PROFILES_MAX)
			names[n++] = line;
	return n > 0 && negotiate_offer_init(o, names, n, names[0]) == 0;
}

static bool has(const struct negotiate_offer *o, const char *name)
{
	for (size_t i = 0; i < o->n; i++)
		if (strcmp(o->names[i], name) == 0)
			return true;
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char *text = malloc(len + 1), *at = text;
	char x[PROFILE_NAME_MAX + 1] = "", y[PROFILE_NAME_MAX + 1] = "";
	struct negotiate_offer a, b;

	assert(text);
	memcpy(text, data, len);
	text[len] = '\0';
	if (read_offer(&a, &at) && read_offer(&b, &at)) {
		int r = negotiate_choose(x, &a, &b);

		assert(negotiate_offer_is_valid(&a) && negotiate_offer_is_valid(&b));
		assert(r == negotiate_choose(y, &b, &a) && strcmp(x, y) == 0);
		assert(r || (has(&a, x) && has(&b, x)));
	}
	free(text);
	return 0;
}

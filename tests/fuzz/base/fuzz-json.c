/* Any bytes: refused, or an object within the limits that reads the same again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned int depth_of(const json_t *v)
{
	unsigned int deepest = 0, d;
	const char *key;
	json_t *member;
	size_t i;

	json_array_foreach(v, i, member)
	{
		d = depth_of(member);
		deepest = d > deepest ? d : deepest;
	}
	json_object_foreach((json_t *)(uintptr_t)v, key, member)
	{
		d = depth_of(member);
		deepest = d > deepest ? d : deepest;
	}
	return json_is_array(v) || json_is_object(v) ? deepest + 1 : 0;
}

static size_t members_of(const json_t *v)
{
	size_t n = json_array_size(v) + json_object_size(v), i;
	const char *key;
	json_t *member;

	json_array_foreach(v, i, member)
		n += members_of(member);
	json_object_foreach((json_t *)(uintptr_t)v, key, member)
		n += members_of(member);
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct json_limits limits = { .max_bytes = 4096, .max_depth = 6, .max_keys = 20 };
	static const struct json_limits wide = { .max_bytes = 1 << 20, .max_depth = 6, .max_keys = 20 };
	_cleanup_json_ struct json_t *v = NULL, *again = NULL;
	_cleanup_free_ char *text = NULL;
	int r = json_parse(&v, (const char *)data, size, &limits);

	if (r < 0 || r > JSON_E_SYNTAX || (r != 0) != (v == NULL))
		abort();
	if (r)
		return 0;
	if (size > limits.max_bytes || !json_is_object(v) || depth_of(v) > limits.max_depth ||
	    members_of(v) > limits.max_keys)
		abort();
	text = json_text(v);
	if (!text || json_parse(&again, text, strlen(text), &wide) || !json_equal(v, again))
		abort();
	return 0;
}

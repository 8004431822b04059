/*
 * JSON from strangers. A scan that allocates nothing counts bytes, depth and
 * members first; only then does jansson, which recurses and allocates, see the text.
 */
#include "base/json.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include <jansson.h>

#include "base/text.h"

/*
 * An opening bracket stands for the first member inside it, each comma for one more: exact, but
 * that an empty object or array counts as one.
 */
static int scan(const char *text, size_t len, const struct json_limits *limits)
{
	unsigned int depth = 0, members = 0;
	bool in_string = false;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
			continue;
		}
		if (c == '"') {
			in_string = true;
		} else if (c == '{' || c == '[') {
			if (++depth > limits->max_depth)
				return JSON_E_TOO_DEEP;
			members++;
		} else if (c == '}' || c == ']') {
			if (depth-- == 0)
				return JSON_E_SYNTAX;
		} else if (c == ',') {
			members++;
		}
		if (members > limits->max_keys)
			return JSON_E_TOO_MANY_KEYS;
	}
	return 0;
}

int json_parse(struct json_t **out, const char *text, size_t len, const struct json_limits *limits)
{
	json_error_t err;
	json_t *v;
	int r;

	if (len > limits->max_bytes)
		return JSON_E_TOO_LONG;
	r = scan(text, len, limits);
	if (r)
		return r;
	if (!text_is_utf8(text, len))
		return JSON_E_SYNTAX;
	v = json_loadb(text, len, JSON_REJECT_DUPLICATES, &err);
	if (!v)
		return json_error_code(&err) == json_error_out_of_memory ? -ENOMEM : JSON_E_SYNTAX;
	if (!json_is_object(v)) {
		json_decref(v);
		return JSON_E_SYNTAX;
	}
	*out = v;
	return 0;
}

const char *json_outcome_text(int outcome)
{
	switch (outcome) {
	case JSON_E_TOO_LONG:
		return "too long";
	case JSON_E_TOO_DEEP:
		return "nested too deeply";
	case JSON_E_TOO_MANY_KEYS:
		return "too many members";
	case JSON_E_SYNTAX:
		return "not one well-formed JSON object";
	}
	return outcome ? "failed" : "fine";
}

char *json_text(const struct json_t *value)
{
	return json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
}

const char *json_get_str(const struct json_t *obj, const char *key)
{
	return json_string_value(json_object_get(obj, key));
}

int64_t json_get_int(const struct json_t *obj, const char *key, int64_t fallback)
{
	const json_t *v = json_object_get(obj, key);

	return json_is_integer(v) ? json_integer_value(v) : fallback;
}

void json_unrefp(struct json_t **p)
{
	json_decref(*p);
}

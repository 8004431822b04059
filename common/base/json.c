/*
 * jansson allocates as it reads and recurses as it nests. So a scan of the
 * bytes, which knows only strings, brackets and commas, bounds both first;
 * what it lets through and is no JSON, jansson refuses.
 */
#include "base/json.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include <jansson.h>

/* The index of the closing quote of the string that begins at i, or len. */
static size_t skip_string(const char *text, size_t len, size_t i)
{
	for (i++; i < len && text[i] != '"'; i++)
		if (text[i] == '\\')
			i++;
	return i;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static int scan(const char *text, size_t len, const struct json_limits *limits)
{
	size_t depth = 0, items = 0;
	bool opened = false; /* the last thing seen was an opening bracket */

	if (len > limits->max_bytes)
		return JSON_E_TOO_LONG;
	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (is_space(c))
			continue;
		/* A container's first element has no comma before it. */
		if (opened && c != ']' && c != '}')
			items++;
		opened = false;
		switch (c) {
		case '"':
			i = skip_string(text, len, i);
			break;
		case '[':
		case '{':
			opened = true;
			if (++depth > limits->max_depth)
				return JSON_E_TOO_DEEP;
			break;
		case ']':
		case '}':
			if (depth-- == 0)
				return JSON_E_SYNTAX;
			break;
		case ',':
			items++;
			break;
		default:
			break;
		}
		if (items > limits->max_keys)
			return JSON_E_TOO_MANY_KEYS;
	}
	return 0;
}

int json_parse(struct json_t **out, const char *text, size_t len, const struct json_limits *limits)
{
	json_error_t error;
	json_t *value;
	int r;

	r = scan(text, len, limits);
	if (r)
		return r;
	if (len == 0)
		return JSON_E_SYNTAX;
	value = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
	if (!value)
		return json_error_code(&error) == json_error_out_of_memory ? -ENOMEM :
									      JSON_E_SYNTAX;
	/* json_loadb also takes an array. */
	if (!json_is_object(value)) {
		json_decref(value);
		return JSON_E_SYNTAX;
	}
	*out = value;
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
		return "not a valid JSON object";
	default:
		return outcome < 0 ? strerror(-outcome) : "unknown outcome";
	}
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

	return json_is_integer(v) ? (int64_t)json_integer_value(v) : fallback;
}

void json_unrefp(struct json_t **p)
{
	json_decref(*p);
}

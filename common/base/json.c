/*
 * jansson allocates as it reads and recurses as it nests. So a scan of the
 * bytes, which knows only strings, brackets and commas, bounds both first;
 * what it lets through and is no JSON, jansson refuses.
 *
 * jansson 2.14 goes on when the text of a string finds no memory: a byte is missing then, and if it is the closing
 * quote, its end is not found. So what malloc() refuses during a parse comes from a reserve, the parse is given
 * nothing more to read, and what it made is thrown away. What it frees may have been a secret, and is wiped.
 */
#include "base/json.h"

#include <errno.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
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

struct parse {
	const char *text;
	size_t len, at;
	char *reserve;
	size_t reserve_len, reserve_used;
	bool failed;
};

static _Thread_local struct parse *parsing;

static void *allocate(size_t n)
{
	struct parse *p = parsing;
	size_t whole = (n + 15) / 16 * 16;
	void *m = malloc(n);

	if (m || !p)
		return m;
	p->failed = true;
	if (whole > p->reserve_len - p->reserve_used)
		return NULL;
	m = p->reserve + p->reserve_used;
	p->reserve_used += whole;
	return m;
}

static bool is_reserve(const void *m)
{
	uintptr_t at = (uintptr_t)m, from = parsing ? (uintptr_t)parsing->reserve : 0;

	return parsing && at >= from && at < from + parsing->reserve_len;
}

static void release(void *m)
{
	if (!m || is_reserve(m))
		return;
	explicit_bzero(m, malloc_usable_size(m));
	free(m);
}

__attribute__((constructor)) static void use_them(void)
{
	json_set_alloc_funcs(allocate, release);
}

/* A byte at a time: nothing is read ahead of an allocation that fails. */
static size_t feed(void *buffer, size_t n, void *arg)
{
	struct parse *p = arg;

	if (p->failed || p->at == p->len || n == 0)
		return 0;
	*(char *)buffer = p->text[p->at++];
	return 1;
}

/* Whatever is left to be read when memory fails is one word: its text, which grows by doubling, and its value. */
static int parse(json_t **out, const char *text, size_t len)
{
	struct parse p = { .text = text, .len = len, .reserve_len = 4 * len + 4096 };
	json_error_t error;
	json_t *value;

	p.reserve = malloc(p.reserve_len);
	if (!p.reserve)
		return -ENOMEM;
	parsing = &p;
	value = json_load_callback(feed, &p, JSON_REJECT_DUPLICATES, &error);
	if (p.failed) {
		json_decref(value);
		value = NULL;
	}
	parsing = NULL;
	explicit_bzero(p.reserve, p.reserve_used);
	free(p.reserve);
	*out = value;
	if (value)
		return 0;
	return p.failed || json_error_code(&error) == json_error_out_of_memory ? -ENOMEM : JSON_E_SYNTAX;
}

int json_parse(struct json_t **out, const char *text, size_t len, const struct json_limits *limits)
{
	json_t *value;
	int r;

	r = scan(text, len, limits);
	if (r)
		return r;
	if (len == 0)
		return JSON_E_SYNTAX;
	r = parse(&value, text, len);
	if (r)
		return r;
	/* An array is JSON, too. */
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

/*
 * JSON from strangers. jansson's accessors may be used anywhere; parsing what
 * came from outside goes through here, where the limits are.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct json_t;

struct json_limits {
	size_t max_bytes;
	unsigned int max_depth; /* nesting of arrays and objects; the outermost is 1 */
	unsigned int max_keys;	/* object keys and array elements in all */
};

/* Outcomes of json_parse(). */
enum {
	JSON_E_TOO_LONG = 1,
	JSON_E_TOO_DEEP,
	JSON_E_TOO_MANY_KEYS,
	JSON_E_SYNTAX, /* also: invalid UTF-8, NUL, duplicate key, trailing bytes, number out of range */
};

/*
 * Parse one JSON object (nothing else at top level) of len bytes. The limits
 * are checked by a scan that allocates nothing, before jansson sees a byte.
 * Returns 0 with a new reference in *out, a JSON_E_ outcome, or -ENOMEM.
 */
int json_parse(struct json_t **out, const char *text, size_t len, const struct json_limits *limits);

/* "too long", "nested too deeply" …, for error messages. */
const char *json_outcome_text(int outcome);

/* Compact text of a value, NULL without memory. The caller frees it. */
char *json_text(const struct json_t *value);

/* A string member of an object, or NULL when absent or no string. */
const char *json_get_str(const struct json_t *obj, const char *key);
/* An integer member, or fallback when absent or no integer. */
int64_t json_get_int(const struct json_t *obj, const char *key, int64_t fallback);

void json_unrefp(struct json_t **p);
#define _cleanup_json_ _cleanup_(json_unrefp)

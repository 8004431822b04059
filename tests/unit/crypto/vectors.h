/* Reading published vectors: JSON files with hex members. For the tests in this folder. */
#pragma once

#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "unit/lib/test.h"

struct octets {
	uint8_t *p;
	size_t len;
};

static inline void octets_done(struct octets *o)
{
	free(o->p);
}
#define _cleanup_octets_ _cleanup_(octets_done)

static inline struct octets octets_of_hex(const char *hex)
{
	struct octets o = { .len = strlen(hex) / 2 };

	/* One more, so that an empty one is still a place. */
	o.p = malloc(o.len + 1);
	if (!o.p || hex_parse(o.p, o.len, hex) < 0)
		test_fail(__FILE__, __LINE__, "bad hex \"%s\"", hex);
	return o;
}

/* A hex member; what is absent is empty. */
static inline struct octets octets_get(const json_t *obj, const char *key)
{
	const char *hex = json_string_value(json_object_get(obj, key));

	return octets_of_hex(hex ? hex : "");
}

static inline const char *text_get(const json_t *obj, const char *key)
{
	const char *s = json_string_value(json_object_get(obj, key));

	if (!s)
		test_fail(__FILE__, __LINE__, "no member %s", key);
	return s;
}

static inline size_t size_get(const json_t *obj, const char *key)
{
	return (size_t)json_integer_value(json_object_get(obj, key));
}

static inline bool flag_is_set(const json_t *test, const char *flag)
{
	const json_t *flags = json_object_get(test, "flags");
	const json_t *f;
	size_t i;

	json_array_foreach(flags, i, f)
		if (!strcmp(json_string_value(f), flag))
			return true;
	return false;
}

/* A file of vectors, or the test is skipped. The caller drops the reference. */
static inline json_t *vectors_load(const char *name)
{
	json_error_t error;
	json_t *j = json_load_file(test_vector_path(name), 0, &error);

	if (!j)
		test_fail(__FILE__, __LINE__, "%s: %s", name, error.text);
	return j;
}

/*
 * Run fn over every test of a Wycheproof file. Returns how many there were,
 * which the file says itself.
 */
static inline size_t wycheproof_run(const char *name,
				    void (*fn)(const json_t *group, const json_t *test))
{
	json_t *root = vectors_load(name);
	const json_t *group, *test;
	size_t i, j, n = 0;

	json_array_foreach(json_object_get(root, "testGroups"), i, group)
		json_array_foreach(json_object_get(group, "tests"), j, test) {
			fn(group, test);
			n++;
		}
	CHECK_EQ(n, size_get(root, "numberOfTests"));
	json_decref(root);
	return n;
}

/* The types of config.h: how each is read, where it is put, how it is described. */
#include "config/value.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

static void *place(const struct config_option *o, void *out)
{
	return (char *)out + o->offset;
}

static uint64_t highest(const struct config_option *o)
{
	return o->max ? o->max : UINT64_MAX;
}

static int set_number(const struct config_option *o, void *out, const char *text)
{
	uint64_t v;
	int r;

	if (o->type == CONFIG_SIZE)
		r = text_parse_size(&v, text);
	else if (o->type == CONFIG_DURATION)
		r = text_parse_duration_ms(&v, text);
	else
		r = text_parse_u64(&v, text, 0, UINT64_MAX);
	if (r || v < o->min || v > highest(o))
		return VALUE_E_REFUSED;
	*(uint64_t *)place(o, out) = v;
	return 0;
}

static int set_bool(const struct config_option *o, void *out, const char *text)
{
	bool v = strcmp(text, "true") == 0 || strcmp(text, "yes") == 0;

	if (!v && strcmp(text, "false") != 0 && strcmp(text, "no") != 0)
		return VALUE_E_REFUSED;
	*(bool *)place(o, out) = v;
	return 0;
}

static int set_enum(const struct config_option *o, void *out, const char *text)
{
	for (int i = 0; o->names[i]; i++) {
		if (strcmp(text, o->names[i]) == 0) {
			*(int *)place(o, out) = i;
			return 0;
		}
	}
	return VALUE_E_REFUSED;
}

static int check(const struct config_option *o, const char *text, const char **accepted)
{
	*accepted = o->check ? o->check(text) : NULL;
	return *accepted ? VALUE_E_CHECK : 0;
}

static int set_string(const struct config_option *o, void *out, const char *text,
		      const char **accepted)
{
	char **at = place(o, out), *copy;
	int r;

	if (o->type == CONFIG_PATH && text[0] != '/')
		return VALUE_E_REFUSED;
	r = check(o, text, accepted);
	if (r)
		return r;
	copy = strdup(text);
	if (!copy)
		return -ENOMEM;
	free(*at);
	*at = copy;
	return 0;
}

int value_set(const struct config_option *o, void *out, const char *text, bool quoted,
	      const char **accepted)
{
	switch (o->type) {
	case CONFIG_U64:
		return quoted ? VALUE_E_REFUSED : set_number(o, out, text);
	case CONFIG_BOOL:
		return quoted ? VALUE_E_REFUSED : set_bool(o, out, text);
	case CONFIG_SIZE:
	case CONFIG_DURATION:
		return set_number(o, out, text);
	case CONFIG_ENUM:
		return set_enum(o, out, text);
	case CONFIG_STRING:
	case CONFIG_PATH:
		return set_string(o, out, text, accepted);
	case CONFIG_LIST:
		break;
	}
	return VALUE_E_REFUSED;
}

int value_begin_list(const struct config_option *o, void *out)
{
	struct config_list *list = place(o, out);

	if (!list->v)
		list->v = calloc(1, sizeof(*list->v));
	return list->v ? 0 : -ENOMEM;
}

int value_append(const struct config_option *o, void *out, const char *text, const char **accepted)
{
	struct config_list *list = place(o, out);
	_cleanup_free_ char *copy = NULL;
	char **v;
	int r = check(o, text, accepted);

	if (r)
		return r;
	copy = strdup(text);
	/* Grown by doubling: a list may be as long as the file. */
	v = list->n & (list->n + 1) ? list->v :
				      reallocarray(list->v, 2 * (list->n + 1), sizeof(*v));
	if (v)
		list->v = v;
	if (!copy || !v)
		return -ENOMEM;
	v[list->n++] = steal(&copy);
	v[list->n] = NULL;
	return 0;
}

void value_clear(const struct config_option *o, void *out)
{
	void *at = place(o, out);
	struct config_list *list = at;

	switch (o->type) {
	case CONFIG_STRING:
	case CONFIG_PATH:
		free(*(char **)at);
		*(char **)at = NULL;
		break;
	case CONFIG_LIST:
		for (size_t i = 0; i < list->n; i++)
			free(list->v[i]);
		free(list->v);
		*list = (struct config_list){ 0 };
		break;
	case CONFIG_BOOL:
		*(bool *)at = false;
		break;
	case CONFIG_ENUM:
		*(int *)at = 0;
		break;
	case CONFIG_U64:
	case CONFIG_SIZE:
	case CONFIG_DURATION:
		*(uint64_t *)at = 0;
		break;
	}
}

/* As one would write it: the largest unit that divides the number. */
static void format_bound(char *out, size_t cap, enum config_type type, uint64_t v)
{
	static const struct {
		enum config_type type;
		const char *name;
		uint64_t factor;
	} units[] = {
		{ CONFIG_SIZE, "TiB", 1ULL << 40 },  { CONFIG_SIZE, "GiB", 1ULL << 30 },
		{ CONFIG_SIZE, "MiB", 1ULL << 20 },  { CONFIG_SIZE, "KiB", 1ULL << 10 },
		{ CONFIG_SIZE, "B", 1 },	     { CONFIG_DURATION, "d", 86400000 },
		{ CONFIG_DURATION, "h", 3600000 },   { CONFIG_DURATION, "min", 60000 },
		{ CONFIG_DURATION, "s", 1000 },	     { CONFIG_DURATION, "ms", 1 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		if (units[i].type == type && (v || units[i].factor == 1) &&
		    v % units[i].factor == 0) {
			snprintf(out, cap, "%" PRIu64 "%s", v / units[i].factor, units[i].name);
			return;
		}
	}
	snprintf(out, cap, "%" PRIu64, v);
}

static void describe_number(char *out, size_t cap, const struct config_option *o)
{
	const char *kind = o->type == CONFIG_SIZE ? "a size" :
			   o->type == CONFIG_DURATION ? "a duration" :
							"a whole number";
	const char *such = o->type == CONFIG_SIZE ? ", such as 4096, 64KiB or 10M" :
			   o->type == CONFIG_DURATION ? ", such as 500ms, 30s, 5min, 1h or 2d" :
							"";
	char low[32], high[32];

	format_bound(low, sizeof(low), o->type, o->min);
	format_bound(high, sizeof(high), o->type, highest(o));
	if (highest(o) != UINT64_MAX)
		snprintf(out, cap, "%s from %s to %s%s", kind, low, high, such);
	else if (o->min)
		snprintf(out, cap, "%s, at least %s%s", kind, low, such);
	else
		snprintf(out, cap, "%s%s", kind, such);
}

static void describe_enum(char *out, size_t cap, const struct config_option *o)
{
	size_t at = 0;

	for (int i = 0; o->names[i] && at < cap; i++) {
		int n = snprintf(out + at, cap - at, "%s%s",
				 i == 0 ? "" : o->names[i + 1] ? ", " : " or ", o->names[i]);

		if (n < 0)
			return;
		at += (size_t)n;
	}
}

void value_describe(char *out, size_t cap, const struct config_option *o)
{
	switch (o->type) {
	case CONFIG_U64:
	case CONFIG_SIZE:
	case CONFIG_DURATION:
		describe_number(out, cap, o);
		break;
	case CONFIG_ENUM:
		describe_enum(out, cap, o);
		break;
	case CONFIG_BOOL:
		snprintf(out, cap, "true or false (yes or no), without quotes");
		break;
	case CONFIG_STRING:
		snprintf(out, cap, "text");
		break;
	case CONFIG_PATH:
		snprintf(out, cap, "a path that begins with /");
		break;
	case CONFIG_LIST:
		snprintf(out, cap, "a list: [a, b], or lines that begin with -");
		break;
	}
}

/* The format, and the groups that it wants. */
#include "service/exposition.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/json.h"

enum { VALUE_MAX = 40 };

/* By name; what was said in one order stays in it. */
struct exposition {
	json_t *groups; /* name: [metric] */
	json_t *seen;	/* series */
};

/* ---- the format ---- */

static bool is_word(const char *s)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";
	static const char more[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";

	return s && *s && strchr(letters, *s) && !s[strspn(s, more)];
}

static void put_escaped(FILE *f, const char *text, bool quoted)
{
	for (; *text; text++) {
		if (*text == '\n')
			fputs("\\n", f);
		else if (*text == '\\' || (quoted && *text == '"'))
			fprintf(f, "\\%c", *text);
		else
			fputc(*text, f);
	}
}

/* "name{label="value"}": what no two values may share. The caller frees it. */
static char *series_of(const json_t *metric)
{
	json_t *labels = json_object_get(metric, "labels"), *value;
	const char *label, *between = "{";
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return NULL;
	fputs(json_get_str(metric, "name"), f);
	json_object_foreach(labels, label, value) {
		fprintf(f, "%s%s=\"", between, label);
		put_escaped(f, json_string_value(value), true);
		fputc('"', f);
		between = ",";
	}
	if (*between == ',')
		fputc('}', f);
	if (fclose(f) == 0)
		return text;
	free(text);
	return NULL;
}

/* The shortest text that reads as the same number. */
static void value_format(char out[static VALUE_MAX], const json_t *value)
{
	double v = json_number_value(value);

	if (json_is_integer(value)) {
		snprintf(out, VALUE_MAX, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
		return;
	}
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(out, VALUE_MAX, "%.*g", digits, v);
		if (strtod(out, NULL) == v)
			return;
	}
}

void exposition_write(FILE *f, const json_t *list)
{
	const char *group = "";
	char value[VALUE_MAX];
	const json_t *m;
	size_t i;

	json_array_foreach(list, i, m) {
		_cleanup_free_ char *series = series_of(m);
		const char *name = json_get_str(m, "name");

		if (strcmp(name, group) != 0) {
			fprintf(f, "# HELP %s ", name);
			put_escaped(f, json_get_str(m, "help"), false);
			fprintf(f, "\n# TYPE %s %s\n", name, json_get_str(m, "kind"));
			group = name;
		}
		value_format(value, json_object_get(m, "value"));
		fprintf(f, "%s %s\n", series ? series : name, value);
	}
}

/* ---- collecting ---- */

struct exposition *exposition_new(void)
{
	struct exposition *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->groups = json_object();
	e->seen = json_object();
	return e->groups && e->seen ? e : exposition_free(e);
}

struct exposition *exposition_free(struct exposition *e)
{
	if (!e)
		return NULL;
	json_decref(e->groups);
	json_decref(e->seen);
	free(e);
	return NULL;
}

static bool is_right(const json_t *m)
{
	const char *kind = json_get_str(m, "kind"), *label;
	json_t *labels = json_object_get(m, "labels"), *value;

	if (!is_word(json_get_str(m, "name")) || !kind || !json_get_str(m, "help") ||
	    (strcmp(kind, "counter") != 0 && strcmp(kind, "gauge") != 0) ||
	    !json_is_number(json_object_get(m, "value")) || !json_is_object(labels))
		return false;
	json_object_foreach(labels, label, value)
		if (!is_word(label) || !json_is_string(value))
			return false;
	return true;
}

/* A whole number goes on as one: counts are told to the last digit. */
void exposition_add(struct exposition *e, json_t *metric)
{
	_cleanup_json_ json_t *m = metric;
	_cleanup_free_ char *series = NULL;
	double v = json_number_value(json_object_get(m, "value"));
	const char *name = json_get_str(m, "name");
	json_t *group;

	if (!is_right(m))
		return;
	series = series_of(m);
	if (!series || json_object_get(e->seen, series))
		return;
	group = json_object_get(e->groups, name);
	if (!group) {
		group = json_array();
		json_object_set_new(e->groups, name, group);
	} else if (strcmp(json_get_str(json_array_get(group, 0), "kind"), json_get_str(m, "kind")) != 0) {
		return;
	} else {
		json_object_set(m, "help", json_object_get(json_array_get(group, 0), "help"));
	}
	if (fabs(v) < 9007199254740992.0 && v == (double)(json_int_t)v)
		json_object_set_new(m, "value", json_integer((json_int_t)v));
	json_object_set_new(e->seen, series, json_true());
	json_array_append(group, m);
}

void exposition_add_reply(struct exposition *e, const json_t *reply)
{
	const json_t *m;
	size_t i;

	json_array_foreach(json_object_get(reply, "metrics"), i, m)
		exposition_add(e, json_copy((json_t *)(uintptr_t)m));
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

json_t *exposition_list(const struct exposition *e)
{
	size_t n = json_object_size(e->groups), i = 0;
	const char **names = calloc(n + 1, sizeof(*names));
	json_t *list = json_array(), *group;
	const char *name;

	if (!names || !list) {
		free(names);
		json_decref(list);
		return NULL;
	}
	json_object_foreach(e->groups, name, group)
		names[i++] = name;
	qsort(names, n, sizeof(*names), by_name);
	for (i = 0; i < n; i++)
		json_array_extend(list, json_object_get(e->groups, names[i]));
	free(names);
	return list;
}

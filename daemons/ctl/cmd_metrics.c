/*
 * handfast metrics: what every daemon counts, as Prometheus reads it
 * (text exposition format 0.0.4), one group a name in order of names. What a daemon
 * says is checked, so that no answer can break the format or repeat a series.
 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"

#include "ctl/commands.h"
#include "ctl/ctl.h"
#include "ctl/daemon.h"
#include "ctl/systemd.h"

enum { ANSWER_MS = 3000, VALUE_MAX = 40 };

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

static void metrics_text(const struct ctl *c, const json_t *result)
{
	const char *group = "";
	char value[VALUE_MAX];
	const json_t *m;
	size_t i;

	(void)c;
	json_array_foreach(json_object_get(result, "metrics"), i, m) {
		_cleanup_free_ char *series = series_of(m);
		const char *name = json_get_str(m, "name");

		if (strcmp(name, group) != 0) {
			printf("# HELP %s ", name);
			put_escaped(stdout, json_get_str(m, "help"), false);
			printf("\n# TYPE %s %s\n", name, json_get_str(m, "kind"));
			group = name;
		}
		value_format(value, json_object_get(m, "value"));
		printf("%s %s\n", series ? series : name, value);
	}
}

/* ---- collecting ---- */

/* By name; what a daemon says in one order stays in it. */
struct collected {
	json_t *groups; /* name: [metric] */
	json_t *seen;	/* series */
};

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

/* Takes its argument. A whole number goes on as one: counts are told to the last digit. */
static void collect(struct collected *all, json_t *taken)
{
	_cleanup_json_ json_t *m = taken;
	_cleanup_free_ char *series = NULL;
	double v = json_number_value(json_object_get(m, "value"));
	const char *name = json_get_str(m, "name");
	json_t *group;

	if (!is_right(m))
		return;
	series = series_of(m);
	if (!series || json_object_get(all->seen, series))
		return;
	group = json_object_get(all->groups, name);
	if (!group) {
		group = json_array();
		json_object_set_new(all->groups, name, group);
	} else if (strcmp(json_get_str(json_array_get(group, 0), "kind"), json_get_str(m, "kind")) != 0) {
		return;
	} else {
		json_object_set(m, "help", json_object_get(json_array_get(group, 0), "help"));
	}
	if (fabs(v) < 9007199254740992.0 && v == (double)(json_int_t)v)
		json_object_set_new(m, "value", json_integer((json_int_t)v));
	json_object_set_new(all->seen, series, json_true());
	json_array_append(group, m);
}

static void collect_up(struct collected *all, const char *daemon, bool up)
{
	collect(all, json_pack("{s:s, s:s, s:s, s:{s:s}, s:i}", "name", "handfast_up", "kind", "gauge", "help",
			       "1 when the daemon answers.", "labels", "daemon", daemon, "value", (int)up));
}

/* EXIT_DONE also for a daemon that is down; else an exit code with *f filled. */
static int ask(struct collected *all, const struct ctl *c, const struct awake *a, size_t which, struct failure *f)
{
	_cleanup_json_ json_t *reply = NULL;
	const json_t *m;
	size_t i;
	int r = awake_ask(a, c, which, "Daemon.Metrics", &reply, f);

	/* Without permission all would look as if it were down. */
	if (r == EXIT_PERMISSION)
		return r;
	/* One that runs an earlier version refuses, but it is there. */
	collect_up(all, awake_names[which], r == EXIT_DONE || strcmp(f->code, "org.varlink.service.MethodNotFound") == 0);
	json_array_foreach(json_object_get(reply, "metrics"), i, m)
		collect(all, json_copy((json_t *)(uintptr_t)m));
	return EXIT_DONE;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* All groups in order of their names. NULL without memory. */
static json_t *in_order(const struct collected *all)
{
	size_t n = json_object_size(all->groups), i = 0;
	const char **names = calloc(n + 1, sizeof(*names));
	json_t *list = json_array(), *group;
	const char *name;

	if (!names || !list) {
		free(names);
		json_decref(list);
		return NULL;
	}
	json_object_foreach(all->groups, name, group)
		names[i++] = name;
	qsort(names, n, sizeof(*names), by_name);
	for (i = 0; i < n; i++)
		json_array_extend(list, json_object_get(all->groups, names[i]));
	free(names);
	return list;
}

int cmd_metrics(struct ctl *c)
{
	struct collected all = { json_object(), json_object() };
	struct failure f = { 0 };
	struct awake awake;
	json_t *list;
	int r = EXIT_DONE;

	c->answer_ms = ANSWER_MS;
	awake_look(&awake, c);
	for (size_t i = 0; !r && i < AWAKE_MAX; i++)
		r = ask(&all, c, &awake, i, &f);
	list = r ? NULL : in_order(&all);
	json_decref(all.groups);
	json_decref(all.seen);
	if (r)
		return ctl_fail_with(c, &f);
	if (!list)
		return ctl_fail(c, EXIT_FAILED, ERROR_INTERNAL, NULL, "out of memory");
	return ctl_result(c, json_pack("{s:o}", "metrics", list), metrics_text);
}

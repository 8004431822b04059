/* Reads conf/NAME.yaml twice, as it is and with "#key" lines uncommented, and compares; reads manual pages. */
#include "unit/lib/conf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "config/config.h"
#include "unit/lib/test.h"

static bool same_string(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same_list(const struct config_list *a, const struct config_list *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (strcmp(a->v[i], b->v[i]) != 0)
			return false;
	return true;
}

static bool same_value(const struct config_option *o, const void *a, const void *b)
{
	const char *x = (const char *)a + o->offset, *y = (const char *)b + o->offset;

	switch (o->type) {
	case CONFIG_STRING:
	case CONFIG_PATH:
		return same_string(*(char *const *)(const void *)x, *(char *const *)(const void *)y);
	case CONFIG_LIST:
		return same_list((const void *)x, (const void *)y);
	case CONFIG_BOOL:
		return *(const bool *)x == *(const bool *)y;
	case CONFIG_ENUM:
		return memcmp(x, y, sizeof(int)) == 0;
	case CONFIG_U64:
	case CONFIG_SIZE:
	case CONFIG_DURATION:
		return memcmp(x, y, sizeof(uint64_t)) == 0;
	}
	return false;
}

/* "#key: value" and "#  key: value" are options; "# words" is a comment and stays one. */
static void uncomment(char *text)
{
	char *to = text;

	for (char *line = text; *line;) {
		char *end = strchrnul(line, '\n');
		bool option = line[0] == '#' && (line[1] != ' ' || (line[2] == ' ' && line[3] != ' '));
		size_t n;

		if (option)
			line++;
		n = (size_t)(end - line) + (*end ? 1 : 0);
		memmove(to, line, n);
		to += n;
		line = *end ? end + 1 : end;
	}
	*to = '\0';
}

static void read_text(char **out, const char *path)
{
	size_t len;
	int r = file_read(out, &len, path, 1 << 20);

	if (r)
		test_fail(__FILE__, __LINE__, "%s: %s (tests run in the source folder)", path, strerror(-r));
}

static void check_values(const struct config_schema *s, const void *values, const char *path, bool all)
{
	_cleanup_free_ char *defaults = calloc(1, s->struct_size);

	CHECK_EQ(config_defaults(s, defaults), 0);
	for (size_t i = 0; i < s->n_options; i++)
		if ((all || s->options[i].def) && !same_value(&s->options[i], values, defaults))
			test_fail(__FILE__, __LINE__, "%s: %s is not at its default, %s", path,
				  s->options[i].key, s->options[i].def ? s->options[i].def : "none");
	config_done(s, defaults);
}

static void parse(const struct config_schema *s, void *out, const char *path, const char *text)
{
	struct config_error err;

	if (config_parse(s, out, path, text, strlen(text), &err))
		test_fail(__FILE__, __LINE__, "%s", err.text);
}

/* Which options a text sets: with each of them taken away from the table, it is refused. */
static void check_all_set(const struct config_schema *s, const char *path, const char *text)
{
	_cleanup_free_ struct config_option *fewer = calloc(s->n_options, sizeof(*fewer));
	_cleanup_free_ char *out = calloc(1, s->struct_size);

	for (size_t i = 0; i < s->n_options; i++) {
		struct config_schema without = *s;
		struct config_error err;

		memcpy(fewer, s->options, i * sizeof(*fewer));
		memcpy(fewer + i, s->options + i + 1, (s->n_options - i - 1) * sizeof(*fewer));
		without.options = fewer;
		without.n_options = s->n_options - 1;
		if (config_parse(&without, out, path, text, strlen(text), &err) == 0)
			test_fail(__FILE__, __LINE__, "%s does not show %s", path, s->options[i].key);
	}
}

void test_conf_shows_the_defaults(const struct config_schema *s, const char *path)
{
	_cleanup_free_ char *text = NULL, *out = calloc(1, s->struct_size);

	read_text(&text, path);
	parse(s, out, path, text);
	check_values(s, out, path, true);
	config_done(s, out);
	uncomment(text);
	parse(s, out, path, text);
	check_values(s, out, path, false);
	config_done(s, out);
	check_all_set(s, path, text);
}

/* Where an item begins: ".It Cm key", alone or with what it takes behind it. */
static const char *find_item(const char *page, const char *key)
{
	char head[160];
	size_t n = (size_t)snprintf(head, sizeof(head), "\n.It Cm %s", key);

	for (const char *at = strstr(page, head); at; at = strstr(at + 1, head))
		if (at[n] == '\n' || at[n] == ' ')
			return at + n;
	return NULL;
}

/* Whether the words between from and to that begin with "Default" have the value as a word of its own. */
static bool tells_default(const char *from, const char *to, const char *value)
{
	const char *at = strstr(from, "\nDefault");
	size_t n = strlen(value);

	for (at = at ? strstr(at, value) : NULL; at && at < to; at = strstr(at + 1, value))
		if (at[-1] == ' ' && strchr(" .,;\n", at[n]))
			return true;
	return false;
}

static bool is_option(const struct config_schema *s, const char *key, size_t len)
{
	for (size_t i = 0; i < s->n_options; i++)
		if (strlen(s->options[i].key) == len && memcmp(s->options[i].key, key, len) == 0)
			return true;
	return false;
}

/* The page's items that look like options are options. */
static void check_no_other(const struct config_schema *s, const char *path, const char *text)
{
	static const char head[] = "\n.It Cm ";

	for (const char *at = strstr(text, head); at; at = strstr(at + 1, head)) {
		const char *key = at + strlen(head);
		size_t len = strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789_.");

		if (!is_option(s, key, len))
			test_fail(__FILE__, __LINE__, "%s tells of %.*s, which is no option", path, (int)len, key);
	}
}

void test_manual_tells_every_option(const struct config_schema *s, const char *path)
{
	_cleanup_free_ char *text = NULL;

	read_text(&text, path);
	check_no_other(s, path, text);
	for (size_t i = 0; i < s->n_options; i++) {
		const struct config_option *o = &s->options[i];
		const char *at = find_item(text, o->key), *end;

		if (!at)
			test_fail(__FILE__, __LINE__, "%s does not tell of %s", path, o->key);
		end = strstr(at, "\n.It ");
		/* Lists are written in more than one way. */
		if (o->def && o->type != CONFIG_LIST &&
		    !tells_default(at, end ? end : at + strlen(at), o->def))
			test_fail(__FILE__, __LINE__, "%s: the default of %s is not %s", path, o->key, o->def);
	}
}

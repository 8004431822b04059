/*
 * YAML events are walked along the schema: a key that the schema does not know
 * ends the walk, so nesting is never deeper than the schema, and nothing is
 * kept of the file but the values. Anchors, aliases, tags and directives are
 * refused: no expansion, no surprise.
 */
#include "config/config.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "config/value.h"

enum {
	FILE_MAX = 1 << 20,
	KEY_MAX = 128, /* a dotted key */
	SHOWN_MAX = 48, /* of a file's text in a message */
};

/* Not a documented outcome: the message is in parse.err already. */
#define REFUSED (-EINVAL)

struct parse {
	const struct config_schema *schema;
	void *out;
	const char *name;
	struct config_error *err;
	yaml_parser_t yaml;
	bool *seen;	 /* one per option */
	bool *seen_under; /* one per option: the section that this option is the first of */
};

/* ---- messages ---- */

__attribute__((format(printf, 4, 5))) static int refuse_at(struct parse *p, size_t line,
							   size_t column, const char *fmt, ...)
{
	char text[sizeof(p->err->text)], name[256];
	va_list ap;
	int n;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	text_clean(name, sizeof(name), p->name, strlen(p->name));
	n = *name ? snprintf(p->err->text, sizeof(p->err->text), "%s:%zu:%zu: ", name, line, column) : 0;
	if (n >= 0 && (size_t)n < sizeof(p->err->text))
		text_clean(p->err->text + n, sizeof(p->err->text) - (size_t)n, text, strlen(text));
	return REFUSED;
}

#define refuse(p, mark, ...) refuse_at((p), (mark).line + 1, (mark).column + 1, __VA_ARGS__)

/* What stands in the file, short and printable. */
struct shown {
	char b[SHOWN_MAX + 4];
};

static struct shown show(const char *text, size_t len)
{
	struct shown s;
	size_t n = text_clean(s.b, SHOWN_MAX + 1, text, len);

	if (len > SHOWN_MAX)
		memcpy(s.b + n, "...", 4);
	return s;
}

/* Line and column of an offset, for errors that libyaml gives no mark for. */
static int refuse_offset(struct parse *p, const char *text, size_t offset, const char *what)
{
	size_t line = 1, column = 1;

	for (size_t i = 0; i < offset; i++) {
		if (text[i] == '\n') {
			line++;
			column = 1;
		} else if (((unsigned char)text[i] & 0xc0) != 0x80) {
			column++;
		}
	}
	return refuse_at(p, line, column, "%s", what);
}

/* ---- keys ---- */

/* Edit distance with transpositions; both are short. */
static size_t distance(const char *a, const char *b)
{
	size_t rows[3][KEY_MAX + 1], na = strlen(a), nb = strlen(b);
	size_t *before = rows[0], *last = rows[1], *now = rows[2];

	if (na > KEY_MAX || nb > KEY_MAX)
		return SIZE_MAX;
	for (size_t j = 0; j <= nb; j++)
		last[j] = j;
	for (size_t i = 1; i <= na; i++) {
		size_t *free_row = before;

		now[0] = i;
		for (size_t j = 1; j <= nb; j++) {
			size_t best = last[j - 1] + (a[i - 1] != b[j - 1]);

			if (last[j] + 1 < best)
				best = last[j] + 1;
			if (now[j - 1] + 1 < best)
				best = now[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    before[j - 2] + 1 < best)
				best = before[j - 2] + 1;
			now[j] = best;
		}
		before = last;
		last = now;
		now = free_row;
	}
	return last[nb];
}

/* The part of option i's key that stands directly below prefix ("" or "limits."), or false. */
static bool key_below(char *out, const struct config_option *o, const char *prefix)
{
	size_t n = strlen(prefix);

	if (strncmp(o->key, prefix, n) != 0)
		return false;
	snprintf(out, KEY_MAX, "%.*s", (int)strcspn(o->key + n, "."), o->key + n);
	return true;
}

/* The keys directly below prefix, in the schema's order, as many as fit. */
static void list_keys(char *out, size_t cap, const struct config_schema *schema, const char *prefix)
{
	char key[KEY_MAX], last[KEY_MAX] = "";
	size_t used = 0;

	*out = '\0';
	for (size_t i = 0; i < schema->n_options && used < cap; i++) {
		int n;

		/* A section's options stand together: comparing with the last one is enough. */
		if (!key_below(key, &schema->options[i], prefix) || strcmp(key, last) == 0)
			continue;
		n = snprintf(out + used, cap - used, "%s%s", used ? ", " : "", key);
		used += n > 0 ? (size_t)n : 0;
		memcpy(last, key, sizeof(last));
	}
}

static int refuse_unknown(struct parse *p, const yaml_event_t *e, const char *prefix)
{
	const char *key = (const char *)e->data.scalar.value;
	struct shown s = show(key, e->data.scalar.length);
	char below[KEY_MAX], nearest[KEY_MAX] = "", list[320];
	size_t best = SIZE_MAX;

	for (size_t i = 0; i < p->schema->n_options; i++) {
		const struct config_option *o = &p->schema->options[i];
		const char *last = strrchr(o->key, '.');
		size_t d;

		if (last && strcmp(o->key, key) == 0)
			return refuse(p, e->start_mark, "unknown key \"%s\"; write \"%s:\" on a line below \"%.*s:\"",
				      s.b, last + 1, (int)(last - o->key), o->key);
		/* The right word in the wrong section. */
		if (strcmp(last ? last + 1 : o->key, key) == 0)
			return refuse(p, e->start_mark, "unknown key \"%s%s\"; did you mean \"%s\"?",
				      prefix, s.b, o->key);
		if (!key_below(below, o, prefix))
			continue;
		d = distance(key, below);
		if (d < best) {
			best = d;
			memcpy(nearest, below, sizeof(nearest));
		}
	}
	if (best <= 1 + strlen(key) / 3)
		return refuse(p, e->start_mark, "unknown key \"%s%s\"; did you mean \"%s%s\"?",
			      prefix, s.b, prefix, nearest);
	list_keys(list, sizeof(list), p->schema, prefix);
	return refuse(p, e->start_mark, "unknown key \"%s%s\"; known here: %s", prefix, s.b, list);
}

/* ---- events ---- */

static void event_done(yaml_event_t *e)
{
	yaml_event_delete(e);
}

static int refuse_yaml(struct parse *p, const char *text)
{
	const yaml_parser_t *y = &p->yaml;
	char what[256];

	if (y->error == YAML_MEMORY_ERROR) {
		snprintf(p->err->text, sizeof(p->err->text), "%s: out of memory", p->name);
		return -ENOMEM;
	}
	snprintf(what, sizeof(what), "not valid YAML: %s%s%s", y->problem ? y->problem : "unreadable",
		 y->context ? " " : "", y->context ? y->context : "");
	if (y->error == YAML_READER_ERROR)
		return refuse_offset(p, text, y->problem_offset, what);
	return refuse(p, y->problem_mark, "%s", what);
}

static int next_event(struct parse *p, yaml_event_t *e)
{
	const yaml_char_t *anchor = NULL, *tag = NULL;

	memset(e, 0, sizeof(*e));
	if (!yaml_parser_parse(&p->yaml, e))
		return refuse_yaml(p, (const char *)p->yaml.input.string.start);
	switch (e->type) {
	case YAML_ALIAS_EVENT:
		return refuse(p, e->start_mark, "aliases (*name) are not accepted; write the value");
	case YAML_SCALAR_EVENT:
		anchor = e->data.scalar.anchor;
		tag = e->data.scalar.tag;
		break;
	case YAML_SEQUENCE_START_EVENT:
		anchor = e->data.sequence_start.anchor;
		tag = e->data.sequence_start.tag;
		break;
	case YAML_MAPPING_START_EVENT:
		anchor = e->data.mapping_start.anchor;
		tag = e->data.mapping_start.tag;
		break;
	default:
		break;
	}
	if (anchor)
		return refuse(p, e->start_mark, "anchors (&name) are not accepted");
	if (tag)
		return refuse(p, e->start_mark, "tags (!name) are not accepted");
	return 0;
}

static bool is_plain(const yaml_event_t *e)
{
	return e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

/* "key:" and "key: null" are a value forgotten, not an empty text. */
static bool is_nothing(const yaml_event_t *e)
{
	const char *s = (const char *)e->data.scalar.value;

	return is_plain(e) && (!*s || strcmp(s, "~") == 0 || strcmp(s, "null") == 0);
}

static bool has_controls(const yaml_event_t *e)
{
	for (size_t i = 0; i < e->data.scalar.length; i++)
		if (e->data.scalar.value[i] < 0x20 || e->data.scalar.value[i] == 0x7f)
			return true;
	return false;
}

/* ---- values ---- */

static int refuse_value(struct parse *p, const yaml_event_t *e, const struct config_option *o,
			const char *accepted)
{
	struct shown s = show((const char *)e->data.scalar.value, e->data.scalar.length);
	char described[320];

	if (!accepted) {
		value_describe(described, sizeof(described), o);
		accepted = described;
	}
	if (is_nothing(e))
		return refuse(p, e->start_mark, "\"%s\" has no value; it takes %s", o->key, accepted);
	return refuse(p, e->start_mark, "\"%s\" cannot be \"%s\"%s; it takes %s", o->key, s.b,
		      is_plain(e) || !*p->name ? "" : " in quotes", accepted);
}

static int refuse_kind(struct parse *p, const yaml_event_t *e, const struct config_option *o,
		       const char *found)
{
	char described[320];

	value_describe(described, sizeof(described), o);
	return refuse(p, e->start_mark, "\"%s\" is %s; it takes %s", o->key, found, described);
}

static int take_scalar(struct parse *p, const yaml_event_t *e, const struct config_option *o)
{
	const char *text = (const char *)e->data.scalar.value, *accepted = NULL;
	int r;

	if (has_controls(e))
		return refuse(p, e->start_mark, "\"%s\" has line breaks or control characters", o->key);
	if (is_nothing(e))
		return refuse_value(p, e, o, NULL);
	if (o->type == CONFIG_LIST)
		r = value_append(o, p->out, text, &accepted);
	else
		r = value_set(o, p->out, text, !is_plain(e), &accepted);
	return r > 0 ? refuse_value(p, e, o, accepted) : r;
}

static int take_list(struct parse *p, const struct config_option *o)
{
	int r = value_begin_list(o, p->out);

	if (r)
		return r;
	for (;;) {
		_cleanup_(event_done) yaml_event_t e;

		r = next_event(p, &e);
		if (r || e.type == YAML_SEQUENCE_END_EVENT)
			return r;
		if (e.type != YAML_SCALAR_EVENT)
			return refuse(p, e.start_mark, "an item of \"%s\" must be plain text", o->key);
		r = take_scalar(p, &e, o);
		if (r)
			return r;
	}
}

static int take_option(struct parse *p, const struct config_option *o)
{
	_cleanup_(event_done) yaml_event_t e;
	int r = next_event(p, &e);

	if (r)
		return r;
	if (e.type == YAML_MAPPING_START_EVENT)
		return refuse_kind(p, &e, o, "a mapping");
	if (o->type == CONFIG_LIST) {
		if (e.type == YAML_SEQUENCE_START_EVENT)
			return take_list(p, o);
		return is_nothing(&e) ? refuse_value(p, &e, o, NULL) :
					refuse_kind(p, &e, o, "one value");
	}
	if (e.type != YAML_SCALAR_EVENT)
		return refuse_kind(p, &e, o, "a list");
	return take_scalar(p, &e, o);
}

static int take_mapping(struct parse *p, const char *prefix);

static int take_section(struct parse *p, const char *prefix)
{
	_cleanup_(event_done) yaml_event_t e;
	int r = next_event(p, &e);

	if (r)
		return r;
	/* A section whose lines are all commented out. */
	if (e.type == YAML_SCALAR_EVENT && is_nothing(&e))
		return 0;
	if (e.type != YAML_MAPPING_START_EVENT)
		return refuse(p, e.start_mark, "\"%.*s\" takes keys of its own, each on a line",
			      (int)strlen(prefix) - 1, prefix);
	return take_mapping(p, prefix);
}

static int take_key(struct parse *p, const yaml_event_t *e, const char *prefix)
{
	const char *key = (const char *)e->data.scalar.value;
	char full[KEY_MAX], section[KEY_MAX];

	if (has_controls(e) || strchr(key, '.') ||
	    strlen(prefix) + e->data.scalar.length + 2 > sizeof(full))
		return refuse_unknown(p, e, prefix);
	snprintf(full, sizeof(full), "%s%s", prefix, key);
	snprintf(section, sizeof(section), "%s%s.", prefix, key);
	for (size_t i = 0; i < p->schema->n_options; i++) {
		const struct config_option *o = &p->schema->options[i];
		bool is_section = strncmp(o->key, section, strlen(section)) == 0;
		bool *seen = is_section ? &p->seen_under[i] : &p->seen[i];

		if (!is_section && strcmp(o->key, full) != 0)
			continue;
		if (*seen)
			return refuse(p, e->start_mark, "\"%s\" stands here twice", full);
		*seen = true;
		return is_section ? take_section(p, section) : take_option(p, o);
	}
	return refuse_unknown(p, e, prefix);
}

/* prefix: "" or "section.". The recursion is as deep as the schema's keys have dots. */
static int take_mapping(struct parse *p, const char *prefix)
{
	for (;;) {
		_cleanup_(event_done) yaml_event_t e;
		int r = next_event(p, &e);

		if (r || e.type == YAML_MAPPING_END_EVENT)
			return r;
		if (e.type != YAML_SCALAR_EVENT)
			return refuse(p, e.start_mark, "a key must be plain text");
		r = take_key(p, &e, prefix);
		if (r)
			return r;
	}
}

/* ---- documents ---- */

static int take_document(struct parse *p)
{
	_cleanup_(event_done) yaml_event_t e, end;
	int r;

	memset(&end, 0, sizeof(end));
	r = next_event(p, &e);
	if (r)
		return r;
	if (e.type == YAML_MAPPING_START_EVENT) {
		r = take_mapping(p, "");
		if (r)
			return r;
	} else if (e.type != YAML_SCALAR_EVENT || !is_nothing(&e)) {
		return refuse(p, e.start_mark, "the file must be lines of the form \"key: value\"");
	}
	return next_event(p, &end);
}

static int take_stream(struct parse *p)
{
	bool had_document = false;

	for (;;) {
		_cleanup_(event_done) yaml_event_t e;
		int r = next_event(p, &e);

		if (r || e.type == YAML_STREAM_END_EVENT)
			return r;
		if (e.type != YAML_DOCUMENT_START_EVENT)
			continue;
		if (e.data.document_start.version_directive ||
		    e.data.document_start.tag_directives.start !=
			    e.data.document_start.tag_directives.end)
			return refuse(p, e.start_mark, "directives (%%YAML, %%TAG) are not accepted");
		if (had_document)
			return refuse(p, e.start_mark, "a second document begins here; one is accepted");
		had_document = true;
		r = take_document(p);
		if (r)
			return r;
	}
}

/* What libyaml would report in words of its own, or not at all. */
static int check_bytes(struct parse *p, const char *text, size_t len)
{
	bool at_start = true;

	if (!text_is_utf8(text, len)) {
		size_t good = 0;

		/* The longest valid beginning, at most one character further on each turn. */
		while (good < len) {
			size_t n = 1;

			while (n <= 4 && good + n <= len && !text_is_utf8(text + good, n))
				n++;
			if (n > 4 || good + n > len)
				break;
			good += n;
		}
		return refuse_offset(p, text, good, text[good] ? "not valid UTF-8" : "a NUL byte");
	}
	for (size_t i = 0; i < len; i++) {
		if (at_start && text[i] == '\t')
			return refuse_offset(p, text, i, "a tab cannot indent; use spaces");
		at_start = text[i] == '\n' || (at_start && text[i] == ' ');
	}
	return 0;
}

static int parse_text(struct parse *p, const char *text, size_t len)
{
	int r = check_bytes(p, text, len);

	if (r)
		return r;
	if (!yaml_parser_initialize(&p->yaml))
		return -ENOMEM;
	yaml_parser_set_encoding(&p->yaml, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&p->yaml, (const unsigned char *)text, len);
	r = take_stream(p);
	yaml_parser_delete(&p->yaml);
	return r;
}

/* ---- defaults ---- */

/* A list's default is a flow sequence; it is read by the parser that reads files. */
static int set_default_list(const struct config_option *o, void *out)
{
	struct config_error err = { "" };
	struct parse p = { .out = out, .name = o->key, .err = &err };
	bool in_list = false;
	int r = 0;

	if (!yaml_parser_initialize(&p.yaml))
		return -ENOMEM;
	yaml_parser_set_input_string(&p.yaml, (const unsigned char *)o->def, strlen(o->def));
	while (!r && !in_list) {
		_cleanup_(event_done) yaml_event_t e;

		r = next_event(&p, &e);
		in_list = !r && e.type == YAML_SEQUENCE_START_EVENT;
		if (!r && e.type == YAML_STREAM_END_EVENT)
			break;
	}
	if (!r)
		r = in_list ? take_list(&p, o) : REFUSED;
	yaml_parser_delete(&p.yaml);
	return r;
}

static int set_default(const struct config_option *o, void *out)
{
	const char *accepted;
	int r;

	if (!o->def)
		return o->type == CONFIG_LIST ? value_begin_list(o, out) : 0;
	if (o->type == CONFIG_LIST)
		r = set_default_list(o, out);
	else
		r = value_set(o, out, o->def, false, &accepted);
	/* The table contradicts itself. */
	assert(r == 0 || r == -ENOMEM);
	return r ? -ENOMEM : 0;
}

static int finish(struct parse *p)
{
	for (size_t i = 0; i < p->schema->n_options; i++) {
		const struct config_option *o = &p->schema->options[i];
		int r;

		if (p->seen[i])
			continue;
		if (o->required)
			return refuse_at(p, 1, 1, "\"%s\" is missing: %s", o->key, o->help);
		r = set_default(o, p->out);
		if (r)
			return r;
	}
	return 0;
}

/* ---- public ---- */

int config_parse(const struct config_schema *s, void *out, const char *name, const char *text,
		 size_t len, struct config_error *err)
{
	_cleanup_free_ bool *seen = calloc(2 * s->n_options + 1, sizeof(*seen));
	struct parse p = { .schema = s, .out = out, .name = name, .err = err, .seen = seen };
	int r = -ENOMEM;

	err->text[0] = '\0';
	if (len > FILE_MAX) {
		snprintf(err->text, sizeof(err->text), "%s: larger than 1 MiB", name);
		return -EINVAL;
	}
	if (seen) {
		p.seen_under = seen + s->n_options;
		r = parse_text(&p, text, len);
		if (!r)
			r = finish(&p);
	}
	if (r) {
		config_done(s, out);
		if (!err->text[0])
			snprintf(err->text, sizeof(err->text), "%s: %s", name, strerror(-r));
	}
	return r;
}

int config_load(const struct config_schema *s, void *out, const char *path, bool missing_ok,
		struct config_error *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	int r;

	r = file_read(&text, &len, path, FILE_MAX);
	if (r == -ENOENT && missing_ok)
		return config_parse(s, out, path, "", 0, err);
	if (r) {
		const char *why = r == -EFBIG ? "larger than 1 MiB" :
				  r == -EINVAL ? "not a regular file" :
						 strerror(-r);

		snprintf(err->text, sizeof(err->text), "%s: %s", path, why);
		return r;
	}
	return config_parse(s, out, path, text, len, err);
}

int config_defaults(const struct config_schema *s, void *out)
{
	for (size_t i = 0; i < s->n_options; i++) {
		int r = set_default(&s->options[i], out);

		if (r) {
			config_done(s, out);
			return r;
		}
	}
	return 0;
}

void config_done(const struct config_schema *s, void *out)
{
	for (size_t i = 0; i < s->n_options; i++)
		value_clear(&s->options[i], out);
}

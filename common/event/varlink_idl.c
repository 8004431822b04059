/*
 * A recursive-descent parser into a tree of types, and a walk over tree and
 * JSON value together. Every node hangs in one list of the idl from the moment
 * it is made, so that a parse that fails half-way leaks nothing. Named types
 * are resolved after the whole text was read; they may refer to themselves,
 * since the walk is bounded by the depth of the value.
 */
#include "event/varlink_idl.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

enum { NESTING_MAX = 32, NAME_MAX_LEN = 255 };

enum kind { K_BOOL, K_INT, K_FLOAT, K_STRING, K_OBJECT, K_ANY, K_ENUM, K_STRUCT, K_ARRAY, K_MAP, K_MAYBE, K_NAMED };

struct field {
	struct field *next;
	char *name;
	struct type *type; /* NULL in an enum */
};

struct type {
	struct type *all; /* every type of the idl, for freeing */
	enum kind kind;
	struct field *fields;  /* K_STRUCT, K_ENUM */
	struct type *of;       /* K_ARRAY, K_MAP, K_MAYBE; K_NAMED once resolved */
	char *name;	       /* K_NAMED */
	unsigned int line, column;
};

struct member {
	struct member *next;
	enum { M_TYPE, M_METHOD, M_ERROR } what;
	char *name;
	struct type *in, *out; /* a type or error has only in */
};

struct varlink_idl {
	char *name;
	struct member *members;
	struct type *types;
};

/* ---- parser -------------------------------------------------------------------------------- */

struct parser {
	struct varlink_idl *idl;
	struct varlink_idl_error *err;
	const char *p, *end;
	const char *line_start;
	unsigned int line, depth;
};

static int __attribute__((format(printf, 2, 3))) wrong(struct parser *s, const char *fmt, ...)
{
	va_list ap;

	s->err->line = s->line;
	s->err->column = (unsigned int)(s->p - s->line_start) + 1;
	va_start(ap, fmt);
	vsnprintf(s->err->text, sizeof(s->err->text), fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static char peek(const struct parser *s)
{
	return s->p < s->end ? *s->p : '\0';
}

/* Over white space and comments. */
static void skip(struct parser *s)
{
	for (; s->p < s->end; s->p++) {
		if (*s->p == '#')
			while (s->p + 1 < s->end && s->p[1] != '\n')
				s->p++;
		else if (*s->p == '\n') {
			s->line++;
			s->line_start = s->p + 1;
		} else if (*s->p != ' ' && *s->p != '\t' && *s->p != '\r')
			return;
	}
}

static bool take(struct parser *s, const char *token)
{
	size_t len = strlen(token);

	if ((size_t)(s->end - s->p) < len || memcmp(s->p, token, len) != 0)
		return false;
	s->p += len;
	return true;
}

static int expect(struct parser *s, const char *token)
{
	skip(s);
	return take(s, token) ? 0 : wrong(s, "expected \"%s\"", token);
}

static size_t word_length(const struct parser *s, const char *more)
{
	size_t n = 0;

	while (s->p + n < s->end && s->p[n] &&
	       (isalnum((unsigned char)s->p[n]) || strchr(more, s->p[n])))
		n++;
	return n;
}

static int word_take(struct parser *s, const char *more, char **out)
{
	size_t n = word_length(s, more);

	if (n > NAME_MAX_LEN)
		return wrong(s, "name is too long");
	*out = strndup(s->p, n);
	if (!*out)
		return -ENOMEM;
	s->p += n;
	return 0;
}

/* [A-Za-z]([_]?[A-Za-z0-9])* */
static int field_name(struct parser *s, char **out)
{
	skip(s);
	if (!isalpha((unsigned char)peek(s)))
		return wrong(s, "expected the name of a field");
	return word_take(s, "_", out);
}

static int type_name(struct parser *s, char **out)
{
	skip(s);
	if (!isupper((unsigned char)peek(s)))
		return wrong(s, "expected a name that begins with a capital letter");
	return word_take(s, "", out);
}

static int interface_name(struct parser *s, char **out)
{
	char before = '.';
	bool dotted = false;
	int r;

	skip(s);
	if (!isalpha((unsigned char)peek(s)))
		return wrong(s, "expected the interface's name");
	r = word_take(s, ".-", out);
	if (r)
		return r;
	for (const char *c = *out; *c; c++) {
		if (*c == '.' && (before == '.' || before == '-'))
			return wrong(s, "\"%s\" is no interface name", *out);
		dotted |= *c == '.';
		before = *c;
	}
	if (!dotted || before == '.' || before == '-')
		return wrong(s, "\"%s\" is no interface name", *out);
	return 0;
}

static struct type *type_new(struct parser *s, enum kind kind)
{
	struct type *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->kind = kind;
	t->line = s->line;
	t->column = (unsigned int)(s->p - s->line_start) + 1;
	t->all = s->idl->types;
	s->idl->types = t;
	return t;
}

static int parse_type(struct parser *s, struct type **out);

/* One "name" of an enum or "name: type" of a struct; the first one decides which it is. */
static int parse_field(struct parser *s, struct type *t, struct field ***tail)
{
	struct field *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return -ENOMEM;
	**tail = f;
	r = field_name(s, &f->name);
	if (r)
		return r;
	assert(f->name);
	for (const struct field *other = t->fields; other != f; other = other->next)
		if (strcmp(other->name, f->name) == 0)
			return wrong(s, "\"%s\" is there twice", f->name);
	skip(s);
	if (f == t->fields && peek(s) != ':')
		t->kind = K_ENUM;
	*tail = &f->next;
	if (t->kind == K_ENUM)
		return 0;
	r = expect(s, ":");
	return r ? r : parse_type(s, &f->type);
}

static int parse_struct(struct parser *s, struct type **out)
{
	struct type *t;
	struct field **tail;
	int r;

	r = expect(s, "(");
	if (r)
		return r;
	t = type_new(s, K_STRUCT);
	if (!t)
		return -ENOMEM;
	tail = &t->fields;
	*out = t;
	skip(s);
	if (take(s, ")"))
		return 0;
	for (;;) {
		r = parse_field(s, t, &tail);
		if (r)
			return r;
		skip(s);
		if (take(s, ")"))
			return 0;
		r = expect(s, ",");
		if (r)
			return r;
	}
}

static int parse_wrapped(struct parser *s, enum kind kind, struct type **out)
{
	struct type *t = type_new(s, kind);

	if (!t)
		return -ENOMEM;
	*out = t;
	if (kind == K_MAYBE && peek(s) == '?')
		return wrong(s, "\"??\" says no more than \"?\"");
	return parse_type(s, &t->of);
}

static int parse_simple(struct parser *s, struct type **out)
{
	static const struct {
		const char *name;
		enum kind kind;
	} simple[] = { { "bool", K_BOOL },     { "int", K_INT },       { "float", K_FLOAT },
		       { "string", K_STRING }, { "object", K_OBJECT }, { "any", K_ANY } };
	size_t n = word_length(s, "");
	struct type *t;

	for (size_t i = 0; i < ARRAY_SIZE(simple); i++) {
		if (n != strlen(simple[i].name) || memcmp(s->p, simple[i].name, n) != 0)
			continue;
		t = type_new(s, simple[i].kind);
		if (!t)
			return -ENOMEM;
		s->p += n;
		*out = t;
		return 0;
	}
	if (!isupper((unsigned char)peek(s)))
		return wrong(s, "expected a type");
	t = type_new(s, K_NAMED);
	if (!t)
		return -ENOMEM;
	*out = t;
	return type_name(s, &t->name);
}

static int parse_type_here(struct parser *s, struct type **out)
{
	skip(s);
	if (take(s, "?"))
		return parse_wrapped(s, K_MAYBE, out);
	if (take(s, "[]"))
		return parse_wrapped(s, K_ARRAY, out);
	if (take(s, "[string]"))
		return parse_wrapped(s, K_MAP, out);
	if (peek(s) == '(')
		return parse_struct(s, out);
	return parse_simple(s, out);
}

static int parse_type(struct parser *s, struct type **out)
{
	int r;

	if (++s->depth > NESTING_MAX)
		return wrong(s, "nested too deeply");
	r = parse_type_here(s, out);
	s->depth--;
	return r;
}

static int parse_parameters(struct parser *s, struct type **out)
{
	int r = parse_struct(s, out);

	if (!r && (*out)->kind == K_ENUM)
		return wrong(s, "parameters need types");
	return r;
}

static int parse_member(struct parser *s, struct member *m)
{
	int r;

	if (take(s, "method"))
		m->what = M_METHOD;
	else if (take(s, "type"))
		m->what = M_TYPE;
	else if (take(s, "error"))
		m->what = M_ERROR;
	else
		return wrong(s, "expected \"method\", \"type\" or \"error\"");
	r = type_name(s, &m->name);
	if (r)
		return r;
	assert(m->name);
	for (const struct member *other = s->idl->members; other != m; other = other->next)
		if (strcmp(other->name, m->name) == 0)
			return wrong(s, "\"%s\" is there twice", m->name);
	skip(s);
	/* varlink.org lets an error stand without parameters. */
	if (m->what == M_ERROR && peek(s) != '(')
		return 0;
	r = m->what == M_TYPE ? parse_struct(s, &m->in) : parse_parameters(s, &m->in);
	if (r || m->what != M_METHOD)
		return r;
	r = expect(s, "->");
	if (r)
		return r;
	return parse_parameters(s, &m->out);
}

static const struct member *member_find(const struct varlink_idl *idl, int what, const char *name)
{
	for (const struct member *m = idl->members; m; m = m->next)
		if ((int)m->what == what && strcmp(m->name, name) == 0)
			return m;
	return NULL;
}

static int resolve(struct parser *s)
{
	for (struct type *t = s->idl->types; t; t = t->all) {
		const struct member *m;

		if (t->kind != K_NAMED)
			continue;
		m = member_find(s->idl, M_TYPE, t->name);
		if (!m) {
			wrong(s, "there is no type \"%s\"", t->name);
			s->err->line = t->line;
			s->err->column = t->column;
			return -EINVAL;
		}
		t->of = m->in;
	}
	return 0;
}

static int parse_all(struct parser *s)
{
	struct member **tail = &s->idl->members;
	int r;

	skip(s);
	r = expect(s, "interface");
	if (!r)
		r = interface_name(s, &s->idl->name);
	if (r)
		return r;
	for (skip(s); s->p < s->end; skip(s)) {
		struct member *m = calloc(1, sizeof(*m));

		if (!m)
			return -ENOMEM;
		*tail = m;
		tail = &m->next;
		r = parse_member(s, m);
		if (r)
			return r;
	}
	if (!s->idl->members)
		return wrong(s, "an interface needs a member");
	return resolve(s);
}

int varlink_idl_parse(struct varlink_idl **out, const char *text, size_t len,
		      struct varlink_idl_error *err)
{
	_cleanup_(varlink_idl_freep) struct varlink_idl *idl = calloc(1, sizeof(*idl));
	struct parser s = { .idl = idl,
			    .err = err,
			    .p = text,
			    .end = text + len,
			    .line_start = text,
			    .line = 1 };
	int r;

	memset(err, 0, sizeof(*err));
	if (!idl)
		return -ENOMEM;
	r = parse_all(&s);
	if (r)
		return r;
	*out = steal(&idl);
	return 0;
}

struct varlink_idl *varlink_idl_free(struct varlink_idl *idl)
{
	if (!idl)
		return NULL;
	while (idl->types) {
		struct type *t = idl->types;

		idl->types = t->all;
		while (t->fields) {
			struct field *f = t->fields;

			t->fields = f->next;
			free(f->name);
			free(f);
		}
		free(t->name);
		free(t);
	}
	while (idl->members) {
		struct member *m = idl->members;

		idl->members = m->next;
		free(m->name);
		free(m);
	}
	free(idl->name);
	free(idl);
	return NULL;
}

const char *varlink_idl_name(const struct varlink_idl *idl)
{
	return idl->name;
}

const char *varlink_idl_method(const struct varlink_idl *idl, size_t i)
{
	for (const struct member *m = idl->members; m; m = m->next)
		if (m->what == M_METHOD && i-- == 0)
			return m->name;
	return NULL;
}

/* ---- checking values ----------------------------------------------------------------------- */

/* Where the walk is: grown on the way down, cut again on the way up unless a fault was found. */
struct place {
	char *text;
	size_t cap, len;
};

static size_t __attribute__((format(printf, 2, 3))) place_enter(struct place *p, const char *fmt, ...)
{
	size_t before = p->len;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(p->text + p->len, p->cap - p->len, fmt, ap);
	va_end(ap);
	p->len += (size_t)n < p->cap - p->len ? (size_t)n : p->cap - p->len - 1;
	return before;
}

static void place_leave(struct place *p, size_t before)
{
	p->len = before;
	p->text[before] = '\0';
}

static int check(const struct type *t, const json_t *v, struct place *at);

static const struct field *field_find(const struct type *t, const char *name)
{
	for (const struct field *f = t->fields; f; f = f->next)
		if (strcmp(f->name, name) == 0)
			return f;
	return NULL;
}

static int check_struct(const struct type *t, const json_t *v, struct place *at)
{
	const char *dot = at->len ? "." : "";
	const char *key;
	json_t *item;
	int r;

	if (v && !json_is_object(v))
		return IDL_E_TYPE;
	for (const struct field *f = t->fields; f; f = f->next) {
		const json_t *have = json_object_get(v, f->name);
		size_t before = place_enter(at, "%s%s", dot, f->name);

		if (!have || json_is_null(have))
			r = f->type->kind == K_MAYBE || f->type->kind == K_ANY ? 0 : IDL_E_MISSING;
		else
			r = check(f->type, have, at);
		if (r)
			return r;
		place_leave(at, before);
	}
	json_object_foreach((json_t *)(uintptr_t)v, key, item)
	{
		if (field_find(t, key))
			continue;
		place_enter(at, "%s%s", dot, key);
		return IDL_E_UNKNOWN;
	}
	return 0;
}

static int check_array(const struct type *t, const json_t *v, struct place *at)
{
	if (!json_is_array(v))
		return IDL_E_TYPE;
	for (size_t i = 0; i < json_array_size(v); i++) {
		size_t before = place_enter(at, "[%zu]", i);
		int r = check(t->of, json_array_get(v, i), at);

		if (r)
			return r;
		place_leave(at, before);
	}
	return 0;
}

static int check_map(const struct type *t, const json_t *v, struct place *at)
{
	const char *key;
	json_t *item;

	if (!json_is_object(v))
		return IDL_E_TYPE;
	json_object_foreach((json_t *)(uintptr_t)v, key, item)
	{
		size_t before = place_enter(at, ".%s", key);
		int r = check(t->of, item, at);

		if (r)
			return r;
		place_leave(at, before);
	}
	return 0;
}

static int type_is(bool yes)
{
	return yes ? 0 : IDL_E_TYPE;
}

static int check(const struct type *t, const json_t *v, struct place *at)
{
	switch (t->kind) {
	case K_BOOL:
		return type_is(json_is_boolean(v));
	case K_INT:
		return type_is(json_is_integer(v));
	case K_FLOAT:
		return type_is(json_is_number(v));
	case K_STRING:
		return type_is(json_is_string(v));
	case K_OBJECT:
		return type_is(json_is_object(v));
	case K_ANY:
		return 0;
	case K_ENUM:
		return type_is(json_is_string(v) && field_find(t, json_string_value(v)));
	case K_STRUCT:
		return check_struct(t, v, at);
	case K_ARRAY:
		return check_array(t, v, at);
	case K_MAP:
		return check_map(t, v, at);
	case K_MAYBE:
		return json_is_null(v) ? 0 : check(t->of, v, at);
	case K_NAMED:
		return check(t->of, v, at);
	}
	return IDL_E_TYPE;
}

static int check_side(const struct varlink_idl *idl, const char *method, bool reply,
		      const json_t *value, char *where, size_t cap)
{
	const struct member *m = member_find(idl, M_METHOD, method);
	struct place at = { .text = where, .cap = cap };

	where[0] = '\0';
	if (!m)
		return IDL_E_NO_SUCH;
	return check_struct(reply ? m->out : m->in, value, &at);
}

int varlink_idl_check_call(const struct varlink_idl *idl, const char *method,
			   const struct json_t *value, char *where, size_t cap)
{
	return check_side(idl, method, false, value, where, cap);
}

int varlink_idl_check_reply(const struct varlink_idl *idl, const char *method,
			    const struct json_t *value, char *where, size_t cap)
{
	return check_side(idl, method, true, value, where, cap);
}

/*
 * Parser and checker of Varlink interface descriptions. Types become a small
 * tree; named types are looked up when a value is checked, so that order does not
 * matter and a value's depth, which is bounded, bounds the recursion.
 */
#include "event/varlink_idl.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

enum { NAME_MAX_LEN = 64, TYPE_DEPTH_MAX = 16, VALUE_DEPTH_MAX = 24 };

enum kind {
	KIND_BOOL,
	KIND_INT,
	KIND_FLOAT,
	KIND_STRING,
	KIND_OBJECT,
	KIND_NAMED,
	KIND_ENUM,
	KIND_STRUCT,
	KIND_ARRAY,
	KIND_MAP,
	KIND_MAYBE,
};

struct type {
	enum kind kind;
	char name[NAME_MAX_LEN]; /* KIND_NAMED */
	struct type *inner;	 /* KIND_ARRAY, KIND_MAP, KIND_MAYBE */
	struct field *fields;	 /* KIND_STRUCT, KIND_ENUM (type NULL) */
};

struct field {
	char name[NAME_MAX_LEN];
	struct type *type;
	struct field *next;
};

enum member_kind { MEMBER_TYPE, MEMBER_METHOD, MEMBER_ERROR };

struct member {
	enum member_kind kind;
	char name[NAME_MAX_LEN];
	struct type *in;
	struct type *out; /* methods */
	struct member *next;
};

struct varlink_idl {
	char *name;
	struct member *members;
};

struct parser {
	const char *p;
	unsigned int line;
	unsigned int depth;
};

static struct type *type_free(struct type *t)
{
	if (!t)
		return NULL;
	type_free(t->inner);
	while (t->fields) {
		struct field *f = t->fields;

		t->fields = f->next;
		type_free(f->type);
		free(f);
	}
	free(t);
	return NULL;
}
DEFINE_CLEANUP(struct type *, type_free);

static void skip_space(struct parser *ps)
{
	for (;; ps->p++) {
		if (*ps->p == '#')
			ps->p += strcspn(ps->p, "\n");
		if (*ps->p == '\n')
			ps->line++;
		else if (*ps->p != ' ' && *ps->p != '\t' && *ps->p != '\r')
			return;
	}
}

/* Step over the given text after white space. */
static bool accept(struct parser *ps, const char *text)
{
	size_t n = strlen(text);

	skip_space(ps);
	if (strncmp(ps->p, text, n) != 0)
		return false;
	/* A keyword ends where its letters do. */
	if (isalpha((unsigned char)text[0]) && (isalnum((unsigned char)ps->p[n]) || ps->p[n] == '_'))
		return false;
	ps->p += n;
	return true;
}

static bool take_name(struct parser *ps, char out[static NAME_MAX_LEN], bool upper)
{
	size_t n = 0;

	skip_space(ps);
	if (upper ? !isupper((unsigned char)*ps->p) : !isalpha((unsigned char)*ps->p))
		return false;
	while (isalnum((unsigned char)ps->p[n]) || ps->p[n] == '_')
		n++;
	if (n >= NAME_MAX_LEN)
		return false;
	memcpy(out, ps->p, n);
	out[n] = '\0';
	ps->p += n;
	return true;
}

static int parse_type(struct type **out, struct parser *ps);

/* "(a: int, b: string)", or "(a, b)" which is an enumeration. The opening is consumed. */
static int parse_fields(struct type *t, struct parser *ps)
{
	struct field **tail = &t->fields;
	bool first = true;

	t->kind = KIND_STRUCT;
	if (accept(ps, ")"))
		return 0;
	do {
		struct field *f = calloc(1, sizeof(*f));
		int r;

		if (!f)
			return -ENOMEM;
		*tail = f;
		tail = &f->next;
		if (!take_name(ps, f->name, false))
			return -EINVAL;
		if (accept(ps, ":")) {
			if (!first && t->kind == KIND_ENUM)
				return -EINVAL;
			r = parse_type(&f->type, ps);
			if (r)
				return r;
		} else {
			if (!first && t->kind == KIND_STRUCT)
				return -EINVAL;
			t->kind = KIND_ENUM;
		}
		first = false;
	} while (accept(ps, ","));
	return accept(ps, ")") ? 0 : -EINVAL;
}

static int parse_type_in(struct type *t, struct parser *ps)
{
	static const struct {
		const char *word;
		enum kind kind;
	} plain[] = { { "bool", KIND_BOOL },	 { "int", KIND_INT },	    { "float", KIND_FLOAT },
		      { "string", KIND_STRING }, { "object", KIND_OBJECT } };
	static const struct {
		const char *prefix;
		enum kind kind;
	} wrapped[] = { { "?", KIND_MAYBE }, { "[]", KIND_ARRAY }, { "[string]", KIND_MAP } };

	for (size_t i = 0; i < ARRAY_SIZE(wrapped); i++)
		if (accept(ps, wrapped[i].prefix)) {
			t->kind = wrapped[i].kind;
			return parse_type(&t->inner, ps);
		}
	if (accept(ps, "("))
		return parse_fields(t, ps);
	for (size_t i = 0; i < ARRAY_SIZE(plain); i++)
		if (accept(ps, plain[i].word)) {
			t->kind = plain[i].kind;
			return 0;
		}
	t->kind = KIND_NAMED;
	return take_name(ps, t->name, true) ? 0 : -EINVAL;
}

static int parse_type(struct type **out, struct parser *ps)
{
	_cleanup_(type_freep) struct type *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return -ENOMEM;
	if (++ps->depth > TYPE_DEPTH_MAX)
		return -EINVAL;
	r = parse_type_in(t, ps);
	ps->depth--;
	if (r)
		return r;
	*out = steal(&t);
	return 0;
}

/* A parenthesised list, also empty. */
static int parse_struct(struct type **out, struct parser *ps)
{
	int r = parse_type(out, ps);

	if (r)
		return r;
	return (*out)->kind == KIND_STRUCT || (*out)->kind == KIND_ENUM ? 0 : -EINVAL;
}

static int parse_member(struct member *m, struct parser *ps)
{
	int r;

	if (accept(ps, "type"))
		m->kind = MEMBER_TYPE;
	else if (accept(ps, "method"))
		m->kind = MEMBER_METHOD;
	else if (accept(ps, "error"))
		m->kind = MEMBER_ERROR;
	else
		return -EINVAL;
	if (!take_name(ps, m->name, true))
		return -EINVAL;
	r = parse_struct(&m->in, ps);
	if (r || m->kind != MEMBER_METHOD)
		return r;
	return accept(ps, "->") ? parse_struct(&m->out, ps) : -EINVAL;
}

static const struct member *find(const struct varlink_idl *idl, enum member_kind kind, const char *name)
{
	for (const struct member *m = idl->members; m; m = m->next)
		if (m->kind == kind && strcmp(m->name, name) == 0)
			return m;
	return NULL;
}

static bool names_resolve(const struct varlink_idl *idl, const struct type *t)
{
	if (!t)
		return true;
	if (t->kind == KIND_NAMED && !find(idl, MEMBER_TYPE, t->name))
		return false;
	for (const struct field *f = t->fields; f; f = f->next)
		if (!names_resolve(idl, f->type))
			return false;
	return names_resolve(idl, t->inner);
}

static int parse_all(struct varlink_idl *idl, struct parser *ps)
{
	struct member **tail = &idl->members;
	size_t n;

	if (!accept(ps, "interface"))
		return -EINVAL;
	skip_space(ps);
	n = strspn(ps->p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-");
	if (!n)
		return -EINVAL;
	idl->name = strndup(ps->p, n);
	if (!idl->name)
		return -ENOMEM;
	ps->p += n;
	for (skip_space(ps); *ps->p; skip_space(ps)) {
		struct member *m = calloc(1, sizeof(*m));
		int r;

		if (!m)
			return -ENOMEM;
		*tail = m;
		tail = &m->next;
		r = parse_member(m, ps);
		if (r)
			return r;
		for (const struct member *o = idl->members; o != m; o = o->next)
			if (strcmp(o->name, m->name) == 0)
				return -EINVAL;
	}
	for (const struct member *m = idl->members; m; m = m->next)
		if (!names_resolve(idl, m->in) || !names_resolve(idl, m->out))
			return -EINVAL;
	return 0;
}

int varlink_idl_parse(struct varlink_idl **out, const char *text, unsigned int *line)
{
	_cleanup_(varlink_idl_freep) struct varlink_idl *idl = calloc(1, sizeof(*idl));
	struct parser ps = { .p = text, .line = 1 };
	int r;

	if (!idl)
		return -ENOMEM;
	r = parse_all(idl, &ps);
	*line = ps.line;
	if (r)
		return r;
	*out = steal(&idl);
	return 0;
}

const char *varlink_idl_name(const struct varlink_idl *idl)
{
	return idl->name;
}

struct varlink_idl *varlink_idl_free(struct varlink_idl *idl)
{
	if (!idl)
		return NULL;
	while (idl->members) {
		struct member *m = idl->members;

		idl->members = m->next;
		type_free(m->in);
		type_free(m->out);
		free(m);
	}
	free(idl->name);
	free(idl);
	return NULL;
}

static bool value_fits(const struct varlink_idl *idl, const struct type *t, const json_t *v, int depth);

static bool enum_has(const struct type *t, const char *word)
{
	for (const struct field *f = t->fields; f; f = f->next)
		if (word && strcmp(f->name, word) == 0)
			return true;
	return false;
}

/* NULL when the object fits, else the name of the member that does not. */
static const char *misfit(const struct varlink_idl *idl, const struct type *t, const json_t *obj, int depth)
{
	const char *key;
	const json_t *v;

	for (const struct field *f = t->fields; f; f = f->next) {
		v = json_object_get(obj, f->name);
		if (v ? !value_fits(idl, f->type, v, depth) : f->type->kind != KIND_MAYBE)
			return f->name;
	}
	json_object_foreach((json_t *)(uintptr_t)obj, key, v) {
		if (!enum_has(t, key))
			return key;
	}
	return NULL;
}

static bool members_fit(const struct varlink_idl *idl, const struct type *t, const json_t *v, int depth)
{
	const char *key;
	const json_t *item;
	size_t i;

	if (t->kind == KIND_ARRAY) {
		json_array_foreach(v, i, item) {
			if (!value_fits(idl, t->inner, item, depth))
				return false;
		}
		return json_is_array(v);
	}
	json_object_foreach((json_t *)(uintptr_t)v, key, item) {
		if (!value_fits(idl, t->inner, item, depth))
			return false;
	}
	return json_is_object(v);
}

static bool value_fits(const struct varlink_idl *idl, const struct type *t, const json_t *v, int depth)
{
	if (++depth > VALUE_DEPTH_MAX)
		return false;
	switch (t->kind) {
	case KIND_BOOL:
		return json_is_boolean(v);
	case KIND_INT:
		return json_is_integer(v);
	case KIND_FLOAT:
		return json_is_number(v);
	case KIND_STRING:
		return json_is_string(v);
	case KIND_OBJECT:
		return json_is_object(v);
	case KIND_ENUM:
		return json_is_string(v) && enum_has(t, json_string_value(v));
	case KIND_MAYBE:
		return json_is_null(v) || value_fits(idl, t->inner, v, depth);
	case KIND_ARRAY:
	case KIND_MAP:
		return members_fit(idl, t, v, depth);
	case KIND_STRUCT:
		return json_is_object(v) && !misfit(idl, t, v, depth);
	case KIND_NAMED:
		return value_fits(idl, find(idl, MEMBER_TYPE, t->name)->in, v, depth);
	}
	return false;
}

int varlink_idl_check(const struct varlink_idl *idl, const char *method, const struct json_t *params,
		      const char **which)
{
	const struct member *m = find(idl, MEMBER_METHOD, method);

	if (!m)
		return VARLINK_IDL_E_NO_METHOD;
	*which = misfit(idl, m->in, params, 0);
	return *which ? VARLINK_IDL_E_PARAMETER : 0;
}

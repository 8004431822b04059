/* What a spec knows of key files beside the current one: the next one, and those that have not quite gone yet. */
#include "pskd/tunnel/spec_internal.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/json.h"

void spec_generations_done(struct spec *s)
{
	free(s->staged_file);
	free(s->declared_file);
	for (size_t i = 0; i < s->n_retired; i++)
		free(s->retired[i].key_file);
	s->staged_file = s->declared_file = NULL;
	s->n_retired = 0;
}

static void add_fingerprint(json_t *j, const struct spec_fingerprint *f)
{
	char text[2 * SPEC_FINGERPRINT_LEN + 1];

	if (!f->is_known)
		return;
	hex_format(text, f->b, sizeof(f->b));
	json_object_set_new(j, "fingerprint", json_string(text));
}

static json_t *retired_to_json(const struct spec *s)
{
	json_t *list = json_array();

	for (size_t i = 0; i < s->n_retired; i++) {
		const struct spec_retired *r = &s->retired[i];
		json_t *one = json_pack("{s:s, s:s, s:s}", "key_file", r->key_file, "ledger", r->ledger, "erase",
					spec_erase_names[r->erase]);

		add_fingerprint(one, &r->fingerprint);
		json_array_append_new(list, one);
	}
	return list;
}

void spec_generations_to_json(const struct spec *s, json_t *j)
{
	char first[2 * SPEC_FINGERPRINT_LEN + 1], hint[2 * SPEC_HINT_LEN + 1];

	json_t *staged;

	add_fingerprint(j, &s->fingerprint);
	if (s->staged_file) {
		staged = json_pack("{s:s, s:s}", "key_file", s->staged_file, "ledger", s->staged_ledger);
		add_fingerprint(staged, &s->staged_fingerprint);
		json_object_set_new(j, "staged", staged);
	}
	if (s->declared_file)
		json_object_set_new(j, "replaces", json_string(s->declared_file));
	if (s->has_first) {
		hex_format(first, s->first_fingerprint, sizeof(s->first_fingerprint));
		hex_format(hint, s->first_hint, sizeof(s->first_hint));
		json_object_set_new(j, "first", json_pack("{s:s, s:s}", "fingerprint", first, "hint", hint));
	}
	if (s->n_retired)
		json_object_set_new(j, "retired", retired_to_json(s));
}

/* One may be missing, of a state that is older. */
static int read_fingerprint(struct spec_fingerprint *f, const json_t *j)
{
	const json_t *text = json_object_get(j, "fingerprint");

	if (text && (!json_is_string(text) || hex_parse(f->b, sizeof(f->b), json_string_value(text))))
		return -EBADMSG;
	f->is_known = text != NULL;
	return 0;
}

/* A file, its ledger's name below ledgers/, and its fingerprint. */
static int read_file(char **file, char ledger[static SPEC_LEDGER_LEN], struct spec_fingerprint *fingerprint,
		     const json_t *j)
{
	const char *f = json_get_str(j, "key_file"), *l = json_get_str(j, "ledger");

	if (!f || f[0] != '/' || !l || !l[0] || strlen(l) >= SPEC_LEDGER_LEN || strchr(l, '/') ||
	    read_fingerprint(fingerprint, j))
		return -EBADMSG;
	*file = strdup(f);
	if (!*file)
		return -ENOMEM;
	snprintf(ledger, SPEC_LEDGER_LEN, "%s", l);
	return 0;
}

static int read_retired(struct spec *s, const json_t *one)
{
	struct spec_retired *r = &s->retired[s->n_retired];
	const char *erase = json_get_str(one, "erase");
	int e;

	if (s->n_retired == SPEC_RETIRED_MAX || !erase)
		return -EBADMSG;
	for (r->erase = 0; spec_erase_names[r->erase]; r->erase++)
		if (strcmp(erase, spec_erase_names[r->erase]) == 0)
			break;
	if (!spec_erase_names[r->erase])
		return -EBADMSG;
	e = read_file(&r->key_file, r->ledger, &r->fingerprint, one);
	if (!e)
		s->n_retired++;
	return e;
}

static int read_first(struct spec *s, const json_t *j)
{
	const char *fingerprint = json_get_str(j, "fingerprint"), *hint = json_get_str(j, "hint");

	if (!fingerprint || !hint || hex_parse(s->first_fingerprint, sizeof(s->first_fingerprint), fingerprint) ||
	    hex_parse(s->first_hint, sizeof(s->first_hint), hint))
		return -EBADMSG;
	s->has_first = true;
	return 0;
}

int spec_generations_from_json(struct spec *s, const json_t *j)
{
	const json_t *staged = json_object_get(j, "staged"), *one;
	const json_t *first = json_object_get(j, "first");
	const char *replaces = json_get_str(j, "replaces");
	int r = read_fingerprint(&s->fingerprint, j);
	size_t i;

	if (!r && staged)
		r = read_file(&s->staged_file, s->staged_ledger, &s->staged_fingerprint, staged);
	json_array_foreach(json_object_get(j, "retired"), i, one)
		if (!r)
			r = read_retired(s, one);
	if (!r && first)
		r = read_first(s, first);
	if (!r && replaces) {
		s->declared_file = strdup(replaces);
		r = s->declared_file ? 0 : -ENOMEM;
	}
	return r;
}

static bool is_same_file(const char *a, const char *b)
{
	return a && b && strcmp(a, b) == 0;
}

int spec_take_generations(struct spec *s, struct spec *stored)
{
	const char *declared = s->f.key_file, *current = stored->ledger_for;
	char *copy;

	/* Erasing goes on whatever the file says now. */
	memcpy(s->retired, stored->retired, sizeof(s->retired));
	s->n_retired = stored->n_retired;
	stored->n_retired = 0;
	if (!current || (!is_same_file(declared, current) && !is_same_file(declared, stored->declared_file) &&
			 !is_same_file(declared, stored->staged_file)))
		return 0;
	s->staged_file = steal(&stored->staged_file);
	memcpy(s->staged_ledger, stored->staged_ledger, sizeof(s->staged_ledger));
	s->staged_fingerprint = stored->staged_fingerprint;
	memcpy(s->first_fingerprint, stored->first_fingerprint, sizeof(s->first_fingerprint));
	memcpy(s->first_hint, stored->first_hint, sizeof(s->first_hint));
	s->has_first = stored->has_first;
	if (is_same_file(declared, current))
		return 0;
	/* The file is behind a switch that was made, or ahead of one to come. */
	copy = strdup(current);
	if (!copy)
		return -ENOMEM;
	s->declared_file = s->f.key_file;
	s->f.key_file = copy;
	return 0;
}

int spec_switch(struct spec *s)
{
	struct spec_retired *r = &s->retired[s->n_retired];

	if (!s->staged_file || s->n_retired == SPEC_RETIRED_MAX)
		return -EBUSY;
	if (s->origin == SPEC_DECLARED && !s->declared_file) {
		s->declared_file = strdup(s->f.key_file);
		if (!s->declared_file)
			return -ENOMEM;
	}
	r->key_file = s->f.key_file;
	memcpy(r->ledger, s->ledger, sizeof(r->ledger));
	r->fingerprint = s->fingerprint;
	r->erase = s->f.erase;
	s->n_retired++;
	s->f.key_file = steal(&s->staged_file);
	memcpy(s->ledger, s->staged_ledger, sizeof(s->ledger));
	s->fingerprint = s->staged_fingerprint;
	s->staged_ledger[0] = '\0';
	s->staged_fingerprint = (struct spec_fingerprint){ .is_known = false };
	if (is_same_file(s->declared_file, s->f.key_file))
		free(steal(&s->declared_file));
	return 0;
}

void spec_switch_back(struct spec *s)
{
	struct spec_retired *r = &s->retired[s->n_retired - 1];

	s->staged_file = s->f.key_file;
	memcpy(s->staged_ledger, s->ledger, sizeof(s->staged_ledger));
	s->staged_fingerprint = s->fingerprint;
	s->f.key_file = steal(&r->key_file);
	memcpy(s->ledger, r->ledger, sizeof(s->ledger));
	s->fingerprint = r->fingerprint;
	s->n_retired--;
}

void spec_drop_retired(struct spec *s, size_t i)
{
	free(s->retired[i].key_file);
	memmove(&s->retired[i], &s->retired[i + 1], (s->n_retired - i - 1) * sizeof(s->retired[0]));
	s->n_retired--;
}

/*
 * What commands change of a tunnel that is there. Each change is whole or none: what is new is checked as if it
 * stood in a file, and takes the place of what was, which the caller can put back.
 */
#include "pskd/tunnel/spec_internal.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/json.h"

/* The rest has commands of its own, or is what the tunnel is. */
static const struct {
	const char *key;
	bool of_key_file; /* a pairing's tunnel has no such thing */
} changeable[] = {
	{ "endpoint", false },	   { "listen", false }, { "local_address", false }, { "peer_address", false },
	{ "routes", false },	   { "allowed", false }, { "mtu", false },	    { "keepalive", false },
	{ "dscp", false },	   { "salt", true },	{ "erase", true },
};

static int refuse(const struct spec *s, struct config_error *err, const char *key, const char *why)
{
	snprintf(err->text, sizeof(err->text), "%s: %.40s: %s", s->name, key, why);
	return -EINVAL;
}

/* Take what members have. */
static int set_members(const struct spec *s, json_t *file, const json_t *members, struct config_error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(changeable); i++) {
		json_t *v = json_object_get(members, changeable[i].key);

		if (!v || json_is_null(v))
			continue;
		if (changeable[i].of_key_file && s->origin == SPEC_PAIRED)
			return refuse(s, err, changeable[i].key, "only a tunnel with a key file has that");
		if (json_object_set(file, changeable[i].key, v) != 0)
			return -ENOMEM;
	}
	return 0;
}

/* Take away what these keys say, so that it is what it is when nobody says anything. */
static int drop_members(const struct spec *s, json_t *file, const json_t *members, const json_t *defaults,
			struct config_error *err)
{
	const json_t *one;
	size_t at, i;

	json_array_foreach(defaults, at, one) {
		const char *key = json_string_value(one) ? json_string_value(one) : "";

		for (i = 0; i < ARRAY_SIZE(changeable); i++)
			if (strcmp(changeable[i].key, key) == 0)
				break;
		if (i == ARRAY_SIZE(changeable))
			return refuse(s, err, key, "this cannot be set");
		if (json_object_get(members, key) && !json_is_null(json_object_get(members, key)))
			return refuse(s, err, key, "either a value or its default, not both");
		json_object_del(file, key);
	}
	return 0;
}

/* What a file says, and what was made of that; who the peer of a pairing is, the pairing says. */
static void swap_files(struct spec *a, struct spec *b)
{
	struct spec was = *a;

	a->f = b->f;
	a->routes = b->routes;
	a->allowed = b->allowed;
	a->dscp = b->dscp;
	b->f = was.f;
	b->routes = was.routes;
	b->allowed = was.allowed;
	b->dscp = was.dscp;
}

/* *out: s as these members would have it, as far as a file goes. */
static int read_file(struct spec **out, const struct spec *s, json_t *file, struct config_error *err)
{
	_cleanup_(spec_freep) struct spec *next = NULL;
	int r = spec_new(&next, s->name, s->origin);

	/* The table asks for one. */
	if (!r && !s->f.key_file && json_object_set_new(file, "key_file", json_string("/")) != 0)
		r = -ENOMEM;
	if (!r)
		r = spec_parse_members(next, file, err);
	if (r)
		return r;
	if (!s->f.key_file)
		free(steal(&next->f.key_file));
	next->f.enabled = s->f.enabled;
	*out = steal(&next);
	return 0;
}

struct json_t *spec_settings(const struct spec *s)
{
	_cleanup_json_ json_t *file = spec_file_to_json(&s->f);
	json_t *out = json_object(), *v;

	for (size_t i = 0; i < ARRAY_SIZE(changeable); i++) {
		v = json_object_get(file, changeable[i].key);
		if (v && !(changeable[i].of_key_file && s->origin == SPEC_PAIRED))
			json_object_set(out, changeable[i].key, v);
	}
	return out;
}

int spec_change(struct spec *s, struct spec **earlier, const struct json_t *members, const struct json_t *defaults,
		struct config_error *err)
{
	_cleanup_json_ json_t *file = spec_file_to_json(&s->f);
	_cleanup_(spec_freep) struct spec *next = NULL;
	int r;

	if (!file)
		return -ENOMEM;
	r = set_members(s, file, members, err);
	if (!r)
		r = drop_members(s, file, members, defaults, err);
	if (!r)
		r = read_file(&next, s, file, err);
	if (r)
		return r;
	swap_files(s, next);
	*earlier = steal(&next);
	return 0;
}

void spec_change_back(struct spec *s, struct spec **earlier)
{
	swap_files(s, *earlier);
	*earlier = spec_free(*earlier);
}

int spec_inherit(struct spec *s, const struct spec *from)
{
	_cleanup_(spec_freep) struct spec *earlier = NULL;
	_cleanup_json_ json_t *members = spec_file_to_json(&from->f);
	struct config_error err;
	int r;

	if (!members)
		return -ENOMEM;
	for (size_t i = 0; i < ARRAY_SIZE(changeable); i++)
		if (changeable[i].of_key_file)
			json_object_del(members, changeable[i].key);
	r = spec_change(s, &earlier, members, NULL, &err);
	if (r)
		return r;
	return spec_same(s, earlier) ? 0 : 1;
}

/* ---- who is revoked ---- */

static int copy_list(struct config_list *out, const struct config_list *from, size_t room)
{
	out->v = calloc(from->n + room, sizeof(*out->v));
	if (!out->v)
		return -ENOMEM;
	for (; out->n < from->n; out->n++) {
		out->v[out->n] = strdup(from->v[out->n]);
		if (!out->v[out->n])
			return -ENOMEM;
	}
	return 0;
}

void spec_texts_done(struct config_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i]);
	free(l->v);
	*l = (struct config_list){ 0 };
}

static size_t find(const struct config_list *l, const char *identity)
{
	size_t i = 0;

	while (i < l->n && !label_same(l->v[i], identity))
		i++;
	return i;
}

static int revoke_one(struct config_list *l, const char *identity)
{
	if (find(l, identity) < l->n)
		return 0;
	if (l->n == SPEC_REVOKED_MAX)
		return -E2BIG;
	l->v[l->n] = strdup(identity);
	if (!l->v[l->n])
		return -ENOMEM;
	l->n++;
	return 0;
}

static int pardon_one(struct config_list *l, const char *identity)
{
	size_t at = find(l, identity);

	if (at == l->n)
		return -ENOENT;
	free(l->v[at]);
	l->n--;
	memmove(&l->v[at], &l->v[at + 1], (l->n - at) * sizeof(*l->v));
	return 0;
}

int spec_revoke(struct config_list *out, const struct spec *s, const struct config_list *identities, bool undo, size_t *at)
{
	_cleanup_(spec_texts_done) struct config_list l = { 0 };
	int r = copy_list(&l, &s->revoked, identities->n + 1);

	for (*at = 0; *at < identities->n && !r; *at += !r)
		r = undo ? pardon_one(&l, identities->v[*at]) : revoke_one(&l, identities->v[*at]);
	if (r)
		return r;
	*out = l;
	l = (struct config_list){ 0 };
	return 0;
}

int spec_set_revoked(struct spec *s, struct config_list *revoked)
{
	struct config_list before = s->revoked;
	int r = label_list_set(&s->revoked_ids, revoked);

	if (r)
		return r;
	s->revoked = *revoked;
	*revoked = before;
	return 0;
}

int spec_copy_revoked(struct spec *s, const struct spec *from)
{
	_cleanup_(spec_texts_done) struct config_list l = { 0 };
	int r = copy_list(&l, &from->revoked, 1);

	return r ? r : spec_set_revoked(s, &l);
}

int spec_revoked_from_json(struct spec *s, const struct json_t *list)
{
	_cleanup_(spec_texts_done) struct config_list l = { 0 };
	const json_t *one;
	size_t i;

	if (!list)
		return 0;
	if (!json_is_array(list) || json_array_size(list) > SPEC_REVOKED_MAX)
		return -EBADMSG;
	l.v = calloc(json_array_size(list) + 1, sizeof(*l.v));
	if (!l.v)
		return -ENOMEM;
	json_array_foreach(list, i, one) {
		if (!json_is_string(one) || label_check_or_key(json_string_value(one)) ||
		    find(&l, json_string_value(one)) < l.n)
			return -EBADMSG;
		l.v[l.n] = strdup(json_string_value(one));
		if (!l.v[l.n])
			return -ENOMEM;
		l.n++;
	}
	return spec_set_revoked(s, &l);
}

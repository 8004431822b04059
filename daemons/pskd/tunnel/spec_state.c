/* A spec as it is kept in state: read with the table of its file, so that nothing comes back that could not be said. */
#include "pskd/tunnel/spec_internal.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"

const struct json_limits spec_state_limits = { .max_bytes = SPEC_STATE_MAX, .max_depth = 6, .max_keys = SPEC_STATE_MAX };

static json_t *hex(const uint8_t *p, size_t len)
{
	char text[2 * 64 + 1];

	hex_format(text, p, len);
	return json_string(text);
}

static json_t *list(const struct config_list *l)
{
	json_t *out = json_array();

	for (size_t i = 0; i < l->n; i++)
		json_array_append_new(out, json_string(l->v[i]));
	return out;
}

json_t *spec_file_to_json(const struct spec_file *f)
{
	char keepalive[32];
	json_t *j;

	snprintf(keepalive, sizeof(keepalive), "%llums", (unsigned long long)f->keepalive_ms);
	j = json_pack("{s:o, s:o, s:s*, s:s, s:s, s:s*, s:s*, s:s*, s:s*, s:s*, s:s, s:I, s:s*, s:I, s:s}", "routes", list(&f->routes), "allowed",
			 list(&f->allowed), "key_file", f->key_file, "role", spec_role_names[f->role], "peer", spec_peer_names[f->peer],
			 "endpoint", f->endpoint, "listen", f->listen, "local_address", f->local_address,
			 "peer_address", f->peer_address, "pin", f->pin, "erase", spec_erase_names[f->erase],
			 "window", (json_int_t)f->window, "interface", f->interface, "mtu",
			 (json_int_t)f->mtu, "keepalive", keepalive);
	json_object_set_new(j, "dscp", json_string(f->dscp));
	if (f->salt)
		json_object_set_new(j, "salt", json_string(f->salt));
	if (f->allow_labels.n)
		json_object_set_new(j, "allow_labels", list(&f->allow_labels));
	return j;
}

static json_t *pairing_to_json(const struct spec *s)
{
	json_t *list = json_array();

	for (size_t i = 0; i < s->n_candidates; i++)
		json_array_append_new(list, json_string(s->candidates[i]));
	return json_pack("{s:s, s:o, s:o, s:o, s:o, s:i, s:i, s:o, s:b}", "peer_name", s->peer_name, "peer_id",
			 hex(s->peer_id, sizeof(s->peer_id)), "peer_public",
			 hex(s->peer_public.b, SIGN_PUBLIC_LEN), "own_public",
			 hex(s->own_public.b, SIGN_PUBLIC_LEN), "tunnel_id", hex(s->tunnel_id, 16),
			 "own_port", (int)s->own_port, "peer_port", (int)s->peer_port, "candidates", list, "successor",
			 (int)s->successor);
}

json_t *spec_to_json(const struct spec *s)
{
	static const char *const origins[] = { "declared", "made", "paired" };
	json_t *j = json_pack("{s:i, s:s, s:s, s:s}", "version", SPEC_VERSION, "origin", origins[s->origin], "ledger",
			      s->ledger, "last_endpoint", s->last_endpoint);

	if (!j)
		return NULL;
	if (s->last_identity[0])
		json_object_set_new(j, "last_identity", json_string(s->last_identity));
	if (s->f.key_file)
		json_object_set_new(j, "key_file", json_string(s->f.key_file));
	if (s->fuel.begun)
		json_object_set_new(j, "fuel", fuel_to_json(&s->fuel, clock_now_ms()));
	/* Of a declared tunnel only what a command changed; else its file decides. */
	if (s->origin != SPEC_DECLARED || s->enabled != s->f.enabled)
		json_object_set_new(j, "enabled", json_boolean(s->enabled));
	if (s->origin != SPEC_DECLARED)
		json_object_set_new(j, "tunnel", spec_file_to_json(&s->f));
	if (s->origin == SPEC_PAIRED)
		json_object_set_new(j, "pairing", pairing_to_json(s));
	if (s->revoked.n)
		json_object_set_new(j, "revoked", list(&s->revoked));
	spec_generations_to_json(s, j);
	return j;
}

static int get_hex(uint8_t *out, size_t len, const json_t *j, const char *key)
{
	const char *text = json_get_str(j, key);

	return text ? hex_parse(out, len, text) : -EINVAL;
}

static int pairing_from_json(struct spec *s, const json_t *j)
{
	const json_t *list = json_object_get(j, "candidates"), *one;
	const char *name = json_get_str(j, "peer_name");
	size_t i;

	if (!name || !text_is_name(name) || get_hex(s->peer_id, sizeof(s->peer_id), j, "peer_id") ||
	    get_hex(s->peer_public.b, SIGN_PUBLIC_LEN, j, "peer_public") ||
	    get_hex(s->own_public.b, SIGN_PUBLIC_LEN, j, "own_public") ||
	    get_hex(s->tunnel_id, 16, j, "tunnel_id") ||
	    json_array_size(list) > IDENTITY_CANDIDATES_MAX)
		return -EBADMSG;
	snprintf(s->peer_name, sizeof(s->peer_name), "%s", name);
	s->own_port = (uint16_t)json_get_int(j, "own_port", 0);
	s->peer_port = (uint16_t)json_get_int(j, "peer_port", 0);
	s->successor = json_is_true(json_object_get(j, "successor"));
	json_array_foreach(list, i, one) {
		if (!json_is_string(one))
			return -EBADMSG;
		snprintf(s->candidates[s->n_candidates++], IDENTITY_CANDIDATE_LEN, "%s",
			 json_string_value(one));
	}
	s->pinned = true;
	return 0;
}

/* A pairing's tunnel has the file's values but no key file, which the table asks for. */
static int paired_file(struct spec *s, const json_t *j, struct config_error *err)
{
	_cleanup_json_ json_t *members = json_deep_copy(json_object_get(j, "tunnel"));
	int r;

	if (!members || json_object_set_new(members, "key_file", json_string("/")) != 0)
		return -ENOMEM;
	r = spec_parse_members(s, members, err);
	if (r)
		return r;
	free(steal(&s->f.key_file));
	return pairing_from_json(s, json_object_get(j, "pairing"));
}

int spec_from_json(struct spec **out, const char *name, const json_t *j)
{
	_cleanup_(spec_freep) struct spec *s = NULL;
	const char *origin = json_get_str(j, "origin"), *ledger = json_get_str(j, "ledger");
	const char *last = json_get_str(j, "last_endpoint"), *key_file = json_get_str(j, "key_file");
	const char *identity = json_get_str(j, "last_identity");
	struct config_error err;
	int r;

	if (!origin || !ledger || strlen(ledger) >= sizeof(s->ledger) || strchr(ledger, '/') ||
	    json_get_int(j, "version", 0) != SPEC_VERSION)
		return -EBADMSG;
	r = spec_new(&s, name, SPEC_DECLARED);
	if (r)
		return r;
	if (strcmp(origin, "made") == 0) {
		s->origin = SPEC_MADE;
		r = spec_parse_members(s, json_object_get(j, "tunnel"), &err);
	} else if (strcmp(origin, "paired") == 0) {
		s->origin = SPEC_PAIRED;
		r = paired_file(s, j, &err);
	}
	if (!r)
		r = spec_revoked_from_json(s, json_object_get(j, "revoked"));
	if (!r)
		r = spec_generations_from_json(s, j);
	if (r)
		return r == -ENOMEM ? r : -EBADMSG;
	s->enabled = json_is_true(json_object_get(j, "enabled"));
	s->has_enabled = json_is_boolean(json_object_get(j, "enabled"));
	snprintf(s->ledger, sizeof(s->ledger), "%s", ledger);
	snprintf(s->last_endpoint, sizeof(s->last_endpoint), "%s", last ? last : "");
	fuel_from_json(&s->fuel, json_object_get(j, "fuel"), clock_now_ms());
	if (identity && strlen(identity) == 2 * PSKH_IDENTITY_LEN)
		snprintf(s->last_identity, sizeof(s->last_identity), "%s", identity);
	if (key_file) {
		s->ledger_for = strdup(key_file);
		if (!s->ledger_for)
			return -ENOMEM;
	}
	*out = steal(&s);
	return 0;
}

bool spec_same(const struct spec *a, const struct spec *b)
{
	_cleanup_json_ json_t *ja = spec_file_to_json(&a->f), *jb = spec_file_to_json(&b->f);

	return ja && jb && json_equal(ja, jb);
}

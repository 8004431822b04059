/*
 * Out: two pieces of a bundle. In: the key is written beside the old one, the
 * transaction that replaces the pairings says whose key belongs to them, and
 * that is the moment which decides; then the key gets its name.
 */
#include "pairingd/portable.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "pairingd/identity.h"
#include "service/credential.h"
#include "service/export.h"
#include "service/service.h"

#define KEY_PIECE "identity.key"
#define PAIRINGS_PIECE "pairings.json"
/* identity.key as it is until it counts. */
#define KEY_FILE "identity.key"
#define NEW_KEY_FILE "identity.key.restored"

enum { WHY_MAX = 512 };

static const struct json_limits limits = { .max_bytes = 64 << 20, .max_depth = 5, .max_keys = 1000000 };

/* ---- out ---- */

static json_t *hex_json(const void *p, size_t len)
{
	char text[2 * SIGN_PUBLIC_LEN + 1];

	hex_format(text, p, len);
	return json_string(text);
}

static void add_peer(const struct peer *peer, void *arg)
{
	const struct pairing_identity *i = &peer->identity;
	json_t *list = arg, *candidates = json_array();

	/* One that the other side may not have is not worth keeping. */
	if (!peer->active) {
		json_decref(candidates);
		return;
	}
	for (size_t n = 0; n < i->n_candidates; n++)
		json_array_append_new(candidates, json_string(i->candidates[n]));
	json_array_append_new(
		list, json_pack("{s:s, s:o, s:s, s:s, s:s, s:b, s:I, s:s, s:s, s:s, s:o, s:i, s:i, s:o}", "name",
				peer->name, "public_key", hex_json(i->public_key.b, SIGN_PUBLIC_LEN), "peer_name",
				i->name, "role", peer->role == PAIRING_ALICE ? "alice" : "bob", "profile",
				peer->profile, "sas_compared", peer->sas_compared, "paired_at",
				(json_int_t)peer->paired_at, "host_name", i->host_name, "version", i->version,
				"note", i->note, "candidates", candidates, "port", (int)i->port, "own_port",
				(int)peer->own_port, "tunnel_id",
				hex_json(peer->tunnel_id, sizeof(peer->tunnel_id))));
}

int portable_export(struct export *e, struct peers *peers, const struct sign_key *key)
{
	_cleanup_(secret_freep) struct secret *seed = NULL;
	_cleanup_json_ json_t *all = NULL;
	_cleanup_free_ char *text = NULL;
	json_t *list = json_array();
	struct sign_public own;
	int r;

	r = sign_key_seed(key, &seed);
	if (!r)
		r = peers_each(peers, add_peer, list);
	if (!r && json_array_size(list) > PORTABLE_PEERS_MAX)
		r = -E2BIG;
	if (r) {
		json_decref(list);
		return r;
	}
	sign_key_public(key, &own);
	all = json_pack("{s:i, s:o, s:o}", "version", PORTABLE_VERSION, "public_key",
			hex_json(own.b, sizeof(own.b)), "peers", list);
	text = all ? json_dumps(all, JSON_INDENT(1) | JSON_SORT_KEYS) : NULL;
	if (!text)
		return -ENOMEM;
	export_add(e, KEY_PIECE, secret_bytes(seed), secret_len(seed));
	export_add(e, PAIRINGS_PIECE, text, strlen(text));
	return 0;
}

/* ---- in: reading ---- */

static bool get_hex(uint8_t *out, size_t len, const json_t *j, const char *key)
{
	const char *text = json_get_str(j, key);

	return text && hex_parse(out, len, text) == 0;
}

/* Text of a peer: as it would have been taken from it. */
static bool get_text(char *out, size_t cap, const json_t *j, const char *key)
{
	const char *text = json_get_str(j, key);

	return text && strlen(text) < cap && text_clean(out, cap, text, strlen(text)) == strlen(text);
}

static bool get_port(uint16_t *out, const json_t *j, const char *key)
{
	int64_t v = json_get_int(j, key, -1);

	*out = (uint16_t)v;
	return v >= 0 && v <= UINT16_MAX;
}

static bool get_candidates(struct pairing_identity *i, const json_t *list)
{
	const json_t *one;
	size_t at;

	if (!json_is_array(list) || json_array_size(list) > IDENTITY_CANDIDATES_MAX)
		return false;
	json_array_foreach(list, at, one) {
		const char *s = json_string_value(one);

		if (!s || strlen(s) >= IDENTITY_CANDIDATE_LEN || !pairing_is_candidate(s))
			return false;
		snprintf(i->candidates[i->n_candidates++], IDENTITY_CANDIDATE_LEN, "%s", s);
	}
	return true;
}

static bool get_peer(struct peer *out, const json_t *j)
{
	struct pairing_identity *i = &out->identity;
	const char *role = json_get_str(j, "role");

	i->key_type = PAIRING_KEY_ED25519;
	if (!role || (strcmp(role, "alice") != 0 && strcmp(role, "bob") != 0))
		return false;
	out->role = strcmp(role, "alice") == 0 ? PAIRING_ALICE : PAIRING_BOB;
	if (!get_hex(i->public_key.b, SIGN_PUBLIC_LEN, j, "public_key") ||
	    !get_hex(out->tunnel_id, sizeof(out->tunnel_id), j, "tunnel_id") ||
	    !get_text(out->name, sizeof(out->name), j, "name") || !text_is_name(out->name) ||
	    peers_name_is_id(out->name) || !get_text(i->name, sizeof(i->name), j, "peer_name") ||
	    !text_is_name(i->name) || !get_text(out->profile, sizeof(out->profile), j, "profile") ||
	    !get_text(i->host_name, sizeof(i->host_name), j, "host_name") ||
	    !get_text(i->version, sizeof(i->version), j, "version") ||
	    !get_text(i->note, sizeof(i->note), j, "note") || !get_port(&i->port, j, "port") ||
	    !get_port(&out->own_port, j, "own_port") ||
	    !get_candidates(i, json_object_get(j, "candidates")) ||
	    !json_is_boolean(json_object_get(j, "sas_compared")))
		return false;
	out->sas_compared = json_is_true(json_object_get(j, "sas_compared"));
	out->paired_at = json_get_int(j, "paired_at", 0);
	identity_id(out->id, &i->public_key);
	out->active = true;
	out->restored = true;
	return true;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(((const struct peer *)a)->name, ((const struct peer *)b)->name);
}

static int compare_ids(const void *a, const void *b)
{
	return memcmp(((const struct peer *)a)->id, ((const struct peer *)b)->id, IDENTITY_ID_LEN);
}

static bool has_equals(struct portable *p, int (*compare)(const void *a, const void *b))
{
	if (p->n > 1)
		qsort(p->peers, p->n, sizeof(*p->peers), compare);
	for (size_t i = 1; i < p->n; i++)
		if (compare(&p->peers[i - 1], &p->peers[i]) == 0)
			return true;
	return false;
}

struct portable *portable_free(struct portable *p)
{
	if (!p)
		return NULL;
	free(p->peers);
	free(p);
	return NULL;
}

int portable_decode(struct portable **out, const void *text, size_t len, char *why, size_t cap)
{
	_cleanup_(portable_freep) struct portable *p = calloc(1, sizeof(*p));
	_cleanup_json_ json_t *j = NULL;
	const json_t *list, *one;
	int64_t version;
	size_t i;

	if (!p)
		return text_explain(why, cap, -1, "no memory");
	if (json_parse(&j, text, len, &limits))
		return text_explain(why, cap, -1, "the list of pairings is damaged");
	version = json_get_int(j, "version", 0);
	if (version > PORTABLE_VERSION)
		return text_explain(why, cap, -1,
				    "the list of pairings was written by a newer handfast (version %lld, this one "
				    "knows %d): install that version first",
				    (long long)version, PORTABLE_VERSION);
	list = json_object_get(j, "peers");
	if (json_array_size(list) > PORTABLE_PEERS_MAX)
		return text_explain(why, cap, -1, "there are %zu pairings, more than the %d that can be taken back",
				    json_array_size(list), PORTABLE_PEERS_MAX);
	if (version < 1 || !json_is_array(list) || !get_hex(p->own.b, sizeof(p->own.b), j, "public_key"))
		return text_explain(why, cap, -1, "the list of pairings is damaged");
	p->peers = calloc(json_array_size(list) + 1, sizeof(*p->peers));
	if (!p->peers)
		return text_explain(why, cap, -1, "no memory");
	json_array_foreach(list, i, one)
		if (!get_peer(&p->peers[p->n++], one))
			return text_explain(why, cap, -1, "pairing number %zu is damaged", i + 1);
	if (has_equals(p, compare_ids) || has_equals(p, compare_names))
		return text_explain(why, cap, -1, "two of the pairings are of one device, or have one name");
	*out = steal(&p);
	return 0;
}

/* ---- in: storing ---- */

struct import {
	struct service *svc;
	struct pages bundle;
	struct sign_key *key; /* the restored one */
	struct portable *portable;
	struct peers *peers;
	int lock_fd;
	bool running;
	size_t replaced;
	char why[WHY_MAX];
};

static void import_done(struct import *im)
{
	peers_free(im->peers);
	portable_free(im->portable);
	sign_key_free(im->key);
	pages_done(&im->bundle);
	closep(&im->lock_fd);
}

static int import_load(struct import *im)
{
	struct bundle_piece seed, pairings;
	uint8_t copy[SIGN_SEED_LEN];
	struct sign_public own;
	int r;

	if (import_read(&im->bundle, STDIN_FILENO, im->why, sizeof(im->why)))
		return -1;
	if (!bundle_find(im->bundle.p, im->bundle.len, KEY_PIECE, &seed) || seed.len != sizeof(copy) ||
	    !bundle_find(im->bundle.p, im->bundle.len, PAIRINGS_PIECE, &pairings))
		return text_explain(im->why, sizeof(im->why), -1, "the backup has no identity of pairingd");
	if (portable_decode(&im->portable, pairings.data, pairings.len, im->why, sizeof(im->why)))
		return -1;
	memcpy(copy, seed.data, sizeof(copy));
	r = sign_key_from_seed(&im->key, copy);
	wipe(copy, sizeof(copy));
	if (r)
		return text_explain(im->why, sizeof(im->why), -1, "no memory");
	sign_key_public(im->key, &own);
	if (memcmp(own.b, im->portable->own.b, sizeof(own.b)) != 0)
		return text_explain(im->why, sizeof(im->why), -1, "the backup's identity is not that of its pairings");
	return 0;
}

static void count(const struct peer *peer, void *arg)
{
	(void)peer;
	++*(size_t *)arg;
}

static bool has_store(const char *dir)
{
	_cleanup_free_ char *path = path_join(dir, "pairings.db");

	return path && access(path, F_OK) == 0;
}

/* What is there already. A folder that is not there yet has nothing. */
static int import_look(struct import *im)
{
	const char *dir = service_state_dir(im->svc);
	int r;

	if (service_check_only(im->svc) && access(dir, F_OK) != 0)
		return 0;
	im->lock_fd = state_lock(dir, true);
	im->running = im->lock_fd == -EWOULDBLOCK;
	if (im->running)
		return text_explain(im->why, sizeof(im->why), -1, "pairingd is running on %s: stop it first", dir);
	if (im->lock_fd < 0)
		return text_explain(im->why, sizeof(im->why), -1, "%s: %s", dir, strerror(-im->lock_fd));
	if (service_check_only(im->svc) && !has_store(dir))
		return 0;
	r = peers_open_import(&im->peers, dir, service_check_only(im->svc), im->why, sizeof(im->why));
	if (r > 0)
		return -1;
	if (!r)
		r = peers_each(im->peers, count, &im->replaced);
	if (r)
		return text_explain(im->why, sizeof(im->why), -1, "%s/pairings.db: %s", dir, strerror(-r));
	if (im->replaced && !service_option(im->svc, "replace"))
		return text_explain(im->why, sizeof(im->why), -1,
				    "this device has pairings of its own (%zu): --replace puts those of the backup in their place",
				    im->replaced);
	return 0;
}

static int import_store(struct import *im)
{
	const char *dir = service_state_dir(im->svc);
	_cleanup_free_ char *path = path_join(dir, NEW_KEY_FILE);
	_cleanup_(seal_key_freep) struct seal_key *seal = NULL;
	int r;

	/* Without the state key it lies open until the next start, which seals it. */
	if (credential_state_key(&seal, "pairingd", im->why, sizeof(im->why)))
		return -1;
	/* An earlier import first: its key must not be taken for this one's. */
	r = path ? portable_finish_import(dir, im->peers) : -ENOMEM;
	if (!r)
		r = identity_save(im->key, path, seal);
	if (!r)
		r = peers_replace(im->peers, im->portable->peers, im->portable->n, &im->portable->own);
	if (r) {
		if (path)
			(void)identity_remove(path);
		return text_explain(im->why, sizeof(im->why), -1, "nothing was changed in %s: %s", dir, strerror(-r));
	}
	/* From here on it is done; what is left of it also happens at the next start. */
	(void)portable_finish_import(dir, im->peers);
	return 0;
}

static void import_tell(const struct import *im)
{
	json_t *names = json_array();
	_cleanup_json_ json_t *j = NULL;
	_cleanup_free_ char *text = NULL;
	uint8_t id[IDENTITY_ID_LEN];

	for (size_t i = 0; i < im->portable->n; i++)
		json_array_append_new(names, json_string(im->portable->peers[i].name));
	identity_id(id, &im->portable->own);
	j = json_pack("{s:o, s:o, s:I}", "id", hex_json(id, sizeof(id)), "peers", names, "replaced",
		      (json_int_t)im->replaced);
	text = json_text(j);
	printf("%s\n", text ? text : "{}");
}

int portable_import(struct service *svc)
{
	_cleanup_(import_done) struct import im = { .svc = svc, .lock_fd = -1 };
	int r = import_load(&im);

	if (!r)
		r = import_look(&im);
	if (!r && !service_check_only(svc))
		r = import_store(&im);
	if (r) {
		fprintf(stderr, "%s\n", im.why);
		return im.running ? IMPORT_RUNNING : 1;
	}
	import_tell(&im);
	return 0;
}

int portable_finish_import(const char *dir, struct peers *peers)
{
	_cleanup_free_ char *from = path_join(dir, NEW_KEY_FILE), *to = path_join(dir, KEY_FILE);
	struct sign_public wanted;
	int r;

	if (!from || !to)
		return -ENOMEM;
	r = identity_sweep(dir);
	if (r)
		return r;
	r = peers_imported_identity(peers, &wanted);
	/* One that was never committed. */
	if (r == PEERS_E_NO_SUCH)
		return identity_remove(from);
	if (r)
		return r < 0 ? r : -EIO;
	r = identity_replace(to, from);
	return r ? r : peers_import_done(peers);
}

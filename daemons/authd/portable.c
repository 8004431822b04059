/*
 * Out: what the tables say now, in one go. In: one transaction takes everything away that was here, sessions with
 * it, and puts the backup's in its place; what is sealed then is under the state key of here, if there is one.
 */
#include "authd/portable.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "authd/keys.h"
#include "authd/state.h"
#include "authd/users.h"
#include "base/base64.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "crypto/seal.h"
#include "crypto/secret.h"
#include "service/credential.h"
#include "service/export.h"
#include "service/service.h"

#define SERVER_PIECE "server.json"
#define KEYS_FOLDER "keys/"
#define USERS_FOLDER "users/"

enum { PAGE = 1000, PIECES_MAX = 8000, GENERATIONS_MAX = 2, ORIGIN_SPACE = 512, WHY_MAX = 512 };
/* What piece names have room for, and what no clock says. */
#define ID_MAX INT64_C(9999999999)
#define TIME_MAX (INT64_C(1) << 40)

static const struct json_limits limits = { .max_bytes = BUNDLE_MAX, .max_depth = 4, .max_keys = 16 * PAGE };

/* ---- out ---- */

static void key_piece(char out[static 32], int64_t id)
{
	snprintf(out, 32, KEYS_FOLDER "%010lld.key", (long long)id);
}

static int export_keys(struct export *e, const struct generation *g, json_t *list)
{
	_cleanup_(secret_freep) struct secret *bytes = NULL;
	char name[32];
	int r = opaque_keys_export(&bytes, g->keys);

	if (r)
		return r;
	key_piece(name, g->id);
	export_add(e, name, secret_bytes(bytes), secret_len(bytes));
	json_array_append_new(list, json_pack("{s:I, s:I, s:I, s:I}", "id", (json_int_t)g->id, "memory_kib",
					      (json_int_t)g->memory_kib, "passes", (json_int_t)g->passes, "created_at",
					      (json_int_t)g->created_at));
	return 0;
}

static int add_json(struct export *e, const char *name, json_t *j)
{
	_cleanup_json_ json_t *owned = j;
	_cleanup_free_ char *text = owned ? json_text(owned) : NULL;

	if (!text)
		return -ENOMEM;
	export_add(e, name, text, strlen(text));
	return 0;
}

static int export_server(struct export *e, struct state *s, json_t *generations)
{
	char origin[ORIGIN_SPACE];
	int r = state_origin(s, origin, sizeof(origin));

	if (r) {
		json_decref(generations);
		return r;
	}
	return add_json(e, SERVER_PIECE,
			json_pack("{s:i, s:s, s:I, s:I, s:o}", "version", PORTABLE_VERSION, "origin", origin, "mark",
				  (json_int_t)state_marked(s), "seen", (json_int_t)state_seen(s), "generations", generations));
}

static json_t *describe(const struct user *u)
{
	char record[BASE64_SPACE(OPAQUE_RECORD_LEN)];

	base64_encode(record, u->record, sizeof(u->record), BASE64_URL);
	return json_pack("{s:s, s:s, s:I, s:b, s:I, s:I, s:I}", "user", u->name, "record", record, "generation",
			 (json_int_t)u->generation, "disabled", u->disabled, "created_at", (json_int_t)u->created_at,
			 "changed_at", (json_int_t)u->changed_at, "seen_at", (json_int_t)u->seen_at);
}

/* How many, or a negative errno. */
static int export_page(struct export *e, struct state *s, unsigned int n, char last[static USERNAME_SPACE])
{
	_cleanup_free_ struct user *page = calloc(PAGE, sizeof(*page));
	int got = page ? users_list(s, last, page, PAGE) : -ENOMEM, r;
	json_t *all = json_array();
	char name[32];

	for (int i = 0; i < got; i++)
		json_array_append_new(all, describe(&page[i]));
	if (got <= 0) {
		json_decref(all);
		return got;
	}
	memcpy(last, page[got - 1].name, USERNAME_SPACE);
	snprintf(name, sizeof(name), USERS_FOLDER "%04u.json", n);
	r = add_json(e, name, json_pack("{s:o}", "users", all));
	return r ? r : got;
}

int portable_export(struct export *e, struct state *s, struct keys *k)
{
	json_t *generations = json_array();
	char last[USERNAME_SPACE] = "";
	int r = 0, n = PAGE;

	for (size_t i = 0; !r && i < keys_count(k); i++)
		r = export_keys(e, keys_at(k, i), generations);
	if (r) {
		json_decref(generations);
		return r;
	}
	r = export_server(e, s, generations);
	for (unsigned int i = 0; !r && n == PAGE; i++) {
		n = i < PIECES_MAX ? export_page(e, s, i, last) : -EFBIG;
		r = n < 0 ? n : 0;
	}
	return r;
}

/* ---- in: reading ---- */

struct import {
	struct service *svc;
	struct pages bundle;
	char origin[ORIGIN_SPACE];
	int64_t mark, seen;
	struct generation generations[GENERATIONS_MAX]; /* their keys stay in the bundle */
	size_t n_generations, users;
	struct state *state;
	int lock_fd;
	bool running;
	int64_t replaced;
	char why[WHY_MAX];
};

static void import_done(struct import *im)
{
	state_free(im->state);
	pages_done(&im->bundle);
	closep(&im->lock_fd);
}

static int damaged(struct import *im, const char *what)
{
	return text_explain(im->why, sizeof(im->why), -1, "%s of the backup's logins is damaged", what);
}

static bool get_time(int64_t *out, const json_t *j, const char *key)
{
	*out = json_get_int(j, key, -1);
	return *out >= 0 && *out <= TIME_MAX;
}

static const uint8_t *find_keys(const struct import *im, int64_t id)
{
	struct bundle_piece piece;
	char name[32];

	key_piece(name, id);
	if (!bundle_find(im->bundle.p, im->bundle.len, name, &piece) || piece.len != OPAQUE_KEYS_LEN)
		return NULL;
	return piece.data;
}

static bool keys_are_good(const uint8_t *bytes)
{
	struct opaque_keys *keys = NULL;
	bool good = bytes && opaque_keys_import(&keys, bytes) == 0;

	opaque_keys_free(keys);
	return good;
}

static int read_generation(struct import *im, const json_t *j)
{
	struct generation *g = &im->generations[im->n_generations];
	int64_t memory = json_get_int(j, "memory_kib", 0), passes = json_get_int(j, "passes", 0);

	g->id = json_get_int(j, "id", 0);
	g->memory_kib = (uint32_t)memory;
	g->passes = (uint32_t)passes;
	if (g->id < 1 || g->id > ID_MAX || memory < 8 || memory > INT32_MAX || passes < 1 || passes > INT32_MAX ||
	    !get_time(&g->created_at, j, "created_at") || !keys_are_good(find_keys(im, g->id)) ||
	    (im->n_generations > 0 && g->id <= g[-1].id))
		return damaged(im, "a generation of keys");
	im->n_generations++;
	return 0;
}

static int read_server(struct import *im)
{
	_cleanup_json_ json_t *j = NULL;
	struct bundle_piece piece;
	const json_t *list, *one;
	const char *origin;
	int64_t version;
	size_t i;

	if (!bundle_find(im->bundle.p, im->bundle.len, SERVER_PIECE, &piece))
		return text_explain(im->why, sizeof(im->why), -1, "the backup has no logins");
	if (json_parse(&j, (const char *)piece.data, piece.len, &limits))
		return damaged(im, "the description");
	version = json_get_int(j, "version", 0);
	if (version > PORTABLE_VERSION)
		return text_explain(im->why, sizeof(im->why), -1,
				    "the logins were written by a newer handfast (version %lld, this one knows %d): install that "
				    "version first",
				    (long long)version, PORTABLE_VERSION);
	origin = json_get_str(j, "origin");
	list = json_object_get(j, "generations");
	if (version < 1 || !origin || strlen(origin) >= sizeof(im->origin) || !get_time(&im->mark, j, "mark") ||
	    !get_time(&im->seen, j, "seen") || json_array_size(list) < 1 || json_array_size(list) > GENERATIONS_MAX)
		return damaged(im, "the description");
	memcpy(im->origin, origin, strlen(origin) + 1);
	json_array_foreach(list, i, one)
		if (read_generation(im, one))
			return -1;
	return 0;
}

static bool read_user(struct user *u, const json_t *j, const struct import *im)
{
	const char *name = json_get_str(j, "user"), *record = json_get_str(j, "record");
	const json_t *disabled = json_object_get(j, "disabled");

	memset(u, 0, sizeof(*u));
	u->generation = json_get_int(j, "generation", 0);
	u->disabled = json_is_true(disabled);
	return name && record && username_canonical(u->name, name, strlen(name)) == 0 && strcmp(u->name, name) == 0 &&
	       base64_decode_exact(u->record, sizeof(u->record), record, BASE64_URL) == 0 &&
	       opaque_record_check(u->record) == 0 && u->generation >= 1 &&
	       u->generation <= im->generations[im->n_generations - 1].id && json_is_boolean(disabled) &&
	       get_time(&u->created_at, j, "created_at") && get_time(&u->changed_at, j, "changed_at") &&
	       get_time(&u->seen_at, j, "seen_at");
}

/* Each user of a piece, which must come behind last: checked, and stored where there is a state to store it in. */
static int take_users(struct import *im, const struct bundle_piece *piece, struct state *into, char last[static USERNAME_SPACE])
{
	_cleanup_json_ json_t *j = NULL;
	const json_t *list, *one;
	struct user u;
	size_t i;
	int r;

	if (json_parse(&j, (const char *)piece->data, piece->len, &limits))
		return damaged(im, "a list of users");
	list = json_object_get(j, "users");
	if (!json_is_array(list))
		return damaged(im, "a list of users");
	json_array_foreach(list, i, one) {
		if (!read_user(&u, one, im) || strcmp(u.name, last) <= 0)
			return damaged(im, "a user");
		memcpy(last, u.name, USERNAME_SPACE);
		r = into ? users_import(into, &u) : 0;
		if (r)
			return r;
	}
	im->users += into ? 0 : json_array_size(list);
	return 0;
}

/* All pieces; none that means nothing here. -1 with why, or a negative errno of storing. */
static int each_piece(struct import *im, struct state *into)
{
	char last[USERNAME_SPACE] = "", name[32];
	struct bundle_piece piece;
	struct bundle_reader reader;
	size_t keys = 0;
	int r = 0;

	bundle_open(&reader, im->bundle.p, im->bundle.len, NULL);
	while (!r && bundle_next(&reader, &piece) == 1) {
		if (strncmp(piece.name, USERS_FOLDER, strlen(USERS_FOLDER)) == 0) {
			r = take_users(im, &piece, into, last);
			continue;
		}
		if (keys < im->n_generations)
			key_piece(name, im->generations[keys++].id);
		else
			snprintf(name, sizeof(name), SERVER_PIECE);
		if (strcmp(piece.name, name) != 0)
			return damaged(im, "a piece");
	}
	return r;
}

static int import_load(struct import *im)
{
	if (import_read(&im->bundle, STDIN_FILENO, im->why, sizeof(im->why)) || read_server(im))
		return -1;
	return each_piece(im, NULL);
}

/* ---- in: storing ---- */

static bool has_database(const char *dir)
{
	_cleanup_free_ char *path = path_join(dir, "authd.db");

	return path && access(path, F_OK) == 0;
}

/* What is there already. A folder that is not there yet has nothing. */
static int import_look(struct import *im, const struct seal_key *seal)
{
	const char *dir = service_state_dir(im->svc);
	bool check = service_check_only(im->svc);
	int r;

	if (check && access(dir, F_OK) != 0)
		return 0;
	im->lock_fd = state_lock(dir, true);
	im->running = im->lock_fd == -EWOULDBLOCK;
	if (im->running)
		return text_explain(im->why, sizeof(im->why), -1, "authd is running on %s: stop it first", dir);
	if (im->lock_fd < 0)
		return text_explain(im->why, sizeof(im->why), -1, "%s: %s", dir, strerror(-im->lock_fd));
	if (check && !has_database(dir))
		return 0;
	if (state_open_import(&im->state, dir, seal, check, im->why, sizeof(im->why)))
		return -1;
	r = users_count(im->state, &im->replaced);
	if (r)
		return text_explain(im->why, sizeof(im->why), -1, "%s/authd.db: %s", dir, strerror(-r));
	if (im->replaced && !service_option(im->svc, "replace"))
		return text_explain(im->why, sizeof(im->why), -1,
				    "this device has users of its own (%lld): --replace puts those of the backup in their place",
				    (long long)im->replaced);
	return 0;
}

/* Sessions, notes and addresses go with their users. */
static int clear(struct state *s)
{
	static const char *const statements[] = {
		"DELETE FROM user WHERE id > 0",
		"DELETE FROM invitation",
		"DELETE FROM generation",
	};
	int r = 0;

	for (size_t i = 0; !r && i < ARRAY_SIZE(statements); i++)
		r = state_run(s, statements[i], NULL, NULL);
	return r;
}

static int replace_all(struct import *im)
{
	_cleanup_(state_end) struct state_tx tx = { NULL };
	int r = state_begin(&tx, im->state);

	if (!r)
		r = clear(im->state);
	if (!r)
		r = state_import(im->state, im->origin, im->mark, im->seen);
	for (size_t i = 0; !r && i < im->n_generations; i++)
		r = keys_import(im->state, im->generations[i].id, find_keys(im, im->generations[i].id), &im->generations[i]);
	if (!r)
		r = each_piece(im, im->state);
	return r ? r : state_commit(&tx);
}

static int import_store(struct import *im)
{
	int r = replace_all(im);

	if (r)
		return text_explain(im->why, sizeof(im->why), -1, "nothing was changed in %s: %s", service_state_dir(im->svc),
				    strerror(-r));
	/* It is done; where what went cannot be erased now, later changes overwrite it. */
	(void)state_scrub(im->state);
	return 0;
}

static void import_tell(const struct import *im)
{
	_cleanup_json_ json_t *j = json_pack("{s:I, s:s, s:I}", "users", (json_int_t)im->users, "origin", im->origin, "replaced",
					     (json_int_t)im->replaced);
	_cleanup_free_ char *text = json_text(j);

	printf("%s\n", text ? text : "{}");
}

int portable_import(struct service *svc)
{
	_cleanup_(seal_key_freep) struct seal_key *seal = NULL;
	_cleanup_(import_done) struct import im = { .svc = svc, .lock_fd = -1 };
	int r = import_load(&im);

	/* Without the state key, keys lie open until the next start, which seals them. */
	if (!r)
		r = credential_state_key(&seal, "authd", im.why, sizeof(im.why));
	if (!r)
		r = import_look(&im, seal);
	if (!r && !service_check_only(svc))
		r = import_store(&im);
	if (r) {
		fprintf(stderr, "%s\n", im.why);
		return im.running ? IMPORT_RUNNING : 1;
	}
	import_tell(&im);
	return 0;
}

/*
 * Keys are in memory from the start to the end; on disk they are sealed where there is a state key. A
 * retired generation's keys are overwritten there.
 */
#include "authd/keys.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "authd/state.h"
#include "base/bytes.h"
#include "base/error.h"
#include "crypto/kdf.h"
#include "crypto/opaque.h"
#include "crypto/seal.h"
#include "crypto/secret.h"

enum { LIVE_MAX = 2 };

/* By when the last unknown name has moved that does: as long as a user who logs in now and then may take. */
#define MOVE_S (28 * 24 * 3600)

struct keys {
	struct state *state;
	size_t n;
	struct generation v[LIVE_MAX]; /* oldest first */
};

static void context_of(char out[static 64], int64_t id)
{
	snprintf(out, 64, "authd keys %lld", (long long)id);
}

static void generation_done(struct generation *g)
{
	g->keys = opaque_keys_free(g->keys);
	wipe(g->names_key, sizeof(g->names_key));
}

static void derive_names_key(struct generation *g, const struct secret *keys)
{
	static const char label[] = "authd unknown names";

	hkdf_sha256(g->names_key, sizeof(g->names_key), NULL, 0, secret_bytes(keys), secret_len(keys), label,
		    sizeof(label) - 1);
}

/* ---- at rest ---- */

static int store_keys(struct keys *k, struct generation *g)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	_cleanup_(secret_freep) struct secret *bytes = NULL;
	uint8_t blob[STATE_SEALED_SPACE(OPAQUE_KEYS_LEN)];
	char context[64];
	size_t len;
	int r;

	r = opaque_keys_export(&bytes, g->keys);
	if (!r)
		r = store_prepare(&st, state_store(k->state), "UPDATE generation SET keys = ? WHERE id = ?");
	if (r)
		return err_fold(r);
	derive_names_key(g, bytes);
	context_of(context, g->id);
	state_seal(k->state, blob, &len, secret_bytes(bytes), OPAQUE_KEYS_LEN, context);
	store_bind_blob(st, 1, blob, len);
	store_bind_int(st, 2, g->id);
	wipe(blob, sizeof(blob));
	return err_fold(store_step(st));
}

static int read_generation(struct keys *k, struct store_stmt *st, bool *plain)
{
	_cleanup_(secret_freep) struct secret *bytes = NULL;
	struct generation *g = &k->v[k->n];
	char context[64];
	const void *blob;
	size_t len;
	int r;

	if (k->n == LIVE_MAX)
		return KEYS_E_BROKEN;
	g->id = store_int(st, 0);
	g->memory_kib = (uint32_t)store_int(st, 2);
	g->passes = (uint32_t)store_int(st, 3);
	g->created_at = store_int(st, 4);
	blob = store_blob(st, 1, &len);
	context_of(context, g->id);
	r = blob ? state_unseal(k->state, &bytes, blob, len, OPAQUE_KEYS_LEN, context) : -EBADMSG;
	if (r)
		return r == -EBADMSG ? KEYS_E_BROKEN : r;
	*plain = len == OPAQUE_KEYS_LEN;
	r = opaque_keys_import(&g->keys, secret_bytes(bytes));
	if (r)
		return r == OPAQUE_E_BAD_KEYS ? KEYS_E_BROKEN : err_fold(r);
	derive_names_key(g, bytes);
	k->n++;
	return 0;
}

static int load(struct keys *k, bool plain[static LIVE_MAX])
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	int r;

	r = store_prepare(&st, state_store(k->state),
			  "SELECT id, keys, memory_kib, passes, created_at FROM generation WHERE retired_at IS NULL ORDER BY id");
	if (r)
		return err_fold(r);
	while ((r = store_step(st)) == STORE_E_ROW) {
		r = read_generation(k, st, &plain[k->n < LIVE_MAX ? k->n : 0]);
		if (r)
			return r;
	}
	return err_fold(r);
}

/* There is a state key now that was not there before: from now on nothing is taken that it did not seal. */
static int seal_plain(struct keys *k, const bool *plain, size_t *sealed)
{
	_cleanup_(state_end) struct state_tx tx = { NULL };
	int r = state_begin(&tx, k->state);

	for (size_t i = 0; i < k->n && !r; i++) {
		if (!plain[i])
			continue;
		r = store_keys(k, &k->v[i]);
		*sealed += !r;
	}
	if (!r)
		r = state_begin_sealing(k->state);
	if (!r)
		r = state_commit(&tx);
	if (r)
		return r;
	state_seals(k->state);
	return state_scrub(k->state);
}

static int insert(struct keys *k, struct generation *g)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	int r;

	r = store_prepare(&st, state_store(k->state),
			  "INSERT INTO generation (memory_kib, passes, created_at) VALUES (?, ?, ?) RETURNING id");
	if (r)
		return err_fold(r);
	store_bind_int(st, 1, g->memory_kib);
	store_bind_int(st, 2, g->passes);
	store_bind_int(st, 3, g->created_at);
	r = store_step(st);
	if (r != STORE_E_ROW)
		return r ? err_fold(r) : -ENOTRECOVERABLE;
	g->id = store_int(st, 0);
	return 0;
}

int keys_import(struct state *s, int64_t id, const uint8_t keys[static OPAQUE_KEYS_LEN], const struct generation *g)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	uint8_t blob[STATE_SEALED_SPACE(OPAQUE_KEYS_LEN)];
	char context[64];
	size_t len;
	int r;

	r = store_prepare(&st, state_store(s),
			  "INSERT INTO generation (id, keys, memory_kib, passes, created_at) VALUES (?, ?, ?, ?, ?)");
	if (r)
		return err_fold(r);
	context_of(context, id);
	state_seal(s, blob, &len, keys, OPAQUE_KEYS_LEN, context);
	store_bind_int(st, 1, id);
	store_bind_blob(st, 2, blob, len);
	store_bind_int(st, 3, g->memory_kib);
	store_bind_int(st, 4, g->passes);
	store_bind_int(st, 5, g->created_at);
	wipe(blob, sizeof(blob));
	return err_fold(store_step(st));
}

int keys_rotate(struct keys *k, uint32_t memory_kib, uint32_t passes)
{
	_cleanup_(state_end) struct state_tx tx = { NULL };
	_cleanup_(generation_done) struct generation g = {
		.memory_kib = memory_kib, .passes = passes, .created_at = state_now(k->state)
	};
	int r;

	if (k->n == LIVE_MAX)
		return KEYS_E_TWO;
	r = err_fold(opaque_keys_generate(&g.keys));
	if (!r)
		r = state_begin(&tx, k->state);
	if (!r)
		r = insert(k, &g);
	if (!r)
		r = store_keys(k, &g);
	if (!r)
		r = state_commit(&tx);
	if (r)
		return r;
	k->v[k->n++] = g;
	g.keys = NULL;
	return 0;
}

int keys_users(struct keys *k, int64_t id, int64_t *out)
{
	return state_number(k->state, "SELECT count(*) FROM user WHERE generation = ? AND id > 0", &id, 0, out);
}

int keys_retire(struct keys *k, int64_t id, bool force)
{
	int64_t users, now = state_now(k->state);
	int r;

	if (!keys_find(k, id))
		return KEYS_E_NO_SUCH;
	if (id == keys_newest(k)->id)
		return KEYS_E_NEWEST;
	r = keys_users(k, id, &users);
	if (r)
		return r;
	if (users > 0 && !force)
		return KEYS_E_IN_USE;
	r = state_run(k->state, "UPDATE generation SET keys = NULL, retired_at = ? WHERE id = ?", &now, &id);
	if (r)
		return r;
	generation_done(&k->v[0]);
	k->v[0] = k->v[1];
	k->v[1] = (struct generation){ 0 };
	k->n = 1;
	/* It is done; where its keys cannot be erased from the log now, later changes overwrite them. */
	(void)state_scrub(k->state);
	return 0;
}

/* ---- in memory ---- */

const struct generation *keys_newest(const struct keys *k)
{
	return &k->v[k->n - 1];
}

const struct generation *keys_find(const struct keys *k, int64_t id)
{
	for (size_t i = 0; i < k->n; i++)
		if (k->v[i].id == id)
			return &k->v[i];
	return NULL;
}

size_t keys_count(const struct keys *k)
{
	return k->n;
}

const struct generation *keys_at(const struct keys *k, size_t i)
{
	return &k->v[i];
}

/*
 * A share of MOVE_S that the newest generation's keys and the name decide; of one name in four for ever: users
 * are there who do not come back.
 */
static int64_t moves_after(const struct generation *g, const char *name)
{
	uint8_t out[HMAC_SHA256_LEN];

	hmac_sha256(out, g->names_key, sizeof(g->names_key), name, strlen(name));
	if (out[4] < 64)
		return INT64_MAX / 2;
	return (int64_t)((uint64_t)be32_load(out) * MOVE_S >> 32);
}

const struct generation *keys_for_nobody(const struct keys *k, const char *name, int64_t now)
{
	const struct generation *newest = keys_newest(k);

	/* Also when there is one alone: the work must not tell who exists. */
	if (now >= newest->created_at + moves_after(newest, name))
		return newest;
	return &k->v[0];
}

struct json_t *generation_json(const struct generation *g)
{
	return json_pack("{s:s, s:i, s:i, s:i}", "name", "argon2id", "memory_kib", (int)g->memory_kib, "passes", (int)g->passes,
			 "parallelism", 1);
}

int keys_open(struct keys **out, struct state *s, uint32_t memory_kib, uint32_t passes, size_t *sealed)
{
	_cleanup_(keys_freep) struct keys *k = calloc(1, sizeof(*k));
	bool plain[LIVE_MAX] = { false };
	int r;

	if (!k)
		return -ENOMEM;
	k->state = s;
	*sealed = 0;
	r = load(k, plain);
	if (!r && state_is_to_seal(s))
		r = seal_plain(k, plain, sealed);
	if (!r && k->n == 0)
		r = keys_rotate(k, memory_kib, passes);
	if (r)
		return r;
	*out = steal(&k);
	return 0;
}

struct keys *keys_free(struct keys *k)
{
	if (!k)
		return NULL;
	for (size_t i = 0; i < LIVE_MAX; i++)
		generation_done(&k->v[i]);
	free(k);
	return NULL;
}

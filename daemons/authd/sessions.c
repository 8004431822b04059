/* Expired sessions are swept with each login, a few at a time. */
#include "authd/sessions.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "authd/state.h"
#include "base/error.h"
#include "crypto/kdf.h"
#include "crypto/seal.h"
#include "crypto/secret.h"
#include "proto/pop.h"

#define KEY_CONTEXT "authd session key"

enum { INNER_LEN = POP_KEY_LEN + SEAL_EXTRA };

void session_done(struct session *s)
{
	s->key = secret_free(s->key);
}

static int prepare(struct store_stmt **st, struct state *s, const char *sql)
{
	return err_fold(store_prepare(st, state_store(s), sql));
}

/* ---- the key at rest ---- */

static int seal_key_of(struct seal_key **out, const uint8_t *id)
{
	_cleanup_(secret_freep) struct secret *master = NULL;
	uint8_t *bytes;
	int r = secret_new(&master, SESSION_ID_LEN, &bytes);

	if (r)
		return r;
	memcpy(bytes, id, SESSION_ID_LEN);
	return seal_key_new(out, master, KEY_CONTEXT);
}

static int seal_session(struct state *s, uint8_t *out, size_t *len, const struct secret *key, const uint8_t *id)
{
	_cleanup_(seal_key_freep) struct seal_key *k = NULL;
	uint8_t inner[INNER_LEN];
	int r = seal_key_of(&k, id);

	if (r)
		return r;
	seal_make(inner, secret_bytes(key), POP_KEY_LEN, KEY_CONTEXT, sizeof(KEY_CONTEXT) - 1, k);
	state_seal(s, out, len, inner, sizeof(inner), KEY_CONTEXT);
	return 0;
}

static int unseal_session(struct state *s, struct secret **out, const void *blob, size_t len, const uint8_t *id)
{
	_cleanup_(seal_key_freep) struct seal_key *k = NULL;
	_cleanup_(secret_freep) struct secret *inner = NULL, *key = NULL;
	uint8_t *bytes;
	int r;

	r = state_unseal(s, &inner, blob, len, INNER_LEN, KEY_CONTEXT);
	if (!r)
		r = seal_key_of(&k, id);
	if (!r)
		r = secret_new(&key, POP_KEY_LEN, &bytes);
	if (!r)
		r = seal_open(bytes, secret_bytes(inner), INNER_LEN, KEY_CONTEXT, sizeof(KEY_CONTEXT) - 1, k);
	if (!r)
		*out = steal(&key);
	return r;
}

/* ---- making ---- */

static int insert(struct state *s, const uint8_t *id, int64_t user, const struct secret *key, uint64_t ttl_s, const char *address)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	uint8_t hash[SHA256_LEN], blob[STATE_SEALED_SPACE(INNER_LEN)];
	int64_t now = state_now(s);
	size_t len;
	int r;

	r = seal_session(s, blob, &len, key, id);
	if (!r)
		r = prepare(&st, s,
			    "INSERT INTO session (hash, user, key, created_at, expires_at, address) VALUES (?, ?, ?, ?, ?, ?)");
	if (r)
		return r;
	sha256(hash, id, SESSION_ID_LEN);
	store_bind_blob(st, 1, hash, sizeof(hash));
	store_bind_int(st, 2, user);
	store_bind_blob(st, 3, blob, len);
	store_bind_int(st, 4, now);
	store_bind_int(st, 5, now + (int64_t)ttl_s);
	store_bind_text(st, 6, address);
	return err_fold(store_step(st));
}

static int make_room(struct state *s, int64_t user, int64_t max)
{
	int64_t now = state_now(s), keep = max - 1;
	int r;

	r = state_run(s, "DELETE FROM session WHERE id IN (SELECT id FROM session WHERE expires_at <= ? LIMIT 100)", &now, NULL);
	return r ? r :
		   state_run(s,
			     "DELETE FROM session WHERE user = ?1 AND id IN"
			     " (SELECT id FROM session WHERE user = ?1 ORDER BY id DESC LIMIT -1 OFFSET ?2)",
			     &user, &keep);
}

/* The user is still as it was when the login began. */
static int check_user(struct state *s, int64_t user, int64_t version)
{
	int64_t now = state_now(s);
	int r;

	r = state_run(s, "UPDATE user SET seen_at = ? WHERE id = ? AND id > 0 AND disabled = 0", &now, &user);
	if (r)
		return r;
	if (store_changes(state_store(s)) == 0)
		return SESSIONS_E_VOID;
	r = state_number(s, "SELECT version FROM user WHERE id = ?", &user, -1, &now);
	return r ? r : now == version ? 0 : SESSIONS_E_VOID;
}

int sessions_add(struct state *s, int64_t user, int64_t version, const struct secret *key, uint64_t ttl_s,
		 const struct address_key *address, const char *address_text, uint64_t max,
		 char id[static SESSION_ID_SPACE])
{
	_cleanup_(state_end) struct state_tx tx = { NULL };
	uint8_t bytes[SESSION_ID_LEN];
	int r;

	random_bytes(bytes, sizeof(bytes));
	r = state_begin(&tx, s);
	if (!r)
		r = check_user(s, user, version);
	if (!r)
		r = make_room(s, user, (int64_t)max);
	if (!r)
		r = insert(s, bytes, user, key, ttl_s, address_text);
	if (!r)
		r = users_learn_address(s, user, address);
	if (!r)
		r = state_tick(s);
	if (!r)
		r = state_commit(&tx);
	if (!r)
		base64_encode(id, bytes, sizeof(bytes), BASE64_URL);
	wipe(bytes, sizeof(bytes));
	return r;
}

/* ---- finding ---- */

static int read_found(struct state *s, struct session *out, struct store_stmt *st, const uint8_t *id)
{
	const char *name = store_text(st, 2);
	const void *blob;
	size_t len;

	memset(out, 0, sizeof(*out));
	out->id = store_int(st, 0);
	out->user = store_int(st, 1);
	snprintf(out->name, sizeof(out->name), "%s", name ? name : "");
	out->created_at = store_int(st, 3);
	out->expires_at = store_int(st, 4);
	out->generation = store_int(st, 6);
	blob = store_blob(st, 5, &len);
	return blob ? unseal_session(s, &out->key, blob, len, id) : -EIO;
}

int sessions_find(struct state *s, const char *id, size_t len, struct session *out)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	uint8_t bytes[SESSION_ID_LEN], hash[SHA256_LEN];
	size_t got;
	int r;

	if (base64_decode(bytes, sizeof(bytes), &got, id, len, BASE64_URL) || got != sizeof(bytes))
		return SESSIONS_E_NONE;
	sha256(hash, bytes, sizeof(bytes));
	r = prepare(&st, s,
		    "SELECT session.id, session.user, name, session.created_at, expires_at, key, generation FROM session"
		    " JOIN user ON user.id = session.user WHERE hash = ? AND expires_at > ? AND disabled = 0");
	if (!r) {
		store_bind_blob(st, 1, hash, sizeof(hash));
		store_bind_int(st, 2, state_now(s));
		r = store_step(st);
		r = r == STORE_E_ROW ? read_found(s, out, st, bytes) : r ? err_fold(r) : SESSIONS_E_NONE;
	}
	wipe(bytes, sizeof(bytes));
	return r;
}

/* ---- looking after ---- */

int sessions_end(struct state *s, int64_t id)
{
	int r = state_run(s, "DELETE FROM session WHERE id = ?", &id, NULL);

	return r ? r : store_changes(state_store(s)) ? 0 : SESSIONS_E_NONE;
}

int sessions_end_user(struct state *s, const char *name)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	int r = prepare(&st, s, "DELETE FROM session WHERE user = (SELECT id FROM user WHERE name = ?)");

	if (r)
		return r;
	store_bind_text(st, 1, name);
	r = store_step(st);
	return r ? err_fold(r) : (int)store_changes(state_store(s));
}

int sessions_count(struct state *s, int64_t *out)
{
	int64_t now = state_now(s);

	return state_number(s, "SELECT count(*) FROM session WHERE expires_at > ?", &now, 0, out);
}

int sessions_list(struct state *s, const char *name, int64_t after, struct session *out, size_t max)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	size_t n = 0;
	int r;

	r = prepare(&st, s,
		    "SELECT session.id, session.user, user.name, session.created_at, expires_at, address FROM session"
		    " JOIN user ON user.id = session.user WHERE session.id > ?1 AND expires_at > ?2"
		    " AND (?3 IS NULL OR user.name = ?3) ORDER BY session.id LIMIT ?4");
	if (r)
		return r;
	store_bind_int(st, 1, after);
	store_bind_int(st, 2, state_now(s));
	store_bind_text(st, 3, name);
	store_bind_int(st, 4, (int64_t)max);
	while (n < max && (r = store_step(st)) == STORE_E_ROW) {
		struct session *o = &out[n++];
		const char *owner = store_text(st, 2), *address;

		memset(o, 0, sizeof(*o));
		o->id = store_int(st, 0);
		o->user = store_int(st, 1);
		snprintf(o->name, sizeof(o->name), "%s", owner ? owner : "");
		o->created_at = store_int(st, 3);
		o->expires_at = store_int(st, 4);
		address = store_text(st, 5);
		snprintf(o->address, sizeof(o->address), "%s", address ? address : "");
	}
	return r && r != STORE_E_ROW ? err_fold(r) : (int)n;
}

/*
 * Every change is one transaction: a record and the invitation that allowed it, a disabled user and
 * the end of its sessions.
 */
#include "authd/users.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "authd/state.h"
#include "base/error.h"
#include "crypto/secret.h"
#include "http/address.h"

/* Addresses that are remembered of a user, and for how long. */
enum { ADDRESSES_KEPT = 16, ADDRESS_DAYS = 60 };

static int prepare(struct store_stmt **st, struct state *s, const char *sql)
{
	return err_fold(store_prepare(st, state_store(s), sql));
}

static int run_named(struct state *s, const char *sql, const char *name)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	int r = prepare(&st, s, sql);

	if (r)
		return r;
	store_bind_text(st, 1, name);
	return err_fold(store_step(st));
}

static void copy_name(char out[static USERNAME_SPACE], const char *text)
{
	snprintf(out, USERNAME_SPACE, "%s", text ? text : "");
}

/* ---- reading ---- */

#define COLUMNS "id, name, record, generation, version, disabled, created_at, changed_at, seen_at"

static int read_user(struct user *out, struct store_stmt *st)
{
	const void *record;
	size_t len;

	memset(out, 0, sizeof(*out));
	out->id = store_int(st, 0);
	copy_name(out->name, store_text(st, 1));
	record = store_blob(st, 2, &len);
	if (!record || len != sizeof(out->record))
		return -EIO;
	memcpy(out->record, record, len);
	out->generation = store_int(st, 3);
	out->version = store_int(st, 4);
	out->disabled = store_int(st, 5) != 0;
	out->created_at = store_int(st, 6);
	out->changed_at = store_int(st, 7);
	out->seen_at = store_int(st, 8);
	return 0;
}

int users_find(struct state *s, const char *name, struct user *out)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	char wanted[USERNAME_SPACE] = "", found[USERNAME_SPACE] = "";
	int r;

	/* The row of this name or the next one; behind all there is "~". */
	r = prepare(&st, s, "SELECT " COLUMNS " FROM user WHERE name >= ? ORDER BY name LIMIT 1");
	if (r)
		return r;
	store_bind_text(st, 1, name);
	r = store_step(st);
	if (r != STORE_E_ROW)
		return r ? err_fold(r) : -EIO;
	r = read_user(out, st);
	if (r)
		return r;
	memcpy(wanted, name, strlen(name));
	memcpy(found, out->name, strlen(out->name));
	return bytes_equal(wanted, found, sizeof(wanted)) ? 0 : USERS_E_NO_SUCH;
}

int users_count(struct state *s, int64_t *out)
{
	int r = state_number(s, "SELECT count(*) FROM user", NULL, 1, out);

	*out -= 1; /* "~" */
	return r;
}

int users_list(struct state *s, const char *after, struct user *out, size_t max)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	size_t n = 0;
	int r;

	r = prepare(&st, s,
		    "SELECT " COLUMNS ", (SELECT count(*) FROM session WHERE session.user = user.id AND expires_at > ?2)"
		    " FROM user WHERE name > ?1 AND id > 0 ORDER BY name LIMIT ?3");
	if (r)
		return r;
	store_bind_text(st, 1, after);
	store_bind_int(st, 2, state_now(s));
	store_bind_int(st, 3, (int64_t)max);
	while (n < max && (r = store_step(st)) == STORE_E_ROW) {
		r = read_user(&out[n], st);
		if (r)
			return r;
		out[n++].sessions = store_int(st, 9);
	}
	return r && r != STORE_E_ROW ? err_fold(r) : (int)n;
}

/* ---- invitations ---- */

/* The name that a living invitation is for, "" for any. */
static int invitation_name(struct state *s, const uint8_t *hash, char out[static USERNAME_SPACE])
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	int r;

	r = prepare(&st, s, "SELECT name FROM invitation WHERE hash = ? AND expires_at > ?");
	if (r)
		return r;
	store_bind_blob(st, 1, hash, INVITATION_HASH_LEN);
	store_bind_int(st, 2, state_now(s));
	r = store_step(st);
	if (r != STORE_E_ROW)
		return r ? err_fold(r) : USERS_E_INVITATION;
	copy_name(out, store_text(st, 0));
	return 0;
}

int invitation_check(struct state *s, const uint8_t hash[static INVITATION_HASH_LEN], const char *name, bool *for_it)
{
	char for_name[USERNAME_SPACE];
	int r = invitation_name(s, hash, for_name);

	if (r)
		return r;
	*for_it = strcmp(for_name, name) == 0;
	return *for_name && !*for_it ? USERS_E_INVITATION : 0;
}

static int invitation_use(struct state *s, const uint8_t *hash)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	int r = prepare(&st, s, "DELETE FROM invitation WHERE hash = ?");

	if (r)
		return r;
	store_bind_blob(st, 1, hash, INVITATION_HASH_LEN);
	return err_fold(store_step(st));
}

int invitation_add(struct state *s, const uint8_t hash[static INVITATION_HASH_LEN], const char *name, uint64_t ttl_s)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	_cleanup_(state_end) struct state_tx tx = { NULL };
	int64_t now = state_now(s);
	int r;

	r = state_begin(&tx, s);
	if (!r)
		r = state_run(s, "DELETE FROM invitation WHERE expires_at <= ?", &now, NULL);
	if (!r)
		r = prepare(&st, s, "INSERT INTO invitation (hash, name, created_at, expires_at) VALUES (?, ?, ?, ?)");
	if (r)
		return r;
	store_bind_blob(st, 1, hash, INVITATION_HASH_LEN);
	store_bind_text(st, 2, name);
	store_bind_int(st, 3, now);
	store_bind_int(st, 4, now + (int64_t)ttl_s);
	r = store_step(st);
	if (r)
		return r == STORE_E_CONSTRAINT ? USERS_E_TAKEN : err_fold(r);
	r = state_tick(s);
	return r ? r : state_commit(&tx);
}

int invitations_list(struct state *s, int64_t after, struct invitation *out, size_t max)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	size_t n = 0;
	int r;

	r = prepare(&st, s,
		    "SELECT id, name, created_at, expires_at FROM invitation WHERE id > ? AND expires_at > ?"
		    " ORDER BY id LIMIT ?");
	if (r)
		return r;
	store_bind_int(st, 1, after);
	store_bind_int(st, 2, state_now(s));
	store_bind_int(st, 3, (int64_t)max);
	while (n < max && (r = store_step(st)) == STORE_E_ROW) {
		out[n].id = store_int(st, 0);
		copy_name(out[n].name, store_text(st, 1));
		out[n].created_at = store_int(st, 2);
		out[n++].expires_at = store_int(st, 3);
	}
	return r && r != STORE_E_ROW ? err_fold(r) : (int)n;
}

int invitation_remove(struct state *s, int64_t id)
{
	int r = state_run(s, "DELETE FROM invitation WHERE id = ?", &id, NULL);

	return r ? r : store_changes(state_store(s)) ? 0 : USERS_E_NO_SUCH;
}

/* ---- registering ---- */

static int insert_user(struct state *s, const char *name, const uint8_t *record, int64_t generation, int64_t max)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	int64_t now = state_now(s), n;
	int r;

	r = users_count(s, &n);
	if (!r && n >= max)
		return USERS_E_FULL;
	if (!r)
		r = prepare(&st, s,
			    "INSERT INTO user (name, record, generation, version, disabled, created_at, changed_at)"
			    " VALUES (?, ?, ?, 0, 0, ?, ?)");
	if (r)
		return r;
	store_bind_text(st, 1, name);
	store_bind_blob(st, 2, record, OPAQUE_RECORD_LEN);
	store_bind_int(st, 3, generation);
	store_bind_int(st, 4, now);
	store_bind_int(st, 5, now);
	return err_fold(store_step(st));
}

static int replace_record(struct state *s, int64_t user, const uint8_t *record, int64_t generation, int64_t keep_session)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	int r;

	r = prepare(&st, s, "UPDATE user SET record = ?, generation = ?, version = version + 1, changed_at = ? WHERE id = ?");
	if (r)
		return r;
	store_bind_blob(st, 1, record, OPAQUE_RECORD_LEN);
	store_bind_int(st, 2, generation);
	store_bind_int(st, 3, state_now(s));
	store_bind_int(st, 4, user);
	r = err_fold(store_step(st));
	return r ? r : state_run(s, "DELETE FROM session WHERE user = ? AND id <> ?", &user, &keep_session);
}

/* Whom the claim lets have a record: *user is 0 for a new one. */
static int decide(struct state *s, const char *name, const struct users_claim *claim, int64_t *user)
{
	char for_name[USERNAME_SPACE] = "";
	struct user now;
	int r, found;

	found = users_find(s, name, &now);
	if (found < 0)
		return found;
	*user = found == 0 ? now.id : 0;
	if (claim->user)
		return found == 0 && now.id == claim->user ? 0 : USERS_E_NO_SUCH;
	if (!claim->invitation_hash)
		return found == 0 ? USERS_E_TAKEN : 0;
	r = invitation_name(s, claim->invitation_hash, for_name);
	if (r)
		return r;
	if (*for_name)
		return strcmp(for_name, name) == 0 ? 0 : USERS_E_INVITATION;
	return found == 0 ? USERS_E_TAKEN : 0;
}

int users_register(struct state *s, const char *name, const uint8_t record[static OPAQUE_RECORD_LEN],
		   int64_t generation, const struct users_claim *claim, int64_t keep_session, int64_t max, bool *replaced)
{
	_cleanup_(state_end) struct state_tx tx = { NULL };
	int64_t user = 0;
	int r;

	r = state_begin(&tx, s);
	if (!r)
		r = decide(s, name, claim, &user);
	if (!r)
		r = user ? replace_record(s, user, record, generation, keep_session) :
			   insert_user(s, name, record, generation, max);
	if (!r && claim->invitation_hash)
		r = invitation_use(s, claim->invitation_hash);
	if (!r)
		r = state_tick(s);
	if (!r)
		r = state_commit(&tx);
	if (!r)
		*replaced = user != 0;
	return r;
}

/* ---- looking after ---- */

int users_set_disabled(struct state *s, const char *name, bool disabled)
{
	_cleanup_(state_end) struct state_tx tx = { NULL };
	bool found;
	int r;

	r = state_begin(&tx, s);
	if (!r)
		r = run_named(s, disabled ? "UPDATE user SET disabled = 1, version = version + 1 WHERE name = ? AND id > 0" :
					    "UPDATE user SET disabled = 0 WHERE name = ? AND id > 0",
			      name);
	found = store_changes(state_store(s)) > 0;
	if (!r && disabled)
		r = run_named(s, "DELETE FROM session WHERE user = (SELECT id FROM user WHERE name = ?)", name);
	if (!r)
		r = state_commit(&tx);
	return r ? r : found ? 0 : USERS_E_NO_SUCH;
}

int users_delete(struct state *s, const char *name)
{
	int r = run_named(s, "DELETE FROM user WHERE name = ? AND id > 0", name);

	if (r)
		return r;
	if (store_changes(state_store(s)) == 0)
		return USERS_E_NO_SUCH;
	/* It is done; where what went cannot be erased now, later changes overwrite it. */
	(void)state_scrub(s);
	return 0;
}

int users_import(struct state *s, const struct user *u)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	int r = prepare(&st, s,
			"INSERT INTO user (name, record, generation, version, disabled, created_at, changed_at, seen_at)"
			" VALUES (?, ?, ?, 0, ?, ?, ?, nullif(?, 0))");

	if (r)
		return r;
	store_bind_text(st, 1, u->name);
	store_bind_blob(st, 2, u->record, sizeof(u->record));
	store_bind_int(st, 3, u->generation);
	store_bind_int(st, 4, u->disabled);
	store_bind_int(st, 5, u->created_at);
	store_bind_int(st, 6, u->changed_at);
	store_bind_int(st, 7, u->seen_at);
	return err_fold(store_step(st));
}

/* ---- addresses ---- */

static void address_blob(uint8_t out[static 9], const struct address_key *a)
{
	out[0] = a->family;
	memcpy(out + 1, a->b, 8);
}

bool users_knows_address(struct state *s, int64_t user, const struct address_key *a)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	uint8_t blob[9];

	/* Whoever may enter a Unix socket is not told apart there. */
	if (!a->family || prepare(&st, s, "SELECT 1 FROM known_address WHERE user = ? AND address = ? AND seen_at > ?"))
		return false;
	address_blob(blob, a);
	store_bind_int(st, 1, user);
	store_bind_blob(st, 2, blob, sizeof(blob));
	store_bind_int(st, 3, state_now(s) - ADDRESS_DAYS * 86400);
	return store_step(st) == STORE_E_ROW;
}

int users_learn_address(struct state *s, int64_t user, const struct address_key *a)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	const int64_t kept = ADDRESSES_KEPT;
	uint8_t blob[9];
	int r;

	if (!a->family)
		return 0;
	r = prepare(&st, s, "INSERT OR REPLACE INTO known_address VALUES (?, ?, ?)");
	if (r)
		return r;
	address_blob(blob, a);
	store_bind_int(st, 1, user);
	store_bind_blob(st, 2, blob, sizeof(blob));
	store_bind_int(st, 3, state_now(s));
	r = err_fold(store_step(st));
	if (r)
		return r;
	return state_run(s,
			 "DELETE FROM known_address WHERE user = ?1 AND address IN"
			 " (SELECT address FROM known_address WHERE user = ?1 ORDER BY seen_at DESC LIMIT -1 OFFSET ?2)",
			 &user, &kept);
}

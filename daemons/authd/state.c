/*
 * The store and its schema. One owner of the file, every commit durable; a wrong or missing state key is
 * found before anything is changed.
 */
#include "authd/state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/opstat.h"
#include "base/text.h"
#include "crypto/seal.h"
#include "crypto/secret.h"

struct state {
	struct store *store;
	const struct seal_key *key;
	bool is_sealed; /* under it, all */
	int64_t marked; /* as stored */
	int64_t seen;	/* as stored, */
	uint64_t seen_ms; /* and when, on the clock that never jumps */
	struct opstat sealing, opening;
};

static const struct store_migration migrations[] = {
	/*
	 * user: names sort as bytes, and the last row is behind all names, so that a look-up always
	 * reads one row. version counts what makes a started login void. session.hash is SHA-256 of
	 * the session id. clock: mark, see state_mark(); seen, see state_now().
	 */
	{ "CREATE TABLE generation ("
	  " id INTEGER PRIMARY KEY AUTOINCREMENT, keys BLOB, memory_kib INTEGER NOT NULL, passes INTEGER NOT NULL,"
	  " created_at INTEGER NOT NULL, retired_at INTEGER) STRICT;"
	  "CREATE TABLE user ("
	  " id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, record BLOB NOT NULL,"
	  " generation INTEGER NOT NULL, version INTEGER NOT NULL, disabled INTEGER NOT NULL,"
	  " created_at INTEGER NOT NULL, changed_at INTEGER NOT NULL, seen_at INTEGER) STRICT;"
	  "CREATE INDEX user_generation ON user (generation);"
	  "INSERT INTO user VALUES (0, '~', zeroblob(192), 0, 0, 1, 0, 0, NULL);"
	  "CREATE TABLE session ("
	  " id INTEGER PRIMARY KEY AUTOINCREMENT, hash BLOB NOT NULL UNIQUE,"
	  " user INTEGER NOT NULL REFERENCES user (id) ON DELETE CASCADE, key BLOB NOT NULL,"
	  " created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, address TEXT NOT NULL) STRICT;"
	  "CREATE INDEX session_user ON session (user);"
	  "CREATE INDEX session_expires ON session (expires_at);"
	  "CREATE TABLE invitation ("
	  " id INTEGER PRIMARY KEY AUTOINCREMENT, hash BLOB NOT NULL UNIQUE, name TEXT,"
	  " created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL) STRICT;"
	  "CREATE TABLE known_address ("
	  " user INTEGER NOT NULL REFERENCES user (id) ON DELETE CASCADE, address BLOB NOT NULL,"
	  " seen_at INTEGER NOT NULL, PRIMARY KEY (user, address)) STRICT, WITHOUT ROWID;"
	  "CREATE TABLE transfer ("
	  " id INTEGER PRIMARY KEY AUTOINCREMENT,"
	  " sender INTEGER NOT NULL REFERENCES user (id) ON DELETE CASCADE, sender_name TEXT NOT NULL,"
	  " receiver INTEGER REFERENCES user (id) ON DELETE SET NULL, receiver_name TEXT NOT NULL,"
	  " note TEXT NOT NULL, at INTEGER NOT NULL) STRICT;"
	  "CREATE INDEX transfer_sender ON transfer (sender);"
	  "CREATE INDEX transfer_receiver ON transfer (receiver);"
	  "CREATE TABLE clock (one INTEGER PRIMARY KEY CHECK (one = 1), mark INTEGER NOT NULL,"
	  " seen INTEGER NOT NULL) STRICT;"
	  "INSERT INTO clock VALUES (1, 0, 0);"
	  "CREATE TABLE sealed (one INTEGER PRIMARY KEY CHECK (one = 1), key_id BLOB NOT NULL) STRICT;"
	  "CREATE TABLE served (one INTEGER PRIMARY KEY CHECK (one = 1), origin TEXT NOT NULL) STRICT;" },
};

struct store *state_store(struct state *s)
{
	return s->store;
}

/* ---- transactions and short statements ---- */

int state_begin(struct state_tx *tx, struct state *s)
{
	int r = err_fold(store_begin(s->store));

	if (!r)
		tx->store = s->store;
	return r;
}

int state_commit(struct state_tx *tx)
{
	int r = err_fold(store_commit(tx->store));

	if (!r)
		tx->store = NULL;
	return r;
}

void state_end(struct state_tx *tx)
{
	if (tx->store)
		store_rollback(tx->store);
}

int state_number(struct state *s, const char *sql, const int64_t *a, int64_t fallback, int64_t *out)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	int r;

	r = store_prepare(&st, s->store, sql);
	if (r)
		return err_fold(r);
	if (a)
		store_bind_int(st, 1, *a);
	r = store_step(st);
	if (r && r != STORE_E_ROW)
		return err_fold(r);
	*out = r == STORE_E_ROW ? store_int(st, 0) : fallback;
	return 0;
}

int state_run(struct state *s, const char *sql, const int64_t *a, const int64_t *b)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	int r;

	r = store_prepare(&st, s->store, sql);
	if (r)
		return err_fold(r);
	if (a)
		store_bind_int(st, 1, *a);
	if (b)
		store_bind_int(st, 2, *b);
	return err_fold(store_step(st));
}

int state_try(struct state *s)
{
	return err_fold(store_try(s->store));
}

int state_scrub(struct state *s)
{
	return err_fold(store_scrub(s->store));
}

/* ---- secrets at rest ---- */

const struct opstat *state_sealing(const struct state *s)
{
	return &s->sealing;
}

const struct opstat *state_opening(const struct state *s)
{
	return &s->opening;
}

void state_seal(struct state *s, uint8_t *out, size_t *out_len, const uint8_t *in, size_t len, const char *context)
{
	uint64_t begun = opstat_begin();

	*out_len = s->key ? len + SEAL_BLOB_EXTRA : len;
	if (s->key) {
		seal_blob(out, in, len, context, strlen(context), s->key);
		opstat_end(&s->sealing, begun, len, true);
	} else {
		memcpy(out, in, len);
	}
}

static int open_sealed(struct state *s, struct secret **out, const void *in, size_t in_len, size_t len, const char *context)
{
	_cleanup_(secret_freep) struct secret *opened = NULL;
	uint64_t begun = opstat_begin();
	int r = seal_blob_open(&opened, in, in_len, context, strlen(context), s->key);

	opstat_end(&s->opening, begun, len, r == 0);
	if (r < 0)
		return r;
	if (r || secret_len(opened) != len)
		return -EBADMSG;
	*out = steal(&opened);
	return 0;
}

int state_unseal(struct state *s, struct secret **out, const void *in, size_t in_len, size_t len, const char *context)
{
	uint8_t *bytes;
	int r;

	if (in_len != len || s->is_sealed)
		return open_sealed(s, out, in, in_len, len, context);
	r = secret_new(out, len, &bytes);
	if (!r)
		memcpy(bytes, in, len);
	return r;
}

static int write_key(struct state *s)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	int r = store_prepare(&st, s->store, "INSERT INTO sealed VALUES (1, ?)");

	if (r)
		return err_fold(r);
	store_bind_blob(st, 1, seal_key_id(s->key), SEAL_ID_LEN);
	return err_fold(store_step(st));
}

bool state_is_to_seal(const struct state *s)
{
	return s->key && !s->is_sealed;
}

int state_begin_sealing(struct state *s)
{
	int r = state_run(s, "DELETE FROM session", NULL, NULL);

	return r ? r : write_key(s);
}

void state_seals(struct state *s)
{
	s->is_sealed = true;
}

/* Which state key the secrets here are sealed under, if they are. */
static int check_key(struct state *s)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	const void *id;
	size_t len;
	int r;

	r = store_prepare(&st, s->store, "SELECT key_id FROM sealed");
	if (r)
		return err_fold(r);
	r = store_step(st);
	if (r == STORE_E_ROW) {
		id = store_blob(st, 0, &len);
		if (!s->key)
			return STATE_E_SEALED;
		s->is_sealed = id && len == SEAL_ID_LEN && memcmp(id, seal_key_id(s->key), len) == 0;
		return s->is_sealed ? 0 : STATE_E_OTHER_KEY;
	}
	return err_fold(r);
}

/* ---- the clock ---- */

int64_t state_marked(const struct state *s)
{
	return s->marked;
}

static void set_seen(struct state *s, int64_t now)
{
	s->seen = now;
	s->seen_ms = clock_now_ms();
}

int state_mark(struct state *s, int64_t at)
{
	int64_t now = state_now(s);
	int r = state_run(s, "UPDATE clock SET mark = ?, seen = max(seen, ?)", &at, &now);

	if (r)
		return r;
	s->marked = at;
	set_seen(s, now);
	return 0;
}

int64_t state_now(const struct state *s)
{
	int64_t wall = clock_wall_s(), seen = s->seen + (int64_t)((clock_now_ms() - s->seen_ms) / 1000);

	return wall > seen ? wall : seen;
}

int state_tick(struct state *s)
{
	int64_t now = state_now(s);
	int r = state_run(s, "UPDATE clock SET seen = max(seen, ?)", &now, NULL);

	if (!r)
		set_seen(s, now);
	return r;
}

static int load_clock(struct state *s)
{
	int r = state_number(s, "SELECT mark FROM clock", NULL, 0, &s->marked);

	s->seen_ms = clock_now_ms();
	return r ? r : state_number(s, "SELECT seen FROM clock", NULL, 0, &s->seen);
}

/* ---- the origin ---- */

int state_origin(struct state *s, char *out, size_t cap)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	int r = store_prepare(&st, s->store, "SELECT origin FROM served");

	*out = '\0';
	if (r)
		return err_fold(r);
	r = store_step(st);
	if (r != STORE_E_ROW)
		return err_fold(r);
	snprintf(out, cap, "%s", store_text(st, 0));
	return 0;
}

static int write_origin(struct state *s, const char *origin)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	int r = store_prepare(&st, s->store, "INSERT OR REPLACE INTO served VALUES (1, ?)");

	if (r)
		return err_fold(r);
	store_bind_text(st, 1, origin);
	return err_fold(store_step(st));
}

int state_take_origin(struct state *s, const char *origin, char *before, size_t cap)
{
	char noted[512] = "";
	int64_t users;
	int r = state_origin(s, noted, sizeof(noted));

	if (r || strcmp(noted, origin) == 0)
		return r;
	r = state_number(s, "SELECT count(*) FROM user WHERE id > 0", NULL, 0, &users);
	if (r)
		return r;
	if (users > 0) {
		snprintf(before, cap, "%s", noted);
		return 0;
	}
	return write_origin(s, origin);
}

/* ---- another one's ---- */

int64_t state_seen(const struct state *s)
{
	return s->seen;
}

int state_import(struct state *s, const char *origin, int64_t mark, int64_t seen)
{
	int r;

	r = state_run(s, "UPDATE clock SET mark = max(mark, ?1), seen = max(seen, ?2)", &mark, &seen);
	if (!r)
		r = state_run(s, "DELETE FROM sealed", NULL, NULL);
	if (!r && s->key)
		r = write_key(s);
	return r ? r : write_origin(s, origin);
}

/* ---- life ---- */

static int explain(char *why, size_t cap, int r, const char *path)
{
	switch (r) {
	case STATE_E_NEWER:
		return text_explain(why, cap, r, "%s is of a newer handfast", path);
	case STATE_E_CORRUPT:
		return text_explain(why, cap, r, "%s is damaged: restore it from a backup (handfast-backup(5))", path);
	case STATE_E_LOCKED:
		return text_explain(why, cap, r, "another authd is running, and has %s open", path);
	case STATE_E_SEALED:
		return text_explain(why, cap, r, "%s is sealed under the credential handfast.state-key, which is missing: "
			       "put it back (handfast-security(7)); nothing was changed", path);
	case STATE_E_OTHER_KEY:
		return text_explain(why, cap, r, "%s is sealed under another credential handfast.state-key than this one: "
			       "put the right one back (handfast-security(7)); nothing was changed", path);
	}
	return text_explain(why, cap, r, "cannot open %s: %s", path, strerror(-r));
}

static int fold_open(int r)
{
	switch (r) {
	case STORE_E_NEWER:
		return STATE_E_NEWER;
	case STORE_E_CORRUPT:
		return STATE_E_CORRUPT;
	case STORE_E_LOCKED:
		return STATE_E_LOCKED;
	}
	return err_fold(r);
}

enum purpose { TO_SERVE, TO_IMPORT, TO_LOOK };

static int open_for(enum purpose purpose, struct state **out, const char *dir, const struct seal_key *key, char *why, size_t cap)
{
	_cleanup_(state_freep) struct state *s = calloc(1, sizeof(*s));
	_cleanup_free_ char *path = path_join(dir, "authd.db");
	int64_t found;
	int r;

	if (!s || !path)
		return text_explain(why, cap, -ENOMEM, "no memory");
	s->key = key;
	if (purpose == TO_LOOK)
		r = fold_open(store_look(&s->store, path, migrations, ARRAY_SIZE(migrations), &found));
	else
		r = fold_open(store_open(&s->store, path, migrations, ARRAY_SIZE(migrations)));
	if (!r && purpose == TO_SERVE)
		r = check_key(s);
	if (!r)
		r = load_clock(s);
	if (r)
		return explain(why, cap, r, path);
	*out = steal(&s);
	return 0;
}

int state_open(struct state **out, const char *dir, const struct seal_key *key, char *why, size_t cap)
{
	return open_for(TO_SERVE, out, dir, key, why, cap);
}

int state_open_import(struct state **out, const char *dir, const struct seal_key *key, bool look, char *why, size_t cap)
{
	return open_for(look ? TO_LOOK : TO_IMPORT, out, dir, key, why, cap);
}

struct state *state_free(struct state *s)
{
	if (!s)
		return NULL;
	store_close(s->store);
	free(s);
	return NULL;
}

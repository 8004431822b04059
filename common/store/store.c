/*
 * SQLite for state. One process owns the file for as long as it is open
 * (locking_mode EXCLUSIVE), every commit is durable (synchronous FULL), deleted
 * rows are overwritten (secure_delete), what SQLite frees in memory is wiped, and
 * the schema moves forward by numbered migrations, each in a transaction of its own.
 */
#include "store/store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sqlite3.h>

#include "base/file.h"
#include "base/list.h"
#include "base/log.h"

enum { BUSY_TIMEOUT_MS = 250 };

struct store_stmt {
	struct list node;
	struct store *store;
	sqlite3_stmt *st;
	int error; /* of binding, told by the next step */
	bool in_use;
};

struct store {
	sqlite3 *db;
	struct list stmts;
	size_t version;
	bool look;    /* one transaction from beginning to end, which is never committed */
	bool refused; /* a commit failed, and its frames may lie in the WAL */
};

/*
 * SQLite copies rows into caches and buffers, and some rows are secret: what
 * it gives back is wiped. That counts only when nothing is carved from pieces
 * that SQLite keeps, so lookaside and the caches' first pages are off.
 */
static sqlite3_mem_methods plain;

static void wiping_free(void *p)
{
	explicit_bzero(p, (size_t)plain.xSize(p));
	plain.xFree(p);
}

static void *wiping_realloc(void *old, int size)
{
	int had = plain.xSize(old);
	void *p = plain.xMalloc(size);

	if (!p)
		return NULL;
	memcpy(p, old, (size_t)(had < size ? had : size));
	wiping_free(old);
	return p;
}

/* Once, before SQLite is used; a second try finds it done. */
static void wipe_what_is_freed(void)
{
	sqlite3_mem_methods wiping;

	if (plain.xMalloc || sqlite3_config(SQLITE_CONFIG_GETMALLOC, &wiping))
		return;
	plain = wiping;
	wiping.xFree = wiping_free;
	wiping.xRealloc = wiping_realloc;
	if (sqlite3_config(SQLITE_CONFIG_MALLOC, &wiping) || sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) ||
	    sqlite3_config(SQLITE_CONFIG_PAGECACHE, NULL, 0, 0))
		log_debug("SQLite does not wipe what it frees");
}

static int outcome(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_DONE:
		return 0;
	case SQLITE_ROW:
		return STORE_E_ROW;
	case SQLITE_CONSTRAINT:
		return STORE_E_CONSTRAINT;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return STORE_E_LOCKED;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return STORE_E_CORRUPT;
	case SQLITE_TOOBIG:
		return -EFBIG;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_CANTOPEN:
	case SQLITE_PERM:
		return -EACCES;
	}
	return -EIO;
}

static int run(struct store *s, const char *sql)
{
	return outcome(sqlite3_exec(s->db, sql, NULL, NULL, NULL));
}

static int user_version(struct store *s, int64_t *v)
{
	struct store_stmt *st;
	int r = store_prepare(&st, s, "PRAGMA user_version");

	if (r)
		return r;
	r = store_step(st);
	if (r == STORE_E_ROW) {
		*v = store_int(st, 0);
		r = 0;
	} else if (r == 0) {
		r = -EIO; /* this pragma always has a row */
	}
	store_done(st);
	return r;
}

/*
 * Damage is told at the start, not in the middle of what somebody asked for. Indexes, too: a row that is not
 * found by its index is a row that is not there.
 */
static int check_integrity(struct store *s)
{
	struct store_stmt *st;
	int r = store_prepare(&st, s, "PRAGMA integrity_check(1)");

	if (r)
		return r;
	r = store_step(st);
	if (r == STORE_E_ROW)
		r = strcmp(store_text(st, 0), "ok") == 0 ? 0 : STORE_E_CORRUPT;
	store_done(st);
	return r;
}

static int set_user_version(struct store *s, size_t v)
{
	char *sql = sqlite3_mprintf("PRAGMA user_version=%d", (int)v);
	int r = sql ? run(s, sql) : -ENOMEM;

	sqlite3_free(sql);
	return r;
}

static int migrate(struct store *s, const struct store_migration *m, size_t n, int64_t *found)
{
	int64_t version = 0;
	int r = user_version(s, &version);

	if (r)
		return r;
	*found = version;
	if (version < 0 || (uint64_t)version > n)
		return STORE_E_NEWER;
	s->version = (size_t)version;
	for (size_t i = (size_t)version; i < n; i++) {
		r = s->look ? 0 : store_begin(s);
		if (!r)
			r = run(s, m[i].sql);
		if (!r)
			r = set_user_version(s, i + 1);
		if (!r && !s->look)
			r = store_commit(s);
		if (r) {
			store_rollback(s);
			return r;
		}
		s->version = i + 1;
	}
	return 0;
}

/*
 * The path by its folder's real name: SQLite is told to follow no link, and would refuse one anywhere
 * in the path. A link in the file's own place stays refused; one above it is the administrator's.
 */
static int real_folder(char **out, const char *path)
{
	const char *slash = strrchr(path, '/');
	_cleanup_free_ char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	_cleanup_free_ char *real = folder ? realpath(folder, NULL) : NULL;

	if (!real)
		return folder ? -errno : -ENOMEM;
	return asprintf(out, "%s/%s", real, slash ? slash + 1 : path) < 0 ? -ENOMEM : 0;
}

/* SQLite makes the file by umask; make it first with its final mode. */
static int create_private(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return -errno;
	/* One that was copied here carelessly; the WAL takes its mode from it. */
	return fchmod(fd, 0600) < 0 ? -errno : 0;
}

static int open_any(struct store **out, const char *path, const struct store_migration *m, size_t n, bool look,
		    int64_t *found)
{
	static const char *const settings[] = {
		"PRAGMA locking_mode=EXCLUSIVE", /* before WAL: then there is no -shm file at all */
		"PRAGMA journal_mode=WAL",	  "PRAGMA synchronous=FULL",
		"PRAGMA secure_delete=ON",	  "PRAGMA foreign_keys=ON",
		"PRAGMA trusted_schema=OFF",	  "PRAGMA temp_store=MEMORY",
		"BEGIN EXCLUSIVE", "COMMIT", /* takes the lock now, not at the first write */
	};
	_cleanup_(store_closep) struct store *s = calloc(1, sizeof(*s));
	_cleanup_free_ char *real = NULL;
	int r;

	if (!s)
		return -ENOMEM;
	wipe_what_is_freed();
	list_init(&s->stmts);
	s->look = look;
	r = look ? 0 : create_private(path);
	if (r)
		return r;
	r = real_folder(&real, path);
	if (r)
		return r;
	r = outcome(sqlite3_open_v2(real, &s->db,
				    SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_NOMUTEX, NULL));
	if (r)
		return r;
	sqlite3_busy_timeout(s->db, BUSY_TIMEOUT_MS);
	sqlite3_extended_result_codes(s->db, 1);
	sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		r = run(s, settings[i]);
		if (r)
			return r;
	}
	r = check_integrity(s);
	if (!r && look)
		r = store_begin(s);
	if (r)
		return r;
	r = migrate(s, m, n, found);
	if (r)
		return r;
	r = file_sync_parent(path);
	if (r)
		return r;
	*out = steal(&s);
	return 0;
}

int store_open(struct store **out, const char *path, const struct store_migration *m, size_t n)
{
	int64_t found;

	return store_open_version(out, path, m, n, &found);
}

int store_open_version(struct store **out, const char *path, const struct store_migration *m, size_t n,
		       int64_t *found)
{
	return open_any(out, path, m, n, false, found);
}

int store_look(struct store **out, const char *path, const struct store_migration *m, size_t n, int64_t *found)
{
	return open_any(out, path, m, n, true, found);
}

struct store *store_close(struct store *s)
{
	if (!s)
		return NULL;
	list_for_each(it, &s->stmts) {
		struct store_stmt *st = container_of(it, struct store_stmt, node);

		sqlite3_finalize(st->st);
		free(st);
	}
	sqlite3_close(s->db);
	free(s);
	return NULL;
}

static void take_back(struct store *s)
{
	if (!sqlite3_get_autocommit(s->db))
		run(s, "ROLLBACK");
}

/*
 * A commit that could not be synced was taken back in memory, while the WAL has all of it: a next life would find
 * there what this one told as failed. What is committed next is written over it; here, nothing but the version.
 * A disk that still refuses is asked again at the next use.
 */
static void overwrite_refused(struct store *s)
{
	if (!s->refused || s->look || !sqlite3_get_autocommit(s->db))
		return;
	if (!run(s, "BEGIN IMMEDIATE") && !set_user_version(s, s->version) && !run(s, "COMMIT"))
		s->refused = false;
	take_back(s);
}

int store_begin(struct store *s)
{
	return run(s, "BEGIN IMMEDIATE");
}

int store_commit(struct store *s)
{
	int r = run(s, "COMMIT");

	s->refused = r != 0;
	return r;
}

void store_rollback(struct store *s)
{
	take_back(s);
	overwrite_refused(s);
}

/* The version is written also where it stays the same; a row would not be. */
int store_try(struct store *s)
{
	int r = store_begin(s);

	if (!r)
		r = set_user_version(s, s->version);
	if (!r)
		r = store_commit(s);
	if (r)
		store_rollback(s);
	return r;
}

/* The buffer in which SQLite builds rows keeps the last ones for as long as the file is open. */
static void overwrite_row_buffer(struct store *s)
{
	if (run(s, "BEGIN IMMEDIATE"))
		return;
	if (run(s, "CREATE TABLE row_buffer (zeros)") || run(s, "INSERT INTO row_buffer VALUES (zeroblob(4000))"))
		log_debug("the row buffer keeps what was in it");
	store_rollback(s);
}

int store_scrub(struct store *s)
{
	int busy = 0, log = 0;
	int r = outcome(sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, &log, &busy));

	overwrite_row_buffer(s);
	sqlite3_db_release_memory(s->db);
	return r == STORE_E_LOCKED ? -EBUSY : r;
}

int store_prepare(struct store_stmt **out, struct store *s, const char *sql)
{
	struct store_stmt *st;
	int r;

	overwrite_refused(s);
	list_for_each(it, &s->stmts) {
		st = container_of(it, struct store_stmt, node);
		if (!st->in_use && strcmp(sqlite3_sql(st->st), sql) == 0) {
			st->in_use = true;
			*out = st;
			return 0;
		}
	}
	st = calloc(1, sizeof(*st));
	if (!st)
		return -ENOMEM;
	r = outcome(sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &st->st, NULL));
	if (r) {
		free(st);
		return r;
	}
	st->store = s;
	st->in_use = true;
	list_append(&s->stmts, &st->node);
	*out = st;
	return 0;
}

/* The library's copies of what was bound are wiped when they are let go. */
static void free_wiped(void *p)
{
	size_t *whole = (size_t *)p - 1;

	explicit_bzero(p, *whole);
	free(whole);
}

static void *copy_wipeable(const void *v, size_t len)
{
	size_t *whole = malloc(sizeof(*whole) + len + 1);

	if (!whole)
		return NULL;
	*whole = len;
	memcpy(whole + 1, v, len);
	((char *)(whole + 1))[len] = '\0';
	return whole + 1;
}

/*
 * A wrong index, or a bind in the middle of stepping, is a mistake of ours. What found no memory stays
 * unbound, which SQLite would take for NULL: the statement must not run.
 */
static void bound(struct store_stmt *st, int rc)
{
	assert(rc == SQLITE_OK || rc == SQLITE_NOMEM || rc == SQLITE_TOOBIG);
	if (rc && !st->error)
		st->error = outcome(rc);
}

void store_bind_text(struct store_stmt *st, int i, const char *v)
{
	char *copy = v ? copy_wipeable(v, strlen(v)) : NULL;

	if (copy)
		bound(st, sqlite3_bind_text(st->st, i, copy, -1, free_wiped));
	else
		bound(st, v ? SQLITE_NOMEM : sqlite3_bind_null(st->st, i));
}

void store_bind_blob(struct store_stmt *st, int i, const void *v, size_t len)
{
	void *copy = v ? copy_wipeable(v, len) : NULL;

	if (copy)
		bound(st, sqlite3_bind_blob64(st->st, i, copy, len, free_wiped));
	else
		bound(st, v ? SQLITE_NOMEM : sqlite3_bind_null(st->st, i));
}

void store_bind_int(struct store_stmt *st, int i, int64_t v)
{
	bound(st, sqlite3_bind_int64(st->st, i, v));
}

int store_step(struct store_stmt *st)
{
	int r = st->error ? st->error : outcome(sqlite3_step(st->st));

	/* It may have been a transaction of its own. */
	if (r < 0)
		st->store->refused = true;
	return r;
}

const char *store_text(struct store_stmt *st, int col)
{
	return (const char *)sqlite3_column_text(st->st, col);
}

const void *store_blob(struct store_stmt *st, int col, size_t *len)
{
	const void *p = sqlite3_column_blob(st->st, col);

	*len = (size_t)sqlite3_column_bytes(st->st, col);
	return p;
}

int64_t store_int(struct store_stmt *st, int col)
{
	return sqlite3_column_int64(st->st, col);
}

void store_done(struct store_stmt *st)
{
	sqlite3_reset(st->st);
	sqlite3_clear_bindings(st->st);
	st->error = 0;
	st->in_use = false;
}

void store_donep(struct store_stmt **st)
{
	if (*st)
		store_done(*st);
}

int64_t store_changes(const struct store *s)
{
	return sqlite3_changes(s->db);
}

/* SQLite for state: WAL, synchronous FULL, secure_delete, foreign keys, numbered migrations. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct store;
struct store_stmt;

struct store_migration {
	const char *sql; /* brings version n to n + 1, n its index in the array */
};

enum { STORE_E_NEWER = 1, STORE_E_CORRUPT, STORE_E_LOCKED, STORE_E_CONSTRAINT, STORE_E_ROW };

/*
 * Open or create path (0600), take an exclusive lock for the process's life,
 * migrate inside one transaction each. 0; STORE_E_NEWER when the file is of a
 * newer handfast, STORE_E_CORRUPT, STORE_E_LOCKED (another daemon has it);
 * -ENOSPC, -EROFS, -EACCES, -EIO, -ENOMEM.
 */
int store_open(struct store **out, const char *path, const struct store_migration *m, size_t n);
/* The same, telling with STORE_E_NEWER which version the file has. */
int store_open_version(struct store **out, const char *path, const struct store_migration *m, size_t n,
		       int64_t *found);
/*
 * The same to look only at a store that is there: what migrations, or the caller, change is seen until
 * store_close() and then never was. No store_begin(), no store_commit().
 */
int store_look(struct store **out, const char *path, const struct store_migration *m, size_t n, int64_t *found);
struct store *store_close(struct store *s);
DEFINE_CLEANUP(struct store *, store_close);

int store_begin(struct store *s);
/*
 * Durable when 0. After an error nothing of it is seen here, and once the disk takes writes again no later
 * opening sees it either; a power cut before that may leave all of it or nothing.
 */
int store_commit(struct store *s);
void store_rollback(struct store *s);
/* Write something that changes nothing, durably: whether the disk takes it. As store_commit(). */
int store_try(struct store *s);

/* Move everything into the database and truncate the WAL, so that deleted secrets are gone from it. */
int store_scrub(struct store *s);

/*
 * Statements are cached; bind, step, read, reset (store_done). Strings and blobs are copied at bind; one
 * for which there is no memory makes the step fail.
 */
int store_prepare(struct store_stmt **out, struct store *s, const char *sql);
void store_bind_text(struct store_stmt *st, int i, const char *v); /* NULL binds NULL */
void store_bind_blob(struct store_stmt *st, int i, const void *v, size_t len);
void store_bind_int(struct store_stmt *st, int i, int64_t v);
/* STORE_E_ROW: a row is there; 0: done; STORE_E_CONSTRAINT; or negative errno. */
int store_step(struct store_stmt *st);
const char *store_text(struct store_stmt *st, int col); /* valid until the next step */
const void *store_blob(struct store_stmt *st, int col, size_t *len);
int64_t store_int(struct store_stmt *st, int col);
void store_done(struct store_stmt *st); /* reset and unbind (binds are wiped) */
void store_donep(struct store_stmt **st);
int64_t store_changes(const struct store *s);

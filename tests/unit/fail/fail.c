#include "unit/fail/fail.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <dirent.h>

static enum fail_kind kind;
static unsigned int countdown;
static bool armed, struck;

void fail_begin(enum fail_kind k, unsigned int nth)
{
	kind = k;
	countdown = nth;
	armed = true;
	struck = false;
}

bool fail_end(void)
{
	armed = false;
	return struck;
}

bool fail_struck(void)
{
	return struck;
}

void fail_keep(bool was_struck)
{
	armed = false;
	struck = was_struck;
}

static bool is_due(enum fail_kind k, int e)
{
	if (!armed || k != kind || countdown == 0 || --countdown > 0)
		return false;
	struck = true;
	errno = e;
	return true;
}

static size_t shorten(size_t n)
{
	return armed && kind == FAIL_SHORT && n > 1 ? 1 : n;
}

#define WRAP(ret, name, failed, k, e, params, args)                                            \
	ret __real_##name params;                                                              \
	ret __wrap_##name params;                                                              \
	ret __wrap_##name params                                                               \
	{                                                                                      \
		return is_due(k, e) ? (failed) : __real_##name args;                           \
	}

WRAP(void *, malloc, NULL, FAIL_MEMORY, ENOMEM, (size_t n), (n))
WRAP(void *, calloc, NULL, FAIL_MEMORY, ENOMEM, (size_t n, size_t len), (n, len))
WRAP(void *, realloc, NULL, FAIL_MEMORY, ENOMEM, (void *p, size_t n), (p, n))
WRAP(char *, strdup, NULL, FAIL_MEMORY, ENOMEM, (const char *s), (s))
WRAP(char *, strndup, NULL, FAIL_MEMORY, ENOMEM, (const char *s, size_t n), (s, n))

WRAP(ssize_t, write, -1, FAIL_WRITE, ENOSPC, (int fd, const void *p, size_t n), (fd, p, shorten(n)))
WRAP(ssize_t, pwrite, -1, FAIL_WRITE, ENOSPC, (int fd, const void *p, size_t n, off_t at), (fd, p, shorten(n), at))
WRAP(int, fsync, -1, FAIL_WRITE, EIO, (int fd), (fd))
WRAP(int, fdatasync, -1, FAIL_WRITE, EIO, (int fd), (fd))
WRAP(int, rename, -1, FAIL_WRITE, ENOSPC, (const char *a, const char *b), (a, b))
WRAP(int, link, -1, FAIL_WRITE, ENOSPC, (const char *a, const char *b), (a, b))
WRAP(int, linkat, -1, FAIL_WRITE, ENOSPC, (int fa, const char *a, int fb, const char *b, int f), (fa, a, fb, b, f))
WRAP(int, mkdir, -1, FAIL_WRITE, ENOSPC, (const char *p, mode_t m), (p, m))
WRAP(int, fallocate, -1, FAIL_WRITE, ENOSPC, (int fd, int mode, off_t at, off_t n), (fd, mode, at, n))
WRAP(int, mkostemp, -1, FAIL_WRITE, ENOSPC, (char *p, int flags), (p, flags))

WRAP(ssize_t, read, -1, FAIL_READ, EIO, (int fd, void *p, size_t n), (fd, p, shorten(n)))
WRAP(ssize_t, pread, -1, FAIL_READ, EIO, (int fd, void *p, size_t n, off_t at), (fd, p, shorten(n), at))
WRAP(int, fstat, -1, FAIL_READ, EIO, (int fd, struct stat *st), (fd, st))
WRAP(DIR *, opendir, NULL, FAIL_READ, EIO, (const char *p), (p))

#define IO_ERROR 10 /* SQLITE_IOERR */

WRAP(int, sqlite3_prepare_v3, IO_ERROR, FAIL_STORE, EIO,
     (void *db, const char *sql, int n, unsigned int flags, void **st, const char **tail), (db, sql, n, flags, st, tail))
WRAP(int, sqlite3_step, IO_ERROR, FAIL_STORE, EIO, (void *st), (st))
WRAP(int, sqlite3_wal_checkpoint_v2, IO_ERROR, FAIL_STORE, EIO, (void *db, const char *name, int mode, int *log, int *done),
     (db, name, mode, log, done))

int __real_sqlite3_exec(void *db, const char *sql, void *fn, void *arg, char **why);
int __wrap_sqlite3_exec(void *db, const char *sql, void *fn, void *arg, char **why);
/* A rollback has nothing to write that could fail. */
int __wrap_sqlite3_exec(void *db, const char *sql, void *fn, void *arg, char **why)
{
	if (strcmp(sql, "ROLLBACK") != 0 && is_due(FAIL_STORE, EIO))
		return IO_ERROR;
	return __real_sqlite3_exec(db, sql, fn, arg, why);
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
	mode_t mode = 0;

	if (flags & (O_CREAT | __O_TMPFILE)) {
		va_list ap;

		va_start(ap, flags);
		mode = va_arg(ap, mode_t);
		va_end(ap);
		if (is_due(FAIL_WRITE, ENOSPC))
			return -1;
	}
	if ((flags & O_ACCMODE) == O_RDONLY && is_due(FAIL_READ, EIO))
		return -1;
	return __real_open(path, flags, mode);
}

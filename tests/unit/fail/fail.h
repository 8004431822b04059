/*
 * Calls of the C library that fail on purpose, in programs named test-fail: the
 * n-th call of a kind from now on fails once, as if the machine had no memory
 * or its disk no room. FAIL_EACH(kind) { … } runs its body again and again, each time
 * with a later call failing, until none is left to fail; fail_struck() says
 * whether it was its turn already.
 */
#pragma once

#include <stdbool.h>

enum fail_kind {
	FAIL_MEMORY, /* malloc, calloc, realloc, strdup …: NULL, ENOMEM */
	FAIL_WRITE,  /* write, pwrite, fsync, fdatasync, rename, link, mkdir, fallocate, creating a file: ENOSPC */
	FAIL_READ,   /* read, pread, fstat, opendir, opening for reading: EIO */
	FAIL_SHORT,  /* every read and write: one byte at most; never a failure */
	FAIL_STORE,  /* a statement of SQLite's is prepared, run or committed, or its log emptied: I/O error */
};

void fail_begin(enum fail_kind kind, unsigned int nth);
/* No more failures; whether one happened. */
bool fail_end(void);
/* Whether one happened since fail_begin(). */
bool fail_struck(void);
/* Say so by hand, where others began since. */
void fail_keep(bool was_struck);

/* The body must call fail_end() before it looks at what is left; it goes on until nothing was left to fail. */
#define FAIL_EACH(kind)                                                                        \
	for (unsigned int fail_n_ = 1; fail_n_ == 1 || fail_struck(); fail_n_++)               \
		for (bool fail_once_ = (fail_begin(kind, fail_n_), true); fail_once_; fail_once_ = false)

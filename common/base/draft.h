/*
 * A file that gets its name once it is whole, and never the name of another:
 * open, write, fsync, publish. What was not published leaves nothing behind,
 * even after SIGKILL, where the filesystem knows unnamed files (O_TMPFILE); elsewhere
 * it is PATH.partial until then.
 */
#pragma once

#include <limits.h>
#include <sys/types.h>

struct draft {
	int fd; /* for writing; stays the draft's */
	char partial[PATH_MAX];
};

#define DRAFT_NONE { .fd = -1 }

/* 0 or a negative errno. *d needs draft_done() either way. mode is exact: no umask. */
int draft_open(struct draft *d, const char *path, mode_t mode);
/* Name it. 0, -EEXIST when the name is taken (and stays so), or a negative errno. The caller syncs the folder. */
int draft_publish(struct draft *d, const char *path);
/* Close, and forget what was not published. For _cleanup_ too. */
void draft_done(struct draft *d);

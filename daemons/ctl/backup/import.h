/*
 * Running `NAME --import`: a daemon checks a bundle, or takes it, as who owns its
 * state folder. See service/export.h for the other side.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "ctl/failure.h"

struct ctl;
struct json_t;

/* Where the installed daemons have theirs. */
#define STATE_DIR "/var/lib/handfast"
#define RUNTIME_DIR "/run/handfast"

/* In the order in which they take their state. */
struct import_part {
	const char *daemon;
	const char *user; /* who owns the state folder when it has to be made */
};
#define IMPORT_PARTS 3
extern const struct import_part import_parts[IMPORT_PARTS];

struct import_run {
	const struct import_part *part;
	const char *state_dir; /* the daemon's own folder */
	int bundle;	       /* read from its beginning */
	int hold;	       /* a descriptor that the daemon has open while it works; -1: none */
	bool check, replace;
};

/* Whose the folder is, or will be. */
void import_owner(const struct import_part *part, const char *state_dir, uid_t *uid, gid_t *gid);

/*
 * Run it. 0 with the daemon's answer in *answer (a new reference); else its exit code, 128 when it did not
 * end by itself, or a negative errno (-ENOENT: there is no such program), with its sentence in why (cap bytes).
 */
int import_run(const struct ctl *c, const struct import_run *run, struct json_t **answer, char *why, size_t cap);

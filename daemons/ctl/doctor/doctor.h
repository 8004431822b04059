/*
 * handfast doctor: a table of checks, each a small function that looks at one
 * thing and tells what it found. Adding one is a function and a line in the
 * table of cmd_doctor.c. A check changes nothing and starts no daemon; what it waits for has
 * a bound of a few seconds.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"

#include "ctl/ctl.h"
#include "ctl/daemon.h"
#include "ctl/systemd.h"

struct json_t;

enum verdict { DOCTOR_OK, DOCTOR_NOTE, DOCTOR_WARNING, DOCTOR_FAILURE, N_VERDICTS };

struct doctor {
	struct ctl *c;
	bool root;
	bool own; /* the folders are those of an installation: /run/handfast */
	struct awake awake;
	/* io.handfast.Daemon.Status of each, NULL where there is no answer, and why. */
	struct json_t *status[AWAKE_MAX];
	struct failure failure[AWAKE_MAX];
	/* Lists, NULL where they cannot be had. */
	struct json_t *peers, *tunnels;
	/* What was found. */
	struct json_t *findings;
	const char *check;
	unsigned int n[N_VERDICTS];
};

/*
 * One finding. about: the unit, socket, tunnel or file. what: one sentence (printf-like), without its
 * full stop. todo: a sentence on what to do, NULL where nothing is.
 */
void doctor_tell(struct doctor *d, enum verdict v, const char *about, const char *todo, const char *what, ...)
	__attribute__((format(printf, 5, 6)));

/* A sentence for todo, valid until the next eight calls. */
const char *doctor_text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A member of Status' details as text, "" without. */
const char *doctor_detail(const struct doctor *d, size_t which, const char *key);
/* A daemon's state folder and configuration file, as it says, or else where they are by default. */
void doctor_state_dir(const struct doctor *d, size_t which, char *out, size_t cap);
void doctor_config_file(const struct doctor *d, size_t which, char *out, size_t cap);

/*
 * The uid that a daemon runs as: of its unit's process, else of its account (where systemd or the
 * package keeps it), else of who answers in a runtime folder of its own. DOCTOR_NOBODY: not known.
 */
#define DOCTOR_NOBODY ((uid_t)-1)
uid_t doctor_uid(const struct doctor *d, size_t which);
/* "handfast-psk", or "uid 4711" without a name; valid as long as doctor_text()'s. */
const char *doctor_user(uid_t uid);

/*
 * Run a program and take what it prints, at most cap bytes, always ended by NUL. Its exit status, or a
 * negative errno; -ETIMEDOUT after timeout_ms, and it is killed then.
 */
int doctor_run(char *const argv[], char *out, size_t cap, int timeout_ms);

/* A small file of /proc or /sys, without its last line end. False when it cannot be read. */
bool doctor_read(const char *path, char *out, size_t cap);
/* A number at the file's start, or fallback. */
long long doctor_number(const char *path, long long fallback);

typedef void (*doctor_fn)(struct doctor *d);
struct doctor_check {
	const char *name;  /* "clock": in the answer, and for --only */
	const char *about; /* "is the clock right and synchronised" */
	doctor_fn fn;
};
extern const struct doctor_check doctor_checks[]; /* ends with name == NULL */

/* cmd_doctor_system.c */
void doctor_units(struct doctor *d);
void doctor_daemons(struct doctor *d);
void doctor_sockets(struct doctor *d);
void doctor_groups(struct doctor *d);
void doctor_versions(struct doctor *d);
void doctor_configuration(struct doctor *d);
void doctor_relay(struct doctor *d);
/* cmd_doctor_kernel.c */
void doctor_tun(struct doctor *d);
void doctor_clock(struct doctor *d);
void doctor_buffers(struct doctor *d);
void doctor_sealing(struct doctor *d);
void doctor_entropy(struct doctor *d);
void doctor_memory(struct doctor *d);
/* cmd_doctor_files.c */
void doctor_disk(struct doctor *d);
void doctor_files(struct doctor *d);
void doctor_keys(struct doctor *d);
void doctor_credential(struct doctor *d);
/* cmd_doctor_path.c */
void doctor_peers(struct doctor *d);
void doctor_path(struct doctor *d);
/* cmd_doctor_firewall.c */
void doctor_firewall(struct doctor *d);

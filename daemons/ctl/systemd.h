/*
 * What systemd says of the units, asked over D-Bus (or, as root where there is
 * no bus, over systemd's own socket). Nothing here starts anything.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctl/failure.h"

struct ctl;
struct json_t;

/* Everything "" or 0 where systemd did not say. */
struct unit {
	char name[64];	 /* "pskd.service" */
	char load[24];	 /* "loaded", "not-found", "masked", "bad-setting" … */
	char active[24]; /* "active", "inactive", "failed", "activating" … */
	char sub[32];	 /* "running", "listening", "dead" … */
	char file[24];	 /* "enabled", "disabled", "static", "masked" … */
	char result[32]; /* a service's or socket's: "success", "exit-code", "watchdog" … */
	unsigned int main_pid;
	unsigned int restarts; /* by itself, since it was started */
	uint64_t active_ms; /* since it became active, 0 when it is not */
	bool need_reload; /* the unit's file changed since systemd read it */
};

/* Whether systemd is PID 1 here: only then are there units. */
bool systemd_is_here(void);

/* Fill units by their names. 0, or the negative errno of asking: all but the names is empty then. */
int systemd_units(struct unit *units, size_t n);

/* It ends soon after each start, and systemd starts it again and again. */
bool unit_is_looping(const struct unit *u);

/* The daemons of this machine: which of them run, so that asking starts none. */
enum { AWAKE_RELAYD, AWAKE_PAIRINGD, AWAKE_PSKD, AWAKE_AUTHD, AWAKE_MAX };
struct awake {
	bool units; /* systemd told of the units below */
	struct unit service[AWAKE_MAX], socket[AWAKE_MAX];
	struct unit tund_service, tund_socket;
	bool asleep[AWAKE_MAX]; /* connecting would start it */
};
extern const char *const awake_names[AWAKE_MAX];

/* Only where the runtime folder is systemd's (/run/handfast) can a daemon be asleep. */
void awake_look(struct awake *a, const struct ctl *c);

/*
 * As daemon_try() without parameters, but a daemon that is asleep is not woken:
 * it is not running. which is one of AWAKE_….
 */
int awake_ask(const struct awake *a, const struct ctl *c, size_t which, const char *method,
	      struct json_t **reply, struct failure *f);

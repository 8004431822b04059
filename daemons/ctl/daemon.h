/* Calls to the daemons, and sentences for what can go wrong on the way. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "ctl/failure.h"

struct ctl;
struct json_t;
struct varlink_client;

/* The daemon's name is also that of its unit and, with ".sock", of its socket. */
#define RELAYD "relayd"
#define PAIRINGD "pairingd"
#define PSKD "pskd"
#define AUTHD "authd"

/* A file in the runtime folder. */
void runtime_path(const struct ctl *c, char *out, size_t cap, const char *name);

/* A daemon's program: beside this one (a build tree), or in the package's folder. False when there is none. */
bool daemon_program(char *out, size_t cap, const char *daemon);

/*
 * Connect: EXIT_DONE, or an exit code with *f filled. The caller frees *out.
 */
int daemon_open(const struct ctl *c, const char *daemon, struct varlink_client **out,
		struct failure *f);

/* Fill *f from a failed call: r of varlink_client_call() and its failure. */
struct varlink_failure;
int daemon_failure(const struct ctl *c, const char *daemon, int r, struct varlink_failure *v,
		   struct failure *f);

/*
 * One call on a connection of its own, "Relay.Status" on relayd, say. params is
 * stolen. on_more may be NULL. EXIT_DONE with *reply a new reference, else an exit
 * code with *f filled. When on_more ends the wait, its value is returned and
 * *f is as on_more left it.
 */
int daemon_try(const struct ctl *c, const char *daemon, const char *method, struct json_t *params,
	       int (*on_more)(const struct json_t *params, void *arg), void *arg,
	       struct json_t **reply, struct failure *f);

/* The same for a call with one reply; a failure is reported at once. */
int daemon_call(struct ctl *c, const char *daemon, const char *method, struct json_t *params,
		struct json_t **reply);

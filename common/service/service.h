/*
 * What every daemon's life shares: options, logging, configuration path,
 * folders, control socket, sd_notify with watchdog, reload, confinement, stop.
 *
 * Options of every daemon: --config FILE, --state-dir DIR, --runtime-dir DIR,
 * --read-group NAME, --admin-group NAME, --log-level LEVEL, --check, --version, --help.
 * Defaults: /etc/handfast/NAME.yaml, /var/lib/handfast/NAME ($STATE_DIRECTORY),
 * /run/handfast.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;
struct metrics;
struct service;
struct service_fds;
struct varlink_interface;
struct config_error;
struct json_t;

struct service_option { /* of one daemon, beside the shared ones */
	const char *name; /* "relay-socket" */
	const char *arg;  /* "FILE", or NULL: a flag */
	const char *help;
	const char *with; /* the option without which it says nothing, and is refused; NULL: none */
};

struct service_info {
	const char *name;
	const char *summary;
	const struct service_option *options; /* ends with name == NULL; may be NULL */
	bool no_state; /* keeps nothing on disk */
	bool no_config;
	bool no_control; /* no Varlink socket (tund) */
};

int service_main(const struct service_info *info, int argc, char **argv,
		 int (*run)(struct service *svc));

struct loop *service_loop(struct service *svc);
const char *service_config_path(const struct service *svc);
bool service_config_is_default(const struct service *svc); /* a missing file is fine then */
const char *service_state_dir(const struct service *svc); /* exists, 0700, unless no_state or --check */
const char *service_runtime_dir(const struct service *svc);
const char *service_option(const struct service *svc, const char *name); /* NULL: not given; "" for a given flag */
/* Each value of a repeatable option in turn: *at starts at 0; NULL after the last. */
const char *service_option_next(const struct service *svc, const char *name, size_t *at);
bool service_check_only(const struct service *svc);
/* What the manager passed: fds.h. What nobody took is refused when service_run() begins. */
struct service_fds *service_fds(struct service *svc);
const char *service_admin_group(const struct service *svc); /* who may change: for sockets beside the control socket */

/* Log "what: why" once with MSG_DAEMON_FAILED and return an exit code for run(). r: negative errno or outcome. */
int service_fail(struct service *svc, int r, const char *what);
/* The same with a finished sentence (a config_error's text, say). */
int service_fail_text(struct service *svc, const char *text);
/* The same for what only the administrator mends, in the configuration or the state: a unit is not started again by itself. */
int service_fail_config(struct service *svc, const char *text);
/* What works and is still worth a look: logged once, with file; printed by --check. */
struct log_id;
void service_warn(struct service *svc, const struct log_id *id, const char *file, const char *text);

/* Add an interface to the control socket, before service_run(). 0 or negative errno. */
int service_add_interface(struct service *svc, const struct varlink_interface *i, void *arg);

/*
 * reload: everything that can fail first; 0, or -1 with *err saying why (the
 * running configuration stays whole). Called for SIGHUP and for
 * io.handfast.Daemon.Reload, whose caller gets err.
 */
void service_on_reload(struct service *svc, int (*fn)(struct service *svc, void *arg, struct config_error *err), void *arg);
/* fn is called once at stop; what it sets going has 50 ms of the loop before it ends. */
void service_on_stop(struct service *svc, void (*fn)(void *arg), void *arg);
/* And more, up to a second, while fn, which gets on_stop's arg, says that it is not done. */
void service_stop_when(struct service *svc, bool (*fn)(void *arg));
/* fn adds daemon-specific members to io.handfast.Daemon.Status' "details". */
void service_on_status(struct service *svc, void (*fn)(struct json_t *details, void *arg), void *arg);

/* fn adds the daemon's own values to those that every daemon has; see service/metrics.h. */
void service_on_metrics(struct service *svc, void (*fn)(struct metrics *m, void *arg), void *arg);
/* What io.handfast.Daemon.Metrics answers, now: a new reference, NULL without memory. */
struct json_t *service_metrics(struct service *svc);

/* sd_notify STATUS=, and what Status() shows. */
void service_set_status(struct service *svc, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* No new privileges, no core dumps, not dumpable. 0 or negative errno. */
int service_confine(struct service *svc);

/* Open the control socket, say READY, run until SIGTERM/SIGINT. Returns run()'s exit code. */
int service_run(struct service *svc);

/*
 * A daemon's life. service_main() reads the command line, prepares folders, log and
 * loop, and calls run(); service_run() opens the control socket, says READY and runs
 * the loop until a signal. io.handfast.Daemon is answered here for all of them.
 */
#include "service/service.h"

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>
#include <systemd/sd-daemon.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "config/config.h"
#include "crypto/secret.h"
#include "event/loop.h"
#include "event/unixsock.h"
#include "event/varlink.h"
#include "service/credential.h"
#include "service/metrics.h"
#include "service/fds.h"
#include "service/options.h"
#include "varlink/io.handfast.Daemon.h"

enum {
	EXIT_FAILED = 1,
	EXIT_CONFIG = 78, /* sysexits.h's; the units do not start again after it */
	STATUS_MAX = 256,
	STOP_MS = 50,
	STOP_WAIT_MS = 1000,
	LARGE_BUFFER = 64 * 1024, /* one goes back to the system when it is freed */
};

struct service {
	const struct service_info *info;
	struct service_options options;
	struct loop *loop;
	struct service_fds *fds;
	struct varlink_server *control;
	struct loop_timer *watchdog, *stop_limit;
	struct loop_io *log_due;
	uint64_t watchdog_ms;
	uint64_t started_ms;
	char *config_path, *state_dir, *runtime_dir;
	char *socket_path; /* the control socket that we made; NULL: systemd's */
	struct stat socket_stat;
	char status[STATUS_MAX];
	int (*reload)(struct service *svc, void *arg, struct config_error *err);
	void *reload_arg;
	void (*on_stop)(void *arg);
	void *on_stop_arg;
	bool (*stop_when)(void *arg);
	uint64_t stop_ms;
	void (*on_status)(struct json_t *details, void *arg);
	void *on_status_arg;
	void (*on_metrics)(struct metrics *m, void *arg);
	void *on_metrics_arg;
	bool stopping;
};

/* ---- what run() asks for -------------------------------------------------------------------- */

struct loop *service_loop(struct service *svc)
{
	return svc->loop;
}

const char *service_config_path(const struct service *svc)
{
	return svc->config_path;
}

bool service_config_is_default(const struct service *svc)
{
	return !svc->options.config;
}

const char *service_state_dir(const struct service *svc)
{
	return svc->state_dir;
}

const char *service_runtime_dir(const struct service *svc)
{
	return svc->runtime_dir;
}

const char *service_option_next(const struct service *svc, const char *name, size_t *at)
{
	while (*at < svc->options.n_own) {
		const struct service_value *v = &svc->options.own[(*at)++];

		if (strcmp(v->name, name) == 0)
			return v->value;
	}
	return NULL;
}

const char *service_option(const struct service *svc, const char *name)
{
	const char *last = NULL, *v;
	size_t at = 0;

	while ((v = service_option_next(svc, name, &at)))
		last = v;
	return last;
}

const char *service_admin_group(const struct service *svc)
{
	return svc->options.admin_group ? svc->options.admin_group : "handfast-admin";
}

struct service_fds *service_fds(struct service *svc)
{
	return svc->fds;
}

bool service_check_only(const struct service *svc)
{
	return svc->options.check;
}

int service_fail_text(struct service *svc, const char *text)
{
	if (svc->options.check)
		fprintf(stderr, "%s\n", text);
	else
		log_event(LOG_ERR, &MSG_DAEMON_FAILED, LOG_NO_FIELDS, "%s", text);
	sd_notifyf(0, "STATUS=%s", text);
	return EXIT_FAILED;
}

void service_warn(struct service *svc, const struct log_id *id, const char *file, const char *text)
{
	if (svc->options.check)
		printf("warning: %s: %s\n", file, text);
	else
		log_event(LOG_WARNING, id, LOG_FIELDS({ FIELD_FILE, file }), "%s: %s", file, text);
}

int service_fail_config(struct service *svc, const char *text)
{
	(void)service_fail_text(svc, text);
	return svc->options.check ? EXIT_FAILED : EXIT_CONFIG;
}

int service_fail(struct service *svc, int r, const char *what)
{
	char text[STATUS_MAX];

	if (r < 0)
		sd_notifyf(0, "ERRNO=%d", -r);
	snprintf(text, sizeof(text), "%s: %s", what, r < 0 ? strerror(-r) : "unexpected outcome");
	return service_fail_text(svc, text);
}

void service_on_reload(struct service *svc,
		       int (*fn)(struct service *svc, void *arg, struct config_error *err), void *arg)
{
	svc->reload = fn;
	svc->reload_arg = arg;
}

void service_on_stop(struct service *svc, void (*fn)(void *arg), void *arg)
{
	svc->on_stop = fn;
	svc->on_stop_arg = arg;
}

void service_stop_when(struct service *svc, bool (*fn)(void *arg))
{
	svc->stop_when = fn;
}

void service_on_status(struct service *svc, void (*fn)(struct json_t *details, void *arg), void *arg)
{
	svc->on_status = fn;
	svc->on_status_arg = arg;
}

void service_on_metrics(struct service *svc, void (*fn)(struct metrics *m, void *arg), void *arg)
{
	svc->on_metrics = fn;
	svc->on_metrics_arg = arg;
}

void service_set_status(struct service *svc, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(svc->status, sizeof(svc->status), fmt, ap);
	va_end(ap);
	sd_notifyf(0, "STATUS=%s", svc->status);
}

/* Before the first secret is read. */
static int forbid_dumps(void)
{
	const struct rlimit none = { 0, 0 };

	return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || setrlimit(RLIMIT_CORE, &none) < 0 ? -errno : 0;
}

int service_confine(struct service *svc)
{
	(void)svc;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	/* Again: a change of user id since the start would have undone it. */
	return forbid_dumps();
}

/* ---- reload --------------------------------------------------------------------------------- */

/* RELOADING=1 wants the time at which it began (systemd 253 and later; earlier ones ignore it). */
static void notify_reloading(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
		   (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u);
}

static int do_reload(struct service *svc, struct config_error *err)
{
	int r = 0;

	if (!svc->reload) {
		snprintf(err->text, sizeof(err->text), "%s has nothing to read again", svc->info->name);
		return -1;
	}
	notify_reloading();
	r = svc->reload(svc, svc->reload_arg, err);
	if (!r && svc->control)
		varlink_server_find_groups(svc->control);
	if (r)
		log_event(LOG_ERR, &MSG_RELOAD_REFUSED, LOG_NO_FIELDS,
			  "configuration not reloaded, the running one stays: %s", err->text);
	else
		log_event(LOG_NOTICE, &MSG_DAEMON_RELOADED, LOG_NO_FIELDS, "configuration reloaded");
	sd_notify(0, "READY=1");
	return r;
}

static void on_hup(int signo, void *arg)
{
	struct config_error err = { "" };

	(void)signo;
	do_reload(arg, &err);
}

/* ---- io.handfast.Daemon --------------------------------------------------------------------- */

/* systemd fixes the credentials at start: what is there now was used, or the daemon had refused to start. */
static bool has_state_key(void)
{
	_cleanup_free_ char *path = credential_path(CREDENTIAL_STATE_KEY);

	return path && access(path, F_OK) == 0;
}

static void method_status(struct varlink_call *call, const struct json_t *params, void *arg)
{
	struct service *svc = arg;
	json_t *details = json_object();

	(void)params;
	/* Where the doctor has to look. */
	if (details && !svc->info->no_config)
		json_object_set_new(details, "config", json_string(svc->config_path));
	if (details && !svc->info->no_state)
		json_object_set_new(details, "state_dir", json_string(svc->state_dir));
	if (details && !svc->info->no_state)
		json_object_set_new(details, "state_key", json_string(has_state_key() ? "credential" : "none"));
	if (details && svc->on_status)
		svc->on_status(details, svc->on_status_arg);
	varlink_reply(call, json_pack("{s:s, s:s, s:i, s:I, s:s, s:o}", "name", svc->info->name, "version",
				      HANDFAST_VERSION, "pid", (int)getpid(), "uptime_ms",
				      (json_int_t)(clock_now_ms() - svc->started_ms), "status", svc->status,
				      "details", details));
}

json_t *service_metrics(struct service *svc)
{
	_cleanup_(metrics_freep) struct metrics *m = metrics_new();

	if (!m)
		return NULL;
	metrics_add_process(m, svc->info->name, clock_now_ms() - svc->started_ms);
	if (svc->on_metrics)
		svc->on_metrics(m, svc->on_metrics_arg);
	return metrics_take_json(m);
}

static void method_metrics(struct varlink_call *call, const struct json_t *params, void *arg)
{
	json_t *reply = service_metrics(arg);

	(void)params;
	if (reply)
		varlink_reply(call, reply);
	else
		varlink_error(call, "io.handfast.Daemon.Internal", "out of memory", NULL);
}

static void method_reload(struct varlink_call *call, const struct json_t *params, void *arg)
{
	struct config_error err = { "" };

	(void)params;
	if (do_reload(arg, &err))
		varlink_error(call, "io.handfast.Daemon.ReloadRefused", err.text,
			      "the running configuration is unchanged; mend the file and reload again");
	else
		varlink_reply(call, NULL);
}

static void method_set_log_level(struct varlink_call *call, const struct json_t *params, void *arg)
{
	int level = log_level_parse(json_get_str(params, "level"));

	(void)arg;
	if (level < 0) {
		varlink_error(call, "io.handfast.Daemon.BadRequest", "no such log level",
			      "err, warning, notice, info or debug");
		return;
	}
	log_set_level(level);
	varlink_reply(call, NULL);
}

static const struct varlink_method daemon_methods[] = {
	{ "Status", VARLINK_READ, method_status },
	{ "Metrics", VARLINK_READ, method_metrics },
	{ "Reload", VARLINK_CHANGE, method_reload },
	{ "SetLogLevel", VARLINK_CHANGE, method_set_log_level },
	{ NULL, VARLINK_READ, NULL },
};

static const struct varlink_interface daemon_interface = {
	.name = "io.handfast.Daemon",
	.description = varlink_io_handfast_Daemon,
	.methods = daemon_methods,
};

int service_add_interface(struct service *svc, const struct varlink_interface *i, void *arg)
{
	return varlink_server_add(svc->control, i, arg);
}

/* ---- preparing ------------------------------------------------------------------------------ */

static void on_denied(const struct unix_caller *caller, const char *method, void *arg)
{
	char who[32];

	(void)arg;
	snprintf(who, sizeof(who), "uid %u", (unsigned int)caller->uid);
	log_event(LOG_NOTICE, &MSG_CONTROL_DENIED,
		  LOG_FIELDS({ FIELD_CALLER, who }, { FIELD_ERROR, "io.handfast.Daemon.PermissionDenied" }),
		  "%s was denied to %s", method, who);
}

static int prepare_control(struct service *svc)
{
	const struct service_options *o = &svc->options;
	const struct varlink_info info = {
		.vendor = "handfast",
		.product = svc->info->name,
		.version = HANDFAST_VERSION,
		.url = "https://varlink.org",
		.read_group = o->read_group ? o->read_group : "handfast",
		.admin_group = o->admin_group ? o->admin_group : "handfast-admin",
		.on_denied = on_denied,
	};
	int r = varlink_server_new(&svc->control, svc->loop, &info);

	return r ? r : varlink_server_add(svc->control, &daemon_interface, svc);
}

/* The control socket: systemd's (FileDescriptorName=NAME.control), or our own. Callers are checked for each method, so anybody may connect. */
static int open_control(struct service *svc)
{
	_cleanup_free_ char *path = NULL;
	char name[64];
	int fd;

	snprintf(name, sizeof(name), "%s.control", svc->info->name);
	fd = service_fds_take(svc->fds, name);
	if (fd >= 0 && !service_fd_is_listening(fd, AF_UNIX, SOCK_STREAM)) {
		close(fd);
		return -ENOTSOCK;
	}
	if (fd == -ENOENT) {
		snprintf(name, sizeof(name), "%s.sock", svc->info->name);
		path = path_join(svc->runtime_dir, name);
		if (!path)
			return -ENOMEM;
		fd = unix_listen(path, SOCK_STREAM, 0666, NULL, false);
	}
	if (fd < 0)
		return fd;
	if (path && stat(path, &svc->socket_stat) == 0)
		svc->socket_path = steal(&path);
	return varlink_server_listen(svc->control, fd);
}

/*
 * Callers are told that they are cut off while what their calls belong to still lives, in run().
 * The name goes too, if it is still ours, so that "not running" is seen as such.
 */
static void close_control(struct service *svc)
{
	struct stat st;

	svc->control = varlink_server_free(svc->control);
	if (svc->socket_path && stat(svc->socket_path, &st) == 0 && st.st_ino == svc->socket_stat.st_ino &&
	    st.st_dev == svc->socket_stat.st_dev)
		unlink(svc->socket_path);
}

static char *default_state_dir(const struct service *svc)
{
	/* systemd names the first of several, separated by colons. */
	const char *given = getenv("STATE_DIRECTORY");

	return given && *given ? strndup(given, strcspn(given, ":")) :
				 path_join("/var/lib/handfast", svc->info->name);
}

static char *default_config(const struct service *svc)
{
	char *p;

	return asprintf(&p, "/etc/handfast/%s.yaml", svc->info->name) < 0 ? NULL : p;
}

static int prepare_paths(struct service *svc)
{
	const struct service_options *o = &svc->options;

	svc->config_path = o->config ? strdup(o->config) : default_config(svc);
	svc->state_dir = o->state_dir ? strdup(o->state_dir) : default_state_dir(svc);
	svc->runtime_dir = strdup(o->runtime_dir ? o->runtime_dir : "/run/handfast");
	return svc->config_path && svc->state_dir && svc->runtime_dir ? 0 : -ENOMEM;
}

/* Somebody has to see to it: starting again does not. */
static int state_dir_complaint(struct service *svc, const char *why)
{
	char text[STATUS_MAX];

	snprintf(text, sizeof(text), "state folder %s: %s", svc->state_dir, why);
	return service_fail_config(svc, text);
}

static int make_state_dir(const char *path)
{
	_cleanup_free_ char *parent = strdup(path);
	char *slash;
	int r = 0;

	if (!parent)
		return -ENOMEM;
	slash = strrchr(parent, '/');
	if (slash && slash != parent) {
		*slash = '\0';
		r = file_mkdirs(parent, 0755);
	}
	if (r)
		return r;
	return mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

/* Keys lie in the state folder: it must be ours alone. Returns an exit code. */
static int prepare_state_dir(struct service *svc)
{
	struct stat st;
	int r = make_state_dir(svc->state_dir);

	if (!r && stat(svc->state_dir, &st) < 0)
		r = -errno;
	if (r)
		return service_fail(svc, r, svc->state_dir);
	if (!S_ISDIR(st.st_mode))
		return state_dir_complaint(svc, "is no folder");
	if (st.st_uid != geteuid())
		return state_dir_complaint(svc, "belongs to another user; chown it to the user this daemon runs as");
	if (st.st_mode & 077)
		return state_dir_complaint(svc, "others may enter it; chmod it to 0700");
	return 0;
}

static int prepare_dirs(struct service *svc)
{
	/* Others must reach the sockets in the one, and nothing in the other. */
	mode_t old = umask(0022);
	int r = file_mkdirs(svc->runtime_dir, 0755);

	if (r)
		r = service_fail(svc, r, "cannot make the runtime folder");
	else if (!svc->info->no_state)
		r = prepare_state_dir(svc);
	umask(old);
	return r;
}

/* ---- running -------------------------------------------------------------------------------- */

/* Whatever run() did not know is of another version, or of nobody: it is not kept. */
static void close_unknown_fds(struct service *svc)
{
	const char *name;

	while ((name = service_fds_name(svc->fds, 0))) {
		log_event(LOG_WARNING, &MSG_FD_REFUSED, LOG_FIELDS({ FIELD_FILE, name }),
			  "a descriptor named %s was passed, which %s does not know; it is closed", name,
			  svc->info->name);
		(void)service_fd_unstore(name);
		close(service_fds_take(svc->fds, name));
	}
}

static void on_watchdog(void *arg)
{
	struct service *svc = arg;

	sd_notify(0, "WATCHDOG=1");
	loop_timer_start(svc->watchdog, svc->watchdog_ms);
}

static int start_watchdog(struct service *svc)
{
	uint64_t usec;
	int r;

	if (sd_watchdog_enabled(0, &usec) <= 0)
		return 0;
	svc->watchdog_ms = usec / 2000;
	r = loop_timer_new(&svc->watchdog, svc->loop, on_watchdog, svc);
	return r ? r : loop_timer_start(svc->watchdog, svc->watchdog_ms);
}

static void on_log_due(int fd, unsigned int events, void *arg)
{
	(void)fd;
	(void)events;
	(void)arg;
	log_tell(false);
}

/* Counts of suppressed events come out by themselves; where that cannot be, with later events. */
static int watch_log(struct service *svc)
{
	int fd = log_due_fd();

	return fd < 0 ? 0 : loop_io_new(&svc->log_due, svc->loop, fd, LOOP_READ, on_log_due, NULL);
}

static void on_stop_limit(void *arg)
{
	struct service *svc = arg;

	if (svc->stop_when && !svc->stop_when(svc->on_stop_arg) &&
	    clock_now_ms() - svc->stop_ms < STOP_WAIT_MS)
		loop_timer_start(svc->stop_limit, STOP_MS);
	else
		loop_stop(svc->loop, 0);
}

static void on_term(int signo, void *arg)
{
	struct service *svc = arg;

	if (svc->stopping)
		return;
	svc->stopping = true;
	sd_notify(0, "STOPPING=1");
	log_event(LOG_NOTICE, &MSG_DAEMON_STOPPING, LOG_NO_FIELDS, "stopping (%s)", strsignal(signo));
	if (svc->on_stop)
		svc->on_stop(svc->on_stop_arg);
	/* What on_stop set going (a close frame, say) gets its turn; then the loop ends. */
	svc->stop_ms = clock_now_ms();
	loop_timer_start(svc->stop_limit, svc->on_stop ? STOP_MS : 0);
}

int service_run(struct service *svc)
{
	int r = svc->info->no_control ? 0 : open_control(svc);

	close_unknown_fds(svc);
	if (r == -EADDRINUSE)
		return service_fail_text(svc, "the control socket is in use: another instance is running");
	if (r)
		return service_fail(svc, r, "cannot open the control socket");
	r = loop_timer_new(&svc->stop_limit, svc->loop, on_stop_limit, svc);
	if (!r)
		r = loop_on_signal(svc->loop, SIGTERM, on_term, svc);
	if (!r)
		r = loop_on_signal(svc->loop, SIGINT, on_term, svc);
	if (!r)
		r = loop_on_signal(svc->loop, SIGHUP, on_hup, svc);
	if (!r)
		r = start_watchdog(svc);
	if (!r)
		r = watch_log(svc);
	if (r)
		return service_fail(svc, r, "cannot start");
	if (!*svc->status)
		snprintf(svc->status, sizeof(svc->status), "ready");
	log_event(LOG_NOTICE, &MSG_DAEMON_READY, LOG_NO_FIELDS, "%s %s is ready", svc->info->name,
		  HANDFAST_VERSION);
	sd_notifyf(0, "READY=1\nSTATUS=%s", svc->status);
	r = loop_run(svc->loop);
	close_control(svc);
	return r;
}

static void service_done(struct service *svc)
{
	varlink_server_free(svc->control);
	service_fds_free(svc->fds);
	loop_timer_free(svc->watchdog);
	loop_timer_free(svc->stop_limit);
	loop_io_free(svc->log_due);
	log_tell(true);
	loop_free(svc->loop);
	free(svc->config_path);
	free(svc->state_dir);
	free(svc->runtime_dir);
	free(svc->socket_path);
}

static int prepare(struct service *svc)
{
	int level = svc->options.log_level ? log_level_parse(svc->options.log_level) : LOG_INFO;
	int r;

	if (level < 0) {
		fprintf(stderr, "%s: no such log level: %s (err, warning, notice, info or debug)\n",
			svc->info->name, svc->options.log_level);
		return 2;
	}
	log_init(svc->info->name, level);
	signal(SIGPIPE, SIG_IGN);
	/* A reload that is asked for too early has nothing to reload; it must not end us. */
	signal(SIGHUP, SIG_IGN);
	umask(0077);
	/* glibc raises this bound to the largest buffer that was freed, and then keeps what a burst of callers took. */
	mallopt(M_MMAP_THRESHOLD, LARGE_BUFFER);
	r = forbid_dumps();
	if (!r)
		r = service_fds_new(&svc->fds);
	if (!r)
		r = prepare_paths(svc);
	if (!r) {
		r = crypto_init();
		if (r && r != -EIO) {
			char text[STATUS_MAX];

			snprintf(text, sizeof(text),
				 "cannot lock memory for secrets (%s): raise LimitMEMLOCK= to 8M, or let the container use mlock",
				 strerror(-r));
			return service_fail_text(svc, text);
		}
	}
	if (!r)
		r = loop_new(&svc->loop);
	if (!r && !svc->info->no_control)
		r = prepare_control(svc);
	if (r)
		return service_fail(svc, r, "cannot start");
	return svc->options.check ? 0 : prepare_dirs(svc);
}

int service_main(const struct service_info *info, int argc, char **argv, int (*run)(struct service *svc))
{
	_cleanup_(service_done) struct service svc = { .info = info, .started_ms = clock_now_ms() };
	int r = service_options_parse(&svc.options, info, argc, argv);

	if (r)
		return r;
	if (svc.options.help) {
		service_options_help(info);
		return 0;
	}
	if (svc.options.version) {
		printf("%s %s\n", info->name, HANDFAST_VERSION);
		return 0;
	}
	r = prepare(&svc);
	if (!r)
		r = run(&svc);
	if (!r && svc.options.check)
		printf("%s: fine\n", svc.config_path);
	return r;
}

/*
 * Calls to the daemons. What people get wrong most (nothing runs, not in the
 * group) is explained here, once.
 */
#include "ctl/daemon.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "event/varlink.h"

#include "ctl/ctl.h"

/* For the answer to a call that tells nothing on the way; one that does says itself how it goes on. */
#define ANSWER_MAX_MS 120000

#define JOIN_GROUP                                                                             \
	"Reading needs the group handfast, changing needs handfast-admin: "                    \
	"“sudo usermod -aG handfast-admin $USER”, then log in again."

void runtime_path(const struct ctl *c, char *out, size_t cap, const char *name)
{
	snprintf(out, cap, "%s/%s", c->runtime_dir, name);
}

bool daemon_program(char *out, size_t cap, const char *daemon)
{
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n > 0) {
		self[n] = '\0';
		*strrchr(self, '/') = '\0';
		if ((size_t)snprintf(out, cap, "%s/%s", self, daemon) < cap && access(out, X_OK) == 0)
			return true;
		if ((size_t)snprintf(out, cap, "%s/../libexec/handfast/%s", self, daemon) < cap &&
		    access(out, X_OK) == 0)
			return true;
	}
	snprintf(out, cap, "/usr/libexec/handfast/%s", daemon);
	return access(out, X_OK) == 0;
}

static int cannot_connect(const struct ctl *c, const char *daemon, int r, struct failure *f)
{
	char hint[256];

	if (r == -ENOENT || r == -ECONNREFUSED || r == -ENOTDIR) {
		snprintf(hint, sizeof(hint), "Start it: “sudo systemctl start %s”. (Looked in %s.)",
			 daemon, c->runtime_dir);
		return failure_set(f, EXIT_NOT_RUNNING, ERROR_NOT_RUNNING, hint,
				   "%s is not running", daemon);
	}
	if (r == -EACCES || r == -EPERM)
		return failure_set(f, EXIT_PERMISSION, ERROR_NO_PERMISSION, JOIN_GROUP,
				   "you may not talk to %s", daemon);
	if (r == -ETIMEDOUT)
		return failure_set(f, EXIT_TIMED_OUT, ERROR_TIMED_OUT, NULL, "%s takes no calls: it hangs, or has too many",
				   daemon);
	return failure_set(f, EXIT_FAILED, ERROR_INTERNAL, NULL, "cannot reach %s at %s/%s.sock: %s",
			   daemon, c->runtime_dir, daemon, strerror(-r));
}

int daemon_open(const struct ctl *c, const char *daemon, struct varlink_client **out,
		struct failure *f)
{
	char name[32], path[4096];
	int r;

	snprintf(name, sizeof(name), "%s.sock", daemon);
	runtime_path(c, path, sizeof(path), name);
	r = varlink_client_open_within(out, path, (unsigned int)c->answer_ms);
	return r ? cannot_connect(c, daemon, r, f) : EXIT_DONE;
}

int daemon_failure(const struct ctl *c, const char *daemon, int r, struct varlink_failure *v,
		   struct failure *f)
{
	char hint[128];

	(void)c;
	if (r == VARLINK_E_ERROR) {
		const char *code = v->error ? v->error : ERROR_BROKEN_ANSWER;
		const char *told = v->hint && *v->hint ? v->hint : NULL;
		enum exit_code exit = exit_code_for_error(code);

		if (exit == EXIT_PERMISSION && !told)
			told = JOIN_GROUP;
		return failure_set(f, exit, code, told, "%s",
				   v->message && *v->message ? v->message : "the daemon refused");
	}
	if (r == -ETIMEDOUT)
		return failure_set(f, EXIT_TIMED_OUT, ERROR_TIMED_OUT, NULL, "%s does not answer",
				   daemon);
	if (r == -ECONNRESET || r == -EPIPE) {
		snprintf(hint, sizeof(hint), "Its log says why: “journalctl -e -u %s”.", daemon);
		return failure_set(f, EXIT_FAILED, ERROR_BROKEN_ANSWER, hint,
				   "%s went away without an answer", daemon);
	}
	if (r == -EPROTO)
		return failure_set(f, EXIT_FAILED, ERROR_BROKEN_ANSWER,
				   "The command and the daemon may be of different versions: "
				   "“handfast status” shows them.",
				   "%s gave an answer that makes no sense", daemon);
	return failure_set(f, EXIT_FAILED, ERROR_INTERNAL, NULL, "%s: %s", daemon,
			   strerror(r < 0 ? -r : EPROTO));
}

struct ended {
	int (*fn)(const json_t *params, void *arg);
	void *arg;
	int value;
};

/* A handler's value may look like an outcome of the client's: keep it apart. */
static int relay_more(const json_t *params, void *arg)
{
	struct ended *e = arg;

	e->value = e->fn(params, e->arg);
	return e->value ? -ECANCELED : 0;
}

int daemon_try(const struct ctl *c, const char *daemon, const char *method, json_t *params,
	       int (*on_more)(const json_t *params, void *arg), void *arg, json_t **reply,
	       struct failure *f)
{
	_cleanup_(varlink_client_freep) struct varlink_client *client = NULL;
	struct varlink_failure v = { 0 };
	struct ended e = { on_more, arg, 0 };
	char name[128];
	int r;

	r = daemon_open(c, daemon, &client, f);
	if (r) {
		json_decref(params);
		return r;
	}
	if (c->answer_ms)
		varlink_client_set_timeout(client, c->answer_ms);
	else if (!on_more)
		varlink_client_set_timeout(client, ANSWER_MAX_MS);
	snprintf(name, sizeof(name), "io.handfast.%s", method);
	r = varlink_client_call(client, name, params, on_more ? relay_more : NULL, &e, reply, &v);
	if (r && e.value)
		r = e.value;
	else if (r)
		r = daemon_failure(c, daemon, r, &v, f);
	varlink_failure_done(&v);
	return r;
}

int daemon_call(struct ctl *c, const char *daemon, const char *method, json_t *params,
		json_t **reply)
{
	struct failure f = { 0 };
	int r = daemon_try(c, daemon, method, params, NULL, NULL, reply, &f);

	return r ? ctl_fail_with(c, &f) : EXIT_DONE;
}

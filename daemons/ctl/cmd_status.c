/* handfast status: all daemons, tunnels and peers on one screen, whatever of it is there. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/text.h"

#include "ctl/commands.h"
#include "ctl/ctl.h"
#include "ctl/daemon.h"
#include "ctl/tunnel_text.h"

enum { ANSWER_MS = 3000 };

/* A daemon that does not answer is part of the answer. */
static json_t *daemon_state(const struct ctl *c, const char *name, struct failure *f)
{
	json_t *reply = NULL, *state;

	*f = (struct failure){ 0 };
	if (daemon_try(c, name, "Daemon.Status", NULL, NULL, NULL, &reply, f) == EXIT_DONE) {
		json_object_set_new(reply, "name", json_string(name));
		json_object_set_new(reply, "running", json_true());
		return reply;
	}
	state = json_pack("{s:s, s:b, s:{s:s, s:s, s:s}}", "name", name, "running",
			  f->exit != EXIT_NOT_RUNNING, "error", "code", f->code, "message",
			  f->message, "hint", f->hint);
	return state;
}

/* tund has no control socket: systemd starts it when pskd knocks. */
static json_t *helper_state(const struct ctl *c)
{
	char path[4096];
	struct stat st;
	bool there;

	runtime_path(c, path, sizeof(path), "tund.sock");
	there = stat(path, &st) == 0 && S_ISSOCK(st.st_mode);
	return json_pack("{s:s, s:b, s:s}", "name", "tund", "running", there, "status",
			 there ? "its socket is ready" : "no socket");
}

/* One list of another daemon, or NULL where it cannot be had. */
static json_t *list_of(const struct ctl *c, const char *daemon, const char *method, const char *key)
{
	_cleanup_json_ json_t *reply = NULL;
	struct failure f = { 0 };

	if (daemon_try(c, daemon, method, NULL, NULL, NULL, &reply, &f) != EXIT_DONE)
		return NULL;
	return json_incref(json_object_get(reply, key));
}

static void daemon_row(struct table *t, const json_t *d)
{
	const json_t *error = json_object_get(d, "error");
	bool running = json_is_true(json_object_get(d, "running"));
	int64_t uptime = json_get_int(d, "uptime_ms", -1);
	char since[32] = "";

	if (uptime >= 0)
		text_format_duration(since, sizeof(since), (uint64_t)uptime);
	table_cell(t, PAINT_BOLD, "%s", clean_member(d, "name"));
	table_cell(t, !running ? PAINT_DIM : error ? PAINT_YELLOW : PAINT_GREEN, "%s",
		   !running ? "not running" : error ? "no answer" : "running");
	table_cell(t, PAINT_PLAIN, "%s", since);
	table_cell(t, PAINT_PLAIN, "%s", clean_member(d, "version"));
	table_cell(t, PAINT_PLAIN, "%s",
		   error ? (running ? clean_member(error, "message") : "") :
			   clean_member(d, "status"));
}

static void status_text(const struct ctl *c, const json_t *result)
{
	static const char *const headings[] = { "DAEMON", "STATE", "SINCE", "VERSION", "STATUS",
						NULL };
	const json_t *peers = json_object_get(result, "peers");
	const json_t *tunnels = json_object_get(result, "tunnels"), *d;
	struct table *t = table_new(headings);
	size_t i;

	json_array_foreach(json_object_get(result, "daemons"), i, d)
		daemon_row(t, d);
	table_print(t, stdout, &c->style);
	if (json_array_size(peers) > 0) {
		printf("\nPaired with");
		json_array_foreach(peers, i, d)
			printf("%s %s", i ? "," : "", clean_member(d, "name"));
		printf(".\n");
	} else if (peers) {
		printf("\nNot paired with any device yet: “handfast pair” begins.\n");
	}
	if (json_array_size(tunnels) > 0) {
		printf("\n");
		tunnels_table(c, tunnels);
	}
}

int cmd_status(struct ctl *c)
{
	static const char *const names[] = { RELAYD, PAIRINGD, PSKD, AUTHD };
	json_t *result = json_object(), *daemons = json_array(), *list;
	struct failure first = { 0 };
	bool any = false;

	/* A daemon that hangs must not keep the others off the screen. */
	c->answer_ms = ANSWER_MS;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct failure f;

		json_array_append_new(daemons, daemon_state(c, names[i], &f));
		any = any || f.exit != EXIT_NOT_RUNNING;
		if (i == 0)
			first = f;
	}
	json_array_append_new(daemons, helper_state(c));
	json_object_set_new(result, "daemons", daemons);
	list = any ? list_of(c, PAIRINGD, "Pairing.Peers", "peers") : NULL;
	if (list)
		json_object_set_new(result, "peers", list);
	list = any ? list_of(c, PSKD, "Tunnel.List", "tunnels") : NULL;
	if (list)
		json_object_set_new(result, "tunnels", list);
	if (any)
		return ctl_result(c, result, status_text);
	failure_set(&first, EXIT_NOT_RUNNING, ERROR_NOT_RUNNING,
		    "Start them: “sudo systemctl start handfast.target”.",
		    "no daemon of handfast is running");
	return ctl_result_failed(c, result, status_text, &first);
}

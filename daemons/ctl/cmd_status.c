/*
 * handfast status: daemons, peers, tunnels and fuel on one screen, whatever of it is
 * there. Two peers and two tunnels fit into 24 lines of 80 columns.
 */
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
#include "ctl/systemd.h"
#include "ctl/tunnel/tunnel_text.h"

enum { ANSWER_MS = 3000 };

/* ---- collecting ---- */

/* What systemd knows of a daemon that does not answer. */
static void add_unit(json_t *state, const struct unit *u, bool asleep)
{
	json_object_set_new(state, "asleep", json_boolean(asleep));
	if (strcmp(u->load, "loaded") == 0)
		json_object_set_new(state, "unit", json_pack("{s:s, s:s, s:s, s:s}", "active", u->active, "sub", u->sub,
							     "enabled", u->file, "result", u->result));
}

/* A daemon that does not answer is part of the answer. */
static json_t *daemon_state(const struct ctl *c, const struct awake *a, size_t i, struct failure *f)
{
	json_t *reply = NULL, *state;
	const char *name = awake_names[i];

	*f = (struct failure){ 0 };
	if (awake_ask(a, c, i, "Daemon.Status", &reply, f) == EXIT_DONE) {
		json_object_set_new(reply, "name", json_string(name));
		json_object_set_new(reply, "running", json_true());
		return reply;
	}
	state = json_pack("{s:s, s:b, s:{s:s, s:s, s:s}}", "name", name, "running",
			  f->exit != EXIT_NOT_RUNNING && !unit_is_looping(&a->service[i]),
			  "error", "code", f->code, "message", f->message, "hint", f->hint);
	if (state)
		add_unit(state, &a->service[i], a->asleep[i]);
	return state;
}

/*
 * tund has no control socket. Where systemd listens for it, it runs only while pskd needs it; without
 * systemd the socket is its own.
 */
static json_t *helper_state(const struct ctl *c, const struct awake *a)
{
	json_t *state;
	char path[4096];
	struct stat st;
	bool there, runs;

	runtime_path(c, path, sizeof(path), "tund.sock");
	there = stat(path, &st) == 0 && S_ISSOCK(st.st_mode);
	runs = a->units ? strcmp(a->tund_service.active, "active") == 0 : there;
	state = json_pack("{s:s, s:b, s:s}", "name", "tund", "running", runs, "status",
			  there ? "its socket is ready" : "no socket");
	if (state && a->units && !runs)
		add_unit(state, &a->tund_service, strcmp(a->tund_socket.active, "active") == 0);
	return state;
}

/* One list of another daemon, or NULL where it cannot be had. */
static json_t *list_of(const struct ctl *c, const struct awake *a, size_t i, const char *method, const char *key)
{
	_cleanup_json_ json_t *reply = NULL;
	struct failure f = { 0 };

	if (awake_ask(a, c, i, method, &reply, &f) != EXIT_DONE)
		return NULL;
	return json_incref(json_object_get(reply, key));
}

/* ---- showing ---- */

struct state_text {
	const char *state;
	enum paint paint;
	const char *why;
};

static struct state_text state_of(const json_t *d)
{
	const json_t *error = json_object_get(d, "error");
	const char *active = json_get_str(json_object_get(d, "unit"), "active");
	struct state_text s = { "running", PAINT_GREEN, clean_member(d, "status") };

	if (json_is_true(json_object_get(d, "running"))) {
		if (error)
			s = (struct state_text){ "no answer", PAINT_YELLOW, clean_member(error, "message") };
		return s;
	}
	s = (struct state_text){ "not running", PAINT_DIM, "" };
	if (active && strcmp(active, "failed") == 0)
		s = (struct state_text){ "failed", PAINT_RED, "“handfast doctor” says why" };
	else if (active && strcmp(active, "activating") == 0 && error)
		s = (struct state_text){ "does not stay up", PAINT_RED, "“handfast doctor” says why" };
	else if (json_is_true(json_object_get(d, "asleep")))
		s.why = "starts when it is needed";
	return s;
}

static void daemon_row(struct table *t, const json_t *d)
{
	int64_t uptime = json_get_int(d, "uptime_ms", -1);
	struct state_text s = state_of(d);
	char since[32] = "";

	if (uptime >= 0)
		text_format_duration(since, sizeof(since), (uint64_t)uptime);
	table_cell(t, PAINT_BOLD, "%s", clean_member(d, "name"));
	table_cell(t, s.paint, "%s", s.state);
	table_cell(t, PAINT_PLAIN, "%s", since);
	table_cell(t, PAINT_PLAIN, "%s", clean_member(d, "version"));
	table_cell(t, PAINT_PLAIN, "%s", s.why);
}

/* Milliseconds since the peer was heard in any of its tunnels, -1: not since pskd began. */
static int64_t heard(const json_t *tunnels, const char *peer)
{
	int64_t best = -1;
	const json_t *t;
	size_t i;

	json_array_foreach(tunnels, i, t) {
		const char *name = json_get_str(t, "peer"), *source = json_get_str(t, "source");
		int64_t ms = json_get_int(t, "last_received_ms", -1);

		if (name && source && peer && strcmp(source, "pairing") == 0 && strcmp(name, peer) == 0 && ms >= 0 &&
		    (best < 0 || ms < best))
			best = ms;
	}
	return best;
}

static void peer_row(struct table *t, const json_t *p, const json_t *tunnels)
{
	bool active = strcmp(clean_member(p, "state"), "active") == 0;
	bool rootless = strcmp(clean_member(p, "tunnel_root"), "none") == 0;
	char when[48];

	age_format(when, sizeof(when), heard(tunnels, json_get_str(p, "name")), "not yet");
	table_cell(t, PAINT_BOLD, "%s", clean_member(p, "name"));
	table_cell(t, PAINT_PLAIN, "%s", when);
	if (rootless)
		table_cell(t, PAINT_RED, "must be paired again: “handfast pair”");
	else if (!active)
		table_cell(t, PAINT_YELLOW, "not confirmed by the other side yet");
	else if (json_is_true(json_object_get(p, "newer_unconfirmed")))
		table_cell(t, PAINT_YELLOW, "active; a newer pairing is not confirmed yet");
	else
		table_cell(t, PAINT_GREEN, "active");
}

static void print_peers(const struct ctl *c, const json_t *peers, const json_t *tunnels)
{
	static const char *const headings[] = { "PEER", "LAST HEARD", "PAIRING", NULL };
	struct table *t;
	const json_t *p;
	size_t i;

	if (!peers)
		return;
	if (json_array_size(peers) == 0) {
		printf("\nNot paired with any device yet: “handfast pair” begins.\n");
		return;
	}
	t = table_new(headings);
	json_array_foreach(peers, i, p)
		peer_row(t, p, tunnels);
	printf("\n");
	table_print(t, stdout, &c->style);
}

static void status_text(const struct ctl *c, const json_t *result)
{
	static const char *const headings[] = { "DAEMON", "STATE", "SINCE", "VERSION", "STATUS", NULL };
	const json_t *tunnels = json_object_get(result, "tunnels"), *d;
	struct table *t = table_new(headings);
	size_t i;

	json_array_foreach(json_object_get(result, "daemons"), i, d)
		daemon_row(t, d);
	table_print(t, stdout, &c->style);
	print_peers(c, json_object_get(result, "peers"), tunnels);
	if (json_array_size(tunnels) > 0) {
		printf("\n");
		tunnels_summary(c, tunnels);
	}
}

int cmd_status(struct ctl *c)
{
	json_t *result = json_object(), *daemons = json_array(), *list;
	struct failure first = { 0 };
	struct awake awake;
	bool any = false;

	/* A daemon that hangs must not keep the others off the screen. */
	c->answer_ms = ANSWER_MS;
	awake_look(&awake, c);
	for (size_t i = 0; i < AWAKE_MAX; i++) {
		struct failure f;

		json_array_append_new(daemons, daemon_state(c, &awake, i, &f));
		any = any || f.exit != EXIT_NOT_RUNNING;
		if (i == 0)
			first = f;
	}
	json_array_append_new(daemons, helper_state(c, &awake));
	json_object_set_new(result, "daemons", daemons);
	list = any ? list_of(c, &awake, AWAKE_PAIRINGD, "Pairing.Peers", "peers") : NULL;
	if (list)
		json_object_set_new(result, "peers", list);
	list = any ? list_of(c, &awake, AWAKE_PSKD, "Tunnel.List", "tunnels") : NULL;
	if (list)
		json_object_set_new(result, "tunnels", list);
	if (any)
		return ctl_result(c, result, status_text);
	failure_set(&first, EXIT_NOT_RUNNING, ERROR_NOT_RUNNING,
		    "Start them: “sudo systemctl start handfast.target”.",
		    "no daemon of handfast is running");
	return ctl_result_failed(c, result, status_text, &first);
}

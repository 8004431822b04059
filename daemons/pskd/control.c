/*
 * Calls that take time (Up, Add, Stage) wait in a list for their tunnel's events;
 * whoever hangs up is taken off it: a tunnel goes on coming up, but a key file that
 * was to be read for the caller is read no further.
 */
#include "pskd/control_internal.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/list.h"
#include "event/loop.h"
#include "event/varlink.h"
#include "pskd/tunnel/tunnels.h"
#include "service/service.h"

#include "varlink/io.handfast.Tunnel.h"

#define E(name) "io.handfast.Tunnel." #name
#define WAIT_DEFAULT_MS 30000
#define WAIT_MAX_MS (24 * 3600 * 1000)
#define PROGRESS_MS 500

struct waiter {
	struct list node;
	struct control *c;
	struct varlink_call *call;
	struct tunnel *t;
	struct loop_timer *timer;
	enum waits { FOR_UP, FOR_ADDED, FOR_STAGED } waits;
	bool waits_for_peer;
	bool was_enabled; /* before this Up */
};

void control_reply_error(struct varlink_call *call, const struct tunnel_error *e)
{
	varlink_error(call, e->code, e->message, e->hint[0] ? e->hint : NULL);
}

static void waiter_free(struct waiter *w)
{
	list_remove(&w->node);
	loop_timer_free(w->timer);
	free(w);
}

static void on_gone(void *arg)
{
	struct waiter *w = arg;
	struct tunnels *tunnels = w->c->tunnels;
	struct tunnel *t = w->t;
	enum waits waits = w->waits;

	waiter_free(w);
	/* Nothing was acknowledged; but somebody else may want the tunnel up by now. */
	if (waits == FOR_ADDED && !tunnel_spec(t)->enabled)
		tunnels_forget(tunnels, t);
	else if (waits == FOR_STAGED)
		tunnel_stop_staging(t);
}

json_t *control_with_tunnel(struct tunnel *t)
{
	return json_pack("{s:o}", "tunnel", tunnel_to_json(t));
}

static json_t *step(struct tunnel *t, const char *event)
{
	return json_pack("{s:s, s:o}", "event", event, "tunnel", tunnel_to_json(t));
}

static void finish(struct waiter *w, json_t *reply, const struct tunnel_error *e)
{
	struct varlink_call *call = w->call;

	waiter_free(w);
	if (e)
		control_reply_error(call, e);
	else
		varlink_reply(call, reply);
}

/* ---- events of tunnels ---- */

/* A tunnel that never came up is not kept enabled for having been asked once. */
static void undo(struct waiter *w, const struct tunnel_error *e)
{
	struct tunnel_error ignored;

	/* The burn that it waits for has to find it, and goes on with it. */
	if (strcmp(e->code, E(NeedsBurn)) == 0)
		return;
	if (w->waits == FOR_ADDED) {
		tunnels_forget(w->c->tunnels, w->t);
	} else if (!w->was_enabled) {
		(void)tunnels_disable(w->c->tunnels, w->t, &ignored);
	}
}

static void on_failure(struct waiter *w, const char *event, const struct tunnel_error *e)
{
	if (strcmp(event, "failed") == 0)
		undo(w, e);
	finish(w, NULL, e);
}

static void on_event_for(struct waiter *w, struct tunnel *t, const char *event)
{
	struct tunnel_error e = { 0 };

	if (strcmp(event, "down") == 0) {
		tunnel_error_set(&e, E(NoAnswer), NULL, "%s was taken down meanwhile", tunnel_spec(t)->name);
		finish(w, NULL, &e);
	} else if (w->waits != FOR_UP) {
		if (strcmp(event, w->waits == FOR_ADDED ? "prepared" : "staged") == 0)
			finish(w, control_with_tunnel(t), NULL);
	} else if (strcmp(event, "up") == 0) {
		finish(w, step(t, "up"), NULL);
	} else if (strcmp(event, "hello") == 0 && !w->waits_for_peer) {
		finish(w, step(t, "started"), NULL);
	} else {
		varlink_notify(w->call, step(t, event));
	}
}

static void tell_status(struct control *c)
{
	size_t up = 0;

	list_for_each (it, tunnels_list(c->tunnels))
		up += tunnel_is_up(tunnel_of_node(it));
	service_set_status(c->svc, "%zu %s, %zu up", tunnels_count(c->tunnels),
			   tunnels_count(c->tunnels) == 1 ? "tunnel" : "tunnels", up);
}

static void on_event(struct tunnel *t, const char *event, const struct tunnel_error *e, void *arg)
{
	struct control *c = arg;
	struct waiter *w;
	bool any;

	/* finish() may free any of them. */
	list_for_each (it, &c->waiting) {
		w = container_of(it, struct waiter, node);
		if (w->t != t || (w->waits == FOR_STAGED) != (strncmp(event, "stage", 5) == 0))
			continue;
		if (e)
			on_failure(w, event, e);
		else
			on_event_for(w, t, event);
	}
	any = strcmp(event, "up") == 0 || strcmp(event, "down") == 0 || strcmp(event, "prepared") == 0 || e;
	if (any)
		tell_status(c);
}

/* Who waits for the earlier tunnel waits for the one that takes its place. */
static void on_succeeded(struct tunnel *earlier, struct tunnel *t, void *arg)
{
	struct control *c = arg;

	list_for_each (it, &c->waiting) {
		struct waiter *w = container_of(it, struct waiter, node);

		if (w->t == earlier)
			w->t = t;
	}
}

static void on_wait_over(void *arg)
{
	struct waiter *w = arg;
	struct tunnel_error e = { 0 }, space;
	const struct tunnel_error *problem = tunnel_problem(w->t, &space);

	tunnel_error_set(&e, E(NoAnswer),
			 problem && problem->hint[0] ?
				 problem->hint :
				 "It goes on trying. Is the tunnel up on the other side, and can one side reach the other's UDP port?",
			 "%s: no answer from the peer%s%s", tunnel_spec(w->t)->name, problem ? ": " : "",
			 problem ? problem->message : "");
	finish(w, NULL, &e);
}

/* Add and Stage read a key file, which may take minutes: who wants to know is told how far it is. */
static void on_progress(void *arg)
{
	struct waiter *w = arg;
	uint64_t done, total;

	(void)loop_timer_start(w->timer, PROGRESS_MS);
	/* The last thing: a caller that cannot be told is gone, and w with it. */
	if (tunnel_progress(w->t, &done, &total))
		varlink_notify(w->call, json_pack("{s:s, s:I, s:I}", "event", "progress", "done", (json_int_t)done,
						  "total", (json_int_t)total));
}

static struct waiter *waiter_new(struct control *c, struct varlink_call *call, struct tunnel *t, enum waits waits)
{
	struct waiter *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	*w = (struct waiter){ .c = c, .call = call, .t = t, .waits = waits };
	if (loop_timer_new(&w->timer, c->loop, waits == FOR_UP ? on_wait_over : on_progress, w) != 0) {
		free(w);
		return NULL;
	}
	list_append(&c->waiting, &w->node);
	varlink_call_on_gone(call, on_gone, w);
	return w;
}

/* ---- methods ---- */

struct tunnel *control_find(struct control *c, struct varlink_call *call, const json_t *params)
{
	const char *name = json_get_str(params, "name");
	struct tunnel *t = tunnels_find(c->tunnels, name);
	char message[200];

	if (!t) {
		snprintf(message, sizeof(message), "there is no tunnel %.64s", name);
		varlink_error(call, E(NoSuchTunnel), message,
			      "“handfast tunnel list” shows those there are; “handfast pair” makes one to another device.");
	}
	return t;
}

static void method_list(struct varlink_call *call, const json_t *params, void *arg)
{
	struct control *c = arg;
	json_t *list = json_array();

	(void)params;
	list_for_each (it, tunnels_list(c->tunnels))
		json_array_append_new(list, tunnel_to_json(tunnel_of_node(it)));
	varlink_reply(call, json_pack("{s:o}", "tunnels", list));
}

static void method_show(struct varlink_call *call, const json_t *params, void *arg)
{
	struct tunnel *t = control_find(arg, call, params);

	if (t)
		varlink_reply(call, control_with_tunnel(t));
}

static void method_up(struct varlink_call *call, const json_t *params, void *arg)
{
	struct control *c = arg;
	struct tunnel *t = control_find(c, call, params), *next;
	int64_t wait_ms = json_get_int(params, "wait_ms", -1);
	struct tunnel_error e = { 0 };
	struct waiter *w;
	bool was_enabled;

	if (!t)
		return;
	was_enabled = tunnel_spec(t)->enabled;
	if (tunnels_enable(c->tunnels, t, &e)) {
		control_reply_error(call, &e);
		return;
	}
	if (tunnel_is_up(t)) {
		varlink_reply(call, step(t, "up"));
		return;
	}
	w = waiter_new(c, call, t, FOR_UP);
	if (!w) {
		varlink_error(call, "io.handfast.Daemon.Internal", "no memory", NULL);
		return;
	}
	w->was_enabled = was_enabled;
	w->waits_for_peer = wait_ms >= 0 || varlink_call_wants_more(call);
	if (wait_ms < 0)
		wait_ms = WAIT_DEFAULT_MS;
	loop_timer_start(w->timer, (uint64_t)(wait_ms < WAIT_MAX_MS ? wait_ms : WAIT_MAX_MS));
	/* Which of the pairings the peer has is not known yet: whichever comes up is the one. */
	for (size_t i = 0; (next = tunnels_successor(c->tunnels, t, i)); i++)
		if (tunnels_enable(c->tunnels, next, &e) == 0 && !tunnel_is_running(next))
			tunnel_start(next);
	if (tunnel_is_running(t))
		on_event_for(w, t, "hello");
	else
		tunnel_start(t);
}

static void method_down(struct varlink_call *call, const json_t *params, void *arg)
{
	struct control *c = arg;
	struct tunnel *t = control_find(c, call, params), *next;
	struct tunnel_error e = { 0 };
	size_t i;

	if (!t)
		return;
	(void)tunnels_disable(c->tunnels, t, &e);
	for (i = 0; (next = tunnels_successor(c->tunnels, t, i)); i++)
		(void)tunnels_disable(c->tunnels, next, &e);
	while (i-- > 0)
		tunnel_stop(tunnels_successor(c->tunnels, t, i));
	tunnel_stop(t);
	varlink_reply(call, e.code ? json_pack("{s:s}", "warning", e.message) : NULL);
}

static void method_add(struct varlink_call *call, const json_t *params, void *arg)
{
	struct control *c = arg;
	struct tunnel_error e = { 0 };
	struct waiter *w;
	struct tunnel *t;

	if (tunnels_add(c->tunnels, &t, json_get_str(params, "name"), params, &e)) {
		control_reply_error(call, &e);
		return;
	}
	w = waiter_new(c, call, t, FOR_ADDED);
	if (!w) {
		tunnels_forget(c->tunnels, t);
		varlink_error(call, "io.handfast.Daemon.Internal", "no memory", NULL);
		return;
	}
	if (varlink_call_wants_more(call))
		(void)loop_timer_start(w->timer, PROGRESS_MS);
	tunnel_prepare(t);
}

static void method_remove(struct varlink_call *call, const json_t *params, void *arg)
{
	struct control *c = arg;
	struct tunnel *t = control_find(c, call, params);
	struct tunnel_error e = { 0 };
	json_t *left;

	if (!t)
		return;
	left = tunnels_left(tunnel_spec(t));
	if (tunnels_remove(c->tunnels, t, &e)) {
		json_decref(left);
		control_reply_error(call, &e);
		return;
	}
	tell_status(c);
	varlink_reply(call, left ? json_pack("{s:o}", "left", left) : NULL);
}

static void method_stage(struct varlink_call *call, const json_t *params, void *arg)
{
	struct control *c = arg;
	struct tunnel *t = control_find(c, call, params);
	struct tunnel_error e = { 0 };
	struct waiter *w;

	if (!t)
		return;
	w = waiter_new(c, call, t, FOR_STAGED);
	if (!w) {
		varlink_error(call, "io.handfast.Daemon.Internal", "no memory", NULL);
		return;
	}
	if (varlink_call_wants_more(call))
		(void)loop_timer_start(w->timer, PROGRESS_MS);
	/* When it fails later, the waiter is told, and gone. */
	if (tunnel_stage(t, json_get_str(params, "key_file"), &e))
		finish(w, NULL, &e);
}

static void method_unstage(struct varlink_call *call, const json_t *params, void *arg)
{
	struct tunnel *t = control_find(arg, call, params);
	struct tunnel_error e = { 0 };

	if (!t)
		return;
	if (tunnel_unstage(t, &e))
		control_reply_error(call, &e);
	else
		varlink_reply(call, control_with_tunnel(t));
}

static void method_burn(struct varlink_call *call, const json_t *params, void *arg)
{
	struct tunnel *t = control_find(arg, call, params);
	int64_t to_slot = json_get_int(params, "to_slot", -1);
	struct tunnel_error e = { 0 };
	uint64_t burned = 0;

	if (!t)
		return;
	if (tunnel_burn(t, to_slot < 0 ? UINT64_MAX : (uint64_t)to_slot, &burned, &e))
		control_reply_error(call, &e);
	else
		varlink_reply(call, json_pack("{s:o, s:I}", "tunnel", tunnel_to_json(t), "burned_packets",
					      (json_int_t)burned));
}

static const struct varlink_method methods[] = {
	{ "List", VARLINK_READ, method_list },	   { "Show", VARLINK_READ, method_show },
	{ "Up", VARLINK_CHANGE, method_up },	   { "Down", VARLINK_CHANGE, method_down },
	{ "Add", VARLINK_CHANGE, method_add },	   { "Remove", VARLINK_CHANGE, method_remove },
	{ "Burn", VARLINK_CHANGE, method_burn },   { "Pin", VARLINK_CHANGE, control_pin },
	{ "Allow", VARLINK_CHANGE, control_allow }, { "Revoke", VARLINK_CHANGE, control_revoke },
	{ "Set", VARLINK_CHANGE, control_set },
	{ "Stage", VARLINK_CHANGE, method_stage }, { "Unstage", VARLINK_CHANGE, method_unstage },
	{ 0 },
};

static const struct varlink_interface interface = {
	.name = "io.handfast.Tunnel",
	.description = varlink_io_handfast_Tunnel,
	.methods = methods,
};

int control_new(struct control **out, struct service *svc, struct tunnels *tunnels)
{
	_cleanup_(control_freep) struct control *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	list_init(&c->waiting);
	list_init(&c->asking);
	c->svc = svc;
	c->loop = service_loop(svc);
	c->tunnels = tunnels;
	r = service_add_interface(svc, &interface, c);
	if (r)
		return r;
	tunnels_on_event(tunnels, on_event, on_succeeded, c);
	*out = steal(&c);
	return 0;
}

struct control *control_free(struct control *c)
{
	if (!c)
		return NULL;
	if (c->tunnels)
		tunnels_on_event(c->tunnels, NULL, NULL, NULL);
	list_for_each (it, &c->waiting)
		waiter_free(container_of(it, struct waiter, node));
	control_stop_asking(c);
	free(c);
	return NULL;
}

/* What commands say of a tunnel that is there: who its peer may be, and what it is set to. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "event/varlink.h"
#include "pskd/control_internal.h"

#define E(name) "io.handfast.Tunnel." #name

void control_pin(struct varlink_call *call, const json_t *params, void *arg)
{
	struct control *c = arg;
	struct tunnel *t = control_find(c, call, params);
	const char *key = json_get_str(params, "key");
	struct tunnel_error e = { 0 };

	if (!t)
		return;
	if (tunnels_set_pin(c->tunnels, t, *key ? key : NULL, &e))
		control_reply_error(call, &e);
	else
		varlink_reply(call, control_with_tunnel(t));
}

/* A list of texts that check accepts; or why it is none. */
static const char *take_list(const json_t *list, const char *(*check)(const char *), struct config_list *out)
{
	const json_t *one;
	size_t i;

	out->v = calloc(json_array_size(list) + 1, sizeof(*out->v));
	if (!out->v)
		return "no memory";
	json_array_foreach(list, i, one) {
		const char *complaint = check(json_string_value(one));

		out->v[out->n] = complaint ? NULL : strdup(json_string_value(one));
		if (!out->v[out->n])
			return complaint ? complaint : "no memory";
		out->n++;
	}
	return NULL;
}

/* A method that takes a list of texts. */
struct list_method {
	const char *member;
	const char *(*check)(const char *);
	const char *code, *hint; /* of a text that check refuses */
	int (*apply)(struct tunnels *s, struct tunnel *t, struct config_list *list, const json_t *params, struct tunnel_error *e);
};

static void take(const struct list_method *m, struct control *c, struct varlink_call *call, const json_t *params)
{
	_cleanup_(spec_texts_done) struct config_list list = { 0 };
	struct tunnel *t = control_find(c, call, params);
	struct tunnel_error e = { 0 };
	const char *complaint;

	if (!t)
		return;
	complaint = take_list(json_object_get(params, m->member), m->check, &list);
	if (complaint)
		tunnel_error_set(&e, m->code, m->hint, "there is one that is not %s", complaint);
	if (complaint || m->apply(c->tunnels, t, &list, params, &e))
		control_reply_error(call, &e);
	else
		varlink_reply(call, control_with_tunnel(t));
}

static int set_labels(struct tunnels *s, struct tunnel *t, struct config_list *labels, const json_t *params, struct tunnel_error *e)
{
	(void)params;
	return tunnels_set_labels(s, t, labels, e);
}

static int set_revoked(struct tunnels *s, struct tunnel *t, struct config_list *identities, const json_t *params, struct tunnel_error *e)
{
	return tunnels_revoke(s, t, identities, json_is_true(json_object_get(params, "undo")), e);
}

void control_allow(struct varlink_call *call, const json_t *params, void *arg)
{
	static const struct list_method m = { "labels", label_check, E(BadPin), NULL, set_labels };

	take(&m, arg, call, params);
}

void control_revoke(struct varlink_call *call, const json_t *params, void *arg)
{
	static const struct list_method m = { "identities", label_check_or_key, E(BadIdentity),
					      "“handfast tunnel show” has the peer's.", set_revoked };

	take(&m, arg, call, params);
}

/* ---- what it is set to: tund is asked first ---- */

/* c NULL: the end has come; call NULL: the caller hung up. Either way nothing is set any more. */
struct asking {
	struct list node;
	struct control *c;
	struct varlink_call *call;
	json_t *params;
};

static void asking_free(struct asking *a)
{
	list_remove(&a->node);
	json_decref(a->params);
	free(a);
}

static void on_caller_gone(void *arg)
{
	struct asking *a = arg;

	a->call = NULL;
}

static void set(struct control *c, struct varlink_call *call, struct tunnel *t, const json_t *params)
{
	struct tunnel_error e = { 0 };

	if (tunnels_change(c->tunnels, t, params, json_object_get(params, "defaults"), &e))
		control_reply_error(call, &e);
	else
		varlink_reply(call, control_with_tunnel(t));
}

static void on_answer(const struct tunnel_error *e, void *arg)
{
	struct asking *a = arg;
	struct tunnel *t;

	if (!a->c || !a->call) {
		asking_free(a);
		return;
	}
	varlink_call_on_gone(a->call, NULL, NULL);
	if (e->code) {
		control_reply_error(a->call, e);
	} else {
		/* It may have gone meanwhile, or be another one; all of it is looked at again. */
		t = control_find(a->c, a->call, a->params);
		if (t)
			set(a->c, a->call, t, a->params);
	}
	asking_free(a);
}

void control_set(struct varlink_call *call, const json_t *params, void *arg)
{
	struct control *c = arg;
	struct tunnel *t = control_find(c, call, params);
	struct tunnel_error e = { 0 };
	struct asking *a;
	int r;

	if (!t)
		return;
	a = calloc(1, sizeof(*a));
	if (!a) {
		varlink_error(call, "io.handfast.Daemon.Internal", "no memory", NULL);
		return;
	}
	*a = (struct asking){ .c = c, .call = call, .params = json_incref((json_t *)(uintptr_t)params) };
	list_append(&c->asking, &a->node);
	r = tunnels_ask_change(c->tunnels, t, params, json_object_get(params, "defaults"), on_answer, a, &e);
	if (r > 0) {
		varlink_call_on_gone(call, on_caller_gone, a);
		return;
	}
	asking_free(a);
	if (r)
		control_reply_error(call, &e);
	else
		set(c, call, t, params);
}

void control_stop_asking(struct control *c)
{
	list_for_each (it, &c->asking) {
		struct asking *a = container_of(it, struct asking, node);

		/* tund's answer finds it. */
		list_remove(&a->node);
		a->c = NULL;
	}
}

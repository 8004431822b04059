/*
 * A tunnel's start is a chain of steps, each of which may take its time
 * elsewhere: ledger (a key file is read whole once), keys, socket, device,
 * handshake. Whatever fails takes down what was there and says why.
 */
#include "pskd/tunnel/tunnel.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "pskd/handshake/identity_client.h"
#include "pskd/packet/tun.h"
#include "pskd/tunnel/kept.h"
#include "pskd/tunnel/retire.h"
#include "pskd/tunnel/stage.h"
#include "pskd/tunnel/tunnel_internal.h"

#define RETRY_MAX_MS 60000

void tunnel_error_set(struct tunnel_error *e, const char *code, const char *hint, const char *fmt, ...)
{
	va_list ap;

	e->code = code;
	va_start(ap, fmt);
	vsnprintf(e->message, sizeof(e->message), fmt, ap);
	va_end(ap);
	snprintf(e->hint, sizeof(e->hint), "%s", hint ? hint : "");
}

void tunnel_set_problem(struct tunnel *t, const char *code, const char *hint, const char *fmt, ...)
{
	va_list ap;

	t->problem.code = code;
	va_start(ap, fmt);
	vsnprintf(t->problem.message, sizeof(t->problem.message), fmt, ap);
	va_end(ap);
	snprintf(t->problem.hint, sizeof(t->problem.hint), "%s", hint ? hint : "");
}

void tunnel_clear_problem(struct tunnel *t)
{
	t->problem.code = NULL;
}

void tunnel_tell(struct tunnel *t, const char *event)
{
	t->ctx.on_event(t, event, NULL, t->ctx.arg);
}

static void on_retry(void *arg)
{
	struct tunnel *t = arg;

	if (t->state != TUNNEL_FAILED)
		tunnel_listen(t);
	/* Who asked for it once, in vain, has it down again. */
	else if (t->spec->enabled)
		tunnel_start(t);
}

int tunnel_new(struct tunnel **out, const struct tunnel_context *ctx, struct spec **spec)
{
	_cleanup_(tunnel_freep) struct tunnel *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return -ENOMEM;
	t->ctx = *ctx;
	t->udp.fd = -1;
	r = loop_timer_new(&t->timer, ctx->loop, tunnel_on_timer, t);
	if (!r)
		r = loop_timer_new(&t->retry, ctx->loop, on_retry, t);
	if (!r)
		r = loop_timer_new(&t->mend_later, ctx->loop, tunnel_on_mend_later, t);
	if (r)
		return r;
	t->spec = steal(spec);
	*out = steal(&t);
	return 0;
}

void tunnel_let_go(struct tunnel_link *link)
{
	if (!link)
		return;
	link->t = NULL;
	link->unwanted = true;
}

/* Everything that a start made, in reverse. */
static void take_down(struct tunnel *t)
{
	tunnel_let_go(t->job);
	tunnel_let_go(t->resolving);
	t->job = NULL;
	t->resolving = NULL;
	loop_timer_stop(t->timer);
	loop_timer_stop(t->retry);
	tunnel_forget_device(t);
	tunnel_untold_drops(t, &t->drops_before);
	t->drops_told = (struct drops){ .arrived = 0 };
	tunnel_fuel_look(t);
	stage_end(t);
	t->hello = hello_free(t->hello);
	t->path = path_free(t->path);
	udp_close(&t->udp);
	t->keys = keys_close(t->keys);
	packets_leave(t->thread);
	t->thread = NULL;
	if (t->kept)
		kept_drop(t->ctx.kept, t->spec->name);
	t->kept = false;
	t->ifname[0] = '\0';
	t->unanswered_ms = 0;
	t->is_unfound = false;
}

struct tunnel *tunnel_free(struct tunnel *t)
{
	if (!t)
		return NULL;
	list_remove(&t->node);
	tunnel_stop_staging(t);
	take_down(t);
	retire_end(t);
	loop_timer_free(t->timer);
	loop_timer_free(t->retry);
	loop_timer_free(t->mend_later);
	spec_free(t->spec);
	free(t);
	return NULL;
}

const char *tunnel_peer(const struct tunnel *t)
{
	return t->spec->peer_name[0] ? t->spec->peer_name : NULL;
}

void tunnel_untold_drops(struct tunnel *t, struct drops *out)
{
	const struct drops *now = t->path ? &path_counters(t->path)->drops : &t->drops_told;
	struct drops sum = t->drops_before;

	t->drops_looked = *now;
	for (enum drop d = 0; d < N_DROPS; d++)
		sum.n[d] += now->n[d] - t->drops_told.n[d];
	sum.arrived += now->arrived - t->drops_told.arrived;
	*out = sum;
}

void tunnel_told_drops(struct tunnel *t)
{
	/* What the packet thread has dropped since is told the next time. */
	t->drops_told = t->drops_looked;
	t->drops_before = (struct drops){ .arrived = 0 };
}

void tunnel_set_identity(struct tunnel *t, struct identity_client *identity)
{
	t->ctx.identity = identity;
}

const struct spec *tunnel_spec(const struct tunnel *t)
{
	return t->spec;
}

struct spec *tunnel_spec_mutable(struct tunnel *t)
{
	return t->spec;
}

struct list *tunnel_node(struct tunnel *t)
{
	return &t->node;
}

struct tunnel *tunnel_of_node(struct list *node)
{
	return container_of(node, struct tunnel, node);
}

bool tunnel_is_running(const struct tunnel *t)
{
	return t->state != TUNNEL_DOWN && t->state != TUNNEL_FAILED;
}

void tunnel_queue(struct tunnel *t)
{
	t->queued = !tunnel_is_running(t);
}

bool tunnel_is_queued(const struct tunnel *t)
{
	return t->queued;
}

bool tunnel_is_starting(const struct tunnel *t)
{
	return t->state == TUNNEL_STARTING && !t->waits_for_list;
}

bool tunnel_is_up(const struct tunnel *t)
{
	return t->state == TUNNEL_UP;
}

/* What time does not mend: trying again would only read a whole key file again. */
static bool is_lasting(const struct tunnel_error *e)
{
	static const char *const codes[] = { E(BadKeyFile), E(KeyFileDiffers), E(KeyFileInUse), E(Exhausted), E(BadPin) };

	for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
		if (strcmp(e->code, codes[i]) == 0)
			return true;
	return false;
}

void tunnel_fail(struct tunnel *t, const struct tunnel_error *e)
{
	log_event(LOG_ERR, &MSG_TUNNEL_FAILED,
		  LOG_FIELDS({ FIELD_TUNNEL, t->spec->name }, { FIELD_PEER, tunnel_peer(t) },
			     { FIELD_ERROR, e->code }),
		  "tunnel %s: %s", t->spec->name, e->message);
	take_down(t);
	t->state = TUNNEL_FAILED;
	t->problem = *e;
	if (t->spec->enabled && !t->prepare_only && !is_lasting(e)) {
		t->retry_ms = t->retry_ms ? t->retry_ms * 2 : 1000;
		if (t->retry_ms > RETRY_MAX_MS)
			t->retry_ms = RETRY_MAX_MS;
		loop_timer_start(t->retry, t->retry_ms);
	}
	t->ctx.on_event(t, "failed", e, t->ctx.arg);
}

void tunnel_fail_errno(struct tunnel *t, const char *code, int r, const char *what)
{
	struct tunnel_error e = { 0 };

	tunnel_error_set(&e, code, NULL, "%s: %s", what, strerror(r < 0 ? -r : EIO));
	tunnel_fail(t, &e);
}

static void begin(struct tunnel *t, bool prepare_only)
{
	struct tunnel_error e = { 0 };

	t->queued = false;
	if (tunnel_is_running(t))
		return;
	loop_timer_stop(t->retry);
	t->prepare_only = prepare_only;
	t->state = TUNNEL_STARTING;
	t->rollback[0] = t->clone[0] = '\0';
	t->moves = (struct moves){ 0 };
	t->burn_unwritten = t->ledger_lost = false;
	t->earlier_ledger[0] = '\0';
	t->handshakes = 0;
	t->last_handshake_ms = 0;
	t->stranger_ms = 0;
	if (t->spec->complaint) {
		tunnel_error_set(&e, E(KeyFileInUse), "Each key file is good for one tunnel, and for one only.", "%s",
				 t->spec->complaint);
		tunnel_fail(t, &e);
		return;
	}
	if (t->spec->pinned && t->spec->origin != SPEC_PAIRED && !prepare_only &&
	    !identity_own(t->ctx.identity)) {
		tunnel_error_set(&e, E(NoAnswer), "“systemctl start pairingd” starts it.",
				 "pairingd, which signs the handshake, cannot be reached");
		tunnel_fail(t, &e);
		return;
	}
	if (tunnel_pins_itself(t)) {
		tunnel_error_set(&e, E(BadPin), "Pin the key of the other machine here, and this one there.",
				 "what is pinned is the key of this machine itself");
		tunnel_fail(t, &e);
		return;
	}
	if (tunnel_is_somebody_else(t)) {
		tunnel_error_set(&e, E(WrongIdentity), "Put pairingd's identity.key back, or pair again.",
				 "this device's key is not the one that was paired with %s", t->spec->peer_name);
		tunnel_fail(t, &e);
		return;
	}
	/* It may have been forgotten while we did not hear; nothing could be signed now anyway. */
	t->waits_for_list = t->spec->origin == SPEC_PAIRED && !prepare_only &&
			    !identity_is_listed(t->ctx.identity);
	if (t->waits_for_list) {
		tunnel_set_problem(t, E(NoAnswer), "“systemctl start pairingd” starts it.",
				   "pairingd, which knows whether the pairing still holds, was not reached yet");
		return;
	}
	tunnel_open(t);
}

void tunnel_prepare(struct tunnel *t)
{
	begin(t, true);
}

void tunnel_start(struct tunnel *t)
{
	begin(t, false);
}

static void stop(struct tunnel *t)
{
	bool was = t->state != TUNNEL_DOWN;

	loop_timer_stop(t->retry);
	take_down(t);
	retire_begin(t);
	t->state = TUNNEL_DOWN;
	t->queued = false;
	t->waits_for_list = false;
	t->retry_ms = 0;
	t->unreadable = 0;
	tunnel_clear_problem(t);
	if (was) {
		log_event(LOG_INFO, &MSG_TUNNEL_STOPPED,
			  LOG_FIELDS({ FIELD_TUNNEL, t->spec->name }, { FIELD_PEER, tunnel_peer(t) }),
			  "tunnel %s is down", t->spec->name);
		tunnel_tell(t, "down");
	}
}

void tunnel_stop(struct tunnel *t)
{
	/* Also what was left for it and not taken yet. */
	t->kept = true;
	stop(t);
}

void tunnel_begin_stop(struct tunnel *t)
{
	if (t->keys)
		keys_begin_close(t->keys);
}

void tunnel_stop_replaced(struct tunnel *t)
{
	if (t->path)
		kept_hand_over(t->ctx.kept, t->spec->name, path_tun_fd(t->path), path_udp(t->path)->fd);
	t->kept = false;
	stop(t);
}

void tunnel_restart(struct tunnel *t)
{
	if (t->path)
		tunnel_stop_replaced(t);
	else
		tunnel_stop(t);
	if (t->spec->enabled)
		tunnel_start(t);
}

bool tunnel_is_being_added(const struct tunnel *t)
{
	return t->prepare_only && t->state == TUNNEL_STARTING;
}

void tunnel_on_identity(struct tunnel *t)
{
	if (t->waits_for_list && identity_is_listed(t->ctx.identity)) {
		tunnel_clear_problem(t);
		t->state = TUNNEL_DOWN;
		tunnel_start(t);
	} else if (t->state == TUNNEL_FAILED && t->spec->enabled && t->spec->pinned) {
		t->retry_ms = 0;
		tunnel_start(t);
	}
	tunnel_on_own_key(t);
	if (t->state == TUNNEL_UP)
		tunnel_tell_seen(t);
}

void tunnel_on_identity_new(struct tunnel *t)
{
	t->peer_told = false;
	t->mark = TUNNEL_UNLISTED;
}

void tunnel_on_network(struct tunnel *t)
{
	if (t->state == TUNNEL_FAILED && t->spec->enabled && t->problem.code &&
	    strcmp(t->problem.code, E(ListenFailed)) == 0) {
		t->retry_ms = 0;
		tunnel_start(t);
		return;
	}
	if (t->path)
		path_forget_ways(t->path);
	tunnel_hurry(t);
	tunnel_seek(t, false);
}

void tunnel_on_renamed(struct tunnel *t, const char *before)
{
	kept_rename(t->ctx.kept, before, t->spec->name, t->path ? path_tun_fd(t->path) : -1,
		    t->path ? path_udp(t->path)->fd : -1);
}

void tunnel_on_seen(struct tunnel *t)
{
	t->peer_told = true;
}

enum tunnel_mark tunnel_mark(const struct tunnel *t)
{
	return t->mark;
}

void tunnel_retire(struct tunnel *t)
{
	retire_begin(t);
}

void tunnel_set_mark(struct tunnel *t, enum tunnel_mark mark)
{
	t->mark = mark;
}

/*
 * A tunnel that has its device: sessions come and go, names are looked up
 * again, silence is noticed. One timer, set to the next thing that is due;
 * when nothing moves that is the keepalive.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "event/wake.h"
#include "pskd/keys/ledger.h"
#include "pskd/packet/offload.h"
#include "pskd/tunnel/stage.h"
#include "pskd/tunnel/tunnel_internal.h"

#define TICK_MS 1000
/* Ticks go on for this long after the last IP packet, so that marks can settle. */
#define BUSY_MS 7000
/* We answer what we hear within 10 s, so 15 s of silence to what we sent mean that the peer is gone. */
#define ANSWER_MS 10000
#define SILENCE_MS 15000
/* When the handshake that asks is not answered either, the session is dead. */
#define DEAD_MS 75000
/* The initiator renews; the responder reminds it when it is late. */
#define REMIND_MS 60000
#define REMIND_PACKETS (UINT64_C(1) << 16)
/* Names are looked up again, when something wakes us anyway: what is found is where to look when the peer is silent. */
#define RESOLVE_MS 300000

void tunnel_note(struct tunnel *t, int level, const struct log_id *id, const char *code,
		 const struct sockaddr_in6 *from, const char *text)
{
	char address[UDP_TEXT_MAX] = "";

	if (from)
		udp_format(address, from);
	log_event(level, id, LOG_FIELDS({ FIELD_TUNNEL, t->spec->name }, { FIELD_PEER, tunnel_peer(t) }, { FIELD_ERROR, code }),
		  "tunnel %s: %s%s%s", t->spec->name, text, from ? ", from " : "", address);
}

/* The initiator asks for a new session, the responder for being asked; at once where it may be heard. */
static void start_handshake(struct tunnel *t)
{
	if (!t->hello || hello_is_running(t->hello))
		return;
	hello_start(t->hello);
	stage_hurry(t);
}

static void check_age(struct tunnel *t, const struct session *s, uint64_t now)
{
	uint64_t late_ms = tunnel_is_initiator(t) ? 0 : REMIND_MS;
	uint64_t late_packets = tunnel_is_initiator(t) ? 0 : REMIND_PACKETS;

	if (session_packets(s) >= SESSION_RENEW_PACKETS + late_packets ||
	    now - s->created_ms >= SESSION_RENEW_MS + late_ms)
		start_handshake(t);
}

/* What was said while the machine slept was said to nobody: it counts as quiet, and the peer is asked. */
static uint64_t heard_ms(const struct tunnel *t, const struct path_counters *c)
{
	return t->woke_ms > TUNNEL_QUIET_MS ? max_u64(c->received_ms, t->woke_ms - TUNNEL_QUIET_MS) : c->received_ms;
}

static void check_silence(struct tunnel *t, const struct path_counters *c, uint64_t now)
{
	if (c->data_sent_ms > c->received_ms) {
		if (t->unanswered_ms == 0 || t->unanswered_ms < c->received_ms)
			t->unanswered_ms = now;
	} else {
		t->unanswered_ms = 0;
	}
	if (t->unanswered_ms && now - t->unanswered_ms >= SILENCE_MS)
		start_handshake(t);
	if (t->spec->f.keepalive_ms == 0 || clock_since_ms(heard_ms(t, c), now) < TUNNEL_QUIET_MS)
		return;
	start_handshake(t);
	if (clock_since_ms(heard_ms(t, c), now) < DEAD_MS)
		return;
	tunnel_note(t, LOG_NOTICE, &MSG_TUNNEL_SILENT, E(NoAnswer), NULL, "the peer does not answer any more");
	path_drop_sessions(t->path);
	t->unanswered_ms = 0;
	if (t->state == TUNNEL_UP)
		t->state = TUNNEL_WAITING;
}

static bool keepalive_is_due(const struct tunnel *t, uint64_t now)
{
	const struct path_counters *c = path_counters(t->path);
	bool due = t->spec->f.keepalive_ms && clock_since_ms(c->sent_ms, now) >= t->spec->f.keepalive_ms;
	bool answer = c->unanswered_since_ms > c->sent_ms && clock_since_ms(c->unanswered_since_ms, now) >= ANSWER_MS;

	return path_current(t->path) && t->hello && (due || answer) && !path_owes_keepalive(t->path);
}

/* Both hold the packet thread, which needs to be woken but once. */
static void tick(struct tunnel *t, uint64_t now)
{
	if (!keepalive_is_due(t, now)) {
		keys_tick(t->keys, now);
		return;
	}
	HOLD(packet_thread_hold(t->thread));

	path_send_keepalive(t->path, false);
	keys_tick(t->keys, now);
}

/* Only what is not as the device has it, and the end of that. */
static void tell_mtu(struct tunnel *t, const struct pmtu *p)
{
	bool was_less = t->mtu_told_size > 0 && t->mtu_told_size < p->max;
	char text[160];

	if ((p->state != PMTU_FOUND && p->state != PMTU_SMALLER) ||
	    (p->state == t->mtu_told && p->mtu == t->mtu_told_size))
		return;
	t->mtu_told = p->state;
	t->mtu_told_size = p->mtu;
	if (p->state == PMTU_FOUND && p->mtu == p->max && !was_less)
		return;
	if (p->state == PMTU_SMALLER)
		snprintf(text, sizeof(text), "not even packets of %d bytes come through to the peer whole: they are cut up on the way",
			 PMTU_MIN);
	else
		snprintf(text, sizeof(text), "packets of up to %u bytes come through to the peer%s", p->mtu,
			 p->mtu < p->max ? "; who sends larger ones is told so" : " again");
	tunnel_note(t, LOG_NOTICE, &MSG_TUNNEL_MTU, NULL, NULL, text);
}

/* What the kernel seemed to have and the way out has not; it is not asked for again. */
static void tell_offload(struct tunnel *t)
{
	unsigned int lost = t->offload_told & ~path_offload(t->path);

	t->offload_told = path_offload(t->path);
	if (lost & OFFLOAD_UDP_GSO)
		tunnel_note(t, LOG_NOTICE, &MSG_TUNNEL_OFFLOAD, NULL, NULL,
		     "the way out takes no datagrams together (udp-gso): each is sent by itself from now on, which takes more time");
}

static bool is_busy(const struct path_counters *c, uint64_t now)
{
	uint64_t last = c->data_sent_ms > c->data_received_ms ? c->data_sent_ms : c->data_received_ms;

	return last && clock_since_ms(last, now) < BUSY_MS;
}

/* When the timer has something to do; UINT64_MAX: never. */
static uint64_t next_due(const struct tunnel *t, uint64_t now)
{
	const struct path_counters *c = path_counters(t->path);
	const struct session *s = path_current(t->path);
	uint64_t due = path_expiry(t->path), at;

	if (is_busy(c, now) || t->unanswered_ms || stage_is_unsaved(t))
		return now + TICK_MS;
	if (!s || !t->hello)
		return due;
	at = s->created_ms + SESSION_RENEW_MS + (tunnel_is_initiator(t) ? 0 : REMIND_MS);
	if (at < due && !hello_is_running(t->hello))
		due = at;
	if (t->spec->f.keepalive_ms) {
		/* One that waits for a sequence goes as soon as there is one, and then we are here again. */
		at = path_owes_keepalive(t->path) ? UINT64_MAX : c->sent_ms + t->spec->f.keepalive_ms;
		due = at < due ? at : due;
		at = heard_ms(t, c) + (hello_is_running(t->hello) ? DEAD_MS : TUNNEL_QUIET_MS);
		due = at < due ? at : due;
	}
	return due;
}

void tunnel_arm(struct tunnel *t)
{
	uint64_t now = clock_now_ms(), due;

	if (!t->path)
		return;
	due = next_due(t, now);
	if (path_probe_due(t->path) < due)
		due = path_probe_due(t->path);
	if (due == UINT64_MAX) {
		loop_timer_stop(t->timer);
		return;
	}
	/* Not at all often: what is due now was just looked at. */
	loop_timer_start(t->timer, due > now + 10 ? due - now : 10);
}

static void check_names(struct tunnel *t, uint64_t now)
{
	if (now - t->resolved_ms < RESOLVE_MS)
		return;
	t->resolved_ms = now;
	if (tunnel_has_names(t))
		tunnel_resolve_again(t);
}

static void look_at_session(struct tunnel *t, uint64_t now)
{
	const struct path_counters *c = path_counters(t->path);
	const struct session *s = path_current(t->path);

	if (!s || !t->hello)
		return;
	check_age(t, s, now);
	check_silence(t, c, now);
}

void tunnel_on_timer(void *arg)
{
	struct tunnel *t = arg;
	uint64_t now = clock_now_ms();

	if (!t->path)
		return;
	if (wake_check(t->ctx.wake)) {
		/* tunnel_on_wake() comes first; by the clock alone the peer would be silent. */
		loop_timer_start(t->timer, 10);
		return;
	}
	/* Each holds the packet thread only for what is due. */
	path_expire(t->path, now);
	path_probe(t->path);
	tell_mtu(t, path_pmtu(t->path));
	tell_offload(t);
	tick(t, now);
	look_at_session(t, now);
	check_names(t, now);
	/* These may write files. */
	stage_on_timer(t);
	tunnel_fuel_tick(t, now);
	tunnel_arm(t);
}

/* Without its ledger a tunnel sends what is reserved and then nothing: whoever looks is told why. */
const struct tunnel_error *tunnel_problem(const struct tunnel *t, struct tunnel_error *space)
{
	struct keys_info k = { 0 };

	if (t->keys)
		keys_info(t->keys, &k);
	/* What somebody has to decide goes first; what a stranger may have brought about does not. */
	if (k.write_error && (!t->problem.code || t->state == TUNNEL_WAITING || t->state == TUNNEL_UP)) {
		tunnel_error_set(space, E(StorageFailed), "Nothing is sent beyond what its ledger says; it is tried again.",
				 "the ledger cannot be written: %s", strerror(-k.write_error));
		return space;
	}
	if (!t->problem.code && t->state == TUNNEL_WAITING && t->is_unfound && t->names.n > 0) {
		tunnel_error_set(space, E(NoAnswer), "Is the name right, and is there a network? It is looked up again and again.",
				 "the peer's name is not found: %s", t->names.v[0]);
		return space;
	}
	return t->problem.code ? &t->problem : NULL;
}

void tunnel_on_keys(int error, void *arg)
{
	struct tunnel *t = arg;

	if (error == -EBADMSG)
		tunnel_note(t, LOG_ERR, &MSG_TUNNEL_LEDGER, E(KeyFileDiffers), NULL,
		     "the key file is not as it was when it was added");
	else if (error)
		tunnel_note(t, LOG_ERR, &MSG_TUNNEL_LEDGER, E(StorageFailed), NULL, strerror(-error));
	/* The peer may have the staged one by now. */
	if (error)
		stage_hurry(t);
	if (!t->path)
		return;
	path_on_keys_ready(t->path);
	tunnel_arm(t);
}

int tunnel_begin(struct tunnel *t)
{
	struct sockaddr_in6 v[RESOLVE_MAX];
	size_t n;

	tunnel_collect_names(t);
	n = resolve_numbers(v, RESOLVE_MAX, &t->names);
	tunnel_tell(t, "hello");
	log_event(LOG_INFO, &MSG_TUNNEL_STARTED,
		  LOG_FIELDS({ FIELD_TUNNEL, t->spec->name }, { FIELD_PEER, tunnel_peer(t) }, { FIELD_DEVICE, t->ifname }),
		  "tunnel %s: %s is there, looking for the peer", t->spec->name, t->ifname);
	tunnel_use_candidates(t, v, n);
	if (n < t->names.n)
		tunnel_resolve_again(t);
	if (t->hello)
		hello_start(t->hello);
	if (t->took_over)
		tunnel_set_problem(t, E(NoAnswer), "“handfast tunnel stage NAME FILE” there.",
				   "the key file is of no use any more, and waits for the peer to have the staged one, too");
	stage_begin(t);
	tunnel_arm(t);
	return 0;
}

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
#include "pskd/drop_log.h"
#include "pskd/identity_client.h"
#include "pskd/ledger.h"
#include "pskd/offload.h"
#include "pskd/stage.h"
#include "pskd/store.h"
#include "pskd/tunnel_internal.h"
#include "pskd/way.h"

#define TICK_MS 1000
/* Ticks go on for this long after the last IP packet, so that marks can settle. */
#define BUSY_MS 7000
/* We answer what we hear within 10 s, so 15 s of silence to what we sent mean that the peer is gone. */
#define ANSWER_MS 10000
#define SILENCE_MS 15000
/* After this long without a word a handshake asks; when that is not answered either, the session is dead. */
#define QUIET_MS 60000
#define DEAD_MS 75000
/* The initiator renews; the responder reminds it when it is late. */
#define REMIND_MS 60000
#define REMIND_PACKETS (UINT64_C(1) << 16)
/* Names are looked up again, when something wakes us anyway: what is found is where to look when the peer is silent. */
#define RESOLVE_MS 300000

static void arm(struct tunnel *t);
static void note(struct tunnel *t, int level, const struct log_id *id, const char *code,
		 const struct sockaddr_in6 *from, const char *text);

static const char *name_of(const struct tunnel *t)
{
	return t->spec->name;
}

static bool is_initiator(const struct tunnel *t)
{
	return t->spec->f.role == KEYS_INITIATOR;
}

/* ---- names ---- */

static void add_name(struct tunnel *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void add_name(struct tunnel *t, const char *fmt, ...)
{
	va_list ap;
	char *to;

	if (t->names.n == RESOLVE_MAX)
		return;
	to = t->names.v[t->names.n];
	va_start(ap, fmt);
	vsnprintf(to, sizeof(t->names.v[0]), fmt, ap);
	va_end(ap);
	for (size_t i = 0; i < t->names.n; i++)
		if (strcmp(t->names.v[i], to) == 0)
			return;
	t->names.n++;
}

static void collect_names(struct tunnel *t)
{
	const struct spec *s = t->spec;

	t->names.n = 0;
	if (s->f.endpoint)
		add_name(t, "%s", s->f.endpoint);
	if (s->last_endpoint[0] && !s->f.peer)
		add_name(t, "%s", s->last_endpoint);
	for (size_t i = 0; i < s->n_candidates && s->peer_port; i++)
		add_name(t, "%s:%u", s->candidates[i], s->peer_port);
}

static bool is_among(const struct sockaddr_in6 *v, size_t n, const struct sockaddr_in6 *a)
{
	for (size_t i = 0; i < n; i++)
		if (udp_same(&v[i], a))
			return true;
	return false;
}

/* A prototype peer is where its endpoint says: without a handshake nothing else would prove it. */
static void start_plain(struct tunnel *t, const struct sockaddr_in6 *v, size_t n)
{
	const struct session *before = path_current(t->path);
	struct session *s;

	if ((before && is_among(v, n, &before->address)) ||
	    session_new(&s, NULL, (enum keys_role)t->spec->f.role, path_rx_slots((uint32_t)t->spec->f.window)))
		return;
	s->address = v[0];
	path_set_current(t->path, &s);
	if (before) {
		note(t, LOG_NOTICE, &MSG_TUNNEL_MOVED, NULL, &v[0], "the peer's name is somewhere else now");
		return;
	}
	t->state = TUNNEL_UP;
	log_event(LOG_NOTICE, &MSG_TUNNEL_UP, LOG_FIELDS({ FIELD_TUNNEL, name_of(t) }, { FIELD_PEER, tunnel_peer(t) }),
		  "tunnel %s is up, without handshakes, to a prototype peer", name_of(t));
	tunnel_tell(t, "up");
}

/* A route of ours may cover the peer itself, and there be no way beside it: our packets would go round in circles. */
static bool leads_into_itself(struct tunnel *t, const struct sockaddr_in6 *to)
{
	return path_way(t->path, to) == WAY_NONE;
}

static void check_way(struct tunnel *t, const struct sockaddr_in6 *v, size_t n)
{
	char text[UDP_TEXT_MAX];

	for (size_t i = 0; i < n && t->state == TUNNEL_WAITING && !t->problem.code; i++) {
		if (!leads_into_itself(t, &v[i]))
			continue;
		udp_format(text, &v[i]);
		tunnel_set_problem(t, E(RouteConflict), "The machine needs a default route, or the peer's address a route of its own.",
				   "the way to the peer at %s leads into the tunnel itself", text);
		note(t, LOG_WARNING, &MSG_TUNNEL_DEVICE, t->problem.code, NULL, t->problem.message);
	}
}

static void use_candidates(struct tunnel *t, const struct sockaddr_in6 *v, size_t n)
{
	check_way(t, v, n);
	if (t->hello)
		hello_set_candidates(t->hello, v, n);
	if (t->hello)
		stage_on_candidates(t);
	else if (n > 0)
		start_plain(t, v, n);
}

static void on_resolved(const struct sockaddr_in6 *v, size_t n, void *arg)
{
	struct tunnel_link *link = arg;
	struct tunnel *t = link->t;

	free(link);
	if (!t)
		return;
	t->resolving = NULL;
	t->is_unfound = n == 0;
	if (n > 0)
		use_candidates(t, v, n);
	arm(t);
}

/* Numbers stay what they are. */
static bool has_names(const struct tunnel *t)
{
	struct sockaddr_in6 v[RESOLVE_MAX];

	return resolve_numbers(v, RESOLVE_MAX, &t->names) < t->names.n;
}

static void resolve_again(struct tunnel *t)
{
	struct tunnel_link *link;

	if (t->resolving || t->names.n == 0)
		return;
	link = calloc(1, sizeof(*link));
	if (!link)
		return;
	if (resolve_start(t->ctx.loop, &t->names, on_resolved, link) != 0) {
		free(link);
		return;
	}
	link->t = t;
	t->resolving = link;
	t->resolved_ms = clock_now_ms();
}

/* ---- the handshake's events ---- */

static void send_handshake(const uint8_t *msg, size_t len, const struct sockaddr_in6 *to, void *arg)
{
	struct tunnel *t = arg;

	path_send_handshake(t->path, msg, len, to);
}

static int sign(const uint8_t hash[static PSKH_HASH_LEN], hello_signed_fn done, void *token, void *arg)
{
	struct tunnel *t = arg;

	return identity_sign(t->ctx.identity, hash, PSKH_HASH_LEN, done, token);
}

static void on_session(struct session **s, uint64_t peer_tx_next, void *arg)
{
	struct tunnel *t = arg;

	path_rx_forward(t->path, peer_tx_next);
	path_set_pending(t->path, s);
	if (!is_initiator(t))
		path_send_keepalive(t->path, true);
}

static void on_bind_again(void *arg)
{
	struct tunnel *t = arg;

	path_send_keepalive(t->path, true);
}

/*
 * A call can be recorded and sent again by anyone, from anywhere, and who then
 * passes on what is said would be where the peer seems to be. So while the peer
 * is heard, it calls from where it is, also when it has just come there; when it is not heard, we
 * ask ourselves.
 */
static bool may_call(const struct sockaddr_in6 *from, void *arg)
{
	struct tunnel *t = arg;
	const struct session *s = path_current(t->path);

	return !s || udp_same(from, &s->address) || udp_same(from, &s->heard_from) || hello_is_running(t->hello) ||
	       clock_now_ms() - path_counters(t->path)->received_ms >= QUIET_MS;
}

static void on_round(unsigned int round, void *arg)
{
	struct tunnel *t = arg;

	if (round > 0 && has_names(t))
		resolve_again(t);
}

void tunnel_hurry(struct tunnel *t)
{
	if (!t->hello || !hello_is_running(t->hello))
		return;
	if (has_names(t))
		resolve_again(t);
	hello_hurry(t->hello);
}

/* The address that packets to the peer leave from has changed: the peer may not find us, nor what is between us. */
static bool has_moved(const struct tunnel *t)
{
	const struct session *s = path_current(t->path);
	struct in6_addr now;

	return s && t->has_source && udp_source(&now, &s->address, path_way(t->path, &s->address)) == 0 && memcmp(&now, &t->source, sizeof(now)) != 0;
}

void tunnel_seek(struct tunnel *t, bool always)
{
	if (!t->path || (!always && !has_moved(t)))
		return;
	if (has_names(t))
		resolve_again(t);
	if (t->hello && hello_is_running(t->hello))
		hello_hurry(t->hello);
	else if (t->hello)
		hello_start(t->hello);
	arm(t);
}

void tunnel_on_wake(struct tunnel *t)
{
	t->woke_ms = clock_now_ms();
	tunnel_seek(t, true);
}

static void note(struct tunnel *t, int level, const struct log_id *id, const char *code,
		 const struct sockaddr_in6 *from, const char *text)
{
	char address[UDP_TEXT_MAX] = "";

	if (from)
		udp_format(address, from);
	log_event(level, id, LOG_FIELDS({ FIELD_TUNNEL, name_of(t) }, { FIELD_PEER, tunnel_peer(t) }, { FIELD_ERROR, code }),
		  "tunnel %s: %s%s%s", name_of(t), text, from ? ", from " : "", address);
}

static void on_rollback(struct tunnel *t, bool own, const struct sockaddr_in6 *from, uint64_t n)
{
	snprintf(t->rollback, sizeof(t->rollback),
		 own ? "our ledger was %llu sequences behind what the peer has received; went forward" :
		       "the peer's ledger was %llu sequences behind what we have received; it goes forward",
		 (unsigned long long)n);
	note(t, LOG_WARNING, &MSG_TUNNEL_ROLLBACK, NULL, from, t->rollback);
}

static void on_needs_burn(struct tunnel *t, const struct sockaddr_in6 *from, uint64_t n)
{
	t->state = TUNNEL_NEEDS_BURN;
	tunnel_set_problem(t, E(NeedsBurn), "“handfast tunnel burn NAME” gives it up and goes on.",
			   "to agree with the peer, the key material of %llu packets would have to be given up",
			   (unsigned long long)n);
	note(t, LOG_ERR, &MSG_TUNNEL_NEEDS_BURN, t->problem.code, from, t->problem.message);
	t->ctx.on_event(t, "needs-burn", &t->problem, t->ctx.arg);
}

static void on_exhausted(void *arg)
{
	struct tunnel *t = arg;

	if (t->state == TUNNEL_EXHAUSTED)
		return;
	t->state = TUNNEL_EXHAUSTED;
	tunnel_set_problem(t, E(Exhausted), "Make a new key file, carry it to both sides, and stage it there.",
			   "the key material is used up: nothing can be sent any more");
	note(t, LOG_ERR, &MSG_TUNNEL_EXHAUSTED, t->problem.code, NULL, t->problem.message);
	t->ctx.on_event(t, "exhausted", &t->problem, t->ctx.arg);
}

/* What is unauthenticated, or of a stranger, is a problem only while there is nothing better. */
static void suspect(struct tunnel *t, const struct log_id *id, const char *code,
		    const struct sockaddr_in6 *from, const char *text, const char *hint)
{
	if (t->state == TUNNEL_WAITING)
		tunnel_set_problem(t, code, hint, "%s", text);
	note(t, LOG_WARNING, id, code, from, text);
}

static void on_hello_event(enum hello_event e, const struct sockaddr_in6 *from, uint64_t n, void *arg)
{
	struct tunnel *t = arg;
	char text[200];

	switch (e) {
	case HELLO_OTHER_KEY:
		snprintf(text, sizeof(text), "somebody says hello with another key file (its hint is %016llx)",
			 (unsigned long long)n);
		suspect(t, &MSG_TUNNEL_OTHER_KEY, E(KeyFileDiffers), from, text,
			"If that is the peer: both sides need the same key file.");
		return;
	case HELLO_OWN_ROLE:
		suspect(t, &MSG_TUNNEL_OWN_ROLE, E(KeyFileInUse), from,
			is_initiator(t) ? "somebody with our key is initiator, too" :
					  "somebody with our key is responder, too",
			"One side must be initiator, the other responder.");
		return;
	case HELLO_REFLECTED:
		note(t, LOG_WARNING, &MSG_TUNNEL_REFLECTED, NULL, from, "our own message came back");
		return;
	case HELLO_WRONG_IDENTITY:
	case HELLO_BAD_SIGNATURE:
	case HELLO_NOT_ALLOWED:
	case HELLO_REVOKED:
		tunnel_on_stranger(t, e, from, n);
		return;
	case HELLO_OWN_ROLLBACK:
	case HELLO_PEER_ROLLBACK:
		on_rollback(t, e == HELLO_OWN_ROLLBACK, from, n);
		return;
	case HELLO_NEEDS_BURN:
		on_needs_burn(t, from, n);
		return;
	case HELLO_EXHAUSTED:
		on_exhausted(t);
		return;
	case HELLO_CANNOT_SIGN:
		suspect(t, &MSG_IDENTITY_LOST, E(NoAnswer), NULL,
			"pairingd, which signs the handshake, cannot be reached",
			"“systemctl start pairingd” starts it.");
		return;
	case HELLO_FAILED:
		note(t, LOG_ERR, &MSG_TUNNEL_LEDGER, E(StorageFailed), NULL, strerror((int)n));
		return;
	}
}

const struct hello_ops tunnel_hello_ops = {
	.send = send_handshake,
	.sign = sign,
	.on_session = on_session,
	.on_bind_again = on_bind_again,
	.may_call = may_call,
	.on_round = on_round,
	.on_event = on_hello_event,
};

/* ---- the path's events ---- */

static void on_handshake(const uint8_t *msg, size_t len, const struct sockaddr_in6 *from, void *arg)
{
	struct tunnel *t = arg;

	if (stage_on_message(t, msg, len, from))
		return;
	if (t->hello)
		hello_on_message(t->hello, msg, len, from);
	else
		drops_count(&path_counters(t->path)->drops, DROP_HS_UNEXPECTED);
}

/* Where the peer was last is where it is looked for first after a restart; and who it was. */
static void remember_peer(struct tunnel *t)
{
	bool changed = tunnel_take_label(t);
	char text[UDP_TEXT_MAX];
	int r;

	udp_format(text, &path_current(t->path)->address);
	if (strcmp(text, t->spec->last_endpoint) == 0 && !changed)
		return;
	snprintf(t->spec->last_endpoint, sizeof(t->spec->last_endpoint), "%s", text);
	r = tunnel_store_save(t->ctx.store, t->spec);
	if (r)
		log_debug("tunnel %s: its peer is not kept: %s", name_of(t), strerror(-r));
}

void tunnel_tell_seen(struct tunnel *t)
{
	if (t->spec->origin == SPEC_PAIRED && !t->peer_told)
		identity_peer_seen(t->ctx.identity, t->spec->peer_id, t->spec->tunnel_id);
}

static void on_proven(void *arg)
{
	struct tunnel *t = arg;
	char address[UDP_TEXT_MAX];

	hello_on_proven(t->hello);
	hello_add_candidate(t->hello, &path_current(t->path)->address);
	if (is_initiator(t))
		path_send_keepalive(t->path, false);
	t->handshakes++;
	t->last_handshake_ms = clock_now_ms();
	t->unanswered_ms = 0;
	t->has_source = udp_source(&t->source, &path_current(t->path)->address,
				   path_way(t->path, &path_current(t->path)->address)) == 0;
	udp_format(address, &path_current(t->path)->address);
	if (t->state != TUNNEL_UP) {
		t->state = TUNNEL_UP;
		tunnel_clear_problem(t);
		log_event(LOG_NOTICE, &MSG_TUNNEL_UP, LOG_FIELDS({ FIELD_TUNNEL, name_of(t) }, { FIELD_PEER, tunnel_peer(t) }),
			  "tunnel %s is up, the peer is at %s", name_of(t), address);
	} else if (t->spec->last_endpoint[0] && strcmp(address, t->spec->last_endpoint) != 0) {
		note(t, LOG_NOTICE, &MSG_TUNNEL_MOVED, NULL, &path_current(t->path)->address,
		     "the peer is somewhere else now");
	}
	remember_peer(t);
	stage_on_taken_over(t);
	stage_on_up(t);
	tunnel_tell_seen(t);
	tunnel_tell(t, "up");
	arm(t);
}

static void on_switched(void *arg)
{
	stage_on_switched(arg);
	on_proven(arg);
}

static void on_traffic(void *arg)
{
	arm(arg);
}

static void on_own_packet(const struct sockaddr_in6 *from, void *arg)
{
	note(arg, LOG_WARNING, &MSG_TUNNEL_REFLECTED, NULL, from,
	     "our own packet came back, or a second device has our key and role");
}

static void on_drops(void *arg)
{
	drop_log_on_drops(((struct tunnel *)arg)->ctx.drop_log);
}

const struct path_events tunnel_path_events = {
	.on_handshake = on_handshake,
	.on_proven = on_proven,
	.on_switched = on_switched,
	.on_traffic = on_traffic,
	.on_exhausted = on_exhausted,
	.on_own_packet = on_own_packet,
	.on_drops = on_drops,
};

/* ---- time ---- */

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
	uint64_t late_ms = is_initiator(t) ? 0 : REMIND_MS;
	uint64_t late_packets = is_initiator(t) ? 0 : REMIND_PACKETS;

	if (s->packets >= SESSION_RENEW_PACKETS + late_packets ||
	    now - s->created_ms >= SESSION_RENEW_MS + late_ms)
		start_handshake(t);
}

/* What was said while the machine slept was said to nobody: it counts as quiet, and the peer is asked. */
static uint64_t heard_ms(const struct tunnel *t, const struct path_counters *c)
{
	return t->woke_ms > QUIET_MS ? max_u64(c->received_ms, t->woke_ms - QUIET_MS) : c->received_ms;
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
	if (t->spec->f.keepalive_ms == 0 || now - heard_ms(t, c) < QUIET_MS)
		return;
	start_handshake(t);
	if (now - heard_ms(t, c) < DEAD_MS)
		return;
	note(t, LOG_NOTICE, &MSG_TUNNEL_SILENT, E(NoAnswer), NULL, "the peer does not answer any more");
	path_drop_sessions(t->path);
	t->unanswered_ms = 0;
	if (t->state == TUNNEL_UP)
		t->state = TUNNEL_WAITING;
}

static void check_keepalive(struct tunnel *t, const struct path_counters *c, uint64_t now)
{
	bool due = t->spec->f.keepalive_ms && now - c->sent_ms >= t->spec->f.keepalive_ms;
	bool answer = c->unanswered_since_ms > c->sent_ms && now - c->unanswered_since_ms >= ANSWER_MS;

	if (due || answer)
		path_send_keepalive(t->path, false);
}

/* Only what is not as the device has it, and the end of that. */
static void tell_mtu(struct tunnel *t)
{
	const struct pmtu *p = path_pmtu(t->path);
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
	note(t, LOG_NOTICE, &MSG_TUNNEL_MTU, NULL, NULL, text);
}

/* What the kernel seemed to have and the way out has not; it is not asked for again. */
static void tell_offload(struct tunnel *t)
{
	unsigned int lost = t->offload_told & ~path_offload(t->path);

	t->offload_told = path_offload(t->path);
	if (lost & OFFLOAD_UDP_GSO)
		note(t, LOG_NOTICE, &MSG_TUNNEL_OFFLOAD, NULL, NULL,
		     "the way out takes no datagrams together (udp-gso): each is sent by itself from now on, which takes more time");
}

static bool is_busy(const struct path_counters *c, uint64_t now)
{
	uint64_t last = c->data_sent_ms > c->data_received_ms ? c->data_sent_ms : c->data_received_ms;

	return last && now - last < BUSY_MS;
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
	at = s->created_ms + SESSION_RENEW_MS + (is_initiator(t) ? 0 : REMIND_MS);
	if (at < due && !hello_is_running(t->hello))
		due = at;
	if (t->spec->f.keepalive_ms) {
		at = c->sent_ms + t->spec->f.keepalive_ms;
		due = at < due ? at : due;
		at = heard_ms(t, c) + (hello_is_running(t->hello) ? DEAD_MS : QUIET_MS);
		due = at < due ? at : due;
	}
	return due;
}

static void arm(struct tunnel *t)
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
	if (has_names(t))
		resolve_again(t);
}

void tunnel_on_timer(void *arg)
{
	struct tunnel *t = arg;
	uint64_t now = clock_now_ms();
	const struct path_counters *c;
	const struct session *s;

	if (!t->path)
		return;
	if (wake_check(t->ctx.wake)) {
		/* tunnel_on_wake() comes first; by the clock alone the peer would be silent. */
		loop_timer_start(t->timer, 10);
		return;
	}
	c = path_counters(t->path);
	path_expire(t->path, now);
	path_probe(t->path, now);
	tell_mtu(t);
	tell_offload(t);
	check_names(t, now);
	stage_on_timer(t);
	keys_tick(t->keys, now);
	tunnel_fuel_tick(t, now);
	s = path_current(t->path);
	if (s && t->hello) {
		check_age(t, s, now);
		check_keepalive(t, c, now);
		check_silence(t, c, now);
	}
	arm(t);
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
		note(t, LOG_ERR, &MSG_TUNNEL_LEDGER, E(KeyFileDiffers), NULL,
		     "the key file is not as it was when it was added");
	else if (error)
		note(t, LOG_ERR, &MSG_TUNNEL_LEDGER, E(StorageFailed), NULL, strerror(-error));
	/* The peer may have the staged one by now. */
	if (error)
		stage_hurry(t);
	if (t->path)
		path_on_keys_ready(t->path);
}

int tunnel_begin(struct tunnel *t)
{
	struct sockaddr_in6 v[RESOLVE_MAX];
	size_t n;

	collect_names(t);
	n = resolve_numbers(v, RESOLVE_MAX, &t->names);
	tunnel_tell(t, "hello");
	log_event(LOG_INFO, &MSG_TUNNEL_STARTED,
		  LOG_FIELDS({ FIELD_TUNNEL, name_of(t) }, { FIELD_PEER, tunnel_peer(t) }, { FIELD_DEVICE, t->ifname }),
		  "tunnel %s: %s is there, looking for the peer", name_of(t), t->ifname);
	use_candidates(t, v, n);
	if (n < t->names.n)
		resolve_again(t);
	if (t->hello)
		hello_start(t->hello);
	if (t->took_over)
		tunnel_set_problem(t, E(NoAnswer), "“handfast tunnel stage NAME FILE” there.",
				   "the key file is of no use any more, and waits for the peer to have the staged one, too");
	stage_begin(t);
	arm(t);
	return 0;
}

/* One that came from a backup and may not start before somebody says from where on. */
static int burn_restored(struct tunnel *t, uint64_t to_slot, uint64_t *burned, struct tunnel_error *e)
{
	_cleanup_free_ char *path = tunnel_store_ledger_path(t->ctx.store, t->spec->ledger);
	int r = path ? ledger_burn_restored(path, to_slot) : -ENOMEM;

	if (r == -EINVAL)
		tunnel_error_set(e, E(NeedsBurn), "Bring the tunnel up first.", "%s is not up", name_of(t));
	else if (r == -ERANGE)
		tunnel_error_set(e, E(NeedsBurn), "Take a higher one, or a new key file.",
				 "slot %llu of %s may have been used, or there is none such",
				 (unsigned long long)to_slot, name_of(t));
	else if (r)
		tunnel_error_set(e, E(StorageFailed), NULL, "the ledger of %s cannot be written: %s", name_of(t),
				 strerror(r < 0 ? -r : EIO));
	if (r)
		return -1;
	*burned = 0;
	note(t, LOG_NOTICE, &MSG_TUNNEL_BURNED, NULL, NULL, "key material was given up as asked");
	if (t->spec->enabled)
		tunnel_start(t);
	return 0;
}

/* Why a burn to this slot cannot be, or would give up nothing. */
static int check_burn(const struct tunnel *t, uint64_t to_slot, struct tunnel_error *e)
{
	uint64_t at = keys_tx_next(t->keys) / SLOT_PACKETS;
	struct keys_info info;

	keys_info(t->keys, &info);
	if (info.slots_total && to_slot >= info.slots_total)
		tunnel_error_set(e, "io.handfast.Daemon.BadRequest", "“handfast tunnel show NAME” tells what is left.",
				 "%s ends with slot %llu; nothing was given up", name_of(t),
				 (unsigned long long)info.slots_total - 1);
	else if (to_slot <= at && !t->burn_unwritten)
		tunnel_error_set(e, "io.handfast.Daemon.BadRequest", "Name a later slot.",
				 "%s is at slot %llu already; nothing was given up", name_of(t), (unsigned long long)at);
	else if (!info.slots_total && to_slot - at > KEYS_RATCHET_BURN_SLOTS)
		tunnel_error_set(e, "io.handfast.Daemon.BadRequest", NULL,
				 "%s is at slot %llu, and at most %llu slots are given up at a time; nothing was given up",
				 name_of(t), (unsigned long long)at, (unsigned long long)KEYS_RATCHET_BURN_SLOTS);
	else
		return 0;
	return -1;
}

int tunnel_burn(struct tunnel *t, uint64_t to_slot, uint64_t *burned, struct tunnel_error *e)
{
	uint64_t tx = to_slot, rx = 0, before;
	int r;

	if (!t->keys && to_slot != UINT64_MAX && t->spec->ledger[0])
		return burn_restored(t, to_slot, burned, e);
	if (!t->keys) {
		tunnel_error_set(e, E(NeedsBurn), "Bring the tunnel up first.", "%s is not up", name_of(t));
		return -1;
	}
	if (to_slot == UINT64_MAX) {
		tx = 0;
		if (t->hello)
			hello_burn_targets(t->hello, &tx, &rx);
	} else {
		if (check_burn(t, to_slot, e))
			return -1;
		tx = to_slot * SLOT_PACKETS;
	}
	before = keys_tx_next(t->keys);
	if (tx <= before && rx == 0 && !t->burn_unwritten) {
		tunnel_error_set(e, "io.handfast.Daemon.BadRequest", "With --to-slot it is given up all the same.",
				 "%s needs no burn: the peer and we agree, or have not spoken yet; nothing was given up",
				 name_of(t));
		return -1;
	}
	r = tx > before ? keys_tx_forward(t->keys, tx, true) : 0;
	if ((r == 0 || r == KEYS_E_NOT_READY) && rx > 0)
		r = keys_rx_forward(t->keys, rx, true);
	if (r && r != KEYS_E_NOT_READY) {
		tunnel_keys_error(e, t, r, NULL, "");
		return -1;
	}
	*burned = keys_tx_next(t->keys) - before;
	/* Not before it would be remembered after a power cut; of a pairing, see keys.h. */
	r = keys_make_durable(t->keys);
	t->burn_unwritten = r != 0;
	if (r) {
		tunnel_error_set(e, E(StorageFailed), "Say it again once the disk takes it.",
				 "the ledger of %s cannot be written, and may forget it: %s", name_of(t), strerror(-r));
		return -1;
	}
	note(t, LOG_NOTICE, &MSG_TUNNEL_BURNED, NULL, NULL, "key material was given up as asked");
	if (t->state == TUNNEL_NEEDS_BURN) {
		t->state = TUNNEL_WAITING;
		tunnel_clear_problem(t);
	}
	if (t->hello) {
		hello_clear_burn(t->hello);
		hello_stop(t->hello);
		hello_start(t->hello);
	}
	return 0;
}

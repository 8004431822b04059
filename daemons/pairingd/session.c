/*
 * Around the state machine. A session goes through: the secret is asked for,
 * the relay is reached, the machine runs, and it ends, once, by finish() or
 * fail(), which answer the caller and free it.
 */
#include "pairingd/session.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/list.h"
#include "base/log.h"
#include "base/text.h"
#include "crypto/secret.h"
#include "event/loop.h"
#include "event/varlink.h"
#include "pairingd/errors.h"
#include "pairingd/identity.h"
#include "pairingd/metrics.h"
#include "pairingd/pairing.h"
#include "pairingd/relay_client.h"

#define PAIRING_ID_LEN 8
#define PORT_TRIES 1000

struct sessions {
	struct sessions_options o;
	struct session *one;	/* the pairing that runs, or NULL */
	struct list lingering;	/* relay clients that still send */
	struct list stretching; /* jobs in threads */
	char *relay_socket;
	struct pairing_counters counters;
};

/* One Argon2id in a thread; outlives its session when that ends first. */
struct stretching {
	struct list node;
	struct session *session; /* NULL: nobody waits for it any more */
	struct pairing_stretch *job;
	uint64_t took_us;
};

struct session {
	struct sessions *all;
	struct varlink_call *call;
	char id[2 * PAIRING_ID_LEN + 1];
	uint8_t ticket[SECRET_TICKET_LEN];
	bool ticket_used;
	enum secret_class class;
	bool compare_sas;
	bool joins;
	struct relay_invitation invitation; /* joins */
	char *relay, *relay_ca;		    /* NULL: none */
	char note[PAIRING_NOTE_MAX + 1];
	char name[IDENTITY_NAME_MAX + 1];
	uint16_t own_port;
	struct secret *secret; /* until the machine has it */
	struct relay_client *client;
	struct pairing *pairing;
	struct stretching *stretching;
	struct loop_timer *timer;
	struct loop_timer *failer; /* ends it outside the callbacks that found out */
	struct pairing_error failure;
	char failure_text[300];
	char code[RELAY_CODE_LEN + 1];
	uint8_t session_id[PAIRING_SESSION_ID_LEN];
	bool spent, comparing, over;
	bool gone; /* the caller hung up */
	struct peer peer; /* as stored */
	char greeted[IDENTITY_NAME_MAX + 1]; /* what the peer calls itself, proven; "": not yet */
	bool stored;
};

/* ---- telling ---- */

static void notify(struct session *s, const char *event, struct json_t *fields)
{
	json_t *params;

	if (!s->call) {
		json_decref(fields);
		return;
	}
	params = json_pack("{s:s, s:s}", "event", event, "pairing", s->id);
	if (params && fields)
		json_object_update(params, fields);
	json_decref(fields);
	if (params)
		varlink_notify(s->call, params);
}

static void notify_step(struct session *s, const char *step, const char *who, uint64_t deadline_ms)
{
	uint64_t now = clock_now_ms();
	uint64_t left = deadline_ms > now ? (deadline_ms - now + 999) / 1000 : 0;

	notify(s, "step",
	       json_pack("{s:s, s:s, s:I}", "step", step, "waits_for", who, "deadline_s",
			 (json_int_t)left));
}

struct json_t *peer_json(const struct peer *peer)
{
	const struct pairing_identity *i = &peer->identity;
	char id[2 * IDENTITY_ID_LEN + 1], key[BASE64_SPACE(SIGN_PUBLIC_LEN)];
	json_t *candidates = json_array();

	hex_format(id, peer->id, sizeof(peer->id));
	base64_encode(key, i->public_key.b, sizeof(i->public_key.b), BASE64_STANDARD);
	for (size_t n = 0; n < i->n_candidates; n++)
		json_array_append_new(candidates, json_string(i->candidates[n]));
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:b, s:s, s:s, s:s, s:o, s:i, s:i, s:s, s:b}",
			 "name", peer->name, "id", id, "public_key", key, "state",
			 peer->active ? "active" : "prepared", "role",
			 peer->role == PAIRING_ALICE ? "alice" : "bob", "profile", peer->profile,
			 "paired_at", (json_int_t)peer->paired_at, "sas_compared", peer->sas_compared,
			 "host_name", i->host_name, "version", i->version, "note", i->note,
			 "candidates", candidates, "port", (int)i->port, "own_port",
			 (int)peer->own_port, "tunnel_root", peer->has_root ? "waiting" : peer->restored ? "none" : "moved",
			 "newer_unconfirmed", (int)peer->newer_unconfirmed);
}

/* ---- the end ---- */

static struct session *session_free(struct session *s)
{
	if (!s)
		return NULL;
	if (s->stretching)
		s->stretching->session = NULL;
	relay_client_close(s->client);
	pairing_free(s->pairing);
	secret_free(s->secret);
	loop_timer_free(s->timer);
	loop_timer_free(s->failer);
	free(s->relay);
	free(s->relay_ca);
	wipe(s->ticket, sizeof(s->ticket));
	free(s);
	return NULL;
}

/* For the log: as we store it, or as it called itself before. */
static const char *peer_name(const struct session *s)
{
	const char *name = s->stored ? s->peer.name : s->name[0] ? s->name : s->greeted;

	return *name ? name : NULL;
}

static void session_over(struct session *s)
{
	s->all->one = NULL;
	session_free(s);
}

static void record_end(struct session *s, const char *outcome)
{
	if (s->spent && peers_ended(s->all->o.peers, s->session_id, outcome))
		log_debug("cannot record how the pairing ended");
}

static void finish(struct session *s)
{
	struct varlink_call *call = s->call;
	struct peer now;
	json_t *reply;

	/* The tunnel may have confirmed it meanwhile, or the person renamed it. */
	if (peers_get_tunnel(s->all->o.peers, s->peer.id, s->peer.tunnel_id, &now) == 0)
		s->peer = now;
	s->all->counters.ended[s->peer.active ? END_PAIRED : END_UNCONFIRMED]++;
	record_end(s, s->peer.active ? "active" : "prepared");
	log_event(LOG_NOTICE, s->peer.active ? &MSG_PAIRED : &MSG_PAIRING_UNCONFIRMED,
		  LOG_FIELDS({ FIELD_PEER, s->peer.name }), "paired with %s%s", s->peer.name,
		  s->peer.active ? "" : ", which has not confirmed it yet");
	reply = json_pack("{s:s, s:s, s:o}", "event", "done", "pairing", s->id, "peer",
			  peer_json(&s->peer));
	s->all->o.on_root(&s->peer, s->all->o.arg);
	session_over(s);
	if (call)
		varlink_reply(call, reply);
	else
		json_decref(reply);
}

static void fail(struct session *s, const struct pairing_error *e)
{
	const char *dot = strrchr(e->code, '.');
	struct varlink_call *call = s->call;
	const struct pairing_error error = *e;
	char message[sizeof(s->failure_text)];

	snprintf(message, sizeof(message), "%s", error.message);
	pairing_count_failure(&s->all->counters, e->code);
	record_end(s, dot ? dot + 1 : e->code);
	log_event(LOG_NOTICE, &MSG_PAIRING_FAILED,
		  LOG_FIELDS({ FIELD_PEER, peer_name(s) }, { FIELD_ERROR, error.code },
			     { FIELD_STEP, s->pairing ? pairing_wait_step(s->pairing) : "relay" }),
		  "pairing failed: %s", message);
	session_over(s);
	if (call)
		varlink_error(call, error.code, message, error.hint);
}

static void on_failer(void *arg)
{
	struct session *s = arg;

	fail(s, &s->failure);
}

/* End with what is in s->failure, but not from inside whatever callback this is. */
static void fail_soon(struct session *s)
{
	s->over = true;
	if (loop_timer_start(s->failer, 0))
		log_debug("cannot end the pairing at once");
}

static void set_relay_failure(struct session *s, enum relay_client_outcome outcome, const char *detail)
{
	s->all->counters.relay_failed[outcome]++;
	s->failure = relay_error(outcome, detail, s->failure_text, sizeof(s->failure_text));
}

static void fail_internal(struct session *s)
{
	s->failure = pairing_error(PAIRING_INTERNAL, PAIRING_OK, s->class);
	fail_soon(s);
}

/* ---- the machine's wishes ---- */

static void on_stretched_done(void *arg, bool cancelled)
{
	struct stretching *w = arg;
	struct session *s = w->session;
	struct pairing_stretch *job = steal(&w->job);

	(void)cancelled;
	log_debug("stretching the secret took %llu us", (unsigned long long)w->took_us);
	list_remove(&w->node);
	free(w);
	if (!s) {
		pairing_stretch_free(job);
		return;
	}
	s->stretching = NULL;
	pairing_on_stretched(s->pairing, job, clock_now_ms());
	/* serve() is below; the timer brings it on. */
	loop_timer_start(s->timer, 0);
}

static void stretch_work(void *arg)
{
	struct stretching *w = arg;
	uint64_t begun_us = clock_now_us();

	pairing_stretch_run(w->job);
	w->took_us = clock_now_us() - begun_us;
}

static int start_stretching(struct session *s, struct pairing_stretch *job)
{
	struct stretching *w = calloc(1, sizeof(*w));
	int r;

	if (!w) {
		pairing_stretch_free(job);
		return -ENOMEM;
	}
	w->session = s;
	w->job = job;
	list_append(&s->all->stretching, &w->node);
	r = worker_start(NULL, s->all->o.loop, stretch_work, on_stretched_done, w);
	if (r) {
		list_remove(&w->node);
		pairing_stretch_free(w->job);
		free(w);
		return r;
	}
	s->stretching = w;
	return 0;
}

static int spend(struct session *s)
{
	int r = peers_spend(s->all->o.peers, s->code, s->session_id,
			    s->joins ? PAIRING_BOB : PAIRING_ALICE, s->class);

	s->spent = r == 0;
	if (r)
		log_event(LOG_ERR, &MSG_PAIRING_STORAGE, LOG_FIELDS({ FIELD_STEP, "spend" }),
			  "cannot record that the secret is used: %s",
			  r > 0 ? peers_outcome_text(r) : strerror(-r));
	return r;
}

static int store(struct session *s, const struct pairing_result *result)
{
	int r = peers_store(s->all->o.peers, result, s->own_port, s->name, &s->peer);

	s->stored = r == 0;
	if (r)
		log_event(LOG_ERR, &MSG_PAIRING_STORAGE, LOG_FIELDS({ FIELD_PEER, peer_name(s) }, { FIELD_STEP, "store" }),
			  "cannot store the pairing: %s", r > 0 ? peers_outcome_text(r) : strerror(-r));
	return r;
}

static int activate(struct session *s)
{
	int r = peers_activate(s->all->o.peers, s->peer.id, s->peer.tunnel_id);

	s->peer.active = r == 0;
	if (r)
		log_event(LOG_ERR, &MSG_PAIRING_STORAGE, LOG_FIELDS({ FIELD_PEER, peer_name(s) }, { FIELD_STEP, "activate" }),
			  "cannot make the pairing active: %s",
			  r > 0 ? peers_outcome_text(r) : strerror(-r));
	return r;
}

static void take_back(struct session *s)
{
	if (peers_remove_prepared(s->all->o.peers, s->peer.id, s->peer.tunnel_id))
		log_event(LOG_ERR, &MSG_PAIRING_STORAGE, LOG_FIELDS({ FIELD_PEER, peer_name(s) }, { FIELD_STEP, "remove" }),
			  "cannot remove what the other device did not store");
	s->all->o.on_forgotten(&s->peer, s->all->o.arg);
}

static void show_choices(struct session *s, const struct pairing_action *a)
{
	json_t *choices = json_array();

	for (size_t i = 0; i < SAS_CHOICES; i++)
		json_array_append_new(choices, json_string(a->choices[i]));
	s->comparing = true;
	notify(s, "sas", json_pack("{s:o}", "choices", choices));
}

static void on_end(struct session *s, enum pairing_code code)
{
	if (code == PAIRING_OK || code == PAIRING_UNCONFIRMED) {
		finish(s);
		return;
	}
	s->failure = pairing_error(code, pairing_peer_code(s->pairing), s->class);
	fail(s, &s->failure);
}

/* Do one wish. False when the session is gone. */
static bool serve_one(struct session *s, const struct pairing_action *a)
{
	uint64_t now = clock_now_ms();
	int r;

	switch (a->what) {
	case PAIRING_DO_SEND:
		/* A line that is gone shows as a failed client. */
		if (relay_client_send(s->client, &a->packet))
			log_debug("cannot send %s", pairing_kind_name(a->packet.kind));
		break;
	case PAIRING_DO_STRETCH:
		if (start_stretching(s, a->stretch))
			pairing_on_cancel(s->pairing, PAIRING_INTERNAL, now);
		break;
	case PAIRING_DO_SPEND:
		r = spend(s);
		/* Sessions have random ids: one that comes again is the relay's doing. */
		if (r == PEERS_E_SPENT)
			pairing_on_cancel(s->pairing, PAIRING_TAMPERED, now);
		else
			pairing_on_spent(s->pairing, r, now);
		break;
	case PAIRING_DO_PROVEN:
		if (peers_proven(s->all->o.peers, s->session_id))
			log_debug("cannot clear the count of failures");
		break;
	case PAIRING_DO_WAIT:
		notify_step(s, pairing_wait_step(s->pairing), pairing_wait_for(s->pairing),
			    pairing_deadline_ms(s->pairing));
		break;
	case PAIRING_DO_COMPARE:
		show_choices(s, a);
		break;
	case PAIRING_DO_GREET:
		snprintf(s->greeted, sizeof(s->greeted), "%s", a->peer->name);
		notify(s, "peer", json_pack("{s:s, s:s}", "peer_name", a->peer->name, "note",
					    a->peer->note));
		break;
	case PAIRING_DO_STORE:
		pairing_on_stored(s->pairing, store(s, &a->result), now);
		break;
	case PAIRING_DO_ACTIVATE:
		pairing_on_activated(s->pairing, activate(s), now);
		break;
	case PAIRING_DO_REMOVE:
		take_back(s);
		break;
	case PAIRING_DO_END:
		on_end(s, a->code);
		return false;
	case PAIRING_DO_NOTHING:
		break;
	}
	return true;
}

/* Do what the machine wants, then wait for its next deadline. False when the session is gone. */
static bool serve(struct session *s)
{
	const struct pairing_action *a;
	uint64_t now = clock_now_ms(), deadline;

	while ((a = pairing_next(s->pairing))->what != PAIRING_DO_NOTHING)
		if (!serve_one(s, a))
			return false;
	deadline = s->gone ? now : pairing_deadline_ms(s->pairing);
	if (loop_timer_start(s->timer, deadline > now ? deadline - now : 0))
		log_debug("cannot start the deadline's timer");
	return true;
}

static void on_timer(void *arg)
{
	struct session *s = arg;

	if (s->over)
		return;
	if (s->pairing) {
		if (s->gone)
			pairing_on_cancel(s->pairing, PAIRING_CANCELLED, clock_now_ms());
		else
			pairing_on_time(s->pairing, clock_now_ms());
		serve(s);
		return;
	}
	if (s->gone)
		s->failure = pairing_error(PAIRING_CANCELLED, PAIRING_OK, s->class);
	else if (s->ticket_used)
		set_relay_failure(s, RELAY_CLIENT_E_UNREACHABLE, "it does not answer in time");
	else
		s->failure = pairing_error(PAIRING_EXPIRED, PAIRING_OK, s->class);
	fail(s, &s->failure);
}

/* ---- the relay ---- */

static void on_invitation(const char *invitation, void *arg)
{
	struct session *s = arg;

	notify(s, "invitation", json_pack("{s:s}", "invitation", invitation));
}

/* The lowest port from the base up that no pairing has and that can be bound now. */
static uint16_t choose_port(struct session *s)
{
	uint64_t base = (*s->all->o.config)->tunnel_port_base;

	for (uint64_t port = base; port < base + PORT_TRIES && port <= UINT16_MAX; port++) {
		struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
		struct sockaddr_in a4 = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
		_cleanup_close_ int fd = -1, fd4 = -1;

		if (peers_port_is_used(s->all->o.peers, (uint16_t)port))
			continue;
		fd4 = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		if (fd4 < 0 || bind(fd4, (const struct sockaddr *)&a4, sizeof(a4)) < 0)
			continue;
		/* A machine without IPv6 cannot refuse there. */
		fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		if (fd >= 0) {
			int only = 1;

			(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only));
			if (bind(fd, (const struct sockaddr *)&a, sizeof(a)) < 0 && errno == EADDRINUSE)
				continue;
		}
		return (uint16_t)port;
	}
	return (uint16_t)base;
}

static void fill_self(struct session *s, struct pairing_self *self)
{
	const struct pairingd_config *cfg = *s->all->o.config;
	char host[256] = "";

	(void)gethostname(host, sizeof(host) - 1);
	self->signer = s->all->o.signer;
	if (cfg->device_name)
		snprintf(self->name, sizeof(self->name), "%s", cfg->device_name);
	else
		identity_name(self->name, host);
	s->own_port = choose_port(s);
	self->port = s->own_port;
	self->n_candidates = identity_candidates(self->candidates);
	host[strcspn(host, ".")] = '\0';
	if (*host && strlen(host) + sizeof(".local") <= sizeof(self->host_name))
		snprintf(self->host_name, sizeof(self->host_name), "%s.local", host);
	snprintf(self->version, sizeof(self->version), "handfast %s", HANDFAST_VERSION);
	memcpy(self->note, s->note, sizeof(self->note));
}

static void on_open(const char *code, const uint8_t session_id[static RELAY_SESSION_ID_LEN],
		    uint64_t expires_in_s, void *arg)
{
	struct session *s = arg;
	const struct pairingd_config *cfg = *s->all->o.config;
	uint64_t life_ms = expires_in_s > UINT64_MAX / 1000 ? UINT64_MAX : expires_in_s * 1000;
	struct pairing_options o = {
		.role = s->joins ? PAIRING_BOB : PAIRING_ALICE,
		.profiles = pairing_profiles,
		.n_profiles = pairing_n_profiles,
		.minimum = cfg->minimum_profile,
		.secret_class = s->class,
		.compare_sas = s->compare_sas,
		.deadlines = {
			.join_ms = life_ms < cfg->join_ms ? life_ms : cfg->join_ms,
			.step_ms = cfg->step_ms,
			.sas_ms = cfg->sas_ms,
		},
	};

	if (s->over)
		return;
	snprintf(s->code, sizeof(s->code), "%s", code);
	memcpy(s->session_id, session_id, sizeof(s->session_id));
	memcpy(o.session_id, session_id, sizeof(o.session_id));
	fill_self(s, &o.self);
	o.secret = steal(&s->secret);
	if (pairing_new(&s->pairing, &o, clock_now_ms())) {
		secret_free(o.secret);
		fail_internal(s);
		return;
	}
	serve(s);
}

static void on_peer_joined(void *arg)
{
	struct session *s = arg;

	if (s->over)
		return;
	pairing_on_peer_joined(s->pairing, clock_now_ms());
	serve(s);
}

static void on_peer_left(void *arg)
{
	struct session *s = arg;

	if (s->over)
		return;
	/* Who comes and goes before a word was said has not been here. */
	if (pairing_phase(s->pairing) == PAIRING_CREATED)
		return;
	pairing_on_peer_left(s->pairing, clock_now_ms());
	serve(s);
}

static void on_packet(const struct pairing_packet *packet, void *arg)
{
	struct session *s = arg;

	if (s->over)
		return;
	pairing_on_packet(s->pairing, packet, clock_now_ms());
	serve(s);
}

static void on_garbage(void *arg)
{
	struct session *s = arg;

	if (s->over)
		return;
	pairing_on_garbage(s->pairing, clock_now_ms());
	serve(s);
}

static void on_client_failed(enum relay_client_outcome outcome, const char *detail, void *arg)
{
	struct session *s = arg;

	if (s->over)
		return;
	if (s->pairing && pairing_phase(s->pairing) == PAIRING_IS_PREPARED) {
		pairing_on_peer_left(s->pairing, clock_now_ms());
		serve(s);
		return;
	}
	set_relay_failure(s, outcome, detail);
	fail_soon(s);
}

static const struct relay_client_handlers client_handlers = {
	.on_invitation = on_invitation,
	.on_open = on_open,
	.on_peer_joined = on_peer_joined,
	.on_peer_left = on_peer_left,
	.on_packet = on_packet,
	.on_garbage = on_garbage,
	.on_failed = on_client_failed,
};

static void go_to_relay(struct session *s)
{
	const struct pairingd_config *cfg = *s->all->o.config;
	const char *ca = s->relay_ca ? s->relay_ca : cfg->relay_ca;
	const struct relay_client_options o = {
		.url = s->relay,
		.ca_file = ca,
		.token = s->relay ? pairingd_config_token(cfg, s->relay) : NULL,
		.code = s->joins ? s->invitation.code : NULL,
		.relay_socket = s->all->relay_socket,
		.timeout_ms = cfg->relay_ms,
		.lingering = &s->all->lingering,
	};
	struct relay_client_handlers h = client_handlers;
	const char *step = s->joins ? "relay" : s->relay ? "session" : "lan";
	int r;

	h.arg = s;
	/* All of it together: making the session, connecting, and the relay's hello. */
	if (loop_timer_start(s->timer, cfg->relay_ms))
		log_debug("cannot start the deadline's timer");
	notify_step(s, step, "relay", clock_now_ms() + cfg->relay_ms);
	r = relay_client_new(&s->client, s->all->o.loop, &o, &h);
	if (!r)
		return;
	set_relay_failure(s, RELAY_CLIENT_E_UNREACHABLE,
			  s->relay ? "the connection cannot be begun" : "relayd does not run on this machine");
	fail_soon(s);
}

/* ---- from outside ---- */

enum secret_status sessions_take_secret(struct sessions *all, const struct secret_msg *m)
{
	struct session *s = all->one;
	uint8_t value[SECRET_VALUE_MAX];
	int r;

	if (!s || s->over || s->ticket_used ||
	    !bytes_equal(m->ticket, s->ticket, sizeof(s->ticket)))
		return SECRET_NO_TICKET;
	if (m->class != s->class)
		return SECRET_BAD_VALUE;
	/* The side that makes the PIN makes it as long as it was told to. */
	if (m->class == SECRET_PIN && !s->joins && m->value_len != peers_pin_digits(all->o.peers))
		return SECRET_BAD_VALUE;
	assert(m->value_len <= sizeof(value));
	memcpy(value, m->value, m->value_len);
	r = secret_take(&s->secret, value, m->value_len);
	wipe(value, sizeof(value));
	s->ticket_used = true;
	if (r)
		fail_internal(s);
	else
		go_to_relay(s);
	return SECRET_OK;
}

int sessions_compare(struct sessions *all, const char *id, const char *digits)
{
	struct session *s = all->one;
	bool right;

	if (!s || s->over || !s->comparing || strcmp(s->id, id) != 0)
		return SESSIONS_E_NO_SUCH;
	s->comparing = false;
	pairing_on_sas(s->pairing, digits, clock_now_ms());
	right = !pairing_is_over(s->pairing);
	/* Ended from the loop, so that this call is answered before Pair is. */
	loop_timer_start(s->timer, 0);
	return right ? 0 : SESSIONS_E_MISMATCH;
}

/* May come from inside any varlink_notify(), so it only leaves word for the timer. */
static void on_caller_gone(void *arg)
{
	struct session *s = arg;

	s->call = NULL;
	s->gone = true;
	if (loop_timer_start(s->timer, 0))
		log_debug("cannot end the pairing at once");
}

void sessions_stop(struct sessions *all)
{
	struct session *s = all->one;

	if (!s)
		return;
	if (s->pairing && !s->over) {
		pairing_on_cancel(s->pairing, PAIRING_CANCELLED, clock_now_ms());
		serve(s);
		return;
	}
	s->failure = pairing_error(PAIRING_CANCELLED, PAIRING_OK, s->class);
	fail(s, &s->failure);
}

const char *sessions_phase(const struct sessions *all)
{
	if (!all->one)
		return NULL;
	return all->one->pairing ? pairing_phase_name(pairing_phase(all->one->pairing)) : "created";
}

/* ---- beginning ---- */

static struct pairing_error error_of(const char *code, const char *message, const char *hint)
{
	return (struct pairing_error){ code, message, hint };
}

/* Where to go: the invitation's relay, the option's, the configuration's, or the LAN. */
static int choose_relay(struct session *s, const struct json_t *params, struct pairing_error *e)
{
	const char *invitation = json_get_str(params, "invitation");
	const char *relay = json_get_str(params, "relay");
	const char *ca = json_get_str(params, "relay_ca");
	const char *configured = (*s->all->o.config)->relay;
	char url[300];

	s->joins = invitation != NULL;
	if (invitation && relay_invitation_parse(&s->invitation, invitation)) {
		*e = error_of(PAIRING_ERROR("BadInvitation"), "This is no invitation.",
			      "An invitation looks like ABCD2345@192.0.2.1:7117, as the other screen shows it.");
		return -EINVAL;
	}
	if (invitation && *s->invitation.url)
		relay = s->invitation.url;
	else if (!relay)
		relay = configured;
	if (relay && relay_url_parse(url, sizeof(url), relay)) {
		*e = error_of(PAIRING_ERROR("BadInvitation"), "This is no relay's address.",
			      "Give host:port, ws://host:port or wss://host.");
		return -EINVAL;
	}
	if (invitation && !relay) {
		*e = error_of(PAIRING_ERROR("BadInvitation"),
			      "The code alone does not say which relay it belongs to.",
			      "Type all that the other screen shows, with @ and address, or set relay: in pairingd.yaml.");
		return -EINVAL;
	}
	if (ca && *ca != '/') {
		*e = error_of(PAIRING_ERROR("BadInvitation"),
			      "The file of certificate authorities must be given with its full path.", "");
		return -EINVAL;
	}
	s->relay = relay ? strdup(url) : NULL;
	s->relay_ca = ca ? strdup(ca) : NULL;
	if ((relay && !s->relay) || (ca && !s->relay_ca)) {
		*e = pairing_error(PAIRING_INTERNAL, PAIRING_OK, s->class);
		return -ENOMEM;
	}
	/* I3: the person types the PIN once more, and it is another guess at this device. */
	if (invitation && peers_is_spent(s->all->o.peers, s->invitation.code)) {
		*e = error_of(PAIRING_ERROR("NoSuchSession"),
			      "A PIN was tried with this code already, and a code is good for one try.",
			      "Begin anew: “handfast pair” on the other device makes a new code and PIN.");
		return -EINVAL;
	}
	return 0;
}

static int read_params(struct session *s, const struct json_t *params, struct pairing_error *e)
{
	const char *note = json_get_str(params, "note"), *name = json_get_str(params, "name");
	const char *class = json_get_str(params, "secret_class");

	if (strcmp(class, "PIN") != 0 && strcmp(class, "SEC") != 0) {
		*e = error_of("io.handfast.Daemon.BadRequest", "secret_class must be PIN or SEC.", "");
		return -EINVAL;
	}
	s->class = *class == 'P' ? SECRET_PIN : SECRET_SEC;
	s->compare_sas = json_is_true(json_object_get(params, "compare_sas"));
	if (note)
		text_clean(s->note, sizeof(s->note), note, strlen(note));
	if (name && (!text_is_name(name) || peers_name_is_id(name))) {
		*e = error_of(PAIRING_ERROR("BadName"), "This cannot be a peer's name.",
			      "A name has 1 to 32 of a-z A-Z 0-9 . _ - and begins with a letter or digit.");
		return -EINVAL;
	}
	if (name)
		snprintf(s->name, sizeof(s->name), "%s", name);
	return choose_relay(s, params, e);
}

static void ask_for_secret(struct session *s)
{
	char ticket[2 * SECRET_TICKET_LEN + 1];

	hex_format(ticket, s->ticket, sizeof(s->ticket));
	if (loop_timer_start(s->timer, (*s->all->o.config)->secret_ms))
		log_debug("cannot start the deadline's timer");
	notify(s, "secret-needed",
	       json_pack("{s:s, s:i, s:I}", "ticket", ticket, "digits",
			 (int)peers_pin_digits(s->all->o.peers), "deadline_s",
			 (json_int_t)((*s->all->o.config)->secret_ms / 1000)));
}

void sessions_pair(struct sessions *all, struct varlink_call *call, const struct json_t *params)
{
	struct pairing_error e = pairing_error(PAIRING_INTERNAL, PAIRING_OK, SECRET_PIN);
	uint8_t id[PAIRING_ID_LEN];
	struct session *s;

	if (!varlink_call_wants_more(call)) {
		varlink_error(call, "org.varlink.service.ExpectedMore", NULL, NULL);
		return;
	}
	if (all->one) {
		varlink_error(call, PAIRING_ERROR("Busy"), "Another pairing is going on on this device.",
			      "Finish or cancel it first.");
		return;
	}
	s = calloc(1, sizeof(*s));
	if (!s || loop_timer_new(&s->timer, all->o.loop, on_timer, s) ||
	    loop_timer_new(&s->failer, all->o.loop, on_failer, s)) {
		session_free(s);
		varlink_error(call, e.code, e.message, e.hint);
		return;
	}
	s->all = all;
	if (read_params(s, params, &e)) {
		session_free(s);
		varlink_error(call, e.code, e.message, e.hint);
		return;
	}
	random_bytes(id, sizeof(id));
	hex_format(s->id, id, sizeof(id));
	random_bytes(s->ticket, sizeof(s->ticket));
	s->call = call;
	all->one = s;
	all->counters.started++;
	varlink_call_on_gone(call, on_caller_gone, s);
	ask_for_secret(s);
}

const struct pairing_counters *sessions_counters(const struct sessions *s)
{
	return &s->counters;
}

/* ---- life ---- */

int sessions_new(struct sessions **out, const struct sessions_options *o)
{
	struct sessions *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->relay_socket = strdup(o->relay_socket);
	if (!s->relay_socket) {
		free(s);
		return -ENOMEM;
	}
	s->o = *o;
	list_init(&s->lingering);
	list_init(&s->stretching);
	*out = s;
	return 0;
}

struct sessions *sessions_free(struct sessions *s)
{
	if (!s)
		return NULL;
	sessions_stop(s);
	relay_clients_done(&s->lingering);
	/* What is in a thread still ends with the loop, by itself. */
	list_for_each(i, &s->stretching)
		list_remove(i);
	free(s->relay_socket);
	free(s);
	return NULL;
}

/*
 * Requests in, frames across. What a stranger can make this daemon hold is
 * counted in three places: connections (a fixed price each), sessions, and
 * bytes that wait (for a peer who has not joined, or who reads slowly);
 * relay_memory() is their sum, and nothing is taken in that would lift it above
 * the configured limit.
 */
#include "relayd/server.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/http_server.h"
#include "http/websocket.h"
#include "proto/relay_frame.h"
#include "relayd/config.h"
#include "relayd/limits.h"
#include "relayd/session.h"
#include "service/listening.h"

enum {
	/* What a connection holds beside messages, measured by tests/bench/relay and rounded up. */
	CONNECTION_COST = 24 * 1024,
	SESSION_COST = sizeof(struct session) + 64,
	RATE_REFUSALS_MAX = 10, /* in a row; then the client is not listening */
};

struct relay {
	struct loop *loop;
	const struct relayd_config *cfg;
	struct http_server *http, *lan_http;
	struct listening *listening;
	struct sessions *sessions;
	struct address_rates *session_rates, *join_rates;
	struct address_tagger tagger;
	struct relay_counters counters;
	size_t waiting_bytes, unsent_bytes;
	char *frame; /* where a relay frame is put together */
	size_t frame_cap;
	void (*on_lan_free)(struct session *s, void *arg);
	void *on_lan_free_arg;
	bool stopping;
};

static const char *const refusal_names[] = {
	[REFUSED_CODE] = "code",
	[REFUSED_ORIGIN] = "origin",
	[REFUSED_TOKEN] = "token",
	[REFUSED_SESSION_RATE] = "session_rate",
	[REFUSED_JOIN_RATE] = "join_rate",
	[REFUSED_SESSIONS_FULL] = "sessions_full",
	[REFUSED_MEMORY] = "memory",
	[REFUSED_MESSAGE_RATE] = "message_rate",
	[REFUSED_MESSAGE] = "message",
	[REFUSED_WAITING_FULL] = "waiting_full",
	[REFUSED_SLOW] = "slow",
};
static_assert(ARRAY_SIZE(refusal_names) == N_REFUSALS, "a name for each");

const char *relay_refusal_name(enum refusal why)
{
	return refusal_names[why];
}

/* ---- what is held ---- */

void relay_http_counters(const struct relay *r, struct http_counters *out)
{
	struct http_counters lan;

	http_server_counters(r->http, out);
	http_server_counters(r->lan_http, &lan);
	out->connections += lan.connections;
	out->refused_limit += lan.refused_limit;
	out->refused_bad += lan.refused_bad;
	out->timeouts += lan.timeouts;
	out->open += lan.open;
}

size_t relay_connections(const struct relay *r)
{
	struct http_counters n;

	relay_http_counters(r, &n);
	return n.open;
}

/* A connection's price: what it always holds, and one message on its way in. */
static size_t connection_cost(const struct relay *r)
{
	return CONNECTION_COST + r->cfg->message_size;
}

/* The sum, with what was unsent when each member was last looked at: never too little. */
static size_t held(const struct relay *r)
{
	return relay_connections(r) * connection_cost(r) +
	       sessions_count(r->sessions) * SESSION_COST + r->waiting_bytes + r->unsent_bytes +
	       address_rates_bytes(r->session_rates) + address_rates_bytes(r->join_rates);
}

/* See how far m is behind now. */
static void recount(struct relay *r, struct member *m)
{
	size_t now = m->ws ? websocket_unsent(m->ws) : 0;

	r->unsent_bytes += now;
	r->unsent_bytes -= m->unsent_seen;
	m->unsent_seen = now;
}

size_t relay_memory(struct relay *r)
{
	for (struct session *s = sessions_first(r->sessions); s; s = session_next(r->sessions, s)) {
		recount(r, &s->members[0]);
		recount(r, &s->members[1]);
	}
	return held(r);
}

/*
 * Beside what those will cost who may still join, for their sessions were let in. Sockets drain without telling: before
 * memory is refused, look at all of them.
 */
static bool has_room(struct relay *r, size_t bytes)
{
	bytes += sessions_awaited(r->sessions) * connection_cost(r);
	return held(r) + bytes <= r->cfg->memory || relay_memory(r) + bytes <= r->cfg->memory;
}

/* ---- frames out ---- */

static void send_text(struct relay *r, struct member *m, const char *text, size_t len)
{
	if (m->place != PLACE_HERE)
		return;
	if (websocket_send(m->ws, text, len) == -ENOBUFS)
		r->counters.refused[REFUSED_SLOW]++;
	recount(r, m);
}

static void send_error(struct relay *r, struct member *m, const char *code, const char *text)
{
	char frame[RELAY_ENVELOPE_MAX];

	send_text(r, m, frame, relay_error_encode(frame, sizeof(frame), code, text));
}

static void send_peer(struct relay *r, struct member *m, enum relay_frame_type type)
{
	char frame[RELAY_ENVELOPE_MAX];

	send_text(r, m, frame, relay_peer_encode(frame, sizeof(frame), type, relay_role_peer(m->role)));
}

static void send_hello(struct relay *r, struct member *m)
{
	const struct session *s = m->session;
	char frame[RELAY_ENVELOPE_MAX];
	uint64_t now = clock_now_ms(), left = s->expires_ms > now ? s->expires_ms - now : 0;

	send_text(r, m, frame,
		  relay_hello_encode(frame, sizeof(frame), s->code, m->role, s->id, left / 1000,
				     m->last_seq));
}

/* The packet as it was received, with an envelope around it. */
static void send_packet(struct relay *r, struct member *to, const char *text, size_t len)
{
	size_t n = relay_relay_head(r->frame, r->frame_cap, relay_role_peer(to->role));

	assert(n + len + sizeof(RELAY_RELAY_TAIL) <= r->frame_cap);
	memcpy(r->frame + n, text, len);
	n += len;
	memcpy(r->frame + n, RELAY_RELAY_TAIL, sizeof(RELAY_RELAY_TAIL) - 1);
	n += sizeof(RELAY_RELAY_TAIL) - 1;
	send_text(r, to, r->frame, n);
}

/* ---- frames in ---- */

static void refuse_message(struct relay *r, struct member *m, const char *code, const char *text)
{
	r->counters.refused[REFUSED_MESSAGE]++;
	send_error(r, m, code, text);
	websocket_close(m->ws, CLOSE_POLICY, code);
}

static bool is_within_rate(struct relay *r, struct member *m)
{
	const struct relayd_config *c = r->cfg;
	const struct rate rate = {
		.per_minute = m->has_token ? c->token_messages_per_minute : c->messages_per_minute,
		.burst = m->has_token ? c->token_message_burst : c->message_burst,
	};
	char text[96];

	if (bucket_take(&m->rate, &rate, clock_now_ms())) {
		m->refused = 0;
		return true;
	}
	r->counters.refused[REFUSED_MESSAGE_RATE]++;
	if (++m->refused > RATE_REFUSALS_MAX) {
		websocket_close(m->ws, CLOSE_POLICY, "rate_limited");
		return false;
	}
	snprintf(text, sizeof(text), "too many messages: this one was not taken, wait %" PRIu64 " ms",
		 bucket_wait_ms(&m->rate, &rate, clock_now_ms()));
	send_error(r, m, "rate_limited", text);
	return false;
}

/* Keep a packet for a peer who has not joined yet. False: told why not. */
static bool keep(struct relay *r, struct member *m, struct member *peer, const char *text, size_t len)
{
	size_t cost = mailbox_cost(len);

	if (peer->waiting.bytes + cost > r->cfg->waiting_size) {
		r->counters.refused[REFUSED_WAITING_FULL]++;
		send_error(r, m, "waiting_full",
			   "the peer has not joined, and no more is kept for it: not taken");
		return false;
	}
	if (!has_room(r, cost) || mailbox_put(&peer->waiting, text, len)) {
		r->counters.refused[REFUSED_MEMORY]++;
		send_error(r, m, "no_memory", "the relay is at its memory limit: not taken");
		return false;
	}
	r->waiting_bytes += cost;
	return true;
}

static bool deliver(struct relay *r, struct member *m, const char *text, size_t len)
{
	struct member *peer = member_peer(m);

	switch (peer->place) {
	case PLACE_FREE:
	case PLACE_HELD:
		return keep(r, m, peer, text, len);
	case PLACE_GONE:
		send_error(r, m, "peer_gone", "the peer has left: not taken");
		return false;
	case PLACE_HERE:
		break;
	}
	/* What the peer's socket takes at once costs nothing; only what piles up is counted. */
	if (peer->unsent_seen && !has_room(r, len + RELAY_ENVELOPE_MAX)) {
		r->counters.refused[REFUSED_MEMORY]++;
		send_error(r, m, "no_memory", "the relay is at its memory limit: not taken");
		return false;
	}
	send_packet(r, peer, text, len);
	return true;
}

/* A websocket's argument. */
struct attached {
	struct relay *relay;
	struct member *member;
};

static void on_message(struct websocket *ws, const char *text, size_t len, void *arg)
{
	const struct attached *at = arg;
	struct relay *r = at->relay;
	struct member *m = at->member;
	const struct relay_frame_limits limits = {
		.max_bytes = r->cfg->message_size,
		.max_depth = (unsigned int)r->cfg->message_depth,
		.max_keys = (unsigned int)r->cfg->message_keys,
	};
	struct relay_client_frame f;
	int outcome;

	(void)ws;
	if (!is_within_rate(r, m))
		return;
	outcome = relay_client_frame_decode(&f, text, len, &limits);
	if (outcome) {
		refuse_message(r, m, relay_outcome_code(outcome), relay_outcome_text(outcome));
		return;
	}
	if (f.type == RELAY_PING) {
		char frame[RELAY_ENVELOPE_MAX];

		send_text(r, m, frame, relay_pong_encode(frame, sizeof(frame)));
		return;
	}
	if (f.seq <= m->last_seq) {
		refuse_message(r, m, relay_outcome_code(RELAY_E_SEQ), relay_outcome_text(RELAY_E_SEQ));
		return;
	}
	if (!deliver(r, m, text, len))
		return;
	m->last_seq = f.seq;
	m->session->messages++;
	m->session->bytes += len;
	r->counters.messages++;
	r->counters.bytes += len;
}

/* ---- places ---- */

static void drop_waiting(struct relay *r, struct session *s)
{
	for (size_t i = 0; i < 2; i++) {
		r->waiting_bytes -= s->members[i].waiting.bytes;
		mailbox_done(&s->members[i].waiting);
	}
}

void relay_session_end(struct relay *r, struct session *s, uint16_t code, const char *error,
		       const char *reason)
{
	drop_waiting(r, s);
	for (size_t i = 0; i < 2; i++) {
		struct member *m = &s->members[i];

		if (m->place != PLACE_HERE)
			continue;
		if (error)
			send_error(r, m, error, reason);
		websocket_close(m->ws, code, reason);
	}
	session_end(r->sessions, s);
}

static void on_expired(struct session *s, void *arg)
{
	struct relay *r = arg;

	r->counters.sessions_expired++;
	relay_session_end(r, s, CLOSE_EXPIRED, "expired", "the session's time is up");
}

static void on_session_free(struct session *s, void *arg)
{
	struct relay *r = arg;

	if (s->lan && r->on_lan_free)
		r->on_lan_free(s, r->on_lan_free_arg);
}

static void on_close(struct websocket *ws, uint16_t code, void *arg)
{
	struct attached *at = arg;
	struct relay *r = at->relay;
	struct member *m = at->member, *peer = member_peer(m);
	struct session *s = m->session;

	(void)ws;
	(void)code;
	free(at);
	r->unsent_bytes -= m->unsent_seen;
	m->unsent_seen = 0;
	if (!s->ended && peer->place == PLACE_GONE) {
		/* Both have come and gone. */
		drop_waiting(r, s);
		session_end(r->sessions, s);
	} else if (!s->ended) {
		send_peer(r, peer, RELAY_PEER_LEFT);
	}
	session_release(r->sessions, m);
}

/* Tell a newcomer of its peer, and hand over what has been waiting. */
static void introduce(struct relay *r, struct member *m)
{
	struct member *peer = member_peer(m);
	struct letter *l;

	if (peer->place == PLACE_HERE) {
		send_peer(r, m, RELAY_PEER_JOINED);
		send_peer(r, peer, RELAY_PEER_JOINED);
	}
	while ((l = mailbox_take(&m->waiting))) {
		r->waiting_bytes -= mailbox_cost(l->len);
		send_packet(r, m, l->text, l->len);
		free(l);
	}
	if (peer->place == PLACE_GONE)
		send_peer(r, m, RELAY_PEER_LEFT);
}

static void on_open(struct websocket *ws, void *arg)
{
	struct attached *at = arg;
	struct relay *r = at->relay;
	struct member *m = at->member;
	const struct websocket_handlers handlers = { on_message, on_close, at };
	const struct websocket_limits limits = {
		.max_message = r->cfg->message_size,
		.max_unsent = r->cfg->unsent_size,
		.ping_interval_ms = r->cfg->ping_interval_ms,
		.message_timeout_ms = r->cfg->message_timeout_ms,
	};

	if (!ws) {
		session_release(r->sessions, m);
		free(at);
		return;
	}
	websocket_start(ws, &handlers, &limits);
	session_enter(r->sessions, m);
	m->ws = ws;
	if (m->session->ended || r->stopping) {
		websocket_close(ws, CLOSE_ENDED, "the session has ended");
		return;
	}
	send_hello(r, m);
	introduce(r, m);
}

/* ---- HTTP ---- */

static void reply_json(struct http_request *req, unsigned int status, const char *body, size_t len)
{
	static const char *const extra[] = { "Cache-Control", "no-store", NULL };

	http_reply(req, status, "application/json", body, len, extra);
}

/* An error's answer; retry_after: NULL, or seconds as text. */
static void reply_error(struct http_request *req, unsigned int status, const char *code,
			const char *text, const char *retry_after)
{
	const char *const extra[] = { "Cache-Control", "no-store", "Connection", "close",
				      retry_after ? "Retry-After" : NULL, retry_after, NULL };
	char body[256];
	int n = snprintf(body, sizeof(body), "{\"error\":{\"code\":\"%s\",\"text\":\"%s\"}}", code, text);

	http_reply(req, status, "application/json", body, (size_t)n, extra);
}

/* The one answer for a code that is wrong, expired, full or taken, and for everything not served. */
static void reply_not_found(struct http_request *req)
{
	reply_error(req, 404, "not_found", "there is no such session, or it is taken", NULL);
}

static void refused(struct relay *r, struct http_request *req, enum refusal why)
{
	char tag[ADDRESS_TAG_SPACE];

	r->counters.refused[why]++;
	address_tag(&r->tagger, tag, http_request_address(req));
	log_event(LOG_INFO, &MSG_RELAY_REFUSED,
		  LOG_FIELDS({ FIELD_ADDRESS_TAG, tag }, { FIELD_ERROR, relay_refusal_name(why) }),
		  "refused a request: %s", relay_refusal_name(why));
}

/* Whether the client may have the higher message rate; -EACCES for a token nobody gave out. */
static int check_token(const struct relay *r, const struct http_request *req)
{
	const char *value = http_request_header(req, "Authorization");

	if (!value)
		return 0;
	if (strncasecmp(value, "Bearer ", 7) != 0 || !relayd_config_knows_token(r->cfg, value + 7))
		return -EACCES;
	return 1;
}

int relay_session_new(struct relay *r, struct session **out)
{
	int e;

	if (sessions_count(r->sessions) >= r->cfg->sessions) {
		r->counters.refused[REFUSED_SESSIONS_FULL]++;
		return -ENOBUFS;
	}
	if (!has_room(r, SESSION_COST + 2 * connection_cost(r))) {
		r->counters.refused[REFUSED_MEMORY]++;
		return -ENOBUFS;
	}
	e = session_create(out, r->sessions, r->cfg->session_ttl_ms);
	if (!e)
		r->counters.sessions_created++;
	return e;
}

static void serve_session(struct relay *r, struct http_request *req)
{
	const struct rate rate = { r->cfg->sessions_per_minute, r->cfg->session_burst };
	struct relay_session_reply reply = { .expires_in_s = r->cfg->session_ttl_ms / 1000 };
	struct session *s;
	char body[256];

	if (!address_rates_take(r->session_rates, http_request_address(req), &rate)) {
		refused(r, req, REFUSED_SESSION_RATE);
		reply_error(req, 429, "rate_limited", "too many new sessions from this address", "60");
		return;
	}
	if (relay_session_new(r, &s)) {
		reply_error(req, 503, "busy", "the relay is full, try again later", "60");
		return;
	}
	memcpy(reply.code, s->code, sizeof(reply.code));
	memcpy(reply.id, s->id, sizeof(reply.id));
	reply_json(req, 201, body, relay_session_reply_encode(body, sizeof(body), &reply));
}

static void serve_join(struct relay *r, struct http_request *req, const struct http_listener *through,
		       bool has_token)
{
	const struct rate rate = { r->cfg->failed_joins_per_minute, r->cfg->failed_join_burst };
	const struct sockaddr *address = http_request_address(req);
	char code[RELAY_CODE_LEN + 1];
	struct member *m = NULL;
	enum relay_role role;
	struct attached *at;

	/* Asked before the code is looked at, so that the answer says nothing about it. */
	if (!address_rates_has(r->join_rates, address, &rate)) {
		refused(r, req, REFUSED_JOIN_RATE);
		reply_error(req, 429, "rate_limited", "too many wrong codes from this address", "60");
		return;
	}
	if (relay_target_parse(code, &role, http_request_target(req)) == 0)
		m = session_hold(r->sessions, code, role, through);
	if (!m) {
		(void)address_rates_take(r->join_rates, address, &rate);
		refused(r, req, REFUSED_CODE);
		reply_not_found(req);
		return;
	}
	at = malloc(sizeof(*at));
	if (!at) {
		session_release(r->sessions, m);
		reply_error(req, 503, "busy", "the relay is full, try again later", "60");
		return;
	}
	at->relay = r;
	at->member = m;
	m->has_token = has_token;
	if (http_upgrade(req, on_open, at)) {
		session_release(r->sessions, m);
		free(at);
	}
}

static void reply_method(struct http_request *req, const char *allow)
{
	const char *const extra[] = { "Allow", allow, "Connection", "close", NULL };

	http_reply(req, 405, "text/plain; charset=utf-8", "method not allowed\n", 19, extra);
}

static void serve(struct relay *r, struct http_request *req, const struct http_listener *through)
{
	const char *target = http_request_target(req), *method = http_request_method(req);
	bool is_join = strncmp(target, "/ws/", 4) == 0, is_session = strcmp(target, "/session") == 0;
	int token;

	if (strcmp(target, "/healthz") == 0) {
		if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
			reply_method(req, "GET, HEAD");
		else
			reply_json(req, 200, "{\"status\":\"ok\"}", 15);
		return;
	}
	/* On the LAN one session is served, and none is made. */
	if (!is_join && !(is_session && !through)) {
		reply_not_found(req);
		return;
	}
	if (!relayd_config_allows_origin(r->cfg, http_request_header(req, "Origin"))) {
		refused(r, req, REFUSED_ORIGIN);
		reply_error(req, 403, "origin", "this web origin may not use the relay", NULL);
		return;
	}
	token = check_token(r, req);
	if (token < 0) {
		refused(r, req, REFUSED_TOKEN);
		reply_error(req, 403, "token", "no such relay token", NULL);
		return;
	}
	if (strcmp(method, is_join ? "GET" : "POST") != 0)
		reply_method(req, is_join ? "GET" : "POST");
	else if (is_join)
		serve_join(r, req, through, token > 0);
	else
		serve_session(r, req);
}

static void on_request(struct http_request *req, void *arg)
{
	serve(arg, req, NULL);
}

static void on_lan_request(struct http_request *req, void *arg)
{
	serve(arg, req, http_request_listener(req));
}

/* ---- life ---- */

static int make_frame_buffer(struct relay *r, const struct relayd_config *cfg)
{
	size_t cap = cfg->message_size + RELAY_ENVELOPE_MAX;
	char *frame;

	if (cap <= r->frame_cap)
		return 0;
	frame = realloc(r->frame, cap);
	if (!frame)
		return -ENOMEM;
	r->frame = frame;
	r->frame_cap = cap;
	return 0;
}

int relay_new(struct relay **out, struct loop *l, const struct relayd_config *cfg)
{
	_cleanup_(relay_freep) struct relay *r = calloc(1, sizeof(*r));
	struct http_server_options o = { .on_request = on_request, .arg = r };
	struct sessions_events ev = { on_expired, on_session_free, r };
	int e;

	if (!r)
		return -ENOMEM;
	r->loop = l;
	r->cfg = cfg;
	e = make_frame_buffer(r, cfg);
	if (!e)
		e = sessions_new(&r->sessions, l, &ev);
	if (!e)
		e = address_rates_new(&r->session_rates);
	if (!e)
		e = address_rates_new(&r->join_rates);
	if (e)
		return e;
	relayd_config_http_limits(cfg, &o.limits);
	o.tls_cert_pem = cfg->tls.certificate_pem;
	o.tls_key_pem = cfg->tls.key_pem;
	e = http_server_new(&r->http, l, &o);
	if (e)
		return e;
	http_server_set_proxies(r->http, cfg->trusted_proxies);
	/* The certificate names the relay's host, not this machine's address on the LAN. */
	o.tls_cert_pem = o.tls_key_pem = NULL;
	o.on_request = on_lan_request;
	e = http_server_new(&r->lan_http, l, &o);
	if (e)
		return e;
	*out = steal(&r);
	return 0;
}

int relay_listen(struct relay *r, struct service_fds *fds, const char **failed)
{
	return listening_new(&r->listening, r->http, fds, "relayd.listen", &r->cfg->listen, failed);
}

const struct listening *relay_listening(const struct relay *r)
{
	return r->listening;
}

int relay_set_certificate(struct relay *r, const struct relayd_config *cfg)
{
	return http_server_set_certificate(r->http, cfg->tls.certificate_pem, cfg->tls.key_pem);
}

int relay_reconfigure(struct relay *r, const struct relayd_config *cfg)
{
	struct http_limits limits;

	if (make_frame_buffer(r, cfg))
		return -ENOMEM;
	relayd_config_http_limits(cfg, &limits);
	http_server_set_limits(r->http, &limits);
	http_server_set_proxies(r->http, cfg->trusted_proxies);
	http_server_set_limits(r->lan_http, &limits);
	r->cfg = cfg;
	return 0;
}

void relay_stop(struct relay *r)
{
	r->stopping = true;
	http_server_close_listeners(r->http);
	for (struct session *s = sessions_first(r->sessions), *next; s; s = next) {
		next = session_next(r->sessions, s);
		relay_session_end(r, s, CLOSE_GOING_AWAY, NULL, "the relay is stopping");
	}
}

bool relay_is_stopped(const struct relay *r)
{
	return http_server_unanswered(r->http) == 0;
}

struct relay *relay_free(struct relay *r)
{
	if (!r)
		return NULL;
	r->on_lan_free = NULL;
	http_server_free(r->http);
	http_server_free(r->lan_http);
	listening_free(r->listening);
	sessions_free(r->sessions);
	address_rates_free(r->session_rates);
	address_rates_free(r->join_rates);
	free(r->frame);
	free(r);
	return NULL;
}

struct loop *relay_loop(struct relay *r)
{
	return r->loop;
}

const struct relayd_config *relay_config(const struct relay *r)
{
	return r->cfg;
}

struct sessions *relay_sessions(struct relay *r)
{
	return r->sessions;
}

const struct relay_counters *relay_counters(const struct relay *r)
{
	return &r->counters;
}

int relay_lan_listen(struct relay *r, int fd, struct http_listener **out)
{
	return http_server_listen_handle(r->lan_http, fd, out);
}

void relay_lan_unlisten(struct relay *r, struct http_listener *which)
{
	http_server_unlisten(r->lan_http, which);
}

void relay_on_lan_session_free(struct relay *r, void (*fn)(struct session *s, void *arg), void *arg)
{
	r->on_lan_free = fn;
	r->on_lan_free_arg = arg;
}

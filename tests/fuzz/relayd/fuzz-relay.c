/*
 * The relay as a sequence of happenings: requests, joins, packets, clients that read slowly, leave, or are lost in the
 * middle of a handshake; sessions that expire or are dropped; new limits. The relay's own code is all real;
 * HTTP and WebSockets are doubles that hand over what would have come through them.
 *
 * What must hold: packets cross byte for byte, in order, once, and only within their session; a place is
 * taken once; only a right code gets one; memory stays within its limit; in the end nothing is held.
 */
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "crypto/secret.h"
#include "fuzz/lib/sequence.h"
#include "fuzz/lib/timers.h"
#include "http/http_server.h"
#include "http/websocket.h"
#include "proto/relay_frame.h"
#include "relayd/config.h"
#include "relayd/server.h"
#include "relayd/session.h"
#include "service/listening.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SOCKETS = 24, CODES = 16, PACKETS = 64, SLACK = 8 * 1024 };

/* ---- doubles ---- */

struct websocket {
	bool open, closing;
	struct websocket_handlers handlers;
	struct websocket_limits limits;
	size_t unsent;
	bool slow;
	/* Whose it is, also when the session is gone. */
	uint8_t session[RELAY_SESSION_ID_LEN];
	enum relay_role role;
	/* What its peer may be handed of its own packets, and how much of the peer's came. */
	uint64_t sent[PACKETS];
	size_t n_sent, n_got;
};

struct http_request {
	const char *method, *target, *origin, *authorization;
	struct sockaddr_storage address;
	unsigned int status;
	char body[300];
	bool answered;
};

static struct websocket sockets[SOCKETS];
static size_t n_sockets;
static struct {
	void (*on_open)(struct websocket *ws, void *arg);
	void *arg;
	struct member *member;
} pending[SOCKETS];
static size_t n_pending;
static char codes[CODES][RELAY_CODE_LEN + 1];
static size_t n_codes;
static struct relay *relay;
static struct http_server_options served;
static struct http_limits http_limits;
static bool refuse_upgrade;
static struct http_counters counters;
static struct http_server *const server = (struct http_server *)(void *)&served;

int http_server_new(struct http_server **out, struct loop *l, const struct http_server_options *o)
{
	(void)l;
	/* The relay's own is made before that of the LAN, which nobody reaches here. */
	if (!served.on_request)
		served = *o;
	*out = server;
	return 0;
}

struct http_server *http_server_free(struct http_server *s)
{
	(void)s;
	return NULL;
}

void http_server_set_proxies(struct http_server *s, const struct http_proxies *p)
{
	(void)s;
	(void)p;
}

void http_server_set_limits(struct http_server *s, const struct http_limits *limits)
{
	(void)s;
	http_limits = *limits;
}

int http_server_set_certificate(struct http_server *s, const char *cert_pem, const char *key_pem)
{
	(void)s;
	(void)cert_pem;
	(void)key_pem;
	return 0;
}

void http_server_counters(const struct http_server *s, struct http_counters *out)
{
	static bool second;

	(void)s;
	memset(out, 0, sizeof(*out));
	/* Both servers are one here: what is open is counted once. */
	second = !second;
	if (second)
		*out = counters;
}

size_t http_server_unanswered(const struct http_server *s)
{
	(void)s;
	return 0;
}

void http_server_close_listeners(struct http_server *s)
{
	(void)s;
}

int http_server_listen_handle(struct http_server *s, int fd, struct http_listener **out)
{
	(void)s;
	(void)fd;
	(void)out;
	return -ENOTSUP;
}

void http_server_unlisten(struct http_server *s, struct http_listener *which)
{
	(void)s;
	(void)which;
}

int http_parse_listen(struct sockaddr_storage *out, bool *all, const char *address)
{
	(void)out;
	(void)all;
	(void)address;
	return -EINVAL;
}

int listening_new(struct listening **out, struct http_server *http, struct service_fds *fds, const char *passed_name,
		  const struct config_list *addresses, const char **failed)
{
	(void)out;
	(void)http;
	(void)fds;
	(void)passed_name;
	(void)addresses;
	(void)failed;
	return -ENOTSUP;
}

struct listening *listening_free(struct listening *l)
{
	(void)l;
	return NULL;
}

const char *http_request_method(const struct http_request *r)
{
	return r->method;
}

const char *http_request_target(const struct http_request *r)
{
	return r->target;
}

const char *http_request_header(const struct http_request *r, const char *name)
{
	return strcmp(name, "Origin") == 0	    ? r->origin :
	       strcmp(name, "Authorization") == 0 ? r->authorization :
						    NULL;
}

const struct sockaddr *http_request_address(const struct http_request *r)
{
	return (const struct sockaddr *)(const void *)&r->address;
}

struct http_listener *http_request_listener(const struct http_request *r)
{
	(void)r;
	return NULL;
}

void http_reply(struct http_request *r, unsigned int status, const char *content_type, const void *body,
		size_t len, const char *const *extra)
{
	(void)content_type;
	(void)extra;
	assert(!r->answered && len < sizeof(r->body));
	r->answered = true;
	r->status = status;
	memcpy(r->body, body, len);
	r->body[len] = '\0';
}

/* Whose place was held for this request; only a right code gets this far. */
static struct member *member_of(const char *target)
{
	char code[RELAY_CODE_LEN + 1];
	enum relay_role role;
	struct session *s;

	assert(relay_target_parse(code, &role, target) == 0);
	s = session_find(relay_sessions(relay), code);
	assert(s && !s->ended);
	assert(s->members[role].place == PLACE_HELD);
	return &s->members[role];
}

int http_upgrade(struct http_request *r, void (*on_open)(struct websocket *ws, void *arg), void *arg)
{
	struct member *m = member_of(r->target);

	r->answered = true;
	if (refuse_upgrade || n_pending == SOCKETS || n_sockets + n_pending >= SOCKETS) {
		r->status = 400;
		return -EPROTO;
	}
	r->status = 101;
	for (size_t i = 0; i < n_sockets; i++)
		assert(sockets[i].role != m->role || memcmp(sockets[i].session, m->session->id, RELAY_SESSION_ID_LEN) != 0);
	for (size_t i = 0; i < n_pending; i++)
		assert(pending[i].member != m);
	pending[n_pending].on_open = on_open;
	pending[n_pending].arg = arg;
	pending[n_pending++].member = m;
	/* It has been one since it was accepted. */
	counters.open++;
	return 0;
}

void websocket_start(struct websocket *ws, const struct websocket_handlers *h, const struct websocket_limits *limits)
{
	ws->handlers = *h;
	ws->limits = *limits;
}

size_t websocket_unsent(const struct websocket *ws)
{
	return ws->unsent;
}

void websocket_close(struct websocket *ws, uint16_t code, const char *reason)
{
	(void)code;
	assert(ws->open && (!reason || strlen(reason) < 124));
	ws->closing = true;
}

static uint64_t hash(const char *text, size_t len)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < len; i++)
		h = (h ^ (uint8_t)text[i]) * UINT64_C(0x100000001b3);
	return h ^ len;
}

static struct websocket *peer_of(const struct websocket *ws)
{
	for (size_t i = 0; i < n_sockets; i++)
		if (sockets[i].role != ws->role && memcmp(sockets[i].session, ws->session, sizeof(ws->session)) == 0)
			return &sockets[i];
	return NULL;
}

static void look_at_frame(struct websocket *ws, const char *text, size_t len)
{
	char head[RELAY_ENVELOPE_MAX];
	size_t n = relay_relay_head(head, sizeof(head), relay_role_peer(ws->role));
	struct websocket *peer = peer_of(ws);

	assert(len > 2 && text[0] == '{' && text[len - 1] == '}');
	if (len < n || memcmp(text, head, n) != 0)
		return;
	assert(peer && ws->n_got < peer->n_sent);
	assert(memcmp(text + len - 2, RELAY_RELAY_TAIL, 2) == 0);
	assert(hash(text + n, len - n - 2) == peer->sent[ws->n_got]);
	ws->n_got++;
}

int websocket_send(struct websocket *ws, const char *text, size_t len)
{
	assert(ws->open);
	if (ws->closing)
		return -ENOTCONN;
	if (ws->unsent + len > ws->limits.max_unsent) {
		ws->closing = true;
		return -ENOBUFS;
	}
	look_at_frame(ws, text, len);
	if (ws->slow)
		ws->unsent += len;
	return 0;
}

/* ---- the world ---- */

static char *const any[] = { (char *)(uintptr_t) "*", NULL }, *const one[] = { (char *)(uintptr_t) "https://a.example", NULL };
static char *tokens[] = { (char *)(uintptr_t) "0123456789abcdef", NULL };

static struct relayd_config settings(bool small)
{
	struct relayd_config c = {
		.session_ttl_ms = small ? 5000 : 600000, .origin_absent = !small,
		.message_size = small ? 200 : 1024, .message_depth = 6, .message_keys = 20,
		.messages_per_minute = small ? 60 : 6000, .message_burst = small ? 5 : 100,
		.token_messages_per_minute = 60000, .token_message_burst = 1000,
		.connections = 100, .connections_per_address = 20, .sessions = small ? 2 : 8,
		.sessions_per_minute = 60, .session_burst = 5, .failed_joins_per_minute = 20, .failed_join_burst = 10,
		.memory = small ? 200000 : 600000, .waiting_size = 2048, .unsent_size = 4096,
		.header_timeout_ms = 5000, .message_timeout_ms = 5000, .ping_interval_ms = 25000, .tokens = tokens,
	};

	c.origins.v = (char **)(uintptr_t)(small ? one : any);
	c.origins.n = 1;
	return c;
}

static void request(struct http_request *r, const struct happening *h)
{
	static const char *const methods[] = { "GET", "POST", "HEAD", "DELETE" };
	static const char *const origins[] = { NULL, "https://a.example", "null", "https://b.example" };
	static const char *const words[] = { NULL, "Bearer 0123456789abcdef", "bearer x", "Basic eDp5" };
	uint8_t headers = happening_byte(h, 0);
	struct sockaddr_in *a = (struct sockaddr_in *)(void *)&r->address;

	if (!r->method)
		r->method = methods[headers & 3];
	r->origin = origins[headers >> 2 & 3];
	r->authorization = words[headers >> 4 & 3];
	a->sin_family = AF_INET;
	a->sin_addr.s_addr = headers >> 6;
	served.on_request(r, relay);
	assert(r->answered && r->status >= 101 && r->status < 600);
}

static void new_session(const struct happening *h)
{
	struct http_request r = { .method = "POST", .target = "/session" };
	struct relay_session_reply reply;

	request(&r, h);
	if (r.status != 201)
		return;
	assert(relay_session_reply_decode(&reply, r.body, strlen(r.body)) == 0);
	memcpy(codes[n_codes++ % CODES], reply.code, sizeof(reply.code));
}

static void join(const struct happening *h)
{
	char target[64];
	struct http_request r = { .method = "GET", .target = target };
	uint8_t b = happening_byte(h, 1);

	if (n_codes == 0)
		return;
	snprintf(target, sizeof(target), "/ws/%s/%s", codes[(b >> 2) % (n_codes < CODES ? n_codes : CODES)],
		 b & 1 ? "bob" : "alice");
	refuse_upgrade = (b & 2) && (h->what & 64);
	request(&r, h);
}

static void any_request(const struct happening *h)
{
	char target[256] = "";
	struct http_request r = { .target = target };

	if (h->len > 1)
		memcpy(target, h->data + 1, h->len - 1);
	refuse_upgrade = false;
	request(&r, h);
}

static void open_one(const struct happening *h)
{
	size_t i = n_pending ? happening_byte(h, 0) % n_pending : 0;
	struct websocket *ws = &sockets[n_sockets];
	void (*on_open)(struct websocket *, void *) = pending[i].on_open;
	void *arg = pending[i].arg;

	if (n_pending == 0)
		return;
	ws->role = pending[i].member->role;
	memcpy(ws->session, pending[i].member->session->id, sizeof(ws->session));
	pending[i] = pending[--n_pending];
	if (h->what & 64) {
		memset(ws, 0, sizeof(*ws));
		counters.open--;
		on_open(NULL, arg);
		return;
	}
	n_sockets++;
	ws->open = true;
	on_open(ws, arg);
	assert(ws->limits.max_message > 0);
}

/* What most runs should have: a session with both in it. */
static void both_join(void)
{
	static const uint8_t bytes[2][2] = { { 1, 0 }, { 0, 1 } };

	new_session(&(struct happening){ .data = bytes[0], .len = 2 });
	for (unsigned int i = 0; i < 2 && n_codes; i++) {
		struct happening h = { .data = bytes[1], .len = 2 };
		const uint8_t role[2] = { 0, (uint8_t)(((n_codes - 1) % CODES) << 2 | i) };

		h.data = role;
		join(&h);
		open_one(&(struct happening){ .what = 0 });
	}
}

static void leave(struct websocket *ws)
{
	if (!ws->open)
		return;
	ws->handlers.on_close(ws, 1006, ws->handlers.arg);
	ws->open = false;
	ws->unsent = 0;
	counters.open--;
}

static void say(struct websocket *ws, const char *text, size_t len)
{
	uint64_t before = relay_counters(relay)->messages;

	if (!ws->open || ws->closing || len > ws->limits.max_message || ws->n_sent == PACKETS)
		return;
	/* Before it is known whether it is taken, for it may be handed on at once. */
	ws->sent[ws->n_sent++] = hash(text, len);
	ws->handlers.on_message(ws, text, len, ws->handlers.arg);
	if (relay_counters(relay)->messages == before)
		ws->n_sent--;
}

static void say_packet(struct websocket *ws, const struct happening *h)
{
	char text[1200];
	int n = snprintf(text, sizeof(text),
			 "{\"type\":\"packet\",\"proto\":\"" RELAY_PROTO "\",\"ver\":%d,\"payload\":{\"kind\":\"k\",\"seq\":%u,\"x\":\"%*d\"}}",
			 RELAY_VER, happening_byte(h, 1), happening_byte(h, 2) * 4, happening_byte(h, 3));

	say(ws, text, (size_t)n);
}

static void happen(const struct happening *h, const struct relayd_config cfg[static 2])
{
	struct websocket *ws = n_sockets ? &sockets[happening_byte(h, 0) % n_sockets] : NULL;
	struct session *s;

	switch (h->what & 15) {
	case 0:
		new_session(h);
		break;
	case 1:
		join(h);
		break;
	case 2:
		open_one(h);
		break;
	case 3:
		if (ws)
			say_packet(ws, h);
		break;
	case 4:
		if (ws && h->len > 1)
			say(ws, (const char *)h->data + 1, h->len - 1);
		break;
	case 5:
		if (ws)
			leave(ws);
		break;
	case 6:
		timers_pass(happening_number(h, 0, 2) << (h->what >> 6));
		break;
	case 7:
		any_request(h);
		break;
	case 8:
		if (ws && ws->open)
			ws->slow = h->what & 64;
		break;
	case 9:
		if (ws)
			ws->unsent -= ws->unsent < happening_byte(h, 1) * 8u ? ws->unsent : happening_byte(h, 1) * 8u;
		break;
	case 10:
		assert(relay_reconfigure(relay, &cfg[h->what >> 7]) == 0);
		break;
	case 11:
		s = n_codes ? session_find(relay_sessions(relay), codes[happening_byte(h, 0) % (n_codes < CODES ? n_codes : CODES)]) : NULL;
		if (s)
			relay_session_end(relay, s, CLOSE_DROPPED, "dropped", "dropped by the administrator");
		break;
	case 12:
		if (relay_session_new(relay, &s) == 0)
			memcpy(codes[n_codes++ % CODES], s->code, sizeof(s->code));
		break;
	case 13:
		if ((h->what & 0xc0) == 0xc0)
			relay_stop(relay);
		break;
	default:
		both_join();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct relayd_config cfg[2] = { settings(false), settings(true) };
	struct sequence seq = { data, size };
	struct happening h;

	if (sequence_random_state == 0) {
		sequence_own_randomness();
		assert(crypto_init() == 0);
		/* Its refusals would be most of the work. */
		log_set_level(LOG_CRIT);
	}
	sequence_random_state = 1;
	timers_begin(1000000);
	memset(sockets, 0, sizeof(sockets[0]) * (n_sockets + 1 < SOCKETS ? n_sockets + 1 : SOCKETS));
	memset(&counters, 0, sizeof(counters));
	memset(&served, 0, sizeof(served));
	n_sockets = n_pending = n_codes = 0;
	assert(relay_new(&relay, NULL, &cfg[0]) == 0);
	while (sequence_next(&seq, &h)) {
		happen(&h, cfg);
		assert(relay_memory(relay) <= relay_config(relay)->memory + SLACK || relay_config(relay) == &cfg[1]);
	}
	while (n_pending > 0) {
		n_pending--;
		counters.open--;
		pending[n_pending].on_open(NULL, pending[n_pending].arg);
	}
	for (size_t i = 0; i < n_sockets; i++)
		leave(&sockets[i]);
	timers_pass(600000);
	timers_pass(600000);
	assert(sessions_count(relay_sessions(relay)) == 0);
	relay = relay_free(relay);
	return 0;
}

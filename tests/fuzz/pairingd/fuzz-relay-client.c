/*
 * The pairing daemon's side of a relay's talk, as a sequence: answers to the request for a session, a WebSocket that
 * opens or does not, frames of any content and right ones, the end of the line, an owner who sends and
 * closes. The connections are doubles.
 *
 * What must hold: handlers come in order (open before packets), the end is told once and after it nothing, and
 * packets are only those of the other side.
 */
#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/json.h"
#include "base/log.h"
#include "crypto/secret.h"
#include "event/varlink.h"
#include "fuzz/lib/sequence.h"
#include "fuzz/lib/timers.h"
#include "http/websocket.h"
#include "http/websocket_transport.h"
#include "pairingd/relay_client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- doubles ---- */

struct websocket {
	struct websocket_handlers handlers;
	bool closing;
};

static struct websocket *ws;
static websocket_connect_fn connect_fn;
static http_fetch_fn fetch_fn;
static varlink_async_fn lan_fn;
static void *connect_arg, *fetch_arg, *lan_arg;
static char url[512];

int websocket_connect(struct websocket_connector **out, struct loop *l, const struct websocket_connect_options *o,
		      websocket_connect_fn fn, void *arg)
{
	(void)l;
	assert(strlen(o->url) < sizeof(url));
	strcpy(url, o->url);
	*out = (struct websocket_connector *)(void *)url;
	connect_fn = fn;
	connect_arg = arg;
	return 0;
}

struct websocket_connector *websocket_connector_free(struct websocket_connector *c)
{
	if (c)
		connect_fn = NULL;
	return NULL;
}

int http_fetch_start(struct http_fetch **out, struct loop *l, const char *method, const char *at, const char *ca_file,
		     const char *token, uint64_t timeout_ms, http_fetch_fn fn, void *arg)
{
	(void)l;
	(void)method;
	(void)at;
	(void)ca_file;
	(void)token;
	(void)timeout_ms;
	*out = (struct http_fetch *)(void *)url;
	fetch_fn = fn;
	fetch_arg = arg;
	return 0;
}

struct http_fetch *http_fetch_free(struct http_fetch *f)
{
	if (f)
		fetch_fn = NULL;
	return NULL;
}

int varlink_async_call(struct varlink_async **out, struct loop *l, const char *path, const char *method,
		       struct json_t *params, bool more, varlink_async_fn on_reply, void *arg)
{
	(void)l;
	(void)path;
	(void)method;
	(void)more;
	assert(!params);
	*out = (struct varlink_async *)(void *)url;
	lan_fn = on_reply;
	lan_arg = arg;
	return 0;
}

struct varlink_async *varlink_async_free(struct varlink_async *a)
{
	if (a)
		lan_fn = NULL;
	return NULL;
}

const char *websocket_outcome_text(int outcome)
{
	(void)outcome;
	return "it did not work";
}

void websocket_start(struct websocket *w, const struct websocket_handlers *h, const struct websocket_limits *limits)
{
	assert(limits->max_message >= RELAY_MESSAGE_MAX);
	w->handlers = *h;
}

int websocket_send(struct websocket *w, const char *text, size_t len)
{
	assert(len > 0 && text[len - 1] == '}');
	return w->closing ? -ENOTCONN : 0;
}

void websocket_close(struct websocket *w, uint16_t code, const char *reason)
{
	(void)code;
	(void)reason;
	w->closing = true;
}

static void end_ws(void)
{
	struct websocket *w = ws;

	if (!w)
		return;
	ws = NULL;
	w->handlers.on_close(w, 1006, w->handlers.arg);
	free(w);
}

void websocket_abort(struct websocket *w)
{
	assert(w == ws);
	end_ws();
}

/* ---- the world ---- */

static struct relay_client *client;
static struct list lingering;
static bool is_open, is_over;
static char code[RELAY_CODE_LEN + 1];
static unsigned int invitations;

static void on_invitation(const char *invitation, void *arg)
{
	struct relay_invitation inv;

	(void)arg;
	assert(!is_over && invitations++ == 0 && relay_invitation_parse(&inv, invitation) == 0);
	memcpy(code, inv.code, sizeof(code));
}

static void on_open(const char *which, const uint8_t session_id[static RELAY_SESSION_ID_LEN], uint64_t expires, void *arg)
{
	(void)session_id;
	(void)expires;
	(void)arg;
	assert(!is_over && !is_open && strcmp(which, code) == 0);
	is_open = true;
}

static void on_peer(void *arg)
{
	(void)arg;
	assert(is_open && !is_over);
}

static void on_packet(const struct pairing_packet *packet, void *arg)
{
	(void)arg;
	assert(is_open && !is_over && packet->len <= sizeof(packet->body));
}

static void on_failed(enum relay_client_outcome outcome, const char *detail, void *arg)
{
	(void)arg;
	assert(!is_over && outcome >= RELAY_CLIENT_E_UNREACHABLE && outcome <= RELAY_CLIENT_E_LOST && detail && *detail);
	is_over = true;
}

static const struct relay_client_handlers handlers = { on_invitation, on_open, on_peer, on_peer, on_packet, on_peer, on_failed, NULL };

static void say(const char *text, size_t len)
{
	if (ws && len <= RELAY_MESSAGE_MAX + RELAY_ENVELOPE_MAX)
		ws->handlers.on_message(ws, text, len, ws->handlers.arg);
}

/* A frame as a relay makes it. */
static void say_right(const struct happening *h)
{
	static const uint8_t id[RELAY_SESSION_ID_LEN] = "a session's id..";
	char text[2048];
	size_t n;

	switch (happening_byte(h, 0) & 7) {
	case 0:
	case 1:
		n = relay_hello_encode(text, sizeof(text), code, happening_byte(h, 1) & 1, id, 600, 0);
		break;
	case 2:
		n = relay_peer_encode(text, sizeof(text), RELAY_PEER_JOINED, happening_byte(h, 1) & 1);
		break;
	case 3:
		n = relay_peer_encode(text, sizeof(text), RELAY_PEER_LEFT, happening_byte(h, 1) & 1);
		break;
	case 4:
		n = relay_error_encode(text, sizeof(text), "expired", "the session's time is up");
		break;
	case 5:
		n = relay_pong_encode(text, sizeof(text));
		break;
	default:
		n = relay_relay_head(text, sizeof(text), happening_byte(h, 1) & 1);
		n += (size_t)snprintf(text + n, sizeof(text) - n, "{\"type\":\"packet\",\"proto\":\"" RELAY_PROTO "\",\"ver\":1,\"payload\":%.*s}" RELAY_RELAY_TAIL,
				      h->len > 2 ? (int)h->len - 2 : 0, h->len > 2 ? (const char *)h->data + 2 : "");
	}
	say(text, n);
}

static void fetched(const struct happening *h)
{
	static const struct relay_session_reply right = { "ABCDEFGH", "a session's id..", 600 };
	http_fetch_fn fn = fetch_fn;
	char body[256];
	size_t len = h->len;

	if (!fn)
		return;
	fetch_fn = NULL;
	if (h->what & 64)
		fn(0, NULL, 0, WEBSOCKET_E_CONNECT + h->len % 4, h->len & 1 ? "a detail" : NULL, fetch_arg);
	else if (h->len > 4)
		fn(201, (const char *)h->data, len, 0, NULL, fetch_arg);
	else if (h->len == 4)
		fn(happening_byte(h, 0) * 4u, "", 0, 0, NULL, fetch_arg);
	else
		fn(201, body, relay_session_reply_encode(body, sizeof(body), &right), 0, NULL, fetch_arg);
}

static void lan(const struct happening *h)
{
	static const struct json_limits limits = { 4096, 8, 100 };
	_cleanup_json_ json_t *params = NULL;
	uint8_t id[RELAY_SESSION_ID_LEN] = { 1 };
	char b64[BASE64_SPACE(sizeof(id))];

	if (!lan_fn)
		return;
	base64_encode(b64, id, sizeof(id), BASE64_STANDARD);
	if (h->what & 64) {
		varlink_async_fn fn = lan_fn;

		/* An error is the last answer. */
		lan_fn = NULL;
		fn(NULL, h->len & 1 ? "connection" : "io.handfast.PermissionDenied", false, lan_arg);
		return;
	}
	if (h->len > 2 && json_parse(&params, (const char *)h->data, h->len, &limits) == 0)
		lan_fn(params, NULL, true, lan_arg);
	else if (h->len <= 2 && (params = json_pack("{s:s, s:s, s:[s], s:i}", "session_code", "ABCDEFGH", "session_id_b64", b64,
						    "addresses", h->len ? "fd00::1" : "192.0.2.1", "port", 7117)))
		lan_fn(params, NULL, true, lan_arg);
}

static void connected(const struct happening *h)
{
	websocket_connect_fn fn = connect_fn;

	if (!fn || ws)
		return;
	connect_fn = NULL;
	if (h->what & 64) {
		fn(NULL, WEBSOCKET_E_URL + happening_byte(h, 0) % 7, happening_byte(h, 1) * 4u, NULL, connect_arg);
		return;
	}
	assert(strstr(url, code));
	ws = calloc(1, sizeof(*ws));
	assert(ws);
	fn(ws, 0, 101, NULL, connect_arg);
}

static void happen(const struct happening *h)
{
	struct pairing_packet packet = { .kind = (uint8_t)(1 + happening_byte(h, 0) % 3), .seq = 1u + happening_byte(h, 1), .len = h->len };

	switch (h->what & 7) {
	case 0:
		fetched(h);
		break;
	case 1:
		lan(h);
		break;
	case 2:
		connected(h);
		break;
	case 3:
		say((const char *)h->data, h->len);
		break;
	case 4:
		say_right(h);
		break;
	case 5:
		end_ws();
		break;
	case 6:
		if (client && h->len < sizeof(packet.body)) {
			memcpy(packet.body, h->data, h->len);
			(void)relay_client_send(client, &packet);
		}
		break;
	default:
		if (h->what & 64) {
			client = relay_client_close(client);
			is_over = true;
			break;
		}
		timers_pass(happening_byte(h, 0));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct relay_client_options o = { .relay_socket = "/nowhere", .timeout_ms = 10000, .lingering = &lingering };
	struct sequence seq = { data, size };
	struct happening h;

	if (sequence_random_state == 0) {
		sequence_own_randomness();
		sequence_random_state = 1;
		assert(crypto_init() == 0);
		log_set_level(LOG_CRIT);
	}
	if (size == 0)
		return 0;
	timers_begin(1000000);
	list_init(&lingering);
	is_open = is_over = false;
	invitations = 0;
	ws = NULL;
	connect_fn = NULL;
	fetch_fn = NULL;
	lan_fn = NULL;
	strcpy(code, "ABCDEFGH");
	o.url = data[0] & 1 ? "wss://relay.example" : data[0] & 2 ? "ws://192.0.2.1:7117" : NULL;
	o.code = o.url && data[0] & 4 ? code : NULL;
	o.token = data[0] & 8 ? "a-token-of-the-relay" : NULL;
	assert(relay_client_new(&client, NULL, &o, &handlers) == 0);
	seq.p++;
	seq.left--;
	while (sequence_next(&seq, &h))
		happen(&h);
	client = relay_client_close(client);
	is_over = true;
	timers_pass(10);
	relay_clients_done(&lingering);
	return 0;
}

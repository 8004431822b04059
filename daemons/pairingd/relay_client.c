/*
 * One relay session of ours, in steps: make it (POST /session, or relayd's
 * OpenLan), connect, then frames. The relay is believed in nothing: a code,
 * role or session id that is not what was agreed ends the pairing.
 */
#include "pairingd/relay_client.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "crypto/secret.h"
#include "event/loop.h"
#include "event/varlink.h"
#include "http/websocket.h"
#include "http/websocket_transport.h"

#define UNSENT_MAX (256 * 1024)
#define PING_INTERVAL_MS 20000
#define CLOSE_NORMAL 1000

struct relay_client {
	struct list lingering; /* node, once closed */
	struct list *closed;   /* its list */
	struct loop *loop;
	struct relay_client_handlers handlers;
	bool detached;
	enum relay_role role;
	char url[300];
	char *ca_file, *token;
	uint64_t timeout_ms;
	struct varlink_async *lan;
	struct http_fetch *fetch;
	struct websocket_connector *connector;
	struct websocket *ws;
	struct loop_timer *ender; /* frees a closed client outside its callbacks */
	bool made; /* id was told when the session was made */
	char code[RELAY_CODE_LEN + 1];
	uint8_t id[RELAY_SESSION_ID_LEN];
	bool open;
	char said[RELAY_ERROR_TEXT_MAX + 1]; /* the relay's last error */
};

static void client_free(struct relay_client *c)
{
	list_remove(&c->lingering);
	loop_timer_free(c->ender);
	websocket_connector_free(c->connector);
	http_fetch_free(c->fetch);
	varlink_async_free(c->lan);
	free(c->ca_file);
	if (c->token)
		wipe(c->token, strlen(c->token));
	free(c->token);
	free(c);
}

static void fail(struct relay_client *c, enum relay_client_outcome outcome, const char *detail)
{
	struct relay_client_handlers h = c->handlers;

	if (c->detached)
		return;
	c->detached = true;
	h.on_failed(outcome, detail, h.arg);
}

/* ---- frames ---- */

static void on_hello(struct relay_client *c, const struct relay_server_frame *f)
{
	if (c->open || f->role != c->role || strcmp(f->code, c->code) != 0 ||
	    (c->made && memcmp(f->session_id, c->id, sizeof(c->id)) != 0)) {
		fail(c, RELAY_CLIENT_E_TAMPERED, "the relay answered for another session");
		return;
	}
	c->open = true;
	c->handlers.on_open(c->code, f->session_id, f->expires_in_s, c->handlers.arg);
}

static void on_relayed(struct relay_client *c, const struct relay_server_frame *f)
{
	struct pairing_packet packet;

	if (f->role == c->role || pairing_packet_decode(&packet, f->payload))
		c->handlers.on_garbage(c->handlers.arg);
	else
		c->handlers.on_packet(&packet, c->handlers.arg);
}

static void on_frame(struct relay_client *c, const struct relay_server_frame *f)
{
	if (!c->open && f->type != RELAY_HELLO && f->type != RELAY_ERROR) {
		fail(c, RELAY_CLIENT_E_TAMPERED, "the relay did not say hello first");
		return;
	}
	switch (f->type) {
	case RELAY_HELLO:
		on_hello(c, f);
		break;
	case RELAY_PEER_JOINED:
		c->handlers.on_peer_joined(c->handlers.arg);
		break;
	case RELAY_PEER_LEFT:
		c->handlers.on_peer_left(c->handlers.arg);
		break;
	case RELAY_RELAY:
		on_relayed(c, f);
		break;
	case RELAY_ERROR:
		snprintf(c->said, sizeof(c->said), "%s", f->error_text);
		log_debug("relay says %s: %s", f->error_code, f->error_text);
		break;
	default:
		break;
	}
}

static void on_message(struct websocket *ws, const char *text, size_t len, void *arg)
{
	struct relay_client *c = arg;
	struct relay_server_frame f = { 0 };

	(void)ws;
	if (c->detached)
		return;
	if (relay_server_frame_decode(&f, text, len)) {
		fail(c, RELAY_CLIENT_E_TAMPERED, "what the relay sends is no frame");
		return;
	}
	on_frame(c, &f);
	relay_server_frame_done(&f);
}

static void on_ws_close(struct websocket *ws, uint16_t code, void *arg)
{
	struct relay_client *c = arg;

	(void)ws;
	log_debug("relay connection closed with %u", code);
	c->ws = NULL;
	if (c->lingering.next) {
		client_free(c);
		return;
	}
	fail(c, c->open ? RELAY_CLIENT_E_LOST : RELAY_CLIENT_E_REFUSED,
	     *c->said ? c->said : "the relay closed the connection");
}

/* ---- connecting ---- */

static void refusal(const struct relay_client *c, char *text, size_t cap, unsigned int http_status)
{
	if (http_status == 403 && c->token)
		snprintf(text, cap, "the relay answered with HTTP status 403, perhaps because it does not know the token of relay_token_file");
	else
		snprintf(text, cap, "the relay answered with HTTP status %u", http_status);
}

static void on_connected(struct websocket *ws, int outcome, unsigned int http_status,
			 const char *detail, void *arg)
{
	const struct websocket_limits limits = {
		.max_message = RELAY_MESSAGE_MAX + RELAY_ENVELOPE_MAX,
		.max_unsent = UNSENT_MAX,
		.ping_interval_ms = PING_INTERVAL_MS,
	};
	const struct websocket_handlers handlers = {
		.on_message = on_message, .on_close = on_ws_close, .arg = arg
	};
	struct relay_client *c = arg;
	char text[160];

	if (ws) {
		c->ws = ws;
		websocket_start(ws, &handlers, &limits);
		return;
	}
	if (outcome != WEBSOCKET_E_REFUSED) {
		fail(c, RELAY_CLIENT_E_UNREACHABLE, detail ? detail : websocket_outcome_text(outcome));
		return;
	}
	refusal(c, text, sizeof(text), http_status);
	fail(c, http_status == 404 ? RELAY_CLIENT_E_NO_SESSION : RELAY_CLIENT_E_REFUSED, text);
}

static int connect_session(struct relay_client *c)
{
	char url[400];
	const struct websocket_connect_options o = {
		.url = url, .ca_file = c->ca_file, .token = c->token, .timeout_ms = c->timeout_ms
	};

	snprintf(url, sizeof(url), "%s/ws/%s/%s", c->url, c->code, relay_role_name(c->role));
	return websocket_connect(&c->connector, c->loop, &o, on_connected, c);
}

/* The session is made at c->url; tell what to type, and go there. where: what stands after the @. */
static void session_made(struct relay_client *c, const char *where)
{
	char invitation[RELAY_CODE_LEN + 1 + sizeof(c->url)];

	c->made = true;
	snprintf(invitation, sizeof(invitation), "%s@%s", c->code, where);
	if (connect_session(c)) {
		fail(c, RELAY_CLIENT_E_UNREACHABLE, "this machine has no memory for a connection");
		return;
	}
	c->handlers.on_invitation(invitation, c->handlers.arg);
}

static void on_fetched(unsigned int status, const char *body, size_t len, int outcome,
		       const char *detail, void *arg)
{
	struct relay_client *c = arg;
	struct relay_session_reply reply;
	char text[160];

	if (c->detached)
		return;
	if (outcome) {
		fail(c, RELAY_CLIENT_E_UNREACHABLE, detail ? detail : websocket_outcome_text(outcome));
		return;
	}
	if (status < 200 || status > 299) {
		refusal(c, text, sizeof(text), status);
		fail(c, RELAY_CLIENT_E_REFUSED, text);
		return;
	}
	if (relay_session_reply_decode(&reply, body, len)) {
		fail(c, RELAY_CLIENT_E_REFUSED, "what answers there is no relay");
		return;
	}
	memcpy(c->code, reply.code, sizeof(c->code));
	memcpy(c->id, reply.id, sizeof(c->id));
	/* ws is the default of an invitation, so its scheme need not be typed. */
	session_made(c, strncmp(c->url, "ws://", 5) == 0 ? c->url + 5 : c->url);
}

/* ---- the local relay ---- */

static bool lan_where(char *out, size_t cap, const json_t *addresses, int64_t port)
{
	const json_t *first = json_array_get(addresses, 0);
	const char *a = json_is_string(first) ? json_string_value(first) : NULL;
	bool bare_v6;

	if (!a || port <= 0 || port > 65535)
		return false;
	bare_v6 = strchr(a, ':') && *a != '[';
	return snprintf(out, cap, bare_v6 ? "[%s]:%d" : "%s:%d", a, (int)port) < (int)cap;
}

static void on_lan(const struct json_t *params, const char *error, bool continues, void *arg)
{
	struct relay_client *c = arg;
	const char *code, *id;
	char where[sizeof(c->url)], url[sizeof(c->url)];

	(void)continues;
	/* Once made, it ends with the session; the WebSocket tells that. */
	if (c->made || c->detached)
		return;
	if (error) {
		fail(c, RELAY_CLIENT_E_UNREACHABLE,
		     strcmp(error, "connection") == 0 ? "relayd does not run on this machine" :
		     strstr(error, "PermissionDenied") ?
			     "relayd refuses pairingd: its user must be in the group handfast-admin" :
			     "relayd cannot listen on the local network");
		return;
	}
	code = json_get_str(params, "session_code");
	id = json_get_str(params, "session_id_b64");
	if (!code || !id || relay_code_parse(c->code, code, strlen(code)) ||
	    base64_decode_exact(c->id, sizeof(c->id), id, BASE64_STANDARD) ||
	    !lan_where(where, sizeof(where), json_object_get(params, "addresses"),
		       json_get_int(params, "port", 0)) ||
	    relay_url_parse(url, sizeof(url), where)) {
		fail(c, RELAY_CLIENT_E_REFUSED, "relayd answered something that is no session");
		return;
	}
	snprintf(c->url, sizeof(c->url), "ws://127.0.0.1:%d", (int)json_get_int(params, "port", 0));
	session_made(c, where);
}

/* ---- life ---- */

int relay_client_send(struct relay_client *c, const struct pairing_packet *packet)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r;

	if (!c->ws)
		return -ENOTCONN;
	r = pairing_packet_encode(&text, &len, packet);
	if (r)
		return r;
	return websocket_send(c->ws, text, len);
}

static void on_end(void *arg)
{
	struct relay_client *c = arg;

	/* The connection was made between closing and now: it has its own end, which frees. */
	if (c->ws)
		websocket_close(c->ws, CLOSE_NORMAL, NULL);
	else
		client_free(c);
}

int relay_client_new(struct relay_client **out, struct loop *l, const struct relay_client_options *o,
		     const struct relay_client_handlers *h)
{
	struct relay_client *c = calloc(1, sizeof(*c));
	int r = 0;

	if (!c)
		return -ENOMEM;
	c->loop = l;
	c->handlers = *h;
	c->closed = o->lingering;
	c->timeout_ms = o->timeout_ms;
	c->role = o->code ? RELAY_BOB : RELAY_ALICE;
	if (o->ca_file) {
		c->ca_file = strdup(o->ca_file);
		r = c->ca_file ? 0 : -ENOMEM;
	}
	if (o->url && o->token) {
		c->token = strdup(o->token);
		r = c->token ? r : -ENOMEM;
	}
	if (!r)
		r = loop_timer_new(&c->ender, l, on_end, c);
	if (!r && !o->url) {
		r = varlink_async_call(&c->lan, l, o->relay_socket, "io.handfast.Relay.OpenLan", NULL,
				       true, on_lan, c);
	} else if (!r) {
		char url[400];

		snprintf(c->url, sizeof(c->url), "%s", o->url);
		snprintf(url, sizeof(url), "%s/session", o->url);
		if (o->code) {
			snprintf(c->code, sizeof(c->code), "%s", o->code);
			r = connect_session(c);
		} else {
			r = http_fetch_start(&c->fetch, l, "POST", url, c->ca_file, c->token,
					     c->timeout_ms, on_fetched, c);
		}
	}
	if (r) {
		client_free(c);
		return err_fold(r);
	}
	*out = c;
	return 0;
}

struct relay_client *relay_client_close(struct relay_client *c)
{
	if (!c)
		return NULL;
	c->detached = true;
	list_append(c->closed, &c->lingering);
	if (c->ws)
		websocket_close(c->ws, CLOSE_NORMAL, NULL);
	else if (loop_timer_start(c->ender, 0))
		log_debug("a closed relay client stays until the end");
	return NULL;
}

void relay_clients_done(struct list *lingering)
{
	list_for_each(i, lingering) {
		struct relay_client *c = container_of(i, struct relay_client, lingering);

		/* Ending the WebSocket calls on_ws_close(), which frees. */
		if (c->ws)
			websocket_abort(c->ws);
		else
			client_free(c);
	}
}

/* The client's side of the WebSocket handshake (RFC 6455 section 4.1), and the stream it leaves. */
#include "http/websocket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/event.h>

#include "base/base64.h"
#include "event/loop.h"
#include "http/client.h"
#include "http/websocket_transport.h"

enum { OUTPUT_MAX = 256 * 1024, NONCE_LEN = 16 };

const char *websocket_outcome_text(int outcome)
{
	switch (outcome) {
	case WEBSOCKET_E_URL:
		return "the address is not ws://HOST:PORT or wss://HOST[:PORT]";
	case WEBSOCKET_E_RESOLVE:
		return "the relay's name was not found";
	case WEBSOCKET_E_CONNECT:
		return "the relay could not be reached";
	case WEBSOCKET_E_TLS:
		return "no secure connection to the relay could be made";
	case WEBSOCKET_E_CERTIFICATE:
		return "the relay's certificate is not to be trusted";
	case WEBSOCKET_E_REFUSED:
		return "the relay refused";
	case WEBSOCKET_E_TIMEOUT:
		return "the relay did not answer in time";
	default:
		return "unknown outcome";
	}
}

/* ---- the stream as a websocket's transport ---- */

struct client_transport {
	struct websocket *ws;
	struct bufferevent *stream;
	bool ended;
	bool busy;   /* in a callback: free later */
	bool closed; /* the websocket is gone */
};

static ssize_t client_read(void *arg, void *buf, size_t len)
{
	struct client_transport *t = arg;
	int n = evbuffer_remove(bufferevent_get_input(t->stream), buf, len);

	if (n > 0)
		return n;
	return t->ended ? 0 : -EAGAIN;
}

static ssize_t client_write(void *arg, const void *buf, size_t len)
{
	struct client_transport *t = arg;

	if (t->ended)
		return -EPIPE;
	if (evbuffer_get_length(bufferevent_get_output(t->stream)) >= OUTPUT_MAX)
		return -EAGAIN;
	return bufferevent_write(t->stream, buf, len) < 0 ? -ENOMEM : (ssize_t)len;
}

static void client_watch(void *arg, bool read, bool write)
{
	struct client_transport *t = arg;

	(void)write; /* the stream tells when its output has been drained */
	if (read)
		bufferevent_enable(t->stream, EV_READ);
	else
		bufferevent_disable(t->stream, EV_READ);
}

static size_t client_unsent(void *arg)
{
	struct client_transport *t = arg;

	return t->ended ? 0 : evbuffer_get_length(bufferevent_get_output(t->stream));
}

static void client_shutdown_write(void *arg)
{
	struct client_transport *t = arg;

	shutdown(bufferevent_getfd(t->stream), SHUT_WR);
}

static void client_close(void *arg)
{
	struct client_transport *t = arg;

	bufferevent_free(t->stream);
	t->closed = true;
	if (!t->busy)
		free(t);
}

static const struct websocket_transport client_ops = {
	.read = client_read,
	.write = client_write,
	.watch = client_watch,
	.unsent = client_unsent,
	.shutdown_write = client_shutdown_write,
	.close = client_close,
};

/* The stream calls once for what has come, a websocket takes a part at a time. */
static void pass_on(struct client_transport *t, bool writable)
{
	size_t before, after;

	t->busy = true;
	do {
		before = evbuffer_get_length(bufferevent_get_input(t->stream));
		websocket_on_io(t->ws, before > 0 || t->ended, writable);
		if (t->closed) {
			free(t);
			return;
		}
		after = evbuffer_get_length(bufferevent_get_input(t->stream));
	} while (after > 0 && after < before);
	t->busy = false;
}

static void on_readable(struct bufferevent *stream, void *arg)
{
	(void)stream;
	pass_on(arg, false);
}

static void on_writable(struct bufferevent *stream, void *arg)
{
	(void)stream;
	pass_on(arg, true);
}

static void on_event(struct bufferevent *stream, short what, void *arg)
{
	struct client_transport *t = arg;

	(void)stream;
	if (!(what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)))
		return;
	t->ended = true;
	pass_on(t, false);
}

/* ---- the handshake ---- */

struct websocket_connector {
	struct loop *loop;
	struct http_client *client;
	websocket_connect_fn fn;
	void *arg;
	char key[BASE64_SPACE(NONCE_LEN)];
};

/* RFC 6455 section 4.1, the client's checks 1 to 6. */
static const char *what_is_wrong(const struct websocket_connector *c, const struct http_answer *a)
{
	char accept[WEBSOCKET_ACCEPT_SPACE];
	const char *value;
	unsigned int n;

	value = http_answer_header(a, "Upgrade", &n);
	if (!value || strcasecmp(value, "websocket") != 0)
		return "the answer does not upgrade to a WebSocket";
	if (!websocket_header_has(http_answer_header(a, "Connection", NULL), "Upgrade"))
		return "the answer does not upgrade the connection";
	websocket_accept_value(accept, c->key);
	value = http_answer_header(a, "Sec-WebSocket-Accept", &n);
	if (!value || n != 1 || strcmp(value, accept) != 0)
		return "the answer's Sec-WebSocket-Accept is wrong";
	if (http_answer_header(a, "Sec-WebSocket-Extensions", NULL) ||
	    http_answer_header(a, "Sec-WebSocket-Protocol", NULL))
		return "the answer names an extension or protocol that was not asked for";
	return NULL;
}

static struct websocket *make_websocket(struct websocket_connector *c, struct client_transport **out)
{
	struct client_transport *t = calloc(1, sizeof(*t));
	struct websocket *ws;

	if (!t)
		return NULL;
	if (websocket_new(&ws, c->loop, true, &client_ops, t)) {
		free(t);
		return NULL;
	}
	t->ws = ws;
	t->stream = http_client_take(c->client);
	bufferevent_setcb(t->stream, on_readable, on_writable, on_event, t);
	*out = t;
	return ws;
}

static void on_answer(const struct http_answer *answer, int outcome, const char *detail, void *arg)
{
	struct websocket_connector *c = arg;
	struct client_transport *t;
	struct websocket *ws;
	const char *wrong;
	char text[64];

	if (!answer) {
		c->fn(NULL, outcome, 0, detail, c->arg);
		return;
	}
	if (answer->status != 101) {
		snprintf(text, sizeof(text), "HTTP status %u", answer->status);
		c->fn(NULL, WEBSOCKET_E_REFUSED, answer->status, text, c->arg);
		return;
	}
	wrong = what_is_wrong(c, answer);
	if (wrong) {
		c->fn(NULL, WEBSOCKET_E_REFUSED, answer->status, wrong, c->arg);
		return;
	}
	ws = make_websocket(c, &t);
	if (!ws) {
		c->fn(NULL, WEBSOCKET_E_CONNECT, 0, "out of memory", c->arg);
		return;
	}
	/* fn may free c; what it hands over is in t. */
	c->fn(ws, 0, 101, NULL, c->arg);
	pass_on(t, false);
}

int websocket_connect(struct websocket_connector **out, struct loop *l,
		      const struct websocket_connect_options *o, websocket_connect_fn fn, void *arg)
{
	_cleanup_(websocket_connector_freep) struct websocket_connector *c = calloc(1, sizeof(*c));
	uint8_t nonce[NONCE_LEN];
	char headers[256];
	int r;

	if (!c)
		return -ENOMEM;
	c->loop = l;
	c->fn = fn;
	c->arg = arg;
	/* RFC 6455 section 4.1, item 7: chosen anew for each connection. It is no secret. */
	if (getrandom(nonce, sizeof(nonce), 0) != sizeof(nonce))
		return -EIO;
	base64_encode(c->key, nonce, sizeof(nonce), BASE64_STANDARD);
	snprintf(headers, sizeof(headers),
		 "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: %s\r\n"
		 "Sec-WebSocket-Version: 13\r\n",
		 c->key);
	r = http_client_start(&c->client, l, "GET", o->url, o->ca_file, headers, o->token, o->timeout_ms,
			      on_answer, c);
	if (r)
		return r;
	*out = steal(&c);
	return 0;
}

struct websocket_connector *websocket_connector_free(struct websocket_connector *c)
{
	if (!c)
		return NULL;
	http_client_free(c->client);
	free(c);
	return NULL;
}

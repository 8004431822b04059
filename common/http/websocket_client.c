/*
 * The client's side: the opening handshake of RFC 6455 section 4.1 over a
 * dialled connection, and single HTTP requests (RFC 9112) for what a relay
 * answers without a WebSocket. Answers are a stranger's: bounded, timed, and
 * refused when they are not plain.
 */
#include "http/websocket.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>

#include "base/base64.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "event/loop.h"
#include "http/dial.h"
#include "http/websocket_transport.h"

enum {
	HEAD_MAX = 16 * 1024,
	BODY_MAX = 64 * 1024,
	UNSENT_MAX = 64 * 1024, /* what a transport takes before it says stop */
	NONCE_LEN = 16,
};

const char *websocket_outcome_text(int outcome)
{
	switch (outcome) {
	case WEBSOCKET_E_URL:
		return "this is no usable URL";
	case WEBSOCKET_E_RESOLVE:
		return "the name cannot be resolved";
	case WEBSOCKET_E_CONNECT:
		return "there is no connection";
	case WEBSOCKET_E_TLS:
		return "TLS failed";
	case WEBSOCKET_E_CERTIFICATE:
		return "the certificate is not trusted";
	case WEBSOCKET_E_REFUSED:
		return "the server refused";
	case WEBSOCKET_E_TIMEOUT:
		return "nothing answered in time";
	}
	return "unknown outcome";
}

/* ---- a bufferevent as a websocket's transport ---- */

struct transport {
	struct bufferevent *bev;
	struct websocket *ws;
	bool eof;
	bool shut; /* after what is buffered */
};

static ssize_t transport_read(void *arg, void *buf, size_t len)
{
	struct transport *t = arg;
	struct evbuffer *in = bufferevent_get_input(t->bev);
	int n = evbuffer_remove(in, buf, len);

	if (n <= 0)
		return t->eof ? 0 : -EAGAIN;
	/* No new bytes may come to announce those that stay. */
	if (evbuffer_get_length(in) > 0 || t->eof)
		bufferevent_trigger(t->bev, EV_READ, BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
	return n;
}

static ssize_t transport_write(void *arg, const void *buf, size_t len)
{
	struct transport *t = arg;

	if (t->eof)
		return -EPIPE;
	if (evbuffer_get_length(bufferevent_get_output(t->bev)) >= UNSENT_MAX)
		return -EAGAIN;
	return bufferevent_write(t->bev, buf, len) < 0 ? -ENOMEM : (ssize_t)len;
}

static void transport_watch(void *arg, bool read, bool write)
{
	struct transport *t = arg;

	(void)write; /* on_drained() always tells */
	if (read && evbuffer_get_length(bufferevent_get_input(t->bev)) > 0)
		bufferevent_trigger(t->bev, EV_READ, BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
	if (read)
		bufferevent_enable(t->bev, EV_READ);
	else
		bufferevent_disable(t->bev, EV_READ);
}

static size_t transport_unsent(void *arg)
{
	struct transport *t = arg;

	return evbuffer_get_length(bufferevent_get_output(t->bev));
}

static void shut_if_drained(struct transport *t)
{
	evutil_socket_t fd = bufferevent_getfd(t->bev);

	if (t->shut && transport_unsent(t) == 0 && fd >= 0)
		shutdown(fd, SHUT_WR);
}

static void transport_shutdown_write(void *arg)
{
	struct transport *t = arg;

	t->shut = true;
	shut_if_drained(t);
}

static void transport_close(void *arg)
{
	struct transport *t = arg;

	bufferevent_free(t->bev);
	free(t);
}

static const struct websocket_transport transport_ops = {
	.read = transport_read,
	.write = transport_write,
	.watch = transport_watch,
	.unsent = transport_unsent,
	.shutdown_write = transport_shutdown_write,
	.close = transport_close,
};

static void on_readable(struct bufferevent *bev, void *arg)
{
	struct transport *t = arg;

	(void)bev;
	websocket_on_io(t->ws, true, false);
}

static void on_drained(struct bufferevent *bev, void *arg)
{
	struct transport *t = arg;

	(void)bev;
	shut_if_drained(t);
	websocket_on_io(t->ws, false, true);
}

static void on_line_event(struct bufferevent *bev, short what, void *arg)
{
	struct transport *t = arg;

	(void)bev;
	if (!(what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)))
		return;
	t->eof = true;
	websocket_on_io(t->ws, true, false);
}

/* bev becomes a websocket's. On failure it is freed. */
static int wrap(struct websocket **out, struct loop *l, struct bufferevent *bev)
{
	struct transport *t = calloc(1, sizeof(*t));
	int r;

	if (!t) {
		bufferevent_free(bev);
		return -ENOMEM;
	}
	t->bev = bev;
	r = websocket_new(&t->ws, l, true, &transport_ops, t);
	if (r) {
		transport_close(t);
		return r;
	}
	bufferevent_setwatermark(bev, EV_READ, 0, BODY_MAX);
	bufferevent_setcb(bev, on_readable, on_drained, on_line_event, t);
	*out = t->ws;
	return 0;
}

/* ---- the head of an answer ---- */

struct head {
	char *text; /* NUL-terminated lines */
	unsigned int status;
};

static void head_done(struct head *h)
{
	free(h->text);
}

/* 0 with the head taken out of in; -EAGAIN when it is not whole; -EBADMSG. */
static int take_head(struct head *h, struct evbuffer *in)
{
	struct evbuffer_ptr end = evbuffer_search(in, "\r\n\r\n", 4, NULL);
	size_t len;

	if (end.pos < 0)
		return evbuffer_get_length(in) > HEAD_MAX ? -EBADMSG : -EAGAIN;
	if (end.pos > HEAD_MAX)
		return -EBADMSG;
	len = (size_t)end.pos + 4;
	h->text = malloc(len + 1);
	if (!h->text)
		return -ENOMEM;
	evbuffer_remove(in, h->text, len);
	h->text[len] = '\0';
	if (strlen(h->text) != len || strncmp(h->text, "HTTP/1.", 7) != 0 ||
	    (h->text[7] != '0' && h->text[7] != '1') || h->text[8] != ' ' ||
	    strspn(h->text + 9, "0123456789") != 3)
		return -EBADMSG;
	h->status = (unsigned int)strtoul(h->text + 9, NULL, 10);
	return 0;
}

/* A header's value into out, without the white space around it. False when it is absent, twice there, or too long. */
static bool head_get(const struct head *h, const char *name, char *out, size_t cap)
{
	size_t name_len = strlen(name);
	bool found = false;

	for (const char *line = strstr(h->text, "\r\n"); line; line = strstr(line, "\r\n")) {
		const char *v;
		size_t len;

		line += 2;
		if (strncasecmp(line, name, name_len) != 0 || line[name_len] != ':')
			continue;
		v = line + name_len + 1;
		v += strspn(v, " \t");
		len = strcspn(v, "\r");
		while (len > 0 && (v[len - 1] == ' ' || v[len - 1] == '\t'))
			len--;
		if (found || len >= cap)
			return false;
		memcpy(out, v, len);
		out[len] = '\0';
		found = true;
	}
	return found;
}

static bool head_has(const struct head *h, const char *name)
{
	size_t len = strlen(name);

	for (const char *line = strstr(h->text, "\r\n"); line; line = strstr(line, "\r\n")) {
		line += 2;
		if (strncasecmp(line, name, len) == 0 && line[len] == ':')
			return true;
	}
	return false;
}

/* ---- connecting a websocket ---- */

struct websocket_connector {
	struct loop *loop;
	struct dial_url url;
	struct dial *dial;
	struct bufferevent *bev;
	struct loop_timer *timer;
	websocket_connect_fn fn;
	void *arg;
	char key[BASE64_SPACE(NONCE_LEN)];
	int failed; /* an outcome that was clear from the start */
};

/* Nothing of c may be touched afterwards: fn may free it. */
static void connector_fail(struct websocket_connector *c, int outcome, unsigned int status,
			   const char *detail)
{
	websocket_connect_fn fn = c->fn;

	loop_timer_stop(c->timer);
	c->fn = NULL;
	if (fn)
		fn(NULL, outcome, status, detail, c->arg);
}

static bool is_accepted(const struct websocket_connector *c, const struct head *h)
{
	char expected[WEBSOCKET_ACCEPT_SPACE], value[256];

	websocket_accept_value(expected, c->key);
	return head_get(h, "Upgrade", value, sizeof(value)) && strcasecmp(value, "websocket") == 0 &&
	       head_get(h, "Connection", value, sizeof(value)) && websocket_header_has(value, "upgrade") &&
	       head_get(h, "Sec-WebSocket-Accept", value, sizeof(value)) &&
	       strcmp(value, expected) == 0 && !head_has(h, "Sec-WebSocket-Extensions") &&
	       !head_has(h, "Sec-WebSocket-Protocol");
}

static void on_answer(struct bufferevent *bev, void *arg)
{
	_cleanup_(head_done) struct head h = { 0 };
	struct websocket_connector *c = arg;
	struct websocket *ws = NULL;
	websocket_connect_fn fn;
	int r;

	r = take_head(&h, bufferevent_get_input(bev));
	if (r == -EAGAIN)
		return;
	bufferevent_disable(bev, EV_READ);
	if (r) {
		connector_fail(c, WEBSOCKET_E_CONNECT, 0, "what answers there does not speak HTTP");
		return;
	}
	if (h.status != 101) {
		connector_fail(c, WEBSOCKET_E_REFUSED, h.status, NULL);
		return;
	}
	if (!is_accepted(c, &h)) {
		connector_fail(c, WEBSOCKET_E_CONNECT, 0, "what answers there does not speak WebSocket");
		return;
	}
	loop_timer_stop(c->timer);
	r = wrap(&ws, c->loop, steal(&c->bev));
	if (r) {
		connector_fail(c, WEBSOCKET_E_CONNECT, 0, "out of memory");
		return;
	}
	fn = c->fn;
	c->fn = NULL;
	fn(ws, 0, 0, NULL, c->arg);
}

static void on_connector_event(struct bufferevent *bev, short what, void *arg)
{
	struct websocket_connector *c = arg;

	(void)bev;
	if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
		connector_fail(c, WEBSOCKET_E_CONNECT, 0, "the connection was closed");
}

static void on_dialled(struct bufferevent *bev, int outcome, const char *detail, void *arg)
{
	struct websocket_connector *c = arg;

	if (!bev) {
		connector_fail(c, outcome, 0, detail);
		return;
	}
	c->bev = bev;
	bufferevent_setcb(bev, on_answer, NULL, on_connector_event, c);
	bufferevent_setwatermark(bev, EV_READ, 0, HEAD_MAX + 4);
	bufferevent_enable(bev, EV_READ | EV_WRITE);
	evbuffer_add_printf(bufferevent_get_output(bev),
			    "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\n"
			    "Connection: Upgrade\r\nSec-WebSocket-Key: %s\r\n"
			    "Sec-WebSocket-Version: 13\r\nUser-Agent: handfast/%s\r\n\r\n",
			    c->url.path, c->url.authority, c->key, HANDFAST_VERSION);
}

static void on_connector_timer(void *arg)
{
	struct websocket_connector *c = arg;

	c->dial = dial_free(c->dial);
	if (c->bev)
		bufferevent_free(steal(&c->bev));
	connector_fail(c, c->failed ? c->failed : WEBSOCKET_E_TIMEOUT, 0, NULL);
}

int websocket_connect(struct websocket_connector **out, struct loop *l,
		      const struct websocket_connect_options *o, websocket_connect_fn fn, void *arg)
{
	_cleanup_(websocket_connector_freep) struct websocket_connector *c = calloc(1, sizeof(*c));
	uint8_t nonce[NONCE_LEN];
	int r;

	if (!c)
		return -ENOMEM;
	c->loop = l;
	c->fn = fn;
	c->arg = arg;
	if (getrandom(nonce, sizeof(nonce), 0) != sizeof(nonce))
		return -EIO;
	base64_encode(c->key, nonce, sizeof(nonce), BASE64_STANDARD);
	r = loop_timer_new(&c->timer, l, on_connector_timer, c);
	if (r)
		return r;
	if (dial_url_parse(&c->url, o->url)) {
		c->failed = WEBSOCKET_E_URL;
		r = loop_timer_start(c->timer, 0);
	} else {
		r = loop_timer_start(c->timer, o->timeout_ms);
		if (!r)
			r = dial_start(&c->dial, l, &c->url, o->ca_file, on_dialled, c);
	}
	if (r)
		return r;
	*out = steal(&c);
	return 0;
}

struct websocket_connector *websocket_connector_free(struct websocket_connector *c)
{
	if (!c)
		return NULL;
	dial_free(c->dial);
	if (c->bev)
		bufferevent_free(c->bev);
	loop_timer_free(c->timer);
	free(c);
	return NULL;
}

/* ---- one request ---- */

struct http_fetch {
	struct loop *loop;
	struct dial_url url;
	char method[16];
	struct dial *dial;
	struct bufferevent *bev;
	struct loop_timer *timer;
	http_fetch_fn fn;
	void *arg;
	int failed;
	struct head head;
	bool has_head;
	bool chunked;
	bool has_length;
	uint64_t length;
	struct evbuffer *body; /* of a chunked answer, put together */
	uint64_t chunk_left;
	bool in_chunk, last_chunk;
};

static void fetch_end(struct http_fetch *f, unsigned int status, const char *body, size_t len,
		      int outcome, const char *detail)
{
	http_fetch_fn fn = f->fn;

	loop_timer_stop(f->timer);
	f->fn = NULL;
	if (fn)
		fn(status, body, len, outcome, detail, f->arg);
}

static void fetch_fail(struct http_fetch *f, const char *detail)
{
	if (f->bev)
		bufferevent_disable(f->bev, EV_READ | EV_WRITE);
	fetch_end(f, 0, NULL, 0, WEBSOCKET_E_CONNECT, detail);
}

static void fetch_done(struct http_fetch *f, struct evbuffer *body, size_t len)
{
	const char *text = len ? (const char *)evbuffer_pullup(body, (ev_ssize_t)len) : "";

	bufferevent_disable(f->bev, EV_READ | EV_WRITE);
	fetch_end(f, f->head.status, text, len, 0, NULL);
}

/* RFC 9112 section 6.3: how the body ends. */
static int read_framing(struct http_fetch *f)
{
	char value[64];

	if (head_has(&f->head, "Transfer-Encoding")) {
		if (!head_get(&f->head, "Transfer-Encoding", value, sizeof(value)) ||
		    strcasecmp(value, "chunked") != 0 || head_has(&f->head, "Content-Length"))
			return -EBADMSG;
		f->chunked = true;
	} else if (head_has(&f->head, "Content-Length")) {
		if (!head_get(&f->head, "Content-Length", value, sizeof(value)) ||
		    text_parse_u64(&f->length, value, 0, BODY_MAX))
			return -EBADMSG;
		f->has_length = true;
	}
	return 0;
}

/* RFC 9112 section 7.1. 0: the body is whole; -EAGAIN; -EBADMSG. */
static int take_chunks(struct http_fetch *f, struct evbuffer *in)
{
	for (;;) {
		_cleanup_free_ char *line = NULL;
		size_t n;

		if (f->chunk_left > 0) {
			n = evbuffer_get_length(in);
			if (n > f->chunk_left)
				n = f->chunk_left;
			if (n == 0)
				return -EAGAIN;
			evbuffer_remove_buffer(in, f->body, n);
			f->chunk_left -= n;
			continue;
		}
		line = evbuffer_readln(in, &n, EVBUFFER_EOL_CRLF);
		if (!line)
			return evbuffer_get_length(in) > HEAD_MAX ? -EBADMSG : -EAGAIN;
		if (f->in_chunk) {
			if (n != 0)
				return -EBADMSG;
			f->in_chunk = false;
			continue;
		}
		if (f->last_chunk) {
			/* Trailers, up to an empty line. */
			if (n == 0)
				return 0;
			continue;
		}
		n = strspn(line, "0123456789abcdefABCDEF");
		if (n == 0 || n > 6 || (line[n] && line[n] != ';' && line[n] != ' '))
			return -EBADMSG;
		f->chunk_left = strtoul(line, NULL, 16);
		if (evbuffer_get_length(f->body) + f->chunk_left > BODY_MAX)
			return -EBADMSG;
		f->in_chunk = f->chunk_left > 0;
		f->last_chunk = f->chunk_left == 0;
	}
}

static void on_fetch_readable(struct bufferevent *bev, void *arg)
{
	struct evbuffer *in = bufferevent_get_input(bev);
	struct http_fetch *f = arg;
	int r = 0;

	if (!f->has_head) {
		r = take_head(&f->head, in);
		if (r == -EAGAIN)
			return;
		if (!r)
			r = read_framing(f);
		f->has_head = true;
	}
	if (!r && f->chunked) {
		r = take_chunks(f, in);
		if (!r) {
			fetch_done(f, f->body, evbuffer_get_length(f->body));
			return;
		}
		if (r == -EAGAIN)
			return;
	}
	if (r || evbuffer_get_length(in) > BODY_MAX) {
		fetch_fail(f, "what answers there does not speak HTTP as it should");
		return;
	}
	if (f->has_length && evbuffer_get_length(in) >= f->length)
		fetch_done(f, in, f->length);
}

static void on_fetch_event(struct bufferevent *bev, short what, void *arg)
{
	struct http_fetch *f = arg;

	if (!(what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)))
		return;
	/* Without a length the end of the connection ends the body. */
	if (f->has_head && !f->chunked && !f->has_length && (what & BEV_EVENT_EOF))
		fetch_done(f, bufferevent_get_input(bev), evbuffer_get_length(bufferevent_get_input(bev)));
	else
		fetch_fail(f, "the connection was closed");
}

static void on_fetch_dialled(struct bufferevent *bev, int outcome, const char *detail, void *arg)
{
	struct http_fetch *f = arg;

	if (!bev) {
		fetch_end(f, 0, NULL, 0, outcome, detail);
		return;
	}
	f->bev = bev;
	bufferevent_setcb(bev, on_fetch_readable, NULL, on_fetch_event, f);
	bufferevent_setwatermark(bev, EV_READ, 0, HEAD_MAX + BODY_MAX + 4);
	bufferevent_enable(bev, EV_READ | EV_WRITE);
	evbuffer_add_printf(bufferevent_get_output(bev),
			    "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s"
			    "User-Agent: handfast/%s\r\n\r\n",
			    f->method, f->url.path, f->url.authority,
			    strcmp(f->method, "GET") == 0 ? "" : "Content-Length: 0\r\n", HANDFAST_VERSION);
}

static void on_fetch_timer(void *arg)
{
	struct http_fetch *f = arg;

	f->dial = dial_free(f->dial);
	if (f->bev)
		bufferevent_free(steal(&f->bev));
	fetch_end(f, 0, NULL, 0, f->failed ? f->failed : WEBSOCKET_E_TIMEOUT, NULL);
}

int http_fetch_start(struct http_fetch **out, struct loop *l, const char *method, const char *url,
		     const char *ca_file, uint64_t timeout_ms, http_fetch_fn fn, void *arg)
{
	_cleanup_(http_fetch_freep) struct http_fetch *f = calloc(1, sizeof(*f));
	int r;

	assert(strlen(method) < sizeof(f->method));
	if (!f)
		return -ENOMEM;
	f->loop = l;
	f->fn = fn;
	f->arg = arg;
	memcpy(f->method, method, strlen(method) + 1);
	f->body = evbuffer_new();
	if (!f->body)
		return -ENOMEM;
	r = loop_timer_new(&f->timer, l, on_fetch_timer, f);
	if (r)
		return r;
	if (dial_url_parse(&f->url, url)) {
		f->failed = WEBSOCKET_E_URL;
		r = loop_timer_start(f->timer, 0);
	} else {
		r = loop_timer_start(f->timer, timeout_ms);
		if (!r)
			r = dial_start(&f->dial, l, &f->url, ca_file, on_fetch_dialled, f);
	}
	if (r)
		return r;
	*out = steal(&f);
	return 0;
}

struct http_fetch *http_fetch_free(struct http_fetch *f)
{
	if (!f)
		return NULL;
	dial_free(f->dial);
	if (f->bev)
		bufferevent_free(f->bev);
	if (f->body)
		evbuffer_free(f->body);
	loop_timer_free(f->timer);
	head_done(&f->head);
	free(f);
	return NULL;
}

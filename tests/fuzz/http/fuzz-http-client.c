/*
 * What a server answers to the HTTP client: to a request with a body to come, or to the handshake of a WebSocket. The connection
 * is a pair in memory; bytes come in pieces of any size, right heads among them, the line ends or breaks, time passes.
 *
 * What must hold: the outcome is told once, and soon after the end of time; a body is what came after the head, whole or in
 * chunks, and within its limit; only a right handshake makes a WebSocket; nothing leaks.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>

#include "fuzz/lib/sequence.h"
#include "fuzz/lib/timers.h"
#include "http/client.h"
#include "http/websocket.h"
#include "http/websocket_transport.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SENT_MAX = 1 << 17, BODY_MAX = 64 * 1024, MAX_MESSAGE = 300, TIMEOUT_MS = 5000 };

static struct event_base *base;
static struct bufferevent *server;
static bool refuse;
static uint8_t sent[SENT_MAX];
static size_t n_sent;
static unsigned int told;
static char accept_value[WEBSOCKET_ACCEPT_SPACE];
static struct http_fetch *fetch;
static struct websocket_connector *connector;
static struct websocket *ws;

/* ---- doubles ---- */

struct event_base *loop_base(struct loop *l)
{
	(void)l;
	return base;
}

/* The address is a number: no name is looked up. */
int worker_start(struct worker **out, struct loop *l, void (*work)(void *arg), void (*done)(void *arg, bool cancelled), void *arg)
{
	(void)out;
	(void)l;
	(void)work;
	(void)done;
	(void)arg;
	abort();
}

void worker_cancel(struct worker *w)
{
	(void)w;
	abort();
}

struct bufferevent *bufferevent_socket_new(struct event_base *b, evutil_socket_t fd, int options)
{
	struct bufferevent *pair[2];

	assert(fd < 0 && !server);
	if (bufferevent_pair_new(b, options, pair))
		return NULL;
	server = pair[1];
	assert(bufferevent_enable(server, EV_READ | EV_WRITE) == 0);
	return pair[0];
}

int bufferevent_socket_connect(struct bufferevent *b, const struct sockaddr *to, int len)
{
	(void)to;
	(void)len;
	if (refuse) {
		bufferevent_free(server);
		server = NULL;
		errno = ECONNREFUSED;
		return -1;
	}
	bufferevent_trigger_event(b, BEV_EVENT_CONNECTED, BEV_TRIG_DEFER_CALLBACKS);
	return 0;
}

/* ---- the world ---- */

static void turn(void)
{
	event_base_loop(base, EVLOOP_NONBLOCK);
}

/* Where the body begins; 0 when no head has ended. */
static size_t head_len(void)
{
	const uint8_t *end = memmem(sent, n_sent, "\r\n\r\n", 4);

	return end ? (size_t)(end - sent) + 4 : 0;
}

/* What came after the head; of chunks, with what is between them left out. */
static void check_body(const char *body, size_t len)
{
	size_t at = head_len(), i = 0;

	assert(at > 0 && len <= BODY_MAX);
	if (n_sent - at >= len && memcmp(sent + at, body, len) == 0)
		return;
	assert(strcasestr((const char *)sent, "chunked"));
	for (; at < n_sent && i < len; at++)
		i += sent[at] == (uint8_t)body[i];
	assert(i == len);
}

static void on_fetched(unsigned int status, const char *body, size_t len, int outcome, const char *detail, void *arg)
{
	assert(arg == &fetch && told++ == 0);
	if (outcome) {
		assert(outcome <= WEBSOCKET_E_TIMEOUT && detail && *detail && !body && len == 0);
		return;
	}
	assert(status >= 200 && status <= 999 && body);
	check_body(body, len);
}

static void on_message(struct websocket *w, const char *text, size_t len, void *arg)
{
	(void)arg;
	assert(w == ws && len <= MAX_MESSAGE);
	(void)websocket_send(w, text, len);
}

static void on_close(struct websocket *w, uint16_t code, void *arg)
{
	(void)code;
	(void)arg;
	assert(w == ws);
	ws = NULL;
}

static void on_connected(struct websocket *w, int outcome, unsigned int status, const char *detail, void *arg)
{
	static const struct websocket_handlers handlers = { on_message, on_close, NULL };
	static const struct websocket_limits limits = { MAX_MESSAGE, 4096, 5000, 5000 };

	assert(arg == &connector && told++ == 0);
	if (!w) {
		assert(outcome > 0 && outcome <= WEBSOCKET_E_TIMEOUT && detail && *detail);
		return;
	}
	assert(status == 101 && outcome == 0 && memmem(sent, head_len(), accept_value, strlen(accept_value)));
	ws = w;
	websocket_start(w, &handlers, &limits);
}

/* The request, of which a right answer needs the key. */
static void read_request(void)
{
	char text[1024] = "", *key;

	if (server)
		(void)evbuffer_remove(bufferevent_get_input(server), text, sizeof(text) - 1);
	key = strstr(text, "Sec-WebSocket-Key: ");
	if (!key)
		return;
	key += strlen("Sec-WebSocket-Key: ");
	key[strcspn(key, "\r")] = '\0';
	websocket_accept_value(accept_value, key);
}

static void put(const void *data, size_t len)
{
	if (!server || len > SENT_MAX - n_sent - 1)
		return;
	memcpy(sent + n_sent, data, len);
	n_sent += len;
	sent[n_sent] = '\0';
	bufferevent_write(server, data, len);
}

static void put_right_head(const struct happening *h)
{
	char text[256];
	int n;

	if (connector)
		n = snprintf(text, sizeof(text), "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
			     "Sec-WebSocket-Accept: %s\r\n\r\n", accept_value);
	else if (happening_byte(h, 0) & 1)
		n = snprintf(text, sizeof(text), "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n");
	else
		n = snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Length: %u\r\n\r\n", happening_byte(h, 0) / 2);
	put(text, (size_t)n);
}

static void end_line(short why)
{
	if (!server)
		return;
	if (why & BEV_EVENT_EOF)
		bufferevent_flush(server, EV_WRITE, BEV_FINISHED);
	else if (bufferevent_pair_get_partner(server))
		bufferevent_trigger_event(bufferevent_pair_get_partner(server), BEV_EVENT_ERROR | BEV_EVENT_READING, 0);
}

static void put_chunk(const struct happening *h)
{
	char text[32];

	put(text, (size_t)snprintf(text, sizeof(text), "%zx\r\n", h->len));
	put(h->data, h->len);
	put("\r\n", 2);
}

/* Many bytes of an input of few: the limits are far away. */
static void put_many(const struct happening *h)
{
	for (unsigned int i = 0; i < happening_byte(h, 0) && h->len > 1; i++)
		put(h->data + 1, h->len - 1);
}

static void happen(const struct happening *h)
{
	switch (h->what & 15) {
	case 8:
		put_right_head(h);
		break;
	case 9:
		put_chunk(h);
		break;
	case 10:
		put_many(h);
		break;
	case 11:
		end_line(BEV_EVENT_EOF);
		break;
	case 12:
		end_line(BEV_EVENT_ERROR);
		break;
	case 13:
		timers_pass(happening_number(h, 0, 2));
		break;
	case 14:
		if (ws)
			websocket_close(ws, 1000, "over");
		break;
	default:
		put(h->data, h->len);
	}
	if (!(h->what & 128))
		turn();
}

static void start(uint8_t how)
{
	const struct websocket_connect_options o = { .url = "ws://127.0.0.1:9/ws/code", .timeout_ms = TIMEOUT_MS };

	refuse = (how & 0xf0) == 0xf0;
	if (how & 1)
		assert(websocket_connect(&connector, NULL, &o, on_connected, &connector) == 0);
	else
		assert(http_fetch_start(&fetch, NULL, how & 2 ? "POST" : "GET", "http://127.0.0.1:9/session", NULL, how & 4 ? "a-token" : NULL,
					TIMEOUT_MS, on_fetched, &fetch) == 0);
	timers_pass(0);
	turn();
	read_request();
}

static void finish(bool give_up)
{
	if (give_up && !ws) {
		fetch = http_fetch_free(fetch);
		connector = websocket_connector_free(connector);
	}
	end_line(BEV_EVENT_EOF);
	turn();
	timers_pass(TIMEOUT_MS);
	turn();
	/* A WebSocket's silent peer is given up after two and a half pings. */
	for (int i = 0; i < 20 && ws; i++) {
		timers_pass(1000);
		turn();
	}
	assert(!ws && (give_up || told == 1));
	fetch = http_fetch_free(fetch);
	connector = websocket_connector_free(connector);
	if (server)
		bufferevent_free(server);
	server = NULL;
	turn();
	assert(n_timers == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sequence seq = { data, size };
	struct happening h;

	if (!base) {
		base = event_base_new();
		assert(base);
	}
	if (size == 0)
		return 0;
	timers_begin(1000000);
	n_sent = 0;
	sent[0] = '\0';
	told = 0;
	*accept_value = '\0';
	seq.p++;
	seq.left--;
	start(data[0]);
	while (sequence_next(&seq, &h))
		happen(&h);
	finish(data[0] & 8);
	return 0;
}

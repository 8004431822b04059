/*
 * WebSocket connections, server or client, over a transport in the fuzzer's hand: bytes and well-formed frames come in
 * pieces of any size, the line takes as much as it likes or breaks, time passes, the owner sends and closes.
 *
 * What must hold: a message is no longer than the limit and is UTF-8; unsent bytes stay within theirs; the
 * transport is closed and on_close comes once, and after a close within the limit of time; nothing leaks.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/text.h"
#include "fuzz/lib/sequence.h"
#include "fuzz/lib/timers.h"
#include "http/websocket.h"
#include "http/websocket_transport.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_MESSAGE = 300, MAX_UNSENT = 2000, CONTROL = 140, QUEUE = 4096, N = 2 };

static struct end {
	struct websocket *ws;
	uint8_t in[QUEUE];
	size_t in_len;
	size_t takes; /* bytes that write() takes before it says that it is full */
	bool eof, broken, watch_read, watch_write, is_shut;
	unsigned int closed, ended;
	bool echo;
} end[N];
static unsigned int who;

static ssize_t on_read(void *t, void *buf, size_t len)
{
	struct end *e = t;
	size_t n = e->in_len < len ? e->in_len : len;

	assert(!e->closed);
	if (e->broken)
		return -ECONNRESET;
	if (n == 0)
		return e->eof ? 0 : -EAGAIN;
	memcpy(buf, e->in, n);
	memmove(e->in, e->in + n, e->in_len - n);
	e->in_len -= n;
	return (ssize_t)n;
}

static ssize_t on_write(void *t, const void *buf, size_t len)
{
	struct end *e = t;
	size_t n = len < e->takes ? len : e->takes;

	(void)buf;
	assert(!e->closed && !e->is_shut);
	if (e->broken)
		return -EPIPE;
	if (n == 0)
		return -EAGAIN;
	e->takes -= n;
	return (ssize_t)n;
}

static void on_watch(void *t, bool read, bool write)
{
	struct end *e = t;

	assert(!e->closed);
	e->watch_read = read;
	e->watch_write = write;
}

static size_t on_unsent(void *t)
{
	(void)t;
	return 0;
}

static void on_shutdown(void *t)
{
	struct end *e = t;

	assert(!e->closed && !e->is_shut);
	e->is_shut = true;
}

static void on_transport_close(void *t)
{
	struct end *e = t;

	assert(e->closed++ == 0);
}

static const struct websocket_transport ops = { on_read, on_write, on_watch, on_unsent, on_shutdown, on_transport_close };

/* NUL is a character of RFC 6455's UTF-8 as any other. */
static bool is_utf8(const char *text, size_t len)
{
	const char *nul;

	while ((nul = memchr(text, 0, len))) {
		if (!text_is_utf8(text, (size_t)(nul - text)))
			return false;
		len -= (size_t)(nul - text) + 1;
		text = nul + 1;
	}
	return text_is_utf8(text, len);
}

static void on_message(struct websocket *ws, const char *text, size_t len, void *arg)
{
	struct end *e = arg, *to = e->echo ? e : &end[1 - (e - end)];

	assert(ws == e->ws && !e->ended && len <= MAX_MESSAGE && is_utf8(text, len));
	if (len > 0 && text[0] == '!')
		websocket_close(ws, 4000, "asked to");
	else if (to->ws)
		(void)websocket_send(to->ws, text, len);
}

static void on_close(struct websocket *ws, uint16_t code, void *arg)
{
	struct end *e = arg;

	(void)code;
	assert(ws == e->ws && e->closed == 1 && e->ended++ == 0);
	e->ws = NULL;
}

static const struct websocket_limits limits = { .max_message = MAX_MESSAGE, .max_unsent = MAX_UNSENT,
						.ping_interval_ms = 1000, .message_timeout_ms = 3000 };

static void feed(struct end *e, const uint8_t *data, size_t len)
{
	if (len > QUEUE - e->in_len)
		len = QUEUE - e->in_len;
	if (e->eof)
		return;
	memcpy(e->in + e->in_len, data, len);
	e->in_len += len;
}

/* One frame with a right head: what, of the length, masked as the peer's side has it. */
static void feed_frame(struct end *e, uint8_t first, const uint8_t *data, size_t len, bool masked)
{
	uint8_t frame[300];
	size_t at = 0;

	frame[at++] = first;
	if (len < 126) {
		frame[at++] = (uint8_t)(len | (masked ? 0x80 : 0));
	} else {
		frame[at++] = (uint8_t)(126 | (masked ? 0x80 : 0));
		frame[at++] = (uint8_t)(len >> 8);
		frame[at++] = (uint8_t)len;
	}
	if (masked) {
		memset(frame + at, 0, 4);
		at += 4;
	}
	memcpy(frame + at, data, len);
	feed(e, frame, at + len);
}

/* The loop's turn: what is watched is told. */
static void turn(struct end *e)
{
	bool readable = e->watch_read && (e->in_len || e->eof || e->broken);
	bool writable = e->watch_write && (e->takes || e->broken);

	if (e->ws && (readable || writable))
		websocket_on_io(e->ws, readable, writable);
}

static void happen(const struct happening *h, bool client)
{
	struct end *e = &end[h->what >> 7];

	switch (h->what & 7) {
	case 0:
		feed(e, h->data, h->len);
		turn(e);
		break;
	case 1:
		if (h->len > 0)
			feed_frame(e, h->data[0], h->data + 1, h->len - 1, !client);
		if (!(h->what & 64))
			turn(e);
		break;
	case 2:
		e->takes = happening_number(h, 0, 2);
		turn(e);
		break;
	case 3:
		timers_pass(happening_number(h, 0, 2));
		break;
	case 4:
		if (e->ws)
			(void)websocket_send(e->ws, "a message of the owner", happening_byte(h, 0) % 23);
		break;
	case 5:
		if (e->ws)
			websocket_close(e->ws, (uint16_t)(1000 + happening_byte(h, 0)), h->what & 64 ? NULL : "a reason");
		break;
	case 6:
		if (h->what & 64)
			e->eof = true;
		else
			e->broken = true;
		turn(e);
		break;
	default:
		if (e->ws && h->what & 64)
			websocket_abort(e->ws);
		else
			turn(e);
	}
	for (unsigned int i = 0; i < N; i++)
		assert(!end[i].ws || websocket_unsent(end[i].ws) <= MAX_UNSENT + QUEUE + CONTROL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sequence seq = { data, size };
	struct happening h;
	bool client;

	if (size == 0)
		return 0;
	timers_begin(1000000);
	client = data[0] & 1;
	seq.p++;
	seq.left--;
	for (who = 0; who < N; who++) {
		const struct websocket_handlers handlers = { on_message, on_close, &end[who] };

		memset(&end[who], 0, sizeof(end[who]));
		end[who].takes = 100000;
		end[who].echo = data[0] & 2;
		assert(websocket_new(&end[who].ws, NULL, client, &ops, &end[who]) == 0);
		websocket_start(end[who].ws, &handlers, &limits);
	}
	while (sequence_next(&seq, &h))
		happen(&h, client);
	/* A peer that is silent from now on is given up; one that is closing, within two seconds. */
	for (unsigned int i = 0; i < N; i++)
		if (end[i].ws)
			websocket_close(end[i].ws, 1001, "over");
	timers_pass(5000);
	for (unsigned int i = 0; i < N; i++)
		assert(!end[i].ws && end[i].ended == 1 && end[i].closed == 1);
	return 0;
}

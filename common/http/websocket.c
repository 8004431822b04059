/*
 * WebSocket over wslay. wslay frames, masks, checks UTF-8 and answers control
 * frames; what is done here: messages are put together within the limit,
 * writes of one turn of the loop go out in one system call, and every wait
 * (silence, a message that does not end, the closing handshake) has a deadline.
 *
 * Nothing calls on_close but a callback of the loop: sending never frees.
 */
#include "http/websocket.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <wslay/wslay.h>

#include "base/clock.h"
#include "base/list.h"
#include "event/loop.h"
#include "http/websocket_transport.h"

enum {
	CLOSE_LIMIT_MS = 2000,
	READ_BUDGET = 64 * 1024, /* bytes read in one turn; others want theirs, too */
	SCRATCH = 32 * 1024,
	WRITE_BATCH = 64 * 1024,
	/* RFC 6455 section 7.4.1 */
	CODE_UNSUPPORTED = 1003,
	CODE_ABNORMAL = 1006,
	CODE_POLICY = 1008,
	CODE_TOO_BIG = 1009,
	CODE_TRY_LATER = 1013,
};

struct websocket {
	const struct websocket_transport *ops;
	void *transport;
	struct loop *loop;
	wslay_event_context_ptr wslay;
	struct websocket_handlers handlers;
	struct websocket_limits limits;
	struct loop_timer *timer;
	struct list dirty; /* in the list of those to flush */

	uint8_t *in; /* a message's beginning, kept between turns of the loop */
	size_t in_len;
	uint64_t in_since_ms;
	bool in_message;
	bool in_control; /* the frame being read is a control frame */

	uint8_t *out; /* framed bytes that the transport did not take */
	size_t out_len, out_done;

	uint64_t heard_ms; /* when the peer last sent anything */
	uint64_t pinged_ms;
	uint64_t close_by_ms; /* 0: not closing */
	bool close_waits; /* for what was queued before it */
	uint16_t close_code;
	char close_reason[64];
	size_t read_budget;
	bool eof, broken; /* the line is dead */
	bool failed; /* what the peer still sends is ignored */
	bool lingering; /* our side is shut: waiting for the peer's end */
	bool watching_read, watching_write;
};

/*
 * One thread runs all sockets, and a message is handled within one turn, so
 * they share these: a thousand quiet connections need no thousand buffers.
 */
static uint8_t in_scratch[SCRATCH];
static uint8_t out_scratch[WRITE_BATCH];
static struct list dirty = { &dirty, &dirty };
static unsigned int reading; /* inside a websocket's callbacks: flush afterwards */
static bool flush_waits; /* until the loop has run what is ready now */

static void flush(struct websocket *ws);
static void close_ahead(struct websocket *ws, uint16_t code, const char *reason);

/* ---- wslay's callbacks ---- */

static ssize_t on_recv(wslay_event_context_ptr ctx, uint8_t *buf, size_t len, int flags, void *arg)
{
	struct websocket *ws = arg;
	ssize_t n;

	(void)flags;
	if (ws->read_budget == 0) {
		wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
		return -1;
	}
	n = ws->ops->read(ws->transport, buf, len);
	if (n > 0) {
		/* A short read emptied the socket: save the call that would say so. */
		if ((size_t)n < len)
			ws->read_budget = 0;
		else
			ws->read_budget -= ws->read_budget > (size_t)n ? (size_t)n : ws->read_budget;
		return n;
	}
	if (n == -EAGAIN) {
		wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
		return -1;
	}
	ws->eof = true;
	wslay_event_set_error(ctx, WSLAY_ERR_CALLBACK_FAILURE);
	return -1;
}

/* Frames gather in out_scratch; flush() hands them on at once. */
static size_t gathered;

static ssize_t on_send(wslay_event_context_ptr ctx, const uint8_t *data, size_t len, int flags,
		       void *arg)
{
	size_t room = sizeof(out_scratch) - gathered;

	(void)flags;
	(void)arg;
	if (room == 0) {
		wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
		return -1;
	}
	if (len > room)
		len = room;
	memcpy(out_scratch + gathered, data, len);
	gathered += len;
	return (ssize_t)len;
}

/* RFC 6455 section 5.3: the mask must not be foreseeable. It is no secret. */
static int on_mask(wslay_event_context_ptr ctx, uint8_t *buf, size_t len, void *arg)
{
	(void)arg;
	if (getrandom(buf, len, 0) != (ssize_t)len) {
		wslay_event_set_error(ctx, WSLAY_ERR_CALLBACK_FAILURE);
		return -1;
	}
	return 0;
}

/* Tell the peer why, and hear nothing more from it. */
static void fail(struct websocket *ws, uint16_t code, const char *reason)
{
	if (ws->failed)
		return;
	ws->failed = true;
	close_ahead(ws, code, reason);
	wslay_event_shutdown_read(ws->wslay);
}

static void on_frame_start(wslay_event_context_ptr ctx,
			   const struct wslay_event_on_frame_recv_start_arg *f, void *arg)
{
	struct websocket *ws = arg;

	(void)ctx;
	ws->in_control = wslay_is_ctrl_frame(f->opcode);
	if (ws->failed || ws->in_control)
		return;
	if (f->opcode == WSLAY_BINARY_FRAME)
		fail(ws, CODE_UNSUPPORTED, "text messages only");
	else if (f->payload_length > ws->limits.max_message - ws->in_len)
		fail(ws, CODE_TOO_BIG, "message too long");
	if (!ws->in_message) {
		ws->in_message = true;
		ws->in_since_ms = clock_now_ms();
	}
}

static void on_chunk(wslay_event_context_ptr ctx, const struct wslay_event_on_frame_recv_chunk_arg *c,
		     void *arg)
{
	struct websocket *ws = arg;

	(void)ctx;
	if (ws->failed || ws->in_control || c->data_length == 0)
		return;
	if (c->data_length > ws->limits.max_message - ws->in_len) {
		fail(ws, CODE_TOO_BIG, "message too long");
		return;
	}
	if (!ws->in && ws->in_len + c->data_length > sizeof(in_scratch)) {
		ws->in = malloc(ws->limits.max_message);
		if (!ws->in) {
			fail(ws, CODE_TRY_LATER, "out of memory");
			return;
		}
		memcpy(ws->in, in_scratch, ws->in_len);
	}
	memcpy((ws->in ? ws->in : in_scratch) + ws->in_len, c->data, c->data_length);
	ws->in_len += c->data_length;
}

static void forget_message(struct websocket *ws)
{
	free(ws->in);
	ws->in = NULL;
	ws->in_len = 0;
	ws->in_message = false;
}

static void on_message(wslay_event_context_ptr ctx, const struct wslay_event_on_msg_recv_arg *m,
		       void *arg)
{
	struct websocket *ws = arg;
	uint8_t *own;
	size_t len;

	(void)ctx;
	if (ws->failed || m->opcode != WSLAY_TEXT_FRAME)
		return;
	own = ws->in;
	len = ws->in_len;
	ws->in = NULL;
	forget_message(ws);
	if (!ws->close_by_ms)
		ws->handlers.on_message(ws, (const char *)(own ? own : in_scratch), len,
					ws->handlers.arg);
	free(own);
}

static const struct wslay_event_callbacks callbacks = {
	.recv_callback = on_recv,
	.send_callback = on_send,
	.genmask_callback = on_mask,
	.on_frame_recv_start_callback = on_frame_start,
	.on_frame_recv_chunk_callback = on_chunk,
	.on_msg_recv_callback = on_message,
};

/* ---- life ---- */

static void on_timer(void *arg);

int websocket_new(struct websocket **out, struct loop *l, bool client,
		  const struct websocket_transport *ops, void *t)
{
	struct websocket *ws = calloc(1, sizeof(*ws));
	int r;

	if (!ws)
		return -ENOMEM;
	r = client ? wslay_event_context_client_init(&ws->wslay, &callbacks, ws) :
		     wslay_event_context_server_init(&ws->wslay, &callbacks, ws);
	if (r || loop_timer_new(&ws->timer, l, on_timer, ws)) {
		if (!r)
			wslay_event_context_free(ws->wslay);
		free(ws);
		return -ENOMEM;
	}
	wslay_event_config_set_no_buffering(ws->wslay, 1);
	ws->loop = l;
	ws->ops = ops;
	ws->transport = t;
	*out = ws;
	return 0;
}

/* The end: nothing may touch ws afterwards. */
static void finish(struct websocket *ws)
{
	uint16_t code = wslay_event_get_close_received(ws->wslay) ?
				wslay_event_get_status_code_received(ws->wslay) :
				CODE_ABNORMAL;

	list_remove(&ws->dirty);
	/* The loop may end with its last websocket, and a deferred call with it. */
	if (list_is_empty(&dirty))
		flush_waits = false;
	loop_timer_free(ws->timer);
	ws->ops->close(ws->transport);
	if (ws->handlers.on_close)
		ws->handlers.on_close(ws, code, ws->handlers.arg);
	wslay_event_context_free(ws->wslay);
	free(ws->in);
	free(ws->out);
	free(ws);
}

void websocket_abort(struct websocket *ws)
{
	finish(ws);
}

/* When the timer has to look again, UINT64_MAX: never. */
static uint64_t next_look_ms(const struct websocket *ws)
{
	uint64_t interval = ws->limits.ping_interval_ms, next = UINT64_MAX;

	if (ws->broken)
		return 0;
	if (ws->close_by_ms)
		next = ws->close_by_ms;
	if (ws->in_message && ws->limits.message_timeout_ms)
		next = min_u64(next, ws->in_since_ms + ws->limits.message_timeout_ms);
	if (interval && !ws->close_by_ms) {
		/* Ping after one and two intervals of silence, give up after two and a half. */
		uint64_t pinged = ws->pinged_ms > ws->heard_ms ? ws->pinged_ms : ws->heard_ms;

		next = min_u64(next, min_u64(pinged + interval, ws->heard_ms + interval * 5 / 2));
	}
	return next;
}

static void set_timer(struct websocket *ws)
{
	uint64_t next = next_look_ms(ws), now;

	if (next == UINT64_MAX) {
		loop_timer_stop(ws->timer);
		return;
	}
	now = clock_now_ms();
	/* Failing to arm it is the machinery's end; the next event tries again. */
	(void)loop_timer_start(ws->timer, next > now ? next - now : 0);
}

/* After anything happened: hand out what is to be written, see whether it is over. */
static void settle(struct websocket *ws)
{
	bool want_read, want_write;

	if (!ws->broken && !ws->lingering)
		flush(ws);
	if (ws->broken || (ws->lingering && ws->eof)) {
		finish(ws);
		return;
	}
	want_write = ws->out_len > 0 || ws->ops->unsent(ws->transport) > 0;
	if (!ws->lingering && !want_write && wslay_event_get_close_sent(ws->wslay)) {
		if (wslay_event_get_close_received(ws->wslay)) {
			finish(ws);
			return;
		}
		/*
		 * Our close frame is out and no answer can be awaited in order
		 * (the peer broke the protocol, or is not done sending). Closing with
		 * bytes unread would reset the connection and may destroy the
		 * frame on its way: shut our side, and read to the end.
		 */
		ws->lingering = !wslay_event_want_read(ws->wslay);
		if (ws->lingering)
			ws->ops->shutdown_write(ws->transport);
	} else if (!ws->lingering && ws->eof) {
		finish(ws);
		return;
	}
	want_read = ws->lingering || wslay_event_want_read(ws->wslay);
	/* The peer is closing, or wslay closes it for breaking the protocol. */
	if (!ws->close_by_ms && !wslay_event_want_read(ws->wslay))
		ws->close_by_ms = clock_now_ms() + CLOSE_LIMIT_MS;
	if (want_read != ws->watching_read || want_write != ws->watching_write) {
		ws->watching_read = want_read;
		ws->watching_write = want_write;
		ws->ops->watch(ws->transport, want_read, want_write);
	}
	if (ws->close_by_ms || ws->in_message || !loop_timer_is_running(ws->timer))
		set_timer(ws);
}

static void drain(struct websocket *ws)
{
	for (int i = 0; i < 4; i++) {
		ssize_t n = ws->ops->read(ws->transport, in_scratch, sizeof(in_scratch));

		if (n == -EAGAIN)
			return;
		if (n <= 0) {
			ws->eof = true;
			return;
		}
	}
}

static void read_some(struct websocket *ws)
{
	ws->read_budget = READ_BUDGET;
	ws->heard_ms = clock_now_ms();
	reading++;
	if (wslay_event_recv(ws->wslay) != 0 && !ws->eof) {
		/* A frame that is none: wslay (or fail() before it) has queued the close frame. */
		ws->failed = true;
		wslay_event_shutdown_read(ws->wslay);
	}
	reading--;
	/* The scratch buffer is for one turn. */
	if (ws->in_len && !ws->in) {
		ws->in = malloc(ws->limits.max_message);
		if (ws->in)
			memcpy(ws->in, in_scratch, ws->in_len);
		else
			fail(ws, CODE_TRY_LATER, "out of memory");
	}
	if (ws->failed)
		forget_message(ws);
	if (websocket_unsent(ws) > ws->limits.max_unsent && !ws->close_by_ms) {
		/* Only pongs that it does not take can have piled up while reading. */
		flush(ws);
		if (websocket_unsent(ws) > ws->limits.max_unsent)
			ws->broken = true;
	}
}

static void flush_dirty(void)
{
	list_for_each(it, &dirty) {
		struct websocket *ws = container_of(it, struct websocket, dirty);

		list_remove(it);
		flush(ws);
	}
}

static void on_flush(void *arg)
{
	(void)arg;
	flush_waits = false;
	flush_dirty();
}

void websocket_on_io(struct websocket *ws, bool readable, bool writable)
{
	(void)writable; /* settle() writes in any case */
	if (readable && ws->lingering)
		drain(ws);
	else if (readable && wslay_event_want_read(ws->wslay))
		read_some(ws);
	/*
	 * What others were sent goes out when all that is ready has been read: their
	 * receivers wake up once and find much, instead of once for each message.
	 */
	if (!list_is_empty(&dirty) && !flush_waits)
		flush_waits = loop_defer(ws->loop, on_flush, NULL) == 0;
	if (!flush_waits)
		flush_dirty();
	settle(ws);
}

static void on_timer(void *arg)
{
	struct websocket *ws = arg;
	uint64_t now = clock_now_ms(), interval = ws->limits.ping_interval_ms;

	if (ws->close_by_ms && now >= ws->close_by_ms)
		ws->broken = true;
	if (ws->in_message && ws->limits.message_timeout_ms &&
	    now >= ws->in_since_ms + ws->limits.message_timeout_ms) {
		fail(ws, CODE_POLICY, "message took too long");
		forget_message(ws);
	}
	if (interval && !ws->close_by_ms && !ws->broken) {
		if (now >= ws->heard_ms + interval * 5 / 2) {
			ws->broken = true;
		} else if (now >= ws->heard_ms + interval && now >= ws->pinged_ms + interval) {
			const struct wslay_event_msg ping = { .opcode = WSLAY_PING };

			ws->pinged_ms = now;
			wslay_event_queue_msg(ws->wslay, &ping);
		}
	}
	if (!ws->broken && !ws->lingering)
		flush(ws);
	set_timer(ws);
	settle(ws);
}

/* ---- for the owner ---- */

void websocket_start(struct websocket *ws, const struct websocket_handlers *h,
		     const struct websocket_limits *limits)
{
	assert(limits->max_message > 0);
	ws->handlers = *h;
	ws->limits = *limits;
	ws->heard_ms = clock_now_ms();
	ws->pinged_ms = ws->heard_ms;
	/* wslay's own count of a message's frames; ours comes first. */
	wslay_event_config_set_max_recv_msg_length(ws->wslay, limits->max_message + 125);
	ws->watching_read = true;
	ws->ops->watch(ws->transport, true, false);
	set_timer(ws);
}

/* The line is dead; the loop will call on_close. */
static void set_broken(struct websocket *ws)
{
	ws->broken = true;
	(void)loop_timer_start(ws->timer, 0);
}

/* Write what the transport takes; keep the rest. */
static bool write_out(struct websocket *ws, const uint8_t *p, size_t len, size_t *done)
{
	while (*done < len) {
		ssize_t n = ws->ops->write(ws->transport, p + *done, len - *done);

		if (n == -EAGAIN)
			return true;
		if (n < 0) {
			set_broken(ws);
			return false;
		}
		*done += (size_t)n;
	}
	return true;
}

static void queue_close(struct websocket *ws, uint16_t code, const char *reason)
{
	wslay_event_queue_close(ws->wslay, code, (const uint8_t *)reason, strlen(reason));
}

static void flush(struct websocket *ws)
{
	if (ws->broken)
		return;
	if (ws->out_len) {
		if (!write_out(ws, ws->out, ws->out_len, &ws->out_done) || ws->out_done < ws->out_len)
			return;
		free(ws->out);
		ws->out = NULL;
		ws->out_len = ws->out_done = 0;
	}
	while (wslay_event_want_write(ws->wslay)) {
		size_t done = 0;

		gathered = 0;
		if (wslay_event_send(ws->wslay)) {
			set_broken(ws);
			return;
		}
		if (gathered == 0)
			return;
		if (!write_out(ws, out_scratch, gathered, &done))
			return;
		if (done < gathered) {
			ws->out = malloc(gathered - done);
			if (!ws->out) {
				set_broken(ws);
				return;
			}
			ws->out_len = gathered - done;
			memcpy(ws->out, out_scratch + done, ws->out_len);
			if (!ws->watching_write) {
				ws->watching_write = true;
				ws->ops->watch(ws->transport, ws->watching_read, true);
			}
			return;
		}
	}
	if (ws->close_waits) {
		ws->close_waits = false;
		queue_close(ws, ws->close_code, ws->close_reason);
		flush(ws);
	}
}

/* Something was queued: write it now, or at the end of this turn. */
static void wake(struct websocket *ws)
{
	if (!reading)
		flush(ws);
	else if (!ws->dirty.next)
		list_append(&dirty, &ws->dirty);
}

size_t websocket_unsent(const struct websocket *ws)
{
	return wslay_event_get_queued_msg_length(ws->wslay) + ws->out_len - ws->out_done +
	       ws->ops->unsent(ws->transport);
}

int websocket_send(struct websocket *ws, const char *text, size_t len)
{
	const struct wslay_event_msg msg = { .opcode = WSLAY_TEXT_FRAME,
					     .msg = (const uint8_t *)text,
					     .msg_length = len };
	int r;

	if (ws->close_by_ms || ws->broken)
		return -ENOTCONN;
	if (websocket_unsent(ws) + len > ws->limits.max_unsent) {
		flush(ws);
		if (websocket_unsent(ws) + len > ws->limits.max_unsent) {
			close_ahead(ws, CODE_TRY_LATER, "too slow");
			return -ENOBUFS;
		}
	}
	r = wslay_event_queue_msg(ws->wslay, &msg);
	if (r) {
		if (r == WSLAY_ERR_NOMEM)
			set_broken(ws);
		return -ENOTCONN;
	}
	wake(ws);
	return 0;
}

/* The close frame goes out ahead of what is queued: a control frame may, and wslay lets it. */
static void close_ahead(struct websocket *ws, uint16_t code, const char *reason)
{
	if (ws->close_by_ms || ws->broken)
		return;
	ws->close_by_ms = clock_now_ms() + CLOSE_LIMIT_MS;
	queue_close(ws, code, reason);
	set_timer(ws);
	wake(ws);
}

void websocket_close(struct websocket *ws, uint16_t code, const char *reason)
{
	if (ws->close_by_ms || ws->broken)
		return;
	if (wslay_event_get_queued_msg_count(ws->wslay) == 0) {
		close_ahead(ws, code, reason ? reason : "");
		return;
	}
	ws->close_by_ms = clock_now_ms() + CLOSE_LIMIT_MS;
	ws->close_waits = true;
	ws->close_code = code;
	snprintf(ws->close_reason, sizeof(ws->close_reason), "%s", reason ? reason : "");
	set_timer(ws);
	wake(ws);
}

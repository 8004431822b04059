/* One request, one answer with its body: by length, by chunks, or to the end of the connection. */
#include "http/websocket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>

#include "base/text.h"
#include "event/loop.h"
#include "http/client.h"

enum { BODY_MAX = 64 * 1024, CHUNK_LINE_MAX = 256 };

enum framing { TO_THE_END, BY_LENGTH, BY_CHUNKS };

struct http_fetch {
	struct http_client *client;
	struct bufferevent *stream;
	struct loop_timer *deadline;
	http_fetch_fn fn;
	void *arg;
	unsigned int status;
	enum framing framing;
	uint64_t left; /* of the body, or of the present chunk with its line end */
	struct evbuffer *body;
	bool ended;
};

/* fn may free f: nothing may follow. */
static void finish(struct http_fetch *f, int outcome, const char *detail)
{
	size_t len = f->body ? evbuffer_get_length(f->body) : 0;
	const char *text = "";

	if (f->stream)
		bufferevent_setcb(f->stream, NULL, NULL, NULL, NULL);
	loop_timer_stop(f->deadline);
	if (outcome) {
		f->fn(0, NULL, 0, outcome, detail, f->arg);
		return;
	}
	if (len)
		text = (const char *)evbuffer_pullup(f->body, -1);
	f->fn(f->status, text, len, 0, NULL, f->arg);
}

static void on_deadline(void *arg)
{
	struct http_fetch *f = arg;

	/* Its own deadline may be due in the same millisecond. */
	f->client = http_client_free(f->client);
	finish(f, WEBSOCKET_E_TIMEOUT, "no whole answer in time");
}

/* RFC 9112 section 7.1: what can be taken of the chunks. 1: all is here; -EBADMSG. */
static int take_chunks(struct http_fetch *f, struct evbuffer *in)
{
	for (;;) {
		char *line, *end;
		size_t len;

		if (f->left > 2) {
			size_t n = evbuffer_get_length(in), want = (size_t)f->left - 2;

			if (n == 0)
				return 0;
			evbuffer_remove_buffer(in, f->body, n < want ? n : want);
			f->left -= n < want ? n : want;
			if (evbuffer_get_length(f->body) > BODY_MAX)
				return -EBADMSG;
			continue;
		}
		if (f->left) {
			if (evbuffer_get_length(in) < 2)
				return 0;
			evbuffer_drain(in, 2);
			f->left = 0;
		}
		line = evbuffer_readln(in, &len, EVBUFFER_EOL_CRLF_STRICT);
		if (!line)
			return evbuffer_get_length(in) > CHUNK_LINE_MAX ? -EBADMSG : 0;
		f->left = strtoull(line, &end, 16);
		if (end == line || (*end && *end != ';' && *end != ' ') || *line == '-' ||
		    f->left > BODY_MAX)
			f->left = UINT64_MAX;
		free(line);
		if (f->left == UINT64_MAX)
			return -EBADMSG;
		if (f->left == 0)
			return 1; /* trailers are of no use here: the connection is closed */
		f->left += 2;
	}
}

static void take_body(struct http_fetch *f)
{
	struct evbuffer *in = bufferevent_get_input(f->stream);
	int r = 0;

	if (f->framing == BY_CHUNKS) {
		r = take_chunks(f, in);
	} else {
		evbuffer_add_buffer(f->body, in);
		if (evbuffer_get_length(f->body) > BODY_MAX ||
		    (f->framing == BY_LENGTH && evbuffer_get_length(f->body) > f->left))
			r = -EBADMSG;
		else if (f->framing == BY_LENGTH)
			r = evbuffer_get_length(f->body) == f->left;
		else
			r = f->ended;
	}
	if (r < 0)
		finish(f, WEBSOCKET_E_REFUSED, "the answer is too large or damaged");
	else if (r > 0)
		finish(f, 0, NULL);
	else if (f->ended)
		finish(f, WEBSOCKET_E_CONNECT, "the connection was closed within the answer");
}

static void on_readable(struct bufferevent *stream, void *arg)
{
	(void)stream;
	take_body(arg);
}

static void on_event(struct bufferevent *stream, short what, void *arg)
{
	struct http_fetch *f = arg;

	(void)stream;
	if (!(what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)))
		return;
	f->ended = true;
	take_body(f);
}

/* How the body ends (RFC 9112 section 6.3). 0 or -EBADMSG. */
static int read_framing(struct http_fetch *f, const struct http_answer *a)
{
	unsigned int lengths, codings;
	const char *length = http_answer_header(a, "Content-Length", &lengths);
	const char *coding = http_answer_header(a, "Transfer-Encoding", &codings);

	if (a->status < 200 || lengths > 1 || codings > 1 || (length && coding))
		return -EBADMSG;
	f->framing = TO_THE_END;
	if (coding) {
		f->framing = BY_CHUNKS;
		return strcasecmp(coding, "chunked") == 0 ? 0 : -EBADMSG;
	}
	if (length || a->status == 204 || a->status == 304) {
		f->framing = BY_LENGTH;
		if (length && text_parse_u64(&f->left, length, 0, BODY_MAX))
			return -EBADMSG;
	}
	return 0;
}

static void on_answer(const struct http_answer *answer, int outcome, const char *detail, void *arg)
{
	struct http_fetch *f = arg;

	if (!answer) {
		finish(f, outcome, detail);
		return;
	}
	f->status = answer->status;
	if (read_framing(f, answer)) {
		finish(f, WEBSOCKET_E_REFUSED, "the answer is too large or damaged");
		return;
	}
	f->stream = http_client_take(f->client);
	f->body = evbuffer_new();
	if (!f->body) {
		finish(f, WEBSOCKET_E_CONNECT, "out of memory");
		return;
	}
	bufferevent_setcb(f->stream, on_readable, NULL, on_event, f);
	take_body(f);
}

int http_fetch_start(struct http_fetch **out, struct loop *l, const char *method, const char *url,
		     const char *ca_file, const char *token, uint64_t timeout_ms, http_fetch_fn fn,
		     void *arg)
{
	static const char get[] = "Connection: close\r\n";
	static const char post[] = "Connection: close\r\nContent-Length: 0\r\n";
	_cleanup_(http_fetch_freep) struct http_fetch *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return -ENOMEM;
	f->fn = fn;
	f->arg = arg;
	r = loop_timer_new(&f->deadline, l, on_deadline, f);
	if (!r)
		r = http_client_start(&f->client, l, method, url, ca_file,
				      strcmp(method, "GET") == 0 ? get : post, token, timeout_ms, on_answer, f);
	if (!r)
		r = loop_timer_start(f->deadline, timeout_ms);
	if (r)
		return r;
	*out = steal(&f);
	return 0;
}

struct http_fetch *http_fetch_free(struct http_fetch *f)
{
	if (!f)
		return NULL;
	http_client_free(f->client);
	if (f->stream)
		bufferevent_free(f->stream);
	if (f->body)
		evbuffer_free(f->body);
	loop_timer_free(f->deadline);
	free(f);
	return NULL;
}

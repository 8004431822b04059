/*
 * Varlink clients: one that blocks, for the command, and one in the loop, for a
 * daemon that calls another. Both speak one call at a time over a connection of
 * their own; what comes back is bounded like everything from outside.
 */
#include "event/varlink.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <jansson.h>

#include "base/json.h"
#include "event/loop.h"

enum { REPLY_MAX = 1 << 20, READ_CHUNK = 4096 };

static const struct json_limits reply_limits = {
	.max_bytes = REPLY_MAX,
	.max_depth = 20,
	.max_keys = 100000, /* a daemon of ours answers, with lists as long as they are */
};

/* Bytes received and not yet taken as a message. */
struct inbox {
	char *buf;
	size_t len, cap;
};

/* One NUL-ended message from the inbox: 0 with a new reference, -EAGAIN when none is whole, -EPROTO, -ENOMEM. */
static int inbox_take(struct inbox *in, json_t **out)
{
	char *end = in->len ? memchr(in->buf, '\0', in->len) : NULL;
	size_t used;
	int r;

	if (!end)
		return in->len > REPLY_MAX ? -EPROTO : -EAGAIN;
	used = (size_t)(end - in->buf);
	r = json_parse(out, in->buf, used, &reply_limits);
	in->len -= used + 1;
	memmove(in->buf, end + 1, in->len);
	return r > 0 ? -EPROTO : r;
}

/* Read what is there: 0, -EAGAIN, -ECONNRESET at the end, or another errno. */
static int inbox_fill(struct inbox *in, int fd)
{
	ssize_t n;

	if (in->cap - in->len < READ_CHUNK) {
		size_t cap = in->cap ? in->cap * 2 : READ_CHUNK * 2;
		char *p = realloc(in->buf, cap);

		if (!p)
			return -ENOMEM;
		in->buf = p;
		in->cap = cap;
	}
	do
		n = recv(fd, in->buf + in->len, in->cap - in->len, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n == 0)
		return -ECONNRESET;
	in->len += (size_t)n;
	return 0;
}

/* The text of a call with its NUL counted in *len. params is stolen. */
static char *call_text(const char *method, json_t *params, bool more, size_t *len)
{
	_cleanup_json_ json_t *call = json_pack("{s:s, s:o}", "method", method, "parameters",
						params ? params : json_object());
	char *text;

	if (!call || (more && json_object_set_new(call, "more", json_true()) < 0))
		return NULL;
	text = json_text(call);
	if (text)
		*len = strlen(text) + 1;
	return text;
}

/* ---- blocking ---- */

struct varlink_client {
	int fd;
	struct inbox in;
};

int varlink_client_open(struct varlink_client **out, const char *path)
{
	struct varlink_client *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->fd = unix_connect(path, SOCK_STREAM, false);
	if (c->fd < 0) {
		int r = c->fd;

		free(c);
		return r;
	}
	*out = c;
	return 0;
}

int varlink_client_fd(const struct varlink_client *c)
{
	return c->fd;
}

struct varlink_client *varlink_client_free(struct varlink_client *c)
{
	if (!c)
		return NULL;
	closep(&c->fd);
	free(c->in.buf);
	free(c);
	return NULL;
}

void varlink_failure_done(struct varlink_failure *f)
{
	free(f->error);
	free(f->message);
	free(f->hint);
	*f = (struct varlink_failure){ 0 };
}

static char *copy_or_null(const char *s)
{
	return s ? strdup(s) : NULL;
}

/* Words for the standard errors, which carry none of their own. */
static char *standard_message(const char *error, const json_t *params)
{
	const char *last = strrchr(error, '.');
	const char *what = json_get_str(params, "parameter");
	char *text;

	if (!what)
		what = json_get_str(params, "method");
	if (!what)
		what = json_get_str(params, "interface");
	if (asprintf(&text, "the daemon answered %s%s%s", last ? last + 1 : error, what ? ": " : "",
		     what ? what : "") < 0)
		return NULL;
	return text;
}

static int failure_from(const json_t *msg, struct varlink_failure *f)
{
	const char *error = json_get_str(msg, "error");
	const json_t *params = json_object_get(msg, "parameters");
	const char *message = json_get_str(params, "message");

	f->error = strdup(error);
	f->message = message ? strdup(message) : standard_message(error, params);
	f->hint = copy_or_null(json_get_str(params, "hint"));
	return f->error && f->message ? VARLINK_E_ERROR : -ENOMEM;
}

static int send_all(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Parameters of a reply, a new reference; an absent member is an empty object. */
static json_t *reply_params(const json_t *msg)
{
	json_t *p = json_object_get(msg, "parameters");

	return json_is_object(p) ? json_incref(p) : json_object();
}

int varlink_client_call(struct varlink_client *c, const char *method, struct json_t *params,
			int (*on_more)(const struct json_t *params, void *arg), void *arg,
			struct json_t **reply, struct varlink_failure *failure)
{
	size_t len;
	_cleanup_free_ char *text = call_text(method, params, on_more != NULL, &len);
	int r;

	if (!text)
		return -ENOMEM;
	r = send_all(c->fd, text, len);
	if (r)
		return r;
	for (;;) {
		_cleanup_json_ json_t *msg = NULL;
		_cleanup_json_ json_t *answer = NULL;

		r = inbox_take(&c->in, &msg);
		if (r == -EAGAIN) {
			r = inbox_fill(&c->in, c->fd);
			if (r)
				return r;
			continue;
		}
		if (r)
			return r;
		if (json_get_str(msg, "error"))
			return failure_from(msg, failure);
		answer = reply_params(msg);
		if (!answer)
			return -ENOMEM;
		if (!json_is_true(json_object_get(msg, "continues"))) {
			*reply = steal(&answer);
			return 0;
		}
		r = on_more ? on_more(answer, arg) : 0;
		if (r)
			return r;
	}
}

/* ---- in the loop ---- */

struct varlink_async {
	struct loop *loop;
	struct loop_io *io;
	int fd;
	struct inbox in;
	char *out;
	size_t out_len, out_sent;
	varlink_async_fn on_reply;
	void *arg;
	bool ended;	/* the last answer was given */
	bool in_callback; /* free is put off until it returns */
	bool dead;
};

static void async_destroy(struct varlink_async *a)
{
	loop_io_free(a->io);
	closep(&a->fd);
	free(a->in.buf);
	free(a->out);
	free(a);
}

struct varlink_async *varlink_async_free(struct varlink_async *a)
{
	if (!a)
		return NULL;
	a->dead = true;
	if (!a->in_callback)
		async_destroy(a);
	return NULL;
}

/* Returns false when the callback freed the handle, which is gone then. */
static bool async_tell(struct varlink_async *a, const json_t *params, const char *error, bool continues)
{
	if (!continues) {
		a->ended = true;
		a->io = loop_io_free(a->io);
	}
	a->in_callback = true;
	a->on_reply(params, error, continues, a->arg);
	a->in_callback = false;
	if (!a->dead)
		return true;
	async_destroy(a);
	return false;
}

static void async_read(struct varlink_async *a)
{
	int r = inbox_fill(&a->in, a->fd);

	if (r == -EAGAIN)
		return;
	while (!a->ended) {
		_cleanup_json_ json_t *msg = NULL;
		_cleanup_json_ json_t *params = NULL;
		bool continues;
		int t = inbox_take(&a->in, &msg);

		if (t == -EAGAIN && !r)
			return;
		if (t) {
			async_tell(a, NULL, "connection", false);
			return;
		}
		params = reply_params(msg);
		continues = json_is_true(json_object_get(msg, "continues"));
		if (!async_tell(a, params, json_get_str(msg, "error"), continues))
			return;
	}
}

static void async_on_io(int fd, unsigned int events, void *arg)
{
	struct varlink_async *a = arg;

	if (events & LOOP_WRITE && a->out_sent < a->out_len) {
		ssize_t n = send(fd, a->out + a->out_sent, a->out_len - a->out_sent, MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			async_tell(a, NULL, "connection", false);
			return;
		}
		if (n > 0)
			a->out_sent += (size_t)n;
		if (a->out_sent == a->out_len)
			loop_io_set(a->io, LOOP_READ);
	}
	if (events & LOOP_READ)
		async_read(a);
}

int varlink_async_call(struct varlink_async **out, struct loop *l, const char *path,
		       const char *method, struct json_t *params, bool more,
		       varlink_async_fn on_reply, void *arg)
{
	struct varlink_async *a = calloc(1, sizeof(*a));
	int r;

	if (!a) {
		json_decref(params);
		return -ENOMEM;
	}
	a->loop = l;
	a->fd = -1;
	a->on_reply = on_reply;
	a->arg = arg;
	a->out = call_text(method, params, more, &a->out_len);
	r = a->out ? 0 : -ENOMEM;
	if (!r) {
		a->fd = unix_connect(path, SOCK_STREAM, true);
		r = a->fd < 0 ? a->fd : 0;
	}
	if (!r)
		r = loop_io_new(&a->io, l, a->fd, LOOP_READ | LOOP_WRITE, async_on_io, a);
	if (r) {
		async_destroy(a);
		return r;
	}
	*out = a;
	return 0;
}

/*
 * The client that blocks, for the command. One call at a time; a call whose
 * answers were not read to the last one leaves the connection unusable, and
 * later calls on it fail with -EPROTO rather than read another's answers.
 */
#include "event/varlink.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <jansson.h>

#include "base/json.h"
#include "event/varlink_message.h"

struct varlink_client {
	int fd;
	bool spoilt;
	int timeout_ms; /* for poll(): -1 waits for ever */
	char *buf;
	size_t len, cap;
};

void varlink_failure_done(struct varlink_failure *f)
{
	free(f->error);
	free(f->message);
	free(f->hint);
	memset(f, 0, sizeof(*f));
}

/* "No such session" out of "io.handfast.Relay.NoSuchSession", for errors that bring no message. */
static char *words_of_error(const char *error, const json_t *params)
{
	const char *name = strrchr(error, '.');
	const char *what = NULL;
	char text[256] = "";
	size_t n = 0;

	name = name ? name + 1 : error;
	for (; *name && n + 3 < 128; name++) {
		bool capital = *name >= 'A' && *name <= 'Z';

		if (capital && n) {
			text[n++] = ' ';
			text[n++] = (char)(*name - 'A' + 'a');
		} else {
			text[n++] = *name;
		}
	}
	text[n] = '\0';
	for (size_t i = 0; i < 4 && !what; i++)
		what = json_get_str(params, ((const char *[]){ "parameter", "method", "interface",
							       "reason" })[i]);
	if (what)
		snprintf(text + n, sizeof(text) - n, ": %.100s", what);
	return strdup(text);
}

static int failure_fill(struct varlink_failure *f, const struct varlink_answer *a)
{
	const char *message = json_get_str(a->params, "message");
	const char *hint = json_get_str(a->params, "hint");

	memset(f, 0, sizeof(*f));
	f->error = strdup(a->error);
	f->message = message ? strdup(message) : words_of_error(a->error, a->params);
	f->hint = strdup(hint ? hint : "");
	if (f->error && f->message && f->hint)
		return VARLINK_E_ERROR;
	varlink_failure_done(f);
	return -ENOMEM;
}

static int wait_for(struct varlink_client *c, short events)
{
	struct pollfd p = { .fd = c->fd, .events = events };
	int r;

	do {
		r = poll(&p, 1, c->timeout_ms);
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	return r ? 0 : -ETIMEDOUT;
}

static int send_all(struct varlink_client *c, const char *text, size_t len)
{
	while (len) {
		ssize_t n = send(c->fd, text, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		int r;

		if (n > 0) {
			text += n;
			len -= (size_t)n;
			continue;
		}
		if (errno == EINTR)
			continue;
		/* The daemon may have said why before it closed. */
		if (errno == EPIPE)
			return 0;
		if (errno != EAGAIN)
			return -errno;
		r = wait_for(c, POLLOUT);
		if (r)
			return r;
	}
	return 0;
}

static int read_some(struct varlink_client *c)
{
	ssize_t n;
	int r;

	if (c->len == c->cap) {
		size_t cap = c->cap ? c->cap * 2 : 4096;
		char *more;

		if (cap > 2 * (size_t)VARLINK_ANSWER_MAX)
			return -EPROTO;
		more = realloc(c->buf, cap);
		if (!more)
			return -ENOMEM;
		c->buf = more;
		c->cap = cap;
	}
	r = wait_for(c, POLLIN);
	if (r)
		return r;
	do {
		n = recv(c->fd, c->buf + c->len, c->cap - c->len, 0);
	} while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n ? -errno : -ECONNRESET;
	c->len += (size_t)n;
	return 0;
}

static int answer_read(struct varlink_client *c, struct varlink_answer *a)
{
	size_t seen = 0;
	char *nul;
	int r;

	while (!(nul = c->len > seen ? memchr(c->buf + seen, '\0', c->len - seen) : NULL)) {
		seen = c->len;
		r = read_some(c);
		if (r)
			return r;
	}
	r = varlink_answer_init(a, c->buf, (size_t)(nul - c->buf));
	c->len -= (size_t)(nul - c->buf) + 1;
	memmove(c->buf, nul + 1, c->len);
	return r;
}

int varlink_client_open_within(struct varlink_client **out, const char *path, unsigned int ms)
{
	struct varlink_client *c;
	int fd = unix_connect_within(path, SOCK_STREAM, ms);

	if (fd < 0)
		return fd;
	c = calloc(1, sizeof(*c));
	if (!c) {
		close(fd);
		return -ENOMEM;
	}
	c->fd = fd;
	c->timeout_ms = -1;
	*out = c;
	return 0;
}

int varlink_client_open(struct varlink_client **out, const char *path)
{
	return varlink_client_open_within(out, path, 0);
}

void varlink_client_set_timeout(struct varlink_client *c, int timeout_ms)
{
	c->timeout_ms = timeout_ms;
}

/* Read answers to the last one. */
static int answers_follow(struct varlink_client *c, int (*on_more)(const json_t *params, void *arg),
			  void *arg, json_t **reply, struct varlink_failure *failure)
{
	for (;;) {
		struct varlink_answer a;
		int r = answer_read(c, &a);

		if (r)
			return r;
		if (a.error) {
			r = failure_fill(failure, &a);
			varlink_answer_done(&a);
			return r;
		}
		if (!a.continues) {
			*reply = json_incref(a.params);
			varlink_answer_done(&a);
			return 0;
		}
		r = on_more ? on_more(a.params, arg) : 0;
		varlink_answer_done(&a);
		if (r)
			return r;
	}
}

int varlink_client_call(struct varlink_client *c, const char *method, struct json_t *params,
			int (*on_more)(const struct json_t *params, void *arg), void *arg,
			struct json_t **reply, struct varlink_failure *failure)
{
	_cleanup_free_ char *text = varlink_call_text(method, params, on_more != NULL);
	_cleanup_json_ json_t *last = NULL;
	int r;

	memset(failure, 0, sizeof(*failure));
	if (!text)
		return -ENOMEM;
	if (c->spoilt)
		return -EPROTO;
	c->spoilt = true;
	r = send_all(c, text, strlen(text) + 1);
	if (!r)
		r = answers_follow(c, on_more, arg, &last, failure);
	/* An error from the daemon ends a call as well as an answer; on_more's own value does not. */
	c->spoilt = r && !failure->error;
	if (!r)
		*reply = steal(&last);
	return r;
}

int varlink_client_fd(const struct varlink_client *c)
{
	return c->fd;
}

struct varlink_client *varlink_client_free(struct varlink_client *c)
{
	if (!c)
		return NULL;
	close(c->fd);
	free(c->buf);
	free(c);
	return NULL;
}

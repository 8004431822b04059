/* The client in the loop: one connection for one call, closed with its handle. */
#include "event/varlink.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/json.h"
#include "event/loop.h"
#include "event/varlink_message.h"

struct varlink_async {
	int fd;
	struct loop_io *io;
	char *out;
	size_t out_len, out_sent;
	char *in;
	size_t in_len, in_cap;
	varlink_async_fn on_reply;
	void *arg;
	bool over;	 /* the last answer was told */
	bool *freed;	 /* set while a callback runs */
};

/* Tell one answer. False when the handle was freed in the callback. */
static bool tell(struct varlink_async *a, const struct json_t *params, const char *error,
		 bool continues)
{
	bool freed = false;

	if (!continues) {
		a->over = true;
		a->io = loop_io_free(a->io);
	}
	a->freed = &freed;
	a->on_reply(params, error, continues, a->arg);
	if (!freed)
		a->freed = NULL;
	return !freed;
}

static void fail(struct varlink_async *a)
{
	tell(a, NULL, "connection", false);
}

static int send_rest(struct varlink_async *a)
{
	while (a->out_sent < a->out_len) {
		ssize_t n = send(a->fd, a->out + a->out_sent, a->out_len - a->out_sent, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		a->out_sent += (size_t)n;
	}
	return loop_io_set(a->io, LOOP_READ);
}

static int read_some(struct varlink_async *a)
{
	ssize_t n;

	if (a->in_len == a->in_cap) {
		size_t cap = a->in_cap ? a->in_cap * 2 : 4096;
		char *more = cap <= 2 * (size_t)VARLINK_ANSWER_MAX ? realloc(a->in, cap) : NULL;

		if (!more)
			return -ENOMEM;
		a->in = more;
		a->in_cap = cap;
	}
	n = recv(a->fd, a->in + a->in_len, a->in_cap - a->in_len, 0);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0)
		return -ECONNRESET;
	a->in_len += (size_t)n;
	return 0;
}

/* Tell every whole answer. False when nothing more may be done with the handle. */
static bool tell_whole_ones(struct varlink_async *a)
{
	char *nul;

	while (!a->over && a->in_len && (nul = memchr(a->in, '\0', a->in_len))) {
		struct varlink_answer answer;
		bool there;

		if (varlink_answer_init(&answer, a->in, (size_t)(nul - a->in))) {
			fail(a);
			return false;
		}
		a->in_len -= (size_t)(nul - a->in) + 1;
		memmove(a->in, nul + 1, a->in_len);
		there = tell(a, answer.params, answer.error, answer.continues);
		varlink_answer_done(&answer);
		if (!there)
			return false;
	}
	return !a->over;
}

static void on_io(int fd, unsigned int events, void *arg)
{
	struct varlink_async *a = arg;
	int r = 0;

	(void)fd;
	if (events & LOOP_READ)
		r = read_some(a);
	if (!tell_whole_ones(a))
		return;
	if (!r && (events & LOOP_WRITE))
		r = send_rest(a);
	if (r)
		fail(a);
}

int varlink_async_call(struct varlink_async **out, struct loop *l, const char *path,
		       const char *method, struct json_t *params, bool more,
		       varlink_async_fn on_reply, void *arg)
{
	_cleanup_(varlink_async_freep) struct varlink_async *a = NULL;
	_cleanup_free_ char *text = varlink_call_text(method, params, more);
	_cleanup_close_ int fd = -1;
	int r;

	if (!text)
		return -ENOMEM;
	fd = unix_connect(path, SOCK_STREAM, true);
	if (fd < 0)
		return steal_fd(&fd);
	a = calloc(1, sizeof(*a));
	if (!a)
		return -ENOMEM;
	a->fd = steal_fd(&fd);
	a->out_len = strlen(text) + 1;
	a->out = steal(&text);
	a->on_reply = on_reply;
	a->arg = arg;
	r = loop_io_new(&a->io, l, a->fd, LOOP_READ | LOOP_WRITE, on_io, a);
	if (r)
		return r;
	*out = steal(&a);
	return 0;
}

struct varlink_async *varlink_async_free(struct varlink_async *a)
{
	if (!a)
		return NULL;
	if (a->freed)
		*a->freed = true;
	loop_io_free(a->io);
	close(a->fd);
	free(a->out);
	free(a->in);
	free(a);
	return NULL;
}

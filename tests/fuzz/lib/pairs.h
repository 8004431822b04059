/*
 * In place of a listener in the loop: whoever connects is one end of a pair, and the other is accepted at once, for a
 * connection takes most of the time of a short run. All else of unixsock.c is real. Included first of all headers
 * of ours, once, in the fuzzer's own file.
 */
#pragma once

#define unix_server real_server
#define unix_server_new real_server_new
#define unix_server_conn_closed real_server_conn_closed
#define unix_server_free real_server_free
#define unix_server_freep real_server_freep
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wunused-function"
#include "../../../common/event/unixsock.c"
#pragma clang diagnostic pop
#undef unix_server
#undef unix_server_new
#undef unix_server_conn_closed
#undef unix_server_free
#undef unix_server_freep

#include <assert.h>

struct unix_server {
	int fd;
	size_t n_conns, max_conns;
	unix_accept_fn fn;
	void *arg;
};

int unix_server_new(struct unix_server **out, struct loop *l, int listen_fd, size_t max_conns, unix_accept_fn fn, void *arg);
void unix_server_conn_closed(struct unix_server *s);
struct unix_server *unix_server_free(struct unix_server *s);

static struct unix_server pairs_server;

int unix_server_new(struct unix_server **out, struct loop *l, int listen_fd, size_t max_conns, unix_accept_fn fn, void *arg)
{
	(void)l;
	pairs_server = (struct unix_server){ listen_fd, 0, max_conns, fn, arg };
	*out = &pairs_server;
	return 0;
}

void unix_server_conn_closed(struct unix_server *s)
{
	assert(s->n_conns > 0);
	s->n_conns--;
}

struct unix_server *unix_server_free(struct unix_server *s)
{
	if (s)
		close(s->fd);
	return NULL;
}

/* A caller of our own uid; the end is non-blocking. */
static inline int pairs_connect(int type)
{
	struct unix_server *s = &pairs_server;
	static struct unix_caller caller;
	int pair[2];

	if (!caller.pid)
		caller = (struct unix_caller){ .pid = 1, .uid = getuid(), .gid = getgid() };
	assert(socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
	if (s->n_conns < s->max_conns) {
		s->n_conns++;
		s->fn(pair[1], &caller, s->arg);
	} else {
		close(pair[1]);
	}
	return pair[0];
}

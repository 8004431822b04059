/*
 * In place of the loop where descriptors are few and runs short: one poll() a turn, timers and deferred calls of timers.h, no
 * descriptor of its own. Included once, in the fuzzer's own file.
 */
#pragma once

#include <poll.h>

#include "fuzz/lib/timers.h"

enum { IOS_MAX = 64 };

struct loop_io {
	int fd;
	unsigned int events;
	loop_io_fn fn;
	void *arg;
};

static struct loop_io *ios[IOS_MAX];
static size_t n_ios;

int loop_new(struct loop **out)
{
	*out = (struct loop *)(void *)ios;
	return 0;
}

int loop_io_new(struct loop_io **out, struct loop *l, int fd, unsigned int events, loop_io_fn fn, void *arg)
{
	struct loop_io *io = malloc(sizeof(*io));

	(void)l;
	assert(io && n_ios < IOS_MAX && fd >= 0);
	*io = (struct loop_io){ fd, events, fn, arg };
	ios[n_ios++] = *out = io;
	return 0;
}

int loop_io_set(struct loop_io *io, unsigned int events)
{
	io->events = events;
	return 0;
}

struct loop_io *loop_io_free(struct loop_io *io)
{
	for (size_t i = 0; io && i < n_ios; i++)
		if (ios[i] == io)
			ios[i] = ios[--n_ios];
	free(io);
	return NULL;
}

/* As libevent reads epoll's answer, and loop.c that. */
static unsigned int io_ready(const struct pollfd *p, unsigned int wanted)
{
	unsigned int ready = 0;

	if (wanted == LOOP_HANGUP)
		return p->revents & (POLLERR | POLLHUP | POLLRDHUP) ? LOOP_HANGUP : 0;
	if (p->revents & POLLERR || (p->revents & POLLHUP && !(p->revents & POLLRDHUP)))
		ready = LOOP_READ | LOOP_WRITE;
	else
		ready = (p->revents & POLLIN ? LOOP_READ : 0) | (p->revents & POLLOUT ? LOOP_WRITE : 0) |
			(p->revents & POLLRDHUP ? LOOP_HANGUP : 0);
	return ready & wanted;
}

/* It may have been freed by one before it. */
static bool io_exists(const struct loop_io *io)
{
	for (size_t i = 0; i < n_ios; i++)
		if (ios[i] == io)
			return true;
	return false;
}

void loop_step(struct loop *l, uint64_t max_ms)
{
	struct pollfd p[IOS_MAX];
	struct loop_io *asked[IOS_MAX];
	size_t n = n_ios;

	(void)l;
	assert(max_ms == 0);
	for (size_t i = 0; i < n; i++) {
		asked[i] = ios[i];
		p[i] = (struct pollfd){ .fd = ios[i]->fd,
					.events = (short)((ios[i]->events & LOOP_READ ? POLLIN : 0) | (ios[i]->events & LOOP_WRITE ? POLLOUT : 0) |
							  (ios[i]->events & LOOP_HANGUP ? POLLRDHUP : 0)) };
		/* Nothing wanted, and nothing told, not even a hangup. */
		if (!ios[i]->events)
			p[i].fd = -1;
	}
	if (n > 0 && poll(p, n, 0) > 0)
		for (size_t i = 0; i < n; i++) {
			unsigned int ready = p[i].fd >= 0 && p[i].revents && io_exists(asked[i]) ? io_ready(&p[i], asked[i]->events) : 0;

			if (ready)
				asked[i]->fn(asked[i]->fd, ready, asked[i]->arg);
		}
	timers_pass(0);
}

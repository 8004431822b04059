/*
 * One thread makes the call and queues what comes. Values are handed over
 * whole: no JSON value is touched by both threads.
 */
#include "ctl/stream.h"

#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/json.h"
#include "event/varlink.h"

#include "ctl/ctl.h"
#include "ctl/daemon.h"

struct item {
	struct item *next;
	enum stream_item kind;
	json_t *params;
};

struct stream {
	const struct ctl *ctl;
	const char *daemon;
	char method[128];
	struct varlink_client *client;
	json_t *params;
	pthread_t thread;
	bool started;
	int wake_fd;

	pthread_mutex_t lock; /* of what follows */
	struct item *first, **last;
	struct failure failure;
};

static void put(struct stream *s, enum stream_item kind, json_t *params)
{
	struct item *i = calloc(1, sizeof(*i));

	if (!i) {
		json_decref(params);
		return;
	}
	i->kind = kind;
	i->params = params;
	pthread_mutex_lock(&s->lock);
	*s->last = i;
	s->last = &i->next;
	pthread_mutex_unlock(&s->lock);
	eventfd_write(s->wake_fd, 1);
}

static int on_more(const json_t *params, void *arg)
{
	put(arg, STREAM_MESSAGE, json_deep_copy(params));
	return 0;
}

static void *run(void *arg)
{
	struct stream *s = arg;
	struct varlink_failure v = { 0 };
	json_t *reply = NULL;
	int r;

	r = varlink_client_call(s->client, s->method, steal(&s->params), on_more, s, &reply, &v);
	if (r) {
		pthread_mutex_lock(&s->lock);
		daemon_failure(s->ctl, s->daemon, r, &v, &s->failure);
		pthread_mutex_unlock(&s->lock);
		put(s, STREAM_FAILED, NULL);
	} else {
		put(s, STREAM_LAST, reply);
	}
	varlink_failure_done(&v);
	return NULL;
}

int stream_open(struct stream **out, const struct ctl *c, const char *daemon, const char *method,
		json_t *params, struct failure *f)
{
	_cleanup_(stream_closep) struct stream *s = calloc(1, sizeof(*s));
	sigset_t all, before;
	int r;

	if (!s) {
		json_decref(params);
		return failure_set(f, EXIT_FAILED, ERROR_INTERNAL, NULL, "no memory");
	}
	s->ctl = c;
	s->daemon = daemon;
	s->params = params;
	s->last = &s->first;
	pthread_mutex_init(&s->lock, NULL);
	snprintf(s->method, sizeof(s->method), "io.handfast.%s", method);
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = daemon_open(c, daemon, &s->client, f);
	if (r)
		return r;
	/* Signals are for the thread that asks the person. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	r = s->wake_fd < 0 ? errno : pthread_create(&s->thread, NULL, run, s);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r)
		return failure_set(f, EXIT_FAILED, ERROR_INTERNAL, NULL, "cannot start a thread");
	s->started = true;
	*out = steal(&s);
	return EXIT_DONE;
}

int stream_fd(const struct stream *s)
{
	return s->wake_fd;
}

enum stream_item stream_next(struct stream *s, json_t **params, struct failure *f)
{
	enum stream_item kind = STREAM_NOTHING;
	struct item *i;
	eventfd_t count;

	/* Emptied before looking: what is put after the look wakes again. */
	eventfd_read(s->wake_fd, &count);
	pthread_mutex_lock(&s->lock);
	i = s->first;
	if (i) {
		s->first = i->next;
		if (!s->first)
			s->last = &s->first;
		else
			eventfd_write(s->wake_fd, 1);
		kind = i->kind;
		if (kind == STREAM_FAILED)
			*f = s->failure;
		else
			*params = i->params;
	}
	pthread_mutex_unlock(&s->lock);
	free(i);
	return kind;
}

struct stream *stream_close(struct stream *s)
{
	if (!s)
		return NULL;
	if (s->started) {
		/* The blocked read ends with it. */
		shutdown(varlink_client_fd(s->client), SHUT_RDWR);
		pthread_join(s->thread, NULL);
	}
	varlink_client_free(s->client);
	json_decref(s->params);
	while (s->first) {
		struct item *i = s->first;

		s->first = i->next;
		json_decref(i->params);
		free(i);
	}
	if (s->wake_fd >= 0)
		close(s->wake_fd);
	pthread_mutex_destroy(&s->lock);
	free(s);
	return NULL;
}

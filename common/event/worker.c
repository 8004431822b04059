/*
 * Work in threads, results in the loop. A worker is in one of three places: the
 * queue, a thread's hands, the finished list; all changes under one mutex.
 * Only work() runs outside the loop's thread.
 */
#include "event/worker_pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include <event2/event.h>

#include "base/list.h"
#include "event/loop.h"

enum { THREADS = 2, QUEUE_MAX = 64 };

struct worker {
	struct list node;
	struct worker_pool *pool;
	void (*work)(void *arg);
	void (*done)(void *arg, bool cancelled);
	void *arg;
	bool cancelled;
};

struct worker_pool {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct list queue, finished;
	size_t n_queued;
	bool ending;
	struct event *ev;
	pthread_t threads[THREADS];
	size_t n_threads;
};

static void *thread_main(void *arg)
{
	struct worker_pool *p = arg;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		struct worker *w;
		bool skip;

		while (list_is_empty(&p->queue) && !p->ending)
			pthread_cond_wait(&p->wake, &p->lock);
		if (list_is_empty(&p->queue))
			break;
		w = container_of(p->queue.next, struct worker, node);
		list_remove(&w->node);
		p->n_queued--;
		skip = w->cancelled;
		pthread_mutex_unlock(&p->lock);

		if (!skip)
			w->work(w->arg);

		pthread_mutex_lock(&p->lock);
		list_append(&p->finished, &w->node);
		event_active(p->ev, EV_TIMEOUT, 1);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static struct worker *finished_take(struct worker_pool *p)
{
	struct worker *w = NULL;

	pthread_mutex_lock(&p->lock);
	if (!list_is_empty(&p->finished)) {
		w = container_of(p->finished.next, struct worker, node);
		list_remove(&w->node);
	}
	pthread_mutex_unlock(&p->lock);
	return w;
}

static void on_finished(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w;

	(void)fd;
	(void)what;
	while ((w = finished_take(arg))) {
		w->done(w->arg, w->cancelled);
		free(w);
	}
}

/* Threads block every signal: the loop's thread alone handles them. */
static int threads_start(struct worker_pool *p)
{
	sigset_t all, before;
	int r = 0;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (p->n_threads < THREADS) {
		r = pthread_create(&p->threads[p->n_threads], NULL, thread_main, p);
		if (r)
			break;
		p->n_threads++;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	/* One thread is slower, but enough. */
	return p->n_threads ? 0 : -r;
}

static int pool_new(struct worker_pool **out, struct loop *l)
{
	struct worker_pool *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->wake, NULL);
	list_init(&p->queue);
	list_init(&p->finished);
	p->ev = event_new(loop_base(l), -1, 0, on_finished, p);
	r = p->ev ? threads_start(p) : -ENOMEM;
	if (r) {
		worker_pool_free(p);
		return r;
	}
	*out = p;
	return 0;
}

void worker_pool_free(struct worker_pool *p)
{
	struct worker *w;

	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->ending = true;
	list_for_each(it, &p->queue)
		container_of(it, struct worker, node)->cancelled = true;
	pthread_cond_broadcast(&p->wake);
	pthread_mutex_unlock(&p->lock);
	for (size_t i = 0; i < p->n_threads; i++)
		pthread_join(p->threads[i], NULL);
	while ((w = finished_take(p))) {
		w->done(w->arg, true);
		free(w);
	}
	if (p->ev)
		event_free(p->ev);
	pthread_cond_destroy(&p->wake);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

int worker_start(struct worker **out, struct loop *l, void (*work)(void *arg),
		 void (*done)(void *arg, bool cancelled), void *arg)
{
	struct worker_pool **pool = loop_worker_pool(l);
	struct worker *w;
	int r = 0;

	if (!*pool)
		r = pool_new(pool, l);
	if (r)
		return r == -ENOMEM ? r : -EAGAIN;
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->pool = *pool;
	w->work = work;
	w->done = done;
	w->arg = arg;

	pthread_mutex_lock(&w->pool->lock);
	if (w->pool->n_queued >= QUEUE_MAX || w->pool->ending)
		r = -EAGAIN;
	if (!r) {
		list_append(&w->pool->queue, &w->node);
		w->pool->n_queued++;
		/* Before the lock is gone: afterwards done may have freed w. */
		if (out)
			*out = w;
		pthread_cond_signal(&w->pool->wake);
	}
	pthread_mutex_unlock(&(*pool)->lock);
	if (r)
		free(w);
	return r;
}

void worker_cancel(struct worker *w)
{
	pthread_mutex_lock(&w->pool->lock);
	w->cancelled = true;
	pthread_mutex_unlock(&w->pool->lock);
}

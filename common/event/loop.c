/*
 * libevent's loop with three things of our own: timers on the clock of
 * base/clock.h, deferred calls, and a pool of worker threads.
 *
 * Timers live in a heap behind one timerfd on CLOCK_BOOTTIME: libevent's own
 * stand still while the machine sleeps, and a peer must be found gone right
 * after waking up. It also lets tests run time by clock_fake_ms(). The timerfd
 * is moved only to an earlier time; a timer that was put off is found not due
 * when it fires, so that putting off a deadline at every packet costs no
 * system call.
 */
#include "event/loop.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/timerfd.h>

#include <event2/event.h>
#include <event2/thread.h>

#include "base/clock.h"
#include "base/list.h"
#include "event/worker_pool.h"

enum { SIGNALS_MAX = 64 };

struct loop_timer {
	struct loop *loop;
	loop_fn fn;
	void *arg;
	uint64_t due_ms;
	size_t place; /* in the heap, from 1; 0: not running */
};

struct deferred {
	struct list node;
	loop_fn fn;
	void *arg;
};

struct signal_watch {
	struct event *ev;
	loop_signal_fn fn;
	void *arg;
};

struct loop {
	struct event_base *base;
	int result;
	bool stopped;

	int timer_fd;
	struct event *timer_ev;
	uint64_t armed_ms; /* what timer_fd is set to; UINT64_MAX: nothing */
	struct loop_timer **heap; /* heap[1..n_running], earliest first */
	size_t n_running;
	size_t n_timers; /* that exist: there is room for all of them to run */

	struct event *deferred_ev;
	struct list deferred;

	struct event *step_ev; /* bounds loop_step() */

	struct signal_watch signals[SIGNALS_MAX];
	struct worker_pool *pool;
};

struct loop_io {
	struct loop *loop;
	struct event *ev;
	int fd;
	unsigned int events; /* that are watched */
	loop_io_fn fn;
	void *arg;
};

/* ---- timers -------------------------------------------------------------------------------- */

static void heap_put(struct loop *l, size_t place, struct loop_timer *t)
{
	l->heap[place] = t;
	t->place = place;
}

static void heap_up(struct loop *l, struct loop_timer *t)
{
	size_t at = t->place;

	while (at > 1 && l->heap[at / 2]->due_ms > t->due_ms) {
		heap_put(l, at, l->heap[at / 2]);
		at /= 2;
	}
	heap_put(l, at, t);
}

static void heap_down(struct loop *l, struct loop_timer *t)
{
	size_t at = t->place;

	for (;;) {
		size_t child = at * 2;

		if (child > l->n_running)
			break;
		if (child < l->n_running && l->heap[child + 1]->due_ms < l->heap[child]->due_ms)
			child++;
		if (l->heap[child]->due_ms >= t->due_ms)
			break;
		heap_put(l, at, l->heap[child]);
		at = child;
	}
	heap_put(l, at, t);
}

static void heap_remove(struct loop_timer *t)
{
	struct loop *l = t->loop;
	struct loop_timer *last;
	size_t place = t->place;

	if (!place)
		return;
	t->place = 0;
	last = l->heap[l->n_running--];
	if (last == t)
		return;
	heap_put(l, place, last);
	heap_up(l, last);
	heap_down(l, last);
}

static int timers_arm(struct loop *l)
{
	struct itimerspec when = { 0 };
	uint64_t due, now, wait;

	if (!l->n_running || l->heap[1]->due_ms >= l->armed_ms)
		return 0;
	due = l->heap[1]->due_ms;
	now = clock_now_ms();
	wait = due > now ? due - now : 0;
	when.it_value.tv_sec = (time_t)(wait / 1000);
	/* All zeros would disarm it. */
	when.it_value.tv_nsec = (long)(wait % 1000) * 1000000 + (wait ? 0 : 1);
	if (timerfd_settime(l->timer_fd, 0, &when, NULL) < 0)
		return -errno;
	l->armed_ms = due;
	return 0;
}

/* Run what is due now; a timer that is started with no delay meanwhile waits for the next turn. */
static void timers_run(struct loop *l)
{
	uint64_t now = clock_now_ms();
	size_t bound = l->n_running;

	while (bound-- && l->n_running && l->heap[1]->due_ms <= now) {
		struct loop_timer *t = l->heap[1];

		heap_remove(t);
		t->fn(t->arg);
	}
}

static void on_timer_fd(evutil_socket_t fd, short what, void *arg)
{
	struct loop *l = arg;
	uint64_t fired;

	(void)what;
	if (read((int)fd, &fired, sizeof(fired)) < 0 && errno == EAGAIN)
		return;
	l->armed_ms = UINT64_MAX;
	timers_run(l);
	timers_arm(l);
}

int loop_timer_new(struct loop_timer **out, struct loop *l, loop_fn fn, void *arg)
{
	struct loop_timer **heap;
	struct loop_timer *t;

	/* Make room here, so that starting cannot fail for want of memory. */
	heap = realloc(l->heap, (l->n_timers + 2) * sizeof(*heap));
	if (!heap)
		return -ENOMEM;
	l->heap = heap;
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	l->n_timers++;
	t->loop = l;
	t->fn = fn;
	t->arg = arg;
	*out = t;
	return 0;
}

int loop_timer_start(struct loop_timer *t, uint64_t delay_ms)
{
	struct loop *l = t->loop;
	uint64_t now = clock_now_ms();

	heap_remove(t);
	t->due_ms = delay_ms < UINT64_MAX - 1 - now ? now + delay_ms : UINT64_MAX - 1;
	heap_put(l, ++l->n_running, t);
	heap_up(l, t);
	return timers_arm(l);
}

void loop_timer_stop(struct loop_timer *t)
{
	if (t)
		heap_remove(t);
}

bool loop_timer_is_running(const struct loop_timer *t)
{
	return t->place != 0;
}

struct loop_timer *loop_timer_free(struct loop_timer *t)
{
	if (!t)
		return NULL;
	heap_remove(t);
	t->loop->n_timers--;
	free(t);
	return NULL;
}

/* ---- deferred calls ------------------------------------------------------------------------ */

static void deferred_run(struct loop *l, bool call)
{
	struct list now;

	/* Only those that wait now: one that defers itself again must not hold up the loop. */
	list_init(&now);
	list_for_each(it, &l->deferred) {
		list_remove(it);
		list_append(&now, it);
	}
	while (!list_is_empty(&now)) {
		struct deferred *d = container_of(now.next, struct deferred, node);

		list_remove(&d->node);
		if (call)
			d->fn(d->arg);
		free(d);
	}
}

static void on_deferred(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	deferred_run(arg, true);
}

int loop_defer(struct loop *l, loop_fn fn, void *arg)
{
	struct deferred *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->fn = fn;
	d->arg = arg;
	list_append(&l->deferred, &d->node);
	event_active(l->deferred_ev, EV_TIMEOUT, 1);
	return 0;
}

/* ---- the loop ------------------------------------------------------------------------------ */

static void on_step_over(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

int loop_new(struct loop **out)
{
	_cleanup_(loop_freep) struct loop *l = NULL;

	/* Worker threads wake the loop with event_active(); that needs libevent's locks. */
	if (evthread_use_pthreads() < 0)
		return -ENOMEM;
	l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	list_init(&l->deferred);
	l->timer_fd = -1;
	l->armed_ms = UINT64_MAX;
	l->base = event_base_new();
	if (!l->base)
		return -ENOMEM;
	l->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (l->timer_fd < 0)
		return -errno;
	l->timer_ev = event_new(l->base, l->timer_fd, EV_READ | EV_PERSIST, on_timer_fd, l);
	l->deferred_ev = event_new(l->base, -1, 0, on_deferred, l);
	l->step_ev = event_new(l->base, -1, 0, on_step_over, l);
	if (!l->timer_ev || !l->deferred_ev || !l->step_ev || event_add(l->timer_ev, NULL) < 0)
		return -ENOMEM;
	*out = steal(&l);
	return 0;
}

struct loop *loop_free(struct loop *l)
{
	if (!l)
		return NULL;
	worker_pool_free(l->pool);
	deferred_run(l, false);
	for (size_t i = 0; i < SIGNALS_MAX; i++)
		if (l->signals[i].ev)
			event_free(l->signals[i].ev);
	if (l->timer_ev)
		event_free(l->timer_ev);
	if (l->deferred_ev)
		event_free(l->deferred_ev);
	if (l->step_ev)
		event_free(l->step_ev);
	if (l->timer_fd >= 0)
		close(l->timer_fd);
	if (l->base)
		event_base_free(l->base);
	free(l->heap);
	free(l);
	return NULL;
}

int loop_run(struct loop *l)
{
	int r;

	/* loop_stop() may have come before. */
	while (!l->stopped)
		if (event_base_loop(l->base, EVLOOP_NO_EXIT_ON_EMPTY) < 0)
			return -EIO;
	r = l->result;
	l->stopped = false;
	return r;
}

void loop_stop(struct loop *l, int r)
{
	if (!l->stopped)
		l->result = r;
	l->stopped = true;
	event_base_loopbreak(l->base);
}

void loop_step(struct loop *l, uint64_t max_ms)
{
	const struct timeval limit = { .tv_sec = (time_t)(max_ms / 1000),
				       .tv_usec = (suseconds_t)(max_ms % 1000) * 1000 };

	/* The clock may have been moved by a test, of which the timerfd knows nothing. */
	timers_run(l);
	timers_arm(l);
	if (!max_ms) {
		event_base_loop(l->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
		return;
	}
	event_add(l->step_ev, &limit);
	event_base_loop(l->base, EVLOOP_ONCE);
	event_del(l->step_ev);
}

struct event_base *loop_base(struct loop *l)
{
	return l->base;
}

struct worker_pool **loop_worker_pool(struct loop *l)
{
	return &l->pool;
}

/* ---- descriptors --------------------------------------------------------------------------- */

/* Closed, half closed or broken. */
static bool has_ended(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };

	return poll(&p, 1, 0) > 0;
}

static void on_io(evutil_socket_t fd, short what, void *arg)
{
	struct loop_io *io = arg;
	unsigned int events = 0;

	if (what & EV_READ)
		events |= LOOP_READ;
	if (what & EV_WRITE)
		events |= LOOP_WRITE;
	if (what & EV_CLOSED)
		events |= LOOP_HANGUP;
	if (io->events == LOOP_HANGUP) {
		if (!(events & LOOP_HANGUP) && !has_ended((int)fd))
			return;
		events = LOOP_HANGUP;
	}
	io->fn((int)fd, events, io->arg); /* may free io */
}

static int io_assign(struct loop_io *io, unsigned int events)
{
	short what = EV_PERSIST;

	if (events & LOOP_READ)
		what |= EV_READ;
	if (events & LOOP_WRITE)
		what |= EV_WRITE;
	if (events & LOOP_HANGUP)
		what |= EV_CLOSED;
	/*
	 * Of an end with an error, as when the peer did not read all, libevent tells only those who
	 * read or write. Who does neither hears of each arrival, once, and looks whether it was the end.
	 */
	if (events == LOOP_HANGUP)
		what |= EV_READ | EV_ET;
	io->events = 0;
	if (event_assign(io->ev, io->loop->base, io->fd, what, on_io, io) < 0)
		return -EINVAL;
	if (events && event_add(io->ev, NULL) < 0)
		return errno ? -errno : -EIO;
	io->events = events;
	return 0;
}

int loop_io_new(struct loop_io **out, struct loop *l, int fd, unsigned int events, loop_io_fn fn,
		void *arg)
{
	_cleanup_(loop_io_freep) struct loop_io *io = calloc(1, sizeof(*io));
	int r;

	assert(fd >= 0);
	if (!io)
		return -ENOMEM;
	io->loop = l;
	io->fd = fd;
	io->fn = fn;
	io->arg = arg;
	io->ev = event_new(l->base, fd, EV_PERSIST, on_io, io);
	if (!io->ev)
		return -ENOMEM;
	r = io_assign(io, events);
	if (r)
		return r;
	*out = steal(&io);
	return 0;
}

int loop_io_set(struct loop_io *io, unsigned int events)
{
	if (io->events == events)
		return 0;
	if (event_del(io->ev) < 0)
		return -EIO;
	return io_assign(io, events);
}

struct loop_io *loop_io_free(struct loop_io *io)
{
	if (!io)
		return NULL;
	if (io->ev)
		event_free(io->ev);
	free(io);
	return NULL;
}

/* ---- signals ------------------------------------------------------------------------------- */

static void on_signal(evutil_socket_t signo, short what, void *arg)
{
	struct signal_watch *w = arg;

	(void)what;
	w->fn((int)signo, w->arg);
}

int loop_on_signal(struct loop *l, int signo, loop_signal_fn fn, void *arg)
{
	struct signal_watch *w;

	if (signo <= 0 || signo >= SIGNALS_MAX)
		return -EINVAL;
	w = &l->signals[signo];
	w->fn = fn;
	w->arg = arg;
	if (w->ev)
		return 0;
	w->ev = evsignal_new(l->base, signo, on_signal, w);
	if (!w->ev || event_add(w->ev, NULL) < 0)
		return -ENOMEM;
	return 0;
}

/* The event loop all daemons share: descriptors, timers, signals, work in threads. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct loop;
struct loop_io;
struct loop_timer;
struct event_base;

/* LOOP_HANGUP: the other end closed, or will send no more; seen without reading. */
enum { LOOP_READ = 1, LOOP_WRITE = 2, LOOP_HANGUP = 4 };

int loop_new(struct loop **out); /* 0 or -ENOMEM */
struct loop *loop_free(struct loop *l);
DEFINE_CLEANUP(struct loop *, loop_free);

/* Run until loop_stop(). Returns what was given to loop_stop(). */
int loop_run(struct loop *l);
void loop_stop(struct loop *l, int r);
/* Run what is ready now, wait at most max_ms for it (0: do not wait); for tests. */
void loop_step(struct loop *l, uint64_t max_ms);

/* libevent's own base, for common/http alone. */
struct event_base *loop_base(struct loop *l);

/*
 * Watch fd for events (LOOP_READ | LOOP_WRITE | LOOP_HANGUP). fd stays the caller's. fn gets
 * the events that are ready. Free the watcher before closing fd; freeing it
 * inside its own callback is allowed.
 */
typedef void (*loop_io_fn)(int fd, unsigned int events, void *arg);
int loop_io_new(struct loop_io **out, struct loop *l, int fd, unsigned int events, loop_io_fn fn,
		void *arg);
int loop_io_set(struct loop_io *io, unsigned int events);
struct loop_io *loop_io_free(struct loop_io *io);
DEFINE_CLEANUP(struct loop_io *, loop_io_free);

/*
 * One-shot timer on the clock of base/clock.h, which goes on while the machine sleeps; starting a
 * running one moves it. Freeing inside its callback is allowed. Free timers before their loop.
 */
typedef void (*loop_fn)(void *arg);
int loop_timer_new(struct loop_timer **out, struct loop *l, loop_fn fn, void *arg);
int loop_timer_start(struct loop_timer *t, uint64_t delay_ms);
void loop_timer_stop(struct loop_timer *t);
bool loop_timer_is_running(const struct loop_timer *t);
struct loop_timer *loop_timer_free(struct loop_timer *t);
DEFINE_CLEANUP(struct loop_timer *, loop_timer_free);

/*
 * Call fn(arg) once, soon, from the loop, not from inside the present callback. It cannot be taken
 * back (a timer of 0 ms can), and is dropped when the loop is freed first. 0 or -ENOMEM.
 */
int loop_defer(struct loop *l, loop_fn fn, void *arg);

/* Call fn on each delivery of signo. One handler a signal. */
typedef void (*loop_signal_fn)(int signo, void *arg);
int loop_on_signal(struct loop *l, int signo, loop_signal_fn fn, void *arg);

/*
 * Run work(arg) in a thread of a small pool (2), then done(arg, cancelled) in
 * the loop. worker_cancel() makes done come with cancelled = true as soon as
 * work has returned; work is never killed. At loop_free() the running ones are
 * waited for and every done is called with cancelled = true. *out is valid
 * until done returns; out may be NULL. 0 or -ENOMEM, -EAGAIN (queue of 64 full).
 */
struct worker;
int worker_start(struct worker **out, struct loop *l, void (*work)(void *arg),
		 void (*done)(void *arg, bool cancelled), void *arg);
void worker_cancel(struct worker *w);

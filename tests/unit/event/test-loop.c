/* The loop: timers on the fake clock, deferred calls, descriptors, signals, workers. */
#include "event/loop.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "unit/lib/test.h"

static struct loop *new_loop(void)
{
	struct loop *l = NULL;

	CHECK_EQ(loop_new(&l), 0);
	return l;
}

static struct loop_timer *new_timer(struct loop *l, loop_fn fn, void *arg)
{
	struct loop_timer *t = NULL;

	CHECK_EQ(loop_timer_new(&t, l, fn, arg), 0);
	return t;
}

static void count(void *arg)
{
	++*(int *)arg;
}

/* ---- timers -------------------------------------------------------------------------------- */

static int order[64];
static int n_order;

static void note(void *arg)
{
	order[n_order++] = *(int *)arg;
}

TEST(timers_run_in_the_order_of_their_time)
{
	_cleanup_(loop_freep) struct loop *l = new_loop();
	struct loop_timer *t[32];
	int id[32];

	clock_fake_ms(1000);
	for (int i = 0; i < 32; i++) {
		id[i] = i;
		t[i] = new_timer(l, note, &id[i]);
	}
	/* 7 and 32 have no common divisor: every delay once, in a wild order. */
	for (int i = 0; i < 32; i++)
		CHECK_EQ(loop_timer_start(t[(i * 7) % 32], (uint64_t)((i * 7) % 32) * 10), 0);
	loop_timer_stop(t[5]);
	loop_timer_stop(t[31]);
	clock_fake_ms(2000);
	loop_step(l, 0);
	CHECK_EQ(n_order, 30);
	for (int i = 1; i < n_order; i++)
		CHECK(order[i - 1] < order[i]);
	for (int i = 0; i < 32; i++)
		loop_timer_free(t[i]);
}

TEST(a_timer_does_not_run_before_its_time)
{
	_cleanup_(loop_freep) struct loop *l = new_loop();
	_cleanup_(loop_timer_freep) struct loop_timer *t = NULL;
	int n = 0;

	clock_fake_ms(1000);
	t = new_timer(l, count, &n);
	loop_timer_start(t, 100);
	clock_fake_ms(1099);
	loop_step(l, 0);
	CHECK_EQ(n, 0);
	CHECK(loop_timer_is_running(t));
	clock_fake_ms(1100);
	loop_step(l, 0);
	CHECK_EQ(n, 1);
	CHECK(!loop_timer_is_running(t));
}

TEST(starting_a_running_timer_moves_it)
{
	_cleanup_(loop_freep) struct loop *l = new_loop();
	_cleanup_(loop_timer_freep) struct loop_timer *t = NULL;
	int n = 0;

	clock_fake_ms(1000);
	t = new_timer(l, count, &n);
	loop_timer_start(t, 100);
	loop_timer_start(t, 500);
	clock_fake_ms(1200);
	loop_step(l, 0);
	CHECK_EQ(n, 0);
	clock_fake_ms(1500);
	loop_step(l, 0);
	CHECK_EQ(n, 1);
}

struct self {
	struct loop_timer *t;
	int n;
};

static void free_self(void *arg)
{
	struct self *s = arg;

	s->n++;
	s->t = loop_timer_free(s->t);
}

TEST(a_timer_may_be_freed_in_its_own_callback)
{
	_cleanup_(loop_freep) struct loop *l = new_loop();
	struct self s = { 0 };

	s.t = new_timer(l, free_self, &s);
	loop_timer_start(s.t, 0);
	loop_step(l, 1000);
	CHECK_EQ(s.n, 1);
	CHECK(!s.t);
}

static void again(void *arg)
{
	struct self *s = arg;

	s->n++;
	loop_timer_start(s->t, 0);
}

TEST(a_timer_that_starts_itself_does_not_hold_up_the_loop)
{
	_cleanup_(loop_freep) struct loop *l = new_loop();
	struct self s = { 0 };

	s.t = new_timer(l, again, &s);
	loop_timer_start(s.t, 0);
	for (int i = 0; i < 3; i++)
		loop_step(l, 0);
	CHECK(s.n >= 3 && s.n <= 6);
	loop_timer_free(s.t);
}

static void stop(void *arg)
{
	loop_stop(arg, 7);
}

TEST(real_time_wakes_the_loop)
{
	_cleanup_(loop_freep) struct loop *l = new_loop();
	_cleanup_(loop_timer_freep) struct loop_timer *late = new_timer(l, stop, l);
	_cleanup_(loop_timer_freep) struct loop_timer *early = new_timer(l, stop, l);
	uint64_t before = clock_now_ms();

	loop_timer_start(late, 60000);
	loop_timer_start(early, 30);
	CHECK_EQ(loop_run(l), 7);
	CHECK(clock_now_ms() - before >= 30 && clock_now_ms() - before < 2000);
}

TEST(a_timer_put_off_while_armed_still_fires)
{
	_cleanup_(loop_freep) struct loop *l = new_loop();
	_cleanup_(loop_timer_freep) struct loop_timer *t = new_timer(l, stop, l);
	uint64_t before = clock_now_ms();

	loop_timer_start(t, 10);
	loop_timer_start(t, 60);
	CHECK_EQ(loop_run(l), 7);
	CHECK(clock_now_ms() - before >= 60);
}

/* ---- deferred calls, stopping -------------------------------------------------------------- */

struct defer_twice {
	struct loop *l;
	int n;
	bool inside;
};

static void second(void *arg)
{
	struct defer_twice *d = arg;

	CHECK(!d->inside);
	d->n++;
}

static void first(void *arg)
{
	struct defer_twice *d = arg;

	d->inside = true;
	CHECK_EQ(loop_defer(d->l, second, d), 0);
	CHECK_EQ(d->n, 0);
	d->inside = false;
}

TEST(a_deferred_call_comes_after_the_present_callback)
{
	_cleanup_(loop_freep) struct loop *l = new_loop();
	struct defer_twice d = { .l = l };

	CHECK_EQ(loop_defer(l, first, &d), 0);
	CHECK_EQ(d.n, 0);
	loop_step(l, 0);
	loop_step(l, 0);
	CHECK_EQ(d.n, 1);
}

TEST(a_stop_before_the_run_is_not_lost)
{
	_cleanup_(loop_freep) struct loop *l = new_loop();

	loop_stop(l, 3);
	CHECK_EQ(loop_run(l), 3);
}

/* ---- descriptors --------------------------------------------------------------------------- */

struct pipe_test {
	struct loop_io *io;
	unsigned int events;
	int n;
};

static void on_pipe(int fd, unsigned int events, void *arg)
{
	struct pipe_test *p = arg;
	char buf[64];

	p->n++;
	p->events = events;
	if (events & LOOP_READ)
		CHECK(read(fd, buf, sizeof(buf)) >= 0);
	p->io = loop_io_free(p->io);
}

TEST(a_watcher_may_be_freed_in_its_own_callback)
{
	_cleanup_(loop_freep) struct loop *l = new_loop();
	struct pipe_test p = { 0 };
	int fds[2];

	CHECK_EQ(pipe(fds), 0);
	CHECK_EQ(loop_io_new(&p.io, l, fds[0], LOOP_READ, on_pipe, &p), 0);
	CHECK_EQ(write(fds[1], "x", 1), 1);
	loop_step(l, 1000);
	loop_step(l, 0);
	CHECK_EQ(p.n, 1);
	CHECK_EQ(p.events, LOOP_READ);
	close(fds[0]);
	close(fds[1]);
}

TEST(events_can_be_changed_and_taken_away)
{
	_cleanup_(loop_freep) struct loop *l = new_loop();
	struct pipe_test p = { 0 };
	int fds[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	CHECK_EQ(loop_io_new(&p.io, l, fds[0], LOOP_READ, on_pipe, &p), 0);
	CHECK_EQ(loop_io_set(p.io, 0), 0);
	CHECK_EQ(write(fds[1], "x", 1), 1);
	loop_step(l, 0);
	CHECK_EQ(p.n, 0);
	CHECK_EQ(loop_io_set(p.io, LOOP_WRITE), 0);
	loop_step(l, 1000);
	CHECK_EQ(p.events, LOOP_WRITE);
	close(fds[0]);
	close(fds[1]);
}

TEST(a_hangup_is_seen_without_reading)
{
	_cleanup_(loop_freep) struct loop *l = new_loop();
	struct pipe_test p = { 0 };
	int fds[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	CHECK_EQ(loop_io_new(&p.io, l, fds[0], LOOP_HANGUP, on_pipe, &p), 0);
	CHECK_EQ(write(fds[1], "x", 1), 1);
	loop_step(l, 0);
	CHECK_EQ(p.n, 0);
	close(fds[1]);
	loop_step(l, 1000);
	CHECK_EQ(p.events, LOOP_HANGUP);
	close(fds[0]);
}

/* Which the kernel tells as an error, and libevent to readers and writers alone. */
TEST(i4_a_hangup_that_left_answers_unread_is_seen)
{
	_cleanup_(loop_freep) struct loop *l = new_loop();
	struct pipe_test p = { 0 };
	int fds[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	CHECK_EQ(loop_io_new(&p.io, l, fds[0], LOOP_HANGUP, on_pipe, &p), 0);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(write(fds[0], "x", 1), 1);
		CHECK_EQ(write(fds[1], "x", 1), 1);
		loop_step(l, 0);
		loop_step(l, 0);
		CHECK_EQ(p.n, 0);
	}
	close(fds[1]);
	for (int i = 0; i < 10 && p.n == 0; i++)
		loop_step(l, 100);
	CHECK_EQ(p.n, 1);
	CHECK_EQ(p.events, LOOP_HANGUP);
	close(fds[0]);
}

TEST(what_came_while_only_a_hangup_was_waited_for_can_be_read)
{
	_cleanup_(loop_freep) struct loop *l = new_loop();
	struct pipe_test p = { 0 };
	int fds[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	CHECK_EQ(loop_io_new(&p.io, l, fds[0], LOOP_HANGUP, on_pipe, &p), 0);
	CHECK_EQ(write(fds[1], "x", 1), 1);
	loop_step(l, 0);
	CHECK_EQ(p.n, 0);
	CHECK_EQ(loop_io_set(p.io, LOOP_READ | LOOP_HANGUP), 0);
	loop_step(l, 1000);
	CHECK_EQ(p.events, LOOP_READ);
	close(fds[0]);
	close(fds[1]);
}

static void on_usr1(int signo, void *arg)
{
	*(int *)arg = signo;
}

TEST(signals_arrive_in_the_loop)
{
	_cleanup_(loop_freep) struct loop *l = new_loop();
	int got = 0;

	CHECK_EQ(loop_on_signal(l, SIGUSR1, on_usr1, &got), 0);
	raise(SIGUSR1);
	CHECK_EQ(got, 0);
	loop_step(l, 1000);
	CHECK_EQ(got, SIGUSR1);
}

/* ---- workers ------------------------------------------------------------------------------- */

struct job {
	atomic_int go;
	atomic_int worked;
	int done, cancelled;
};

static void work(void *arg)
{
	struct job *j = arg;

	while (!j->go)
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	j->worked = 1;
}

static void done(void *arg, bool cancelled)
{
	struct job *j = arg;

	j->done++;
	j->cancelled = cancelled;
}

static void step_until(struct loop *l, const int *flag, int value)
{
	for (int i = 0; i < 500 && *flag != value; i++)
		loop_step(l, 10);
	CHECK_EQ(*flag, value);
}

TEST(a_worker_tells_its_end_in_the_loop)
{
	_cleanup_(loop_freep) struct loop *l = new_loop();
	struct job j = { .go = 1 };

	CHECK_EQ(worker_start(NULL, l, work, done, &j), 0);
	step_until(l, &j.done, 1);
	CHECK(j.worked);
	CHECK(!j.cancelled);
}

TEST(a_cancelled_worker_runs_to_its_end_and_says_so)
{
	_cleanup_(loop_freep) struct loop *l = new_loop();
	struct worker *w = NULL;
	struct job j = { 0 };

	CHECK_EQ(worker_start(&w, l, work, done, &j), 0);
	worker_cancel(w);
	CHECK_EQ(j.done, 0);
	j.go = 1;
	step_until(l, &j.done, 1);
	CHECK(j.cancelled);
}

TEST(i4_the_queue_of_work_is_bounded)
{
	struct loop *l = new_loop();
	static struct job j[80];
	int started = 0, refused = 0;

	for (size_t i = 0; i < ARRAY_SIZE(j); i++) {
		int r = worker_start(NULL, l, work, done, &j[i]);

		started += r == 0;
		refused += r == -EAGAIN;
	}
	/* 64 wait, and the two threads may hold one each. */
	CHECK(started >= 64 && started <= 66);
	CHECK_EQ(started + refused, ARRAY_SIZE(j));
	for (size_t i = 0; i < ARRAY_SIZE(j); i++)
		j[i].go = 1;
	loop_free(l);
	for (size_t i = 0; i < ARRAY_SIZE(j); i++)
		refused -= j[i].done == 0;
	CHECK_EQ(refused, 0);
}

TEST(the_end_of_the_loop_waits_for_work_and_cancels_it)
{
	struct loop *l = new_loop();
	struct job j = { .go = 1 };

	CHECK_EQ(worker_start(NULL, l, work, done, &j), 0);
	loop_free(l);
	CHECK_EQ(j.done, 1);
	CHECK_EQ(j.cancelled, 1);
}

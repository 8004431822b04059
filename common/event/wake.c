/*
 * CLOCK_BOOTTIME goes on while the machine sleeps and CLOCK_MONOTONIC does not, so
 * that what lies between them is how long it slept. The kernel wakes timers on
 * the wall clock after each sleep, as it does when that clock is set: a timer in
 * the far future is the bell, and what it means is read from the other two
 * clocks. The wall clock's own time is never read.
 */
#include "event/wake.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "event/loop.h"

#define WORTH_TELLING_MS 2000
/* Some year in which nobody waits for it. */
#define FAR_AWAY_S INT64_C(0x3fffffffffff)

struct wake {
	int fd;
	struct loop_io *io;
	struct loop_timer *tell;
	uint64_t known_ms; /* at most so long had it slept when we last looked */
	uint64_t slept_ms;
	void (*fn)(uint64_t slept_ms, void *arg);
	void *arg;
};

static void arm(struct wake *w)
{
	const struct itimerspec far = { .it_value = { .tv_sec = (time_t)FAR_AWAY_S } };

	(void)timerfd_settime(w->fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &far, NULL);
}

static void on_bell(int fd, unsigned int events, void *arg)
{
	struct wake *w = arg;
	uint64_t n;

	(void)events;
	/* -ECANCELED, as it should be. */
	if (read(fd, &n, sizeof(n)) < 0 && errno == EAGAIN)
		return;
	arm(w);
	wake_check(w);
}

static void on_tell(void *arg)
{
	struct wake *w = arg;
	uint64_t slept_ms = w->slept_ms;

	w->slept_ms = 0;
	w->fn(slept_ms, w->arg);
}

bool wake_check(struct wake *w)
{
	uint64_t at_least, at_most;

	clock_slept_ms(&at_least, &at_most);
	if (at_least >= w->known_ms + WORTH_TELLING_MS) {
		w->slept_ms += at_least - w->known_ms;
		w->known_ms = at_most;
		loop_timer_start(w->tell, 0);
	}
	/* Who was held up between the two clocks knew less than there was to know. */
	w->known_ms = min_u64(w->known_ms, at_most);
	return loop_timer_is_running(w->tell);
}

int wake_new(struct wake **out, struct loop *l, void (*fn)(uint64_t slept_ms, void *arg), void *arg)
{
	_cleanup_(wake_freep) struct wake *w = calloc(1, sizeof(*w));
	uint64_t at_least;
	int r;

	if (!w)
		return -ENOMEM;
	w->fn = fn;
	w->arg = arg;
	clock_slept_ms(&at_least, &w->known_ms);
	w->fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (w->fd < 0)
		return -errno;
	r = loop_timer_new(&w->tell, l, on_tell, w);
	if (!r)
		r = loop_io_new(&w->io, l, w->fd, LOOP_READ, on_bell, w);
	if (r)
		return r;
	arm(w);
	*out = steal(&w);
	return 0;
}

struct wake *wake_free(struct wake *w)
{
	if (!w)
		return NULL;
	loop_io_free(w->io);
	loop_timer_free(w->tell);
	if (w->fd >= 0)
		close(w->fd);
	free(w);
	return NULL;
}

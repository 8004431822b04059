/*
 * The thread that writes a ledger's records, one at a time, while the loop goes on. What it writes and
 * what the loop is told are apart, so that the next may be submitted while the last is told of.
 */
#include "pskd/keys/ledger_internal.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "event/loop.h"

void ledger_thread_init(struct ledger *l)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&l->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&l->changed, &attr);
	pthread_condattr_destroy(&attr);
}

void ledger_thread_done(struct ledger *l)
{
	if (l->has_thread) {
		pthread_mutex_lock(&l->lock);
		l->stop = true;
		pthread_cond_broadcast(&l->changed);
		pthread_mutex_unlock(&l->lock);
		pthread_join(l->thread, NULL);
	}
	loop_io_free(l->io);
	closep(&l->wake_fd);
	pthread_cond_destroy(&l->changed);
	pthread_mutex_destroy(&l->lock);
}

static void *run(void *arg)
{
	struct ledger *l = arg;

	pthread_mutex_lock(&l->lock);
	for (;;) {
		const uint64_t one = 1;

		while (l->phase != SUBMITTED && !l->stop)
			pthread_cond_wait(&l->changed, &l->lock);
		if (l->phase != SUBMITTED)
			break;
		pthread_mutex_unlock(&l->lock);

		l->error = ledger_write_block(l, l->flying);

		pthread_mutex_lock(&l->lock);
		l->phase = WRITTEN;
		pthread_cond_broadcast(&l->changed);
		/* An eventfd takes 2^64 - 2 of these before it would block. */
		(void)!write(l->wake_fd, &one, sizeof(one));
	}
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

/* In the loop's thread: tell the outcome, once. done may close the ledger: touch nothing after it. */
static bool deliver(struct ledger *l)
{
	bool is_written;
	int error = 0;

	pthread_mutex_lock(&l->lock);
	is_written = l->phase == WRITTEN;
	if (is_written) {
		*l->told = *l->flying;
		error = l->error;
		l->phase = IDLE;
	}
	pthread_mutex_unlock(&l->lock);
	if (is_written)
		l->done(error, l->told, l->done_arg);
	return is_written;
}

static void on_wake(int fd, unsigned int events, void *arg)
{
	uint64_t n;

	(void)events;
	(void)!read(fd, &n, sizeof(n));
	deliver(arg);
}

int ledger_start(struct ledger *l, struct loop *loop, ledger_done_fn done, void *arg)
{
	sigset_t all, before;
	int r;

	l->done = done;
	l->done_arg = arg;
	l->loop = loop;
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->wake_fd < 0)
		return -errno;
	r = loop_io_new(&l->io, loop, l->wake_fd, LOOP_READ, on_wake, l);
	if (r)
		return r;

	/* Signals are for the loop. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&l->thread, NULL, run, l);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	l->has_thread = r == 0;
	return -r;
}

void ledger_submit(struct ledger *l, const struct ledger_record *r)
{
	assert(l->has_thread);
	pthread_mutex_lock(&l->lock);
	assert(l->phase == IDLE);
	*l->flying = *r;
	l->phase = SUBMITTED;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
}

bool ledger_is_busy(const struct ledger *l)
{
	struct ledger *m = (struct ledger *)l;
	bool busy;

	pthread_mutex_lock(&m->lock);
	busy = m->phase != IDLE;
	pthread_mutex_unlock(&m->lock);
	return busy;
}

bool ledger_wait(struct ledger *l, unsigned int ms)
{
	struct timespec until;
	int r = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	pthread_mutex_lock(&l->lock);
	while (l->phase == SUBMITTED && r == 0)
		r = pthread_cond_timedwait(&l->changed, &l->lock, &until);
	pthread_mutex_unlock(&l->lock);
	return deliver(l);
}

static void wait_for_flying(struct ledger *l)
{
	pthread_mutex_lock(&l->lock);
	while (l->phase == SUBMITTED)
		pthread_cond_wait(&l->changed, &l->lock);
	pthread_mutex_unlock(&l->lock);
}

int ledger_write(struct ledger *l, const struct ledger_record *r)
{
	wait_for_flying(l);
	deliver(l);
	assert(!ledger_is_busy(l));
	*l->flying = *r;
	return ledger_write_block(l, l->flying);
}

uint64_t ledger_writes(const struct ledger *l)
{
	return __atomic_load_n(&l->writes, __ATOMIC_RELAXED);
}

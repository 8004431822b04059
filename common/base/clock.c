/*
 * CLOCK_BOOTTIME counts through suspend, so that a deadline that passed while
 * the lid was closed has passed. The fake is one atomic: worker threads read
 * the clock too.
 */
#include "base/clock.h"

#include <assert.h>
#include <stdatomic.h>
#include <time.h>

static _Atomic uint64_t fake_ms = UINT64_MAX;

static struct timespec read_clock(clockid_t id)
{
	struct timespec ts;
	int r = clock_gettime(id, &ts);

	assert(r == 0);
	(void)r;
	return ts;
}

uint64_t clock_now_ms(void)
{
	uint64_t fake = atomic_load_explicit(&fake_ms, memory_order_relaxed);
	struct timespec ts;

	if (fake != UINT64_MAX)
		return fake;
	ts = read_clock(CLOCK_BOOTTIME);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static uint64_t read_us(clockid_t id)
{
	struct timespec ts = read_clock(id);

	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t clock_now_us(void)
{
	return read_us(CLOCK_BOOTTIME);
}

void clock_slept_ms(uint64_t *at_least, uint64_t *at_most)
{
	uint64_t before = read_us(CLOCK_MONOTONIC), all = read_us(CLOCK_BOOTTIME), after = read_us(CLOCK_MONOTONIC);

	/* A machine that never slept has them equal, but for rounding. */
	*at_least = all > after ? (all - after) / 1000 : 0;
	*at_most = all > before ? (all - before) / 1000 + 1 : 1;
}

int64_t clock_wall_s(void)
{
	return (int64_t)read_clock(CLOCK_REALTIME).tv_sec;
}

void clock_fake_ms(uint64_t ms)
{
	atomic_store_explicit(&fake_ms, ms, memory_order_relaxed);
}

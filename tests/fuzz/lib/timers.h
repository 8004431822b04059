/*
 * In place of the loop's timers and deferred calls, for modules that need nothing else of it: a sequence fuzzer
 * moves the clock by timers_pass(), and no system call is made. Included once, in the fuzzer's own file:
 * what is defined here goes before the archive's.
 */
#pragma once

#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "event/loop.h"

enum { TIMERS_MAX = 256, DEFERRED_MAX = 64 };

struct loop_timer {
	loop_fn fn;
	void *arg;
	uint64_t due_ms;
};

static struct loop_timer *timers[TIMERS_MAX];
static size_t n_timers;
static struct {
	loop_fn fn;
	void *arg;
} deferred[DEFERRED_MAX];
static size_t n_deferred;
static uint64_t timers_now_ms;

int loop_timer_new(struct loop_timer **out, struct loop *l, loop_fn fn, void *arg)
{
	struct loop_timer *t = calloc(1, sizeof(*t));

	(void)l;
	assert(t && n_timers < TIMERS_MAX);
	*t = (struct loop_timer){ fn, arg, UINT64_MAX };
	timers[n_timers++] = t;
	*out = t;
	return 0;
}

int loop_timer_start(struct loop_timer *t, uint64_t delay_ms)
{
	t->due_ms = clock_now_ms() + delay_ms;
	return 0;
}

void loop_timer_stop(struct loop_timer *t)
{
	t->due_ms = UINT64_MAX;
}

bool loop_timer_is_running(const struct loop_timer *t)
{
	return t->due_ms != UINT64_MAX;
}

struct loop_timer *loop_timer_free(struct loop_timer *t)
{
	for (size_t i = 0; t && i < n_timers; i++)
		if (timers[i] == t)
			timers[i] = timers[--n_timers];
	free(t);
	return NULL;
}

int loop_defer(struct loop *l, loop_fn fn, void *arg)
{
	(void)l;
	if (n_deferred == DEFERRED_MAX)
		return -1;
	deferred[n_deferred].fn = fn;
	deferred[n_deferred++].arg = arg;
	return 0;
}

static inline void timers_begin(uint64_t now_ms)
{
	assert(n_timers == 0);
	n_deferred = 0;
	timers_now_ms = now_ms;
	clock_fake_ms(now_ms);
}

static struct loop_timer *timers_first(void)
{
	struct loop_timer *first = NULL;

	for (size_t i = 0; i < n_timers; i++)
		if (!first || timers[i]->due_ms < first->due_ms)
			first = timers[i];
	return first;
}

/* What was put off, then time in steps from one timer to the next. What starts itself anew at once is let be after a while. */
static inline void timers_pass(uint64_t ms)
{
	uint64_t until = timers_now_ms + ms;

	for (size_t i = 0; i < n_deferred; i++)
		deferred[i].fn(deferred[i].arg);
	n_deferred = 0;
	for (int i = 0; i < 64; i++) {
		struct loop_timer *t = timers_first();

		if (!t || t->due_ms > until)
			break;
		if (t->due_ms > timers_now_ms)
			timers_now_ms = t->due_ms;
		clock_fake_ms(timers_now_ms);
		t->due_ms = UINT64_MAX;
		t->fn(t->arg);
	}
	timers_now_ms = until;
	clock_fake_ms(until);
}

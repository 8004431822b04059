/* The machine's sleep: a test cannot have it, system/57-tunnel-moves plays it. What is no sleep is not told. */
#include "event/wake.h"

#include "base/clock.h"
#include "event/loop.h"
#include "unit/lib/test.h"

static void on_wake(uint64_t slept_ms, void *arg)
{
	(void)slept_ms;
	++*(unsigned int *)arg;
}

TEST(time_that_passes_is_no_sleep)
{
	_cleanup_(loop_freep) struct loop *l = NULL;
	_cleanup_(wake_freep) struct wake *w = NULL;
	unsigned int told = 0;

	CHECK_EQ(loop_new(&l), 0);
	CHECK_EQ(wake_new(&w, l, on_wake, &told), 0);
	for (int i = 0; i < 50; i++) {
		CHECK(!wake_check(w));
		loop_step(l, 5);
	}
	CHECK_EQ(told, 0);
	w = wake_free(w);
}

TEST(how_long_it_slept_is_between_two_bounds)
{
	uint64_t first_least, first_most, least, most;

	clock_slept_ms(&first_least, &first_most);
	for (int i = 0; i < 1000; i++) {
		clock_slept_ms(&least, &most);
		CHECK(least <= most);
		/* What is true lies in both. */
		CHECK(least <= first_most && first_least <= most);
	}
}

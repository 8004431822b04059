/* clock.h: which clocks there are, and that none of them is taken for another. */
#include "base/clock.h"

#include <time.h>

#include "unit/lib/test.h"

static uint64_t boot_ms(void)
{
	struct timespec ts;

	CHECK_EQ(clock_gettime(CLOCK_BOOTTIME, &ts), 0);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Wherever a machine has not been up since 1970, the wall clock is far outside of these bounds. */
TEST(i7_deadlines_and_freshness_are_told_by_the_boot_clock)
{
	uint64_t before = boot_ms(), ms = clock_now_ms(), us = clock_now_us(), after = boot_ms();

	CHECK(before <= ms && ms <= after);
	CHECK(before <= us / 1000 && us / 1000 <= after);
}

TEST(i7_the_wall_clock_has_a_name_of_its_own)
{
	int64_t before = time(NULL), wall = clock_wall_s();

	/* time() may still give the last tick's second. */
	CHECK(before <= wall && wall <= before + 60);
}

TEST(a_given_time_stands_still_until_it_is_taken_back)
{
	clock_fake_ms(5000);
	CHECK_EQ(clock_now_ms(), 5000);
	CHECK_EQ(clock_now_ms(), 5000);
	clock_fake_ms(UINT64_MAX);
	CHECK(clock_now_ms() >= boot_ms() - 60000);
}

TEST(what_is_later_than_now_is_no_time_ago)
{
	CHECK_EQ(clock_since_ms(1000, 1500), 500);
	CHECK_EQ(clock_since_ms(1500, 1500), 0);
	CHECK_EQ(clock_since_ms(1501, 1500), 0);
}

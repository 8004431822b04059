/* What was seen is refused, memory is bounded, and what is forgotten is told. */
#include "authd/replay.h"

#include "base/clock.h"
#include "crypto/secret.h"
#include "unit/lib/test.h"

static struct replay *fixture(size_t max)
{
	struct replay *r;

	CHECK_EQ(crypto_init(), 0);
	clock_fake_ms(1000);
	CHECK_EQ(replay_new(&r, max, 100), 0);
	return r;
}

static int add(struct replay *r, uint32_t what, int64_t stamp)
{
	return replay_add(r, &what, sizeof(what), stamp);
}

TEST(a_second_time_is_refused)
{
	_cleanup_(replay_freep) struct replay *r = fixture(10);

	CHECK_EQ(add(r, 7, 0), 0);
	CHECK_EQ(add(r, 7, 0), REPLAY_E_SEEN);
	CHECK_EQ(add(r, 8, 0), 0);
	CHECK(replay_has(r, &(uint32_t){ 8 }, 4));
	CHECK(!replay_has(r, &(uint32_t){ 9 }, 4));
}

TEST(it_is_remembered_for_an_interval_and_not_for_ever)
{
	_cleanup_(replay_freep) struct replay *r = fixture(10);

	CHECK_EQ(add(r, 7, 0), 0);
	clock_fake_ms(1099);
	CHECK_EQ(add(r, 7, 0), REPLAY_E_SEEN);
	/* Added late in one interval, it lives through the next. */
	CHECK_EQ(add(r, 8, 0), 0);
	clock_fake_ms(1199);
	CHECK_EQ(add(r, 8, 0), REPLAY_E_SEEN);
	clock_fake_ms(1400);
	CHECK_EQ(add(r, 8, 0), 0);
}

TEST(what_is_forgotten_is_told_by_its_latest_stamp)
{
	_cleanup_(replay_freep) struct replay *r = fixture(10);

	CHECK(replay_forgotten(r) == INT64_MIN);
	CHECK_EQ(add(r, 1, 50), 0);
	CHECK_EQ(add(r, 2, 40), 0);
	clock_fake_ms(1100);
	CHECK(replay_forgotten(r) == INT64_MIN);
	CHECK_EQ(add(r, 3, 60), 0);
	clock_fake_ms(1200);
	CHECK_EQ(replay_forgotten(r), 50);
	clock_fake_ms(99999);
	CHECK_EQ(replay_forgotten(r), 60);
	CHECK_EQ(replay_count(r), 0);
}

TEST(i4_memory_is_bounded_and_full_is_told)
{
	_cleanup_(replay_freep) struct replay *r = fixture(1000);

	for (uint32_t i = 0; i < 1000; i++)
		CHECK_EQ(add(r, i, 0), 0);
	CHECK_EQ(add(r, 5000, 0), REPLAY_E_FULL);
	for (uint32_t i = 0; i < 1000; i++)
		CHECK_EQ(add(r, i, 0), REPLAY_E_SEEN);
	clock_fake_ms(1500);
	CHECK_EQ(add(r, 5000, 0), 0);
}

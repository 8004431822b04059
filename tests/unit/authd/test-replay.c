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
	CHECK_EQ(replay_new(&r, max, max / 2, 100), 0);
	return r;
}

static int add(struct replay *r, uint32_t what, int64_t stamp)
{
	return replay_add(r, 0, &what, sizeof(what), stamp);
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

TEST(i4_one_owner_does_not_take_the_place_of_all)
{
	_cleanup_(replay_freep) struct replay *r = fixture(1000);

	for (uint32_t i = 0; i < 500; i++)
		CHECK_EQ(replay_add(r, 7, &i, sizeof(i), 0), 0);
	CHECK_EQ(replay_add(r, 7, &(uint32_t){ 5000 }, 4, 0), REPLAY_E_FULL);
	CHECK_EQ(replay_add(r, 7, &(uint32_t){ 5 }, 4, 0), REPLAY_E_SEEN);
	CHECK_EQ(replay_add(r, 8, &(uint32_t){ 5000 }, 4, 0), 0);
	/* Many, each with a few. */
	for (uint32_t i = 0; i < 400; i++)
		CHECK_EQ(replay_add(r, 100 + i, &(uint32_t){ 10000 + i }, 4, 0), 0);
	clock_fake_ms(1100);
	CHECK_EQ(replay_add(r, 7, &(uint32_t){ 5001 }, 4, 0), REPLAY_E_FULL);
	clock_fake_ms(1200);
	CHECK_EQ(replay_add(r, 7, &(uint32_t){ 5001 }, 4, 0), 0);
}

TEST(what_was_taken_out_is_there_no_more_and_hides_nothing)
{
	_cleanup_(replay_freep) struct replay *r = fixture(100000);

	for (uint32_t i = 0; i < 1000; i++)
		CHECK_EQ(add(r, i, 0), 0);
	clock_fake_ms(1100);
	for (uint32_t i = 1000; i < 2000; i++)
		CHECK_EQ(add(r, i, 0), 0);
	for (uint32_t i = 0; i < 2000; i += 2) {
		CHECK(replay_take(r, &i, sizeof(i)));
		CHECK(!replay_take(r, &i, sizeof(i)));
	}
	for (uint32_t i = 0; i < 2000; i++)
		CHECK_EQ(replay_has(r, &i, sizeof(i)), i % 2 == 1);
	for (uint32_t i = 2000; i < 9000; i++)
		CHECK_EQ(add(r, i, 0), 0);
	for (uint32_t i = 0; i < 2000; i++)
		CHECK_EQ(replay_has(r, &i, sizeof(i)), i % 2 == 1);
}

TEST(what_is_renewed_is_remembered_for_an_interval_from_then_on)
{
	_cleanup_(replay_freep) struct replay *r = fixture(10);
	const uint32_t what = 7;

	CHECK_EQ(add(r, what, 0), 0);
	clock_fake_ms(1100);
	CHECK(replay_has(r, &what, sizeof(what)));
	clock_fake_ms(1199);
	CHECK_EQ(replay_renew(r, &what, sizeof(what)), 0);
	clock_fake_ms(1298);
	CHECK(replay_has(r, &what, sizeof(what)));
	/* However often: it is in there once. */
	CHECK_EQ(replay_renew(r, &what, sizeof(what)), 0);
	CHECK_EQ(replay_renew(r, &what, sizeof(what)), 0);
	CHECK(replay_take(r, &what, sizeof(what)));
	CHECK(!replay_has(r, &what, sizeof(what)));
	CHECK_EQ(replay_renew(r, &what, sizeof(what)), 0);
	CHECK(replay_has(r, &what, sizeof(what)));
}

/* The replay window against a plain model of it. */
#include "pskd/packet/replay.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/secret.h"
#include "unit/lib/test.h"

TEST(i1_no_sequence_is_accepted_twice)
{
	_cleanup_(replay_freep) struct replay *r = NULL;

	CHECK_EQ(replay_new(&r, 4096, 0), 0);
	for (uint64_t s = 0; s < 20000; s += 3) {
		CHECK_EQ(replay_check(r, s), REPLAY_NEW);
		replay_accept(r, s);
		CHECK_EQ(replay_check(r, s), REPLAY_SEEN);
	}
}

TEST(whole_window_behind_the_highest_is_judged)
{
	_cleanup_(replay_freep) struct replay *r = NULL;

	CHECK_EQ(replay_new(&r, 4096, 0), 0);
	replay_accept(r, 10000);
	CHECK_EQ(replay_floor(r), 10001 - 4096);
	CHECK_EQ(replay_check(r, 10000 - 4095), REPLAY_NEW);
	CHECK_EQ(replay_check(r, 10000 - 4096), REPLAY_OLD);
	replay_accept(r, 10000 - 4095);
	CHECK_EQ(replay_check(r, 10000 - 4095), REPLAY_SEEN);
}

TEST(an_earlier_life_is_old)
{
	_cleanup_(replay_freep) struct replay *r = NULL;

	CHECK_EQ(replay_new(&r, 4096, 777), 0);
	CHECK_EQ(replay_next(r), 777);
	CHECK_EQ(replay_check(r, 776), REPLAY_OLD);
	CHECK_EQ(replay_check(r, 777), REPLAY_NEW);
	replay_accept(r, 800);
	CHECK_EQ(replay_check(r, 776), REPLAY_OLD);
	CHECK_EQ(replay_check(r, 777), REPLAY_NEW);
}

TEST(a_jump_of_many_laps_leaves_no_stale_bits)
{
	_cleanup_(replay_freep) struct replay *r = NULL;

	CHECK_EQ(replay_new(&r, 4096, 0), 0);
	for (uint64_t s = 0; s < 5000; s++)
		replay_accept(r, s);
	replay_accept(r, 5000000);
	for (uint64_t s = 5000000 - 4095; s < 5000000; s++)
		CHECK_EQ(replay_check(r, s), REPLAY_NEW);
}

TEST(window_agrees_with_a_model_on_random_orders)
{
	enum { N = 30000, SIZE = 4096 };
	_cleanup_(replay_freep) struct replay *r = NULL;
	_cleanup_free_ uint8_t *seen = calloc(N, 1);
	uint64_t next = 0, base = 0;

	CHECK(seen != NULL);
	CHECK_EQ(replay_new(&r, SIZE, 0), 0);
	for (int i = 0; i < 200000; i++) {
		uint64_t s = base + random_below(6000);
		enum replay_verdict expected = REPLAY_NEW;

		if (s >= N)
			break;
		if (s + SIZE < next)
			expected = REPLAY_OLD;
		else if (seen[s])
			expected = REPLAY_SEEN;
		CHECK_EQ(replay_check(r, s), expected);
		if (expected == REPLAY_NEW) {
			replay_accept(r, s);
			seen[s] = 1;
			next = s >= next ? s + 1 : next;
		}
		base += i % 8 == 0;
	}
}

TEST(the_last_sequence_of_all_can_be_accepted)
{
	_cleanup_(replay_freep) struct replay *r = NULL;

	CHECK_EQ(replay_new(&r, 4096, 0), 0);
	replay_accept(r, UINT64_MAX - 1);
	CHECK_EQ(replay_check(r, UINT64_MAX - 1), REPLAY_SEEN);
	CHECK_EQ(replay_check(r, 5), REPLAY_OLD);
}

/* Freshness with clocks that stand still, jump back, and start anew; the database is a real one. */
#include "authd/fresh.h"

#include <string.h>

#include "authd/config.h"
#include "authd/state.h"
#include "base/clock.h"
#include "crypto/secret.h"
#include "proto/pop.h"
#include "unit/lib/test.h"

static int64_t wall = 1000000;
static bool synchronised = true;

static int64_t fake_wall(void)
{
	return wall;
}

static bool fake_synchronised(void)
{
	return synchronised;
}

static const struct fresh_clocks clocks = { fake_wall, fake_synchronised };
static struct authd_config cfg = {
	.pop_timestamps = TIMESTAMPS_KERNEL, .pop_window_ms = 30000, .nonces = 1000, .nonces_per_user = 1000
};

struct fixture {
	const char *dir;
	struct state *state;
	struct fresh *fresh;
	uint64_t ms;
};

static void start(struct fixture *f)
{
	char why[256] = "";

	CHECK_EQ(state_open(&f->state, f->dir, NULL, why, sizeof(why)), 0);
	CHECK_EQ(fresh_new(&f->fresh, f->state, &cfg, &clocks), 0);
}

static void end(struct fixture *f)
{
	f->fresh = fresh_free(f->fresh);
	f->state = state_free(f->state);
}

/* Both clocks go on. */
static void pass(struct fixture *f, int64_t s)
{
	wall += s;
	f->ms += (uint64_t)s * 1000;
	clock_fake_ms(f->ms);
}

static struct fixture fixture(void)
{
	struct fixture f = { .dir = test_tmpdir(), .ms = 5000000 };

	CHECK_EQ(crypto_init(), 0);
	clock_fake_ms(f.ms);
	start(&f);
	return f;
}

static int by_time(struct fixture *f, int64_t ts, uint8_t nonce)
{
	struct pop_proof p = { .ts = ts, .nonce_len = 16, .nonce = { nonce } };

	return fresh_check(f->fresh, &p, 1, 1);
}

static int by_nonce(struct fixture *f, const char *snonce, uint8_t nonce)
{
	struct pop_proof p = { .snonce = snonce, .snonce_len = strlen(snonce), .nonce_len = 16, .nonce = { nonce } };

	return fresh_check(f->fresh, &p, 1, 1);
}

TEST(i7_no_time_is_taken_until_what_was_taken_before_the_start_is_too_old)
{
	struct fixture f = fixture();

	CHECK_EQ(by_time(&f, wall, 1), FRESH_E_NEEDS_SNONCE);
	pass(&f, 30);
	CHECK_EQ(by_time(&f, wall, 1), FRESH_E_NEEDS_SNONCE);
	pass(&f, 1);
	CHECK_EQ(by_time(&f, wall, 1), 0);
	end(&f);
}

TEST(a_time_counts_within_the_window_alone)
{
	struct fixture f = fixture();

	pass(&f, 1000);
	CHECK_EQ(by_time(&f, wall - 30, 1), 0);
	CHECK_EQ(by_time(&f, wall - 31, 2), FRESH_E_TIME);
	CHECK_EQ(by_time(&f, wall + 30, 3), 0);
	CHECK_EQ(by_time(&f, wall + 31, 4), FRESH_E_TIME);
	CHECK_EQ(by_time(&f, INT64_MAX, 5), FRESH_E_TIME);
	CHECK_EQ(by_time(&f, INT64_MIN, 5), FRESH_E_TIME);
	end(&f);
}

TEST(a_request_is_refused_for_as_long_as_its_time_would_do)
{
	struct fixture f = fixture();
	int64_t ts;

	pass(&f, 1000);
	ts = wall + 30;
	CHECK_EQ(by_time(&f, ts, 1), 0);
	for (int i = 0; i < 60; i++) {
		CHECK_EQ(by_time(&f, ts, 1), FRESH_E_REPLAY);
		pass(&f, 1);
	}
	pass(&f, 1);
	CHECK_EQ(by_time(&f, ts, 1), FRESH_E_TIME);
	end(&f);
}

TEST(i7_a_clock_set_back_brings_no_request_back)
{
	struct fixture f = fixture();
	int64_t ts;

	pass(&f, 1000);
	ts = wall;
	CHECK_EQ(by_time(&f, ts, 1), 0);
	pass(&f, 3600);
	wall = ts;
	CHECK(by_time(&f, ts, 1) != 0);
	CHECK_EQ(by_time(&f, ts, 2), FRESH_E_NEEDS_SNONCE);
	end(&f);
}

TEST(i7_nor_does_one_set_back_over_a_crash)
{
	struct fixture f = fixture();
	int64_t ts;

	pass(&f, 1000);
	ts = wall;
	CHECK_EQ(by_time(&f, ts, 1), 0);
	end(&f);
	wall = ts - 100;
	start(&f);
	/* The clock reaches the same time once more, long after the start. */
	pass(&f, 100);
	CHECK_EQ(by_time(&f, ts, 1), FRESH_E_NEEDS_SNONCE);
	CHECK(fresh_why_not(f.fresh) != NULL);
	end(&f);
}

TEST(i7_nor_does_one_set_back_over_a_clean_stop)
{
	struct fixture f = fixture();
	int64_t ts;

	/* The clock is an hour ahead for a while, and right again when authd stops. */
	pass(&f, 1000);
	wall += 3600;
	ts = wall;
	CHECK_EQ(by_time(&f, ts, 1), 0);
	wall -= 3600;
	fresh_stop(f.fresh);
	end(&f);
	start(&f);
	pass(&f, 3600);
	CHECK_EQ(wall, ts);
	CHECK_EQ(by_time(&f, ts, 1), FRESH_E_NEEDS_SNONCE);
	end(&f);
}

TEST(a_clean_stop_gives_back_what_was_reserved)
{
	struct fixture f = fixture();

	pass(&f, 1000);
	CHECK_EQ(by_time(&f, wall, 1), 0);
	CHECK(state_marked(f.state) > wall + 200);
	fresh_stop(f.fresh);
	CHECK_EQ(state_marked(f.state), wall + 30);
	end(&f);
	start(&f);
	pass(&f, 61);
	CHECK_EQ(by_time(&f, wall, 1), 0);
	end(&f);
}

TEST(i10_the_mark_is_written_now_and_then_alone)
{
	struct fixture f = fixture();
	int64_t mark;

	pass(&f, 1000);
	CHECK_EQ(by_time(&f, wall, 1), 0);
	mark = state_marked(f.state);
	for (int i = 0; i < 200; i++) {
		pass(&f, 1);
		CHECK_EQ(by_time(&f, wall, (uint8_t)(i + 2)), 0);
	}
	CHECK_EQ(state_marked(f.state), mark);
	end(&f);
}

TEST(a_clock_that_nobody_keeps_takes_nonces_alone)
{
	struct fixture f = fixture();
	char nonce[SNONCE_SPACE];

	pass(&f, 1000);
	synchronised = false;
	CHECK_EQ(by_time(&f, wall, 1), FRESH_E_NEEDS_SNONCE);
	fresh_snonce(f.fresh, nonce);
	CHECK_EQ(by_nonce(&f, nonce, 1), 0);
	CHECK_EQ(by_nonce(&f, nonce, 1), FRESH_E_REPLAY);
	CHECK_EQ(by_nonce(&f, nonce, 2), 0);
	synchronised = true;
	end(&f);
}

TEST(a_nonce_of_ours_is_good_for_a_window_whatever_the_wall_clock_does)
{
	struct fixture f = fixture();
	char nonce[SNONCE_SPACE];

	fresh_snonce(f.fresh, nonce);
	pass(&f, 30);
	wall -= 1000000;
	CHECK_EQ(by_nonce(&f, nonce, 1), 0);
	wall += 1000000;
	pass(&f, 1);
	CHECK_EQ(by_nonce(&f, nonce, 2), FRESH_E_SNONCE);
	end(&f);
}

TEST(a_nonce_of_another_life_or_of_nobody_is_none)
{
	struct fixture f = fixture();
	char nonce[SNONCE_SPACE];

	fresh_snonce(f.fresh, nonce);
	end(&f);
	start(&f);
	CHECK_EQ(by_nonce(&f, nonce, 1), FRESH_E_SNONCE);
	fresh_snonce(f.fresh, nonce);
	nonce[20] = nonce[20] == 'A' ? 'B' : 'A';
	CHECK_EQ(by_nonce(&f, nonce, 1), FRESH_E_SNONCE);
	CHECK_EQ(by_nonce(&f, "", 1), FRESH_E_SNONCE);
	CHECK_EQ(by_nonce(&f, "AAAA", 1), FRESH_E_SNONCE);
	end(&f);
}

TEST(i7_a_longer_window_brings_nothing_back)
{
	struct fixture f = fixture();
	struct authd_config longer = cfg;
	char nonce[SNONCE_SPACE], other[SNONCE_SPACE];
	int64_t ts;

	longer.pop_window_ms = 300000;
	pass(&f, 1000);
	fresh_snonce(f.fresh, nonce);
	ts = wall;
	CHECK_EQ(by_nonce(&f, nonce, 1), 0);
	CHECK_EQ(by_time(&f, ts, 3), 0);
	pass(&f, 70);
	fresh_snonce(f.fresh, other);
	CHECK_EQ(by_nonce(&f, other, 2), 0); /* what is remembered turns over */
	pass(&f, 66);
	fresh_set_config(f.fresh, &longer);
	CHECK(by_nonce(&f, nonce, 1) != 0);
	CHECK(by_time(&f, ts, 3) != 0);
	/* Nonces of now are good for the longer one. */
	fresh_snonce(f.fresh, nonce);
	pass(&f, 200);
	CHECK_EQ(by_nonce(&f, nonce, 4), 0);
	CHECK_EQ(by_nonce(&f, nonce, 4), FRESH_E_REPLAY);
	end(&f);
}

/* What authd(8) says to do. */
TEST(a_clock_that_was_years_ahead_can_be_forgotten)
{
	struct fixture f = fixture();
	char nonce[SNONCE_SPACE];

	pass(&f, 10 * 365 * 86400);
	CHECK_EQ(by_time(&f, wall, 1), 0);
	end(&f);
	wall -= 10 * 365 * 86400;
	start(&f);
	pass(&f, 1000);
	CHECK_EQ(by_time(&f, wall, 2), FRESH_E_NEEDS_SNONCE);
	CHECK(strstr(fresh_why_not(f.fresh), "authd(8)") != NULL);
	fresh_snonce(f.fresh, nonce);
	CHECK_EQ(by_nonce(&f, nonce, 3), 0);
	CHECK_EQ(state_run(f.state, "UPDATE clock SET mark = 0, seen = 0", NULL, NULL), 0);
	end(&f);
	start(&f);
	pass(&f, 61);
	CHECK_EQ(by_time(&f, wall, 4), 0);
	end(&f);
}

TEST(i4_one_user_does_not_keep_the_others_from_being_remembered)
{
	struct fixture f = fixture();
	struct authd_config shares = cfg;
	char nonce[SNONCE_SPACE];
	struct pop_proof p = { .nonce_len = 16 };
	int r = 0;

	shares.nonces_per_user = 100;
	fresh_set_config(f.fresh, &shares);
	fresh_snonce(f.fresh, nonce);
	p.snonce = nonce;
	p.snonce_len = strlen(nonce);
	for (int64_t i = 0; i < 101; i++) {
		p.nonce[0] = (uint8_t)i;
		/* In whichever of the user's sessions. */
		r = fresh_check(f.fresh, &p, 1, 1 + i % 3);
		CHECK_EQ(r, i < 100 ? 0 : FRESH_E_FULL);
	}
	CHECK_EQ(fresh_check(f.fresh, &p, 2, 9), 0);
	/* However much is allowed, it is not all. */
	shares.nonces_per_user = 1000000;
	fresh_set_config(f.fresh, &shares);
	for (int64_t i = 0; i < 150; i++) {
		p.nonce[1] = (uint8_t)(i + 1);
		CHECK_EQ(fresh_check(f.fresh, &p, 1, 1), 0);
	}
	p.nonce[1] = 0xff;
	CHECK_EQ(fresh_check(f.fresh, &p, 1, 1), FRESH_E_FULL);
	CHECK_EQ(fresh_check(f.fresh, &p, 3, 10), 0);
	end(&f);
}

TEST(i4_more_than_there_is_room_for_is_refused_not_forgotten)
{
	struct fixture f = fixture();
	char nonce[SNONCE_SPACE];
	struct pop_proof p = { .nonce_len = 16 };
	int r = 0;

	fresh_snonce(f.fresh, nonce);
	p.snonce = nonce;
	p.snonce_len = strlen(nonce);
	for (int i = 0; i < 1001 && !r; i++) {
		p.nonce[0] = (uint8_t)i;
		p.nonce[1] = (uint8_t)(i >> 8);
		r = fresh_check(f.fresh, &p, 1, 1);
	}
	CHECK_EQ(r, FRESH_E_FULL);
	p.nonce[0] = p.nonce[1] = 0;
	CHECK_EQ(fresh_check(f.fresh, &p, 1, 1), FRESH_E_REPLAY);
	end(&f);
}

/* The gauge of a key file: what it says of the last hour and week, and what a bad history cannot do. */
#include "pskd/tunnel/fuel.h"

#include <jansson.h>
#include <string.h>

#include "base/json.h"
#include "unit/lib/test.h"

#define S(n) ((uint64_t)(n) * 1000)
#define HOUR UINT64_C(3600)

TEST(rates_are_of_the_last_hour_and_week)
{
	struct fuel f = { 0 };
	struct fuel_rates r;
	uint64_t taken = 0, now = 12345;

	fuel_observe(&f, S(now), 0);
	for (uint64_t i = 0; i < 10 * 24 * 60; i++) {
		now += 60;
		taken += 100;
		fuel_observe(&f, S(now), taken);
	}
	fuel_rates(&f, &r);
	/* The cell that fills is not whole. */
	CHECK(r.hour == 6000 && r.hour_s > 3540 && r.hour_s <= 3600);
	CHECK(r.week > 166 * 6000 && r.week <= 168 * 6000);
	CHECK(r.week_s > 167 * HOUR && r.week_s <= 168 * HOUR);
	/* A hundred a minute. */
	CHECK(fuel_lasts_s(&r, 1000000) > 590000 && fuel_lasts_s(&r, 1000000) < 610000);
}

TEST(idle_time_is_filled_in_when_somebody_looks)
{
	struct fuel f = { 0 };
	struct fuel_rates r;

	fuel_observe(&f, S(1000), 0);
	fuel_observe(&f, S(1060), 500);
	fuel_observe(&f, S(1060 + 2 * HOUR), 500);
	fuel_rates(&f, &r);
	CHECK_EQ(r.hour, 0);
	CHECK_EQ(r.week, 500);
	CHECK_EQ(r.week_s, 60 + 2 * HOUR);
	fuel_observe(&f, S(1060 + 400 * HOUR), 500);
	fuel_rates(&f, &r);
	CHECK_EQ(r.week, 0);
	CHECK_EQ(fuel_lasts_s(&r, 10), UINT64_MAX);
}

TEST(no_rate_is_told_from_a_few_seconds)
{
	struct fuel f = { 0 };
	struct fuel_rates r;

	fuel_observe(&f, S(10), 0);
	fuel_observe(&f, S(12), 5000);
	fuel_rates(&f, &r);
	CHECK_EQ(r.hour, 5000);
	CHECK_EQ(fuel_lasts_s(&r, 10), UINT64_MAX);
}

TEST(other_keys_count_from_zero_again)
{
	struct fuel f = { 0 };
	struct fuel_rates r;

	fuel_observe(&f, S(10), 0);
	fuel_observe(&f, S(20), 900);
	fuel_restart(&f);
	fuel_observe(&f, S(30), 5);
	/* Keys that were exchanged without a word cost what came meanwhile, and are no packets by the billion. */
	fuel_observe(&f, S(40), 2);
	fuel_observe(&f, S(50), 4);
	fuel_rates(&f, &r);
	CHECK_EQ(r.hour, 907);
}

TEST(a_clock_that_stands_still_or_goes_back_changes_nothing)
{
	struct fuel f = { 0 };
	struct fuel_rates r;

	fuel_observe(&f, S(5000), 0);
	fuel_observe(&f, S(100), 7);
	fuel_rates(&f, &r);
	CHECK_EQ(r.hour, 7);
	CHECK_EQ(f.at_s, 5000);
}

TEST(history_comes_back_and_time_has_passed)
{
	struct fuel f = { 0 }, back;
	_cleanup_json_ json_t *j = NULL;
	const uint64_t end = 100000 + 51 * HOUR;
	struct fuel_rates before, r;

	fuel_observe(&f, S(100000), 0);
	fuel_observe(&f, S(100000 + 50 * HOUR), 1000);
	fuel_observe(&f, S(end), 1500);
	fuel_rates(&f, &before);
	j = fuel_to_json(&f, S(end));
	CHECK(j != NULL);

	fuel_from_json(&back, j, S(end));
	fuel_rates(&back, &r);
	CHECK_EQ(r.week, 1500);
	CHECK_EQ(r.hour, before.hour);
	CHECK_EQ(r.week_s, 51 * HOUR);
	CHECK_EQ(back.at_s, end);

	/* Two hours later the hour is empty; in a week, the week. */
	fuel_from_json(&back, j, S(end + 2 * HOUR));
	fuel_rates(&back, &r);
	CHECK_EQ(r.hour, 0);
	CHECK_EQ(r.week, 1500);
	CHECK_EQ(r.week_s, 53 * HOUR);
	fuel_observe(&back, S(end + 170 * HOUR), 0);
	fuel_rates(&back, &r);
	CHECK_EQ(r.week, 0);
	fuel_from_json(&back, j, S(end + 200 * HOUR));
	CHECK(!back.begun);
}

TEST(history_comes_back_after_another_start_of_the_machine)
{
	struct fuel f = { 0 }, back;
	_cleanup_json_ json_t *j = NULL;
	struct fuel_rates r;

	fuel_observe(&f, S(500 * HOUR), 0);
	fuel_observe(&f, S(510 * HOUR), 900);
	j = fuel_to_json(&f, S(510 * HOUR));
	/* On for three seconds: at least these have passed. */
	fuel_from_json(&back, j, S(3));
	fuel_rates(&back, &r);
	CHECK_EQ(r.week, 900);
	CHECK_EQ(r.week_s, 10 * HOUR + 3);
	CHECK_EQ(back.at_s, 3);
	fuel_from_json(&back, j, S(2 * HOUR));
	fuel_rates(&back, &r);
	CHECK_EQ(r.hour, 0);
	CHECK_EQ(r.week, 900);
	CHECK_EQ(r.week_s, 12 * HOUR);
}

TEST(saving_tells_the_time_that_passed_since_the_last_look)
{
	struct fuel f = { 0 }, back;
	_cleanup_json_ json_t *j = NULL;
	struct fuel_rates r;

	fuel_observe(&f, S(100), 0);
	fuel_observe(&f, S(200), 50);
	j = fuel_to_json(&f, S(200 + 10 * HOUR));
	fuel_from_json(&back, j, S(200 + 10 * HOUR));
	fuel_rates(&back, &r);
	CHECK_EQ(r.hour, 0);
	CHECK_EQ(r.week, 50);
	CHECK_EQ(r.week_s, 100 + 10 * HOUR);
	/* What was saved is as it was. */
	CHECK_EQ(f.at_s, 200);
}

TEST(broken_history_is_no_history)
{
	static const char *const bad[] = {
		"null", "{}", "[]", "7",
		"{\"at_s\": -1, \"known_s\": 5, \"minutes\": [], \"hours\": []}",
		"{\"at_s\": 90, \"known_s\": -5, \"minutes\": [], \"hours\": []}",
		"{\"at_s\": 90, \"known_s\": 99999999, \"minutes\": [], \"hours\": []}",
		"{\"at_s\": 90, \"known_s\": 5, \"minutes\": [1], \"hours\": [-1]}",
		"{\"at_s\": 90, \"known_s\": 5, \"minutes\": [1], \"hours\": [4294967296]}",
		"{\"at_s\": 90, \"known_s\": 5, \"minutes\": {}, \"hours\": [1]}",
		"{\"at_s\": 90, \"known_s\": 5, \"minutes\": [1]}",
	};
	json_t *long_list = json_array();
	_cleanup_json_ json_t *long_one = json_pack("{s:i, s:i, s:o, s:[]}", "at_s", 90, "known_s", 5, "minutes", long_list,
						    "hours");
	_cleanup_json_ json_t *late = json_pack("{s:I, s:i, s:[], s:[]}", "at_s", (json_int_t)INT64_MAX, "known_s", 5,
						"minutes", "hours");
	struct fuel f;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		_cleanup_json_ json_t *j = json_loads(bad[i], JSON_DECODE_ANY, NULL);

		CHECK(j != NULL);
		memset(&f, 0xff, sizeof(f));
		fuel_from_json(&f, j, S(100));
		CHECK(!f.begun && f.hours[0] == 0 && f.minutes[0] == 0 && f.known_s == 0);
	}
	for (int i = 0; i < 61; i++)
		json_array_append_new(long_list, json_integer(1));
	fuel_from_json(&f, long_one, S(100));
	CHECK(!f.begun);
	fuel_from_json(&f, NULL, S(100));
	CHECK(!f.begun);
	fuel_from_json(&f, late, S(100));
	CHECK(f.begun && f.at_s == 100);
}

TEST(levels_are_20_5_and_1_percent)
{
	CHECK_EQ(fuel_level(1000, 1000), 0);
	CHECK_EQ(fuel_level(200, 1000), 0);
	CHECK_EQ(fuel_level(199, 1000), 1);
	CHECK_EQ(fuel_level(50, 1000), 1);
	CHECK_EQ(fuel_level(49, 1000), 2);
	CHECK_EQ(fuel_level(10, 1000), 2);
	CHECK_EQ(fuel_level(9, 1000), 3);
	CHECK_EQ(fuel_level(0, 1000), 3);
	/* The largest there is. */
	CHECK_EQ(fuel_level(UINT64_C(9162596898666), UINT64_C(9162596898666)), 0);
}

TEST(a_week_at_line_rate_does_not_wrap)
{
	struct fuel f = { 0 };
	struct fuel_rates r;
	uint64_t taken = 0;

	fuel_observe(&f, 0, 0);
	for (uint64_t h = 1; h <= 300; h++) {
		taken += UINT64_C(10000000000);
		fuel_observe(&f, S(h * HOUR), taken);
	}
	fuel_rates(&f, &r);
	CHECK_EQ(r.week, 168 * (uint64_t)UINT32_MAX);
	CHECK(fuel_lasts_s(&r, 1000) == 0);
	CHECK_EQ(fuel_lasts_s(&(struct fuel_rates){ .week = 1, .week_s = 604800 }, UINT64_C(9162596898666)), UINT64_MAX);
}

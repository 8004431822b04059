/*
 * What a tunnel's state says of how fast its key material was used, of any content: it costs at most the history, no
 * rate is of more than a week, and what is written of it is read again as it was.
 */
#include "pskd/tunnel/fuel.h"

#include <assert.h>
#include <jansson.h>
#include <string.h>

#include "base/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NOW_MS = 2000000000, STEP_MS = 977000 };

static void check(const struct fuel *f)
{
	struct fuel_rates r;
	uint64_t lasts;

	fuel_rates(f, &r);
	assert(r.hour_s <= 3600 + 60 && r.week_s <= FUEL_WEEK_S + 3600);
	assert(r.hour_s <= r.week_s || r.week_s == 0 || r.hour_s <= 3660);
	lasts = fuel_lasts_s(&r, 1000000);
	assert(r.week > 0 || lasts == UINT64_MAX);
}

static void check_again(struct fuel *f)
{
	struct fuel again = { .begun = false };
	struct fuel_rates one, two;
	json_t *j, *k;

	if (!f->begun)
		return;
	j = fuel_to_json(f, NOW_MS);
	assert(j);
	fuel_rates(f, &one);
	fuel_from_json(&again, j, NOW_MS);
	fuel_rates(&again, &two);
	assert(again.begun && one.week == two.week && one.week_s == two.week_s);
	k = fuel_to_json(&again, NOW_MS);
	assert(json_equal(j, k));
	json_decref(j);
	json_decref(k);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuel f = { .begun = false };
	json_t *j = json_loadb((const char *)data, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);

	if (!j)
		return 0;
	fuel_from_json(&f, j, NOW_MS);
	json_decref(j);
	check(&f);
	check_again(&f);
	for (uint64_t i = 0; i < 20; i++) {
		fuel_observe(&f, NOW_MS + i * STEP_MS, i * i * 1000);
		check(&f);
	}
	fuel_restart(&f);
	fuel_observe(&f, NOW_MS + UINT64_C(100) * FUEL_WEEK_S * 1000, 5);
	check(&f);
	return 0;
}

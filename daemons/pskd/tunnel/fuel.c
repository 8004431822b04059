/* Two rings of counters; a week of an idle tunnel is all zeros, and saved as nothing. */
#include "pskd/tunnel/fuel.h"

#include <jansson.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"

const unsigned int fuel_levels[3] = { 20, 5, 1 };

static void clear_passed(uint32_t *ring, uint64_t cells, uint64_t from, uint64_t to)
{
	for (uint64_t i = from + 1, n = 0; i <= to && n < cells; i++, n++)
		ring[i % cells] = 0;
}

static void move_to(struct fuel *f, uint64_t now_s)
{
	if (now_s <= f->at_s)
		return;
	clear_passed(f->minutes, FUEL_MINUTES, f->at_s / 60, now_s / 60);
	clear_passed(f->hours, FUEL_HOURS, f->at_s / 3600, now_s / 3600);
	f->known_s = min_u64(f->known_s + (now_s - f->at_s), FUEL_WEEK_S);
	f->at_s = now_s;
}

static void add(uint32_t *cell, uint64_t n)
{
	*cell = (uint32_t)min_u64(UINT32_MAX, *cell + n);
}

void fuel_observe(struct fuel *f, uint64_t now_ms, uint64_t taken)
{
	if (!f->begun) {
		f->begun = true;
		f->at_s = now_ms / 1000;
	}
	move_to(f, now_ms / 1000);
	if (taken > f->taken) {
		add(&f->minutes[f->at_s / 60 % FUEL_MINUTES], taken - f->taken);
		add(&f->hours[f->at_s / 3600 % FUEL_HOURS], taken - f->taken);
		f->unsaved += taken - f->taken;
	}
	f->taken = taken;
}

void fuel_restart(struct fuel *f)
{
	f->taken = 0;
}

static uint64_t sum(const uint32_t *ring, size_t cells)
{
	uint64_t n = 0;

	for (size_t i = 0; i < cells; i++)
		n += ring[i];
	return n;
}

void fuel_rates(const struct fuel *f, struct fuel_rates *out)
{
	*out = (struct fuel_rates){
		.hour = sum(f->minutes, FUEL_MINUTES),
		.week = sum(f->hours, FUEL_HOURS),
		/* The cell that fills now, and the whole ones before it. */
		.hour_s = min_u64(f->known_s, (FUEL_MINUTES - 1) * 60 + f->at_s % 60),
		.week_s = min_u64(f->known_s, (FUEL_HOURS - 1) * 3600 + f->at_s % 3600),
	};
}

uint64_t fuel_lasts_s(const struct fuel_rates *r, uint64_t packets_left)
{
	double s;

	if (r->week == 0 || r->week_s < FUEL_SETTLE_S)
		return UINT64_MAX;
	s = (double)packets_left / (double)r->week * (double)r->week_s;
	return s < 1e15 ? (uint64_t)s : UINT64_MAX;
}

unsigned int fuel_level(uint64_t packets_left, uint64_t packets_total)
{
	unsigned int level = 0;

	while (level < 3 && (double)packets_left * 100 < (double)packets_total * fuel_levels[level])
		level++;
	return level;
}

/* The oldest first, without the zeros before the first that is not. */
static json_t *ring_to_json(const uint32_t *ring, uint64_t cells, uint64_t at)
{
	json_t *list = json_array();

	for (uint64_t i = 1; i <= cells; i++)
		if (ring[(at + i) % cells] || json_array_size(list))
			json_array_append_new(list, json_integer(ring[(at + i) % cells]));
	return list;
}

json_t *fuel_to_json(const struct fuel *f, uint64_t now_ms)
{
	struct fuel now = *f;

	move_to(&now, now_ms / 1000);
	return json_pack("{s:I, s:I, s:o, s:o}", "at_s", (json_int_t)now.at_s, "known_s", (json_int_t)now.known_s,
			 "minutes", ring_to_json(now.minutes, FUEL_MINUTES, now.at_s / 60), "hours",
			 ring_to_json(now.hours, FUEL_HOURS, now.at_s / 3600));
}

static bool ring_from_json(uint32_t *ring, uint64_t cells, uint64_t at, const json_t *list)
{
	size_t n = json_array_size(list);

	if (!json_is_array(list) || n > cells)
		return false;
	for (size_t i = 0; i < n; i++) {
		json_int_t v = json_integer_value(json_array_get(list, i));

		if (v < 0 || v > UINT32_MAX)
			return false;
		ring[(at + cells - (n - 1 - i)) % cells] = (uint32_t)v;
	}
	return true;
}

void fuel_from_json(struct fuel *f, const json_t *j, uint64_t now_ms)
{
	int64_t at = json_get_int(j, "at_s", -1), known = json_get_int(j, "known_s", -1);
	uint64_t now_s = now_ms / 1000, passed;
	struct fuel read = { .begun = true };

	memset(f, 0, sizeof(*f));
	if (at < 0 || known < 0 || known > FUEL_WEEK_S)
		return;
	/* After another start of the machine it is longer ago than that, or than the machine is on. */
	passed = (uint64_t)at <= now_s ? now_s - (uint64_t)at : now_s;
	if (passed >= FUEL_WEEK_S)
		return;
	/* Perhaps before the clock began: a week later, so that nothing is negative. */
	read.at_s = now_s + FUEL_WEEK_S - passed;
	read.known_s = (uint64_t)known;
	if (!ring_from_json(read.minutes, FUEL_MINUTES, read.at_s / 60, json_object_get(j, "minutes")) ||
	    !ring_from_json(read.hours, FUEL_HOURS, read.at_s / 3600, json_object_get(j, "hours")))
		return;
	move_to(&read, now_s + FUEL_WEEK_S);
	/* Both rings come round in a week: each cell stays the one of its time. */
	read.at_s -= FUEL_WEEK_S;
	*f = read;
}

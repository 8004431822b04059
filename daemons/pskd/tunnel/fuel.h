/*
 * How fast a tunnel uses up its key material: packets taken in each of the last 60 minutes and 168 hours.
 * For people alone; nothing is decided by it. Costs nothing while nothing is sent: what passed in between is
 * filled in when somebody looks.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct json_t;

enum {
	FUEL_MINUTES = 60,
	FUEL_HOURS = 168,
	FUEL_WEEK_S = FUEL_HOURS * 3600,
	FUEL_SETTLE_S = 60, /* no rate is told from less */
};

struct fuel {
	bool begun;
	uint64_t at_s;	  /* when it was last looked at, on the clock of base/clock.h */
	uint64_t known_s; /* how much of the past is in it, a week at most */
	uint64_t taken;	  /* the counter as it was then */
	uint64_t unsaved; /* packets that fuel_to_json() has not told yet */
	uint32_t minutes[FUEL_MINUTES], hours[FUEL_HOURS]; /* rings, by time; the present one still fills */
};

/* taken: how many packets these keys gave out so far, from 0 whenever keys are opened. */
void fuel_observe(struct fuel *f, uint64_t now_ms, uint64_t taken);
/* Other keys, or the same opened again: their counter begins anew. */
void fuel_restart(struct fuel *f);

struct fuel_rates {
	uint64_t hour, week; /* packets over the last hour and week, or as much of them as is known */
	uint64_t hour_s, week_s; /* how much that is */
};
void fuel_rates(const struct fuel *f, struct fuel_rates *out);
/* How long packets_left last at the rate of the week. UINT64_MAX: nothing is used, or it is not known. */
uint64_t fuel_lasts_s(const struct fuel_rates *r, uint64_t packets_left);

/* Percent levels that are warned of: 0 is above all of them, 3 below the last. */
unsigned int fuel_level(uint64_t packets_left, uint64_t packets_total);
extern const unsigned int fuel_levels[3];

/*
 * What is kept over a restart; NULL without memory. The wall clock is not asked (I7): of the time between, that
 * counts which this machine was certainly on for, and the time that it was off for does not. Anything wrong in what is
 * read costs the history and nothing else.
 */
struct json_t *fuel_to_json(const struct fuel *f, uint64_t now_ms);
void fuel_from_json(struct fuel *f, const struct json_t *j, uint64_t now_ms);

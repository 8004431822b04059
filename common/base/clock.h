/* Time that never jumps: milliseconds on CLOCK_BOOTTIME. Wall time is for display alone (I7). */
#pragma once

#include <stdint.h>

/* Milliseconds since boot, suspend included; the faked value when a test set one. */
uint64_t clock_now_ms(void);

/* From then to now; 0 when then is later, as what another thread has written meanwhile may be. */
static inline uint64_t clock_since_ms(uint64_t then_ms, uint64_t now_ms)
{
	return now_ms > then_ms ? now_ms - then_ms : 0;
}

/* Microseconds on the same clock (never faked): for measuring. */
uint64_t clock_now_us(void);

/*
 * How long the machine has slept since it was started: between these two, which
 * differ by the time that reading two clocks takes. Never faked.
 */
void clock_slept_ms(uint64_t *at_least, uint64_t *at_most);

/* Seconds since the epoch, for showing to people and for storing beside a fact; never for deciding. */
int64_t clock_wall_s(void);

/* Tests only: freeze clock_now_ms() at ms; UINT64_MAX lets it run again. */
void clock_fake_ms(uint64_t ms);

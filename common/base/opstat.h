/*
 * How often an operation was done, how often it failed, over how many bytes, and how long
 * it took: count, sum, smallest, largest, and a histogram for percentiles. All of one
 * operation lies in a fixed struct of zeros at the start; adding a sample allocates
 * nothing, takes no lock, and may be done in any thread. What is read while others add is
 * off by what they are adding, no more.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Eight buckets between a power of two and the next, so that a percentile is at most an eighth
 * beside the truth; from single nanoseconds to 2^38 (four and a half minutes), where all
 * that is longer ends.
 */
enum { OPSTAT_SUB_BITS = 3, OPSTAT_EXP_MAX = 37, OPSTAT_BUCKETS = (OPSTAT_EXP_MAX - OPSTAT_SUB_BITS + 2) << OPSTAT_SUB_BITS };

struct opstat {
	_Atomic uint64_t count, failures, bytes; /* count has the failures, too */
	_Atomic uint64_t timed, timed_bytes, ns; /* those with a time; sums */
	_Atomic uint64_t least_not, most;	 /* ~least, so that zeros are a start; nanoseconds */
	_Atomic uint64_t buckets[OPSTAT_BUCKETS];
};

/* When an operation begins: hand it to opstat_end(). Never faked. */
uint64_t opstat_begin(void);
/* It is over: ok or failed, with the time since begun; bytes is how much went through it. */
void opstat_end(struct opstat *o, uint64_t begun, size_t bytes, bool ok);
/* One that took ns. */
void opstat_add(struct opstat *o, uint64_t ns, size_t bytes, bool ok);
/* n of them, of which some failed, without a time. */
void opstat_count(struct opstat *o, uint64_t n, uint64_t failures, uint64_t bytes);
/*
 * A time alone: for what is counted elsewhere, where it costs nothing, and timed now
 * and then.
 */
void opstat_sample(struct opstat *o, uint64_t ns, size_t bytes);

struct opstat_view {
	uint64_t count, failures, bytes;
	uint64_t timed; /* 0: none below has a meaning */
	double seconds; /* of all that were timed */
	double avg_s, min_s, max_s, p50_s, p90_s, p95_s, p99_s;
	double bytes_per_s;   /* over the time of the operations themselves */
	double success_rate;  /* percent; 100 when there was none yet */
};

void opstat_read(const struct opstat *o, struct opstat_view *out);

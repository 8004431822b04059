/*
 * A daemon's cryptographic operations, told in two ways: as metrics (handfast-metrics(7)) and
 * as the JSON of authd's GET /api/metrics.
 */
#pragma once

#include <stddef.h>

struct json_t;
struct metrics;
struct opstat;

struct operation {
	const char *name; /* "login_start": fixed by the daemon, a-z 0-9 _ */
	const struct opstat *stat;
};

/*
 * handfast_operations_total and the others, with the labels daemon and operation. Times are
 * left out while nothing was timed.
 */
void operations_add(struct metrics *m, const char *daemon, const struct operation *ops, size_t n);

/*
 * {NAME: {count, failures, bytes, avg_time_ms, min_time_ms, max_time_ms, p50_time_ms, p90_time_ms,
 * p95_time_ms, p99_time_ms, throughput_bps (bytes a second), success_rate (percent)}}: a new
 * reference, NULL without memory.
 */
struct json_t *operations_json(const struct operation *ops, size_t n);

/*
 * What a daemon counts and measures, collected when somebody asks
 * (io.handfast.Daemon.Metrics): nothing is kept here between two questions.
 *
 * A name is of a-z, 0-9 and _, begins with "handfast_", and always has the same
 * kind and the same label names; a counter's ends in "_total". What a label may say is bounded by the
 * daemon: text that a peer chose is never a label, but for a name that this
 * machine gave to a tunnel (text_is_name()).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct json_t;
struct metrics;

enum metric_kind {
	METRIC_COUNTER, /* only grows while the daemon (or what it counts for) lives */
	METRIC_GAUGE,
};

struct metric_label {
	const char *name, *value;
};

#define METRIC_LABELS(...) ((const struct metric_label[]){ __VA_ARGS__, { NULL, NULL } })
#define METRIC_NO_LABELS ((const struct metric_label[]){ { NULL, NULL } })

/* NULL without memory. */
struct metrics *metrics_new(void);
struct metrics *metrics_free(struct metrics *m);
DEFINE_CLEANUP(struct metrics *, metrics_free);

/*
 * One value. labels ends with a NULL name; all strings are copied. help goes out with
 * the first value of a name alone. A value that is no finite number is left out, and so is one
 * whose memory cannot be had.
 */
void metrics_add(struct metrics *m, enum metric_kind kind, const char *name, const char *help, double value,
		 const struct metric_label *labels);

static inline void metrics_count(struct metrics *m, const char *name, const char *help, uint64_t value,
				 const struct metric_label *labels)
{
	metrics_add(m, METRIC_COUNTER, name, help, (double)value, labels);
}

static inline void metrics_gauge(struct metrics *m, const char *name, const char *help, double value,
				 const struct metric_label *labels)
{
	metrics_add(m, METRIC_GAUGE, name, help, value, labels);
}

/* What is true of every process: label daemon is name, uptime_ms its age. */
void metrics_add_process(struct metrics *m, const char *name, uint64_t uptime_ms);

/* {"metrics": [...]}, as Metrics() answers: a new reference, NULL without memory. Empties m. */
struct json_t *metrics_take_json(struct metrics *m);

/* Operations as metrics and as JSON. */
#include "service/operations.h"

#include <jansson.h>

#include "base/cleanup.h"
#include "base/opstat.h"
#include "service/metrics.h"

static void add_one(struct metrics *m, const char *daemon, const struct operation *op)
{
	const struct metric_label *labels = METRIC_LABELS({ "daemon", daemon }, { "operation", op->name });
	struct opstat_view v;

	opstat_read(op->stat, &v);
	metrics_count(m, "handfast_operations_total", "Cryptographic operations, also those that failed.", v.count, labels);
	metrics_count(m, "handfast_operation_failures_total",
		      "Such operations that failed: a wrong password, a broken tag, a bad point.", v.failures, labels);
	metrics_count(m, "handfast_operation_bytes_total", "Bytes that went through them.", v.bytes, labels);
	if (!v.timed)
		return;
	metrics_count(m, "handfast_operations_timed_total", "Such operations that were timed.", v.timed, labels);
	metrics_add(m, METRIC_COUNTER, "handfast_operation_time_seconds_total", "Seconds that those took in all.",
		    v.seconds, labels);
	const struct {
		const char *quantile;
		double value;
	} quantiles[] = { { "0", v.min_s },	{ "0.5", v.p50_s },  { "0.9", v.p90_s },
			  { "0.95", v.p95_s }, { "0.99", v.p99_s }, { "1", v.max_s } };

	for (size_t i = 0; i < ARRAY_SIZE(quantiles); i++)
		metrics_gauge(m, "handfast_operation_seconds",
			      "How long one took, since the daemon was started; 0 is the shortest, 1 the longest.",
			      quantiles[i].value,
			      METRIC_LABELS({ "daemon", daemon }, { "operation", op->name },
					    { "quantile", quantiles[i].quantile }));
}

void operations_add(struct metrics *m, const char *daemon, const struct operation *ops, size_t n)
{
	for (size_t i = 0; i < n; i++)
		add_one(m, daemon, &ops[i]);
}

json_t *operations_json(const struct operation *ops, size_t n)
{
	json_t *all = json_object();

	for (size_t i = 0; all && i < n; i++) {
		struct opstat_view v;

		opstat_read(ops[i].stat, &v);
		json_object_set_new(all, ops[i].name,
				    json_pack("{s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}",
					      "count", (json_int_t)v.count, "failures", (json_int_t)v.failures, "bytes",
					      (json_int_t)v.bytes, "avg_time_ms", v.avg_s * 1e3, "min_time_ms",
					      v.min_s * 1e3, "max_time_ms", v.max_s * 1e3, "p50_time_ms", v.p50_s * 1e3,
					      "p90_time_ms", v.p90_s * 1e3, "p95_time_ms", v.p95_s * 1e3, "p99_time_ms",
					      v.p99_s * 1e3, "throughput_bps", v.bytes_per_s, "success_rate",
					      v.success_rate));
	}
	return all;
}

/* Operations as metrics and as JSON. */
#include "service/operations.h"

#include <string.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/opstat.h"
#include "service/metrics.h"
#include "unit/lib/test.h"

static struct opstat login, verify;
static const struct operation ops[] = { { "login_start", &login }, { "pop_verify", &verify } };

static double value(const json_t *list, const char *name, const char *operation, const char *quantile)
{
	const json_t *m;
	size_t i;

	json_array_foreach(list, i, m) {
		const json_t *labels = json_object_get(m, "labels");
		const char *q = json_get_str(labels, "quantile");

		if (strcmp(json_get_str(m, "name"), name) == 0 &&
		    strcmp(json_get_str(labels, "operation"), operation) == 0 &&
		    strcmp(json_get_str(labels, "daemon"), "authd") == 0 &&
		    (quantile ? q && strcmp(q, quantile) == 0 : !q))
			return json_number_value(json_object_get(m, "value"));
	}
	return -1;
}

TEST(metrics_have_counts_and_quantiles_of_each_operation)
{
	struct metrics *m = metrics_new();
	json_t *reply;
	const json_t *list;

	opstat_add(&login, 2000000, 96, true);
	opstat_add(&login, 4000000, 96, false);
	operations_add(m, "authd", ops, ARRAY_SIZE(ops));
	reply = metrics_take_json(m);
	list = json_object_get(reply, "metrics");
	CHECK(value(list, "handfast_operations_total", "login_start", NULL) == 2);
	CHECK(value(list, "handfast_operation_failures_total", "login_start", NULL) == 1);
	CHECK(value(list, "handfast_operation_bytes_total", "login_start", NULL) == 192);
	CHECK(value(list, "handfast_operations_timed_total", "login_start", NULL) == 2);
	CHECK(value(list, "handfast_operation_time_seconds_total", "login_start", NULL) == 0.006);
	CHECK(value(list, "handfast_operation_seconds", "login_start", "0") == 0.002);
	CHECK(value(list, "handfast_operation_seconds", "login_start", "0.5") >= 0.002);
	CHECK(value(list, "handfast_operation_seconds", "login_start", "0.99") <= 0.004);
	CHECK(value(list, "handfast_operation_seconds", "login_start", "1") == 0.004);
	/* Nothing was done: counted as nothing, and no time is made up. */
	CHECK(value(list, "handfast_operations_total", "pop_verify", NULL) == 0);
	CHECK(value(list, "handfast_operation_seconds", "pop_verify", "0.5") == -1);
	CHECK_EQ(json_array_size(list), 5 + 6 + 3);
	json_decref(reply);
	metrics_free(m);
}

TEST(json_has_a_member_for_each_operation)
{
	static const char *const members[] = { "count",	      "failures",    "bytes",	    "avg_time_ms",
					       "min_time_ms", "max_time_ms", "p50_time_ms", "p90_time_ms",
					       "p95_time_ms", "p99_time_ms", "throughput_bps", "success_rate" };
	json_t *all, *one;

	opstat_add(&login, 2000000, 100, true);
	opstat_add(&login, 2000000, 100, false);
	all = operations_json(ops, ARRAY_SIZE(ops));
	CHECK_EQ(json_object_size(all), 2);
	for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
		one = json_object_get(all, ops[i].name);
		CHECK_EQ(json_object_size(one), ARRAY_SIZE(members));
		for (size_t k = 0; k < ARRAY_SIZE(members); k++)
			CHECK(json_is_number(json_object_get(one, members[k])));
	}
	one = json_object_get(all, "login_start");
	CHECK(json_get_int(one, "count", 0) == 2 && json_get_int(one, "failures", 0) == 1 && json_get_int(one, "bytes", 0) == 200);
	CHECK(json_number_value(json_object_get(one, "avg_time_ms")) == 2);
	CHECK(json_number_value(json_object_get(one, "p50_time_ms")) == 2);
	CHECK(json_number_value(json_object_get(one, "success_rate")) == 50);
	CHECK(json_number_value(json_object_get(one, "throughput_bps")) == 50000);
	one = json_object_get(all, "pop_verify");
	CHECK(json_get_int(one, "count", -1) == 0 && json_number_value(json_object_get(one, "success_rate")) == 100);
	json_decref(all);
}

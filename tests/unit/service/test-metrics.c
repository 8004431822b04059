/* Values that daemons hand over, as JSON. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/json.h"
#include "service/exposition.h"
#include "service/metrics.h"
#include "unit/lib/test.h"

static const json_t *at(const json_t *reply, size_t i)
{
	return json_array_get(json_object_get(reply, "metrics"), i);
}

TEST(help_goes_out_once_a_name)
{
	struct metrics *m = metrics_new();
	json_t *reply;

	metrics_count(m, "handfast_a_total", "about a", 7, METRIC_LABELS({ "x", "1" }));
	metrics_gauge(m, "handfast_b", "about b", -1.5, METRIC_NO_LABELS);
	metrics_count(m, "handfast_a_total", "about a", 8, METRIC_LABELS({ "x", "2" }, { "y", "3" }));
	reply = metrics_take_json(m);
	CHECK(json_array_size(json_object_get(reply, "metrics")) == 3);
	CHECK(strcmp(json_get_str(at(reply, 0), "help"), "about a") == 0);
	CHECK(strcmp(json_get_str(at(reply, 1), "help"), "about b") == 0);
	CHECK(strcmp(json_get_str(at(reply, 2), "help"), "") == 0);
	CHECK(strcmp(json_get_str(at(reply, 0), "kind"), "counter") == 0);
	CHECK(strcmp(json_get_str(at(reply, 1), "kind"), "gauge") == 0);
	CHECK(json_real_value(json_object_get(at(reply, 0), "value")) == 7);
	CHECK(json_real_value(json_object_get(at(reply, 1), "value")) == -1.5);
	CHECK(json_object_size(json_object_get(at(reply, 1), "labels")) == 0);
	CHECK(strcmp(json_get_str(json_object_get(at(reply, 2), "labels"), "y"), "3") == 0);
	json_decref(reply);
	metrics_free(m);
}

TEST(what_is_no_number_is_left_out)
{
	struct metrics *m = metrics_new();
	json_t *reply;

	metrics_gauge(m, "handfast_a", "a", NAN, METRIC_NO_LABELS);
	metrics_gauge(m, "handfast_a", "a", INFINITY, METRIC_NO_LABELS);
	metrics_gauge(m, "handfast_a", "a", -INFINITY, METRIC_NO_LABELS);
	metrics_gauge(m, "handfast_a", "a", 0, METRIC_NO_LABELS);
	reply = metrics_take_json(m);
	CHECK(json_array_size(json_object_get(reply, "metrics")) == 1);
	/* The help was not spent on one that did not go out. */
	CHECK(strcmp(json_get_str(at(reply, 0), "help"), "a") == 0);
	json_decref(reply);
	metrics_free(m);
}

TEST(exposition_has_one_group_a_name_in_order)
{
	struct metrics *m = metrics_new();
	struct exposition *e = exposition_new();
	json_t *reply, *list;
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	metrics_count(m, "handfast_b_total", "about \\ b", 7, METRIC_LABELS({ "x", "a\"\n" }));
	metrics_gauge(m, "handfast_a", "about a", 0.1, METRIC_NO_LABELS);
	metrics_count(m, "handfast_b_total", "about b", 8, METRIC_LABELS({ "x", "2" }));
	metrics_count(m, "handfast_b_total", "about b", 9, METRIC_LABELS({ "x", "2" })); /* twice: left out */
	metrics_gauge(m, "handfast_b_total", "about b", 9, METRIC_LABELS({ "x", "3" })); /* another kind: left out */
	reply = metrics_take_json(m);
	exposition_add_reply(e, reply);
	list = exposition_list(e);
	exposition_write(f, list);
	fclose(f);
	CHECK(strcmp(text, "# HELP handfast_a about a\n# TYPE handfast_a gauge\nhandfast_a 0.1\n"
			   "# HELP handfast_b_total about \\\\ b\n# TYPE handfast_b_total counter\n"
			   "handfast_b_total{x=\"a\\\"\\n\"} 7\nhandfast_b_total{x=\"2\"} 8\n") == 0);
	free(text);
	json_decref(list);
	json_decref(reply);
	exposition_free(e);
	metrics_free(m);
}

TEST(label_that_is_no_text_takes_its_value_along)
{
	struct metrics *m = metrics_new();
	json_t *reply;

	/* No UTF-8: a daemon never does this, and nothing breaks if one does. */
	metrics_gauge(m, "handfast_a", "a", 1, METRIC_LABELS({ "x", "\xff\xfe" }));
	reply = metrics_take_json(m);
	CHECK(json_array_size(json_object_get(reply, "metrics")) <= 1);
	json_decref(reply);
	metrics_free(m);
}

TEST(taking_empties_it)
{
	struct metrics *m = metrics_new();
	json_t *reply;

	metrics_gauge(m, "handfast_a", "a", 1, METRIC_NO_LABELS);
	json_decref(metrics_take_json(m));
	metrics_gauge(m, "handfast_a", "a", 2, METRIC_NO_LABELS);
	reply = metrics_take_json(m);
	CHECK(json_array_size(json_object_get(reply, "metrics")) == 1);
	CHECK(strcmp(json_get_str(at(reply, 0), "help"), "a") == 0);
	json_decref(reply);
	metrics_free(m);
}

TEST(every_process_has_the_common_ones)
{
	static const char *const names[] = { "handfast_info", "handfast_uptime_seconds", "handfast_resident_bytes",
					     "handfast_open_fds", "handfast_log_lines_suppressed_total" };
	struct metrics *m = metrics_new();
	json_t *reply;

	metrics_add_process(m, "pskd", 1500);
	reply = metrics_take_json(m);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		CHECK(strcmp(json_get_str(at(reply, i), "name"), names[i]) == 0);
		CHECK(strcmp(json_get_str(json_object_get(at(reply, i), "labels"), "daemon"), "pskd") == 0);
	}
	CHECK(strcmp(json_get_str(json_object_get(at(reply, 0), "labels"), "version"), HANDFAST_VERSION) == 0);
	CHECK(json_real_value(json_object_get(at(reply, 1), "value")) == 1.5);
	CHECK(json_real_value(json_object_get(at(reply, 2), "value")) > 100000);
	CHECK(json_real_value(json_object_get(at(reply, 3), "value")) >= 3);
	json_decref(reply);
	metrics_free(m);
}

/* Values as JSON, in the order in which they were added. */
#include "service/metrics.h"

#include <dirent.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/json.h"
#include "base/log.h"

struct metrics {
	json_t *list;
	json_t *seen; /* names that have told their help */
};

struct metrics *metrics_new(void)
{
	struct metrics *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->list = json_array();
	m->seen = json_object();
	return m->list && m->seen ? m : metrics_free(m);
}

struct metrics *metrics_free(struct metrics *m)
{
	if (!m)
		return NULL;
	json_decref(m->list);
	json_decref(m->seen);
	free(m);
	return NULL;
}

static json_t *labels_json(const struct metric_label *labels)
{
	json_t *o = json_object();

	for (; o && labels->name; labels++)
		json_object_set_new(o, labels->name, json_string(labels->value));
	return o;
}

void metrics_add(struct metrics *m, enum metric_kind kind, const char *name, const char *help, double value,
		 const struct metric_label *labels)
{
	bool again = json_object_get(m->seen, name) != NULL;
	json_t *one;

	if (!isfinite(value))
		return;
	one = json_pack("{s:s, s:s, s:s, s:o, s:f}", "name", name, "kind",
			kind == METRIC_COUNTER ? "counter" : "gauge", "help", again ? "" : help, "labels",
			labels_json(labels), "value", value);
	if (!one)
		return;
	if (!again)
		json_object_set_new(m->seen, name, json_true());
	json_array_append_new(m->list, one);
}

/* proc(5): the second number of statm is what is resident, in pages. */
static double resident_bytes(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	unsigned long long size, resident;
	int n;

	if (!f)
		return NAN;
	n = fscanf(f, "%llu %llu", &size, &resident);
	fclose(f);
	return n == 2 ? (double)resident * (double)sysconf(_SC_PAGESIZE) : NAN;
}

static double open_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	const struct dirent *e;
	double n = -1; /* this folder's own */

	if (!d)
		return NAN;
	while ((e = readdir(d)))
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

void metrics_add_process(struct metrics *m, const char *name, uint64_t uptime_ms)
{
	const struct metric_label *daemon = METRIC_LABELS({ "daemon", name });

	metrics_gauge(m, "handfast_info", "Version of each running daemon; the value is always 1.", 1,
		      METRIC_LABELS({ "daemon", name }, { "version", HANDFAST_VERSION }));
	metrics_gauge(m, "handfast_uptime_seconds", "Seconds since the daemon was started.",
		      (double)uptime_ms / 1000, daemon);
	metrics_gauge(m, "handfast_resident_bytes", "Memory of the daemon that is resident, in bytes.",
		      resident_bytes(), daemon);
	metrics_gauge(m, "handfast_open_fds", "Open file descriptors of the daemon.", open_descriptors(), daemon);
	metrics_count(m, "handfast_log_lines_suppressed_total",
		      "Log lines that the rate limit held back.", log_suppressed(), daemon);
}

json_t *metrics_take_json(struct metrics *m)
{
	json_t *list = m->list;

	m->list = json_array();
	json_object_clear(m->seen);
	return json_pack("{s:o}", "metrics", list);
}

/* What authd counts and measures. No name, address or session is ever a label. */
#pragma once

struct authd;
struct json_t;
struct metrics;

void authd_metrics(struct metrics *m, void *arg);
/* For GET /api/metrics: a new reference, NULL without memory. */
struct json_t *authd_operations(struct authd *a);

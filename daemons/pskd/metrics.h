/* What pskd counts, for handfast-metrics(7). */
#pragma once

/* Tunnels that have a label of their own; the others are taken together. */
#define METRICS_TUNNELS_MAX 64
/* The label of those. No tunnel can have this name (text_is_name()). */
#define METRICS_OTHERS "_other"

struct metrics;

/* arg: struct tunnels. */
void pskd_metrics(struct metrics *m, void *arg);

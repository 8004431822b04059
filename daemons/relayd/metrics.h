/* What the relay counts, for handfast-metrics(7). */
#pragma once

struct metrics;

/* arg: struct relay. */
void relayd_metrics(struct metrics *m, void *arg);

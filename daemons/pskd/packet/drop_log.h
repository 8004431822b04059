/*
 * What a flood of bad packets leaves in the log: one line a minute for all
 * tunnels, with the counts by cause. A few stray packets leave nothing there
 * but wait to be told with more; "handfast tunnel show" has every one.
 */
#pragma once

#include "base/cleanup.h"

struct drop_log;
struct list;
struct loop;

/* tunnels: of struct tunnel, by their nodes; outlives it. 0 or -ENOMEM. */
int drop_log_new(struct drop_log **out, struct loop *loop, struct list *tunnels);
/* Tells what is left. */
struct drop_log *drop_log_free(struct drop_log *l);
DEFINE_CLEANUP(struct drop_log *, drop_log_free);

/* Some tunnel dropped some packets: they are told within a minute. Cheap. */
void drop_log_on_drops(struct drop_log *l);

/*
 * Metrics as Prometheus reads them (text exposition format 0.0.4): one group a name, in order of names. What
 * goes in is checked, so that nothing can break the format or repeat a series.
 */
#pragma once

#include <stdio.h>

#include "base/cleanup.h"

struct exposition;
struct json_t;

/* NULL without memory. */
struct exposition *exposition_new(void);
struct exposition *exposition_free(struct exposition *e);
DEFINE_CLEANUP(struct exposition *, exposition_free);

/*
 * One value as Metrics() tells it: {name, kind, help, labels, value}; taken. What is no such value, is there
 * already, or has another kind than its name had before, is left out.
 */
void exposition_add(struct exposition *e, struct json_t *metric);
/* All of a Metrics() answer; NULL adds nothing. */
void exposition_add_reply(struct exposition *e, const struct json_t *reply);
/* Every value, in order: a new reference, NULL without memory. */
struct json_t *exposition_list(const struct exposition *e);

/* Such a list as text. */
void exposition_write(FILE *f, const struct json_t *list);

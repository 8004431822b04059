/* The machine's view: one JSON object a line, ASCII only, as handfast-json(7) says. */
#pragma once

#include "ctl/failure.h"

struct json_t;

/* Each returns 0, or -EIO when standard output does not take it. Objects are stolen. */
int output_json_event(const char *command, const char *event, struct json_t *members);
int output_json_result(const char *command, struct json_t *result);
/* result may be NULL. */
int output_json_failure(const char *command, const struct failure *f, struct json_t *result);

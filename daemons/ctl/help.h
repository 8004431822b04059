/* How to use it: written from the table. */
#pragma once

#include "ctl/command.h"
#include "ctl/output_text.h"

struct json_t;

/* The overview; of one group ("tunnel") when group is not NULL. */
void help_overview(FILE *f, const struct style *s, const char *group);
void help_command(FILE *f, const struct style *s, const struct command *cmd);
/* "handfast tunnel up [OPTION …] TUNNEL" */
void help_usage(char *out, size_t cap, const struct command *cmd);

/* The same for machines: an array of the commands that are shown. A new reference. */
struct json_t *help_json(const char *group);

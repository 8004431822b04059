/* The command line of a daemon: the shared options and its own. Used by service.c alone. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "service/service.h"

struct service_value {
	const char *name;
	const char *value;
};

struct service_options {
	const char *config, *state_dir, *runtime_dir, *read_group, *admin_group, *log_level;
	bool check, version, help;
	struct service_value own[32]; /* in the order given; an option may be repeated */
	size_t n_own;
};

/* 0, or 2 with the complaint already on stderr (an exit code). Strings are argv's. */
int service_options_parse(struct service_options *o, const struct service_info *info, int argc, char **argv);

/* Print --help. */
void service_options_help(const struct service_info *info);

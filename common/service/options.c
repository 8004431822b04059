/* The command line of a daemon, over getopt_long; one table for the shared options feeds parsing and --help. */
#include "service/options.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"

enum id { CONFIG = 1000, STATE_DIR, RUNTIME_DIR, READ_GROUP, ADMIN_GROUP, LOG_LEVEL, CHECK, VERSION, HELP, OWN };

static const struct {
	enum id id;
	struct service_option o;
} shared[] = {
	{ CONFIG, { "config", "FILE", "configuration" } },
	{ STATE_DIR, { "state-dir", "DIR", "where state is kept" } },
	{ RUNTIME_DIR, { "runtime-dir", "DIR", "where sockets are made" } },
	{ READ_GROUP, { "read-group", "NAME", "who may read state (handfast)" } },
	{ ADMIN_GROUP, { "admin-group", "NAME", "who may change it (handfast-admin)" } },
	{ LOG_LEVEL, { "log-level", "LEVEL", "err, warning, notice, info or debug (info)" } },
	{ CHECK, { "check", NULL, "check the configuration and end" } },
	{ VERSION, { "version", NULL, "print the version and end" } },
	{ HELP, { "help", NULL, "print this and end" } },
};

/* Options that a daemon has no use for are not offered. */
static bool is_offered(const struct service_info *info, enum id id)
{
	switch (id) {
	case CONFIG:
	case CHECK:
		return !info->no_config;
	case STATE_DIR:
		return !info->no_state;
	case READ_GROUP:
	case ADMIN_GROUP:
		return !info->no_control;
	default:
		return true;
	}
}

static void help_line(const struct service_option *o)
{
	char left[48];

	snprintf(left, sizeof(left), "--%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
	printf("  %-24s %s\n", left, o->help);
}

void service_options_help(const struct service_info *info)
{
	printf("Usage: %s [OPTION…]\n\n%s: %s.\n\n", info->name, info->name, info->summary);
	for (size_t i = 0; i < ARRAY_SIZE(shared); i++)
		if (is_offered(info, shared[i].id))
			help_line(&shared[i].o);
	for (const struct service_option *o = info->options; o && o->name; o++)
		help_line(o);
	printf("\nSee %s(8).\n", info->name);
}

static void take_shared(struct service_options *o, enum id id, const char *value)
{
	switch (id) {
	case CONFIG:
		o->config = value;
		break;
	case STATE_DIR:
		o->state_dir = value;
		break;
	case RUNTIME_DIR:
		o->runtime_dir = value;
		break;
	case READ_GROUP:
		o->read_group = value;
		break;
	case ADMIN_GROUP:
		o->admin_group = value;
		break;
	case LOG_LEVEL:
		o->log_level = value;
		break;
	case CHECK:
		o->check = true;
		break;
	case VERSION:
		o->version = true;
		break;
	case HELP:
		o->help = true;
		break;
	case OWN:
		break;
	}
}

static int complain(const struct service_info *info, const char *what, const char *word)
{
	fprintf(stderr, "%s: %s: %s\nTry: %s --help\n", info->name, what, word, info->name);
	return 2;
}

static bool is_given(const struct service_options *o, const char *name)
{
	for (size_t i = 0; i < o->n_own; i++)
		if (strcmp(o->own[i].name, name) == 0)
			return true;
	return o->check && strcmp(name, "check") == 0;
}

/* What would be ignored is a mistake. */
static int check_together(const struct service_options *o, const struct service_info *info)
{
	for (const struct service_option *own = info->options; own && own->name; own++)
		if (own->with && is_given(o, own->name) && !is_given(o, own->with)) {
			fprintf(stderr, "%s: --%s goes with --%s\nTry: %s --help\n", info->name, own->name, own->with, info->name);
			return 2;
		}
	return 0;
}

int service_options_parse(struct service_options *o, const struct service_info *info, int argc, char **argv)
{
	struct option table[ARRAY_SIZE(shared) + 16 + 1] = { 0 };
	size_t n = 0;
	int c;

	memset(o, 0, sizeof(*o));
	for (size_t i = 0; i < ARRAY_SIZE(shared); i++)
		if (is_offered(info, shared[i].id))
			table[n++] = (struct option){ shared[i].o.name,
						      shared[i].o.arg ? required_argument : no_argument, NULL,
						      (int)shared[i].id };
	for (const struct service_option *own = info->options; own && own->name && n < ARRAY_SIZE(table) - 1; own++)
		table[n++] = (struct option){ own->name, own->arg ? required_argument : no_argument, NULL, OWN };

	opterr = 0;
	optind = 1;
	for (int index = 0; (c = getopt_long(argc, argv, ":", table, &index)) != -1;) {
		if (c == ':')
			return complain(info, "an argument is missing", argv[optind - 1]);
		if (c == '?')
			return complain(info, "unknown option", argv[optind > 1 ? optind - 1 : 1]);
		if (c != OWN) {
			take_shared(o, (enum id)c, optarg);
			continue;
		}
		if (o->n_own == ARRAY_SIZE(o->own))
			return complain(info, "too many options", argv[optind - 1]);
		o->own[o->n_own++] = (struct service_value){ table[index].name, optarg ? optarg : "" };
	}
	if (optind < argc)
		return complain(info, "unexpected argument", argv[optind]);
	return check_together(o, info);
}

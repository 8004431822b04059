/* handfast help, version. */
#include <jansson.h>
#include <stdio.h>

#include "ctl/commands.h"
#include "ctl/ctl.h"
#include "ctl/help.h"

/* `handfast X --help`, where `handfast help X` names what it is about. */
static bool is_about_itself(const struct ctl *c)
{
	return c->parsed.command && (c->parsed.command->run != cmd_help || ctl_flag(c, "help"));
}

static void help_text(const struct ctl *c, const json_t *result)
{
	const struct command *cmd;
	char name[128];
	(void)result;

	if (is_about_itself(c)) {
		help_command(stdout, &c->style, c->parsed.command);
		return;
	}
	snprintf(name, sizeof(name), "%s%s%s", ctl_argument(c, 0) ? ctl_argument(c, 0) : "",
		 ctl_argument(c, 1) ? " " : "", ctl_argument(c, 1) ? ctl_argument(c, 1) : "");
	cmd = command_find(name);
	if (cmd)
		help_command(stdout, &c->style, cmd);
	else
		help_overview(stdout, &c->style,
			      c->parsed.group ? c->parsed.group : ctl_argument(c, 0));
}

int cmd_help(struct ctl *c)
{
	const char *first = ctl_argument(c, 0), *second = ctl_argument(c, 1);
	const char *about = c->parsed.group;
	char name[128];

	if (is_about_itself(c)) {
		about = c->parsed.command->name;
	} else if (first) {
		struct parsed named;
		struct failure f = { 0 };
		char *words[] = { (char *)"handfast", (char *)first, (char *)second, NULL };
		int r;

		snprintf(name, sizeof(name), "%s%s%s", first, second ? " " : "",
			 second ? second : "");
		about = name;
		/* Let the parser find what was perhaps meant. */
		if (!command_find(name) && !(command_is_group(first) && !second)) {
			r = parse_command_line(&named, second ? 3 : 2, words, &f);
			return r ? ctl_fail_with(c, &f) :
				   ctl_fail(c, EXIT_USAGE, ERROR_USAGE, "“handfast help” lists them.",
					    "there is no command “%s”", name);
		}
	}
	return ctl_result(c, help_json(about), help_text);
}

static void version_text(const struct ctl *c, const json_t *result)
{
	(void)c;
	(void)result;
	printf("handfast %s\n", HANDFAST_VERSION);
}

int cmd_version(struct ctl *c)
{
	return ctl_result(c, json_pack("{s:s}", "version", HANDFAST_VERSION), version_text);
}

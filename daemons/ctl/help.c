/* How to use it: written from the table. */
#include "ctl/help.h"

#include <jansson.h>
#include <string.h>

enum { COLUMN = 20, OPTION_COLUMN = 28, NARROW = 60, NARROW_COLUMN = 6 };

void help_usage(char *out, size_t cap, const struct command *cmd)
{
	size_t len = (size_t)snprintf(out, cap, "handfast %s%s", cmd->name,
				      cmd->options ? " [OPTION …]" : "");

	for (const struct argument *a = cmd->arguments;
	     a < cmd->arguments + ARGUMENTS_MAX && a->name && len < cap; a++)
		len += (size_t)snprintf(out + len, cap - len, " %s%s%s%s", a->optional ? "[" : "",
					a->name, a->many ? " …" : "", a->optional ? "]" : "");
}

static bool in_group(const struct command *cmd, const char *group)
{
	size_t len;

	if (cmd->hidden)
		return false;
	if (!group)
		return true;
	len = strlen(group);
	return strncmp(cmd->name, group, len) == 0 && cmd->name[len] == ' ';
}

static void entry(FILE *f, const struct style *s, const char *name, const char *text,
		  unsigned int column)
{
	size_t used = 2 + text_columns(name);

	if (s->width < NARROW)
		column = NARROW_COLUMN;
	fprintf(f, "  %s%s%s", paint_begin(s, PAINT_BOLD), name, paint_end(s, PAINT_BOLD));
	if (used + 1 > column) {
		fputc('\n', f);
		used = 0;
	}
	for (; used < column; used++)
		fputc(' ', f);
	text_wrap(f, s, text, column, column);
}

static void option_entry(FILE *f, const struct style *s, const struct option *o)
{
	char name[80], letter[8] = "";

	if (o->letter)
		snprintf(letter, sizeof(letter), "-%c, ", o->letter);
	snprintf(name, sizeof(name), "%s--%s%s%s", letter, o->name, o->arg ? " " : "",
		 o->arg ? o->arg : "");
	entry(f, s, name, o->help, OPTION_COLUMN);
}

static void heading(FILE *f, const struct style *s, const char *text)
{
	fprintf(f, "\n%s%s%s\n", paint_begin(s, PAINT_BOLD), text, paint_end(s, PAINT_BOLD));
}

void help_overview(FILE *f, const struct style *s, const char *group)
{
	if (group)
		fprintf(f, "Usage: handfast %s COMMAND [OPTION …]\n", group);
	else
		fprintf(f, "handfast joins your own machines: pair two of them, and a tunnel comes up.\n\n"
			   "Usage: handfast COMMAND [OPTION …]\n");
	heading(f, s, "Commands:");
	for (size_t i = 0; i < n_commands; i++)
		if (in_group(&commands[i], group))
			entry(f, s, commands[i].name, commands[i].summary, COLUMN);
	heading(f, s, "Options of every command:");
	for (const struct option *o = global_options; o->name; o++)
		option_entry(f, s, o);
	fprintf(f, "\n“handfast help COMMAND” says more; the manual is handfast(1).\n");
}

void help_command(FILE *f, const struct style *s, const struct command *cmd)
{
	char usage[200];

	help_usage(usage, sizeof(usage), cmd);
	fprintf(f, "Usage: %s\n\n", usage);
	fprintf(f, "handfast %s:", cmd->name);
	text_wrap(f, s, cmd->summary, 0, (unsigned int)strlen(cmd->name) + 10);
	if (cmd->details)
		text_wrap(f, s, cmd->details, 0, 0);
	if (cmd->arguments[0].name) {
		heading(f, s, "Arguments:");
		for (const struct argument *a = cmd->arguments;
		     a < cmd->arguments + ARGUMENTS_MAX && a->name; a++)
			entry(f, s, a->name, a->help, COLUMN);
	}
	if (cmd->options) {
		heading(f, s, "Options:");
		for (const struct option *o = cmd->options; o->name; o++)
			option_entry(f, s, o);
	}
	heading(f, s, "Options of every command:");
	for (const struct option *o = global_options; o->name; o++)
		option_entry(f, s, o);
}

/* ---- for machines ---- */

static void set_choices(json_t *obj, enum value_kind kind, const char *const *choices)
{
	json_t *list;

	if (kind != VALUE_CHOICE)
		return;
	list = json_array();
	for (; *choices; choices++)
		json_array_append_new(list, json_string(*choices));
	json_object_set_new(obj, "choices", list);
}

static json_t *options_json(const struct option *options)
{
	json_t *list = json_array();

	for (const struct option *o = options; o && o->name; o++) {
		json_t *one = json_pack("{s:s, s:s?, s:s}", "name", o->name, "value", o->arg, "help",
					o->help);

		set_choices(one, o->kind, o->choices);
		json_array_append_new(list, one);
	}
	return list;
}

static json_t *arguments_json(const struct command *cmd)
{
	json_t *list = json_array();

	for (const struct argument *a = cmd->arguments;
	     a < cmd->arguments + ARGUMENTS_MAX && a->name; a++) {
		json_t *one = json_pack("{s:s, s:b, s:b, s:s}", "name", a->name, "optional",
					a->optional, "repeated", a->many, "help", a->help);

		set_choices(one, a->kind, a->choices);
		json_array_append_new(list, one);
	}
	return list;
}

json_t *help_json(const char *group)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n_commands; i++) {
		const struct command *cmd = &commands[i];
		char usage[200];

		if (group ? !in_group(cmd, group) && strcmp(cmd->name, group) != 0 : cmd->hidden)
			continue;
		help_usage(usage, sizeof(usage), cmd);
		json_array_append_new(
			list, json_pack("{s:s, s:s, s:s, s:o, s:o}", "name", cmd->name, "summary",
					cmd->summary, "usage", usage, "arguments",
					arguments_json(cmd), "options", options_json(cmd->options)));
	}
	return json_pack("{s:o, s:o}", "commands", list, "global_options",
			 options_json(global_options));
}

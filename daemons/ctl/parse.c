/*
 * The command line, by the table. Names a person mistyped are answered with the
 * nearest that exists.
 */
#include "ctl/command.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

enum { SUGGEST_WORD_MAX = 40 };

static size_t min3(size_t a, size_t b, size_t c)
{
	size_t m = a < b ? a : b;

	return m < c ? m : c;
}

/* Edits (insert, delete, replace, swap) from a to b; both at most SUGGEST_WORD_MAX. */
static size_t distance(const char *a, const char *b)
{
	size_t d[SUGGEST_WORD_MAX + 2][SUGGEST_WORD_MAX + 2];
	size_t la = strlen(a), lb = strlen(b);

	for (size_t i = 0; i <= la; i++)
		d[i][0] = i;
	for (size_t j = 0; j <= lb; j++)
		d[0][j] = j;
	for (size_t i = 1; i <= la; i++) {
		for (size_t j = 1; j <= lb; j++) {
			d[i][j] = min3(d[i - 1][j] + 1, d[i][j - 1] + 1,
				       d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    d[i - 2][j - 2] + 1 < d[i][j])
				d[i][j] = d[i - 2][j - 2] + 1;
		}
	}
	return d[la][lb];
}

const char *nearest(const char *word, const char *const *candidates, size_t n)
{
	const char *best = NULL;
	size_t best_distance = SIZE_MAX;

	if (strlen(word) > SUGGEST_WORD_MAX)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(candidates[i]), d;

		if (len > SUGGEST_WORD_MAX)
			continue;
		d = distance(word, candidates[i]);
		/* The beginning of a longer name is as good as one slip. */
		if (strlen(word) >= 2 && strncmp(word, candidates[i], strlen(word)) == 0)
			d = 1;
		/* More than a third wrong is another word, not a slip. */
		if (d > (len + 2) / 3 || d >= best_distance)
			continue;
		best = candidates[i];
		best_distance = d;
	}
	return best;
}

/* ---- names ---- */

bool command_is_group(const char *word)
{
	size_t len = strlen(word);

	for (size_t i = 0; i < n_commands; i++)
		if (strncmp(commands[i].name, word, len) == 0 && commands[i].name[len] == ' ')
			return true;
	return false;
}

const struct command *command_find(const char *name)
{
	for (size_t i = 0; i < n_commands; i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

/* First words of all commands, or second words of those in a group. */
static size_t collect_words(const char *group, char words[][SUGGEST_WORD_MAX],
			    const char **list, size_t cap)
{
	size_t n = 0, len = group ? strlen(group) : 0;

	for (size_t i = 0; i < n_commands && n < cap; i++) {
		const char *name = commands[i].name;

		if (commands[i].hidden)
			continue;
		if (group) {
			if (strncmp(name, group, len) != 0 || name[len] != ' ')
				continue;
			name += len + 1;
		}
		snprintf(words[n], SUGGEST_WORD_MAX, "%.*s", (int)strcspn(name, " "), name);
		if (n > 0 && strcmp(words[n], words[n - 1]) == 0)
			continue;
		list[n] = words[n];
		n++;
	}
	return n;
}

static int unknown_command(const char *group, const char *word, struct failure *f)
{
	char words[64][SUGGEST_WORD_MAX], meant[160] = "", clean[80];
	const char *list[64], *near;

	near = nearest(word, list, collect_words(group, words, list, ARRAY_SIZE(list)));
	text_clean(clean, sizeof(clean), word, strlen(word));
	if (near)
		snprintf(meant, sizeof(meant), "Did you mean “handfast %s%s%s”?", group ? group : "",
			 group ? " " : "", near);
	else
		snprintf(meant, sizeof(meant), "“handfast help%s%s” lists them.", group ? " " : "",
			 group ? group : "");
	return failure_set(f, EXIT_USAGE, ERROR_USAGE, meant, "there is no command “%s%s%s”",
			   group ? group : "", group ? " " : "", clean);
}

/* ---- options ---- */

static const struct option no_options[] = { { .name = NULL } };

static const struct option *options_of(const struct command *cmd)
{
	return cmd && cmd->options ? cmd->options : no_options;
}

static int find_by_name(const struct option *o, const char *name, size_t len)
{
	for (int i = 0; o[i].name; i++)
		if (strlen(o[i].name) == len && strncmp(o[i].name, name, len) == 0)
			return i;
	return -1;
}

static int find_by_letter(const struct option *o, char letter)
{
	for (int i = 0; o[i].name; i++)
		if (o[i].letter && o[i].letter == letter)
			return i;
	return -1;
}

static int unknown_option(const struct command *cmd, const char *word, struct failure *f)
{
	const char *list[2 * OPTIONS_MAX], *near = NULL;
	char hint[160], clean[80];
	size_t n = 0;

	for (const struct option *o = options_of(cmd); o->name; o++)
		list[n++] = o->name;
	for (const struct option *o = global_options; o->name; o++)
		list[n++] = o->name;
	text_clean(clean, sizeof(clean), word, strcspn(word, "="));
	if (strncmp(clean, "--", 2) == 0)
		near = nearest(clean + 2, list, n);
	if (near)
		snprintf(hint, sizeof(hint), "Did you mean “--%s”?", near);
	else
		snprintf(hint, sizeof(hint), "“handfast help%s%s” lists the options.",
			 cmd ? " " : "", cmd ? cmd->name : "");
	return failure_set(f, EXIT_USAGE, ERROR_USAGE, hint, "there is no option “%s”%s%s%s", clean,
			   cmd ? " of “handfast " : "", cmd ? cmd->name : "", cmd ? "”" : "");
}

static int check_value(const char *what, enum value_kind kind, const char *const *choices,
		       const char *value, struct failure *f)
{
	char accepted[200] = "", clean[100];
	size_t n = 0, len = 0;
	uint64_t number;

	text_clean(clean, sizeof(clean), value, strlen(value));
	/* The daemons speak UTF-8; file names may be any bytes. */
	if (kind != VALUE_FILE && !text_is_utf8(value, strlen(value)))
		return failure_set(f, EXIT_USAGE, ERROR_USAGE, NULL, "%s is not valid UTF-8: “%s”",
				   what, clean);
	if (kind == VALUE_NUMBER && text_parse_u64(&number, value, 0, INT64_MAX) != 0)
		return failure_set(f, EXIT_USAGE, ERROR_USAGE, NULL,
				   "%s needs a whole number, not “%s”", what, clean);
	if (kind != VALUE_CHOICE)
		return EXIT_DONE;
	for (; choices[n]; n++) {
		if (strcmp(choices[n], value) == 0)
			return EXIT_DONE;
		len += (size_t)snprintf(accepted + len, sizeof(accepted) - len, "%s%s",
					n ? ", " : "", choices[n]);
		if (len >= sizeof(accepted))
			len = sizeof(accepted) - 1;
	}
	return failure_set(f, EXIT_USAGE, ERROR_USAGE, NULL, "%s takes one of %s, not “%s”", what,
			   accepted, clean);
}

static int take_option(struct parsed *out, const struct option *o, int at, const char **values, const char *value,
		       struct failure *f)
{
	char what[64];

	snprintf(what, sizeof(what), "--%s", o[at].name);
	if (o[at].many) {
		if (out->n_repeated == VALUES_MAX)
			return failure_set(f, EXIT_USAGE, ERROR_USAGE, NULL, "%s is given more than %d times", what,
					   VALUES_MAX);
		out->repeated[out->n_repeated].option = &o[at];
		out->repeated[out->n_repeated++].value = value;
	} else if (values[at] && o[at].arg) {
		return failure_set(f, EXIT_USAGE, ERROR_USAGE, NULL, "%s is given twice", what);
	}
	values[at] = value;
	if (!o[at].arg)
		return EXIT_DONE;
	return check_value(what, o[at].kind, o[at].choices, value, f);
}

/* One word that begins with a dash; *i moves over a value of its own. */
static int parse_option(struct parsed *out, int argc, char **argv, int *i, struct failure *f)
{
	const char *word = argv[*i], *value = NULL;
	const struct option *table = options_of(out->command);
	const char **values = out->options;
	int at;

	if (strncmp(word, "--", 2) == 0) {
		size_t len = strcspn(word + 2, "=");

		value = word[2 + len] == '=' ? word + 2 + len + 1 : NULL;
		at = find_by_name(table, word + 2, len);
		if (at < 0) {
			table = global_options;
			values = out->globals;
			at = find_by_name(table, word + 2, len);
		}
	} else {
		at = word[2] == '\0' ? find_by_letter(table, word[1]) : -1;
		if (at < 0 && word[2] == '\0') {
			table = global_options;
			values = out->globals;
			at = find_by_letter(table, word[1]);
		}
	}
	if (at < 0)
		return unknown_option(out->command, word, f);
	if (!table[at].arg && value)
		return failure_set(f, EXIT_USAGE, ERROR_USAGE, NULL, "--%s takes no value",
				   table[at].name);
	if (table[at].arg && !value) {
		if (*i + 1 >= argc)
			return failure_set(f, EXIT_USAGE, ERROR_USAGE, NULL, "--%s needs a value: %s",
					   table[at].name, table[at].arg);
		value = argv[++*i];
	}
	return take_option(out, table, at, values, value ? value : "", f);
}

/* ---- words ---- */

/*
 * The command must be known before its options can be: find its words first,
 * stepping over global options. first and second get their places in argv, or 0.
 */
static void find_command(struct parsed *out, int argc, char **argv, int *first, int *second)
{
	char name[2 * SUGGEST_WORD_MAX];

	*first = 0;
	*second = 0;
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--") == 0)
			break;
		if (argv[i][0] == '-' && argv[i][1]) {
			int at = strncmp(argv[i], "--", 2) == 0 ?
					 find_by_name(global_options, argv[i] + 2, strlen(argv[i] + 2)) :
					 -1;

			if (at >= 0 && global_options[at].arg)
				i++;
			continue;
		}
		if (!*first) {
			*first = i;
			out->command = command_find(argv[i]);
			if (out->command || !command_is_group(argv[i]))
				return;
			out->group = argv[i];
			continue;
		}
		snprintf(name, sizeof(name), "%.*s %.*s", SUGGEST_WORD_MAX - 1, argv[*first],
			 SUGGEST_WORD_MAX - 1, argv[i]);
		*second = i;
		out->command = command_find(name);
		return;
	}
}

static int check_arguments(const struct parsed *p, struct failure *f)
{
	const struct argument *a = p->command->arguments;
	char clean[100], hint[100];
	size_t n = 0, required = 0;
	bool many = false;

	for (; n < ARGUMENTS_MAX && a[n].name; n++) {
		required += !a[n].optional;
		many = a[n].many;
	}
	snprintf(hint, sizeof(hint), "See “handfast help %s”.", p->command->name);
	if (p->n_arguments < required)
		return failure_set(f, EXIT_USAGE, ERROR_USAGE, hint, "“handfast %s” needs %s: %s",
				   p->command->name, a[p->n_arguments].name,
				   a[p->n_arguments].help);
	if (p->n_arguments > n && !many) {
		const char *extra = p->arguments[n];

		text_clean(clean, sizeof(clean), extra, strlen(extra));
		return failure_set(f, EXIT_USAGE, ERROR_USAGE, hint,
				   "“handfast %s” does not know what to do with “%s”",
				   p->command->name, clean);
	}
	for (size_t i = 0; i < p->n_arguments; i++) {
		const struct argument *spec = &a[i < n ? i : n - 1];
		int r = check_value(spec->name, spec->kind, spec->choices, p->arguments[i], f);

		if (r)
			return r;
	}
	return EXIT_DONE;
}

int parse_command_line(struct parsed *out, int argc, char **argv, struct failure *f)
{
	bool only_words = false;
	int first, second, r = EXIT_DONE;

	*out = (struct parsed){ 0 };
	find_command(out, argc, argv, &first, &second);
	for (int i = 1; i < argc; i++) {
		int one = EXIT_DONE;

		if (!only_words && strcmp(argv[i], "--") == 0)
			only_words = true;
		else if (!only_words && argv[i][0] == '-' && argv[i][1])
			one = parse_option(out, argc, argv, &i, r ? &(struct failure){ 0 } : f);
		else if (i == first || (i == second && out->command))
			continue;
		else if (out->n_arguments < VALUES_MAX)
			out->arguments[out->n_arguments++] = argv[i];
		else
			one = failure_set(r ? &(struct failure){ 0 } : f, EXIT_USAGE, ERROR_USAGE,
					  NULL, "more than %d arguments", VALUES_MAX);
		/* The first mistake is told; reading on finds --json for telling it. */
		r = r ? r : one;
	}
	if (r || parsed_option(out, "help") || parsed_option(out, "version"))
		return r;
	if (!out->command) {
		if (first && !out->group)
			return unknown_command(NULL, argv[first], f);
		if (second)
			return unknown_command(out->group, argv[second], f);
		return EXIT_DONE;
	}
	return check_arguments(out, f);
}

const char *parsed_option(const struct parsed *p, const char *name)
{
	int at = find_by_name(options_of(p->command), name, strlen(name));

	if (at >= 0)
		return p->options[at];
	at = find_by_name(global_options, name, strlen(name));
	return at >= 0 ? p->globals[at] : NULL;
}

const char *parsed_option_next(const struct parsed *p, const char *name, size_t *at)
{
	while (*at < p->n_repeated) {
		size_t i = (*at)++;

		if (strcmp(p->repeated[i].option->name, name) == 0)
			return p->repeated[i].value;
	}
	return NULL;
}

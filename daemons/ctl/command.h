/*
 * What the command line consists of. One table declares each subcommand: its
 * name, arguments, options, help and handler. Parsing, --help, completion, the
 * suggestions and the man page test all read it; nothing else knows names.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "ctl/failure.h"

struct ctl;

/* What a value is, for completion and for the check that parsing does. */
enum value_kind {
	VALUE_TEXT,
	VALUE_FILE,
	VALUE_PEER,
	VALUE_TUNNEL,
	VALUE_SESSION,
	VALUE_INTERFACE,
	VALUE_COMMAND,
	VALUE_NUMBER, /* whole, not negative */
	VALUE_CHOICE, /* one of choices */
};

struct option {
	const char *name; /* "runtime-dir", without dashes */
	char letter;	  /* 'h' also as -h; 0: none */
	const char *arg;  /* "DIR"; NULL: a flag */
	enum value_kind kind;
	const char *const *choices; /* VALUE_CHOICE, ends with NULL */
	const char *help;
	bool many; /* may be given again */
};

struct argument {
	const char *name; /* "PEER" */
	enum value_kind kind;
	const char *const *choices;
	bool optional;
	bool many; /* the last one may be repeated */
	const char *help;
};

enum { ARGUMENTS_MAX = 4, VALUES_MAX = 256, OPTIONS_MAX = 24 };

struct command {
	const char *name; /* "peer show": one word, or a group and a word */
	const char *summary; /* "show one paired device" */
	const char *details; /* further sentences for --help, or NULL */
	struct argument arguments[ARGUMENTS_MAX];   /* ends with name == NULL */
	const struct option *options; /* ends with name == NULL; NULL: none of its own */
	int (*run)(struct ctl *c); /* returns an exit code */
	bool hidden; /* in no list; for completion scripts */
};

extern const struct command commands[];
extern const size_t n_commands;
/* Options that every subcommand takes; ends with name == NULL. */
extern const struct option global_options[];

/* A command line, taken apart. Everything points into argv or the tables. */
struct parsed {
	const struct command *command;
	const char *group; /* "tunnel" when only a group was named, or what help is asked for */
	const char *arguments[VALUES_MAX];
	size_t n_arguments;
	const char *options[OPTIONS_MAX]; /* by index in command->options; "" for a given flag */
	const char *globals[OPTIONS_MAX]; /* by index in global_options */
	struct {
		const struct option *option;
		const char *value;
	} repeated[VALUES_MAX]; /* every value of those that may be given again, in order */
	size_t n_repeated;
};

/*
 * Take argv apart. Options may stand anywhere; "--" ends them; "--name=value"
 * and "--name value" are the same. Returns EXIT_DONE, or EXIT_USAGE with *f
 * saying what is wrong and what was perhaps meant. *out is always valid to
 * read afterwards, so that --json works for the error, too.
 */
int parse_command_line(struct parsed *out, int argc, char **argv, struct failure *f);

/* The value of an option of the command, or of a global one; NULL: not given, "" for a flag. */
const char *parsed_option(const struct parsed *p, const char *name);

/* Each value of an option that may be given again, in order: *at starts at 0; NULL after the last. */
const char *parsed_option_next(const struct parsed *p, const char *name, size_t *at);

/* Whether any command's name begins with this word and goes on ("tunnel"). */
bool command_is_group(const char *word);
const struct command *command_find(const char *name);

/* The candidate nearest to word, or NULL when none is near enough to suggest. */
const char *nearest(const char *word, const char *const *candidates, size_t n);

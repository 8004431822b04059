/*
 * YAML to checked values. One table per file kind declares each option once:
 * key, type, default, range, place in the struct, one line of help. Parsing,
 * --check and the man page test all read the table. Unknown keys, wrong types,
 * duplicate keys, anchors/aliases/tags and values out of range are errors that
 * name file, line and column and say what would be accepted.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum config_type {
	CONFIG_STRING,	/* char *; default in .def, may be NULL */
	CONFIG_BOOL,	/* bool: true/false/yes/no */
	CONFIG_U64,	/* uint64_t, whole number in [min, max] */
	CONFIG_SIZE,	/* uint64_t bytes; "16KiB" */
	CONFIG_DURATION, /* uint64_t milliseconds; "30s" */
	CONFIG_ENUM,	/* int, index into .names */
	CONFIG_LIST,	/* struct config_list: a sequence of strings */
	CONFIG_PATH,	/* char *, absolute path */
};

struct config_list {
	char **v; /* NULL-terminated */
	size_t n;
};

struct config_option {
	const char *key; /* "limits.message_size": dots descend into mappings */
	enum config_type type;
	size_t offset; /* offsetof() in the struct that is filled */
	const char *def; /* as it would be written in the file; NULL: none */
	uint64_t min, max; /* numbers; max 0 means UINT64_MAX */
	const char *const *names; /* CONFIG_ENUM, NULL-terminated */
	bool required;
	/* Further check of a string or list item, or NULL: returns NULL when fine, else what would be accepted. */
	const char *(*check)(const char *value);
	const char *help;
};

struct config_schema {
	const char *name; /* "relayd.yaml" */
	const struct config_option *options;
	size_t n_options;
	size_t struct_size;
};

struct config_error {
	char text[512]; /* "file.yaml:3:7: …" */
};

/*
 * Fill *out (struct_size bytes, zeroed by the caller) from a file. A missing
 * file gives the defaults when missing_ok. Returns 0; -EINVAL with *err
 * saying what and where; -ENOMEM or the errno of reading, with *err set too.
 * Strings belong to *out: config_done() frees them. On failure *out is as if
 * config_done() had been called.
 */
int config_load(const struct config_schema *s, void *out, const char *path, bool missing_ok,
		struct config_error *err);
/* The same from text; name is used in messages. "": it is no file's, and they say no place in one. */
int config_parse(const struct config_schema *s, void *out, const char *name, const char *text,
		 size_t len, struct config_error *err);
/* The same from options already known: only the defaults. */
int config_defaults(const struct config_schema *s, void *out);
void config_done(const struct config_schema *s, void *out);

/*
 * The first value of a key in any mapping of a file whose options are another
 * program's; nothing is checked. Into out, cut to cap bytes with its NUL. False when there is none, or
 * the file cannot be read.
 */
bool config_find(const char *path, const char *key, char *out, size_t cap);

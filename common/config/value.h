/* One option's value: from a scalar's text to its place in the struct, and what it would accept in words. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"

/* Outcomes of value_set() and value_append(). */
enum {
	VALUE_E_REFUSED = 1, /* wrong type or out of range: value_describe() says what is accepted */
	VALUE_E_CHECK,	     /* the option's own check refused it; *accepted is its answer */
};

/*
 * Set option o of struct out from text; quoted: it stood in quotes. Not for
 * CONFIG_LIST. 0, an outcome (nothing changed), or -ENOMEM.
 */
int value_set(const struct config_option *o, void *out, const char *text, bool quoted,
	      const char **accepted);
/* Make the list of a CONFIG_LIST an empty one, where it is none. 0 or -ENOMEM. */
int value_begin_list(const struct config_option *o, void *out);
/* Append an item to a CONFIG_LIST. The same answers. */
int value_append(const struct config_option *o, void *out, const char *text, const char **accepted);
/* Free what the option owns and zero its place. */
void value_clear(const struct config_option *o, void *out);

/* "a whole number from 1 to 10", for messages and manuals. */
void value_describe(char *out, size_t cap, const struct config_option *o);

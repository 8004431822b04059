/* Notes from one user to another: the protected example. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "proto/username.h"

struct state;

#define NOTE_MAX 1024 /* bytes of UTF-8 */

struct transfer {
	int64_t id, at;
	char from[USERNAME_SPACE], to[USERNAME_SPACE];
	char note[NOTE_MAX + 1];
};

/*
 * From a user to a name, which may be nobody's: the sender is not told. Of what a user sent the newest max are kept. 0
 * with *id, or a negative errno.
 */
int transfers_add(struct state *s, int64_t sender, const char *sender_name, const char *receiver, const char *note,
		  uint64_t max, int64_t *id);
/* Those that the user sent or got, behind after, ascending; how many (at most max) or a negative errno. */
int transfers_list(struct state *s, int64_t user, int64_t after, struct transfer *out, size_t max);

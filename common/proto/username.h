/*
 * User names of authd have one spelling. It is what OPAQUE takes for the
 * client's identity, so the server and every client, whoever wrote it, must
 * arrive at the same bytes for ever. Unicode's mappings change with its versions;
 * therefore names are ASCII:
 *
 *	1 to 64 characters of a-z 0-9 . _ - + @, the first a letter or digit;
 *	A-Z become a-z; everything else is refused, nothing is dropped or mapped.
 *
 * An address of mail is a name. A name in wide letters, with combining marks,
 * spaces, or characters of another script that look like Latin ones is none.
 */
#pragma once

#include <stddef.h>

#define USERNAME_MAX 64
#define USERNAME_SPACE (USERNAME_MAX + 1)

/* Outcomes. */
enum {
	USERNAME_E_EMPTY = 1,
	USERNAME_E_TOO_LONG,
	USERNAME_E_START,     /* begins with . _ - + @ */
	USERNAME_E_CHARACTER, /* another character, a space, a control character, or not ASCII */
};

/*
 * The canonical spelling of len bytes in name (which may hold NUL: refused
 * like any other), NUL-terminated. Its own canonical spelling is itself. 0 or an
 * outcome; out is written on success alone.
 */
int username_canonical(char out[static USERNAME_SPACE], const char *name, size_t len);

/* What is wrong, in words for people: "a user name begins with a letter or digit". */
const char *username_outcome_text(int outcome);

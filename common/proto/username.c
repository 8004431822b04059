/* ASCII alone, in one pass: why is said in the header. */
#include "proto/username.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static bool is_letter_or_digit(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

int username_canonical(char out[static USERNAME_SPACE], const char *name, size_t len)
{
	char made[USERNAME_SPACE];

	if (len == 0)
		return USERNAME_E_EMPTY;
	if (len > USERNAME_MAX)
		return USERNAME_E_TOO_LONG;
	for (size_t i = 0; i < len; i++) {
		char c = name[i];

		if (c >= 'A' && c <= 'Z')
			c = (char)(c - 'A' + 'a');
		/* memchr() because strchr() would find a NUL. */
		if (!is_letter_or_digit(c) && !memchr("._-+@", c, strlen("._-+@")))
			return USERNAME_E_CHARACTER;
		if (i == 0 && !is_letter_or_digit(c))
			return USERNAME_E_START;
		made[i] = c;
	}
	made[len] = '\0';
	memcpy(out, made, len + 1);
	return 0;
}

const char *username_outcome_text(int outcome)
{
	switch (outcome) {
	case USERNAME_E_EMPTY:
		return "a user name is not empty";
	case USERNAME_E_TOO_LONG:
		return "a user name has 64 characters at most";
	case USERNAME_E_START:
		return "a user name begins with a letter or digit";
	case USERNAME_E_CHARACTER:
		return "a user name is of a-z 0-9 . _ - + @";
	}
	return "not a user name";
}

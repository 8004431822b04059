/*
 * What a relay does with its tokens. Session codes are found by a salted hash: which of its rows is
 * looked at depends on them, and tells nothing of them.
 */
#include <string.h>

#include "ct/ct.h"
#include "relayd/config.h"

CHECK(token)
{
	char one[] = "the first token of them", two[] = "the second token of all", other[] = "of another length";
	char *tokens[] = { one, other, two, NULL };
	struct relayd_config c = { .tokens = tokens };
	static const char *const tried[] = { "the second token of all", "the second token of any", "of no known length at all" };

	answers_are_secret = true;
	for (size_t i = 0; i < 3; i++) {
		char text[32];
		bool known;

		/* Its end is where its length says. */
		strcpy(text, tried[i]);
		for (size_t j = 0; text[j]; j++)
			mark_digits(text + j, 1);
		known = relayd_config_knows_token(&c, text);
		mark_public(&known, sizeof(known));
		must(known == (i == 0), "a token is mistaken");
	}
}

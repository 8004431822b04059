/* What the command does with a PIN that a person typed. */
#include <string.h>

#include "ct/ct.h"
#include "ctl/pair/pair_secret.h"

static bool take(const char *typed)
{
	struct pair_secret s = { .class = SECRET_PIN };
	char text[32];
	bool good;

	strcpy(text, typed);
	for (size_t i = 0; text[i]; i++)
		if (typed[i] >= '0' && typed[i] <= '9')
			mark_digits(text + i, 1);
	good = pair_secret_take_pin(&s, text);
	mark_public(&good, sizeof(good));
	mark_public(&s, sizeof(s));
	pair_secret_wipe(&s);
	return good;
}

CHECK(pin_typed)
{
	must(take("493817"), "a PIN is refused");
	must(take(" 4938-1722 "), "a PIN of eight digits is refused");
	must(!take("49381"), "a short PIN is taken");
	must(!take("493817221"), "a long PIN is taken");
}

/* One name has one spelling, and what only looks like it is none. */
#include "proto/username.h"

#include <string.h>

#include "base/cleanup.h"
#include "unit/lib/test.h"

static void take(const char *given, const char *want)
{
	char out[USERNAME_SPACE], again[USERNAME_SPACE];

	CHECK_EQ(username_canonical(out, given, strlen(given)), 0);
	CHECK_STR(out, want);
	CHECK_EQ(username_canonical(again, out, strlen(out)), 0);
	CHECK_STR(again, out);
}

static void refuse(const char *given, size_t len, int outcome)
{
	char out[USERNAME_SPACE] = "kept";
	int r = username_canonical(out, given, len);

	if (r != outcome)
		test_fail(__FILE__, __LINE__, "\"%.*s\" gives %d, not %d", (int)len, given, r, outcome);
	CHECK_STR(out, "kept");
}

TEST(user_names_that_differ_in_case_are_one)
{
	take("alice", "alice");
	take("Alice", "alice");
	take("ALICE", "alice");
	take("Alice.B-C_9+Home@Example.ORG", "alice.b-c_9+home@example.org");
	take("7", "7");
	take("0.._-+@", "0.._-+@");
}

TEST(user_names_that_differ_in_width_or_normalisation_are_refused)
{
	static const char *const names[] = {
		"ａｌｉｃｅ",	      /* fullwidth */
		"alicｅ",
		"zo\xc3\xab",	      /* e with diaeresis in one */
		"zoe\xcc\x88",	      /* and in two */
		"\xce\xb1lice",	      /* Greek alpha */
		"\xd0\xb0lice",	      /* Cyrillic a */
		"al\xc4\xb1" "ce",    /* dotless i */
		"al\xc4\xb0" "ce",    /* I with dot, whose lower case is two characters */
		"\xe2\x84\xaa" "elvin", /* the Kelvin sign, whose lower case is k */
		"stra\xc3\x9f" "e",
		"o\xef\xac\x83" "ce", /* the ligature ffi */
		"alice\xc2\xb2",      /* superscript two */
		"al\xc2\xad" "ice",   /* soft hyphen */
		"ali\xe2\x80\x8b" "ce", /* zero width space */
		"ali\xe2\x80\x8d" "ce",
		"ali\xe2\x80\xae" "ce", /* right-to-left override */
		"\xef\xbb\xbf" "alice",
		"alice\xf0\x9f\x98\x80",
		"ali\xe2\x80\x99" "ce",
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		refuse(names[i], strlen(names[i]), USERNAME_E_CHARACTER);
}

TEST(user_names_of_bad_utf8_control_characters_or_spaces_are_refused)
{
	static const struct {
		const char *p;
		size_t len;
	} names[] = {
		{ "\xff", 1 },	    { "a\xc3", 2 },	 { "a\xc0\xaf", 3 },  { "a\xed\xa0\x80", 4 },
		{ "a\0b", 3 },	    { "\0", 1 },	 { "alice\0", 6 },    { "a\nb", 3 },
		{ "alice\n", 6 },   { "alice\r\n", 7 },	 { "a\tb", 3 },	      { " alice", 6 },
		{ "alice ", 6 },    { "a b", 3 },	 { "a\x1b[2J", 5 },   { "a\x7f", 2 },
		{ "a\xc2\xa0", 3 }, { "a\xc2\x85", 3 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		refuse(names[i].p, names[i].len, USERNAME_E_CHARACTER);
}

TEST(user_names_of_every_other_character_of_ascii_are_refused)
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+@";
	char out[USERNAME_SPACE];

	for (int c = 0; c < 256; c++) {
		char name[2] = { 'a', (char)c };
		bool good = c && strchr(allowed, c);

		CHECK_EQ(username_canonical(out, name, 2), good ? 0 : USERNAME_E_CHARACTER);
	}
}

TEST(user_names_begin_with_a_letter_or_digit)
{
	static const char *const names[] = { ".", "..", ".alice", "_a", "-rf", "--help", "+1", "@a" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		refuse(names[i], strlen(names[i]), USERNAME_E_START);
}

TEST(user_names_are_1_to_64_characters)
{
	char longest[USERNAME_MAX + 1];

	refuse("", 0, USERNAME_E_EMPTY);
	memset(longest, 'x', sizeof(longest));
	refuse(longest, sizeof(longest), USERNAME_E_TOO_LONG);
	longest[USERNAME_MAX] = '\0';
	take(longest, longest);
}

TEST(user_names_are_refused_in_words)
{
	for (int i = USERNAME_E_EMPTY; i <= USERNAME_E_CHARACTER; i++)
		CHECK(strcmp(username_outcome_text(i), username_outcome_text(0)) != 0);
}

/* sas.c: numbers that people can tell apart. */
#include "unit/lib/test.h"

#include <string.h>

#include "crypto/secret.h"
#include "pairingd/sas.h"

static void real_random(void *out, size_t len, void *arg)
{
	(void)arg;
	random_bytes(out, len);
}

static unsigned int distance(const char *a, const char *b)
{
	unsigned int n = 0;

	for (size_t i = 0; i < SAS_DIGITS; i++)
		n += a[i] != b[i];
	return n;
}

TEST(three_numbers_the_right_one_among_them_far_apart)
{
	unsigned int place[SAS_CHOICES] = { 0 };

	for (unsigned int round = 0; round < 1000; round++) {
		char c[SAS_CHOICES][SAS_DIGITS + 1];
		unsigned int right = 0;

		sas_choices(c, "004217", real_random, NULL);
		for (unsigned int i = 0; i < SAS_CHOICES; i++) {
			CHECK(sas_is_digits(c[i]));
			if (strcmp(c[i], "004217") == 0) {
				right++;
				place[i]++;
			}
			for (unsigned int j = 0; j < i; j++)
				CHECK(distance(c[i], c[j]) >= SAS_DISTANCE);
		}
		CHECK_EQ(right, 1);
	}
	/* A third each; 200 is eight standard deviations away. */
	for (unsigned int i = 0; i < SAS_CHOICES; i++)
		CHECK(place[i] > 200);
}

TEST(the_number_is_the_value_modulo_a_million)
{
	const uint8_t value[8] = { 0, 0, 0, 0, 0, 0x0f, 0x42, 0x47 }; /* 1000007 */
	char digits[SAS_DIGITS + 1];

	sas_format(digits, value);
	CHECK_STR(digits, "000007");
}

TEST(digits_are_six_and_nothing_else)
{
	CHECK(sas_is_digits("000000"));
	CHECK(!sas_is_digits("00000"));
	CHECK(!sas_is_digits("0000000"));
	CHECK(!sas_is_digits("00000a"));
	CHECK(!sas_is_digits("-00000"));
}

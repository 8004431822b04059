/* SAS numbers. Decoys are of this side alone; nothing about them leaves the machine. */
#include "pairingd/sas.h"

#include <stdio.h>
#include <string.h>

void sas_format(char out[static SAS_DIGITS + 1], const uint8_t value[static 8])
{
	uint32_t v = 0;

	/* Byte by byte: a 64-bit division varies in time on a 32-bit machine; of 32 bits by a constant none does. */
	for (size_t i = 0; i < 8; i++)
		v = (v << 8 | value[i]) % 1000000;
	/* By hand: printf looks digits up in a table. */
	for (size_t i = SAS_DIGITS; i > 0; i--, v /= 10)
		out[i - 1] = (char)('0' + v % 10);
	out[SAS_DIGITS] = '\0';
}

static uint32_t below(uint32_t bound, sas_random_fn random, void *arg)
{
	uint32_t limit = UINT32_MAX - UINT32_MAX % bound, v;

	do
		random(&v, sizeof(v), arg);
	while (v >= limit);
	return v % bound;
}

static unsigned int distance(const char *a, const char *b)
{
	unsigned int n = 0;

	for (size_t i = 0; i < SAS_DIGITS; i++)
		n += a[i] != b[i];
	return n;
}

static void decoy(char out[static SAS_DIGITS + 1], char (*others)[SAS_DIGITS + 1], size_t n,
		  sas_random_fn random, void *arg)
{
	bool far;

	do {
		snprintf(out, SAS_DIGITS + 1, "%06u", (unsigned int)below(1000000, random, arg));
		far = true;
		for (size_t i = 0; i < n; i++)
			far = far && distance(out, others[i]) >= SAS_DISTANCE;
	} while (!far);
}

void sas_choices(char out[static SAS_CHOICES][SAS_DIGITS + 1], const char *digits,
		 sas_random_fn random, void *arg)
{
	memcpy(out[0], digits, SAS_DIGITS + 1);
	for (size_t i = 1; i < SAS_CHOICES; i++)
		decoy(out[i], out, i, random, arg);
	for (uint32_t i = SAS_CHOICES - 1; i > 0; i--) {
		uint32_t j = below(i + 1, random, arg);
		char swap[SAS_DIGITS + 1];

		memcpy(swap, out[i], sizeof(swap));
		memcpy(out[i], out[j], sizeof(swap));
		memcpy(out[j], swap, sizeof(swap));
	}
}

bool sas_is_digits(const char *s)
{
	return strlen(s) == SAS_DIGITS && strspn(s, "0123456789") == SAS_DIGITS;
}

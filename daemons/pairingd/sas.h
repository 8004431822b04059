/* The short number that two people compare, and the two wrong ones shown beside it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SAS_DIGITS 6
#define SAS_CHOICES 3
#define SAS_DISTANCE 4 /* positions in which any two choices differ */

/* Random bytes, or a test's. */
typedef void (*sas_random_fn)(void *out, size_t len, void *arg);

/* The digits of 8 bytes from the KDF: their value modulo a million (the bias is below 2^-44). */
void sas_format(char out[static SAS_DIGITS + 1], const uint8_t value[static 8]);

/*
 * Three numbers in random order, digits among them, every two differing in at
 * least SAS_DISTANCE of the six positions: who reads one carelessly does not
 * take another for it.
 */
void sas_choices(char out[static SAS_CHOICES][SAS_DIGITS + 1], const char *digits,
		 sas_random_fn random, void *arg);

bool sas_is_digits(const char *s);

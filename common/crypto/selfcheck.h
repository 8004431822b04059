/*
 * Known-answer tests of every primitive, the random generator and base64, for
 * `handfast selfcheck`. What belongs to a layer above is checked there: the
 * command runs negotiate_selfcheck() (proto/negotiate.h, refusal of a
 * downgrade) after these and shows it as one more line.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct selfcheck_result {
	const char *name;   /* "spake2-ed25519" */
	const char *source; /* "python-spake2 test_compat" */
	bool ok;
};

/* Run all; calls fn for each. Returns the number that failed. */
int selfcheck_run(void (*fn)(const struct selfcheck_result *r, void *arg), void *arg);

/*
 * The PIN or secret of a pairing: made, read from where the person said, or
 * typed; then handed to pairingd over its own socket. It is never in argv, the
 * environment or a Varlink call.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctl/failure.h"
#include "proto/secret_msg.h"

struct ctl;

struct pair_secret {
	enum secret_class class;
	size_t len; /* 0: not known yet */
	uint8_t value[SECRET_VALUE_MAX + 1]; /* a PIN is NUL-terminated, too */
};
void pair_secret_wipe(struct pair_secret *s);

/*
 * From --pin-file, --pin-fd or --secret-file, when one is given. Waits for a
 * descriptor's first line.
 */
int pair_secret_read(struct pair_secret *s, const struct ctl *c, struct failure *f);

/* A new PIN. */
int pair_secret_make(struct pair_secret *s, int64_t digits, struct failure *f);

/*
 * What a person typed: 6 to 8 digits, spaces and hyphens between them; text is
 * wiped. True when it is a PIN.
 */
bool pair_secret_take_pin(struct pair_secret *s, char *text);

/* Give it to pairingd. ticket is the event's. */
int pair_secret_hand_over(const struct pair_secret *s, const struct ctl *c, const char *ticket,
			  struct failure *f);

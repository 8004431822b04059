/*
 * What signs for this device. All that is signed goes through here and under a
 * context of its own, so that the key may lie where this process cannot read
 * it: a kind of signer is a function and what it works on.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "crypto/sign.h"

struct signer {
	/* As sign_make() does, or a negative errno: the key cannot be had just now. It may take as long as a person can bear. */
	int (*sign)(uint8_t sig[static SIGN_LEN], const void *of, const char *context, const void *message, size_t len);
	const void *of;
	struct sign_public public_key;
};

/* One that signs with a key in memory, which outlives it. */
void signer_init(struct signer *s, const struct sign_key *key);
/* 0, or a negative errno with sig untouched. */
int signer_sign(const struct signer *s, uint8_t sig[static SIGN_LEN], const char *context, const void *message,
		size_t len);

/* The ways of sealing that bulk.c chooses among. */
#pragma once

#include "crypto/bulk.h"

/* As bulk_seal() and bulk_open() promise. */
struct bulk_way {
	const char *name;
	void (*seal)(uint8_t *header, size_t len, const uint8_t *nonce, const uint8_t *key);
	int (*open)(uint8_t *header, size_t len, const uint8_t *nonce, const uint8_t *key);
};

/* bulk_sodium.c */
extern const struct bulk_way bulk_sodium;

/*
 * bulk_ipsec_mb.c: load the library, not yet proven. 0, and note is its version and the
 * instructions it uses ("1.3.0, AVX512"); BULK_E_UNAVAILABLE, and note says why, *hint what to do
 * about it (NULL: nothing can be done on this machine).
 */
int bulk_ipsec_mb_load(const struct bulk_way **out, char *note, size_t cap, const char **hint);

/* Secret bytes: locked, kept out of core dumps, wiped on free, never printed. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct secret;

/*
 * Start the crypto library and lock the first pages for secrets; first call in
 * every main(), harmless when repeated. 0, -EIO, or the errno that says why no
 * memory can be locked (RLIMIT_MEMLOCK).
 *
 * A child made by fork() sees zeros in place of its parent's secrets and makes
 * none of its own: whoever needs secrets in another process starts a program.
 */
int crypto_init(void);

/*
 * Move len bytes out of src: on success src is wiped and *out holds the only
 * copy. Returns 0 or -ENOMEM; on failure *out and src are untouched.
 */
int secret_take(struct secret **out, uint8_t *src, size_t len);

/*
 * A new secret of len zero bytes, which its maker fills through *bytes before
 * anyone else sees it: for results that should never lie elsewhere. 0 or -ENOMEM.
 */
int secret_new(struct secret **out, size_t len, uint8_t **bytes);

/* A new secret of len random bytes. 0 or -ENOMEM. */
int secret_random(struct secret **out, size_t len);

/* A second copy. 0 or -ENOMEM. */
int secret_dup(struct secret **out, const struct secret *s);

/* The bytes, for handing to a primitive; valid while s lives. Never for printing. */
const uint8_t *secret_bytes(const struct secret *s);
size_t secret_len(const struct secret *s);

/* Compare in time that depends on len alone; false when the lengths differ. */
bool secret_equal(const struct secret *s, const uint8_t *other, size_t len);

struct secret *secret_free(struct secret *s);
DEFINE_CLEANUP(struct secret *, secret_free);

/* Compare len bytes in constant time. */
bool bytes_equal(const void *a, const void *b, size_t len);

/* Fill with random bytes: the one entry point for randomness. Never fails. */
void random_bytes(void *out, size_t len);
/* The same in large pieces, straight from the kernel's generator: for key files. 0 or a negative errno. */
int random_bulk(void *out, size_t len);
/* Uniform in [0, bound). bound > 0. */
uint32_t random_below(uint32_t bound);

/* Overwrite, in a way that the compiler keeps. */
void wipe(void *p, size_t len);

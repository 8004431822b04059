/* Overwriting spent key material on disk. On flash storage this is best effort: see handfast-security(7). */
#pragma once

#include <sys/types.h>

#include "pskd/keys/keys.h"

/*
 * Make len bytes at offset zeros: written (KEYS_ERASE_ZERO), or given back to
 * the filesystem (KEYS_ERASE_PUNCH; written where it cannot). Durable when it
 * returns 0; a negative errno.
 */
int erase_range(int fd, off_t offset, off_t len, enum keys_erase how);

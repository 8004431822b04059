/*
 * A hardware random generator that is mixed into a key file: XORed over what the kernel gives, so that
 * the file is as good as the better of the two. The device is not trusted to work: what is plainly no
 * noise is refused, and what is subtly bad costs nothing.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct keyfile_mix;

/* A device, a pipe, or a file. 0, KEYFILE_E_MIX or a negative errno; detail is filled unless 0. */
int keyfile_mix_open(struct keyfile_mix **out, const char *path, char *detail, size_t detail_cap);

/*
 * XOR the device's next n bytes, at most KEYFILE_MIX_MAX, into bytes. keep_waiting is asked several times a
 * second while there are none, and ends it when it returns nonzero. 0; KEYFILE_E_STOPPED; or KEYFILE_E_MIX with
 * detail: it ended, cannot be read, gives nothing for a minute, or fails a test.
 */
#define KEYFILE_MIX_MAX 65536
int keyfile_mix_xor(struct keyfile_mix *m, uint8_t *bytes, size_t n, int (*keep_waiting)(void *arg), void *arg,
		    char *detail, size_t detail_cap);

struct keyfile_mix *keyfile_mix_close(struct keyfile_mix *m);
DEFINE_CLEANUP(struct keyfile_mix *, keyfile_mix_close);

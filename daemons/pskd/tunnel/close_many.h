/* Closing what the kernel takes its time for. */
#pragma once

#include <stddef.h>

/*
 * Close n descriptors, of which those below 0 are none, and return when all are closed. The last one of a TUN
 * device waits until no processor uses it, some 10 to 30 ms; many wait hardly longer than one.
 */
void close_many(const int *fds, size_t n);

/*
 * The error idiom: 0 is done, a negative errno means that the machinery
 * failed and is passed up unchanged, a positive value is a documented outcome
 * of one module and never travels further.
 */
#pragma once

#include <errno.h>

/* Pass negatives and 0 through; a positive from another module was foreseen by nobody here. */
static inline int err_fold(int r)
{
	return r > 0 ? -ENOTRECOVERABLE : r;
}

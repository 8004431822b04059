/* Scope-bound cleanup: what a scope owns, the scope releases. */
#pragma once

#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))

/*
 * For a destructor `type func(type)` that accepts NULL, define funcp() for
 * use with _cleanup_: _cleanup_(secret_freep) struct secret *s = NULL;
 */
#define DEFINE_CLEANUP(type, func)                  \
	static inline void func##p(type *p)         \
	{                                           \
		if (*p)                             \
			func(*p);                   \
	}                                           \
	struct handfast_semicolon_

/* Hand over a pointer: evaluates to *p and leaves NULL behind. */
#define steal(p)                                    \
	({                                          \
		__typeof__(p) p_ = (p);             \
		__typeof__(*p_) v_ = *p_;           \
		*p_ = NULL;                         \
		v_;                                 \
	})

/* Hand over a descriptor: returns *fd and leaves -1 behind. */
static inline int steal_fd(int *fd)
{
	int v = *fd;

	*fd = -1;
	return v;
}

static inline void freep(void *p)
{
	free(*(void **)p);
}

static inline void closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

#define _cleanup_free_ _cleanup_(freep)
#define _cleanup_close_ _cleanup_(closep)

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

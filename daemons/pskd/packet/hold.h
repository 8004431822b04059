/*
 * What a packet thread has is the control thread's while it holds the thread:
 * asked through an eventfd, the thread parks between two of its callbacks, and
 * goes on when it is let go. Between begin and end nothing is waited for, so
 * that packets wait for no more than a few lines of code.
 */
#pragma once

#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>

struct loop;
struct loop_io;

struct hold {
	int fd;
	struct loop_io *io;
	sem_t parked, go;
	unsigned int depth; /* the control thread's */
	atomic_bool asked;
};

/* loop: the packet thread's, which does not run yet. 0 or a negative errno. */
int hold_init(struct hold *h, struct loop *loop);
/* The loop runs no more. */
void hold_done(struct hold *h);

/*
 * From the control thread alone; nested ones are fine. NULL, where the control loop carries packets itself, needs
 * nothing. Returns h.
 */
struct hold *hold_begin(struct hold *h);
void hold_end(struct hold *h);

static inline void hold_endp(struct hold **h)
{
	hold_end(*h);
}

/*
 * In the packet thread: may a callback that has done so many rounds do another? Not when somebody waits; but always a
 * first one, so that whoever holds the thread again and again does not stop it.
 */
static inline bool hold_lets(const struct hold *h, int rounds)
{
	return rounds == 0 || !h || !atomic_load_explicit(&h->asked, memory_order_relaxed);
}

/* For the rest of the scope. */
#define HOLD(h) __attribute__((cleanup(hold_endp), unused)) struct hold *held_here = hold_begin(h)

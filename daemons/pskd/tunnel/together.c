/* Each thread takes the next one. */
#include "pskd/tunnel/together.h"

#include <pthread.h>
#include <signal.h>

enum { HELPERS_MAX = 15 };

struct gang {
	void (*fn)(size_t i, void *arg);
	void *arg;
	size_t n;
	_Atomic size_t next;
};

static void *run(void *arg)
{
	struct gang *g = arg;

	for (size_t i = g->next++; i < g->n; i = g->next++)
		g->fn(i, g->arg);
	return NULL;
}

void together(size_t n, void (*fn)(size_t i, void *arg), void *arg)
{
	struct gang g = { .fn = fn, .arg = arg, .n = n };
	pthread_t helpers[HELPERS_MAX];
	sigset_t all, before;
	size_t started = 0;

	/* Signals are for the loop. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (started < HELPERS_MAX && started + 1 < n && pthread_create(&helpers[started], NULL, run, &g) == 0)
		started++;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	run(&g);
	for (size_t i = 0; i < started; i++)
		pthread_join(helpers[i], NULL);
}

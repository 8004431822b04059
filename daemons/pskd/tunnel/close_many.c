/* Each thread takes the next one. The caller's does, too: without any other it closes all. */
#include "pskd/tunnel/close_many.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

enum { HELPERS_MAX = 15 };

struct gang {
	const int *fds;
	size_t n;
	_Atomic size_t next;
};

static void *run(void *arg)
{
	struct gang *g = arg;

	for (size_t i = g->next++; i < g->n; i = g->next++)
		if (g->fds[i] >= 0)
			close(g->fds[i]);
	return NULL;
}

void close_many(const int *fds, size_t n)
{
	struct gang g = { .fds = fds, .n = n };
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

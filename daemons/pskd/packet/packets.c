/* A thread runs a loop of its own, and ends when that is stopped under a hold. */
#include "pskd/packet/packets.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "event/loop.h"
#include "pskd/packet/hold.h"

enum { AUTO_MAX = 4 };

struct packet_thread {
	struct loop *loop; /* NULL: not begun yet */
	struct hold hold;
	pthread_t thread;
	unsigned int tunnels;
	char name[16];
};

struct packets {
	unsigned int n;
	struct packet_thread threads[PACKETS_THREADS_MAX];
};

/* One for two processors: the other end of each packet's way, the kernel's and the programs', wants one, too. */
static int choose(void)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) / 2 : 1;

	if (n < 1)
		return 1;
	return n > AUTO_MAX ? AUTO_MAX : n;
}

int packets_parse(const char *text)
{
	unsigned long n;
	char *end;

	if (strcmp(text, "auto") == 0)
		return choose();
	if (*text < '0' || *text > '9')
		return -1;
	n = strtoul(text, &end, 10);
	return *end == '\0' && n <= PACKETS_THREADS_MAX ? (int)n : -1;
}

int packets_new(struct packets **out, unsigned int n)
{
	struct packets *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->n = n < PACKETS_THREADS_MAX ? n : PACKETS_THREADS_MAX;
	for (unsigned int i = 0; i < p->n; i++)
		snprintf(p->threads[i].name, sizeof(p->threads[i].name), "packets-%u", (uint8_t)(i + 1));
	*out = p;
	return 0;
}

static void *run(void *arg)
{
	struct packet_thread *t = arg;

	/* Of another thread it would be a file in /proc, which the confined daemon may not write. */
	(void)pthread_setname_np(pthread_self(), t->name);
	(void)loop_run(t->loop);
	return NULL;
}

static int begin(struct packet_thread *t)
{
	sigset_t all, before;
	struct loop *loop;
	int r;

	r = loop_new(&loop);
	if (r)
		return r;
	r = hold_init(&t->hold, loop);
	if (r) {
		loop_free(loop);
		return r;
	}
	t->loop = loop;
	/* Signals are for the control loop. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&t->thread, NULL, run, t);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r) {
		hold_done(&t->hold);
		t->loop = loop_free(loop);
		return -r;
	}
	return 0;
}

static void end(struct packet_thread *t)
{
	if (!t->loop)
		return;
	hold_begin(&t->hold);
	loop_stop(t->loop, 0);
	hold_end(&t->hold);
	pthread_join(t->thread, NULL);
	hold_done(&t->hold);
	loop_free(t->loop);
}

struct packets *packets_free(struct packets *p)
{
	if (!p)
		return NULL;
	for (unsigned int i = 0; i < p->n; i++)
		end(&p->threads[i]);
	free(p);
	return NULL;
}

int packets_join(struct packet_thread **out, struct packets *p)
{
	struct packet_thread *t = NULL;
	int r = 0;

	for (unsigned int i = 0; p && i < p->n; i++)
		if (!t || p->threads[i].tunnels < t->tunnels)
			t = &p->threads[i];
	if (t && !t->loop)
		r = begin(t);
	if (r)
		return r;
	if (t)
		t->tunnels++;
	*out = t;
	return 0;
}

void packets_leave(struct packet_thread *t)
{
	if (t)
		t->tunnels--;
}

struct loop *packet_thread_loop(const struct packet_thread *t)
{
	return t->loop;
}

struct hold *packet_thread_hold(struct packet_thread *t)
{
	return t ? &t->hold : NULL;
}

const char *packet_thread_name(const struct packet_thread *t)
{
	return t->name;
}

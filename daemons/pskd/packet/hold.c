/* Two semaphores: one says that the thread is parked, the other that it may go on. */
#include "pskd/packet/hold.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "event/loop.h"

static void wait_for(sem_t *s)
{
	while (sem_wait(s) < 0 && errno == EINTR)
		;
}

static void on_asked(int fd, unsigned int events, void *arg)
{
	struct hold *h = arg;
	eventfd_t n;

	(void)events;
	if (eventfd_read(fd, &n) < 0)
		return;
	sem_post(&h->parked);
	wait_for(&h->go);
}

int hold_init(struct hold *h, struct loop *loop)
{
	int r;

	*h = (struct hold){ .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
	if (h->fd < 0)
		return -errno;
	r = loop_io_new(&h->io, loop, h->fd, LOOP_READ, on_asked, h);
	if (r) {
		close(h->fd);
		return r;
	}
	sem_init(&h->parked, 0, 0);
	sem_init(&h->go, 0, 0);
	return 0;
}

void hold_done(struct hold *h)
{
	loop_io_free(h->io);
	close(h->fd);
	sem_destroy(&h->parked);
	sem_destroy(&h->go);
}

struct hold *hold_begin(struct hold *h)
{
	if (!h || h->depth++ > 0)
		return h;
	atomic_store_explicit(&h->asked, true, memory_order_relaxed);
	/* It cannot be full: the thread reads it before we could ask again. */
	(void)eventfd_write(h->fd, 1);
	wait_for(&h->parked);
	atomic_store_explicit(&h->asked, false, memory_order_relaxed);
	return h;
}

void hold_end(struct hold *h)
{
	if (h && --h->depth == 0)
		sem_post(&h->go);
}

/*
 * The ring has one writer and one reader: head is the writer's, tail the
 * reader's, and each gives away what it wrote with its own. The eventfd is
 * written only by who finds the reader not woken yet; the reader takes that
 * back before it looks, so that nothing which comes after its look is missed.
 */
#include "pskd/packet/news.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "event/loop.h"

struct item {
	struct sockaddr_in6 from;
	uint64_t stamp;
	size_t len;
	uint8_t msg[NEWS_MESSAGE_MAX];
};

struct news {
	const struct news_ops *ops;
	void *arg;
	int fd;
	struct loop_io *io;
	atomic_bool woken;
	atomic_uint facts;
	atomic_uint head, tail;
	struct item ring[NEWS_MAX];
};

static void wake(struct news *n)
{
	if (!atomic_exchange(&n->woken, true))
		(void)eventfd_write(n->fd, 1);
}

static void hear_facts(struct news *n)
{
	unsigned int facts = atomic_exchange(&n->facts, 0);

	if (facts)
		n->ops->on_facts(facts, n->arg);
}

static void hear_messages(struct news *n)
{
	unsigned int tail = atomic_load_explicit(&n->tail, memory_order_relaxed);

	/* Those that are there: what comes meanwhile waits for the loop's next turn. */
	for (unsigned int head = atomic_load_explicit(&n->head, memory_order_acquire); tail != head; tail++) {
		const struct item *i = &n->ring[tail % NEWS_MAX];

		/* Whoever told both told them in this order. */
		hear_facts(n);
		n->ops->on_message(i->msg, i->len, &i->from, i->stamp, n->arg);
		atomic_store_explicit(&n->tail, tail + 1, memory_order_release);
	}
}

static void on_wake(int fd, unsigned int events, void *arg)
{
	struct news *n = arg;
	eventfd_t woken;

	(void)events;
	if (eventfd_read(fd, &woken) < 0)
		return;
	/* An exchange: what was written before the waking that it takes back is seen. */
	(void)atomic_exchange(&n->woken, false);
	hear_facts(n);
	hear_messages(n);
}

int news_new(struct news **out, struct loop *loop, const struct news_ops *ops, void *arg)
{
	struct news *n = calloc(1, sizeof(*n));
	int r;

	if (!n)
		return -ENOMEM;
	n->ops = ops;
	n->arg = arg;
	n->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = n->fd < 0 ? -errno : loop_io_new(&n->io, loop, n->fd, LOOP_READ, on_wake, n);
	if (r)
		news_free(n);
	else
		*out = n;
	return r;
}

struct news *news_free(struct news *n)
{
	if (!n)
		return NULL;
	loop_io_free(n->io);
	if (n->fd >= 0)
		close(n->fd);
	free(n);
	return NULL;
}

void news_tell(struct news *n, unsigned int facts)
{
	/*
	 * Written even where it stands already: only so does who takes it away see all that was written before. What
	 * was told and not heard yet needs no second waking.
	 */
	if ((atomic_fetch_or(&n->facts, facts) & facts) != facts)
		wake(n);
}

bool news_send(struct news *n, const uint8_t *msg, size_t len, const struct sockaddr_in6 *from, uint64_t stamp)
{
	unsigned int head = atomic_load_explicit(&n->head, memory_order_relaxed);
	struct item *i = &n->ring[head % NEWS_MAX];

	if (head - atomic_load_explicit(&n->tail, memory_order_acquire) >= NEWS_MAX)
		return false;
	i->from = *from;
	i->stamp = stamp;
	i->len = len < NEWS_MESSAGE_MAX ? len : NEWS_MESSAGE_MAX;
	if (i->len > 0)
		memcpy(i->msg, msg, i->len);
	atomic_store_explicit(&n->head, head + 1, memory_order_release);
	wake(n);
	return true;
}

/*
 * Each ring has one writer and one reader: head is the writer's, tail the
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

/* How many were put into a ring, and taken out. Its size divides 2^32. */
struct marks {
	atomic_uint head, tail;
};

struct item {
	struct udp_ends from;
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
	struct marks messages, owns;
	struct item ring[NEWS_MAX];
	struct sockaddr_in6 own[NEWS_OWN_MAX];
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

/* How many there are, which waits: what comes meanwhile is for the loop's next turn. */
static unsigned int waiting(const struct marks *m, unsigned int *tail)
{
	*tail = atomic_load_explicit(&m->tail, memory_order_relaxed);
	return atomic_load_explicit(&m->head, memory_order_acquire) - *tail;
}

static void took(struct marks *m, unsigned int tail)
{
	atomic_store_explicit(&m->tail, tail + 1, memory_order_release);
}

static void hear_messages(struct news *n)
{
	unsigned int tail;

	for (unsigned int left = waiting(&n->messages, &tail); left > 0; left--, tail++) {
		const struct item *i = &n->ring[tail % NEWS_MAX];

		/* Whoever told both told them in this order. */
		hear_facts(n);
		n->ops->on_message(i->msg, i->len, &i->from, i->stamp, n->arg);
		took(&n->messages, tail);
	}
}

static void hear_owns(struct news *n)
{
	unsigned int tail;

	for (unsigned int left = waiting(&n->owns, &tail); left > 0; left--, tail++) {
		n->ops->on_own(&n->own[tail % NEWS_OWN_MAX], n->arg);
		took(&n->owns, tail);
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
	hear_owns(n);
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

static bool has_room(const struct marks *m, unsigned int max, unsigned int *head)
{
	*head = atomic_load_explicit(&m->head, memory_order_relaxed);
	return *head - atomic_load_explicit(&m->tail, memory_order_acquire) < max;
}

static void put(struct news *n, struct marks *m, unsigned int head)
{
	atomic_store_explicit(&m->head, head + 1, memory_order_release);
	wake(n);
}

bool news_send(struct news *n, const uint8_t *msg, size_t len, const struct udp_ends *from, uint64_t stamp)
{
	unsigned int head;
	struct item *i;

	if (!has_room(&n->messages, NEWS_MAX, &head))
		return false;
	i = &n->ring[head % NEWS_MAX];
	i->from = *from;
	i->stamp = stamp;
	i->len = len < NEWS_MESSAGE_MAX ? len : NEWS_MESSAGE_MAX;
	memcpy(i->msg, msg, i->len);
	put(n, &n->messages, head);
	return true;
}

bool news_send_own(struct news *n, const struct sockaddr_in6 *from)
{
	unsigned int head;

	if (!has_room(&n->owns, NEWS_OWN_MAX, &head))
		return false;
	n->own[head % NEWS_OWN_MAX] = *from;
	put(n, &n->owns, head);
	return true;
}

#include "pskd/packet/packets.h"

#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "event/loop.h"
#include "pskd/packet/hold.h"
#include "pskd/packet/news.h"
#include "unit/lib/test.h"

/* ---- choosing ---- */

TEST(workers_are_auto_or_a_number)
{
	CHECK_EQ(packets_parse("0"), 0);
	CHECK_EQ(packets_parse("16"), 16);
	CHECK(packets_parse("auto") >= 1 && packets_parse("auto") <= 4);
	CHECK_EQ(packets_parse("17"), -1);
	CHECK_EQ(packets_parse("-1"), -1);
	CHECK_EQ(packets_parse(""), -1);
	CHECK_EQ(packets_parse("2x"), -1);
	CHECK_EQ(packets_parse("99999999999999999999"), -1);
}

TEST(tunnels_join_the_thread_with_the_fewest)
{
	_cleanup_(packets_freep) struct packets *p = NULL;
	struct packet_thread *t[4];

	CHECK_EQ(packets_new(&p, 2), 0);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(packets_join(&t[i], p), 0);
	CHECK(t[0] != t[1] && t[0] == t[2] && t[1] == t[3]);
	CHECK_STR(packet_thread_name(t[0]), "packets-1");
	CHECK_STR(packet_thread_name(t[1]), "packets-2");
	packets_leave(t[1]);
	packets_leave(t[3]);
	CHECK_EQ(packets_join(&t[1], p), 0);
	CHECK_EQ(packets_join(&t[3], p), 0);
	CHECK(t[1] == t[3] && t[1] != t[0]);
}

TEST(without_workers_the_control_loop_carries_all)
{
	_cleanup_(packets_freep) struct packets *p = NULL;
	struct packet_thread *t;

	CHECK_EQ(packets_new(&p, 0), 0);
	CHECK_EQ(packets_join(&t, p), 0);
	CHECK(t == NULL);
	CHECK_EQ(packets_join(&t, NULL), 0);
	CHECK(t == NULL);
	CHECK(packet_thread_hold(NULL) == NULL);
	packets_leave(NULL);
	/* Needs nothing, and does nothing. */
	hold_end(hold_begin(NULL));
}

/* ---- holding ---- */

/* Always busy, as a path under load: its own end of a pair can always be written. */
struct busy {
	int fds[2];
	struct loop_io *io;
	volatile uint64_t n, twice; /* no atomics on purpose: twice is always 2 n outside of the callback */
};

static void on_busy(int fd, unsigned int events, void *arg)
{
	struct busy *b = arg;

	(void)fd;
	(void)events;
	for (int i = 0; i < 100; i++) {
		b->n++;
		/* On a machine with one free processor, too, whoever does not wait comes to see this. */
		if (i % 25 == 0)
			sched_yield();
		b->twice += 2;
	}
}

static void busy_start(struct busy *b, struct packet_thread *t)
{
	HOLD(packet_thread_hold(t));

	CHECK_EQ(pipe(b->fds), 0);
	CHECK_EQ(loop_io_new(&b->io, packet_thread_loop(t), b->fds[1], LOOP_WRITE, on_busy, b), 0);
}

static void busy_stop(struct busy *b, struct packet_thread *t)
{
	HOLD(packet_thread_hold(t));

	loop_io_free(b->io);
	close(b->fds[0]);
	close(b->fds[1]);
}

TEST(i1_a_held_thread_does_nothing_and_goes_on_afterwards)
{
	_cleanup_(packets_freep) struct packets *p = NULL;
	struct busy b = { .n = 0 };
	struct packet_thread *t;
	uint64_t last = 0;

	CHECK_EQ(packets_new(&p, 1), 0);
	CHECK_EQ(packets_join(&t, p), 0);
	busy_start(&b, t);
	for (int i = 0; i < 2000; i++) {
		struct hold *h = hold_begin(packet_thread_hold(t));
		uint64_t n = b.n;

		CHECK_EQ(b.twice, 2 * n);
		CHECK(n >= last);
		sched_yield();
		CHECK_EQ(b.n, n);
		/* What we change, it goes on from. */
		b.n = n + 1;
		b.twice += 2;
		last = n + 1;
		hold_end(h);
	}
	for (bool moved = false; !moved;) {
		HOLD(packet_thread_hold(t));

		moved = b.n > last;
	}
	busy_stop(&b, t);
}

TEST(holds_nest)
{
	_cleanup_(packets_freep) struct packets *p = NULL;
	struct busy b = { .n = 0 };
	struct packet_thread *t;
	struct hold *outer;
	uint64_t n;

	CHECK_EQ(packets_new(&p, 1), 0);
	CHECK_EQ(packets_join(&t, p), 0);
	busy_start(&b, t);
	outer = hold_begin(packet_thread_hold(t));
	n = b.n;
	for (int i = 0; i < 100; i++)
		hold_end(hold_begin(packet_thread_hold(t)));
	/* The inner ones did not let it go. */
	CHECK_EQ(b.n, n);
	CHECK_EQ(b.twice, 2 * n);
	hold_end(outer);
	busy_stop(&b, t);
}

/* ---- news ---- */

struct heard {
	unsigned int facts, calls, n, own;
	uint32_t next; /* the number that the next message should have at least */
	size_t len;
	uint16_t port;
	struct udp_local local;
	bool out_of_order, wrong_stamp;
};

static void on_facts(unsigned int facts, void *arg)
{
	struct heard *h = arg;

	h->facts |= facts;
	h->calls++;
}

static void on_message(const uint8_t *msg, size_t len, const struct udp_ends *from, uint64_t stamp, void *arg)
{
	struct heard *h = arg;
	uint32_t number = 0;

	h->n++;
	h->len = len;
	h->port = from->peer.sin6_port;
	h->local = from->local;
	if (len < sizeof(number))
		return;
	memcpy(&number, msg, sizeof(number));
	h->out_of_order = h->out_of_order || number < h->next;
	h->next = number + 1;
	h->wrong_stamp = h->wrong_stamp || stamp != UINT64_MAX - number;
}

static void on_own(const struct sockaddr_in6 *from, void *arg)
{
	struct heard *h = arg;

	h->own++;
	h->port = from->sin6_port;
}

static const struct news_ops ops = { on_facts, on_message, on_own };

TEST(news_are_bounded_and_in_order)
{
	_cleanup_(loop_freep) struct loop *l = NULL;
	_cleanup_(news_freep) struct news *n = NULL;
	struct udp_ends from = { .peer.sin6_port = 7, .local.ifindex = 9 };
	struct heard h = { .n = 0 };

	CHECK_EQ(loop_new(&l), 0);
	CHECK_EQ(news_new(&n, l, &ops, &h), 0);
	for (uint32_t i = 0; i < NEWS_MAX; i++)
		CHECK(news_send(n, (const uint8_t *)&i, sizeof(i), &from, UINT64_MAX - i));
	CHECK(!news_send(n, (const uint8_t *)"full", 4, &from, 0));
	loop_step(l, 0);
	CHECK_EQ(h.n, NEWS_MAX);
	CHECK_EQ(h.next, NEWS_MAX);
	CHECK(!h.out_of_order && !h.wrong_stamp);
	CHECK_EQ(h.port, 7);
	CHECK_EQ(h.local.ifindex, 9);
	/* There is room again. */
	CHECK(news_send(n, (const uint8_t *)"x", 1, &from, 0));
	loop_step(l, 0);
	CHECK_EQ(h.n, NEWS_MAX + 1);
	CHECK_EQ(h.len, 1);
}

TEST(i4_own_packets_and_messages_do_not_keep_each_other_out)
{
	_cleanup_(loop_freep) struct loop *l = NULL;
	_cleanup_(news_freep) struct news *n = NULL;
	const struct udp_ends from = { .peer.sin6_port = 7 };
	const struct sockaddr_in6 other = { .sin6_port = 8 };
	struct heard h = { .n = 0 };
	unsigned int own = 0, sent = 0;

	CHECK_EQ(loop_new(&l), 0);
	CHECK_EQ(news_new(&n, l, &ops, &h), 0);
	for (int turn = 1; turn <= 40; turn++) {
		/* A flood of the one goes first, and then of the other. */
		for (int i = 0; i < 1000; i++)
			own += turn % 2 && news_send_own(n, &other);
		for (uint32_t i = 0; i < 1000; i++)
			sent += news_send(n, (const uint8_t *)&i, sizeof(i), &from, UINT64_MAX - i);
		for (int i = 0; i < 1000; i++)
			own += turn % 2 == 0 && news_send_own(n, &other);
		h.next = 0;
		loop_step(l, 0);
		CHECK_EQ(own, (unsigned int)turn * NEWS_OWN_MAX);
		CHECK_EQ(sent, (unsigned int)turn * NEWS_MAX);
		CHECK_EQ(h.own, own);
		CHECK_EQ(h.n, sent);
		CHECK(!h.out_of_order && !h.wrong_stamp);
		CHECK_EQ(h.port, 8);
	}
}

TEST(a_message_that_is_too_long_stays_too_long_for_a_handshake)
{
	_cleanup_(loop_freep) struct loop *l = NULL;
	_cleanup_(news_freep) struct news *n = NULL;
	const struct udp_ends from = { .peer.sin6_port = 7 };
	uint8_t msg[2000] = { 0 };
	struct heard h = { .n = 0 };

	CHECK_EQ(loop_new(&l), 0);
	CHECK_EQ(news_new(&n, l, &ops, &h), 0);
	CHECK(news_send(n, msg, sizeof(msg), &from, 0));
	loop_step(l, 0);
	CHECK_EQ(h.len, NEWS_MESSAGE_MAX);
	CHECK(NEWS_MESSAGE_MAX > 256);
}

TEST(facts_are_told_once)
{
	_cleanup_(loop_freep) struct loop *l = NULL;
	_cleanup_(news_freep) struct news *n = NULL;
	struct heard h = { .n = 0 };

	CHECK_EQ(loop_new(&l), 0);
	CHECK_EQ(news_new(&n, l, &ops, &h), 0);
	for (int i = 0; i < 1000; i++)
		news_tell(n, 1);
	news_tell(n, 4);
	loop_step(l, 0);
	CHECK_EQ(h.facts, 5);
	CHECK_EQ(h.calls, 1);
	loop_step(l, 0);
	CHECK_EQ(h.calls, 1);
	news_tell(n, 2);
	loop_step(l, 0);
	CHECK_EQ(h.facts, 7);
}

struct order {
	struct news *n;
	unsigned int facts, before_second;
};

static void on_order_facts(unsigned int facts, void *arg)
{
	((struct order *)arg)->facts |= facts;
}

/* While the first one is heard, a fact is told; the second is heard after it. */
static void on_order_message(const uint8_t *msg, size_t len, const struct udp_ends *from, uint64_t stamp, void *arg)
{
	struct order *o = arg;

	(void)len;
	(void)from;
	(void)stamp;
	if (msg[0] == 1)
		news_tell(o->n, 4);
	else
		o->before_second = o->facts;
}

TEST(what_was_told_before_a_message_is_heard_before_it)
{
	static const struct news_ops order_ops = { on_order_facts, on_order_message, on_own };
	_cleanup_(loop_freep) struct loop *l = NULL;
	_cleanup_(news_freep) struct news *n = NULL;
	const struct udp_ends from = { .peer.sin6_port = 7 };
	struct order o = { .facts = 0 };

	CHECK_EQ(loop_new(&l), 0);
	CHECK_EQ(news_new(&n, l, &order_ops, &o), 0);
	o.n = n;
	CHECK(news_send(n, (const uint8_t *)"\1", 1, &from, 0));
	CHECK(news_send(n, (const uint8_t *)"\2", 1, &from, 0));
	loop_step(l, 0);
	CHECK_EQ(o.before_second, 4);
}

struct teller {
	struct news *n;
	uint32_t sent, lost, own;
};

enum { TOLD = 200000, LAST_FACT = 8 };

static void *tell_much(void *arg)
{
	const struct udp_ends from = { .peer.sin6_port = 7 };
	struct teller *t = arg;

	for (uint32_t i = 0; i < TOLD; i++) {
		if (news_send(t->n, (const uint8_t *)&i, sizeof(i), &from, UINT64_MAX - i))
			t->sent++;
		else
			t->lost++;
		t->own += i % 3 == 0 && news_send_own(t->n, &from.peer);
	}
	news_tell(t->n, LAST_FACT);
	return NULL;
}

TEST(nothing_told_is_missed_while_it_is_heard)
{
	_cleanup_(loop_freep) struct loop *l = NULL;
	_cleanup_(news_freep) struct news *n = NULL;
	struct heard h = { .n = 0 };
	struct teller t = { .sent = 0 };
	pthread_t thread;

	CHECK_EQ(loop_new(&l), 0);
	CHECK_EQ(news_new(&n, l, &ops, &h), 0);
	t.n = n;
	CHECK_EQ(pthread_create(&thread, NULL, tell_much, &t), 0);
	while (!(h.facts & LAST_FACT))
		loop_step(l, 10000);
	pthread_join(thread, NULL);
	loop_step(l, 0);
	CHECK_EQ(t.sent + t.lost, TOLD);
	CHECK_EQ(h.n, t.sent);
	CHECK_EQ(h.own, t.own);
	CHECK(!h.out_of_order && !h.wrong_stamp);
}

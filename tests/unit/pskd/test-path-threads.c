/* The packet path with threads of its own. */
#include "unit/pskd/path_ends.h"

#include <sys/socket.h>

#include "base/clock.h"
#include "event/loop.h"
#include "pskd/packet/packets.h"

/* No more on their way than the far device holds; each has a mark of its own, so that order shows. */
static void pump(struct both *x, struct end *from, struct end *to, unsigned int *sent, unsigned int *got)
{
	uint8_t ip[80], in[100];

	for (int i = 0; i < 50 && *sent - *got < 100; i++) {
		fill_ip(ip, sizeof(ip), (uint8_t)*sent);
		if (write(from->tun, ip, sizeof(ip)) != (ssize_t)sizeof(ip))
			break;
		++*sent;
	}
	loop_step(x->a.loop, 0);
	loop_step(x->b.loop, 0);
	while (read(to->tun, in, sizeof(in)) > 0) {
		CHECK_EQ(in[1], (uint8_t)*got);
		++*got;
	}
}

/* Until all has arrived; a deadline that only what hangs will see. */
static void pump_rest(struct both *x, struct end *to, const unsigned int *sent, unsigned int *got)
{
	uint8_t in[100];

	for (int i = 0; i < 3000 && *got < *sent; i++) {
		loop_step(x->a.loop, 1);
		loop_step(x->b.loop, 1);
		while (read(to->tun, in, sizeof(in)) > 0) {
			CHECK_EQ(in[1], (uint8_t)*got);
			++*got;
		}
	}
	CHECK_EQ(*got, *sent);
}

/* Until anything came, or for a minute; the other end's loop alone does something. */
static void step_until_received(const struct keys *k, struct loop *other)
{
	for (int i = 0; i < 60000 && keys_rx_high(k) == UINT64_MAX; i++)
		loop_step(other, 1);
	CHECK(keys_rx_high(k) != UINT64_MAX);
}

/* All that looks at a path from outside while packets pass. */
static void look(struct end *e)
{
	struct keys_info info;

	keys_info(e->keys, &info);
	CHECK(info.tx_next <= keys_end(e->keys));
	CHECK(path_counters(e->path)->tx_packets <= keys_end(e->keys));
	CHECK(!path_is_heard_from(e->path, &e->address));
	CHECK(path_rx_next(e->path) <= keys_end(e->keys));
	(void)path_copies_ecn(e->path);
	(void)path_pmtu(e->path);
	path_probe(e->path);
	path_expire(e->path, clock_now_ms());
	keys_tick(e->keys, clock_now_ms());
	path_send_keepalive(e->path, false);
}

TEST(i1_threads_pass_all_in_order_and_use_each_sequence_once_while_sessions_change)
{
	_cleanup_(packets_freep) struct packets *two = NULL;
	unsigned int sent = 0, got = 0, n = 0;

	CHECK_EQ(packets_new(&two, 2), 0);
	threads = two;
	{
		_cleanup_(both_freep) struct both *x = both_new(SLOTS);

		for (uint32_t round = 1; round <= 40; round++) {
			give_session(&x->a, &x->b, NUMBER + round, true);
			give_session(&x->b, &x->a, NUMBER + round, true);
			path_send_keepalive(x->b.path, true);
			for (int i = 0; i < 10; i++)
				pump(x, &x->a, &x->b, &sent, &got);
			look(&x->a);
			look(&x->b);
			pump_rest(x, &x->b, &sent, &got);
			wait_for(x, &x->a.proven, ++n);
			path_send_keepalive(x->a.path, false);
			wait_for(x, &x->b.proven, n);
		}
		CHECK_EQ(drops_of(&x->a).n[DROP_REPLAY] + drops_of(&x->b).n[DROP_REPLAY], 0);
		CHECK_EQ(drops_of(&x->a).n[DROP_AEAD] + drops_of(&x->b).n[DROP_AEAD], 0);
		/* They end while packets are on their way. */
		pump(x, &x->a, &x->b, &sent, &got);
	}
}

TEST(i4_threads_pass_on_what_can_be_looked_at_of_a_flood_and_count_the_rest)
{
	_cleanup_(packets_freep) struct packets *two = NULL;
	static const uint8_t hello[256] = "PSKH";
	enum { FLOOD = 500, WAITING = 64 };

	CHECK_EQ(packets_new(&two, 2), 0);
	threads = two;
	{
		_cleanup_(both_freep) struct both *x = both_new(1);

		x->b.refuses = true;
		/* b's control loop looks at nothing meanwhile. */
		for (uint64_t i = 1; i <= FLOOD; i++) {
			CHECK_EQ(sendto(x->raw, hello, sizeof(hello), 0, (struct sockaddr *)&x->b.address,
					sizeof(x->b.address)), (ssize_t)sizeof(hello));
			/* No more at once than a socket takes by default: what the kernel drops nobody counts. */
			for (int wait = 0; i % 100 == 0 && wait < 60000 && drops_of(&x->b).n[DROP_HS_OVERLOAD] + WAITING < i; wait++)
				loop_step(x->a.loop, 1);
		}
		CHECK_EQ(x->b.handshakes, 0);
		wait_for(x, &x->b.handshakes, WAITING);
		run(x);
		CHECK_EQ(x->b.handshakes, WAITING);
		CHECK(x->b.drop_calls > 0);
		CHECK_EQ(drops_of(&x->b).n[DROP_HS_UNEXPECTED], WAITING);
		CHECK_EQ(drops_of(&x->b).arrived, FLOOD);
	}
}

TEST(i4_a_flood_of_own_packets_keeps_no_handshake_out)
{
	_cleanup_(packets_freep) struct packets *two = NULL;
	static const uint8_t hello[256] = "PSKH";
	enum { FLOOD = 400, OWN = 8 };

	CHECK_EQ(packets_new(&two, 2), 0);
	threads = two;
	{
		_cleanup_(both_freep) struct both *x = both_new(SLOTS);
		uint8_t ip[40], msg[200];
		size_t len;

		/* a has sent in slot 0, so it knows its own tag. */
		fill_ip(ip, sizeof(ip), 3);
		CHECK(write(x->a.tun, ip, sizeof(ip)) > 0);
		run(x);
		len = forge(x, msg, 0, ip, sizeof(ip));
		/* a's control loop looks at nothing meanwhile. */
		for (uint64_t i = 1; i <= FLOOD; i++) {
			CHECK_EQ(sendto(x->raw, msg, len, 0, (struct sockaddr *)&x->a.address,
					sizeof(x->a.address)), (ssize_t)len);
			for (int wait = 0; i % 100 == 0 && wait < 60000 && drops_of(&x->a).arrived < i; wait++)
				loop_step(x->b.loop, 1);
		}
		CHECK_EQ(drops_of(&x->a).arrived, FLOOD);
		for (int i = 0; i < 64; i++)
			CHECK_EQ(sendto(x->raw, hello, sizeof(hello), 0, (struct sockaddr *)&x->a.address,
					sizeof(x->a.address)), (ssize_t)sizeof(hello));
		wait_for(x, &x->a.handshakes, 64);
		CHECK_EQ(x->a.own, OWN);
		CHECK_EQ(drops_of(&x->a).n[DROP_OWN], OWN);
		CHECK_EQ(drops_of(&x->a).n[DROP_HS_OVERLOAD], FLOOD - OWN);
	}
}

static void send_raw(struct both *x, const uint8_t *msg, size_t len)
{
	CHECK_EQ(sendto(x->raw, msg, len, 0, (struct sockaddr *)&x->b.address, sizeof(x->b.address)), (ssize_t)len);
}

/* Packets of a's with the sequences from first on, and until b has received them; b's control loop hears nothing of it. */
static void send_unheard(struct both *x, uint64_t first, uint64_t n)
{
	uint8_t ip[40], msg[200];

	fill_ip(ip, sizeof(ip), 3);
	for (uint64_t i = first; i < first + n; i++)
		send_raw(x, msg, forge(x, msg, i, ip, sizeof(ip)));
	for (int i = 0; i < 60000 && keys_rx_high(x->b.keys) != first + n - 1; i++)
		loop_step(x->a.loop, 1);
	CHECK_EQ(keys_rx_high(x->b.keys), first + n - 1);
}

/* What begins like a handshake of those keys; NULL: of none that anybody has. */
static void send_hello_of(struct both *x, const struct keys *k)
{
	uint8_t msg[PSKH_HELLO_LEN] = "PSKH";

	if (k)
		keys_hint(k, msg + 8);
	send_raw(x, msg, sizeof(msg));
}

TEST(a_handshake_is_heard_with_what_had_been_received_when_it_came)
{
	_cleanup_(packets_freep) struct packets *two = NULL;

	CHECK_EQ(packets_new(&two, 2), 0);
	threads = two;
	{
		_cleanup_(both_freep) struct both *x = staged_new();

		send_unheard(x, 0, 10);
		send_hello_of(x, x->b.keys);
		send_unheard(x, 10, 50);
		CHECK_EQ(x->b.handshakes, 0);
		wait_for(x, &x->b.handshakes, 1);
		CHECK_EQ(x->b.high, 9);
		/* The same one again, later. */
		send_hello_of(x, x->b.keys);
		wait_for(x, &x->b.handshakes, 2);
		CHECK_EQ(x->b.high, 59);
		/* Each file counts for itself. */
		send_hello_of(x, x->b.next);
		wait_for(x, &x->b.handshakes, 3);
		CHECK_EQ(x->b.high, UINT64_MAX);
		send_hello_of(x, NULL);
		wait_for(x, &x->b.handshakes, 4);
		CHECK_EQ(x->b.high, UINT64_MAX);
		send_raw(x, (const uint8_t *)"PSKH", 4);
		wait_for(x, &x->b.handshakes, 5);
		CHECK_EQ(x->b.high, UINT64_MAX);
		/* Also when the staged file is the current one before the message is heard. */
		path_send_proof(x->b.path);
		wait_for(x, &x->a.switched, 1);
		path_send_keepalive(x->a.path, false);
		step_until_received(x->b.next, x->a.loop);
		send_hello_of(x, x->b.keys);
		wait_for(x, &x->b.handshakes, 6);
		CHECK_EQ(x->b.switched, 1);
		CHECK_EQ(x->b.high, 59);
		send_hello_of(x, x->b.next);
		wait_for(x, &x->b.handshakes, 7);
		CHECK_EQ(x->b.high, keys_rx_high(x->b.next));
		CHECK(x->b.high != UINT64_MAX);
	}
}

TEST(a_session_that_has_proven_itself_is_told_of_after_the_next_was_agreed_on)
{
	_cleanup_(packets_freep) struct packets *two = NULL;

	CHECK_EQ(packets_new(&two, 2), 0);
	threads = two;
	{
		_cleanup_(both_freep) struct both *x = both_new(SLOTS);

		give_session(&x->a, &x->b, NUMBER + 1, true);
		give_session(&x->b, &x->a, NUMBER + 1, true);
		/* a's control loop hears of b's proof only after the next session. */
		path_send_keepalive(x->b.path, true);
		step_until_received(x->a.keys, x->b.loop);
		give_session(&x->a, &x->b, NUMBER + 2, true);
		CHECK_EQ(x->a.proven, 0);
		wait_for(x, &x->a.proven, 1);
		CHECK_EQ(path_current(x->a.path)->id.number, NUMBER + 1);
		CHECK_EQ(path_pending(x->a.path)->id.number, NUMBER + 2);
		CHECK(x->a.has_pending);
		give_session(&x->b, &x->a, NUMBER + 2, true);
		path_send_keepalive(x->b.path, true);
		wait_for(x, &x->a.proven, 2);
		CHECK_EQ(path_current(x->a.path)->id.number, NUMBER + 2);
		CHECK(!x->a.has_pending);
		run(x);
		CHECK_EQ(x->a.proven, 2);
	}
}

/* When all ends before it is heard there is nothing to tell. */
TEST(a_session_that_is_gone_is_not_told_of)
{
	_cleanup_(packets_freep) struct packets *two = NULL;

	CHECK_EQ(packets_new(&two, 2), 0);
	threads = two;
	{
		_cleanup_(both_freep) struct both *x = both_new(SLOTS);

		give_session(&x->a, &x->b, NUMBER + 1, true);
		give_session(&x->b, &x->a, NUMBER + 1, true);
		path_send_keepalive(x->b.path, true);
		step_until_received(x->a.keys, x->b.loop);
		give_session(&x->a, &x->b, NUMBER + 2, true);
		path_drop_sessions(x->a.path);
		run(x);
		CHECK_EQ(x->a.proven, 0);
	}
}

TEST(threads_lose_nothing_in_a_switch)
{
	_cleanup_(packets_freep) struct packets *two = NULL;
	unsigned int sent = 0, got = 0;

	CHECK_EQ(packets_new(&two, 2), 0);
	threads = two;
	{
		_cleanup_(both_freep) struct both *x = staged_new();

		for (int i = 0; i < 20; i++)
			pump(x, &x->a, &x->b, &sent, &got);
		path_send_proof(x->b.path);
		for (int i = 0; i < 20; i++)
			pump(x, &x->a, &x->b, &sent, &got);
		wait_for(x, &x->a.switched, 1);
		path_send_keepalive(x->a.path, false);
		wait_for(x, &x->b.switched, 1);
		pump_rest(x, &x->b, &sent, &got);
		CHECK_EQ(drops_of(&x->a).arrived + drops_of(&x->b).arrived, 0);
	}
}

TEST(a_staged_session_that_has_proven_itself_is_not_replaced_before_that_is_heard)
{
	_cleanup_(packets_freep) struct packets *two = NULL;

	CHECK_EQ(packets_new(&two, 2), 0);
	threads = two;
	{
		_cleanup_(both_freep) struct both *x = staged_new();

		path_send_proof(x->b.path);
		wait_for(x, &x->a.switched, 1);
		/* b's control loop hears of a's proof only after the next session. */
		path_send_keepalive(x->a.path, false);
		step_until_received(x->b.next, x->a.loop);
		give_staged(&x->b, &x->a, NUMBER + 2);
		pass(x, &x->a, &x->b, 5);
		CHECK_EQ(x->b.switched, 1);
		CHECK_EQ(path_current(x->b.path)->id.number, NUMBER + 1);
		CHECK_EQ(drops_of(&x->b).arrived, 0);
	}
}

TEST(the_end_of_a_file_that_is_heard_after_the_switch_is_not_the_new_ones)
{
	_cleanup_(packets_freep) struct packets *two = NULL;

	CHECK_EQ(packets_new(&two, 2), 0);
	threads = two;
	{
		_cleanup_(both_freep) struct both *x = staged_new();
		struct keys_info info = { .tx_reserved = 0 };
		uint8_t ip[60];

		CHECK_EQ(keys_tx_forward(x->a.keys, SLOTS * SLOT_PACKETS - 1, true), KEYS_E_NOT_READY);
		/* Its last sequence may be used as soon as the disk has taken it. */
		for (int i = 0; i < 3000 && info.tx_reserved < SLOTS * SLOT_PACKETS; i++) {
			run(x);
			keys_info(x->a.keys, &info);
		}
		CHECK_EQ(info.tx_reserved, SLOTS * SLOT_PACKETS);
		fill_ip(ip, sizeof(ip), 1);
		for (int i = 0; i < 3; i++)
			CHECK_EQ(write(x->a.tun, ip, sizeof(ip)), (ssize_t)sizeof(ip));
		/* a's control loop hears of neither before both have happened. */
		for (int i = 0; i < 60000 && drops_of(&x->a).n[DROP_SEND] == 0; i++)
			loop_step(x->b.loop, 1);
		CHECK(drops_of(&x->a).n[DROP_SEND] > 0);
		path_send_proof(x->b.path);
		step_until_received(x->a.next, x->b.loop);
		wait_for(x, &x->a.switched, 1);
		run(x);
		CHECK_EQ(x->a.exhausted, 0);
	}
}

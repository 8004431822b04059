/* From one key file to the next, under traffic. */
#include "unit/pskd/path_ends.h"

#include <errno.h>

#include "base/clock.h"

/* b proves the staged session, and hears the proof of a. */
static void switch_both(struct both *x)
{
	path_send_proof(x->b.path);
	wait_for(x, &x->a.switched, 1);
	path_send_keepalive(x->a.path, false);
	wait_for(x, &x->b.switched, 1);
	CHECK_EQ(x->a.switched, 1);
	CHECK_EQ(x->b.switched, 1);
}

TEST(i1_each_file_counts_for_itself_and_a_switch_passes_every_packet)
{
	_cleanup_(both_freep) struct both *x = staged_new();

	for (uint8_t i = 0; i < 5; i++) {
		pass(x, &x->a, &x->b, i);
		pass(x, &x->b, &x->a, i);
	}
	CHECK_EQ(keys_tx_next(x->a.next), 0);
	/* a has heard b in the staged session, and b not yet a: both are heard. */
	path_send_proof(x->b.path);
	wait_for(x, &x->a.switched, 1);
	CHECK_EQ(x->a.switched, 1);
	CHECK_EQ(x->b.switched, 0);
	CHECK_EQ(path_current(x->a.path)->id.number, NUMBER + 1);
	pass(x, &x->b, &x->a, 90);
	CHECK_EQ(keys_rx_high(x->a.keys), 5);
	pass(x, &x->a, &x->b, 91);
	CHECK_EQ(x->b.switched, 1);
	pass(x, &x->b, &x->a, 92);
	CHECK_EQ(keys_tx_next(x->a.keys), 5);
	CHECK_EQ(keys_tx_next(x->b.keys), 6);
	/* A proof, since b was heard in the file before, and the packet. */
	CHECK_EQ(keys_rx_high(x->b.next), 1);
	CHECK_EQ(drops_of(&x->a).arrived + drops_of(&x->b).arrived, 0);
}

TEST(late_packets_of_the_file_before_are_opened_until_it_has_been_silent_for_ten_seconds)
{
	_cleanup_(both_freep) struct both *x = staged_new();
	uint8_t ip[40], msg[200], got[100];

	switch_both(x);
	CHECK(path_is_retiring(x->b.path));
	fill_ip(ip, sizeof(ip), 3);
	clock_fake_ms(1000000 + 9000);
	path_expire(x->b.path, 1000000 + 9000);
	inject(x, msg, forge(x, msg, 40, ip, sizeof(ip)));
	CHECK_EQ(read(x->b.tun, got, sizeof(got)), (ssize_t)sizeof(ip));
	inject(x, msg, forge(x, msg, 40, ip, sizeof(ip)));
	CHECK_EQ(drops_of(&x->b).n[DROP_REPLAY], 1);
	path_expire(x->b.path, 1000000 + 18000);
	CHECK(path_is_retiring(x->b.path));
	path_expire(x->b.path, path_expiry(x->b.path));
	CHECK(!path_is_retiring(x->b.path));
	inject(x, msg, forge(x, msg, 41, ip, sizeof(ip)));
	CHECK_EQ(drops_of(&x->b).n[DROP_SESSION], 1);
	pass(x, &x->a, &x->b, 5);
}

TEST(a_late_session_of_the_file_before_does_not_replace_the_staged_one)
{
	_cleanup_(both_freep) struct both *x = staged_new();

	give_session(&x->b, &x->a, NUMBER + 2, true);
	CHECK(path_staged(x->b.path) != NULL);
	CHECK(path_pending(x->b.path) != NULL);
	switch_both(x);
	/* And what it had begun ends with the switch, but for what the peer has sent in it. */
	CHECK(path_pending(x->b.path) == NULL);
	CHECK_EQ(path_current(x->b.path)->id.number, NUMBER + 1);
	pass(x, &x->a, &x->b, 1);
}

TEST(a_staged_file_that_is_taken_back_is_no_one_any_more)
{
	_cleanup_(both_freep) struct both *x = staged_new();

	path_unstage(x->a.path);
	CHECK(path_staged(x->a.path) == NULL);
	path_send_proof(x->b.path);
	path_send_proof(x->a.path);
	run(x);
	CHECK_EQ(x->a.switched, 0);
	CHECK_EQ(drops_of(&x->a).n[DROP_SESSION], 1);
	pass(x, &x->a, &x->b, 1);
	CHECK_EQ(path_stage(x->a.path, x->a.next), 0);
	CHECK_EQ(path_stage(x->a.path, x->a.next), -EBUSY);
}

TEST(a_file_with_nothing_left_gives_way_to_the_staged_one)
{
	_cleanup_(both_freep) struct both *x = staged_new();
	uint8_t ip[60];

	CHECK_EQ(keys_tx_forward(x->a.keys, SLOTS * SLOT_PACKETS - 1, true), KEYS_E_NOT_READY);
	run(x);
	fill_ip(ip, sizeof(ip), 1);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(write(x->a.tun, ip, sizeof(ip)), (ssize_t)sizeof(ip));
	run(x);
	CHECK(x->a.exhausted > 0);
	path_send_proof(x->b.path);
	run(x);
	CHECK_EQ(x->a.switched, 1);
	pass(x, &x->a, &x->b, 7);
}

TEST(a_handshake_that_is_refused_is_a_drop_that_is_told)
{
	static const uint8_t hello[256] = "PSKH";
	_cleanup_(both_freep) struct both *x = both_new(1);

	inject(x, hello, sizeof(hello));
	CHECK_EQ(x->b.handshakes, 1);
	CHECK_EQ(x->b.drop_calls, 0);
	x->b.refuses = true;
	inject(x, hello, sizeof(hello));
	CHECK_EQ(x->b.handshakes, 2);
	CHECK_EQ(x->b.drop_calls, 1);
	CHECK_EQ(drops_of(&x->b).n[DROP_HS_UNEXPECTED], 1);
	CHECK_EQ(drops_of(&x->b).arrived, 1);
}

/* What keys.h promises of sending and receiving, and of names. What it promises above all, I1, is in test-keys-crash.c and test-keys-disk.c. */
#include "unit/pskd/keys_end.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "event/loop.h"

static const struct slot_key *rx_slot_wait(struct end *e, uint64_t slot)
{
	const struct slot_key *s = NULL;

	for (int i = 0; i < 2000 && !(s = keys_rx_slot(e->keys, slot)); i++)
		loop_step(e->loop, 10);
	return s;
}

/* ---- sending and receiving ---- */

TEST(both_ends_of_a_pairing_draw_the_same_slots)
{
	struct end a, b;

	end_init(&a, "a", KEYS_INITIATOR);
	end_init(&b, "b", KEYS_RESPONDER);
	end_create_root(&a);
	end_create_root(&b);
	end_open(&a);
	end_open(&b);

	for (uint64_t want = 0; want < 40000;) {
		const struct slot_key *out, *in;
		uint64_t first;
		int n = take_wait(&a, 64, &first, &out);

		CHECK(n > 0);
		CHECK_EQ(first, want);
		CHECK(first / SLOT_PACKETS == (first + (unsigned int)n - 1) / SLOT_PACKETS);
		in = rx_slot_wait(&b, first / SLOT_PACKETS);
		CHECK(in);
		CHECK_MEM(in, out, sizeof(*in));
		want = first + (unsigned int)n;
		CHECK(rx_wait(&b, want - 1));
		loop_step(b.loop, 0);
	}
	end_done(&a);
	end_done(&b);
}

TEST(a_closed_tunnel_goes_on_at_the_exact_sequence)
{
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	end_open(&a);
	for (uint64_t i = 0; i < 2500; i++)
		CHECK_EQ(take_one(&a), i);
	CHECK(rx_wait(&a, 1234));
	end_close(&a);
	end_open(&a);
	CHECK_EQ(a.recovered, 0);
	CHECK_EQ(keys_rx_high(a.keys), 1234);
	CHECK_EQ(keys_rx_floor(a.keys), 1235);
	CHECK_EQ(take_one(&a), 2500);
	end_done(&a);
}

TEST(both_ends_of_a_key_file_draw_what_lies_in_it)
{
	struct end a, b;
	uint8_t slot[SLOT_LEN];
	int fd;

	end_init(&a, "a", KEYS_INITIATOR);
	end_init(&b, "b", KEYS_RESPONDER);
	end_create_file(&a, 20);
	end_create_file(&b, 20);
	end_open(&a);
	end_open(&b);
	fd = open(a.file, O_RDONLY);
	for (uint64_t want = 0; want < 20 * SLOT_PACKETS;) {
		const struct slot_key *out, *in;
		uint64_t first;
		int n = take_wait(&a, 500, &first, &out);

		CHECK(n > 0);
		CHECK_EQ(first, want);
		CHECK_EQ(pread(fd, slot, SLOT_LEN, (off_t)(first / SLOT_PACKETS * SLOT_LEN)), SLOT_LEN);
		CHECK_MEM(out, slot, SLOT_LEN / 2);
		in = rx_slot_wait(&b, first / SLOT_PACKETS);
		CHECK(in);
		CHECK_MEM(in, slot, SLOT_LEN / 2);
		want = first + (unsigned int)n;
		CHECK(rx_wait(&b, want - 1));
		loop_step(b.loop, 0);
	}
	close(fd);
	end_done(&a);
	end_done(&b);
}

TEST(a_key_file_is_used_to_its_last_packet_and_then_refused)
{
	const struct slot_key *slot;
	struct keys_info info;
	uint64_t first, total = 0;
	struct end a;
	int n;

	end_init(&a, "a", KEYS_RESPONDER);
	end_create_file(&a, 3);
	end_open(&a);
	while ((n = take_wait(&a, 7, &first, &slot)) > 0) {
		CHECK_EQ(first, total);
		total += (unsigned int)n;
		keys_info(a.keys, &info);
		CHECK_EQ(info.packets_left, 3000 - total);
	}
	CHECK_EQ(n, -KEYS_E_EXHAUSTED);
	CHECK_EQ(total, 3000);
	end_close(&a);
	end_open(&a);
	CHECK_EQ(keys_tx_take(a.keys, 1, &first, &slot), -KEYS_E_EXHAUSTED);
	CHECK_EQ(keys_tx_forward(a.keys, 5000, true), KEYS_E_EXHAUSTED);
	end_done(&a);
}

TEST(slots_are_expanded_only_sixteen_ahead)
{
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_file(&a, 60);
	end_open(&a);
	CHECK(keys_rx_slot(a.keys, 0));
	CHECK(keys_rx_slot(a.keys, 16));
	CHECK(!keys_rx_slot(a.keys, 17));
	CHECK(rx_wait(&a, 5500));
	for (int i = 0; i < 20 && !keys_rx_slot(a.keys, 21); i++)
		loop_step(a.loop, 20);
	CHECK(keys_rx_slot(a.keys, 21));
	CHECK(!keys_rx_slot(a.keys, 22));
	CHECK(keys_rx_slot(a.keys, 0));
	/* 5500 + 9000: the window of 8192 begins in slot 6. */
	CHECK(rx_wait(&a, 14500));
	CHECK(!keys_rx_slot(a.keys, 5));
	CHECK(keys_rx_slot(a.keys, 6));
	CHECK(!keys_rx_slot(a.keys, 60));
	CHECK(!keys_rx_slot(a.keys, UINT64_MAX));
	end_done(&a);
}

/* ---- names ---- */

TEST(the_hint_names_the_material_and_nothing_else)
{
	uint8_t ha[8], hb[8], ka[32], kb[32];
	struct end a, b, c;

	end_init(&a, "a", KEYS_INITIATOR);
	end_init(&b, "b", KEYS_RESPONDER);
	end_init(&c, "c", KEYS_RESPONDER);
	end_create_file(&a, 20);
	end_create_file(&b, 20);
	end_create_file(&c, 21);
	end_open(&a);
	end_open(&b);
	end_open(&c);
	keys_hint(a.keys, ha);
	keys_hint(b.keys, hb);
	CHECK_MEM(ha, hb, 8);
	/* The same slot 0, but not the same file: it is named as different. */
	keys_hint(c.keys, hb);
	CHECK(memcmp(ha, hb, 8) != 0);
	keys_hello_key(a.keys, ka);
	keys_hello_key(c.keys, kb);
	CHECK_MEM(ka, kb, 32);
	CHECK(memcmp(ha, ka, 8) != 0);
	end_done(&a);
	end_done(&b);
	end_done(&c);
}

TEST(progress_of_adding_reaches_the_end)
{
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_file(&a, 20);
	CHECK_EQ(try_create(&a, a.file), KEYS_E_EXISTS);
	end_done(&a);
}

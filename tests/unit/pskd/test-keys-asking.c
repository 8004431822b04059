/* What a packet thread asks of the control thread: whenever there is something to do, and not else, for each time holds it up. */
#include "pskd/keys/keys.h"

#include <stdio.h>

#include "crypto/secret.h"
#include "event/loop.h"
#include "pskd/packet/hold.h"
#include "pskd/packet/packets.h"
#include "unit/lib/test.h"

/* A small key file is reserved, and so asked for, in small steps. */
enum { SLOTS = 400, FILE_SLOTS = 10000 };

struct tunnel {
	struct loop *loop;
	struct packets *packets;
	struct keys *keys;
	struct hold *hold;
	unsigned int asked;
};

static void on_ready(int error, void *arg)
{
	(void)arg;
	CHECK_EQ(error, 0);
}

static void begin(struct tunnel *t, const char *key_file)
{
	struct packet_thread *thread;
	char ledger[256], detail[256];
	struct keys_options o = {
		.ledger_path = ledger, .ledgers_dir = test_tmpdir(), .role = KEYS_INITIATOR, .window = 8192,
		.key_file = key_file, .on_ready = on_ready,
	};
	uint8_t root[32] = { 1 };
	const uint8_t id[16] = { 2 };

	*t = (struct tunnel){ .asked = 0 };
	CHECK_EQ(crypto_init(), 0);
	CHECK_EQ(loop_new(&t->loop), 0);
	CHECK_EQ(packets_new(&t->packets, 1), 0);
	CHECK_EQ(packets_join(&thread, t->packets), 0);
	t->hold = packet_thread_hold(thread);
	snprintf(ledger, sizeof(ledger), "%s/t.ledger", test_tmpdir());
	o.loop = t->loop;
	o.hold = t->hold;
	if (key_file)
		CHECK_EQ(keys_create_file(&o, NULL, NULL, detail, sizeof(detail)), 0);
	else
		CHECK_EQ(keys_create_root(&o, root, id, detail, sizeof(detail)), 0);
	CHECK_EQ(keys_open(&t->keys, &o, NULL, detail, sizeof(detail)), 0);
}

static void end(struct tunnel *t)
{
	keys_close(t->keys);
	packets_free(t->packets);
	loop_free(t->loop);
}

static void make_file(char path[static 256])
{
	uint8_t slot[SLOT_LEN];
	FILE *f;

	snprintf(path, 256, "%s/key", test_tmpdir());
	f = fopen(path, "w");
	CHECK(f);
	for (int i = 0; i < FILE_SLOTS; i++) {
		random_bytes(slot, sizeof(slot));
		CHECK_EQ(fwrite(slot, sizeof(slot), 1, f), 1);
	}
	CHECK_EQ(fclose(f), 0);
}

/* As the packet thread does it: whatever is asked for is done before the next. */
static void go_on(struct tunnel *t)
{
	if (keys_ask(t->keys)) {
		t->asked++;
		keys_go_on(t->keys);
	}
	CHECK(!keys_ask(t->keys));
}

/* What is left of a slot. */
static void send_slot(struct tunnel *t)
{
	uint64_t in_slot = SLOT_PACKETS;

	for (int i = 0; i < 5000 && in_slot > 0; i++) {
		const struct slot_key *slot;
		uint64_t first;
		int n;

		{
			HOLD(t->hold);

			n = keys_tx_take(t->keys, (unsigned int)in_slot, &first, &slot);
		}
		go_on(t);
		if (n > 0)
			in_slot -= (uint64_t)n;
		else
			loop_step(t->loop, 10);
	}
	CHECK_EQ(in_slot, 0);
}

static void receive_slot(struct tunnel *t, uint64_t slot)
{
	{
		HOLD(t->hold);

		CHECK(keys_rx_advance(t->keys, slot * SLOT_PACKETS + SLOT_PACKETS / 2));
	}
	go_on(t);
	loop_step(t->loop, 0);
	for (int i = 0; i < 5000; i++) {
		const struct slot_key *ahead;

		{
			HOLD(t->hold);

			ahead = keys_rx_slot(t->keys, slot + 16);
		}
		if (ahead || (slot + 16) * SLOT_PACKETS >= keys_end(t->keys))
			return;
		loop_step(t->loop, 10);
	}
	/* A slot ahead was never drawn. */
	CHECK(false);
}

TEST(a_packet_thread_asks_for_little_in_a_ratchet)
{
	struct tunnel t;

	begin(&t, NULL);
	for (uint64_t i = 0; i < SLOTS; i++) {
		send_slot(&t);
		receive_slot(&t, i);
	}
	/* Twice for each slot it would be without looking first. */
	CHECK(t.asked < SLOTS / 4);
	end(&t);
}

TEST(a_packet_thread_asks_for_little_in_a_key_file)
{
	char path[256];
	struct tunnel t;

	CHECK_EQ(crypto_init(), 0);
	make_file(path);
	begin(&t, path);
	for (uint64_t i = 0; i < SLOTS; i++) {
		send_slot(&t);
		receive_slot(&t, i);
	}
	CHECK(t.asked < SLOTS / 4);
	end(&t);
}

/* Nobody does what is asked for. */
static void check_ahead(struct tunnel *t, uint64_t slot)
{
	const struct slot_key *key;
	uint64_t first, taken = 0;
	HOLD(t->hold);

	for (uint64_t i = slot; i < slot + 30; i++) {
		CHECK(keys_rx_slot(t->keys, i));
		CHECK(keys_rx_advance(t->keys, i * SLOT_PACKETS));
	}
	for (int n; (n = keys_tx_take(t->keys, SLOT_PACKETS, &first, &key)) > 0;)
		taken += (uint64_t)n;
	CHECK(taken >= UINT64_C(20) * SLOT_PACKETS);
}

TEST(what_is_drawn_ahead_lasts_while_the_control_thread_is_busy)
{
	struct tunnel t;

	begin(&t, NULL);
	/* Some traffic, so that enough is reserved. */
	for (uint64_t i = 0; i < 100; i++) {
		send_slot(&t);
		receive_slot(&t, i);
	}
	for (int i = 0; i < 50; i++)
		loop_step(t.loop, 10);
	check_ahead(&t, 100);
	end(&t);
}

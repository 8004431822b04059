/*
 * Keys, ledgers and tunnels' files on a machine without memory, room, or a readable disk. I1 holds
 * over all of it: no sequence is handed out twice, however often opening or writing failed.
 */
#include "unit/fail/fail.h"
#include "unit/lib/test.h"
#include "unit/pskd/hands.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "crypto/secret.h"
#include "event/loop.h"
#include "pskd/handshake/session.h"
#include "pskd/keys/keys.h"
#include "pskd/keys/ledger.h"
#include "pskd/tunnel/spec.h"
#include "pskd/tunnel/store.h"

enum { SLOTS = 40 };

struct end {
	struct loop *loop;
	struct keys *keys;
	struct keys_options o;
	char dir[250], ledger[300], file[300], detail[400];
};

static void on_ready(int error, void *arg)
{
	(void)error;
	(void)arg;
}

static void end_init(struct end *e, unsigned int n, bool is_file)
{
	uint8_t *material = malloc(SLOTS * SLOT_LEN);

	memset(e, 0, sizeof(*e));
	CHECK(material != NULL);
	CHECK_EQ(crypto_init(), 0);
	snprintf(e->dir, sizeof(e->dir), "%s/%u", test_tmpdir(), n);
	CHECK_EQ(mkdir(e->dir, 0700), 0);
	snprintf(e->ledger, sizeof(e->ledger), "%s/t.ledger", e->dir);
	snprintf(e->file, sizeof(e->file), "%s/key", e->dir);
	random_bytes(material, SLOTS * SLOT_LEN);
	CHECK_EQ(file_write_atomic(e->file, material, SLOTS * SLOT_LEN, 0600), 0);
	free(material);
	CHECK_EQ(loop_new(&e->loop), 0);
	e->o = (struct keys_options){ .ledger_path = e->ledger, .ledgers_dir = e->dir, .role = KEYS_INITIATOR,
				      .window = 8192, .key_file = is_file ? e->file : NULL, .erase = KEYS_ERASE_ZERO,
				      .loop = e->loop, .on_ready = on_ready };
}

static int create(struct end *e)
{
	static const uint8_t tunnel_id[16] = "a tunnel";
	uint8_t root[32] = "a root that both of them have";

	return e->o.key_file ? keys_create_file(&e->o, NULL, NULL, e->detail, sizeof(e->detail)) :
			       keys_create_root(&e->o, root, tunnel_id, e->detail, sizeof(e->detail));
}

static void end_done(struct end *e)
{
	e->keys = keys_close(e->keys);
	loop_free(e->loop);
}

/* Whatever failed, the next try finds nothing in its way, or all of it. */
static void create_each(enum fail_kind kind, bool is_file)
{
	FAIL_EACH(kind) {
		bool struck;
		struct end e;
		int r;

		fail_end();
		end_init(&e, fail_n_, is_file);
		fail_begin(kind, fail_n_);
		r = create(&e);
		struck = fail_end();
		CHECK(struck || r == 0);
		r = create(&e);
		CHECK(r == 0 || r == KEYS_E_EXISTS);
		CHECK_EQ(keys_open(&e.keys, &e.o, NULL, e.detail, sizeof(e.detail)), 0);
		end_done(&e);
		fail_keep(struck);
	}
}

TEST(i9_a_ledger_of_a_key_file_is_whole_or_not_there_on_a_full_disk)
{
	create_each(FAIL_WRITE, true);
}

TEST(i9_a_ledger_of_a_key_file_is_whole_or_not_there_without_memory)
{
	create_each(FAIL_MEMORY, true);
}

TEST(i9_a_ledger_of_a_key_file_is_not_made_of_what_cannot_be_read)
{
	create_each(FAIL_READ, true);
}

TEST(i9_a_ledger_of_a_root_is_whole_or_not_there_on_a_full_disk)
{
	create_each(FAIL_WRITE, false);
}

TEST(i9_a_ledger_of_a_root_is_whole_or_not_there_without_memory)
{
	create_each(FAIL_MEMORY, false);
}

static uint64_t take_some(struct end *e, uint64_t at_least)
{
	const struct slot_key *slot;
	uint64_t first;

	for (int i = 0; i < 200; i++) {
		int n = keys_tx_take(e->keys, 64, &first, &slot);

		if (n > 0) {
			CHECK(first >= at_least);
			at_least = first + (uint64_t)n;
			if (i > 20)
				break;
		} else {
			CHECK_EQ(n, -KEYS_E_NOT_READY);
			loop_step(e->loop, 5);
		}
	}
	return at_least;
}

/* Open, take, close, with one failure somewhere; then again without: numbers only go up. */
static void live_each(enum fail_kind kind, bool is_file)
{
	uint64_t next = 0;
	struct end e;

	end_init(&e, 0, is_file);
	CHECK_EQ(create(&e), 0);
	FAIL_EACH(kind) {
		bool struck;
		int r;

		fail_begin(kind, fail_n_);
		r = keys_open(&e.keys, &e.o, NULL, e.detail, sizeof(e.detail));
		struck = fail_end();
		CHECK(struck || r == 0);
		CHECK((r == 0) == (e.keys != NULL));
		if (r == 0)
			next = take_some(&e, next);
		e.keys = keys_close(e.keys);
		CHECK_EQ(keys_open(&e.keys, &e.o, NULL, e.detail, sizeof(e.detail)), 0);
		CHECK(keys_tx_next(e.keys) >= next);
		next = take_some(&e, next);
		e.keys = keys_close(e.keys);
		fail_keep(struck && fail_n_ < 200);
	}
	end_done(&e);
}

TEST(i1_opening_that_fails_for_want_of_memory_hands_out_nothing_twice)
{
	live_each(FAIL_MEMORY, false);
}

TEST(i1_opening_that_fails_on_a_full_disk_hands_out_nothing_twice)
{
	live_each(FAIL_WRITE, false);
}

TEST(i1_opening_that_fails_on_a_disk_that_cannot_be_read_hands_out_nothing_twice)
{
	live_each(FAIL_READ, false);
}

/* Writes that fail while packets go out, and the last one, in closing. */
TEST(i1_taking_and_closing_on_a_failing_disk_hands_out_nothing_twice)
{
	uint64_t next = 0;
	struct end e;

	end_init(&e, 0, false);
	CHECK_EQ(create(&e), 0);
	for (unsigned int n = 1; n <= 8; n++) {
		CHECK_EQ(keys_open(&e.keys, &e.o, NULL, e.detail, sizeof(e.detail)), 0);
		CHECK(keys_tx_next(e.keys) >= next);
		fail_begin(FAIL_WRITE, n);
		next = take_some(&e, next);
		e.keys = keys_close(e.keys);
		fail_end();
	}
	end_done(&e);
}

TEST(without_memory_there_is_no_session)
{
	static const struct session_id id = { .number = 1 };

	CHECK_EQ(crypto_init(), 0);
	FAIL_EACH(FAIL_MEMORY) {
		struct session *s = NULL;
		int r = session_new(&s, &id, KEYS_INITIATOR, 20);

		CHECK_EQ(r, fail_end() ? -ENOMEM : 0);
		session_free(s);
	}
}

/* ---- the handshake ---- */

/* Everything that either says reaches the other, until both are silent. */
static void talk(struct pair *p)
{
	struct side *sides[] = { &p->a, &p->b };

	for (int turn = 0; turn < 8; turn++)
		for (int i = 0; i < 2; i++) {
			sign_all(sides[i]);
			while (sides[i]->n_out > 0) {
				struct datagram d = take(sides[i]);

				hear(sides[!i], &d, &sides[i]->address);
			}
		}
}

static void shake_each(bool pinned)
{
	unsigned int told = 0;

	FAIL_EACH(FAIL_MEMORY) {
		struct pair *p;
		bool struck;

		fail_end();
		p = pair_new(pinned);
		fail_begin(FAIL_MEMORY, fail_n_);
		hello_start(p->a.hello);
		talk(p);
		struck = fail_end();
		CHECK(struck || (p->a.session && p->b.session));
		told += struck && p->a.events[HELLO_FAILED] + p->b.events[HELLO_FAILED] +
					  p->a.events[HELLO_CANNOT_SIGN] + p->b.events[HELLO_CANNOT_SIGN] > 0;
		/* The next attempt finds nothing half-done in its way. */
		clock_fake_ms(1100000);
		hello_stop(p->a.hello);
		hello_start(p->a.hello);
		talk(p);
		CHECK(p->a.session && p->b.session);
		CHECK_MEM(&p->a.session->id, &p->b.session->id, sizeof(p->a.session->id));
		pair_free(p);
		fail_keep(struck);
	}
	CHECK(told > 1);
}

TEST(i4_a_handshake_without_memory_is_told_and_made_by_the_next_attempt)
{
	shake_each(false);
}

TEST(i4_a_signed_handshake_without_memory_is_told_and_made_by_the_next_attempt)
{
	shake_each(true);
}

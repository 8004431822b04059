/*
 * Pairings and their store on a machine without memory or room: a pairing that fails here is
 * told to the peer or ends there by itself, and never is one side paired with another root.
 */
#include "unit/fail/fail.h"
#include "unit/lib/test.h"
#include "unit/pairingd/halves.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "crypto/seal.h"
#include "pairingd/identity.h"
#include "pairingd/peers.h"

static struct halves h;

/* All that a pairing takes is taken before the failures begin. */
static void run_each(const struct halves_setup *setup)
{
	unsigned int ends = 0;

	CHECK_EQ(crypto_init(), 0);
	FAIL_EACH(FAIL_MEMORY) {
		bool struck;

		fail_end();
		memset(&h, 0, sizeof(h));
		h.people = true;
		halves_new(&h, setup);
		fail_begin(FAIL_MEMORY, fail_n_);
		halves_run(&h);
		struck = fail_end();
		/* Whoever has heard nothing is ended by its own deadline. */
		for (int role = 0; role < 2; role++) {
			if (h.side[role].ended)
				continue;
			h.now_ms = pairing_deadline_ms(h.side[role].p);
			pairing_on_time(h.side[role].p, h.now_ms);
			halves_serve(&h, (enum pairing_role)role);
		}
		CHECK(h.side[0].ended && h.side[1].ended);
		if (!struck)
			CHECK(h.side[0].code == PAIRING_OK && h.side[1].code == PAIRING_OK);
		/* Both say so, or neither does, or one says that it does not know. */
		for (int role = 0; role < 2; role++)
			if (h.side[role].code == PAIRING_OK)
				CHECK(h.side[!role].stored);
		if (h.side[0].stored && h.side[1].stored)
			CHECK_MEM(h.side[0].root, h.side[1].root, 32);
		ends += struck && h.side[0].code != PAIRING_OK;
		halves_done(&h);
		fail_keep(struck);
	}
	CHECK(ends > 10);
}

TEST(i6_a_pairing_by_pin_without_memory_ends_and_gives_nobody_a_root_of_his_own)
{
	const struct halves_setup setup = halves_pin("123456", "123456");

	run_each(&setup);
}

TEST(i6_a_wrong_pin_without_memory_is_never_right)
{
	const struct halves_setup setup = halves_pin("123456", "654321");

	CHECK_EQ(crypto_init(), 0);
	FAIL_EACH(FAIL_MEMORY) {
		bool struck;

		fail_end();
		memset(&h, 0, sizeof(h));
		h.people = true;
		halves_new(&h, &setup);
		fail_begin(FAIL_MEMORY, fail_n_);
		halves_run(&h);
		struck = fail_end();
		CHECK(h.side[0].code != PAIRING_OK && h.side[1].code != PAIRING_OK);
		CHECK(!h.side[0].stored && !h.side[1].stored);
		halves_done(&h);
		fail_keep(struck);
	}
}

/* ---- the identity ---- */

static void load_each(enum fail_kind kind, bool sealed)
{
	_cleanup_(secret_freep) struct secret *master = NULL;
	_cleanup_(seal_key_freep) struct seal_key *key = NULL;

	CHECK_EQ(crypto_init(), 0);
	CHECK_EQ(secret_random(&master, 32), 0);
	CHECK_EQ(seal_key_new(&key, master, "test"), 0);
	FAIL_EACH(kind) {
		_cleanup_(sign_key_freep) struct sign_key *first = NULL, *again = NULL;
		struct sign_public a, b;
		enum identity_news news;
		char dir[300];
		bool struck;
		int r;

		fail_end();
		snprintf(dir, sizeof(dir), "%s/%u", test_tmpdir(), fail_n_);
		CHECK_EQ(mkdir(dir, 0700), 0);
		/* There is one, which lies open: with the key it gets sealed. */
		CHECK_EQ(identity_load(&first, dir, NULL, &news), 0);
		fail_begin(kind, fail_n_);
		r = identity_load(&again, dir, sealed ? key : NULL, &news);
		struck = fail_end();
		CHECK(struck || r == 0);
		again = sign_key_free(again);
		/* It is the same identity afterwards, whatever happened. */
		CHECK_EQ(identity_load(&again, dir, key, &news), 0);
		sign_key_public(first, &a);
		sign_key_public(again, &b);
		CHECK_MEM(a.b, b.b, sizeof(a.b));
		fail_keep(struck);
	}
}

TEST(i9_an_identity_survives_a_full_disk_while_it_is_sealed)
{
	load_each(FAIL_WRITE, true);
}

TEST(i9_an_identity_survives_a_disk_that_cannot_be_read)
{
	load_each(FAIL_READ, true);
}

TEST(i9_an_identity_survives_want_of_memory)
{
	load_each(FAIL_MEMORY, true);
}

TEST(i9_a_new_identity_is_whole_or_not_there_on_a_full_disk)
{
	CHECK_EQ(crypto_init(), 0);
	FAIL_EACH(FAIL_WRITE) {
		_cleanup_(sign_key_freep) struct sign_key *first = NULL, *again = NULL;
		struct sign_public a, b;
		enum identity_news news;
		char dir[300];
		bool struck;
		int r;

		fail_end();
		snprintf(dir, sizeof(dir), "%s/%u", test_tmpdir(), fail_n_);
		CHECK_EQ(mkdir(dir, 0700), 0);
		fail_begin(FAIL_WRITE, fail_n_);
		r = identity_load(&first, dir, NULL, &news);
		struck = fail_end();
		CHECK(struck || r == 0);
		CHECK_EQ(identity_load(&again, dir, NULL, &news), 0);
		if (!r) {
			sign_key_public(first, &a);
			sign_key_public(again, &b);
			CHECK_MEM(a.b, b.b, sizeof(a.b));
		}
		fail_keep(struck);
	}
}

/* ---- the store ---- */

TEST(i9_the_store_is_opened_or_refused_without_memory)
{
	CHECK_EQ(crypto_init(), 0);
	FAIL_EACH(FAIL_MEMORY) {
		struct peers *p = NULL;
		int r = peers_open(&p, test_tmpdir());

		CHECK_EQ(r == 0, !fail_end());
		peers_free(p);
	}
}

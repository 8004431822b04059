/*
 * Pairings and their store on a machine without memory or room: a pairing that fails here is
 * told to the peer or ends there by itself, and never is one side paired with another root.
 */
#include "unit/fail/fail.h"
#include "unit/lib/test.h"
#include "unit/pairingd/halves.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/file.h"
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

static const uint8_t session_a[16] = "session a", session_b[16] = "session b";
static const uint8_t tunnel_first[16] = { 0xa1 }, tunnel_second[16] = { 0xb2 };
static struct seal_key *state_key;

/* What key says of itself and was agreed with it, with a root of its own. */
static int store_one(struct peers *p, uint8_t key, const char *name, uint8_t root_byte, struct peer *out)
{
	struct pairing_identity identity = { .key_type = PAIRING_KEY_ED25519, .port = 7201, .n_candidates = 1,
					     .candidates = { "192.0.2.7" } };
	struct pairing_result result = { .profile = "v40-spake2-x25519", .role = PAIRING_BOB, .peer = &identity,
					 .tunnel_id = { root_byte } };
	_cleanup_(secret_freep) struct secret *root = NULL;
	uint8_t bytes[32];
	int r;

	memset(identity.public_key.b, key, sizeof(identity.public_key.b));
	snprintf(identity.name, sizeof(identity.name), "%s", name);
	memset(bytes, root_byte, sizeof(bytes));
	r = secret_take(&root, bytes, sizeof(bytes));
	if (r)
		return r;
	result.tunnel_root = root;
	return peers_store(p, &result, 7200, NULL, out);
}

static const uint8_t *id_of(uint8_t key)
{
	static uint8_t id[IDENTITY_ID_LEN];
	struct sign_public public;

	memset(public.b, key, sizeof(public.b));
	identity_id(id, &public);
	return id;
}

/* pi has an active pairing and one that is not confirmed, shed an active one; one PIN is under way. */
static void furnish(const char *dir)
{
	_cleanup_(peers_freep) struct peers *p = NULL;

	CHECK_EQ(peers_open(&p, dir), 0);
	CHECK_EQ(store_one(p, 1, "pi", 0xa1, NULL), 0);
	CHECK_EQ(peers_activate(p, id_of(1), tunnel_first), 0);
	CHECK_EQ(store_one(p, 1, "pi", 0xb2, NULL), 0);
	CHECK_EQ(store_one(p, 2, "shed", 0xc3, NULL), 0);
	CHECK_EQ(peers_activate(p, id_of(2), (const uint8_t[16]){ 0xc3 }), 0);
	CHECK_EQ(peers_spend(p, "aaaaaaaa", session_a, PAIRING_ALICE, SECRET_PIN), 0);
	CHECK_EQ(peers_spend(p, "cccccccc", tunnel_first, PAIRING_ALICE, SECRET_PIN), 0);
}

/* A new folder with what furnish() left in the one called whole; nothing of it needs to be durable. */
static void copy_whole(char dir[static 300], unsigned int n)
{
	_cleanup_free_ char *data = NULL;
	char path[400];
	size_t len;
	FILE *f;

	snprintf(path, sizeof(path), "%s/whole/pairings.db", test_tmpdir());
	CHECK_EQ(file_read(&data, &len, path, 1 << 20), 0);
	snprintf(dir, 300, "%s/%u", test_tmpdir(), n);
	CHECK_EQ(mkdir(dir, 0700), 0);
	snprintf(path, sizeof(path), "%s/pairings.db", dir);
	f = fopen(path, "we");
	CHECK(f && fwrite(data, 1, len, f) == len && fclose(f) == 0);
}

struct picture {
	struct peers *p;
	char text[2000];
	size_t len;
};

static void add_pairing(const struct peer *peer, void *arg)
{
	_cleanup_(secret_freep) struct secret *root = NULL;
	struct picture *to = arg;
	int r = peers_root(to->p, peer->id, peer->tunnel_id, &root);

	CHECK(r == 0 || r == PEERS_E_NO_ROOT);
	to->len += (size_t)snprintf(to->text + to->len, sizeof(to->text) - to->len, "%s %02x %s root %02x\n", peer->name,
				    peer->tunnel_id[0], peer->active ? "active" : "prepared",
				    root ? secret_bytes(root)[0] : 0);
}

static void look(struct picture *to, struct peers *p)
{
	memset(to, 0, sizeof(*to));
	to->p = p;
	CHECK_EQ(peers_each_pairing(p, add_pairing, to), 0);
	snprintf(to->text + to->len, sizeof(to->text) - to->len, "digits %u spent %d %d", peers_pin_digits(p),
		 peers_is_spent(p, "aaaaaaaa"), peers_is_spent(p, "bbbbbbbb"));
}

/* As the next start finds it. */
static void look_in(struct picture *to, const char *dir)
{
	_cleanup_(peers_freep) struct peers *p = NULL;
	size_t n = 0;

	if (peers_open(&p, dir))
		CHECK_EQ(peers_open_sealed(&p, dir, state_key, &n, NULL, 0), 0);
	look(to, p);
}

static int do_spend(struct peers *p)
{
	return peers_spend(p, "bbbbbbbb", session_b, PAIRING_BOB, SECRET_PIN);
}

static int do_prove(struct peers *p)
{
	return peers_proven(p, session_a);
}

static int do_end(struct peers *p)
{
	return peers_ended(p, session_a, "active");
}

static int do_cut_off(struct peers *p)
{
	unsigned int n;

	return peers_take_cut_off(p, &n);
}

static int do_store(struct peers *p)
{
	return store_one(p, 3, "shed", 0xd4, NULL);
}

static int do_activate(struct peers *p)
{
	return peers_activate(p, id_of(1), tunnel_second);
}

static int do_remove(struct peers *p)
{
	return peers_remove_prepared(p, id_of(1), tunnel_second);
}

static int do_forget(struct peers *p)
{
	return peers_forget(p, id_of(1));
}

static int do_rename(struct peers *p)
{
	return peers_rename(p, id_of(1), "attic");
}

static int do_move(struct peers *p)
{
	return peers_root_moved(p, id_of(1), tunnel_first);
}

static int do_replace(struct peers *p)
{
	struct peer peer;
	struct sign_public own = { { 7 } };
	int r = peers_find(p, "shed", &peer);

	if (!r)
		r = peers_replace(p, &peer, 1, &own);
	return r ? r : peers_imported_identity(p, &own);
}

static int do_finish_import(struct peers *p)
{
	return peers_import_done(p);
}

static int do_find(struct peers *p)
{
	struct peer peer;
	char hex[2 * IDENTITY_ID_LEN + 1];
	int r = peers_find(p, "shed", &peer);

	hex_format(hex, id_of(2), IDENTITY_ID_LEN);
	hex[9] = '\0';
	return r ? r : peers_find(p, hex, &peer);
}

/* A change that fails in any of its parts is as if it had not been asked for, in memory and on the disk. */
static void change_each(enum fail_kind kind, int (*change)(struct peers *p))
{
	struct picture before, after, now, kept;
	unsigned int failed = 0;
	char dir[300];

	CHECK_EQ(crypto_init(), 0);
	fail_end();
	snprintf(dir, sizeof(dir), "%s/whole", test_tmpdir());
	CHECK_EQ(mkdir(dir, 0700), 0);
	furnish(dir);
	look_in(&before, dir);
	copy_whole(dir, 0);
	{
		_cleanup_(peers_freep) struct peers *p = NULL;

		CHECK_EQ(peers_open(&p, dir), 0);
		CHECK_EQ(change(p), 0);
	}
	look_in(&after, dir);
	FAIL_EACH(kind) {
		struct peers *p = NULL;
		bool struck;
		int r;

		fail_end();
		copy_whole(dir, fail_n_);
		CHECK_EQ(peers_open(&p, dir), 0);
		fail_begin(kind, fail_n_);
		r = change(p);
		struck = fail_end();
		look(&kept, p);
		peers_free(p);
		look_in(&now, dir);
		CHECK_STR(now.text, kept.text);
		/* No outcome of this module's own would be true. */
		CHECK(r <= 0);
		CHECK(struck || r == 0);
		if (r == 0)
			CHECK_STR(now.text, after.text);
		else if (strcmp(now.text, after.text) != 0)
			CHECK_STR(now.text, before.text);
		failed += r < 0;
		fail_keep(struck);
	}
	CHECK(failed > 0);
}

#define CHANGE_TEST(name, change)                                                              \
	TEST(i9_##name##_is_whole_or_told_when_the_store_fails)                                \
	{                                                                                      \
		change_each(FAIL_STORE, change);                                               \
	}                                                                                      \
	TEST(i9_##name##_is_whole_or_told_without_memory)                                      \
	{                                                                                      \
		change_each(FAIL_MEMORY, change);                                              \
	}

CHANGE_TEST(spending_a_secret, do_spend)
CHANGE_TEST(proving_a_secret, do_prove)
CHANGE_TEST(the_end_of_a_pairing, do_end)
CHANGE_TEST(a_pairing_cut_off, do_cut_off)
CHANGE_TEST(a_new_pairing, do_store)
CHANGE_TEST(activating_a_pairing, do_activate)
CHANGE_TEST(taking_a_pairing_back, do_remove)
CHANGE_TEST(forgetting_a_device, do_forget)
CHANGE_TEST(renaming_a_device, do_rename)
CHANGE_TEST(moving_a_root, do_move)
CHANGE_TEST(replacing_all_pairings, do_replace)
CHANGE_TEST(the_end_of_an_import, do_finish_import)
CHANGE_TEST(finding_a_device, do_find)

/* I3: nobody knows then whether a PIN was tried with this code, and so it was. */
static void look_up_each(enum fail_kind kind)
{
	static const char *const codes[] = { "aaaaaaaa", "bbbbbbbb" };
	unsigned int struck = 0;
	char dir[300];

	CHECK_EQ(crypto_init(), 0);
	fail_end();
	snprintf(dir, sizeof(dir), "%s/whole", test_tmpdir());
	CHECK_EQ(mkdir(dir, 0700), 0);
	furnish(dir);
	FAIL_EACH(kind) {
		for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
			_cleanup_(peers_freep) struct peers *p = NULL;
			bool is_spent, was_struck;

			fail_end();
			CHECK_EQ(peers_open(&p, dir), 0);
			fail_begin(kind, fail_n_);
			is_spent = peers_is_spent(p, codes[i]);
			was_struck = fail_end();
			CHECK_EQ(is_spent, was_struck || i == 0);
			struck += was_struck;
		}
	}
	CHECK(struck >= ARRAY_SIZE(codes));
}

TEST(i3_a_code_that_cannot_be_looked_up_counts_as_spent_when_the_store_fails)
{
	look_up_each(FAIL_STORE);
}

TEST(i3_a_code_that_cannot_be_looked_up_counts_as_spent_without_memory)
{
	look_up_each(FAIL_MEMORY);
}

static void seal_each(enum fail_kind kind)
{
	_cleanup_(secret_freep) struct secret *master = NULL;
	struct picture before, now;
	unsigned int failed = 0;
	char dir[300];

	CHECK_EQ(crypto_init(), 0);
	fail_end();
	CHECK_EQ(secret_random(&master, 32), 0);
	CHECK_EQ(seal_key_new(&state_key, master, "test"), 0);
	snprintf(dir, sizeof(dir), "%s/whole", test_tmpdir());
	CHECK_EQ(mkdir(dir, 0700), 0);
	furnish(dir);
	look_in(&before, dir);
	FAIL_EACH(kind) {
		struct peers *p = NULL;
		char why[300] = "";
		size_t n = 0;
		bool struck;
		int r;

		fail_end();
		copy_whole(dir, fail_n_);
		fail_begin(kind, fail_n_);
		r = peers_open_sealed(&p, dir, state_key, &n, why, sizeof(why));
		struck = fail_end();
		CHECK(r <= 0);
		CHECK(struck || (r == 0 && n == 3));
		peers_free(p);
		look_in(&now, dir);
		CHECK_STR(now.text, before.text);
		failed += r < 0;
		fail_keep(struck);
	}
	CHECK(failed > 0);
	state_key = seal_key_free(state_key);
}

TEST(i9_no_root_is_lost_when_the_store_fails_while_roots_are_sealed)
{
	seal_each(FAIL_STORE);
}

TEST(i9_no_root_is_lost_without_memory_while_roots_are_sealed)
{
	seal_each(FAIL_MEMORY);
}

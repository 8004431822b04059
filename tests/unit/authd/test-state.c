/* Users, sessions and keys in a real database, sealed and not. */
#include "authd/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "authd/keys.h"
#include "authd/sessions.h"
#include "authd/transfers.h"
#include "authd/users.h"
#include "base/clock.h"
#include "base/file.h"
#include "crypto/opaque.h"
#include "crypto/seal.h"
#include "crypto/secret.h"
#include "http/address.h"
#include "proto/pop.h"
#include "unit/lib/test.h"

static const uint8_t record[OPAQUE_RECORD_LEN] = { 1 };
static const struct address_key home = { .family = 4, .b = { 192, 0, 2, 1 } };
static const struct users_claim nobody;

static struct seal_key *seal_key(const char *label)
{
	_cleanup_(secret_freep) struct secret *master = NULL;
	struct seal_key *k;
	uint8_t *bytes;

	CHECK_EQ(crypto_init(), 0);
	CHECK_EQ(secret_new(&master, 32, &bytes), 0);
	CHECK_EQ(seal_key_new(&k, master, label), 0);
	return k;
}

static struct state *open_state(const char *dir, const struct seal_key *key)
{
	struct state *s;
	char why[256] = "";

	CHECK_EQ(crypto_init(), 0);
	CHECK_EQ(state_open(&s, dir, key, why, sizeof(why)), 0);
	return s;
}

static int64_t add_user(struct state *s, const char *name)
{
	struct user u;
	bool replaced;

	CHECK_EQ(users_register(s, name, record, 1, &nobody, 0, 100, &replaced), 0);
	CHECK(!replaced);
	CHECK_EQ(users_find(s, name, &u), 0);
	return u.id;
}

static int add_session(struct state *s, int64_t user, int64_t version, uint64_t ttl_s, uint64_t max, char *id)
{
	_cleanup_(secret_freep) struct secret *key = NULL;

	CHECK_EQ(secret_random(&key, POP_KEY_LEN), 0);
	return sessions_add(s, user, version, key, ttl_s, &home, "192.0.2.1", max, id);
}

/* As a daemon does at its start: with a state key, all is sealed then. */
static void load_keys(struct state *s)
{
	struct keys *k;
	size_t sealed;

	CHECK_EQ(keys_open(&k, s, 65536, 3, &sealed), 0);
	keys_free(k);
}

TEST(names_are_found_exactly_and_nobody_is_nobody)
{
	_cleanup_(state_freep) struct state *s = open_state(test_tmpdir(), NULL);
	struct user u;
	int64_t n;

	CHECK_EQ(users_find(s, "alice", &u), USERS_E_NO_SUCH);
	add_user(s, "alice");
	add_user(s, "alicia");
	CHECK_EQ(users_find(s, "alice", &u), 0);
	CHECK_EQ(users_find(s, "alic", &u), USERS_E_NO_SUCH);
	CHECK_EQ(users_find(s, "alice0", &u), USERS_E_NO_SUCH);
	CHECK_EQ(users_find(s, "zzz", &u), USERS_E_NO_SUCH);
	/* What stands behind all names is nobody, whatever is done to it. */
	CHECK_EQ(users_set_disabled(s, "~", false), USERS_E_NO_SUCH);
	CHECK_EQ(users_delete(s, "~"), USERS_E_NO_SUCH);
	CHECK_EQ(users_count(s, &n), 0);
	CHECK_EQ(n, 2);
}

TEST(a_name_that_is_taken_takes_an_invitation_for_it)
{
	_cleanup_(state_freep) struct state *s = open_state(test_tmpdir(), NULL);
	const uint8_t any[32] = { 1 }, for_alice[32] = { 2 };
	const struct users_claim by_any = { .invitation_hash = any }, by_name = { .invitation_hash = for_alice };
	bool replaced, for_it = false;

	add_user(s, "alice");
	CHECK_EQ(users_register(s, "alice", record, 1, &nobody, 0, 100, &replaced), USERS_E_TAKEN);
	CHECK_EQ(users_register(s, "alice", record, 1, &by_any, 0, 100, &replaced), USERS_E_INVITATION);
	CHECK_EQ(invitation_add(s, any, NULL, 60), 0);
	CHECK_EQ(invitation_add(s, any, NULL, 60), USERS_E_TAKEN);
	CHECK_EQ(invitation_add(s, for_alice, "alice", 60), 0);
	CHECK_EQ(invitation_check(s, for_alice, "alice", &for_it), 0);
	CHECK(for_it);
	CHECK_EQ(invitation_check(s, for_alice, "bob", &for_it), USERS_E_INVITATION);
	CHECK_EQ(invitation_check(s, any, "alice", &for_it), 0);
	CHECK(!for_it);
	CHECK_EQ(users_register(s, "alice", record, 1, &by_any, 0, 100, &replaced), USERS_E_TAKEN);
	CHECK_EQ(users_register(s, "bob", record, 1, &by_name, 0, 100, &replaced), USERS_E_INVITATION);
	CHECK_EQ(users_register(s, "alice", record, 1, &by_name, 0, 100, &replaced), 0);
	CHECK(replaced);
	CHECK_EQ(users_register(s, "alice", record, 1, &by_name, 0, 100, &replaced), USERS_E_INVITATION);
	CHECK_EQ(users_register(s, "bob", record, 1, &by_any, 0, 100, &replaced), 0);
	CHECK(!replaced);
}

TEST(more_users_than_allowed_are_not_taken)
{
	_cleanup_(state_freep) struct state *s = open_state(test_tmpdir(), NULL);
	bool replaced;

	add_user(s, "alice");
	CHECK_EQ(users_register(s, "bob", record, 1, &nobody, 0, 1, &replaced), USERS_E_FULL);
}

TEST(a_session_is_found_by_its_id_alone)
{
	_cleanup_(state_freep) struct state *s = open_state(test_tmpdir(), NULL);
	_cleanup_(session_done) struct session found = { 0 };
	char id[SESSION_ID_SPACE], other[SESSION_ID_SPACE];
	int64_t user = add_user(s, "alice");

	CHECK_EQ(add_session(s, user, 0, 60, 8, id), 0);
	memcpy(other, id, sizeof(other));
	other[5] = other[5] == 'A' ? 'B' : 'A';
	CHECK_EQ(sessions_find(s, other, strlen(other), &found), SESSIONS_E_NONE);
	CHECK_EQ(sessions_find(s, id, strlen(id) - 1, &found), SESSIONS_E_NONE);
	CHECK_EQ(sessions_find(s, id, strlen(id), &found), 0);
	CHECK_STR(found.name, "alice");
	CHECK_EQ(secret_len(found.key), POP_KEY_LEN);
}

TEST(i8_a_session_is_over_at_its_end)
{
	_cleanup_(state_freep) struct state *s = NULL;
	_cleanup_(session_done) struct session found = { 0 };
	char id[SESSION_ID_SPACE];

	clock_fake_ms(1000);
	s = open_state(test_tmpdir(), NULL);
	CHECK_EQ(add_session(s, add_user(s, "alice"), 0, 60, 8, id), 0);
	clock_fake_ms(56000);
	CHECK_EQ(sessions_find(s, id, strlen(id), &found), 0);
	session_done(&found);
	clock_fake_ms(63000);
	CHECK_EQ(sessions_find(s, id, strlen(id), &found), SESSIONS_E_NONE);
}

TEST(a_login_that_the_user_overtook_gives_no_session)
{
	_cleanup_(state_freep) struct state *s = open_state(test_tmpdir(), NULL);
	const uint8_t hash[32] = { 2 };
	const struct users_claim by_name = { .invitation_hash = hash };
	char id[SESSION_ID_SPACE];
	int64_t user = add_user(s, "alice");
	bool replaced;

	CHECK_EQ(invitation_add(s, hash, "alice", 60), 0);
	CHECK_EQ(users_register(s, "alice", record, 1, &by_name, 0, 100, &replaced), 0);
	CHECK_EQ(add_session(s, user, 0, 60, 8, id), SESSIONS_E_VOID);
	CHECK_EQ(add_session(s, user, 1, 60, 8, id), 0);
	CHECK_EQ(users_set_disabled(s, "alice", true), 0);
	CHECK_EQ(add_session(s, user, 2, 60, 8, id), SESSIONS_E_VOID);
	CHECK_EQ(users_set_disabled(s, "alice", false), 0);
	CHECK_EQ(add_session(s, user, 2, 60, 8, id), 0);
	CHECK_EQ(users_delete(s, "alice"), 0);
	CHECK_EQ(add_session(s, user, 2, 60, 8, id), SESSIONS_E_VOID);
	/* The row behind all names is no user. */
	CHECK_EQ(add_session(s, 0, 0, 60, 8, id), SESSIONS_E_VOID);
}

TEST(one_session_more_than_allowed_ends_the_oldest)
{
	_cleanup_(state_freep) struct state *s = open_state(test_tmpdir(), NULL);
	_cleanup_(session_done) struct session found = { 0 };
	char id[4][SESSION_ID_SPACE];
	int64_t user = add_user(s, "alice");

	for (int i = 0; i < 4; i++)
		CHECK_EQ(add_session(s, user, 0, 60, 3, id[i]), 0);
	CHECK_EQ(sessions_find(s, id[0], strlen(id[0]), &found), SESSIONS_E_NONE);
	CHECK_EQ(sessions_find(s, id[1], strlen(id[1]), &found), 0);
}

TEST(sessions_are_sealed_under_the_state_key_too)
{
	const char *dir = test_tmpdir();
	_cleanup_(seal_key_freep) struct seal_key *key = seal_key("one"), *other = seal_key("other");
	struct state *s = open_state(dir, key);
	char id[SESSION_ID_SPACE], why[512] = "";

	load_keys(s);
	CHECK_EQ(add_session(s, add_user(s, "alice"), 0, 60, 8, id), 0);
	state_free(s);
	CHECK_EQ(state_open(&s, dir, NULL, why, sizeof(why)), STATE_E_SEALED);
	CHECK_EQ(state_open(&s, dir, other, why, sizeof(why)), STATE_E_OTHER_KEY);
	s = open_state(dir, key);
	{
		_cleanup_(session_done) struct session found = { 0 };

		CHECK_EQ(sessions_find(s, id, strlen(id), &found), 0);
	}
	state_free(s);
}

/* Whether the files of a state hold these bytes. */
static bool is_on_disk(const char *dir, const void *what, size_t len)
{
	static const char *const names[] = { "authd.db", "authd.db-wal" };

	for (size_t i = 0; i < 2; i++) {
		_cleanup_free_ char *path = path_join(dir, names[i]);
		_cleanup_free_ char *text = NULL;
		size_t n;

		if (file_read(&text, &n, path, 1 << 24) == 0 && memmem(text, n, what, len))
			return true;
	}
	return false;
}

TEST(keys_are_plain_without_a_state_key_and_sealed_as_soon_as_there_is_one)
{
	const char *dir = test_tmpdir();
	_cleanup_(seal_key_freep) struct seal_key *key = seal_key("one");
	_cleanup_(secret_freep) struct secret *bytes = NULL;
	struct state *s = open_state(dir, NULL);
	struct keys *k;
	size_t sealed;

	CHECK_EQ(keys_open(&k, s, 65536, 3, &sealed), 0);
	CHECK_EQ(opaque_keys_export(&bytes, keys_newest(k)->keys), 0);
	keys_free(k);
	state_free(s);
	CHECK(is_on_disk(dir, secret_bytes(bytes), OPAQUE_KEYS_LEN));
	s = open_state(dir, key);
	CHECK_EQ(keys_open(&k, s, 65536, 3, &sealed), 0);
	CHECK_EQ(sealed, 1);
	CHECK(!is_on_disk(dir, secret_bytes(bytes), 32));
	{
		_cleanup_(secret_freep) struct secret *again = NULL;

		CHECK_EQ(opaque_keys_export(&again, keys_newest(k)->keys), 0);
		CHECK(secret_equal(bytes, secret_bytes(again), secret_len(again)));
	}
	keys_free(k);
	state_free(s);
}

/* A generation's keys as they lie there. */
static void get_blob(struct state *s, int64_t id, uint8_t *out, size_t len)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;
	const void *blob;
	size_t got;

	CHECK_EQ(store_prepare(&st, state_store(s), "SELECT keys FROM generation WHERE id = ?"), 0);
	store_bind_int(st, 1, id);
	CHECK_EQ(store_step(st), STORE_E_ROW);
	blob = store_blob(st, 0, &got);
	CHECK_EQ(got, len);
	memcpy(out, blob, len);
}

static void put_blob(struct state *s, int64_t id, const uint8_t *in, size_t len)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;

	CHECK_EQ(store_prepare(&st, state_store(s), "UPDATE generation SET keys = ? WHERE id = ?"), 0);
	store_bind_blob(st, 1, in, len);
	store_bind_int(st, 2, id);
	CHECK_EQ(store_step(st), 0);
}

static int open_keys(const char *dir, const struct seal_key *key)
{
	_cleanup_(state_freep) struct state *s = open_state(dir, key);
	_cleanup_(keys_freep) struct keys *k = NULL;
	size_t sealed;

	return keys_open(&k, s, 65536, 3, &sealed);
}

TEST(i8_keys_that_the_state_key_did_not_seal_are_refused_once_it_sealed_any)
{
	const char *dir = test_tmpdir();
	_cleanup_(seal_key_freep) struct seal_key *key = seal_key("one");
	_cleanup_(secret_freep) struct secret *bytes = NULL;
	_cleanup_(opaque_keys_freep) struct opaque_keys *planted = NULL;
	struct state *s;

	CHECK_EQ(open_keys(dir, NULL), 0);
	CHECK_EQ(open_keys(dir, key), 0);
	CHECK_EQ(opaque_keys_generate(&planted), 0);
	CHECK_EQ(opaque_keys_export(&bytes, planted), 0);
	s = open_state(dir, key);
	put_blob(s, 1, secret_bytes(bytes), OPAQUE_KEYS_LEN);
	state_free(s);
	CHECK_EQ(open_keys(dir, key), KEYS_E_BROKEN);
}

TEST(i8_sealed_keys_of_one_generation_are_not_anothers)
{
	const char *dir = test_tmpdir();
	_cleanup_(seal_key_freep) struct seal_key *key = seal_key("one");
	uint8_t one[STATE_SEALED_SPACE(OPAQUE_KEYS_LEN)], two[sizeof(one)];
	struct state *s = open_state(dir, key);
	struct keys *k;
	size_t sealed;

	CHECK_EQ(keys_open(&k, s, 65536, 3, &sealed), 0);
	CHECK_EQ(keys_rotate(k, 65536, 3), 0);
	keys_free(k);
	get_blob(s, 1, one, sizeof(one));
	get_blob(s, 2, two, sizeof(two));
	state_free(s);
	CHECK_EQ(open_keys(dir, key), 0);
	s = open_state(dir, key);
	put_blob(s, 1, two, sizeof(two));
	put_blob(s, 2, one, sizeof(one));
	state_free(s);
	CHECK_EQ(open_keys(dir, key), KEYS_E_BROKEN);
}

TEST(open_sessions_end_when_a_state_key_comes)
{
	const char *dir = test_tmpdir();
	_cleanup_(seal_key_freep) struct seal_key *key = seal_key("one");
	_cleanup_(session_done) struct session found = { 0 };
	struct state *s = open_state(dir, NULL);
	char id[SESSION_ID_SPACE];

	load_keys(s);
	CHECK_EQ(add_session(s, add_user(s, "alice"), 0, 60, 8, id), 0);
	state_free(s);
	s = open_state(dir, key);
	load_keys(s);
	CHECK_EQ(sessions_find(s, id, strlen(id), &found), SESSIONS_E_NONE);
	state_free(s);
}

TEST(two_generations_live_and_a_retired_one_leaves_the_disk)
{
	const char *dir = test_tmpdir();
	_cleanup_(state_freep) struct state *s = open_state(dir, NULL);
	_cleanup_(keys_freep) struct keys *k = NULL;
	_cleanup_(secret_freep) struct secret *old = NULL;
	int64_t first;
	size_t sealed;

	CHECK_EQ(keys_open(&k, s, 65536, 3, &sealed), 0);
	first = keys_newest(k)->id;
	CHECK_EQ(opaque_keys_export(&old, keys_newest(k)->keys), 0);
	add_user(s, "alice");
	CHECK_EQ(keys_retire(k, first, true), KEYS_E_NEWEST);
	CHECK_EQ(keys_rotate(k, 32768, 4), 0);
	CHECK_EQ(keys_rotate(k, 32768, 4), KEYS_E_TWO);
	CHECK_EQ(keys_newest(k)->memory_kib, 32768);
	CHECK_EQ(keys_find(k, first)->memory_kib, 65536);
	CHECK_EQ(keys_retire(k, 99, true), KEYS_E_NO_SUCH);
	CHECK_EQ(keys_retire(k, first, false), KEYS_E_IN_USE);
	CHECK_EQ(keys_retire(k, first, true), 0);
	CHECK(!keys_find(k, first));
	CHECK(!is_on_disk(dir, secret_bytes(old), 32));
	CHECK_EQ(keys_rotate(k, 32768, 4), 0);
}

TEST(i8_unknown_names_move_one_by_one)
{
	_cleanup_(state_freep) struct state *s = open_state(test_tmpdir(), NULL);
	_cleanup_(keys_freep) struct keys *k = NULL;
	size_t sealed, moved[4] = { 0 };
	char name[32];

	CHECK_EQ(keys_open(&k, s, 65536, 3, &sealed), 0);
	CHECK_EQ(keys_rotate(k, 65536, 3), 0);
	for (int day = 0; day < 4; day++)
		for (int i = 0; i < 1000; i++) {
			snprintf(name, sizeof(name), "name%d", i);
			moved[day] += keys_for_nobody(k, name, keys_newest(k)->created_at + day * 28 * 86400 / 3) == keys_newest(k);
		}
	CHECK_EQ(moved[0], 0);
	CHECK(moved[1] > 180 && moved[1] < 320);
	CHECK(moved[2] > 430 && moved[2] < 570);
	CHECK(moved[3] > 680 && moved[3] < 820);
}

TEST(i8_some_unknown_names_stay_with_the_old_keys_as_users_do_who_do_not_come_back)
{
	_cleanup_(state_freep) struct state *s = open_state(test_tmpdir(), NULL);
	_cleanup_(keys_freep) struct keys *k = NULL;
	size_t sealed, stay = 0;
	int64_t later;
	char name[32];

	CHECK_EQ(keys_open(&k, s, 65536, 3, &sealed), 0);
	CHECK_EQ(keys_rotate(k, 65536, 3), 0);
	later = keys_newest(k)->created_at + INT64_C(10) * 365 * 86400;
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "name%d", i);
		stay += keys_for_nobody(k, name, later) != keys_newest(k);
	}
	CHECK(stay > 180 && stay < 320);
	CHECK_EQ(keys_retire(k, keys_at(k, 0)->id, false), 0);
	CHECK(keys_for_nobody(k, "name0", later) == keys_newest(k));
}

TEST(a_user_is_known_where_he_was)
{
	_cleanup_(state_freep) struct state *s = open_state(test_tmpdir(), NULL);
	const struct address_key away = { .family = 6, .b = { 0x20, 1 } }, a_socket = { 0 };
	char id[SESSION_ID_SPACE];
	int64_t user = add_user(s, "alice");

	CHECK(!users_knows_address(s, user, &home));
	CHECK_EQ(add_session(s, user, 0, 60, 8, id), 0);
	CHECK(users_knows_address(s, user, &home));
	CHECK(!users_knows_address(s, user, &away));
	CHECK(!users_knows_address(s, 0, &home));
	CHECK_EQ(users_learn_address(s, user, &a_socket), 0);
	CHECK(!users_knows_address(s, user, &a_socket));
	for (int i = 0; i < 40; i++) {
		const struct address_key many = { .family = 6, .b = { 0x20, 1, 0, (uint8_t)i } };

		CHECK_EQ(users_learn_address(s, user, &many), 0);
	}
}

TEST(whether_a_note_has_a_receiver_shows_to_nobody)
{
	_cleanup_(state_freep) struct state *s = open_state(test_tmpdir(), NULL);
	int64_t alice = add_user(s, "alice"), bob = add_user(s, "bob"), id;
	struct transfer t[8];

	CHECK_EQ(transfers_add(s, alice, "alice", "bob", "one", 2, &id), 0);
	CHECK_EQ(transfers_add(s, alice, "alice", "nobody", "two", 2, &id), 0);
	CHECK_EQ(transfers_list(s, alice, 0, t, 8), 2);
	CHECK_STR(t[1].to, "nobody");
	CHECK_EQ(transfers_list(s, bob, 0, t, 8), 1);
	CHECK_STR(t[0].note, "one");
	/* Whoever takes the name later gets nothing of what went before. */
	CHECK_EQ(transfers_list(s, add_user(s, "nobody"), 0, t, 8), 0);
	CHECK_EQ(transfers_add(s, alice, "alice", "bob", "three", 2, &id), 0);
	CHECK_EQ(transfers_list(s, alice, 0, t, 8), 2);
	CHECK_STR(t[0].note, "two");
	CHECK_EQ(users_delete(s, "bob"), 0);
	CHECK_EQ(transfers_list(s, alice, 0, t, 8), 2);
}

TEST(i9_a_second_daemon_does_not_get_the_database)
{
	const char *dir = test_tmpdir();
	_cleanup_(state_freep) struct state *s __attribute__((unused)) = open_state(dir, NULL);
	struct state *other;
	char why[512] = "";

	CHECK_EQ(state_open(&other, dir, NULL, why, sizeof(why)), STATE_E_LOCKED);
	CHECK(strstr(why, "running") != NULL);
}

TEST(a_new_origin_is_noted_while_nobody_registered_under_the_old_one)
{
	_cleanup_(state_freep) struct state *s = open_state(test_tmpdir(), NULL);
	char before[128] = "";

	CHECK_EQ(state_take_origin(s, "https://a.example", before, sizeof(before)), 0);
	CHECK_EQ(state_take_origin(s, "https://b.example", before, sizeof(before)), 0);
	CHECK_STR(before, "");
	add_user(s, "alice");
	CHECK_EQ(state_take_origin(s, "https://c.example", before, sizeof(before)), 0);
	CHECK_STR(before, "https://b.example");
	before[0] = '\0';
	CHECK_EQ(state_take_origin(s, "https://b.example", before, sizeof(before)), 0);
	CHECK_STR(before, "");
}

TEST(i7_the_clock_of_sessions_goes_on_while_the_wall_clock_is_behind)
{
	_cleanup_(state_freep) struct state *s = NULL;
	const char *dir = test_tmpdir();
	int64_t ahead = clock_wall_s() + 1000000;

	clock_fake_ms(5000);
	s = open_state(dir, NULL);
	CHECK_EQ(state_run(s, "UPDATE clock SET seen = ?", &ahead, NULL), 0);
	s = state_free(s);
	s = open_state(dir, NULL);
	CHECK_EQ(state_now(s), ahead);
	clock_fake_ms(65000);
	CHECK_EQ(state_now(s), ahead + 60);
	CHECK_EQ(state_tick(s), 0);
	CHECK_EQ(state_now(s), ahead + 60);
}

TEST(i7_a_moved_mark_takes_the_clock_of_sessions_along)
{
	_cleanup_(state_freep) struct state *s = NULL;
	const char *dir = test_tmpdir();
	int64_t ahead = clock_wall_s() + 1000000;

	clock_fake_ms(5000);
	s = open_state(dir, NULL);
	CHECK_EQ(state_run(s, "UPDATE clock SET seen = ?", &ahead, NULL), 0);
	s = state_free(s);
	s = open_state(dir, NULL);
	clock_fake_ms(65000);
	CHECK_EQ(state_mark(s, ahead), 0);
	CHECK_EQ(state_marked(s), ahead);
	s = state_free(s);
	s = open_state(dir, NULL);
	CHECK_EQ(state_now(s), ahead + 60);
}

/* Keys in a database whose statements fail one after another, and without memory. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "authd/keys.h"
#include "authd/state.h"
#include "crypto/opaque.h"
#include "crypto/seal.h"
#include "crypto/secret.h"
#include "unit/fail/fail.h"
#include "unit/lib/test.h"

/* A folder of its own for each turn. */
static const char *folder(void)
{
	static char dir[300];
	static unsigned int n;

	snprintf(dir, sizeof(dir), "%s/%u", test_tmpdir(), n++);
	CHECK_EQ(mkdir(dir, 0700), 0);
	return dir;
}

static struct state *open_state(const char *dir, const struct seal_key *key)
{
	struct state *s = NULL;
	char why[300] = "";

	CHECK_EQ(state_open(&s, dir, key, why, sizeof(why)), 0);
	return s;
}

static struct keys *open_keys(struct state *s)
{
	struct keys *k = NULL;
	size_t sealed;

	CHECK_EQ(keys_open(&k, s, 65536, 3, &sealed), 0);
	return k;
}

static size_t count_on_disk(const char *dir)
{
	_cleanup_(state_freep) struct state *s = open_state(dir, NULL);
	_cleanup_(keys_freep) struct keys *k = open_keys(s);

	return keys_count(k);
}

TEST(i9_a_retirement_is_told_as_it_is_when_the_store_fails)
{
	unsigned int failed = 0, done = 0;

	CHECK_EQ(crypto_init(), 0);
	FAIL_EACH(FAIL_STORE) {
		const char *dir;
		struct state *s;
		struct keys *k;
		bool struck;
		int r;

		fail_end();
		dir = folder();
		s = open_state(dir, NULL);
		k = open_keys(s);
		CHECK_EQ(keys_rotate(k, 65536, 3), 0);
		fail_begin(FAIL_STORE, fail_n_);
		r = keys_retire(k, keys_at(k, 0)->id, false);
		struck = fail_end();
		CHECK_EQ(keys_count(k), r ? 2 : 1);
		keys_free(k);
		state_free(s);
		CHECK_EQ(count_on_disk(dir), r ? 2 : 1);
		failed += r < 0;
		done += struck && !r;
		fail_keep(struck);
	}
	CHECK(failed > 0);
	/* Its log could not be emptied. */
	CHECK(done > 0);
}

static void seal_each(enum fail_kind kind)
{
	_cleanup_(secret_freep) struct secret *master = NULL;
	_cleanup_(seal_key_freep) struct seal_key *key = NULL;
	unsigned int failed = 0;

	CHECK_EQ(crypto_init(), 0);
	CHECK_EQ(secret_random(&master, 32), 0);
	CHECK_EQ(seal_key_new(&key, master, "test"), 0);
	FAIL_EACH(kind) {
		_cleanup_(secret_freep) struct secret *before = NULL, *after = NULL;
		struct keys *k = NULL;
		const char *dir;
		struct state *s;
		size_t sealed;
		bool struck;
		int r;

		fail_end();
		dir = folder();
		s = open_state(dir, NULL);
		k = open_keys(s);
		CHECK_EQ(opaque_keys_export(&before, keys_newest(k)->keys), 0);
		keys_free(k);
		state_free(s);
		s = open_state(dir, key);
		k = NULL;
		fail_begin(kind, fail_n_);
		r = keys_open(&k, s, 65536, 3, &sealed);
		struck = fail_end();
		keys_free(k);
		state_free(s);
		/* The next start has them, sealed now or before. */
		s = open_state(dir, key);
		k = open_keys(s);
		CHECK_EQ(opaque_keys_export(&after, keys_newest(k)->keys), 0);
		CHECK(secret_equal(before, secret_bytes(after), secret_len(after)));
		CHECK(!state_is_to_seal(s));
		keys_free(k);
		state_free(s);
		failed += r < 0;
		fail_keep(struck);
	}
	CHECK(failed > 0);
}

TEST(i9_no_keys_are_lost_when_the_store_fails_while_they_are_sealed)
{
	seal_each(FAIL_STORE);
}

TEST(i9_no_keys_are_lost_without_memory_while_they_are_sealed)
{
	seal_each(FAIL_MEMORY);
}

/* Keys and key files on a machine without memory, room, or a readable disk: an error, and nothing half made. */
#include "unit/fail/fail.h"
#include "unit/lib/test.h"

#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>

#include "crypto/kdf.h"
#include "crypto/keyfile_io.h"
#include "crypto/opaque.h"
#include "crypto/seal.h"
#include "crypto/sign.h"
#include "crypto/spake2.h"
#include "crypto/x25519.h"

enum { SLOTS = 20 };

static size_t files(void)
{
	char pattern[300];
	size_t n;
	glob_t g;

	snprintf(pattern, sizeof(pattern), "%s/{*,.[!.]*}", test_tmpdir());
	n = glob(pattern, GLOB_BRACE, NULL, &g) == 0 ? g.gl_pathc : 0;
	globfree(&g);
	return n;
}

static struct secret *password(void)
{
	struct secret *s;

	CHECK_EQ(crypto_init(), 0);
	CHECK_EQ(secret_random(&s, 32), 0);
	return s;
}

TEST(i6_without_memory_there_is_no_spake2_key)
{
	_cleanup_(secret_freep) struct secret *pw = password();

	FAIL_EACH(FAIL_MEMORY) {
		_cleanup_(spake2_freep) struct spake2 *a = NULL, *b = NULL;
		_cleanup_(secret_freep) struct secret *key_a = NULL, *key_b = NULL;
		uint8_t msg_a[SPAKE2_MSG_LEN], msg_b[SPAKE2_MSG_LEN];
		int r;

		r = spake2_new(&a, SPAKE2_A, secret_bytes(pw), 32, "a", 1, "b", 1);
		if (!r)
			r = spake2_new(&b, SPAKE2_B, secret_bytes(pw), 32, "a", 1, "b", 1);
		if (!r) {
			spake2_message(a, msg_a);
			spake2_message(b, msg_b);
			r = spake2_finish(a, &key_a, msg_b, sizeof(msg_b));
		}
		if (!r)
			r = spake2_finish(b, &key_b, msg_a, sizeof(msg_a));
		CHECK_EQ(r, fail_end() ? -ENOMEM : 0);
		CHECK(r || secret_equal(key_a, secret_bytes(key_b), 32));
	}
}

TEST(without_memory_nobody_registers_or_logs_in)
{
	static const struct opaque_ksf ksf = { OPAQUE_KSF_ARGON2ID, 8, 1 };
	static const struct opaque_ids ids = { "alice", 5, "https://example.org", 19, NULL, 0 };
	const uint8_t *pw = (const uint8_t *)"secret";

	CHECK_EQ(crypto_init(), 0);
	FAIL_EACH(FAIL_MEMORY) {
		_cleanup_(opaque_keys_freep) struct opaque_keys *keys = NULL;
		_cleanup_(opaque_client_freep) struct opaque_client *a = NULL, *b = NULL;
		_cleanup_(secret_freep) struct secret *export_key = NULL, *again = NULL, *state = NULL;
		_cleanup_(secret_freep) struct secret *ours = NULL, *theirs = NULL;
		uint8_t record[OPAQUE_RECORD_LEN], ke1[OPAQUE_KE1_LEN], ke2[OPAQUE_KE2_LEN];
		uint8_t request[OPAQUE_REQUEST_LEN], response[OPAQUE_RESPONSE_LEN], ke3[OPAQUE_KE3_LEN];
		int r = opaque_keys_generate(&keys);

		if (!r)
			r = opaque_register_start(&a, request, pw, 6, NULL);
		if (!r)
			r = opaque_server_register(keys, response, request, "alice", 5);
		if (!r)
			r = opaque_register_finish(a, record, &export_key, response, &ids, &ksf);
		CHECK(!a || (export_key != NULL) == (r == 0));
		if (!r)
			r = opaque_login_start(&b, ke1, pw, 6, NULL);
		if (!r)
			r = opaque_server_ke2(keys, ke2, &state, record, "alice", 5, ke1, &ids, NULL);
		if (!r)
			r = opaque_login_finish(b, ke3, &ours, &again, ke2, &ids, &ksf);
		CHECK((ours != NULL) == (again != NULL));
		if (!r)
			r = opaque_server_finish(&theirs, secret_bytes(state), ke3);
		CHECK_EQ(r, fail_end() ? -ENOMEM : 0);
		CHECK(r || secret_equal(ours, secret_bytes(theirs), OPAQUE_SESSION_KEY_LEN));
	}
}

TEST(without_memory_there_is_no_key)
{
	FAIL_EACH(FAIL_MEMORY) {
		_cleanup_(sign_key_freep) struct sign_key *key = NULL;
		_cleanup_(secret_freep) struct secret *seed = NULL, *x = NULL, *shared = NULL, *copy = NULL;
		uint8_t pub[X25519_LEN];
		int r = sign_key_generate(&key);

		if (!r)
			r = sign_key_seed(key, &seed);
		if (!r)
			r = x25519_keypair(&x, pub);
		if (!r)
			r = x25519(&shared, x, pub);
		if (!r)
			r = secret_dup(&copy, shared);
		CHECK_EQ(r, fail_end() ? -ENOMEM : 0);
	}
}

TEST(i5_without_memory_nothing_is_unsealed)
{
	_cleanup_(secret_freep) struct secret *master = password();

	FAIL_EACH(FAIL_MEMORY) {
		_cleanup_(seal_key_freep) struct seal_key *key = NULL;
		_cleanup_(secret_freep) struct secret *back = NULL;
		uint8_t blob[5 + SEAL_BLOB_EXTRA];
		int r = seal_key_new(&key, master, "label");

		if (!r) {
			seal_blob(blob, (const uint8_t *)"hello", 5, "context", 7, key);
			r = seal_blob_open(&back, blob, sizeof(blob), "context", 7, key);
		}
		CHECK_EQ(r, fail_end() ? -ENOMEM : 0);
		CHECK((back != NULL) == (r == 0));
	}
}

static void make_each(enum fail_kind kind)
{
	char detail[400];

	CHECK_EQ(crypto_init(), 0);
	FAIL_EACH(kind) {
		char path[300];
		size_t before = files();
		int r;

		snprintf(path, sizeof(path), "%s/key%u", test_tmpdir(), fail_n_);
		r = keyfile_make(path, SLOTS * KEYFILE_SLOT_LEN, NULL, NULL, NULL, NULL, NULL, detail, sizeof(detail));
		if (!fail_end())
			CHECK_EQ(r, 0);
		if (r == 0) {
			CHECK_EQ(files(), before + 2);
			CHECK_EQ(keyfile_verify(path, NULL, NULL, NULL, NULL, detail, sizeof(detail)), 0);
		} else {
			/* Of both names, or none; both may be there when only the folder is not durable. */
			CHECK(files() == before || files() == before + 2);
			CHECK(*detail != '\0');
		}
	}
}

TEST(i9_a_key_file_is_made_whole_or_not_at_all_on_a_full_disk)
{
	make_each(FAIL_WRITE);
}

TEST(i9_a_key_file_is_made_whole_or_not_at_all_without_memory)
{
	make_each(FAIL_MEMORY);
}

TEST(a_key_file_that_cannot_be_read_is_never_right)
{
	static const enum fail_kind kinds[] = { FAIL_READ, FAIL_MEMORY };
	char path[300], detail[400];

	CHECK_EQ(crypto_init(), 0);
	snprintf(path, sizeof(path), "%s/key", test_tmpdir());
	CHECK_EQ(keyfile_make(path, SLOTS * KEYFILE_SLOT_LEN, NULL, NULL, NULL, NULL, NULL, detail, sizeof(detail)), 0);
	for (size_t i = 0; i < 2; i++) {
		FAIL_EACH(kinds[i]) {
			int r = keyfile_verify(path, NULL, NULL, NULL, NULL, detail, sizeof(detail));

			CHECK_EQ(r == 0, !fail_end());
		}
	}
}

TEST(a_key_file_is_read_on_after_short_reads)
{
	char path[300], detail[400];

	CHECK_EQ(crypto_init(), 0);
	snprintf(path, sizeof(path), "%s/key", test_tmpdir());
	fail_begin(FAIL_SHORT, 0);
	CHECK_EQ(keyfile_make(path, 2 * KEYFILE_SLOT_LEN, NULL, NULL, NULL, NULL, NULL, detail, sizeof(detail)), 0);
	CHECK_EQ(keyfile_verify(path, NULL, NULL, NULL, NULL, detail, sizeof(detail)), 0);
	fail_end();
}

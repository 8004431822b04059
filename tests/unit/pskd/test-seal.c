/* Ledgers under a state key, and ledgers that came from a backup. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/file.h"
#include "crypto/kdf.h"
#include "crypto/seal.h"
#include "crypto/secret.h"
#include "pskd/keys/keys.h"
#include "pskd/keys/ledger.h"
#include "unit/lib/test.h"

enum { SUM_AT = LEDGER_BLOCK_LEN - SHA256_LEN };

static struct seal_key *make_key(uint8_t byte)
{
	struct secret *master = NULL;
	struct seal_key *k = NULL;
	uint8_t bytes[32];

	memset(bytes, byte, sizeof(bytes));
	CHECK_EQ(crypto_init(), 0);
	CHECK_EQ(secret_take(&master, bytes, sizeof(bytes)), 0);
	CHECK_EQ(seal_key_new(&k, master, "test"), 0);
	secret_free(master);
	return k;
}

static struct ledger_record sample(uint64_t generation, uint64_t reserved)
{
	struct ledger_record r = { .generation = generation, .kind = LEDGER_ROOT, .role = 1, .tx_next = reserved,
				   .tx_reserved = reserved, .tx_limit = 256, .rx_high = 999, .rx_mark = 1000 };

	memset(r.fingerprint, 1, sizeof(r.fingerprint));
	memset(r.hello_key, 3, sizeof(r.hello_key));
	memset(r.tx_chain, 6, sizeof(r.tx_chain));
	memset(r.rx_chain, 7, sizeof(r.rx_chain));
	return r;
}

static char *write_ledger(const char *name, const void *data)
{
	char *path = path_join(test_tmpdir(), name);

	CHECK_EQ(file_write_atomic(path, data, LEDGER_LEN, 0600), 0);
	return path;
}

static void encode_two(uint8_t data[static LEDGER_LEN], const struct ledger_record *a, const struct ledger_record *b)
{
	ledger_encode(data, a);
	ledger_encode(data + LEDGER_BLOCK_LEN, b);
}

static bool file_holds(const char *path, uint8_t byte)
{
	uint8_t secret[32];
	char *data = NULL;
	size_t len;
	bool found;

	memset(secret, byte, sizeof(secret));
	CHECK_EQ(file_read(&data, &len, path, 1 << 20), 0);
	found = memmem(data, len, secret, sizeof(secret)) != NULL;
	free(data);
	return found;
}

TEST(a_sealed_record_comes_back_and_shows_its_marks_alone)
{
	struct ledger_record in = sample(7, 4000), out;
	struct seal_key *k = make_key(1), *other = make_key(2);
	uint8_t block[LEDGER_BLOCK_LEN];

	ledger_use_key(k);
	ledger_encode(block, &in);
	CHECK(memmem(block, sizeof(block), in.hello_key, 32) == NULL);
	CHECK(memmem(block, sizeof(block), in.tx_chain, 32) == NULL);
	CHECK(memmem(block, sizeof(block), in.rx_chain, 32) == NULL);
	CHECK_EQ(ledger_decode(&out, block), 0);
	CHECK(out.sealed);
	CHECK_MEM(out.hello_key, in.hello_key, 32);
	CHECK_MEM(out.tx_chain, in.tx_chain, 32);
	CHECK_MEM(out.rx_chain, in.rx_chain, 32);
	ledger_use_key(other);
	CHECK_EQ(ledger_decode(&out, block), LEDGER_E_OTHER_KEY);
	ledger_use_key(NULL);
	CHECK_EQ(ledger_decode(&out, block), LEDGER_E_SEALED);
	CHECK_EQ(out.tx_reserved, 4000);
	CHECK_MEM(out.fingerprint, in.fingerprint, 32);
	seal_key_free(k);
	seal_key_free(other);
}

TEST(marks_of_a_sealed_record_cannot_be_changed)
{
	struct ledger_record in = sample(7, 4000), out;
	struct seal_key *k = make_key(1);
	uint8_t block[LEDGER_BLOCK_LEN];

	ledger_use_key(k);
	ledger_encode(block, &in);
	for (size_t i = 20; i < 460; i++) {
		block[i] ^= 1;
		sha256(block + SUM_AT, block, SUM_AT);
		CHECK(ledger_decode(&out, block) != 0);
		block[i] ^= 1;
	}
	sha256(block + SUM_AT, block, SUM_AT);
	CHECK_EQ(ledger_decode(&out, block), 0);
	ledger_use_key(NULL);
	seal_key_free(k);
}

TEST(without_a_key_an_older_handfast_can_read_what_is_written)
{
	struct ledger_record in = sample(7, 4000), out;
	uint8_t block[LEDGER_BLOCK_LEN];

	ledger_encode(block, &in);
	CHECK_EQ(be32_load(block + 16), 1);
	CHECK_EQ(ledger_decode(&out, block), 0);
	CHECK(!out.sealed && !out.restored);
	in.restored = true;
	ledger_encode(block, &in);
	CHECK_EQ(be32_load(block + 16), 2);
	CHECK_EQ(ledger_decode(&out, block), 0);
	CHECK(out.restored);
}

TEST(a_folder_of_ledgers_is_sealed_whole)
{
	struct ledger_record a = sample(7, 4000), b = sample(8, 4256);
	struct seal_key *k = make_key(1), *other = make_key(2);
	char why[300] = "", *dir, *path;
	uint8_t data[LEDGER_LEN];
	struct ledger_state s;
	size_t sealed;

	dir = strdup(test_tmpdir());
	encode_two(data, &a, &b);
	path = write_ledger("a.ledger", data);
	ledger_use_key(NULL);
	CHECK_EQ(ledgers_prepare(dir, &sealed, why, sizeof(why)), 0);
	CHECK_EQ(sealed, 0);
	ledger_use_key(k);
	CHECK_EQ(ledgers_prepare(dir, &sealed, why, sizeof(why)), 0);
	CHECK_EQ(sealed, 1);
	CHECK(!file_holds(path, 3) && !file_holds(path, 6) && !file_holds(path, 7));
	CHECK_EQ(ledger_look(path, &s), 0);
	CHECK(s.other_ok && !s.any_plain);
	CHECK_EQ(s.newest.tx_reserved, 4256);
	CHECK_EQ(s.other.tx_reserved, 4256);
	/* Nothing more to do, and nobody else's. */
	CHECK_EQ(ledgers_prepare(dir, &sealed, why, sizeof(why)), 0);
	CHECK_EQ(sealed, 0);
	ledger_use_key(other);
	CHECK_EQ(ledgers_prepare(dir, &sealed, why, sizeof(why)), 1);
	CHECK(strstr(why, "a.ledger") && strstr(why, "another credential handfast.state-key"));
	ledger_use_key(NULL);
	CHECK_EQ(ledgers_prepare(dir, &sealed, why, sizeof(why)), 1);
	CHECK(strstr(why, "missing"));
	seal_key_free(k);
	seal_key_free(other);
	free(path);
	free(dir);
}

/* Where a life after this file would begin to send. */
static uint64_t next_life(const char *path)
{
	struct ledger_state s;

	CHECK_EQ(ledger_look(path, &s), 0);
	return s.newest.tx_reserved + (s.other_ok ? 0 : s.newest.tx_limit);
}

TEST(i1_sealing_forgets_no_lost_record)
{
	struct ledger_record a = sample(7, 4000), b = sample(8, 4256);
	struct seal_key *k = make_key(1);
	uint8_t data[LEDGER_LEN], sealed_blocks[LEDGER_LEN];
	char why[300] = "", *path;
	size_t sealed;

	/* The second was being written when the power went: up to 256 past 4000 may be used. */
	encode_two(data, &a, &b);
	memset(data + LEDGER_BLOCK_LEN, 0x55, 100);
	path = write_ledger("lost.ledger", data);
	CHECK_EQ(next_life(path), 4256);
	ledger_use_key(k);
	CHECK_EQ(ledgers_prepare(test_tmpdir(), &sealed, why, sizeof(why)), 0);
	CHECK_EQ(sealed, 1);
	CHECK(!file_holds(path, 6));
	CHECK(next_life(path) >= 4256);

	/* And wherever the power goes again between its two writes. */
	{
		char *now = NULL;
		size_t len;

		CHECK_EQ(file_read(&now, &len, path, LEDGER_LEN), 0);
		memcpy(sealed_blocks, now, LEDGER_LEN);
		free(now);
	}
	for (size_t cut = 0; cut <= 2 * LEDGER_BLOCK_LEN; cut += 512) {
		uint8_t torn[LEDGER_LEN];

		/* First the block that was lost, then the whole one. */
		memcpy(torn, data, LEDGER_LEN);
		for (size_t i = 0; i < cut; i++)
			torn[(i + LEDGER_BLOCK_LEN) % LEDGER_LEN] = sealed_blocks[(i + LEDGER_BLOCK_LEN) % LEDGER_LEN];
		free(write_ledger("lost.ledger", torn));
		CHECK(next_life(path) >= 4256);
	}
	ledger_use_key(NULL);
	seal_key_free(k);
	free(path);
}

static char *restored_ledger(bool other_ok)
{
	struct ledger_record r = { .kind = LEDGER_FILE, .role = 0, .slots_total = 100, .tx_next = 4000, .tx_reserved = 4256,
				   .tx_limit = 256, .rx_high = 999, .rx_mark = 1256, .rx_limit = 256, .restored = true };
	uint8_t data[LEDGER_LEN];

	r.generation = 1;
	ledger_encode(data, &r);
	r.generation = other_ok ? 2 : 3;
	ledger_encode(data + LEDGER_BLOCK_LEN, &r);
	return write_ledger("r.ledger", data);
}

TEST(i1_a_restored_ledger_burns_only_past_what_may_be_used)
{
	char *path = restored_ledger(true);
	struct ledger_state s;

	CHECK_EQ(ledger_burn_restored(path, 0), -ERANGE);
	CHECK_EQ(ledger_burn_restored(path, 4), -ERANGE);
	CHECK_EQ(ledger_burn_restored(path, 100), -ERANGE);
	CHECK_EQ(ledger_burn_restored(path, UINT64_MAX), -ERANGE);
	CHECK_EQ(ledger_look(path, &s), 0);
	CHECK(s.newest.restored && s.newest.generation == 2);
	CHECK_EQ(ledger_burn_restored(path, 50), 0);
	CHECK_EQ(ledger_look(path, &s), 0);
	CHECK(!s.newest.restored && s.other_ok && !s.other.restored);
	CHECK_EQ(s.newest.tx_next, 50000);
	CHECK_EQ(s.other.tx_reserved, 50000);
	CHECK_EQ(s.newest.rx_mark, 50000);
	CHECK_EQ(ledger_burn_restored(path, 60), -EINVAL);
	free(path);
	/* With a record lost, its block may be used as well. */
	path = restored_ledger(false);
	CHECK_EQ(ledger_burn_restored(path, 4), -ERANGE);
	CHECK_EQ(ledger_burn_restored(path, 5), 0);
	free(path);
}

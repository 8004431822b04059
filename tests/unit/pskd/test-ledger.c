/* The ledger's format, its file and its thread. */
#include "pskd/keys/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/file.h"
#include "crypto/kdf.h"
#include "crypto/secret.h"
#include "event/loop.h"
#include "pskd/keys/keys.h"
#include "unit/lib/test.h"

enum { SUM_AT = LEDGER_BLOCK_LEN - SHA256_LEN, VERSION_AT = 16 };

static struct ledger_record sample(uint64_t generation)
{
	struct ledger_record r = {
		.generation = generation,
		.kind = LEDGER_FILE,
		.role = 1,
		.slots_total = 100,
		.handshaken = true,
		.tx_next = 4000,
		.tx_reserved = 4256,
		.tx_limit = 256,
		.rx_high = 2999,
		.rx_mark = 3256,
		.rx_limit = 256,
		.erase_to = 3,
		.erased = 2,
	};

	memset(r.fingerprint, 1, sizeof(r.fingerprint));
	memset(r.hello_key, 3, sizeof(r.hello_key));
	memset(r.table_sum, 4, sizeof(r.table_sum));
	memset(r.edge_sum, 5, sizeof(r.edge_sum));
	return r;
}

static void resum(uint8_t block[static LEDGER_BLOCK_LEN])
{
	sha256(block + SUM_AT, block, SUM_AT);
}

TEST(a_record_comes_back_as_it_was)
{
	struct ledger_record in = sample(7), out;
	uint8_t block[LEDGER_BLOCK_LEN], again[LEDGER_BLOCK_LEN];

	memset(in.tunnel_id, 2, sizeof(in.tunnel_id));
	memset(in.tx_chain, 6, sizeof(in.tx_chain));
	memset(in.rx_chain, 7, sizeof(in.rx_chain));
	ledger_encode(block, &in);
	CHECK_EQ(ledger_decode(&out, block), 0);
	CHECK_EQ(out.generation, 7);
	CHECK_EQ(out.tx_next, 4000);
	CHECK_EQ(out.tx_reserved, 4256);
	CHECK_EQ(out.rx_high, 2999);
	CHECK_EQ(out.rx_mark, 3256);
	CHECK_EQ(out.erase_to, 3);
	CHECK_EQ(out.erased, 2);
	CHECK(out.handshaken);
	ledger_encode(again, &out);
	CHECK_MEM(again, block, sizeof(block));
}

TEST(a_change_of_any_byte_is_noticed)
{
	struct ledger_record in = sample(7), out;
	uint8_t block[LEDGER_BLOCK_LEN];

	ledger_encode(block, &in);
	for (size_t i = 0; i < sizeof(block); i++) {
		block[i] ^= 0x40;
		CHECK_EQ(ledger_decode(&out, block), LEDGER_E_BROKEN);
		block[i] ^= 0x40;
	}
	CHECK_EQ(ledger_decode(&out, block), 0);
}

TEST(a_newer_version_is_told_from_a_broken_record)
{
	struct ledger_record in = sample(7), out;
	uint8_t block[LEDGER_BLOCK_LEN];

	ledger_encode(block, &in);
	be32_store(block + VERSION_AT, LEDGER_VERSION + 1);
	CHECK_EQ(ledger_decode(&out, block), LEDGER_E_BROKEN);
	resum(block);
	CHECK_EQ(ledger_decode(&out, block), LEDGER_E_NEWER);
	be32_store(block + VERSION_AT, 0);
	resum(block);
	CHECK_EQ(ledger_decode(&out, block), LEDGER_E_BROKEN);
}

TEST(a_record_that_contradicts_itself_is_refused_though_its_checksum_is_right)
{
	const struct ledger_record good = sample(7);
	uint8_t block[LEDGER_BLOCK_LEN];
	struct ledger_record r, out;

#define REFUSED(change)                                             \
	do {                                                        \
		r = good;                                           \
		change;                                             \
		ledger_encode(block, &r);                           \
		CHECK_EQ(ledger_decode(&out, block), LEDGER_E_BROKEN); \
	} while (0)
	REFUSED(r.kind = 0);
	REFUSED(r.kind = 3);
	REFUSED(r.kind = LEDGER_ROOT);
	REFUSED(r.role = 2);
	REFUSED(r.slots_total = 0);
	REFUSED(r.slots_total = UINT64_MAX);
	REFUSED(r.tx_next = 4257);
	REFUSED(r.tx_reserved = 100001);
	REFUSED(r.tx_limit = 0);
	REFUSED(r.tx_limit = LEDGER_TX_LIMIT_MAX + 1);
	REFUSED(r.rx_high = 3256);
	REFUSED(r.rx_mark = 100001);
	REFUSED(r.rx_limit = LEDGER_RX_LIMIT_MAX + 1);
	REFUSED(r.erased = 4);
	/* What is not left behind both ways is still to be drawn. */
	REFUSED(r.erase_to = 4);
	REFUSED(r.rx_mark = 5000; r.erase_to = 5);
	r = good;
	ledger_encode(block, &r);
	block[600] = 1; /* what no field covers must be zero */
	resum(block);
	CHECK_EQ(ledger_decode(&out, block), LEDGER_E_BROKEN);
}

static void put_both(uint8_t data[static LEDGER_LEN], const struct ledger_record *a,
		     const struct ledger_record *b)
{
	ledger_encode(data, a);
	ledger_encode(data + LEDGER_BLOCK_LEN, b);
}

TEST(the_newest_of_two_records_counts)
{
	struct ledger_record a = sample(8), b = sample(7);
	uint8_t data[LEDGER_LEN];
	struct ledger_state s;

	a.tx_next = a.tx_reserved = 5000;
	put_both(data, &a, &b);
	CHECK_EQ(ledger_judge(&s, data, sizeof(data)), 0);
	CHECK_EQ(s.newest_at, 0);
	CHECK_EQ(s.newest.tx_reserved, 5000);
	CHECK(s.other_ok);
	CHECK_EQ(s.other.tx_reserved, 4256);

	put_both(data, &b, &a);
	CHECK_EQ(ledger_judge(&s, data, sizeof(data)), 0);
	CHECK_EQ(s.newest_at, 1);
	CHECK_EQ(s.newest.tx_reserved, 5000);
}

TEST(a_record_that_does_not_directly_precede_counts_as_lost)
{
	struct ledger_record a = sample(9), b = sample(7);
	uint8_t data[LEDGER_LEN];
	struct ledger_state s;

	put_both(data, &a, &b);
	CHECK_EQ(ledger_judge(&s, data, sizeof(data)), 0);
	CHECK_EQ(s.newest.generation, 9);
	CHECK(!s.other_ok);

	/* Two of one age: the one that allows more. */
	a = sample(7);
	b.tx_next = b.tx_reserved = 6000;
	put_both(data, &a, &b);
	CHECK_EQ(ledger_judge(&s, data, sizeof(data)), 0);
	CHECK_EQ(s.newest.tx_reserved, 6000);
	CHECK(!s.other_ok);
}

TEST(one_broken_record_leaves_the_other_and_two_leave_none)
{
	struct ledger_record a = sample(8), b = sample(7);
	uint8_t data[LEDGER_LEN];
	struct ledger_state s;

	put_both(data, &a, &b);
	data[100] ^= 1;
	CHECK_EQ(ledger_judge(&s, data, sizeof(data)), 0);
	CHECK_EQ(s.newest.generation, 7);
	CHECK_EQ(s.newest_at, 1);
	CHECK(!s.other_ok);
	data[LEDGER_BLOCK_LEN + 100] ^= 1;
	CHECK_EQ(ledger_judge(&s, data, sizeof(data)), LEDGER_E_BROKEN);
}

TEST(a_short_file_has_what_is_whole_in_it)
{
	struct ledger_record a = sample(7), b = sample(8);
	uint8_t data[LEDGER_LEN];
	struct ledger_state s;

	put_both(data, &a, &b);
	CHECK_EQ(ledger_judge(&s, data, 0), LEDGER_E_BROKEN);
	CHECK_EQ(ledger_judge(&s, data, LEDGER_BLOCK_LEN - 1), LEDGER_E_BROKEN);
	CHECK_EQ(ledger_judge(&s, data, LEDGER_LEN - 1), 0);
	CHECK_EQ(s.newest.generation, 7);
	CHECK(!s.other_ok);
}

TEST(records_of_two_tunnels_are_no_ledger)
{
	struct ledger_record a = sample(7), b = sample(8);
	uint8_t data[LEDGER_LEN];
	struct ledger_state s;

	b.fingerprint[0] ^= 1;
	put_both(data, &a, &b);
	CHECK_EQ(ledger_judge(&s, data, sizeof(data)), LEDGER_E_MIXED);
	a.fingerprint[0] ^= 1;
	put_both(data, &a, &b);
	be32_store(data + VERSION_AT, LEDGER_VERSION + 1);
	resum(data);
	CHECK_EQ(ledger_judge(&s, data, sizeof(data)), LEDGER_E_NEWER);
}

/* ---- the file ---- */

static char path[256];

static void fixture(void)
{
	struct ledger_record r = sample(0);

	CHECK_EQ(crypto_init(), 0);
	snprintf(path, sizeof(path), "%s/l", test_tmpdir());
	CHECK_EQ(ledger_create(path, &r), 0);
}

TEST(a_new_ledger_is_private_and_never_replaces_one)
{
	struct ledger_record r = sample(0);
	struct stat st;

	umask(0);
	fixture();
	CHECK_EQ(stat(path, &st), 0);
	CHECK_EQ(st.st_size, LEDGER_LEN);
	CHECK_EQ(st.st_mode & 0777, 0600);
	CHECK_EQ(ledger_create(path, &r), -EEXIST);
}

TEST(i1_one_ledger_is_opened_once)
{
	struct ledger_state s;
	struct ledger *a, *b;

	fixture();
	CHECK_EQ(ledger_open(&a, path, &s), 0);
	CHECK_EQ(ledger_open(&b, path, &s), -EWOULDBLOCK);
	ledger_close(a);
	CHECK_EQ(ledger_open(&b, path, &s), 0);
	ledger_close(b);
}

TEST(what_is_no_ledger_is_not_opened)
{
	struct ledger_state s;
	struct ledger *l;
	char other[300];

	fixture();
	snprintf(other, sizeof(other), "%s.none", path);
	CHECK_EQ(ledger_open(&l, other, &s), -ENOENT);
	CHECK_EQ(mkfifo(other, 0600), 0);
	CHECK_EQ(ledger_open(&l, other, &s), -EINVAL);
	unlink(other);
	CHECK_EQ(file_write_atomic(other, "x", 1, 0600), 0);
	CHECK_EQ(ledger_open(&l, other, &s), LEDGER_E_BROKEN);
	CHECK_EQ(ledger_open(&l, test_tmpdir(), &s), -EISDIR);
}

TEST(records_are_written_in_turn_so_that_nothing_old_stays)
{
	struct ledger_record r = sample(0);
	uint8_t data[LEDGER_LEN], old[32];
	struct ledger_state s;
	struct ledger *l;
	size_t len;
	char *text;

	fixture();
	memset(r.edge_sum, 0xa5, sizeof(r.edge_sum));
	memset(old, 0xa5, sizeof(old));
	CHECK_EQ(ledger_open(&l, path, &s), 0);
	CHECK_EQ(ledger_write(l, &r), 0);
	memset(r.edge_sum, 0x5a, sizeof(r.edge_sum));
	r.tx_next = r.tx_reserved = 4300;
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(file_read(&text, &len, path, sizeof(data)), 0);
		CHECK(memmem(text, len, old, sizeof(old)));
		free(text);
		CHECK_EQ(ledger_write(l, &r), 0);
	}
	CHECK_EQ(ledger_writes(l), 3);
	ledger_close(l);

	CHECK_EQ(file_read(&text, &len, path, sizeof(data)), 0);
	CHECK(!memmem(text, len, old, sizeof(old)));
	CHECK_EQ(ledger_judge(&s, (uint8_t *)text, len), 0);
	CHECK_EQ(s.newest.generation, 5);
	CHECK_EQ(s.newest.tx_reserved, 4300);
	CHECK(s.other_ok);
	free(text);
}

/* No file gets longer than this: a write across it is torn there. */
static void room(rlim_t len)
{
	const struct rlimit limit = { len, RLIM_INFINITY };

	signal(SIGXFSZ, SIG_IGN);
	CHECK_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void read_block(uint8_t block[static LEDGER_BLOCK_LEN], unsigned int at)
{
	_cleanup_free_ char *text = NULL;
	size_t len;

	CHECK_EQ(file_read(&text, &len, path, LEDGER_LEN), 0);
	CHECK_EQ(len, LEDGER_LEN);
	memcpy(block, text + at * LEDGER_BLOCK_LEN, LEDGER_BLOCK_LEN);
}

/* The only good record is the other one, however often it is tried. */
TEST(i1_a_write_that_failed_is_tried_again_in_the_same_block)
{
	struct ledger_record r = sample(0), found;
	uint8_t good[LEDGER_BLOCK_LEN], now[LEDGER_BLOCK_LEN];
	struct ledger_state s;
	struct ledger *l;

	fixture();
	CHECK_EQ(ledger_open(&l, path, &s), 0);
	for (unsigned int n = 0, newest = s.newest_at; n < 4; n++, newest = !newest) {
		read_block(good, newest);
		room(!newest * LEDGER_BLOCK_LEN + 1000);
		for (int i = 0; i < 3; i++) {
			CHECK_EQ(ledger_write(l, &r), -EFBIG);
			read_block(now, newest);
			CHECK_MEM(now, good, sizeof(now));
			read_block(now, !newest);
			CHECK_EQ(ledger_decode(&found, now), LEDGER_E_BROKEN);
		}
		room(RLIM_INFINITY);
		CHECK_EQ(ledger_write(l, &r), 0);
		read_block(now, newest);
		CHECK_MEM(now, good, sizeof(now));
	}
	ledger_close(l);
	CHECK_EQ(ledger_open(&l, path, &s), 0);
	CHECK_EQ(s.newest.generation, 2 + 4);
	CHECK(s.other_ok);
	ledger_close(l);
}

TEST(i1_a_ledger_that_was_deleted_or_replaced_takes_no_more)
{
	struct ledger_record r = sample(0);
	struct ledger_state s;
	struct ledger *l;

	fixture();
	CHECK_EQ(ledger_open(&l, path, &s), 0);
	CHECK_EQ(ledger_write(l, &r), 0);
	CHECK_EQ(file_write_atomic(path, "another", 7, 0600), 0);
	CHECK_EQ(ledger_write(l, &r), -ESTALE);
	ledger_close(l);
}

TEST(a_twin_is_found_under_any_name_but_its_own)
{
	struct ledger_record r = sample(0);
	char twin[300], name[64];

	fixture();
	CHECK_EQ(ledger_find_twin(test_tmpdir(), path, r.fingerprint, name, sizeof(name)), 0);
	CHECK_EQ(ledger_find_twin(test_tmpdir(), NULL, r.fingerprint, name, sizeof(name)), 1);
	CHECK_STR(name, "l");
	snprintf(twin, sizeof(twin), "%s.backup", path);
	CHECK_EQ(ledger_create(twin, &r), 0);
	CHECK_EQ(ledger_find_twin(test_tmpdir(), path, r.fingerprint, name, sizeof(name)), 1);
	CHECK_STR(name, "l.backup");
	r.fingerprint[0] ^= 1;
	CHECK_EQ(ledger_find_twin(test_tmpdir(), path, r.fingerprint, name, sizeof(name)), 0);
	CHECK_EQ(ledger_find_twin("/no/such/folder", path, r.fingerprint, name, sizeof(name)), -ENOENT);
}

/* ---- the thread ---- */

static int told = 1;
static uint64_t told_generation;

static void on_done(int error, const struct ledger_record *r, void *arg)
{
	told = error;
	told_generation = r->generation;
	loop_stop(arg, 0);
}

TEST(the_thread_writes_and_the_loop_hears_of_it)
{
	struct ledger_record r = sample(0);
	struct ledger_state s;
	struct ledger *l;
	struct loop *loop;

	fixture();
	CHECK_EQ(loop_new(&loop), 0);
	CHECK_EQ(ledger_open(&l, path, &s), 0);
	CHECK_EQ(ledger_start(l, loop, on_done, loop), 0);
	CHECK(!ledger_is_busy(l));
	ledger_submit(l, &r);
	CHECK(ledger_is_busy(l));
	loop_run(loop);
	CHECK_EQ(told, 0);
	CHECK_EQ(told_generation, 3);
	CHECK(!ledger_is_busy(l));

	/* The same without the loop. */
	told = 1;
	ledger_submit(l, &r);
	CHECK(ledger_wait(l, 10000));
	CHECK_EQ(told, 0);
	CHECK_EQ(told_generation, 4);
	/* What is under way when it closes is written, and told to nobody. */
	told = 1;
	ledger_submit(l, &r);
	ledger_close(l);
	CHECK_EQ(told, 1);
	CHECK_EQ(ledger_open(&l, path, &s), 0);
	CHECK_EQ(s.newest.generation, 5);
	ledger_close(l);
	loop_free(loop);
}

static void look_at(const char *name, struct ledger_state *s)
{
	CHECK_EQ(ledger_look(name, s), 0);
	CHECK(s->other_ok);
}

TEST(i1_a_finished_ledger_says_in_both_records_that_nothing_is_left)
{
	struct ledger_record r = sample(1);
	struct ledger_state s;
	char name[300];

	snprintf(name, sizeof(name), "%s/finished.ledger", test_tmpdir());
	CHECK_EQ(ledger_create(name, &r), 0);
	look_at(name, &s);
	CHECK(!ledger_record_is_finished(&s.newest));
	CHECK_EQ(ledger_finish(name, false), 0);
	look_at(name, &s);
	CHECK(ledger_record_is_finished(&s.newest));
	CHECK(ledger_record_is_finished(&s.other));
	CHECK_EQ(s.newest.tx_reserved, 100000);
	CHECK_EQ(s.newest.rx_high, 99999);
	CHECK_EQ(s.newest.erased, 2);
	CHECK_EQ(s.newest.generation, 4);
	/* Said once is enough. */
	CHECK_EQ(ledger_finish(name, false), 0);
	look_at(name, &s);
	CHECK_EQ(s.newest.generation, 4);
	CHECK_EQ(ledger_finish(name, true), 0);
	look_at(name, &s);
	CHECK_EQ(s.newest.erased, 100);
	CHECK_EQ(s.other.erased, 100);
	CHECK_MEM(s.newest.fingerprint, r.fingerprint, sizeof(r.fingerprint));
}

static bool file_says(const char *file, const char *text)
{
	_cleanup_free_ char *found = NULL;
	size_t len;

	return file_read(&found, &len, file, 100) == 0 && len == strlen(text) && memcmp(found, text, len) == 0;
}

TEST(i1_a_lost_ledger_is_made_anew_as_one_of_a_file_that_had_its_time)
{
	struct ledger_record r = sample(1);
	char name[300], table[320], twin[80];
	struct ledger_state s;

	snprintf(name, sizeof(name), "%s/lost.ledger", test_tmpdir());
	snprintf(table, sizeof(table), "%s.chunks", name);
	CHECK_EQ(ledger_bury(name, KEYS_RESPONDER, r.fingerprint), 0);
	look_at(name, &s);
	CHECK(s.other_ok && ledger_record_is_finished(&s.newest) && ledger_record_is_finished(&s.other));
	CHECK_EQ(s.newest.role, KEYS_RESPONDER);
	CHECK_EQ(access(table, F_OK), 0);
	CHECK_EQ(ledger_find_twin(test_tmpdir(), NULL, r.fingerprint, twin, sizeof(twin)), 1);
	CHECK_EQ(ledger_finish(name, true), 0);
	look_at(name, &s);
	CHECK_EQ(s.newest.erased, s.newest.slots_total);
	CHECK_EQ(unlink(name), 0);
	CHECK_EQ(unlink(table), 0);
}

TEST(i1_a_broken_ledger_is_buried_and_the_table_beside_it_kept)
{
	struct ledger_record r = sample(1);
	char name[300], table[320];
	struct ledger_state s;

	snprintf(name, sizeof(name), "%s/broken.ledger", test_tmpdir());
	snprintf(table, sizeof(table), "%s.chunks", name);
	CHECK_EQ(file_write_atomic(name, "neither record", 14, 0600), 0);
	CHECK_EQ(file_write_atomic(table, "hashes", 6, 0600), 0);
	CHECK_EQ(ledger_finish(name, false), LEDGER_E_BROKEN);
	CHECK_EQ(ledger_bury(name, KEYS_INITIATOR, r.fingerprint), 0);
	look_at(name, &s);
	CHECK(ledger_record_is_finished(&s.newest));
	CHECK_MEM(s.newest.fingerprint, r.fingerprint, sizeof(r.fingerprint));
	CHECK(file_says(table, "hashes"));
	CHECK_EQ(unlink(name), 0);
	CHECK_EQ(unlink(table), 0);
}

TEST(a_ledger_that_is_open_is_not_finished_by_others)
{
	_cleanup_(ledger_closep) struct ledger *l = NULL;
	struct ledger_record r = sample(1);
	struct ledger_state s;
	char name[300];

	snprintf(name, sizeof(name), "%s/open.ledger", test_tmpdir());
	CHECK_EQ(ledger_create(name, &r), 0);
	CHECK_EQ(ledger_open(&l, name, &s), 0);
	CHECK_EQ(ledger_finish(name, false), -EWOULDBLOCK);
	l = ledger_close(l);
	CHECK_EQ(ledger_finish(name, false), 0);
}

TEST(i1_a_ledger_is_unused_only_when_both_records_say_so)
{
	struct ledger_record r = { .kind = LEDGER_FILE, .slots_total = 100, .tx_limit = 256, .rx_high = LEDGER_NONE };
	struct ledger_record used = sample(1);
	uint8_t blocks[LEDGER_LEN];
	struct ledger_state s;
	char name[300];

	snprintf(name, sizeof(name), "%s/unused.ledger", test_tmpdir());
	CHECK_EQ(ledger_create(name, &r), 0);
	look_at(name, &s);
	CHECK(ledger_state_is_unused(&s));
	for (unsigned int i = 0; i < 5; i++) {
		struct ledger_record n = r;

		n.handshaken = i == 0;
		n.tx_reserved = i == 1 ? 256 : 0;
		n.rx_mark = i == 2 ? 1 : 0;
		n.restored = i == 3;
		n.generation = 2;
		r.generation = 1;
		ledger_encode(blocks, &r);
		ledger_encode(blocks + LEDGER_BLOCK_LEN, &n);
		/* The one that is lost may be the newer. */
		if (i == 4)
			blocks[LEDGER_BLOCK_LEN + 100] ^= 1;
		CHECK_EQ(ledger_judge(&s, blocks, sizeof(blocks)), 0);
		CHECK(!ledger_state_is_unused(&s));
	}
	snprintf(name, sizeof(name), "%s/used.ledger", test_tmpdir());
	CHECK_EQ(ledger_create(name, &used), 0);
	look_at(name, &s);
	CHECK(!ledger_state_is_unused(&s));
}

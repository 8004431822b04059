/* What is written, and erased, when nothing passes any more, and what of spent keys is left on the disk. */
#include "unit/pskd/keys_end.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "event/loop.h"
#include "pskd/keys/ledger.h"
#include "pskd/keys/ratchet.h"

/* ---- I10 ---- */

TEST(i10_idle_ledger_writes_nothing)
{
	struct keys_info before, after;
	struct stat st, st_after;
	uint64_t t = 0, high = 3000;
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	end_open(&a);
	for (int i = 0; i < 3000; i++)
		take_one(&a);
	CHECK(rx_wait(&a, high));
	for (; t < 20000; t += 1000) {
		keys_tick(a.keys, t);
		settle(&a);
	}
	keys_info(a.keys, &before);
	CHECK_EQ(stat(a.ledger, &st), 0);
	/* An hour of nothing. */
	for (; t < 60 * 60 * 1000; t += 1000) {
		keys_tick(a.keys, t);
		loop_step(a.loop, 0);
	}
	settle(&a);
	keys_info(a.keys, &after);
	CHECK_EQ(after.ledger_writes, before.ledger_writes);
	CHECK_EQ(stat(a.ledger, &st_after), 0);
	CHECK_EQ(st.st_mtim.tv_sec, st_after.st_mtim.tv_sec);
	CHECK_EQ(st.st_mtim.tv_nsec, st_after.st_mtim.tv_nsec);
	/* Another with a keepalive each way every 25 s: they use sequences, so once in 128 of them. */
	for (; t < 2 * 60 * 60 * 1000; t += 1000) {
		if (t % 25000 == 0) {
			take_one(&a);
			CHECK(rx_wait(&a, ++high));
		}
		keys_tick(a.keys, t);
		loop_step(a.loop, 0);
	}
	settle(&a);
	keys_info(a.keys, &after);
	CHECK(after.ledger_writes <= before.ledger_writes + 2);
	end_done(&a);
}

TEST(i10_erasing_comes_to_an_end)
{
	struct keys_info before, after;
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	a.o.erase = KEYS_ERASE_ZERO;
	a.o.window = 4096;
	end_create_file(&a, 200);
	end_open(&a);
	for (uint64_t i = 0; i < 20000; i++) {
		take_one(&a);
		CHECK(rx_wait(&a, i));
	}
	be_silent(&a);
	keys_info(a.keys, &before);
	CHECK_EQ(before.slots_erased, 15);
	be_silent(&a);
	be_silent(&a);
	keys_info(a.keys, &after);
	CHECK_EQ(after.ledger_writes, before.ledger_writes);
	end_done(&a);
}

TEST(i10_opening_and_closing_writes_nothing)
{
	struct snapshot before, after;
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	ledger_save(&a, &before);
	end_open(&a);
	settle(&a);
	end_close(&a);
	ledger_save(&a, &after);
	CHECK_MEM(&after, &before, sizeof(after));
	end_done(&a);
}

TEST(a_burst_gives_back_what_it_reserved)
{
	const struct slot_key *slot;
	struct keys_info info;
	uint64_t first, t;
	struct end a, b;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	end_open(&a);
	for (int i = 0; i < 3000; i++)
		CHECK(take_wait(&a, 64, &first, &slot) > 0);
	settle(&a);
	keys_info(a.keys, &info);
	CHECK(info.tx_reserved > info.tx_next + 4096);
	for (t = 0; t < 8000; t += 1000)
		keys_tick(a.keys, t);
	settle(&a);
	keys_info(a.keys, &info);
	CHECK(info.tx_reserved <= info.tx_next + 256);
	/* Lowered on disk, so lowered here: what a crash would repeat is not handed out. */
	for (int i = 0; i < 100; i++)
		CHECK(take_wait(&a, 64, &first, &slot) > 0);
	end_crash(&a, &b);
	end_open(&b);
	CHECK(keys_tx_next(b.keys) > first);
	end_done(&b);
	end_done(&a);
}

/* ---- erasing and forward secrecy ---- */

static bool slot_is_zero(const struct end *e, uint64_t slot)
{
	static const uint8_t zero[SLOT_LEN];
	uint8_t b[SLOT_LEN];
	int fd = open(e->file, O_RDONLY);

	CHECK_EQ(pread(fd, b, SLOT_LEN, (off_t)(slot * SLOT_LEN)), SLOT_LEN);
	close(fd);
	return memcmp(b, zero, SLOT_LEN) == 0;
}

static void spend(struct end *e, uint64_t until)
{
	const struct slot_key *slot;
	uint64_t first;

	while (keys_tx_next(e->keys) < until) {
		CHECK(take_wait(e, 100, &first, &slot) > 0);
		CHECK(rx_wait(e, first));
		for (int i = 0; i < 1000 && !keys_rx_slot(e->keys, first / SLOT_PACKETS + 1); i++)
			loop_step(e->loop, 10);
	}
	settle(e);
}

static void check_erasing(enum keys_erase how)
{
	struct keys_info info;
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	a.o.erase = how;
	a.o.window = 4096;
	end_create_file(&a, 200);
	end_open(&a);
	spend(&a, 60000);
	be_silent(&a);
	keys_info(a.keys, &info);
	/* 60000 less the window and a little. */
	CHECK_EQ(info.slots_erased, 55);
	CHECK_EQ(info.erase_error, 0);
	CHECK(slot_is_zero(&a, 0));
	CHECK(slot_is_zero(&a, info.slots_erased - 1));
	CHECK(!slot_is_zero(&a, info.slots_erased));
	/* The hashes follow: the file is still known, and still believed. */
	end_close(&a);
	end_open(&a);
	spend(&a, 120000);
	end_close(&a);
	end_open(&a);
	end_done(&a);
}

TEST(spent_slots_are_written_over)
{
	check_erasing(KEYS_ERASE_ZERO);
}

TEST(spent_slots_are_punched_out)
{
	check_erasing(KEYS_ERASE_PUNCH);
}

/* How far the zeros go on disk, looked at before the records, which only ever say more. */
static void check_announced(const struct end *e)
{
	uint64_t zeros = 0;
	struct snapshot s;

	while (slot_is_zero(e, zeros))
		zeros++;
	ledger_save(e, &s);
	for (size_t i = 0; i < 2; i++) {
		struct ledger_record r;

		/* One of them may be just being written. */
		if (ledger_decode(&r, s.b + i * LEDGER_BLOCK_LEN) == 0)
			CHECK(zeros <= r.erase_to);
	}
}

TEST(i1_zeros_are_announced_in_both_records_before_they_are_written)
{
	const struct slot_key *slot;
	struct keys_info info;
	uint64_t first;
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	a.o.erase = KEYS_ERASE_ZERO;
	a.o.window = 4096;
	end_create_file(&a, 200);
	end_open(&a);
	while (keys_tx_next(a.keys) < 60000) {
		CHECK(take_wait(&a, 100, &first, &slot) > 0);
		CHECK(rx_wait(&a, first));
		loop_step(a.loop, 1);
		check_announced(&a);
		if (first % 7000 < 100)
			be_silent(&a);
	}
	keys_info(a.keys, &info);
	CHECK(info.slots_erased > 10);
	end_done(&a);
}

/* The first piece is not as it was, so that no step of erasing there succeeds. */
static void damage_first_piece(const struct end *e)
{
	uint8_t b;
	int fd = open(e->file, O_RDWR);

	CHECK_EQ(pread(fd, &b, 1, SLOT_LEN * 500), 1);
	b ^= 1;
	CHECK_EQ(pwrite(fd, &b, 1, SLOT_LEN * 500), 1);
	close(fd);
}

/* A jump that comes so many turns of the loop after a silence began, in which erasing begins and fails. */
static void check_jump(unsigned int turns)
{
	struct end a;
	char name[16];
	int r;

	snprintf(name, sizeof(name), "a%u", turns);
	end_init(&a, name, KEYS_INITIATOR);
	a.o.erase = KEYS_ERASE_ZERO;
	a.o.window = 4096;
	end_create_file(&a, 12000);
	end_open(&a);
	spend(&a, 6000);
	damage_first_piece(&a);
	keys_tick(a.keys, 1000);
	keys_tick(a.keys, 7000);
	for (unsigned int i = 0; i < turns; i++)
		loop_step(a.loop, 1);
	a.n_ready = 0;
	r = keys_tx_forward(a.keys, UINT64_C(10000) * SLOT_PACKETS, true);
	CHECK_EQ(r, KEYS_E_NOT_READY);
	for (int i = 0; i < 1000 && a.n_ready == 0; i++)
		loop_step(a.loop, 10);
	CHECK(a.n_ready > 0);
	CHECK_EQ(a.last_error, 0);
	CHECK_EQ(take_one(&a), UINT64_C(10000) * SLOT_PACKETS);
	end_done(&a);
}

TEST(what_waits_for_slots_goes_on_when_erasing_fails)
{
	for (unsigned int turns = 0; turns < 12; turns++)
		check_jump(turns);
}

TEST(slots_that_one_direction_still_needs_are_kept)
{
	const struct slot_key *slot;
	struct keys_info info;
	struct end a;
	uint64_t first;

	end_init(&a, "a", KEYS_INITIATOR);
	a.o.erase = KEYS_ERASE_ZERO;
	end_create_file(&a, 200);
	end_open(&a);
	while (keys_tx_next(a.keys) < 50000)
		CHECK(take_wait(&a, 100, &first, &slot) > 0);
	be_silent(&a);
	keys_info(a.keys, &info);
	CHECK_EQ(info.slots_erased, 0);
	CHECK(!slot_is_zero(&a, 0));
	end_done(&a);
}

TEST(a_used_and_erased_file_cannot_be_added_again)
{
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	a.o.erase = KEYS_ERASE_ZERO;
	a.o.window = 4096;
	end_create_file(&a, 200);
	end_open(&a);
	spend(&a, 60000);
	be_silent(&a);
	end_close(&a);
	CHECK_EQ(keys_remove(a.ledger), 0);
	CHECK_EQ(keys_create_file(&a.o, NULL, NULL, a.detail, sizeof(a.detail)), KEYS_E_BAD_FILE);
	CHECK(strstr(a.detail, "erased"));
	end_done(&a);
}

static void check_chains(const struct end *e, unsigned int n, bool there)
{
	uint8_t root[32], chain[32];
	struct snapshot s;

	for (size_t i = 0; i < sizeof(root); i++)
		root[i] = (uint8_t)i;
	ledger_save(e, &s);
	CHECK(!memmem(s.b, sizeof(s.b), root, 32));
	for (unsigned int d = 0; d < 2; d++) {
		ratchet_start(chain, root, tunnel_id, d);
		for (unsigned int i = 0; i < n; i++) {
			CHECK_EQ(memmem(s.b, sizeof(s.b), chain, 32) != NULL, there);
			ratchet_step(chain, 1);
		}
	}
}

TEST(spent_chains_are_gone_from_the_disk_after_a_silence_and_a_stop)
{
	uint64_t i = 0;
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	check_chains(&a, 1, true);
	end_open(&a);
	for (; i < 8000; i++) {
		take_one(&a);
		CHECK(rx_wait(&a, i));
	}
	be_silent(&a);
	check_chains(&a, 8, false);
	for (; i < 12500; i++) {
		take_one(&a);
		CHECK(rx_wait(&a, i));
	}
	end_close(&a);
	check_chains(&a, 12, false);
	end_done(&a);
}

/* Both records move on at a stop, also where the one before the last was written in the slot before. */
TEST(i5_chains_of_a_slot_just_left_are_gone_after_a_stop)
{
	static const uint64_t ends[] = { 12001, 12002, 12010, 12033, 12065 };

	for (size_t n = 0; n < ARRAY_SIZE(ends); n++) {
		char name[16];
		struct end a;

		snprintf(name, sizeof(name), "stop%zu", n);
		end_init(&a, name, KEYS_INITIATOR);
		end_create_root(&a);
		end_open(&a);
		for (uint64_t i = 0; i < ends[n]; i++) {
			take_one(&a);
			CHECK(rx_wait(&a, i));
		}
		end_close(&a);
		check_chains(&a, 12, false);
		end_done(&a);
	}
}

/* The blocks that a ledger had hold zeros: seen through another name of the same file. */
TEST(i5_a_removed_ledger_is_written_over)
{
	struct snapshot s;
	char other[300];
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	snprintf(other, sizeof(other), "%s.other", a.ledger);
	CHECK_EQ(link(a.ledger, other), 0);
	CHECK_EQ(keys_remove(a.ledger), 0);
	CHECK(access(a.ledger, F_OK) < 0);
	CHECK_EQ(rename(other, a.ledger), 0);
	ledger_save(&a, &s);
	for (size_t i = 0; i < sizeof(s.b); i++)
		CHECK_EQ(s.b[i], 0);
	end_done(&a);
}

TEST(removing_a_ledger_leaves_neither_it_nor_its_table)
{
	char table[300];
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_file(&a, 20);
	snprintf(table, sizeof(table), "%s.chunks", a.ledger);
	CHECK_EQ(access(table, F_OK), 0);
	CHECK_EQ(keys_remove(a.ledger), 0);
	CHECK(access(a.ledger, F_OK) < 0);
	CHECK(access(table, F_OK) < 0);
	CHECK_EQ(access(a.file, F_OK), 0);
	CHECK_EQ(keys_remove(a.ledger), 0);
	CHECK_EQ(end_try_open(&a), -ENOENT);
	end_done(&a);
}

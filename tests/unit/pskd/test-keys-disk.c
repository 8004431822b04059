/* I1: no sequence is handed out twice by two who have the same, or on a disk that fails. */
#include "unit/pskd/keys_end.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "event/loop.h"
#include "pskd/keys/ledger.h"
#include "unit/pskd/failing_sync.h"

/* ---- I1: two of one ---- */

TEST(i1_second_daemon_is_refused)
{
	int status, ready[2];
	struct end a;
	pid_t pid;
	char c;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_file(&a, 20);
	CHECK_EQ(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (end_try_open(&a))
			_exit(1);
		(void)!write(ready[1], "x", 1);
		pause();
	}
	CHECK_EQ(read(ready[0], &c, 1), 1);
	CHECK_EQ(end_try_open(&a), KEYS_E_IN_USE);
	CHECK(strstr(a.detail, "another process"));
	kill(pid, SIGKILL);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	/* Its lock died with it. */
	end_open(&a);
	end_done(&a);
}

TEST(i1_one_key_file_serves_one_ledger)
{
	struct end a, b;

	end_init(&a, "a", KEYS_INITIATOR);
	end_init(&b, "b", KEYS_INITIATOR);
	end_create_file(&a, 20);

	/* The same file under another name, from another daemon's folder. */
	snprintf(b.file, sizeof(b.file), "%s/link.psk", b.dir);
	CHECK_EQ(link(a.file, b.file), 0);
	b.o.key_file = b.file;
	end_open(&a);
	CHECK_EQ(keys_create_file(&b.o, NULL, NULL, b.detail, sizeof(b.detail)), KEYS_E_IN_USE);
	end_close(&a);
	CHECK_EQ(keys_create_file(&b.o, NULL, NULL, b.detail, sizeof(b.detail)), 0);
	end_open(&a);
	CHECK_EQ(end_try_open(&b), KEYS_E_IN_USE);
	end_close(&a);
	end_open(&b);
	CHECK_EQ(end_try_open(&a), KEYS_E_IN_USE);
	end_done(&b);
	end_done(&a);
}

TEST(i1_a_copy_of_a_key_file_is_refused_beside_the_first)
{
	char copy[300], ledger[300], twin[80] = "";
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_file(&a, 20);
	snprintf(copy, sizeof(copy), "%s.copy", a.file);
	snprintf(ledger, sizeof(ledger), "%s/second.ledger", a.dir);
	copy_file(copy, a.file);
	a.o.key_file = copy;
	a.o.ledger_path = ledger;
	a.o.twin = twin;
	a.o.twin_cap = sizeof(twin);
	CHECK_EQ(keys_create_file(&a.o, NULL, NULL, a.detail, sizeof(a.detail)), KEYS_E_IN_USE);
	CHECK_STR(twin, strrchr(a.ledger, '/') + 1);
	CHECK(strstr(a.detail, "t.ledger"));
	CHECK(access(ledger, F_OK) < 0);
	end_done(&a);
}

TEST(i1_cloned_ledger_beside_its_original_is_refused)
{
	char clone[300];
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	snprintf(clone, sizeof(clone), "%s.clone", a.ledger);
	copy_file(clone, a.ledger);
	CHECK_EQ(end_try_open(&a), KEYS_E_IN_USE);
	CHECK(strstr(a.detail, "t.ledger.clone"));
	a.o.ledger_path = clone;
	CHECK_EQ(end_try_open(&a), KEYS_E_IN_USE);
	CHECK_EQ(unlink(a.ledger), 0);
	end_open(&a);
	end_done(&a);
}

TEST(i1_a_ledger_is_not_opened_in_the_other_role)
{
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	a.o.role = KEYS_RESPONDER;
	CHECK_EQ(end_try_open(&a), KEYS_E_LEDGER);
	CHECK(strstr(a.detail, "initiator"));
	end_done(&a);
}

/* ---- I1: the disk ---- */

/* A lowered mark whose writing failed may be what the next life finds: nothing above it is used any more. */
TEST(i1_a_mark_that_was_lowered_in_vain_is_kept_to)
{
	const struct slot_key *slot;
	uint64_t first = 0, used;
	struct keys_info info;
	struct end a, b;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	end_open(&a);
	for (int i = 0; i < 3000; i++)
		CHECK(take_wait(&a, 64, &first, &slot) > 0);
	settle(&a);
	keys_info(a.keys, &info);
	used = info.tx_next - 1;
	CHECK(info.tx_reserved > info.tx_next + 4096);
	sync_fails = true;
	for (uint64_t t = 0; t < 8000; t += 1000)
		keys_tick(a.keys, t);
	for (int i = 0; i < 100 && !a.last_error; i++)
		loop_step(a.loop, 10);
	CHECK_EQ(a.last_error, -EIO);
	for (int n = 1; n > 0;) {
		n = keys_tx_take(a.keys, 64, &first, &slot);
		if (n > 0)
			used = first + (unsigned int)n - 1;
	}
	end_crash(&a, &b);
	sync_fails = false;
	end_open(&b);
	if (keys_tx_next(b.keys) <= used)
		test_fail(__FILE__, __LINE__, "%llu again, %llu was used", (unsigned long long)keys_tx_next(b.keys),
			  (unsigned long long)used);
	end_done(&b);
	end_done(&a);
}

/* A write that failed left the old record where it was: what that one promised binds as long. */
TEST(i1_a_jump_that_one_record_tells_of_is_not_used_when_the_other_cannot_be_written)
{
	const struct slot_key *slot;
	uint64_t first;
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_file(&a, 2000);
	end_open(&a);
	take_one(&a);
	syncs_left = 1;
	(void)keys_tx_forward(a.keys, 1500000, true);
	for (int i = 0; i < 500 && !a.last_error; i++)
		loop_step(a.loop, 10);
	CHECK(a.last_error != 0);
	CHECK_EQ(keys_tx_take(a.keys, 1, &first, &slot), -KEYS_E_NOT_READY);
	disk_full(false);
	end_done(&a);
}

/* What was burned because somebody asked for it stays burned, also when the newest record is lost. */
TEST(i1_a_burn_that_was_told_outlives_the_loss_of_a_record)
{
	struct snapshot told, lost;
	struct end a;

	for (unsigned int n = 0; n < 2; n++) {
		char name[16];

		snprintf(name, sizeof(name), "a%u", n);
		end_init(&a, name, KEYS_INITIATOR);
		end_create_file(&a, 2000);
		end_open(&a);
		take_one(&a);
		CHECK_EQ(keys_tx_forward(a.keys, 1500000, true), KEYS_E_NOT_READY);
		CHECK_EQ(keys_make_durable(a.keys), 0);
		ledger_save(&a, &told);
		end_close(&a);
		lost = told;
		lost.b[n * LEDGER_BLOCK_LEN + 77] ^= 1;
		ledger_restore(&a, &lost);
		end_open(&a);
		CHECK(keys_tx_next(a.keys) >= 1500000);
		end_done(&a);
	}
}

TEST(a_burn_that_was_made_durable_leaves_the_rest_to_be_sent)
{
	const struct slot_key *slot;
	uint64_t first;
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_file(&a, 40);
	end_open(&a);
	take_one(&a);
	settle(&a);
	CHECK_EQ(keys_tx_forward(a.keys, 30000, true), KEYS_E_NOT_READY);
	CHECK_EQ(keys_make_durable(a.keys), 0);
	settle(&a);
	for (int i = 0; i < 2000; i++)
		CHECK_EQ(take_wait(&a, 1, &first, &slot), 1);
	end_done(&a);
}

TEST(i1_full_disk_stops_sending_before_reuse)
{
	const struct slot_key *slot;
	struct keys_info info;
	uint64_t first, used;
	struct end a, b;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	end_open(&a);
	used = take_one(&a);
	settle(&a);
	disk_full(true);
	/* What is durable may be used up. Then it ends, and says so. */
	used = take_until_error(&a, used);
	CHECK_EQ(a.last_error, -EFBIG);
	keys_info(a.keys, &info);
	CHECK_EQ(info.write_error, -EFBIG);
	CHECK_EQ(used + 1, info.tx_reserved);
	disk_full(false);

	/* A crash now: the next life is past it. */
	end_crash(&a, &b);
	end_open(&b);
	CHECK(keys_tx_next(b.keys) > used);
	end_done(&b);

	/* Or room again: it goes on by itself. */
	a.n_ready = 0;
	CHECK_EQ(take_wait(&a, 1, &first, &slot), 1);
	CHECK_EQ(first, used + 1);
	settle(&a);
	CHECK(a.n_ready > 0);
	CHECK_EQ(a.last_error, 0);
	end_done(&a);
}

TEST(receiving_goes_on_while_the_ledger_cannot_be_written)
{
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	end_open(&a);
	disk_full(true);
	take_until_error(&a, UINT64_MAX);
	for (uint64_t i = 0; i < 60; i++) {
		for (int j = 0; j < 100 && !keys_rx_slot(a.keys, i); j++)
			loop_step(a.loop, 10);
		CHECK(keys_rx_slot(a.keys, i));
		CHECK(rx_wait(&a, i * SLOT_PACKETS));
	}
	disk_full(false);
	end_done(&a);
}

TEST(i1_a_close_that_cannot_be_written_gives_nothing_back)
{
	uint64_t used = 0;
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	end_open(&a);
	for (int i = 0; i < 1000; i++)
		used = take_one(&a);
	settle(&a);
	disk_full(true);
	end_close(&a);
	disk_full(false);
	end_open(&a);
	CHECK(keys_tx_next(a.keys) > used);
	end_done(&a);
}

TEST(i1_a_close_that_was_begun_gives_nothing_out_and_is_exact)
{
	const struct slot_key *slot;
	struct keys_info before, info;
	uint64_t first;
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	end_open(&a);
	for (uint64_t i = 0; i < 1500; i++)
		CHECK_EQ(take_one(&a), i);
	CHECK(rx_wait(&a, 1234));
	settle(&a);
	keys_info(a.keys, &before);
	keys_begin_close(a.keys);
	CHECK_EQ(keys_tx_take(a.keys, 1, &first, &slot), -KEYS_E_NOT_READY);
	/* Also when the record is durable, and somebody asks for more. */
	for (int i = 0; i < 200; i++) {
		loop_step(a.loop, 1);
		CHECK_EQ(keys_tx_take(a.keys, 1, &first, &slot), -KEYS_E_NOT_READY);
		keys_go_on(a.keys);
	}
	keys_info(a.keys, &info);
	CHECK_EQ(info.ledger_writes, before.ledger_writes + 1);
	CHECK_EQ(info.tx_reserved, 1500);
	end_close(&a);
	end_open(&a);
	CHECK_EQ(a.recovered, 0);
	CHECK_EQ(keys_rx_floor(a.keys), 1235);
	CHECK_EQ(take_one(&a), 1500);
	/* What came after it was begun counts, too. */
	CHECK(rx_wait(&a, 1240));
	settle(&a);
	keys_begin_close(a.keys);
	CHECK(keys_rx_advance(a.keys, 1300));
	end_close(&a);
	end_open(&a);
	CHECK_EQ(keys_rx_floor(a.keys), 1301);
	CHECK_EQ(take_one(&a), 1501);
	end_done(&a);
}

TEST(i1_a_close_that_was_begun_while_more_was_being_reserved_gives_nothing_out)
{
	const struct slot_key *slot;
	struct keys_info info;
	uint64_t first;
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	end_open(&a);
	take_one(&a);
	settle(&a);
	/* More is wanted now, and the loop has not heard of it yet; some of what was there is left. */
	for (uint64_t i = 1; i < 200; i++)
		CHECK_EQ(keys_tx_take(a.keys, 1, &first, &slot), 1);
	keys_info(a.keys, &info);
	CHECK(info.tx_reserved > 200);
	keys_begin_close(a.keys);
	for (int i = 0; i < 50; i++) {
		CHECK_EQ(keys_tx_take(a.keys, 1, &first, &slot), -KEYS_E_NOT_READY);
		loop_step(a.loop, 1);
	}
	end_close(&a);
	end_open(&a);
	CHECK_EQ(a.recovered, 0);
	CHECK_EQ(take_one(&a), 200);
	end_done(&a);
}

TEST(nobody_is_told_of_anything_once_a_close_was_begun)
{
	const struct slot_key *slot;
	uint64_t first;
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	end_open(&a);
	CHECK_EQ(keys_tx_take(a.keys, 1, &first, &slot), -KEYS_E_NOT_READY);
	/* That there is something to send with now is about to be told. */
	CHECK_EQ(keys_make_durable(a.keys), 0);
	keys_begin_close(a.keys);
	for (int i = 0; i < 20; i++)
		loop_step(a.loop, 1);
	CHECK_EQ(a.n_ready, 0);
	end_done(&a);
}

TEST(i1_a_close_that_was_begun_and_cannot_be_written_gives_nothing_back)
{
	uint64_t used = 0;
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	end_open(&a);
	for (int i = 0; i < 1000; i++)
		used = take_one(&a);
	settle(&a);
	disk_full(true);
	keys_begin_close(a.keys);
	end_close(&a);
	disk_full(false);
	end_open(&a);
	CHECK(keys_tx_next(a.keys) > used);
	end_done(&a);
}

TEST(i9_a_ledger_that_finds_no_room_is_not_made_in_part)
{
	uint8_t root[32] = { 1 };
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	disk_full(true);
	CHECK_EQ(keys_create_root(&a.o, root, tunnel_id, a.detail, sizeof(a.detail)), -EFBIG);
	disk_full(false);
	CHECK(access(a.ledger, F_OK) < 0);
	/* It was not stored, so it must not be gone. */
	CHECK_EQ(root[0], 1);
	CHECK_EQ(keys_create_root(&a.o, root, tunnel_id, a.detail, sizeof(a.detail)), 0);
	CHECK_EQ(root[0], 0);
	CHECK_EQ(keys_create_root(&a.o, root, tunnel_id, a.detail, sizeof(a.detail)), KEYS_E_EXISTS);
	end_done(&a);
}

TEST(i1_a_ledger_on_a_read_only_disk_is_not_opened)
{
	struct end a;

	if (geteuid() != 0)
		test_skip("needs root for mounting");
	end_init(&a, "a", KEYS_INITIATOR);
	if (mount("none", a.dir, "tmpfs", 0, "size=64k") < 0)
		test_skip("cannot mount: %s", strerror(errno));
	end_create_root(&a);
	CHECK_EQ(mount("none", a.dir, "tmpfs", MS_REMOUNT | MS_RDONLY, NULL), 0);
	CHECK_EQ(end_try_open(&a), -EROFS);
	CHECK(strstr(a.detail, "ead-only"));
	umount2(a.dir, MNT_DETACH);
	end_done(&a);
}

/* Key material without handshakes: nothing is received twice, and little is lost by a crash. */
#include "unit/pskd/keys_end.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "event/loop.h"
#include "pskd/keys/ledger.h"
#include "unit/pskd/failing_sync.h"

static bool test_is_tmpfs(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
}

/* ---- handshakes and prototype ---- */

TEST(i1_material_that_has_seen_a_handshake_needs_them_for_ever)
{
	struct snapshot s;
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	a.o.prototype = true;
	end_open(&a);
	end_close(&a);
	a.o.prototype = false;
	end_open(&a);
	CHECK_EQ(keys_mark_handshaken(a.keys), 0);
	end_close(&a);
	a.o.prototype = true;
	CHECK_EQ(end_try_open(&a), KEYS_E_NEEDS_HANDSHAKE);
	/* Both records know it. */
	for (size_t i = 0; i < 2; i++) {
		ledger_save(&a, &s);
		s.b[i * LEDGER_BLOCK_LEN + 60] ^= 1;
		ledger_restore(&a, &s);
		CHECK_EQ(end_try_open(&a), KEYS_E_NEEDS_HANDSHAKE);
		s.b[i * LEDGER_BLOCK_LEN + 60] ^= 1;
		ledger_restore(&a, &s);
	}
	end_done(&a);
}

static void flip_first_bit(const char *path)
{
	int fd = open(path, O_RDWR);
	uint8_t b;

	CHECK(fd >= 0);
	CHECK_EQ(pread(fd, &b, 1, 0), 1);
	b ^= 1;
	CHECK_EQ(pwrite(fd, &b, 1, 0), 1);
	close(fd);
}

/* A ledger of the tunnel's name may be of the file that it had before: then the next name is tried. */
TEST(what_another_file_was_used_for_forbids_a_prototype_nothing)
{
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_file(&a, 50);
	end_open(&a);
	CHECK_EQ(keys_mark_handshaken(a.keys), 0);
	end_close(&a);
	a.o.prototype = true;
	CHECK_EQ(end_try_open(&a), KEYS_E_NEEDS_HANDSHAKE);
	flip_first_bit(a.file);
	CHECK_EQ(end_try_open(&a), KEYS_E_CHANGED);
	flip_first_bit(a.file);
	CHECK_EQ(end_try_open(&a), KEYS_E_NEEDS_HANDSHAKE);
	CHECK_EQ(truncate(a.file, (off_t)49 * SLOT_LEN), 0);
	CHECK_EQ(end_try_open(&a), KEYS_E_CHANGED);
	end_done(&a);
}

/* Erased below its middle, it is known by what is left; erased whole, by nothing, and the ledger counts. */
TEST(i1_an_erased_file_needs_handshakes_as_before)
{
	struct end a;
	uint64_t first;
	const struct slot_key *slot;

	end_init(&a, "a", KEYS_INITIATOR);
	a.o.erase = KEYS_ERASE_ZERO;
	end_create_file(&a, 50);
	end_open(&a);
	CHECK_EQ(keys_mark_handshaken(a.keys), 0);
	for (uint64_t i = 0; i < 20000; i++) {
		CHECK(take_wait(&a, 1, &first, &slot) == 1);
		CHECK(keys_rx_advance(a.keys, i));
	}
	be_silent(&a);
	end_close(&a);
	a.o.prototype = true;
	CHECK_EQ(end_try_open(&a), KEYS_E_NEEDS_HANDSHAKE);
	CHECK_EQ(ledger_finish(a.ledger, false), 0);
	CHECK_EQ(end_try_open(&a), KEYS_E_NEEDS_HANDSHAKE);
	end_done(&a);
}

/* Nothing is left to be drawn, so that no hash would show it. */
TEST(what_is_left_of_a_file_is_not_told_by_another_files_ledger)
{
	struct keys_info info;
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_file(&a, 50);
	CHECK_EQ(ledger_finish(a.ledger, false), 0);
	end_open(&a);
	keys_info(a.keys, &info);
	CHECK_EQ(info.packets_left, 0);
	end_close(&a);
	flip_first_bit(a.file);
	CHECK_EQ(end_try_open(&a), KEYS_E_CHANGED);
	flip_first_bit(a.file);
	end_open(&a);
	end_close(&a);
	/* Of a file that was erased, a copy shows itself. */
	CHECK_EQ(ledger_finish(a.ledger, true), 0);
	CHECK_EQ(end_try_open(&a), KEYS_E_CHANGED);
	CHECK_EQ(truncate(a.file, 0), 0);
	CHECK_EQ(truncate(a.file, (off_t)50 * SLOT_LEN), 0);
	end_open(&a);
	end_done(&a);
}

TEST(i1_prototype_receives_nothing_twice_across_a_crash)
{
	uint64_t got = 0;
	struct end a, b;

	end_init(&a, "a", KEYS_RESPONDER);
	end_create_root(&a);
	a.o.prototype = true;
	end_open(&a);
	for (uint64_t i = 0; i < 700; i++)
		if (keys_rx_advance(a.keys, i))
			got = i;
	CHECK(got > 600);
	end_crash(&a, &b);
	end_open(&b);
	CHECK(keys_rx_floor(b.keys) > got);
	CHECK(keys_rx_floor(b.keys) <= got + 1 + 256);
	CHECK(!keys_rx_advance(b.keys, got));
	end_done(&b);
	end_done(&a);
}

/* A path on a tmpfs, as /run is. */
static void tmpfs_path(char out[64])
{
	snprintf(out, 64, "/dev/shm/hf-test-received-%d", (int)getpid());
	unlink(out);
}

/* The process ends, the machine does not: the same key file and ledger elsewhere, and the same /run. */
static void end_crash_file(struct end *e, struct end *next, const char *name)
{
	struct snapshot s;

	settle(e);
	ledger_save(e, &s);
	end_init(next, name, e->o.role);
	next->o.prototype = true;
	next->o.received_path = e->o.received_path;
	end_create_file(next, 40);
	ledger_restore(next, &s);
}

/* A first life, with a file of what was received. */
static void end_receive_700(struct end *a, char path[64])
{
	tmpfs_path(path);
	end_init(a, "a", KEYS_RESPONDER);
	a->o.prototype = true;
	a->o.received_path = path;
	end_create_file(a, 40);
	end_open(a);
	for (uint64_t i = 0; i < 700; i++)
		CHECK(rx_wait(a, i));
}

/* The next life has no such file. It receives from what is returned on, up to *got. */
static uint64_t end_receive_without_file(struct end *a, struct end *b, uint64_t *got)
{
	uint64_t first;

	end_crash_file(a, b, "b");
	b->o.received_path = NULL;
	end_open(b);
	first = keys_rx_floor(b->keys);
	CHECK(first > 700);
	*got = 0;
	for (uint64_t i = first; i < first + 20; i++)
		if (keys_rx_advance(b->keys, i))
			*got = i;
	CHECK(*got > 0);
	return first;
}

TEST(i1_prototype_gives_up_nothing_of_its_peer_when_only_the_process_ends)
{
	char path[64], text[64];
	struct end a, b, c;
	int fd;

	end_receive_700(&a, path);
	end_crash_file(&a, &b, "b");
	end_open(&b);
	CHECK_EQ(keys_rx_floor(b.keys), 700);
	CHECK(!keys_rx_advance(b.keys, 699));
	CHECK(keys_rx_slot(b.keys, 0) != NULL);
	CHECK(rx_wait(&b, 700));

	/* What it says of other material, or nothing at all, is not believed. */
	end_crash_file(&b, &c, "c");
	fd = open(path, O_RDWR);
	CHECK(fd >= 0);
	CHECK_EQ(pread(fd, text, sizeof(text), 0), 64);
	text[20] ^= 1;
	CHECK_EQ(pwrite(fd, text, 64, 0), 64);
	end_open(&c);
	CHECK(keys_rx_floor(c.keys) > 701);
	end_close(&c);
	/* A clean stop leaves the ledger exact, and nothing else. */
	CHECK(access(path, F_OK) < 0);
	close(fd);
	end_done(&c);
	end_done(&b);
	end_done(&a);
	unlink(path);
}

TEST(i1_what_outlives_a_power_cut_is_not_believed)
{
	char path[300];
	struct end a;

	/* Beside the ledger: no tmpfs, most likely. */
	end_init(&a, "a", KEYS_RESPONDER);
	snprintf(path, sizeof(path), "%s/received", a.dir);
	a.o.prototype = true;
	a.o.received_path = path;
	end_create_file(&a, 40);
	end_open(&a);
	CHECK(rx_wait(&a, 0));
	if (!test_is_tmpfs(a.dir))
		CHECK(access(path, F_OK) < 0);
	end_done(&a);
}

TEST(received_is_believed_only_between_what_is_known_and_the_mark)
{
	uint64_t wrong[] = { 0, 1, 100000, UINT64_MAX - 1 };
	char path[64];
	struct end a, b;

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		uint64_t floor;
		char name[8];
		int fd;

		tmpfs_path(path);
		snprintf(name, sizeof(name), "a%zu", i);
		end_init(&a, name, KEYS_RESPONDER);
		a.o.prototype = true;
		a.o.received_path = path;
		end_create_file(&a, 40);
		end_open(&a);
		for (uint64_t s = 0; s < 300; s++)
			CHECK(rx_wait(&a, s));
		snprintf(name, sizeof(name), "b%zu", i);
		end_crash_file(&a, &b, name);
		fd = open(path, O_RDWR);
		CHECK(fd >= 0);
		CHECK_EQ(pwrite(fd, &wrong[i], 8, 48), 8);
		close(fd);
		end_open(&b);
		floor = keys_rx_floor(b.keys);
		CHECK(floor >= 300 && floor <= 300 + 256);
		end_done(&b);
		end_done(&a);
		unlink(path);
	}
}

/* A life without the file came in between: what it received is not in there. */
TEST(i1_what_an_older_life_received_is_not_believed)
{
	struct keys_info info;
	uint64_t first, got;
	unsigned int twice = 0;
	struct end a, b, c;
	char path[64];

	end_receive_700(&a, path);
	first = end_receive_without_file(&a, &b, &got);
	/* Of one record an older life might have told, had it been killed while writing it. */
	keys_info(b.keys, &info);
	CHECK(info.ledger_writes >= 2);
	end_crash_file(&b, &c, "c");
	c.o.received_path = path;
	end_open(&c);
	for (uint64_t i = first; i <= got; i++)
		twice += keys_rx_advance(c.keys, i);
	CHECK_EQ(twice, 0);
	end_done(&c);
	end_done(&b);
	end_done(&a);
	unlink(path);
}

/* The same when the newest record is lost as well: then the one that is left may be one that the file knows of. */
TEST(i1_what_an_older_life_received_is_not_believed_when_a_record_is_lost)
{
	unsigned int twice = 0;
	struct end a, b, c;
	struct snapshot s;
	uint64_t got = 0;
	char path[64];

	end_receive_700(&a, path);
	end_crash_file(&a, &b, "b");
	b.o.received_path = NULL;
	end_open(&b);
	for (uint64_t i = keys_rx_floor(b.keys); i < 1100 && keys_rx_advance(b.keys, i); i++)
		got = i;
	CHECK(got > 700);
	end_crash_file(&b, &c, "c");
	ledger_save(&c, &s);
	s.b[newest_block(&s) * LEDGER_BLOCK_LEN + 100] ^= 1;
	ledger_restore(&c, &s);
	c.o.received_path = path;
	end_open(&c);
	for (uint64_t i = 700; i <= got; i++)
		twice += keys_rx_advance(c.keys, i);
	CHECK_EQ(twice, 0);
	end_done(&c);
	end_done(&b);
	end_done(&a);
	unlink(path);
}

/*
 * The same when a third life, which has the file again and receives nothing, writes a record: that makes the file as
 * new as the ledger, and what it says must be this life's.
 */
TEST(i1_what_an_older_life_received_is_not_believed_after_one_that_only_sent)
{
	uint64_t first, got;
	unsigned int twice = 0;
	struct end a, b, c, d;
	char path[64];

	end_receive_700(&a, path);
	first = end_receive_without_file(&a, &b, &got);
	end_crash_file(&b, &c, "c");
	c.o.received_path = path;
	end_open(&c);
	take_one(&c);
	end_crash_file(&c, &d, "d");
	end_open(&d);
	CHECK(keys_rx_floor(d.keys) > got);
	for (uint64_t i = first; i <= got; i++)
		twice += keys_rx_advance(d.keys, i);
	CHECK_EQ(twice, 0);
	end_done(&d);
	end_done(&c);
	end_done(&b);
	end_done(&a);
	unlink(path);
}

TEST(i1_a_ledger_that_is_older_than_what_was_received_goes_forward)
{
	struct snapshot s;
	struct end a, b;
	char path[64];

	tmpfs_path(path);
	end_init(&a, "a", KEYS_RESPONDER);
	a.o.prototype = true;
	a.o.received_path = path;
	end_create_file(&a, 40);
	ledger_save(&a, &s);
	end_open(&a);
	for (uint64_t i = 0; i < 2500; i++)
		CHECK(rx_wait(&a, i));
	end_crash_file(&a, &b, "b");
	ledger_restore(&b, &s);
	end_open(&b);
	CHECK_EQ(keys_rx_floor(b.keys), 2500);
	CHECK(!keys_rx_advance(b.keys, 2499));
	CHECK(rx_wait(&b, 2500));
	end_done(&b);
	end_done(&a);
	unlink(path);
}

TEST(i4_a_full_run_ends_no_tunnel)
{
	char dir[300], path[320], fill[320];
	static const char zeros[4096];
	struct end a;
	int fd;

	if (geteuid() != 0)
		test_skip("needs root for mounting");
	end_init(&a, "a", KEYS_RESPONDER);
	snprintf(dir, sizeof(dir), "%s/run", a.dir);
	snprintf(path, sizeof(path), "%s/received", dir);
	snprintf(fill, sizeof(fill), "%s/fill", dir);
	CHECK_EQ(mkdir(dir, 0700), 0);
	if (mount("none", dir, "tmpfs", 0, "size=64k") < 0)
		test_skip("cannot mount: %s", strerror(errno));
	fd = open(fill, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	while (write(fd, zeros, sizeof(zeros)) > 0)
		;
	close(fd);
	a.o.prototype = true;
	a.o.received_path = path;
	end_create_file(&a, 40);
	end_open(&a);
	CHECK(rx_wait(&a, 0));
	CHECK(access(path, F_OK) < 0);
	end_done(&a);
	umount2(dir, MNT_DETACH);
	rmdir(dir);
}

/*
 * A packet far ahead, dropped because the disk was slow, leaves a mark that is ahead of all that was received. Then
 * enough is sent for erasing to follow.
 */
static void jump_on_a_slow_disk(struct end *a)
{
	const struct slot_key *slot;
	uint64_t first;

	a->o.erase = KEYS_ERASE_ZERO;
	end_open(a);
	for (uint64_t i = 0; i < 500; i++)
		CHECK(rx_wait(a, i));
	settle(a);
	sync_slow_us = 120000;
	CHECK(!keys_rx_advance(a->keys, 500 + 15900));
	settle(a);
	for (int i = 0; i < 50; i++)
		loop_step(a->loop, 10);
	sync_slow_us = 0;
	while (keys_tx_next(a->keys) < 20000)
		CHECK(take_wait(a, 100, &first, &slot) > 0);
	settle(a);
	for (int i = 0; i < 6; i++) {
		usleep(110000);
		CHECK(take_wait(a, 1, &first, &slot) > 0);
		settle(a);
	}
}

TEST(i9_erasing_follows_what_was_received_and_not_the_mark)
{
	struct keys_info info;
	struct end a;

	end_init(&a, "a", KEYS_RESPONDER);
	a.o.prototype = true;
	end_create_file(&a, 60);
	jump_on_a_slow_disk(&a);
	keys_info(a.keys, &info);
	CHECK_EQ(info.slots_erased, 0);
	be_silent(&a);
	end_close(&a);
	CHECK_EQ(end_try_open(&a), 0);
	CHECK_EQ(keys_rx_floor(a.keys), 500);
	CHECK(rx_wait(&a, 500));
	end_done(&a);
}

TEST(i4_a_packet_far_ahead_on_a_slow_disk_ends_no_later_life)
{
	char path[64];
	struct end a;
	int status;
	pid_t pid;

	tmpfs_path(path);
	end_init(&a, "a", KEYS_RESPONDER);
	a.o.prototype = true;
	a.o.received_path = path;
	end_create_file(&a, 60);
	pid = fork();
	if (pid == 0) {
		/* A loop of its own: one does not survive a fork. */
		CHECK_EQ(loop_new(&a.loop), 0);
		a.o.loop = a.loop;
		jump_on_a_slow_disk(&a);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	CHECK_EQ(end_try_open(&a), 0);
	CHECK_EQ(keys_rx_floor(a.keys), 500);
	CHECK(rx_wait(&a, 500));
	end_done(&a);
	unlink(path);
}

TEST(i1_prototype_drops_what_it_cannot_mark)
{
	struct end a;

	end_init(&a, "a", KEYS_RESPONDER);
	end_create_root(&a);
	a.o.prototype = true;
	end_open(&a);
	disk_full(true);
	CHECK(!keys_rx_advance(a.keys, 0));
	CHECK_EQ(keys_rx_high(a.keys), UINT64_MAX);
	disk_full(false);
	end_done(&a);
}

TEST(prototype_marks_become_exact_after_five_seconds_of_silence)
{
	struct keys_info info;
	struct end a, b;

	end_init(&a, "a", KEYS_RESPONDER);
	end_create_root(&a);
	a.o.prototype = true;
	end_open(&a);
	CHECK(rx_wait(&a, 0));
	CHECK(rx_wait(&a, 41));
	for (uint64_t t = 0; t <= 4000; t += 1000)
		keys_tick(a.keys, t);
	settle(&a);
	keys_info(a.keys, &info);
	keys_tick(a.keys, 6000);
	settle(&a);
	end_crash(&a, &b);
	end_open(&b);
	CHECK_EQ(keys_rx_floor(b.keys), 42);
	CHECK_EQ(keys_rx_high(b.keys), 41);
	end_done(&b);
	/* And the conversation goes on. */
	CHECK(rx_wait(&a, 42));
	end_done(&a);
}

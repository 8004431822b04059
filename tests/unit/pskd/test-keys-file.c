/* Key files that are not what they were, or none. */
#include "unit/pskd/keys_end.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "event/loop.h"

static void flip_byte(const char *path, off_t at)
{
	int fd = open(path, O_RDWR);
	uint8_t b;

	CHECK(fd >= 0);
	CHECK_EQ(pread(fd, &b, 1, at), 1);
	b ^= 1;
	CHECK_EQ(pwrite(fd, &b, 1, at), 1);
	close(fd);
}

TEST(a_changed_key_file_is_refused)
{
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_file(&a, 20);
	flip_byte(a.file, 1234);
	CHECK_EQ(end_try_open(&a), KEYS_E_CHANGED);
	flip_byte(a.file, 1234);
	end_open(&a);
	end_close(&a);
	CHECK_EQ(truncate(a.file, 19 * SLOT_LEN), 0);
	CHECK_EQ(end_try_open(&a), KEYS_E_CHANGED);
	CHECK(strstr(a.detail, "2280"));
	CHECK_EQ(truncate(a.file, 19 * SLOT_LEN + 7), 0);
	CHECK_EQ(end_try_open(&a), KEYS_E_CHANGED);
	end_done(&a);
}

TEST(a_change_further_on_is_noticed_before_it_is_used)
{
	struct keys_info info;
	uint64_t used;
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_file(&a, 9000);
	flip_byte(a.file, 8999 * SLOT_LEN);
	end_open(&a);
	CHECK_EQ(keys_tx_forward(a.keys, 8736000, true), KEYS_E_NOT_READY);
	used = take_until_error(&a, UINT64_MAX);
	CHECK(used == UINT64_MAX || used < 8738000);
	CHECK_EQ(a.last_error, -EBADMSG);
	/* What lies before it, and the other direction, go on. */
	while (keys_tx_next(a.keys) < 8738000)
		take_one(&a);
	for (uint64_t i = 0; i < 300; i++) {
		for (int j = 0; j < 100 && !keys_rx_slot(a.keys, i); j++)
			loop_step(a.loop, 10);
		CHECK(keys_rx_slot(a.keys, i));
		CHECK(rx_wait(&a, i * SLOT_PACKETS));
	}
	keys_info(a.keys, &info);
	CHECK_EQ(info.source_error, -EBADMSG);
	CHECK(info.tx_next <= 8738000);
	end_done(&a);
}

TEST(a_damaged_table_is_noticed)
{
	char table[300];
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_file(&a, 20);
	snprintf(table, sizeof(table), "%s.chunks", a.ledger);
	flip_byte(table, 3);
	CHECK_EQ(end_try_open(&a), KEYS_E_LEDGER);
	unlink(table);
	CHECK_EQ(end_try_open(&a), KEYS_E_LEDGER);
	end_done(&a);
}

TEST(what_is_no_key_file_is_refused)
{
	char path[300], text[SLOT_LEN * 3];
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	snprintf(path, sizeof(path), "%s/k", a.dir);
	CHECK_EQ(try_create(&a, path), KEYS_E_UNREADABLE);
	CHECK_EQ(try_create(&a, a.dir), KEYS_E_BAD_FILE);
	CHECK_EQ(mkfifo(path, 0600), 0);
	CHECK_EQ(try_create(&a, path), KEYS_E_BAD_FILE);
	unlink(path);
	memset(text, 'x', sizeof(text));
	CHECK_EQ(file_write_atomic(path, text, 0, 0600), 0);
	CHECK_EQ(try_create(&a, path), KEYS_E_BAD_FILE);
	CHECK_EQ(file_write_atomic(path, text, sizeof(text) - 1, 0600), 0);
	CHECK_EQ(try_create(&a, path), KEYS_E_BAD_FILE);
	CHECK(strstr(a.detail, "120"));
	memset(text + SLOT_LEN, 0, SLOT_LEN);
	CHECK_EQ(file_write_atomic(path, text, sizeof(text), 0600), 0);
	CHECK_EQ(try_create(&a, path), KEYS_E_BAD_FILE);
	CHECK(access(a.ledger, F_OK) < 0);
	end_done(&a);
}

TEST(want_of_descriptors_says_nothing_of_the_file)
{
	int fds[64], n = 0;
	struct rlimit had, few;
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_file(&a, 20);
	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &had), 0);
	few = (struct rlimit){ .rlim_cur = 32, .rlim_max = had.rlim_max };
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
	while (n < 64 && (fds[n] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
		n++;
	a.o.ledgers_dir = NULL;
	CHECK_EQ(end_try_open(&a), -EMFILE);
	/* The ledger's; then the key file's; then its table's. */
	close(fds[--n]);
	CHECK_EQ(end_try_open(&a), KEYS_E_SHORTAGE);
	close(fds[--n]);
	CHECK_EQ(end_try_open(&a), KEYS_E_SHORTAGE);
	while (n > 0)
		close(fds[--n]);
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &had), 0);
	end_open(&a);
	end_done(&a);
}

TEST(erasing_needs_a_file_that_can_be_written)
{
	char dir[300], path[320];
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_file(&a, 20);
	if (geteuid() == 0) {
		snprintf(dir, sizeof(dir), "%s/ro", a.dir);
		snprintf(path, sizeof(path), "%s/key.psk", dir);
		CHECK_EQ(mkdir(dir, 0700), 0);
		if (mount("none", dir, "tmpfs", 0, "size=64k") < 0)
			test_skip("cannot mount: %s", strerror(errno));
		copy_file(path, a.file);
		CHECK_EQ(mount("none", dir, "tmpfs", MS_REMOUNT | MS_RDONLY, NULL), 0);
		a.o.key_file = path;
	} else {
		CHECK_EQ(chmod(a.file, 0400), 0);
	}
	a.o.erase = KEYS_ERASE_ZERO;
	CHECK_EQ(end_try_open(&a), KEYS_E_UNREADABLE);
	CHECK(strstr(a.detail, "for writing"));
	a.o.erase = KEYS_ERASE_NONE;
	end_open(&a);
	end_done(&a);
	if (geteuid() == 0)
		umount2(dir, MNT_DETACH);
}

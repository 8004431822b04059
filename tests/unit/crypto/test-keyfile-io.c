/* Key files: whole or not there, and read through their hashes. */
#include "crypto/keyfile_io.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <dirent.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/file.h"
#include "crypto/kdf.h"
#include "crypto/secret.h"
#include "unit/lib/test.h"

static char path[256], side[300], detail[300];

static void fixture(void)
{
	CHECK_EQ(crypto_init(), 0);
	snprintf(path, sizeof(path), "%s/fuel.psk", test_tmpdir());
	snprintf(side, sizeof(side), "%s.sha256", path);
}

static int make(uint64_t size)
{
	*detail = '\0';
	return keyfile_make(path, size, NULL, NULL, NULL, NULL, NULL, detail, sizeof(detail));
}

static int verify(void)
{
	*detail = '\0';
	return keyfile_verify(path, NULL, NULL, NULL, NULL, detail, sizeof(detail));
}

static unsigned int files_in(const char *dir)
{
	unsigned int n = 0;
	DIR *d = opendir(dir);

	CHECK(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

TEST(what_was_made_is_whole_private_and_verifies)
{
	uint8_t made[32], seen[32], zeros[4096] = { 0 };
	struct keyfile_capacity c;
	struct stat st;
	char *text;
	size_t len;

	umask(0);
	fixture();
	CHECK_EQ(keyfile_make(path, 3000000, NULL, NULL, NULL, made, &c, detail, sizeof(detail)), 0);
	CHECK_EQ(stat(path, &st), 0);
	CHECK_EQ(st.st_size, 3000000);
	CHECK_EQ(st.st_mode & 0777, 0600);
	CHECK_EQ(c.slots, 25000);
	CHECK_EQ(c.packets, 25000000);
	CHECK_EQ(c.traffic_bytes, 25000000ull * 1400);
	CHECK_EQ(files_in(test_tmpdir()), 2);
	CHECK_EQ(keyfile_verify(path, NULL, NULL, seen, &c, detail, sizeof(detail)), 0);
	CHECK_MEM(seen, made, 32);
	CHECK_EQ(c.bytes, 3000000);

	CHECK_EQ(file_read(&text, &len, path, 4000000), 0);
	sha256(seen, text, len);
	CHECK_MEM(seen, made, 32);
	CHECK(!memmem(text, len, zeros, 16));
	free(text);
}

TEST(the_sidecar_is_what_sha256sum_reads)
{
	char command[600];

	fixture();
	CHECK_EQ(make(12000), 0);
	snprintf(command, sizeof(command), "cd %s && sha256sum --quiet --strict -c fuel.psk.sha256", test_tmpdir());
	CHECK_EQ(system(command), 0);
	unlink(side);
	snprintf(command, sizeof(command), "cd %s && sha256sum fuel.psk >fuel.psk.sha256", test_tmpdir());
	CHECK_EQ(system(command), 0);
	CHECK_EQ(verify(), 0);
	snprintf(command, sizeof(command), "sha256sum -b %s >%s", path, side);
	CHECK_EQ(system(command), 0);
	CHECK_EQ(verify(), 0);
}

TEST(sizes_are_whole_slots)
{
	struct keyfile_capacity c;

	fixture();
	CHECK_EQ(keyfile_make(path, 1000, NULL, NULL, NULL, NULL, &c, detail, sizeof(detail)), 0);
	CHECK_EQ(c.bytes, 960);
	CHECK_EQ(c.slots, 8);
	CHECK_EQ(verify(), 0);
	unlink(path);
	unlink(side);
	CHECK_EQ(make(119), KEYFILE_E_SIZE);
	CHECK_EQ(make(0), KEYFILE_E_SIZE);
	CHECK_EQ(make(UINT64_MAX), KEYFILE_E_SIZE);
	CHECK_EQ(files_in(test_tmpdir()), 0);
}

TEST(nothing_is_ever_overwritten)
{
	char *text;
	size_t len;

	fixture();
	CHECK_EQ(file_write_atomic(path, "mine", 4, 0600), 0);
	CHECK_EQ(make(1200), KEYFILE_E_EXISTS);
	CHECK(strstr(detail, path));
	CHECK_EQ(file_read(&text, &len, path, 100), 0);
	CHECK_STR(text, "mine");
	free(text);
	unlink(path);
	CHECK_EQ(symlink("/nowhere", path), 0);
	CHECK_EQ(make(1200), KEYFILE_E_EXISTS);
	unlink(path);
	CHECK_EQ(file_write_atomic(side, "mine", 4, 0600), 0);
	CHECK_EQ(make(1200), KEYFILE_E_EXISTS);
	CHECK(strstr(detail, ".sha256"));
	CHECK(access(path, F_OK) < 0);
}

static int appear_late(uint64_t done, uint64_t total, void *arg)
{
	if (done == total)
		CHECK_EQ(file_write_atomic(arg, "mine", 4, 0600), 0);
	return 0;
}

TEST(a_file_that_appears_meanwhile_is_not_overwritten_either)
{
	char *text;
	size_t len;

	fixture();
	CHECK_EQ(keyfile_make(path, 1200, NULL, appear_late, path, NULL, NULL, detail, sizeof(detail)), KEYFILE_E_EXISTS);
	CHECK_EQ(file_read(&text, &len, path, 100), 0);
	CHECK_STR(text, "mine");
	free(text);
	CHECK(access(side, F_OK) < 0);
	unlink(path);
	CHECK_EQ(keyfile_make(path, 1200, NULL, appear_late, side, NULL, NULL, detail, sizeof(detail)), KEYFILE_E_EXISTS);
	CHECK(access(path, F_OK) < 0);
}

static int stop_half_way(uint64_t done, uint64_t total, void *arg)
{
	unsigned int *calls = arg;

	(*calls)++;
	return done * 2 >= total;
}

TEST(stopping_leaves_nothing)
{
	unsigned int calls = 0;

	fixture();
	CHECK_EQ(keyfile_make(path, 10000000, NULL, stop_half_way, &calls, NULL, NULL, detail, sizeof(detail)),
		 KEYFILE_E_STOPPED);
	CHECK(calls > 5);
	CHECK_EQ(files_in(test_tmpdir()), 0);
}

static int die_half_way(uint64_t done, uint64_t total, void *arg)
{
	(void)arg;
	if (done * 2 >= total)
		raise(SIGKILL);
	return 0;
}

TEST(even_being_killed_leaves_nothing)
{
	pid_t pid;
	int status;

	fixture();
	pid = fork();
	if (pid == 0)
		_exit(keyfile_make(path, 10000000, NULL, die_half_way, NULL, NULL, NULL, detail, sizeof(detail)));
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFSIGNALED(status));
	CHECK_EQ(files_in(test_tmpdir()), 0);
}

TEST(a_disk_without_room_is_known_before_anything_is_written)
{
	char dir[280];
	int r;

	if (geteuid() != 0)
		test_skip("needs root for mounting");
	fixture();
	snprintf(dir, sizeof(dir), "%s/small", test_tmpdir());
	CHECK_EQ(mkdir(dir, 0700), 0);
	if (mount("none", dir, "tmpfs", 0, "size=1m") < 0)
		test_skip("cannot mount: %s", strerror(errno));
	snprintf(path, sizeof(path), "%s/small/k", test_tmpdir());
	r = make(10000000);
	CHECK_EQ(files_in(dir), 0);
	umount2(dir, MNT_DETACH);
	CHECK_EQ(r, KEYFILE_E_NO_SPACE);
	CHECK(strstr(detail, "no room"));
}

TEST(a_changed_file_does_not_verify)
{
	uint8_t b = 0;
	int fd;

	fixture();
	CHECK_EQ(make(120000), 0);
	fd = open(path, O_RDWR);
	CHECK_EQ(pread(fd, &b, 1, 119999), 1);
	b ^= 1;
	CHECK_EQ(pwrite(fd, &b, 1, 119999), 1);
	close(fd);
	CHECK_EQ(verify(), KEYFILE_E_DIFFERS);
	CHECK_EQ(truncate(path, 119880), 0);
	CHECK_EQ(verify(), KEYFILE_E_DIFFERS);
	CHECK_EQ(truncate(path, 119879), 0);
	CHECK_EQ(verify(), KEYFILE_E_BAD_FILE);
	CHECK(strstr(detail, "120-byte"));
	CHECK_EQ(truncate(path, 120000), 0);
	CHECK_EQ(verify(), KEYFILE_E_BAD_FILE);
	CHECK(strstr(detail, "zero"));
	CHECK_EQ(truncate(path, 0), 0);
	CHECK_EQ(verify(), KEYFILE_E_BAD_FILE);
	unlink(path);
	CHECK_EQ(verify(), -ENOENT);
}

TEST(a_missing_or_wrong_sidecar_is_named)
{
	struct keyfile_capacity c = { 0 };
	uint8_t sum[32] = { 0 }, none[32] = { 0 };

	fixture();
	CHECK_EQ(make(1200), 0);
	CHECK_EQ(file_write_atomic(side, "no checksum\n", 12, 0644), 0);
	CHECK_EQ(verify(), KEYFILE_E_BAD_SIDECAR);
	unlink(side);
	/* The hash is told all the same, for comparing by hand. */
	CHECK_EQ(keyfile_verify(path, NULL, NULL, sum, &c, detail, sizeof(detail)), KEYFILE_E_NO_SIDECAR);
	CHECK(memcmp(sum, none, 32) != 0);
	CHECK_EQ(c.slots, 10);
}

TEST(a_fifo_does_not_stop_us)
{
	uint64_t size;
	int r;

	fixture();
	CHECK_EQ(mkfifo(path, 0600), 0);
	CHECK_EQ(verify(), KEYFILE_E_BAD_FILE);
	CHECK_EQ(keyfile_open("/dev/zero", false, &size, &r, detail, sizeof(detail)), -1);
	CHECK_EQ(r, KEYFILE_E_BAD_FILE);
}

static int parse(const char *text)
{
	uint8_t hash[32];
	const char *name;
	size_t len;

	return keyfile_sidecar_parse(text, strlen(text), hash, &name, &len);
}

#define HEX "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

TEST(sidecars_are_parsed_strictly)
{
	CHECK_EQ(parse(HEX "  name\n"), 0);
	CHECK_EQ(parse(HEX " *name"), 0);
	CHECK_EQ(parse(""), KEYFILE_E_BAD_SIDECAR);
	CHECK_EQ(parse(HEX), KEYFILE_E_BAD_SIDECAR);
	CHECK_EQ(parse(HEX "  "), KEYFILE_E_BAD_SIDECAR);
	CHECK_EQ(parse(HEX "  \n"), KEYFILE_E_BAD_SIDECAR);
	CHECK_EQ(parse(HEX " name"), KEYFILE_E_BAD_SIDECAR);
	CHECK_EQ(parse(HEX "0  name"), KEYFILE_E_BAD_SIDECAR);
	CHECK_EQ(parse(HEX "  a\n" HEX "  b\n"), KEYFILE_E_BAD_SIDECAR);
	CHECK_EQ(parse("g" HEX "  name"), KEYFILE_E_BAD_SIDECAR);
	CHECK_EQ(parse("SHA256 (name) = " HEX), KEYFILE_E_BAD_SIDECAR);
}

TEST(pieces_hash_alike_before_and_after_erasing)
{
	const uint64_t slots = KEYFILE_CHUNK_SLOTS + 10;
	uint8_t table[64], whole[32], hash[32], masked[32], slot[2 * KEYFILE_SLOT_LEN], on_disk[2 * KEYFILE_SLOT_LEN];
	static const uint8_t zeros[100 * KEYFILE_SLOT_LEN];
	uint64_t size;
	int fd, r;

	fixture();
	CHECK_EQ(make(slots * KEYFILE_SLOT_LEN), 0);
	fd = keyfile_open(path, true, &size, &r, detail, sizeof(detail));
	CHECK(fd >= 0);
	CHECK_EQ(size, slots * KEYFILE_SLOT_LEN);
	CHECK_EQ(keyfile_chunks(size), 2);
	CHECK_EQ(keyfile_hash(fd, size, NULL, NULL, whole, table), 0);
	CHECK_EQ(keyfile_read_chunk(fd, size, 0, 0, 8736, 2, slot, hash), 0);
	CHECK_MEM(hash, table, 32);
	CHECK_EQ(pread(fd, on_disk, sizeof(on_disk), 8736 * KEYFILE_SLOT_LEN), (long)sizeof(on_disk));
	CHECK_MEM(slot, on_disk, sizeof(slot));
	CHECK_EQ(keyfile_read_chunk(fd, size, 1, 0, 8747, 1, slot, hash), 0);
	CHECK_MEM(hash, table + 32, 32);

	CHECK_EQ(keyfile_read_chunk(fd, size, 0, 100, 0, 0, NULL, masked), 0);
	CHECK(memcmp(masked, table, 32) != 0);
	for (size_t n = 0; n <= 100; n += 50) {
		CHECK_EQ(file_pwrite_all(fd, zeros, n * KEYFILE_SLOT_LEN, 0), 0);
		CHECK_EQ(keyfile_read_chunk(fd, size, 0, 100, 0, 0, NULL, hash), 0);
		CHECK_MEM(hash, masked, 32);
	}
	CHECK_EQ(keyfile_hash(fd, size, NULL, NULL, whole, table), KEYFILE_E_BAD_FILE);
	CHECK_EQ(ftruncate(fd, (off_t)size - KEYFILE_SLOT_LEN), 0);
	CHECK_EQ(keyfile_read_chunk(fd, size, 1, 0, 0, 0, NULL, hash), KEYFILE_E_BAD_FILE);
	close(fd);
}

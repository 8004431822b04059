/* A device that is mixed into a key file: what comes out is the XOR, and a broken one is refused. */
#include "crypto/keyfile_mix.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "crypto/keyfile_io.h"
#include "crypto/secret.h"
#include "unit/lib/test.h"

enum { LEN = 200000 };

static char device[256], path[256], detail[400];
static uint8_t noise[LEN];

static void fixture(void)
{
	CHECK_EQ(crypto_init(), 0);
	snprintf(device, sizeof(device), "%s/device", test_tmpdir());
	snprintf(path, sizeof(path), "%s/fuel.psk", test_tmpdir());
	random_bytes(noise, sizeof(noise));
}

static void put(const void *bytes, size_t n)
{
	CHECK_EQ(file_write_atomic(device, bytes, n, 0600), 0);
}

static int never(void *arg)
{
	(void)arg;
	return 0;
}

static int make(uint64_t size)
{
	*detail = '\0';
	return keyfile_make(path, size, device, NULL, NULL, NULL, NULL, detail, sizeof(detail));
}

/* Only what was there before: the device, perhaps. */
static bool nothing_is_left(void)
{
	char side[300];

	snprintf(side, sizeof(side), "%s.sha256", path);
	return access(path, F_OK) < 0 && access(side, F_OK) < 0;
}

TEST(what_is_mixed_is_xored_byte_by_byte)
{
	static const size_t pieces[] = { 1, 119, 65536, 65520, 7 };
	_cleanup_(keyfile_mix_closep) struct keyfile_mix *m = NULL;
	static uint8_t bytes[65536], before[65536];
	size_t at = 0;

	fixture();
	put(noise, sizeof(noise));
	CHECK_EQ(keyfile_mix_open(&m, device, detail, sizeof(detail)), 0);
	for (size_t i = 0; i < sizeof(pieces) / sizeof(*pieces); i++) {
		random_bytes(bytes, pieces[i]);
		memcpy(before, bytes, pieces[i]);
		CHECK_EQ(keyfile_mix_xor(m, bytes, pieces[i], never, NULL, detail, sizeof(detail)), 0);
		for (size_t k = 0; k < pieces[i]; k++)
			CHECK_EQ(bytes[k] ^ before[k], noise[at + k]);
		at += pieces[i];
	}
}

TEST(mixed_file_is_whole_and_has_neither_the_device_nor_the_same_twice)
{
	char *first, *again;
	size_t len;

	fixture();
	put(noise, sizeof(noise));
	CHECK_EQ(make(120000), 0);
	CHECK_EQ(keyfile_verify(path, NULL, NULL, NULL, NULL, detail, sizeof(detail)), 0);
	CHECK_EQ(file_read(&first, &len, path, LEN), 0);
	CHECK_EQ(len, 120000);
	CHECK(!memmem(first, len, noise, 16) && !memmem(first, len, noise + 119000, 16));
	snprintf(path, sizeof(path), "%s/another", test_tmpdir());
	CHECK_EQ(make(120000), 0);
	CHECK_EQ(file_read(&again, &len, path, LEN), 0);
	CHECK(!memmem(again, len, first, 16));
	free(first);
	free(again);
}

TEST(short_device_is_refused)
{
	fixture();
	put(noise, 119999);
	CHECK_EQ(make(120000), KEYFILE_E_MIX);
	CHECK(strstr(detail, device) && strstr(detail, "119999"));
	CHECK(nothing_is_left());
	put("", 0);
	CHECK_EQ(make(120), KEYFILE_E_MIX);
	CHECK(nothing_is_left());
}

TEST(broken_devices_are_refused)
{
	static uint8_t bytes[LEN];

	fixture();
	/* All equal. */
	for (unsigned int v = 0; v < 256; v += 51) {
		memset(bytes, (int)v, sizeof(bytes));
		put(bytes, sizeof(bytes));
		CHECK_EQ(make(120), KEYFILE_E_MIX);
		CHECK(strstr(detail, "stuck"));
	}
	/* A pattern of any length up to 512. */
	for (size_t period = 1; period <= 512; period++) {
		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = noise[i % period];
		put(bytes, sizeof(bytes));
		CHECK_EQ(make(120000), KEYFILE_E_MIX);
	}
	/* It fails on the way, in the last piece. */
	memcpy(bytes, noise, sizeof(bytes));
	memset(bytes + 150000, 0, 31);
	put(bytes, sizeof(bytes));
	CHECK_EQ(make(180000), KEYFILE_E_MIX);
	/* One byte too often: three of four. */
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = noise[i] < 192 ? 7 : noise[i];
	put(bytes, sizeof(bytes));
	CHECK_EQ(make(120000), KEYFILE_E_MIX);
	/* The same buffer for ever: each piece that is read is 65,520 bytes. */
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = noise[i % 65520];
	put(bytes, sizeof(bytes));
	CHECK_EQ(make(180000), KEYFILE_E_MIX);
	CHECK(strstr(detail, "the same again"));
	CHECK(nothing_is_left());
}

TEST(stuck_over_the_edge_of_two_pieces_is_seen)
{
	static uint8_t bytes[LEN];

	fixture();
	memcpy(bytes, noise, sizeof(bytes));
	memset(bytes + 65520 - 16, 0xaa, 31);
	put(bytes, sizeof(bytes));
	CHECK_EQ(make(180000), KEYFILE_E_MIX);
	bytes[65520 + 14] = 0xab;
	bytes[65520 - 17] = 0xab;
	bytes[65520 + 15] = 0xab;
	put(bytes, sizeof(bytes));
	CHECK_EQ(make(180000), 0);
}

TEST(sound_noise_is_never_refused)
{
	static uint8_t bytes[65536];
	_cleanup_(keyfile_mix_closep) struct keyfile_mix *m = NULL;

	fixture();
	snprintf(device, sizeof(device), "/dev/urandom");
	CHECK_EQ(keyfile_mix_open(&m, device, detail, sizeof(detail)), 0);
	for (int i = 0; i < 300; i++)
		CHECK_EQ(keyfile_mix_xor(m, bytes, 65520, never, NULL, detail, sizeof(detail)), 0);
	/* Not even the smallest file. */
	for (int i = 0; i < 3000; i++)
		CHECK_EQ(keyfile_mix_xor(m, bytes, 120, never, NULL, detail, sizeof(detail)), 0);
}

TEST(what_is_no_device_is_refused)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	struct keyfile_mix *m = NULL;
	int fd;

	fixture();
	CHECK_EQ(keyfile_mix_open(&m, "/nowhere/at/all", detail, sizeof(detail)), -ENOENT);
	CHECK(strstr(detail, "/nowhere/at/all"));
	CHECK_EQ(keyfile_mix_open(&m, test_tmpdir(), detail, sizeof(detail)), KEYFILE_E_MIX);
	snprintf(at.sun_path, sizeof(at.sun_path), "%.100s", device);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(fd >= 0 && bind(fd, (const void *)&at, sizeof(at)) == 0);
	CHECK(keyfile_mix_open(&m, device, detail, sizeof(detail)) != 0);
	close(fd);
	CHECK(m == NULL);
	snprintf(device, sizeof(device), "/dev/null");
	CHECK_EQ(make(120), KEYFILE_E_MIX);
	snprintf(device, sizeof(device), "/dev/zero");
	CHECK_EQ(make(120), KEYFILE_E_MIX);
	CHECK(nothing_is_left());
}

static int stop_the_third_time(void *arg)
{
	return ++*(unsigned int *)arg >= 3;
}

TEST(silent_device_can_be_stopped)
{
	_cleanup_(keyfile_mix_closep) struct keyfile_mix *m = NULL;
	unsigned int asked = 0;
	uint8_t bytes[120];
	int fd;

	fixture();
	CHECK_EQ(mkfifo(device, 0600), 0);
	fd = open(device, O_RDWR | O_CLOEXEC);
	CHECK(fd >= 0);
	CHECK_EQ(keyfile_mix_open(&m, device, detail, sizeof(detail)), 0);
	CHECK_EQ(keyfile_mix_xor(m, bytes, sizeof(bytes), stop_the_third_time, &asked, detail, sizeof(detail)), KEYFILE_E_STOPPED);
	CHECK_EQ(asked, 3);
	close(fd);
}

TEST(slow_pipe_is_waited_for)
{
	_cleanup_(keyfile_mix_closep) struct keyfile_mix *m = NULL;
	uint8_t bytes[1200] = { 0 };
	pid_t pid;
	int fd;

	fixture();
	CHECK_EQ(mkfifo(device, 0600), 0);
	fd = open(device, O_RDWR | O_CLOEXEC);
	CHECK(fd >= 0);
	CHECK_EQ(keyfile_mix_open(&m, device, detail, sizeof(detail)), 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		for (int i = 0; i < 12; i++) {
			usleep(20000);
			(void)!write(fd, noise + (ptrdiff_t)i * 100, 100);
		}
		_exit(0);
	}
	CHECK_EQ(keyfile_mix_xor(m, bytes, sizeof(bytes), never, NULL, detail, sizeof(detail)), 0);
	CHECK_MEM(bytes, noise, sizeof(bytes));
	waitpid(pid, NULL, 0);
	close(fd);
}

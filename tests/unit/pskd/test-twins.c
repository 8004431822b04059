/* What is known of the ledgers of a folder: as true as reading them all, and read once. */
#include "pskd/keys/twins.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "crypto/secret.h"
#include "pskd/keys/ledger.h"
#include "unit/lib/test.h"

/* The kernel's, or one that does not tell. */
static bool tells_nothing;

int inotify_init1(int flags)
{
	if (tells_nothing) {
		errno = EMFILE;
		return -1;
	}
	return (int)syscall(SYS_inotify_init1, flags);
}

static char dir[256];
static struct twins *twins;

static void fixture(void)
{
	CHECK_EQ(crypto_init(), 0);
	snprintf(dir, sizeof(dir), "%s/ledgers", test_tmpdir());
	CHECK_EQ(mkdir(dir, 0700), 0);
	CHECK_EQ(twins_new(&twins, dir), 0);
}

static const char *in_dir(const char *name)
{
	static char path[4][400];
	static unsigned int at;
	char *p = path[at++ % 4];

	snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
	return p;
}

static const uint8_t *material(unsigned int n)
{
	static uint8_t f[32];

	memset(f, (int)(n % 251), sizeof(f));
	memcpy(f, &n, sizeof(n));
	return f;
}

static void make(const char *name, unsigned int n)
{
	struct ledger_record r = { .kind = LEDGER_FILE, .slots_total = 100, .tx_limit = 256, .rx_high = LEDGER_NONE };

	memcpy(r.fingerprint, material(n), 32);
	CHECK_EQ(ledger_create(in_dir(name), &r), 0);
}

/* Both ways of asking have the same answer: the name, or none. */
static void check(unsigned int n, const char *own, const char *expected)
{
	char name[300] = "", slow[300] = "";
	const char *path = own ? in_dir(own) : NULL;
	int r = twins_find(twins, path, material(n), name, sizeof(name));

	CHECK_EQ(r, ledger_find_twin(dir, path, material(n), slow, sizeof(slow)));
	CHECK_EQ(r, expected != NULL);
	CHECK_STR(name, slow);
	CHECK_STR(name, expected ? expected : "");
}

TEST(i1_a_twin_is_found_whatever_happens_to_the_folder)
{
	fixture();
	check(1, NULL, NULL);
	make("a.ledger", 1);
	check(1, NULL, "a.ledger");
	check(1, "a.ledger", NULL);
	check(2, NULL, NULL);
	CHECK_EQ(rename(in_dir("a.ledger"), in_dir("b.ledger")), 0);
	check(1, "a.ledger", "b.ledger");
	make("a.ledger", 1);
	check(1, "a.ledger", "b.ledger");
	CHECK_EQ(unlink(in_dir("b.ledger")), 0);
	check(1, "a.ledger", NULL);
	check(1, NULL, "a.ledger");
	/* The same name, and perhaps the same inode, for another material. */
	CHECK_EQ(unlink(in_dir("a.ledger")), 0);
	make("a.ledger", 2);
	check(1, NULL, NULL);
	check(2, NULL, "a.ledger");
	/* A second name of the same file is no twin of it. */
	CHECK_EQ(link(in_dir("a.ledger"), in_dir("c.ledger")), 0);
	check(2, "a.ledger", NULL);
}

static void copy(const char *from, const char *to)
{
	_cleanup_free_ char *bytes = NULL;
	_cleanup_close_ int fd = open(in_dir(to), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	size_t len;

	CHECK_EQ(file_read(&bytes, &len, in_dir(from), LEDGER_LEN), 0);
	CHECK(fd >= 0);
	CHECK_EQ(file_pwrite_all(fd, bytes, len, 0), 0);
}

TEST(i1_a_ledger_that_is_written_over_in_place_is_what_it_is_now)
{
	fixture();
	make("a.ledger", 1);
	make("b.ledger", 2);
	check(1, "a.ledger", NULL);
	copy("a.ledger", "b.ledger");
	check(1, "a.ledger", "b.ledger");
	check(2, NULL, NULL);
	CHECK_EQ(truncate(in_dir("b.ledger"), 100), 0);
	/* Truncation alone is not told; what names a ledger that is none any more is not believed. */
	check(1, "a.ledger", NULL);
	copy("a.ledger", "b.ledger");
	check(1, "a.ledger", "b.ledger");
}

TEST(i1_another_folder_in_its_place_is_read_anew)
{
	char other[300];

	fixture();
	make("a.ledger", 1);
	check(1, NULL, "a.ledger");
	snprintf(other, sizeof(other), "%s.old", dir);
	CHECK_EQ(rename(dir, other), 0);
	CHECK_EQ(mkdir(dir, 0700), 0);
	make("b.ledger", 2);
	check(1, NULL, NULL);
	check(2, NULL, "b.ledger");
	CHECK_EQ(unlink(in_dir("b.ledger")), 0);
	CHECK_EQ(rmdir(dir), 0);
	CHECK_EQ(twins_find(twins, NULL, material(1), other, sizeof(other)), -ENOENT);
	CHECK_EQ(mkdir(dir, 0700), 0);
	make("c.ledger", 3);
	check(3, NULL, "c.ledger");
}

TEST(i1_more_changes_than_the_kernel_remembers_are_read_anew)
{
	char a[300], b[300];
	FILE *f = fopen("/proc/sys/fs/inotify/max_queued_events", "r");
	unsigned int most = 0;

	CHECK(f && fscanf(f, "%u", &most) == 1);
	fclose(f);
	if (most > 100000)
		test_skip("the kernel remembers %u", most);
	fixture();
	make("a.ledger", 1);
	check(1, NULL, "a.ledger");
	snprintf(a, sizeof(a), "%s/x", dir);
	snprintf(b, sizeof(b), "%s/y", dir);
	CHECK_EQ(file_write_atomic(a, "x", 1, 0600), 0);
	for (unsigned int i = 0; i < most / 4 + 2; i++) {
		CHECK_EQ(rename(a, b), 0);
		CHECK_EQ(rename(b, a), 0);
	}
	make("b.ledger", 2);
	CHECK_EQ(unlink(in_dir("a.ledger")), 0);
	check(1, NULL, NULL);
	check(2, NULL, "b.ledger");
}

TEST(where_the_kernel_does_not_tell_all_are_read)
{
	fixture();
	tells_nothing = true;
	make("a.ledger", 1);
	check(1, NULL, "a.ledger");
	make("b.ledger", 2);
	check(2, NULL, "b.ledger");
	CHECK_EQ(unlink(in_dir("a.ledger")), 0);
	check(1, NULL, NULL);
	tells_nothing = false;
	check(2, NULL, "b.ledger");
}

/* Calls that read, of this process. */
static unsigned long long reads(void)
{
	FILE *f = fopen("/proc/self/io", "r");
	unsigned long long n = 0;
	char line[100];

	if (!f)
		test_skip("no /proc/self/io");
	while (fgets(line, sizeof(line), f))
		sscanf(line, "syscr: %llu", &n);
	fclose(f);
	return n;
}

TEST(each_ledger_is_read_once_however_many_there_are)
{
	enum { N = 300 };
	unsigned long long before, own;
	char name[300];

	fixture();
	before = reads();
	own = reads() - before;
	for (unsigned int i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "%u.ledger", i);
		make(name, i);
	}
	before = reads();
	CHECK_EQ(twins_find(twins, NULL, material(N), name, sizeof(name)), 0);
	CHECK(reads() - before - own >= N);
	before = reads();
	for (unsigned int i = 0; i < N; i++)
		CHECK_EQ(twins_find(twins, NULL, material(N + i), name, sizeof(name)), 0);
	/* A look for changes each. */
	CHECK(reads() - before - own <= 2 * N);
	/* A new one is read, and no other. */
	make("new.ledger", N);
	before = reads();
	CHECK_EQ(twins_find(twins, NULL, material(N), name, sizeof(name)), 1);
	CHECK_STR(name, "new.ledger");
	CHECK(reads() - before - own <= 20);
}

static void *ask(void *arg)
{
	const unsigned int first = *(unsigned int *)arg;
	char name[300];

	for (unsigned int i = 0; i < 100; i++) {
		uint8_t f[32];

		memset(f, 0xee, sizeof(f));
		memcpy(f, &first, sizeof(first));
		if (twins_find(twins, NULL, f, name, sizeof(name)) != 0)
			return twins;
	}
	return NULL;
}

TEST(threads_may_ask_while_ledgers_come)
{
	unsigned int first[2] = { 100000, 200000 };
	pthread_t t[2];
	void *failed;

	fixture();
	for (unsigned int i = 0; i < 2; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, ask, &first[i]), 0);
	for (unsigned int i = 0; i < 20; i++) {
		char name[32];

		snprintf(name, sizeof(name), "%u.ledger", i);
		make(name, i);
		check(i, NULL, name);
	}
	for (unsigned int i = 0; i < 2; i++) {
		CHECK_EQ(pthread_join(t[i], &failed), 0);
		CHECK(!failed);
	}
}

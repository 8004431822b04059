/* Secrets: where they lie, and what is left of them. */
#include "crypto/secret.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit/lib/test.h"

enum { FLAGS_LEN = 512 };

/* These sanitizers replace mlock() by nothing. */
static void skip_where_nothing_is_locked(void)
{
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
	test_skip("the sanitizer locks no memory");
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	test_skip("the sanitizer locks no memory");
#endif
}

static void check_filled(const uint8_t *p, uint8_t value, size_t len)
{
	for (size_t i = 0; i < len; i++)
		CHECK_EQ(p[i], value);
}

static struct secret *filled(uint8_t value, size_t len)
{
	struct secret *s;
	uint8_t *bytes;

	CHECK_EQ(secret_new(&s, len, &bytes), 0);
	check_filled(bytes, 0, len);
	memset(bytes, value, len);
	return s;
}

TEST(taking_a_secret_wipes_its_source)
{
	_cleanup_(secret_freep) struct secret *s = NULL;
	uint8_t src[48];

	memset(src, 0x5a, sizeof(src));
	CHECK_EQ(secret_take(&s, src, sizeof(src)), 0);
	check_filled(src, 0, sizeof(src));
	CHECK_EQ(secret_len(s), sizeof(src));
	check_filled(secret_bytes(s), 0x5a, sizeof(src));
}

TEST(a_copy_lives_on_when_its_original_is_freed)
{
	_cleanup_(secret_freep) struct secret *copy = NULL;
	struct secret *s = filled(0x11, 33);

	CHECK_EQ(secret_dup(&copy, s), 0);
	secret_free(s);
	CHECK_EQ(secret_len(copy), 33);
	check_filled(secret_bytes(copy), 0x11, 33);
}

TEST(equal_means_equal_in_length_and_every_byte)
{
	_cleanup_(secret_freep) struct secret *s = filled(7, 40);
	uint8_t other[41];

	memset(other, 7, sizeof(other));
	CHECK(secret_equal(s, other, 40));
	CHECK(!secret_equal(s, other, 39));
	CHECK(!secret_equal(s, other, 41));
	for (size_t i = 0; i < 40; i++) {
		other[i] ^= 0x80;
		CHECK(!secret_equal(s, other, 40));
		other[i] ^= 0x80;
	}
}

TEST(bytes_are_equal_when_every_bit_of_them_is)
{
	uint8_t a[16 + 200 + 16], b[16 + 200 + 16];

	for (size_t len = 0; len <= 200; len++) {
		uint8_t *x = a + len % 16, *y = b + len / 16;

		random_bytes(a, sizeof(a));
		random_bytes(b, sizeof(b));
		memcpy(y, x, len);
		CHECK(bytes_equal(x, y, len));
		for (size_t bit = 0; bit < 8 * len; bit++) {
			y[bit / 8] ^= (uint8_t)(1 << bit % 8);
			CHECK(!bytes_equal(x, y, len));
			y[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		CHECK(bytes_equal(x, y, len));
	}
}

TEST(bytes_that_differ_in_many_places_are_not_equal)
{
	uint8_t a[64], b[64];

	random_bytes(a, sizeof(a));
	for (size_t i = 0; i < sizeof(a); i++)
		b[i] = (uint8_t)~a[i];
	for (size_t len = 1; len <= sizeof(a); len++)
		CHECK(!bytes_equal(a, b, len));
}

TEST(an_empty_secret_is_a_secret)
{
	_cleanup_(secret_freep) struct secret *s = NULL;

	CHECK_EQ(secret_random(&s, 0), 0);
	CHECK_EQ(secret_len(s), 0);
	CHECK(secret_equal(s, NULL, 0));
}

/* The flags of the mapping that holds p, from /proc/self/smaps. */
static void read_flags(const void *p, char flags[static FLAGS_LEN], unsigned long *locked_kb)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	unsigned long at = (unsigned long)p, from, to;
	bool inside = false;
	char line[512];

	if (!f)
		test_skip("no /proc/self/smaps");
	*flags = '\0';
	*locked_kb = 0;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			inside = from <= at && at < to;
		else if (inside && !strncmp(line, "VmFlags:", 8))
			snprintf(flags, FLAGS_LEN, "%s ", line + 8);
		else if (inside)
			sscanf(line, "Locked: %lu kB", locked_kb);
	}
	fclose(f);
	flags[strcspn(flags, "\n")] = ' ';
}

static void check_protected(const void *p)
{
	unsigned long locked_kb;
	char flags[FLAGS_LEN];

	read_flags(p, flags, &locked_kb);
	/* Locked, not in core dumps, zero in a child; and the lock is not only a wish. */
	if (!strstr(flags, " lo ") || !strstr(flags, " dd ") || !strstr(flags, " wf "))
		test_fail(__FILE__, __LINE__, "flags are \"%s\"", flags);
	CHECK(locked_kb > 0);
}

TEST(i5_secret_memory_is_locked_wiped_and_not_dumped)
{
	static const size_t lengths[] = { 1, 32, 33, 64, 120, 500, 4096, 4097, 200000 };

	skip_where_nothing_is_locked();
	CHECK_EQ(crypto_init(), 0);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct secret *s = filled(0xa5, lengths[i]);
		const uint8_t *p = secret_bytes(s);

		check_protected(p);
		check_protected(p + lengths[i] - 1);
		secret_free(s);
		/* The arena stays mapped, so what was freed can be looked at. */
		check_filled(p, 0, lengths[i]);
	}
}

TEST(i5_thousands_of_small_secrets_fit_under_the_lock_limit)
{
	enum { N = 10000 };
	static struct secret *s[N];
	unsigned long locked_kb;
	char flags[FLAGS_LEN];

	for (int i = 0; i < N; i++)
		s[i] = filled((uint8_t)i, 32);
	for (int i = 0; i < N; i++)
		check_filled(secret_bytes(s[i]), (uint8_t)i, 32);
	read_flags(secret_bytes(s[0]), flags, &locked_kb);
	CHECK(locked_kb <= 512);
	for (int i = 0; i < N; i++)
		secret_free(s[i]);
}

TEST(i5_without_leave_to_lock_there_is_no_secret)
{
	const struct rlimit none = { 0, 0 };
	_cleanup_(secret_freep) struct secret *s = NULL;
	uint8_t src[4] = { 1, 2, 3, 4 };

	skip_where_nothing_is_locked();
	if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
		test_skip("cannot become another user");
	CHECK_EQ(setrlimit(RLIMIT_MEMLOCK, &none), 0);
	CHECK(crypto_init() < 0);
	CHECK_EQ(secret_take(&s, src, sizeof(src)), -ENOMEM);
	CHECK(!s && src[0] == 1);
}

TEST(i5_a_child_sees_zeros)
{
	_cleanup_(secret_freep) struct secret *s = filled(0x77, 64);
	pid_t pid;
	int status;

	pid = fork();
	if (pid == 0) {
		uint8_t any = 0;

		for (size_t i = 0; i < 64; i++)
			any |= secret_bytes(s)[i];
		_exit(any ? 1 : 0);
	}
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	check_filled(secret_bytes(s), 0x77, 64);
}

TEST(memory_is_given_out_again_and_never_twice)
{
	enum { N = 400, ROUNDS = 20000 };
	static struct secret *s[N];
	static uint8_t value[N];

	for (int round = 0; round < ROUNDS; round++) {
		size_t i = random_below(N);

		if (s[i]) {
			check_filled(secret_bytes(s[i]), value[i], secret_len(s[i]));
			s[i] = secret_free(s[i]);
		} else {
			/* Mostly small, now and then more than a frame. */
			size_t len = random_below(100) ? 1 + random_below(300) :
							 1 + random_below(20000);

			value[i] = (uint8_t)random_below(256);
			s[i] = filled(value[i], len);
		}
	}
	for (size_t i = 0; i < N; i++)
		secret_free(s[i]);
}

TEST(what_was_given_back_is_taken_before_more_is_locked)
{
	enum { N = 3000 };
	static const size_t lengths[] = { 32, 64, 100, 200, 500, 1000, 2000, 4096, 8192 };
	static struct secret *s[N];
	_cleanup_(secret_freep) struct secret *first = filled(1, 1);
	unsigned long before, after;
	char flags[FLAGS_LEN];

	skip_where_nothing_is_locked();
	for (int i = 0; i < N; i++)
		s[i] = filled((uint8_t)i, lengths[i % 9]);
	read_flags(secret_bytes(first), flags, &before);
	/* In an order that leaves holes between what stays for a while. */
	for (int step = 0; step < 7; step++)
		for (int i = step; i < N; i += 7)
			s[i] = secret_free(s[i]);
	for (int i = N; i-- > 0;)
		s[i] = filled((uint8_t)i, lengths[i % 9]);
	read_flags(secret_bytes(first), flags, &after);
	CHECK(after <= before + 64);
	for (int i = 0; i < N; i++)
		secret_free(s[i]);
}

TEST(more_than_the_arena_holds_is_refused_and_does_no_harm)
{
	_cleanup_(secret_freep) struct secret *s = NULL;
	uint8_t *bytes;

	CHECK_EQ(secret_new(&s, 65 << 20, &bytes), -ENOMEM);
	CHECK_EQ(secret_new(&s, SIZE_MAX, &bytes), -ENOMEM);
	CHECK(!s);
	CHECK_EQ(secret_random(&s, 1 << 20), 0);
}

static void *churn(void *arg)
{
	uint8_t value = *(uint8_t *)arg;

	for (int i = 0; i < 20000; i++) {
		struct secret *s = filled(value, 1 + (size_t)(i % 100));

		check_filled(secret_bytes(s), value, secret_len(s));
		secret_free(s);
	}
	return NULL;
}

TEST(threads_share_the_arena)
{
	uint8_t values[2] = { 1, 2 };
	pthread_t t[2];

	for (int i = 0; i < 2; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, churn, &values[i]), 0);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(pthread_join(t[i], NULL), 0);
}

TEST(random_below_stays_below_and_reaches_all)
{
	unsigned int seen = 0;

	for (int i = 0; i < 2000; i++) {
		uint32_t v = random_below(7);

		CHECK(v < 7);
		seen |= 1U << v;
	}
	CHECK_EQ(seen, 0x7f);
	CHECK_EQ(random_below(1), 0);
}

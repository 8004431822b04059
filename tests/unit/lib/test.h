/*
 * The unit test harness. TEST(claim) { … } registers itself; the program runs
 * all, or those whose name contains argv[1], each in a child process with a 60 s
 * limit, and prints a line for each: "ok NAME", "FAIL NAME: why" or
 * "skip NAME: why". Exit status 0 unless one failed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct test {
	const char *name;
	void (*fn)(void);
	struct test *next;
};

void test_register(struct test *t);
void test_fail(const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4), noreturn));
void test_skip(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

#define TEST(claim)                                                                            \
	static void test_##claim(void);                                                        \
	__attribute__((constructor)) static void test_register_##claim(void)                   \
	{                                                                                      \
		static struct test t = { #claim, test_##claim, NULL };                         \
		test_register(&t);                                                             \
	}                                                                                      \
	static void test_##claim(void)

#define CHECK(x)                                                                               \
	do {                                                                                   \
		if (!(x))                                                                      \
			test_fail(__FILE__, __LINE__, "%s", #x);                               \
	} while (0)

#define CHECK_EQ(a, b)                                                                         \
	do {                                                                                   \
		long long a_ = (long long)(a), b_ = (long long)(b);                            \
		if (a_ != b_)                                                                  \
			test_fail(__FILE__, __LINE__, "%s is %lld, not %s (%lld)", #a, a_, #b, \
				  b_);                                                         \
	} while (0)

#define CHECK_STR(a, b) test_check_str(__FILE__, __LINE__, #a, (a), (b))
#define CHECK_MEM(a, b, len) test_check_mem(__FILE__, __LINE__, #a, (a), (b), (len))

void test_check_str(const char *file, int line, const char *what, const char *a, const char *b);
void test_check_mem(const char *file, int line, const char *what, const void *a, const void *b,
		    size_t len);

/* A fresh folder, removed when the test ends. */
const char *test_tmpdir(void);
/* A file below $HANDFAST_VECTORS (default ../shared/vectors), or test_skip() saying which is missing. */
const char *test_vector_path(const char *name);

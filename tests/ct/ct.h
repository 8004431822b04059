/*
 * Constant time, checked: under valgrind secrets are marked as undefined, so
 * that memcheck reports each branch and each index that depends on one. A
 * program has a row of checks, CHECK(name) { … }; it runs them all and says of
 * each whether memcheck had something to report ("ok NAME", "FAIL NAME: why").
 *
 * Each also plants two leaks of its own, a branch and an index, and fails
 * unless they are seen: what a compiler's options could hide is noticed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/secret.h"

struct check {
	const char *name;
	void (*run)(void);
	struct check *next;
};
void check_register(struct check *c);

#define CHECK(claim)                                                                           \
	static void check_##claim(void);                                                       \
	__attribute__((constructor)) static void check_register_##claim(void)                  \
	{                                                                                      \
		static struct check c = { #claim, check_##claim, NULL };                       \
		check_register(&c);                                                            \
	}                                                                                      \
	static void check_##claim(void)

void mark_secret(const void *p, size_t len);
/* What is sent, shown, or known to whoever looks from outside. */
void mark_public(const void *p, size_t len);
/* Of digits as text: which ones they are is secret, that they are some is not. */
void mark_digits(const void *p, size_t len);

/* What the check itself needs to go on; ends the program. */
void must(bool ok, const char *what);
/* The same of an answer that is public. */
void must_be(int r, int wanted, const char *what);

/* A random secret, marked. */
struct secret *marked(size_t len);
/* What is read from files is secret while this is set, but for what a ledger says in clear. */
extern bool reads_are_secret;
/* What bytes_equal() says is secret, too: which of many is equal tells more than that one is. */
extern bool answers_are_secret;
/* random_bytes() gives what nobody needs to keep. */
extern bool randoms_are_public;
/* A fresh folder, removed at the end. */
const char *ct_tmpdir(void);

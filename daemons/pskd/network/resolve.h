/* Names of peers to addresses. Numbers at once, names in a worker thread. */
#pragma once

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

struct loop;

#define RESOLVE_MAX 32

/* "host:port", "[v6]:port". */
struct resolve_names {
	size_t n;
	char v[RESOLVE_MAX][300];
};

/* The numeric ones among names; returns how many. */
size_t resolve_numbers(struct sockaddr_in6 *out, size_t cap, const struct resolve_names *names);
/*
 * Look all names up again, numbers too. done gets what was found (perhaps
 * nothing) once, from the loop. 0, or a negative errno and done never comes.
 */
int resolve_start(struct loop *l, const struct resolve_names *names,
		  void (*done)(const struct sockaddr_in6 *v, size_t n, void *arg), void *arg);

/* Where a peer's sessions come from: one that goes to and fro between two addresses may be two machines with its keys. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MOVES_RETURNS 4
#define MOVES_WITHIN_MS (UINT64_C(300) * 1000)
#define MOVES_AGAIN_MS (UINT64_C(3600) * 1000)

/* All zero: nothing is known yet. */
struct moves {
	struct sockaddr_in6 at, before;
	uint64_t returned_ms[MOVES_RETURNS]; /* the last of them, oldest first */
	size_t n_returned;
	uint64_t told_ms; /* 0: never */
};

/*
 * The peer has proven a new session from there. was_due: the one before was old enough that any peer would have made
 * another, and with several ways to us it may take another one each time: that is no sign of anything.
 * True when it has to be told: it came back MOVES_RETURNS times to where it had just left, each time from the same
 * second address, within MOVES_WITHIN_MS; while that goes on, again after MOVES_AGAIN_MS.
 */
bool moves_on_session(struct moves *m, const struct sockaddr_in6 *from, bool was_due, uint64_t now_ms);

/* It was told, and the last time that the peer came back is not longer ago than MOVES_AGAIN_MS. */
bool moves_is_to_and_fro(const struct moves *m, uint64_t now_ms);

/*
 * How long pskd's cryptography takes, for handfast-metrics(7): base/opstat.h. Packets are counted by the
 * batch, and one in a thousand is timed, by its sequence: that costs less than can be measured.
 */
#pragma once

#include <stdbool.h>

#include "base/opstat.h"

struct metrics;

enum pskd_operation {
	OP_PACKET_SEAL,
	OP_PACKET_OPEN,
	OP_SLOTS_DRAW, /* a batch of a key file's or a pairing's slots */
	OP_HANDSHAKE_CHECK, /* a message's MAC */
	OP_SIGN_VERIFY,
	N_PSKD_OPERATIONS,
};

/* Of the whole process; any thread may add. */
extern struct opstat pskd_operations[N_PSKD_OPERATIONS];

static inline bool operation_is_sample(uint64_t sequence)
{
	return (sequence & 1023) == 0;
}

void pskd_operations_add(struct metrics *m);

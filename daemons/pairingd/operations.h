/* How long pairingd's cryptography takes, for handfast-metrics(7): base/opstat.h. */
#pragma once

#include "base/opstat.h"

struct metrics;

enum pairing_operation {
	OP_ARGON2ID,
	OP_SPAKE2_START,
	OP_SPAKE2_FINISH,
	OP_X25519,
	OP_SIGN,
	OP_SIGN_VERIFY,
	OP_CHANNEL_SEAL,
	OP_CHANNEL_OPEN,
	OP_STATE_SEAL, /* of secrets at rest */
	OP_STATE_OPEN,
	N_PAIRING_OPERATIONS,
};

/* Of the whole process; any thread may add. */
extern struct opstat pairing_operations[N_PAIRING_OPERATIONS];

void pairing_operations_add(struct metrics *m);

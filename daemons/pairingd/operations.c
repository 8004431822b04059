/* The names of what is timed. */
#include "pairingd/operations.h"

#include "service/metrics.h"
#include "service/operations.h"

struct opstat pairing_operations[N_PAIRING_OPERATIONS];

static const struct operation told[] = {
	{ "argon2id", &pairing_operations[OP_ARGON2ID] },
	{ "spake2_start", &pairing_operations[OP_SPAKE2_START] },
	{ "spake2_finish", &pairing_operations[OP_SPAKE2_FINISH] },
	{ "x25519", &pairing_operations[OP_X25519] },
	{ "sign", &pairing_operations[OP_SIGN] },
	{ "sign_verify", &pairing_operations[OP_SIGN_VERIFY] },
	{ "channel_seal", &pairing_operations[OP_CHANNEL_SEAL] },
	{ "channel_open", &pairing_operations[OP_CHANNEL_OPEN] },
	{ "state_seal", &pairing_operations[OP_STATE_SEAL] },
	{ "state_open", &pairing_operations[OP_STATE_OPEN] },
};
_Static_assert(sizeof(told) / sizeof(*told) == N_PAIRING_OPERATIONS, "a name for each");

void pairing_operations_add(struct metrics *m)
{
	operations_add(m, "pairingd", told, N_PAIRING_OPERATIONS);
}

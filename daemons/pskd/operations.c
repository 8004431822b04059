/* The names of what is timed. */
#include "pskd/operations.h"

#include "service/metrics.h"
#include "service/operations.h"

struct opstat pskd_operations[N_PSKD_OPERATIONS];

static const struct operation told[] = {
	{ "packet_seal", &pskd_operations[OP_PACKET_SEAL] },
	{ "packet_open", &pskd_operations[OP_PACKET_OPEN] },
	{ "slots_draw", &pskd_operations[OP_SLOTS_DRAW] },
	{ "handshake_check", &pskd_operations[OP_HANDSHAKE_CHECK] },
	{ "sign_verify", &pskd_operations[OP_SIGN_VERIFY] },
};
_Static_assert(sizeof(told) / sizeof(*told) == N_PSKD_OPERATIONS, "a name for each");

void pskd_operations_add(struct metrics *m)
{
	operations_add(m, "pskd", told, N_PSKD_OPERATIONS);
}

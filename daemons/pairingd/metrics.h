/* What pairingd counts, for handfast-metrics(7). */
#pragma once

#include <stdint.h>

#include "pairingd/relay_client.h"

struct control;
struct metrics;
struct pairing_error;

/* How a pairing can end: paired, unconfirmed, and the names of the error codes. */
enum pairing_end {
	END_PAIRED,
	END_UNCONFIRMED,
	END_WRONG_SECRET,
	END_SAS_MISMATCH,
	END_NO_COMMON_PROFILE,
	END_DOWNGRADE,
	END_TAMPERED,
	END_EXPIRED,
	END_CANCELLED,
	END_OWN_DEVICE,
	END_STORAGE_FAILED,
	END_PEER_ABORTED,
	END_PEER_LEFT,
	END_NO_SUCH_SESSION,
	END_RELAY_UNREACHABLE,
	END_RELAY_REFUSED,
	END_OTHER,
	N_ENDS,
};

struct pairing_counters {
	uint64_t started;
	uint64_t ended[N_ENDS];
	uint64_t relay_failed[RELAY_CLIENT_E_LOST + 1]; /* by enum relay_client_outcome */
};

/* code: a full error name; what is not in the list above counts as the last of it. */
void pairing_count_failure(struct pairing_counters *n, const char *code);

/* arg: struct control. */
void pairingd_metrics(struct metrics *m, void *arg);

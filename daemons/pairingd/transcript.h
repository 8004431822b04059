/*
 * What both sides said, hashed: one chain per sender over its messages' own
 * bytes, and joins of the two chains at named points. See handfast-pairing(7),
 * section TRANSCRIPT.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "proto/pairing_msg.h"

struct transcript {
	uint8_t session_id[PAIRING_SESSION_ID_LEN];
	uint8_t chain[2][PAIRING_HASH_LEN]; /* by enum pairing_role */
	uint8_t joined[PAIRING_HASH_LEN];   /* the last join; zero before the first */
};

void transcript_init(struct transcript *t, const uint8_t session_id[static PAIRING_SESSION_ID_LEN]);

/* One message of role, as sent: kind, sequence and body as they stood on the wire. */
void transcript_add(struct transcript *t, enum pairing_role role, uint8_t kind, uint64_t seq,
		    const uint8_t *body, size_t len);

/*
 * Join the chains under a name, with the join before it and extra bytes (may
 * be NULL with 0). The result is t->joined.
 */
void transcript_join(struct transcript *t, const char *name, const void *extra, size_t extra_len);

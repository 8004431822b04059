/*
 * Slots without end from a pairing's root: one one-way chain per direction.
 *
 *   chain_0     = HKDF-SHA-256(salt = tunnel id, ikm = root, info = "handfast ratchet 0" or "… 1")
 *   slot_i      = HKDF-SHA-256(ikm = chain_i, info = "slot"), 60 bytes: tag, nonce, key
 *   chain_{i+1} = HKDF-SHA-256(ikm = chain_i, info = "next")
 *
 * Who learns chain_i learns nothing of the slots before i.
 */
#pragma once

#include <stdint.h>

#include "pskd/keys/keys.h"

#define RATCHET_CHAIN_LEN 32

/* direction 0: initiator to responder, 1: back. */
void ratchet_start(uint8_t chain[static RATCHET_CHAIN_LEN], const uint8_t root[static 32],
		   const uint8_t tunnel_id[static 16], unsigned int direction);
void ratchet_slot(struct slot_key *out, const uint8_t chain[static RATCHET_CHAIN_LEN]);
/* chain_i becomes chain_{i + n}; the old one is gone. */
void ratchet_step(uint8_t chain[static RATCHET_CHAIN_LEN], uint64_t n);

/* The chain is public in its construction and secret in its state; see ratchet.h. */
#include "pskd/keys/ratchet.h"

#include <assert.h>
#include <string.h>

#include "crypto/kdf.h"
#include "crypto/secret.h"

void ratchet_start(uint8_t chain[static RATCHET_CHAIN_LEN], const uint8_t root[static 32],
		   const uint8_t tunnel_id[static 16], unsigned int direction)
{
	static const char *const label[] = { "handfast ratchet 0", "handfast ratchet 1" };

	assert(direction < 2);
	hkdf_sha256(chain, RATCHET_CHAIN_LEN, tunnel_id, 16, root, 32, label[direction],
		    strlen(label[direction]));
}

void ratchet_slot(struct slot_key *out, const uint8_t chain[static RATCHET_CHAIN_LEN])
{
	static_assert(sizeof(*out) == SLOT_LEN / 2, "a half-slot without padding");
	hkdf_sha256((uint8_t *)out, sizeof(*out), NULL, 0, chain, RATCHET_CHAIN_LEN, "slot", 4);
}

void ratchet_step(uint8_t chain[static RATCHET_CHAIN_LEN], uint64_t n)
{
	while (n-- > 0)
		hkdf_sha256(chain, RATCHET_CHAIN_LEN, NULL, 0, chain, RATCHET_CHAIN_LEN, "next", 4);
}

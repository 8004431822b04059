/*
 * The data keys of one session: for each slot and direction a key of the
 * slot's key, both nonces, the direction and both identities, derived once and
 * before a packet asks for it. A session of a tunnel with a prototype peer has
 * no handshake and uses the slots as they are.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "proto/psk2.h"
#include "proto/psk_handshake.h"
#include "pskd/keys/keys.h"
#include "pskd/packet/drops.h"
#include "pskd/packet/udp.h"

#define SESSION_RENEW_PACKETS (UINT64_C(1) << 20)
#define SESSION_RENEW_MS (UINT64_C(3600) * 1000)

struct session_id {
	uint32_t number;
	uint8_t nonce_a[PSKH_NONCE_LEN], nonce_b[PSKH_NONCE_LEN];
	uint8_t identity_a[PSKH_IDENTITY_LEN], identity_b[PSKH_IDENTITY_LEN];
};

struct space;

struct session {
	struct session_id id;
	bool plain; /* prototype peer */
	struct sockaddr_in6 address; /* the peer's, proven by the handshake */
	struct sockaddr_in6 heard_from; /* source of the last authenticated packet; zero before the first */
	struct udp_local local; /* what its last packet from there was sent to, and so what ours are sent from */
	uint32_t peer_software; /* as in the handshake: major << 24 | minor << 16 | patch; prototype: 0 */
	uint64_t created_ms;
	bool proven; /* its first authenticated packet came */
	uint64_t packets; /* both directions: session_packets() */
	struct space *space; /* the path's: the sequences that it counts in */
	struct session_keys *keys;
};

/* One thread counts, another may look. */
static inline void session_count(struct session *s, uint64_t n)
{
	figure_add(&s->packets, n);
}

static inline uint64_t session_packets(const struct session *s)
{
	return figure_get(&s->packets);
}

/* rx_slots: how many slots behind and ahead of the highest are kept at once. id NULL: prototype. 0 or -ENOMEM. */
int session_new(struct session **out, const struct session_id *id, enum keys_role own_role,
		size_t rx_slots);
struct session *session_free(struct session *s);
DEFINE_CLEANUP(struct session *, session_free);

/* The half-slot to send with; slot is its number, from its expanded material. */
const struct slot_key *session_tx(struct session *s, uint64_t slot, const struct slot_key *from);
/* The tag that our own packets of this slot carry, or NULL when it is not at hand. */
const uint8_t *session_own_tag(const struct session *s, uint64_t slot);
/* The half-slot to receive with, or NULL when it was not prepared. Never derives. */
const struct slot_key *session_rx(const struct session *s, uint64_t slot);
/* Derive what is missing of slots first to last from what k has expanded. */
void session_prepare_rx(struct session *s, const struct keys *k, uint64_t first, uint64_t last);

/*
 * What a router does with a packet that is larger than what lies behind it:
 * tell the sender, or, where the sender left that to the network, cut it up.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "pskd/network/address.h"

#define TOO_BIG_ANSWER_MAX 1280

/*
 * The ICMP message to the sender of packet (RFC 792, RFC 1191; RFC 4443
 * section 3.2) that mtu bytes fit. It comes from the peer's address in the
 * tunnel, or, of a family that has none, from where the packet was to go.
 * Returns its length, or 0 when there is none to be sent: to what may not be
 * answered (RFC 1122 section 3.2.2, RFC 4443 section 2.4), and to an IPv4
 * packet that may be cut up.
 */
size_t too_big_answer(uint8_t out[static TOO_BIG_ANSWER_MAX], const uint8_t *packet, size_t len, uint16_t mtu,
		      const struct tunnel_addresses *a);

/*
 * The next fragment of an IPv4 packet that may be cut up, at most mtu bytes
 * long, into out, which has room for them. *done is how much of its payload
 * earlier fragments hold, at first 0, and moves on. Returns its length; 0:
 * there is none (any more), or it may not be cut.
 */
size_t too_big_fragment(uint8_t *out, const uint8_t *packet, size_t len, uint16_t mtu, size_t *done);

/*
 * The byte of an IP header that says how urgent a packet is (DSCP, six bits)
 * and whether its way is congested (ECN, two bits): what the outer packet says
 * of the inner one, and what becomes of that inside (RFC 6040, RFC 2983).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ECN_MASK 0x03
#define ECN_NOT_ECT 0
#define ECN_ECT1 1
#define ECN_ECT0 2
#define ECN_CE 3

/* What `dscp:` says: a value of 0 to 63 that all outer packets have, or to copy the inner one's. */
#define ECN_DSCP_COPY 64

/* The traffic class of an IP packet, or 0 when there is none. */
uint8_t ecn_get(const uint8_t *packet, size_t len);
/*
 * The outer packet's, for an inner one: with ECN only to a peer that obeys it
 * (RFC 6040 section 4.1: normal mode, and compatibility mode for others).
 */
uint8_t ecn_encapsulate(uint8_t inner, uint8_t dscp, bool peer_obeys);

/* An outcome: the packet was dropped by RFC 6040's table, instead of a mark that its ends would not see. */
enum { ECN_E_DROP = 1 };

/*
 * Bring what the outer packet says into the inner one, checksum included; its
 * DSCP stays (RFC 2983: the pipe model). 0 or ECN_E_DROP.
 */
int ecn_decapsulate(uint8_t *packet, size_t len, uint8_t outer);

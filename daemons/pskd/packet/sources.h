/*
 * Whom a peer may speak for: what it sends has passed the AEAD, so it comes from
 * the peer; but the address that it gives as its source is what it likes, and
 * what it says may be meant for this machine's own routing. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pskd/network/address.h"
#include "pskd/network/networks.h"

struct sources {
	struct networks allowed;
	/* Ours, which nobody else has. */
	struct prefix own[2];
	size_t n_own;
};

enum sources_verdict {
	SOURCES_FINE,
	SOURCES_FOREIGN, /* not the peer's */
	SOURCES_ROUTER,	 /* a redirect, or neighbour discovery: only a link's own routers and hosts may say so */
};

/*
 * The peer's addresses in the tunnel (or, where they are not known, our
 * networks there), and allowed; when that is empty: what is routed to the peer.
 */
void sources_init(struct sources *s, const struct tunnel_addresses *a, const struct networks *allowed);

/* ip: an IPv4 packet of 20 bytes or more, or an IPv6 packet of 40 or more. */
enum sources_verdict sources_judge(const struct sources *s, const uint8_t *ip, size_t len);

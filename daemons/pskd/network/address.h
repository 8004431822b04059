/* The addresses inside a tunnel: read from text, or derived from the tunnel's id. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pskd/keys/keys.h"
#include "pskd/network/networks.h"

#define ADDRESS_TEXT_MAX 64

struct tunnel_addresses {
	bool has_v4, has_v6;
	uint8_t v4_local[4], v4_peer[4], v4_prefix;
	uint8_t v6_local[16], v6_peer[16], v6_prefix;
	struct networks routes; /* behind the peer; neither derived nor parsed here */
};
struct tund_request;

/*
 * fd and 40 bits of SHA-256("handfast tunnel address" || id), subnet 0, /64, ::1 the initiator's and
 * ::2 the responder's; and a /30 of 10.64.0.0/10 by the next 20 bits. Both sides get the same.
 */
void address_derive(struct tunnel_addresses *out, const uint8_t id[static 16], enum keys_role role);
/*
 * local: "10.9.0.1/30, fd00::1/64" (one or both families, a prefix each);
 * peer: the same without prefixes, or NULL. 0 or -EINVAL.
 */
int address_parse(struct tunnel_addresses *out, const char *local, const char *peer);
/* The part of a request to tund that tells of them. */
void address_ask(struct tund_request *q, const struct tunnel_addresses *a);
/* NULL when the family is absent. */
const char *address_format_v4(char out[static ADDRESS_TEXT_MAX], const struct tunnel_addresses *a, bool peer);
const char *address_format_v6(char out[static ADDRESS_TEXT_MAX], const struct tunnel_addresses *a, bool peer);

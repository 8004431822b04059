/*
 * The TUN helper's socket (RUNTIME/tund.sock, SOCK_SEQPACKET): one request a
 * datagram, one reply each. Only pskd's user and root may connect. The device
 * is not persistent: it lives as long as the descriptor that the reply passes.
 * TUND_CONFIGURE is for a device made over the same connection, or for one whose
 * descriptor comes with the request. TUND_CHECK changes nothing: it tells what of the
 * request would be refused, for the named device in place of what it has now, or for a new one.
 */
#pragma once

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/prefix.h"

enum tund_type { TUND_CREATE = 1, TUND_CONFIGURE = 2, TUND_CHECK = 3 };

#define TUND_ROUTES_MAX 64
/* rtm_protocol of the routes that tund sets, so that it and pskd know them; nobody else is known to use it. */
#define TUND_ROUTE_PROTOCOL 72
#define TUND_MSG_MAX 1536

/* Flags of the device. */
enum { TUND_VNET_HDR = 1 };

struct tund_request {
	uint8_t type;
	char ifname[IF_NAMESIZE]; /* "hf0"; only names that begin with "hf" are allowed; "hf%d" lets the kernel number it */
	uint8_t flags;
	uint16_t mtu; /* 1280..65000 */
	bool has_v4, has_v6;
	uint8_t v4_local[4], v4_peer[4];
	uint8_t v4_prefix;
	uint8_t v6_local[16];
	uint8_t v6_prefix;
	/* All that lead to the device, but those of its addresses: others that tund has set go. */
	size_t n_routes;
	struct prefix routes[TUND_ROUTES_MAX];
};

struct tund_reply {
	int32_t error; /* 0 or a positive errno */
	char ifname[IF_NAMESIZE];
	char detail[128]; /* for people, when error != 0 */
};

/*
 * What is wrong with the addresses, as a clause; NULL when nothing is. A tunnel
 * is a small network of its own: never a part of the world wider than /8 (IPv6:
 * /16), nor loopback, multicast, link-local or broadcast; and unless any_address,
 * only of the private ranges of RFC 1918, RFC 6598 and RFC 4193, so that whoever
 * may ask for devices cannot attract what belongs to others.
 */
const char *tund_request_complaint(const struct tund_request *r, bool any_address);
/*
 * The same of a route: whole networks of the private ranges alone, and nothing of
 * loopback, multicast or link-local addresses. With any_route others too, up to
 * halves of the world (0.0.0.0/1): never the default route itself, which is the
 * machine's own.
 */
const char *tund_route_complaint(const struct prefix *route, bool any_route);

/*
 * The networks that the addresses are in, to which the kernel sets routes by itself. One may go though its address
 * stays, and then is set again. How many there are; those of IPv4 first.
 */
#define TUND_CONNECTED_MAX 2
size_t tund_connected(struct prefix out[static TUND_CONNECTED_MAX], const struct tund_request *r);

/*
 * encode: bytes written, or -EMSGSIZE; names and details are NUL-terminated.
 * decode: 0, or -EBADMSG: an unknown type or flag, a name that is not "hf" and
 * up to 13 of a-z 0-9 . - _ ("hf%d" not to configure), an MTU out of range (0 is
 * none given, which only a creation may leave open), a prefix too long,
 * addresses that the has_ bits deny, routes that are no networks, or more than
 * fit, anything missing or left over.
 */
ssize_t tund_request_encode(uint8_t *out, size_t cap, const struct tund_request *r);
int tund_request_decode(struct tund_request *out, const uint8_t *in, size_t len);
ssize_t tund_reply_encode(uint8_t *out, size_t cap, const struct tund_reply *r);
int tund_reply_decode(struct tund_reply *out, const uint8_t *in, size_t len);

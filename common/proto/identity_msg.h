/*
 * The identity socket: pairingd's private SOCK_SEQPACKET socket for the other
 * daemons (RUNTIME/identity.sock). One message a datagram, big-endian. Only
 * pskd's and authd's users (configured) and root may connect; this is where
 * secrets pass, never over Varlink.
 *
 *   request  u8 type, u32 id, body       reply  u8 type | 0x80, u32 id, u8 status, body
 *   event    u8 type, u32 0, body        (pairingd to daemon, unasked)
 *
 * A root is moved, not copied: TAKE_ROOT gives it, the taker makes it
 * durable, ROOT_STORED tells pairingd to erase its own. Until then TAKE_ROOT may be
 * repeated and gives the same.
 *
 * One peer may have two pairings, one of which is not confirmed yet, so what
 * is about a pairing names its tunnel id beside the peer's.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "crypto/sign.h"

#define IDENTITY_MSG_MAX 4096
#define IDENTITY_NAME_MAX 32
#define IDENTITY_CANDIDATES_MAX 16
#define IDENTITY_CANDIDATE_LEN 64 /* "192.0.2.1", "[2001:db8::1]" without port, or a name */
#define IDENTITY_SIGN_MAX 1024
#define IDENTITY_TUNNEL_ID_LEN 16

enum identity_type {
	IDENTITY_SIGN = 1,	  /* body: lv16 message. The context is "handfast tunnel handshake" for pskd */
	IDENTITY_TAKE_ROOT = 2,	  /* body: peer id 16, tunnel id 16 */
	IDENTITY_ROOT_STORED = 3, /* body: peer id 16, tunnel id 16; pairingd erases its copy before it replies */
	/* body: peer id 16, tunnel id 16: the peer's first authenticated message in this tunnel; prepared becomes active */
	IDENTITY_PEER_SEEN = 4,
	IDENTITY_WHOAMI = 5,	  /* body: none; reply: own public key 32, lv16 name */
	/* body: peer id 16, tunnel id 16: a root waits to be taken (also sent for each at connect) */
	IDENTITY_EVENT_ROOT = 16,
	/* body: peer id 16, tunnel id 16: remove what was made from this pairing; tunnel id 0: from all with the peer */
	IDENTITY_EVENT_FORGOTTEN = 17,
	IDENTITY_EVENT_RENAMED = 18, /* body: peer id 16, lv16 new name */
	/*
	 * body: u8 more, then to the end: peer id 16, tunnel id 16, lv16 name. All pairings there are,
	 * sent at connect before anything else; more is 0 in the last of these messages.
	 */
	IDENTITY_EVENT_PAIRINGS = 19,
};

enum identity_status {
	IDENTITY_OK = 0,
	IDENTITY_NO_SUCH_PEER = 1,
	IDENTITY_NO_ROOT = 2, /* moved already */
	IDENTITY_DENIED = 3,
	IDENTITY_FAILED = 4,
	IDENTITY_BAD_REQUEST = 5,
};

enum identity_role { IDENTITY_ALICE = 0, IDENTITY_BOB = 1 };

/* What TAKE_ROOT gives: all that pskd needs for `handfast tunnel up PEER`. */
struct identity_root {
	uint8_t peer_id[IDENTITY_ID_LEN]; /* identity_id(peer_public) */
	char peer_name[IDENTITY_NAME_MAX + 1];
	uint8_t role; /* ours: enum identity_role; alice is the tunnel's initiator */
	struct sign_public own_public, peer_public;
	uint8_t tunnel_id[16];
	uint8_t root[32];
	uint16_t own_port, peer_port; /* UDP */
	size_t n_candidates;
	char candidates[IDENTITY_CANDIDATES_MAX][IDENTITY_CANDIDATE_LEN]; /* of the peer */
};
void identity_root_wipe(struct identity_root *r);

/*
 * Body codecs. encode: bytes written, or -EMSGSIZE. decode: 0, or -EBADMSG
 * with out wiped. Nothing is trusted: lengths, counts and the role are
 * checked, the name must be a name, the peer's id that of its key, the peer's
 * key not ours, ports not 0, candidates of letters, digits and . : - _ % [ ].
 */
ssize_t identity_root_encode(uint8_t *out, size_t cap, const struct identity_root *r);
int identity_root_decode(struct identity_root *out, const uint8_t *in, size_t len);

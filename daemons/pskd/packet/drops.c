/* Names of the causes; stable, since people and scripts read them. */
#include "pskd/packet/drops.h"

static const char *const names[N_DROPS] = {
	[DROP_LENGTH] = "length",
	[DROP_MAGIC] = "magic",
	[DROP_VERSION] = "version",
	[DROP_FLAGS] = "flags",
	[DROP_SESSION] = "session",
	[DROP_DIRECTION] = "direction",
	[DROP_OLD] = "too-old",
	[DROP_AHEAD] = "too-far-ahead",
	[DROP_SLOT] = "slot",
	[DROP_TAG] = "slot-tag",
	[DROP_AEAD] = "aead",
	[DROP_REPLAY] = "replay",
	[DROP_MARK] = "mark-not-durable",
	[DROP_OWN] = "own-packet",
	[DROP_INNER] = "no-ip-packet",
	[DROP_SOURCE] = "inner-source",
	[DROP_ROUTER] = "inner-router",
	[DROP_ECN] = "inner-ecn",
	[DROP_DEVICE] = "device",
	[DROP_SEND] = "send",
	[DROP_STALE] = "stale",
	[DROP_TOO_BIG] = "too-big",
	[DROP_OFFLOAD] = "offload",
	[DROP_HS_MALFORMED] = "handshake-malformed",
	[DROP_HS_OTHER_KEY] = "handshake-other-key",
	[DROP_HS_MAC] = "handshake-mac",
	[DROP_HS_ROLE] = "handshake-role",
	[DROP_HS_NONCE] = "handshake-nonce",
	[DROP_HS_IDENTITY] = "handshake-identity",
	[DROP_HS_REVOKED] = "handshake-revoked",
	[DROP_HS_SIGNATURE] = "handshake-signature",
	[DROP_HS_RATE] = "handshake-rate",
	[DROP_HS_DUPLICATE] = "handshake-duplicate",
	[DROP_HS_UNEXPECTED] = "handshake-unexpected",
	[DROP_HS_OVERLOAD] = "handshake-overload",
};

const char *drop_name(enum drop d)
{
	return names[d];
}

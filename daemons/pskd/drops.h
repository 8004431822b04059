/* Why packets were dropped: one counter each, shown by `handfast tunnel show`. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum drop {
	/* data packets, in the order of the checks */
	DROP_LENGTH,
	DROP_MAGIC,
	DROP_VERSION,
	DROP_FLAGS,
	DROP_SESSION,
	DROP_DIRECTION,
	DROP_OLD,
	DROP_AHEAD,
	DROP_SLOT,
	DROP_TAG,
	DROP_AEAD,
	DROP_REPLAY,
	DROP_MARK,
	DROP_OWN,
	DROP_INNER,
	DROP_SOURCE,
	DROP_ROUTER,
	DROP_ECN,
	DROP_DEVICE,
	/* ours, on the way out */
	DROP_SEND,
	DROP_STALE,
	DROP_TOO_BIG,
	DROP_OFFLOAD,
	/* handshake messages */
	DROP_HS_MALFORMED,
	DROP_HS_OTHER_KEY,
	DROP_HS_MAC,
	DROP_HS_ROLE,
	DROP_HS_NONCE,
	DROP_HS_IDENTITY,
	DROP_HS_REVOKED,
	DROP_HS_SIGNATURE,
	DROP_HS_RATE,
	DROP_HS_DUPLICATE, /* a second answer to one HELLO: usual, when it went to several addresses */
	DROP_HS_UNEXPECTED,
	N_DROPS,
};

struct drops {
	uint64_t n[N_DROPS];
	uint64_t arrived; /* all but those on the way out, which are our own */
};

/* Of our own packets, on their way out. */
static inline bool drop_is_outgoing(enum drop d)
{
	return d >= DROP_SEND && d <= DROP_OFFLOAD;
}

/* One that came to us. */
static inline void drops_count(struct drops *d, enum drop cause)
{
	d->n[cause]++;
	d->arrived++;
}

/* "slot-tag", "replay" …: stable. */
const char *drop_name(enum drop d);

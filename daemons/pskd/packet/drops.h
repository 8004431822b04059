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
	DROP_HS_OVERLOAD, /* more than the control thread could look at */
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

/* A figure that one thread at a time writes, and others may look at. */
static inline void figure_set(uint64_t *f, uint64_t v)
{
	__atomic_store_n(f, v, __ATOMIC_RELAXED);
}

static inline void figure_add(uint64_t *f, uint64_t n)
{
	figure_set(f, *f + n);
}

static inline uint64_t figure_get(const uint64_t *f)
{
	return __atomic_load_n(f, __ATOMIC_RELAXED);
}

/* One that came to us. */
static inline void drops_count(struct drops *d, enum drop cause)
{
	figure_add(&d->n[cause], 1);
	figure_add(&d->arrived, 1);
}

/* "slot-tag", "replay" …: stable. */
const char *drop_name(enum drop d);

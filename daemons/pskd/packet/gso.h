/*
 * What the device gives in one piece, cut into packets as they go over the
 * wire: a read with a virtio header is one packet, perhaps with a checksum to
 * be completed, or up to 64 KiB of one TCP or UDP flow to be segmented. Reads
 * are judged as if a stranger had made them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pskd/packet/inner.h"

struct virtio_net_hdr;

/* Outcomes. */
enum {
	GSO_E_MALFORMED = 1, /* header and packet do not belong together */
	GSO_E_TOO_BIG,	     /* a packet would be larger than the MTU */
};

/* One read on its way; set up by gso_begin(), all its own. */
struct gso {
	const uint8_t *packet; /* the caller's, until gso_has_more() is false */
	size_t len, at;	       /* of the payload, what is out */
	size_t size;	       /* of a segment's payload; 0: the packet goes as it is */
	struct inner inner;
	uint64_t pseudo_sum; /* without the length */
	bool checksum;	     /* to be filled in */
	uint16_t index;
	bool more;
};

/*
 * h as it was read, in this machine's byte order. The packet may be changed. 0, or a GSO_E_ outcome: then
 * nothing of it is to be sent.
 */
int gso_begin(struct gso *g, const struct virtio_net_hdr *h, uint8_t *packet, size_t len, size_t mtu);

static inline bool gso_has_more(const struct gso *g)
{
	return g->more;
}

/* How many are left. */
size_t gso_count(const struct gso *g);

/* How large the next one is. */
size_t gso_next_len(const struct gso *g);

/*
 * Cut what is left so that no packet is larger than max: segments of TCP, or one that has none yet, into smaller
 * ones, as the kernel that made them would. False: it cannot be cut, and is as it was.
 */
bool gso_narrow(struct gso *g, size_t max);

/* Write the next packet, of at most the MTU. Returns its length. */
size_t gso_next(struct gso *g, uint8_t *out);

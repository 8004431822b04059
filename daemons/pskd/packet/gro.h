/*
 * Packets that came one after the other, joined into one write to the device:
 * runs of one TCP or UDP flow that the kernel could have got as one piece from
 * a card, and would cut into the same packets again. Nothing is copied: the
 * payloads are gathered from where they lie, and the first packet's headers
 * are changed there. Only one run is open at a time, so that all packets keep
 * their order.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "pskd/packet/inner.h"

/* Packets of a run. The kernel takes no more of UDP. */
#define GRO_MAX 64
/* What must be free, and may be overwritten, in front of each packet: a virtio_net_hdr. */
#define GRO_ROOM 10

/* Set up with the two flags and zero for the rest. */
struct gro {
	bool tcp, udp; /* what is to be joined */
	unsigned int n; /* packets of the open run; 0: none */
	struct inner inner;
	size_t len;  /* of the packet so far */
	size_t size; /* of the first payload */
	bool verified; /* the first packet's checksum was right */
	bool closed; /* by a shorter segment, or one with PSH */
	uint8_t push; /* TCP_PSH of the last, or 0 */
	uint32_t next_sequence;
	uint16_t next_id;
	struct iovec iov[GRO_MAX];
};

/*
 * Add the packet to the open run, or open one with it. False: it does not
 * belong there (write the run and try again), or with none open, nowhere.
 * ip stays the run's until gro_finish().
 */
bool gro_add(struct gro *g, uint8_t *ip, size_t len);

/*
 * Close the open run. Returns the length of the one write that is to be made
 * of iov[0 .. *n_iov), virtio header included. *packets: how many it carries.
 */
size_t gro_finish(struct gro *g, unsigned int *n_iov, unsigned int *packets);

/* The header of a packet written alone, into the room in front of it. */
void gro_plain(uint8_t *ip);

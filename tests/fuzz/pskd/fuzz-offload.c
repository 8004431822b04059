/*
 * A read of the device: the first ten bytes are its virtio header, the rest its
 * packet. What is cut from it must not be larger than the MTU, and add up to
 * it; whatever comes of joining the pieces must be cut into the same pieces
 * again.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "pskd/packet/gro.h"
#include "pskd/packet/gso.h"
#include "pskd/packet/vnet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MTU = 1400, ROOM = 32, PIECES = 64 };

static uint8_t pieces[PIECES][ROOM + MTU], again[MTU];
static uint8_t copies[PIECES][MTU];
static size_t lens[PIECES];

/* The run that is open, as one write; cut again it gives the pieces from first on. */
static void check_run(struct gro *g, unsigned int first)
{
	unsigned int n_iov, packets;
	size_t len = gro_finish(g, &n_iov, &packets), at = 0;
	uint8_t *written = malloc(len);
	struct virtio_net_hdr h;
	struct gso s;

	assert(written && packets > 0);
	for (unsigned int i = 0; i < n_iov; i++) {
		memcpy(written + at, g->iov[i].iov_base, g->iov[i].iov_len);
		at += g->iov[i].iov_len;
	}
	assert(at == len);
	memcpy(&h, written, sizeof(h));
	assert(gso_begin(&s, &h, written + VNET_HEADER_LEN, len - VNET_HEADER_LEN, MTU) == 0);
	for (unsigned int i = first; i < first + packets; i++) {
		assert(gso_has_more(&s) && gso_next(&s, again) == lens[i]);
		assert(memcmp(again, copies[i], lens[i]) == 0);
	}
	assert(!gso_has_more(&s));
	free(written);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct gro g = { .tcp = true, .udp = true };
	unsigned int n = 0, first = 0;
	struct virtio_net_hdr h;
	uint8_t *packet;
	struct gso s;

	if (size < VNET_HEADER_LEN || size > VNET_HEADER_LEN + 65535)
		return 0;
	memcpy(&h, data, VNET_HEADER_LEN);
	size -= VNET_HEADER_LEN;
	packet = malloc(size ? size : 1);
	assert(packet);
	memcpy(packet, data + VNET_HEADER_LEN, size);
	if (gso_begin(&s, &h, packet, size, MTU) == 0)
		for (; gso_has_more(&s) && n < PIECES; n++) {
			lens[n] = gso_next(&s, pieces[n] + ROOM);
			assert(lens[n] > 0 && lens[n] <= MTU);
			memcpy(copies[n], pieces[n] + ROOM, lens[n]);
		}
	free(packet);
	for (unsigned int i = 0; i < n; i++) {
		if (gro_add(&g, pieces[i] + ROOM, lens[i]))
			continue;
		if (g.n > 0)
			check_run(&g, first);
		first = i;
		if (!gro_add(&g, pieces[i] + ROOM, lens[i]))
			first = i + 1;
	}
	if (g.n > 0)
		check_run(&g, first);
	return 0;
}

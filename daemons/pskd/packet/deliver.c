/*
 * Opened packets to the device: runs of one flow in one write, where the device
 * takes virtio headers; else each by itself.
 */
#include "pskd/packet/path_internal.h"

#include <unistd.h>

#include "pskd/packet/vnet.h"

/* After the write of what carried n packets and bytes of them. */
static void account(struct path *p, bool good, unsigned int n, size_t bytes)
{
	if (good) {
		figure_add(&p->counters.rx_packets, n);
		figure_add(&p->counters.rx_bytes, bytes);
		return;
	}
	while (n-- > 0)
		drops_count(&p->counters.drops, DROP_DEVICE);
}

void deliver_flush(struct path *p)
{
	struct gro *g = &p->in.gro;
	unsigned int n_iov, packets;
	size_t len;

	if (g->n == 0)
		return;
	len = gro_finish(g, &n_iov, &packets);
	/* Headers were there once for each packet. */
	account(p, writev(p->o.tun_fd, g->iov, (int)n_iov) == (ssize_t)len, packets,
		len - VNET_HEADER_LEN + (packets - 1) * g->inner.header_len);
}

bool deliver_own(struct path *p, uint8_t *ip, size_t len)
{
	size_t room = p->offload & OFFLOAD_VNET_HEADER ? VNET_HEADER_LEN : 0;

	if (room)
		gro_plain(ip);
	return write(p->o.tun_fd, ip - room, room + len) == (ssize_t)(room + len);
}

void deliver(struct path *p, uint8_t *ip, size_t len)
{
	struct gro *g = &p->in.gro;

	if (!(p->offload & OFFLOAD_VNET_HEADER)) {
		account(p, deliver_own(p, ip, len), 1, len);
		return;
	}
	if (gro_add(g, ip, len))
		return;
	if (g->n > 0) {
		deliver_flush(p);
		if (gro_add(g, ip, len))
			return;
	}
	account(p, deliver_own(p, ip, len), 1, len);
}

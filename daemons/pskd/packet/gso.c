/*
 * As the kernel segments (its tcp_gso_segment() and udp_gso_segment()):
 * sequences count on, FIN and PSH stay for the last segment and CWR for the
 * first, IPv4 ids count up, each header and checksum is whole. The checksum
 * that the kernel left unfinished holds the sum of the pseudo header, which is
 * right even where a routing header makes the addresses differ.
 */
#include "pskd/packet/gso.h"

#include <string.h>

#include "base/bytes.h"

#include "pskd/packet/checksum.h"
#include "pskd/packet/vnet.h"

/* A payload that is worth its headers. */
#define NARROWEST 64

static size_t checksum_offset(const struct gso *g)
{
	return g->inner.transport + (g->inner.udp ? UDP_CHECKSUM : TCP_CHECKSUM);
}

/* Of a packet that goes as it is. */
static int complete_checksum(const struct virtio_net_hdr *h, uint8_t *packet, size_t len)
{
	size_t start = h->csum_start, at = start + h->csum_offset;

	if (start >= len || at + 2 > len || start < IPV4_HEADER_LEN)
		return GSO_E_MALFORMED;
	checksum_store(packet + at, checksum_add(0, packet + start, len - start));
	/* RFC 768: zero would say that there is none. */
	if (h->csum_offset == UDP_CHECKSUM && packet[at] == 0 && packet[at + 1] == 0)
		packet[at] = packet[at + 1] = 0xff;
	return 0;
}

static bool is_type(const struct gso *g, uint8_t type)
{
	switch (type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
		return !g->inner.udp && !g->inner.v6;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		return !g->inner.udp && g->inner.v6;
	case VIRTIO_NET_HDR_GSO_UDP_L4:
		return g->inner.udp && !(type & VIRTIO_NET_HDR_GSO_ECN);
	default:
		return false;
	}
}

static int begin_segments(struct gso *g, const struct virtio_net_hdr *h, size_t mtu)
{
	size_t transport_len;
	uint16_t partial;

	if (inner_parse(&g->inner, g->packet, g->len) != 0 || !is_type(g, h->gso_type) || h->gso_size == 0 ||
	    g->len == g->inner.header_len)
		return GSO_E_MALFORMED;
	g->size = h->gso_size;
	if (g->inner.header_len + (g->len - g->inner.header_len < g->size ? g->len - g->inner.header_len : g->size) >
	    mtu)
		return GSO_E_TOO_BIG;
	transport_len = g->len - g->inner.transport;
	g->at = g->inner.header_len;
	g->checksum = true;
	if (!(h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)) {
		/* A datagram may have none. */
		g->checksum = !g->inner.udp || be16_load(g->packet + checksum_offset(g)) != 0;
		g->pseudo_sum = inner_pseudo_sum(&g->inner, g->packet, 0);
		return 0;
	}
	if (h->csum_start != g->inner.transport || h->csum_start + (size_t)h->csum_offset != checksum_offset(g))
		return GSO_E_MALFORMED;
	memcpy(&partial, g->packet + checksum_offset(g), sizeof(partial));
	/* Take the whole's length out again. */
	g->pseudo_sum = checksum_add16(partial, (uint16_t)~transport_len);
	return 0;
}

int gso_begin(struct gso *g, const struct virtio_net_hdr *h, uint8_t *packet, size_t len, size_t mtu)
{
	int r = 0;

	*g = (struct gso){ .packet = packet, .len = len };
	if (len == 0 || h->hdr_len > len)
		return GSO_E_MALFORMED;
	if (h->gso_type != VIRTIO_NET_HDR_GSO_NONE)
		r = begin_segments(g, h, mtu);
	else if (len > mtu)
		r = GSO_E_TOO_BIG;
	else if (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		r = complete_checksum(h, packet, len);
	g->more = r == 0;
	return r;
}

size_t gso_count(const struct gso *g)
{
	if (!g->more)
		return 0;
	return g->size ? (g->len - g->at + g->size - 1) / g->size : 1;
}

size_t gso_next_len(const struct gso *g)
{
	size_t left = g->len - g->at;

	return g->size ? g->inner.header_len + (left < g->size ? left : g->size) : g->len;
}

/* A packet of TCP that came as it is, checksum and all, as a piece of one segment. */
static bool begin_whole(struct gso *g)
{
	if (inner_parse(&g->inner, g->packet, g->len) != 0 || g->inner.udp || g->len == g->inner.header_len)
		return false;
	/* An opening or a reset is one packet or none; a pointer to urgent data would have to move. */
	if (g->packet[g->inner.transport + TCP_FLAGS] & (TCP_SYN | TCP_RST | TCP_URG))
		return false;
	g->pseudo_sum = inner_pseudo_sum(&g->inner, g->packet, 0);
	g->checksum = true;
	g->at = g->inner.header_len;
	g->size = g->len - g->at;
	return true;
}

bool gso_narrow(struct gso *g, size_t max)
{
	struct gso narrow = *g;

	if (!g->more || (g->size == 0 && !begin_whole(&narrow)) || narrow.inner.udp ||
	    narrow.inner.header_len + NARROWEST > max)
		return false;
	if (narrow.size > max - narrow.inner.header_len)
		narrow.size = max - narrow.inner.header_len;
	*g = narrow;
	return true;
}

/* What differs from segment to segment. */
static void finish_tcp(const struct gso *g, uint8_t *t, size_t before)
{
	be32_store(t + TCP_SEQUENCE, be32_load(t + TCP_SEQUENCE) + (uint32_t)before);
	if (g->at < g->len)
		t[TCP_FLAGS] &= (uint8_t)~(TCP_FIN | TCP_PSH);
	if (before > 0)
		t[TCP_FLAGS] &= (uint8_t)~TCP_CWR;
}

static void finish_checksum(const struct gso *g, uint8_t *out, size_t len)
{
	size_t transport_len = len - g->inner.transport;
	uint8_t *at = out + checksum_offset(g);

	be16_store(at, 0);
	if (!g->checksum)
		return;
	checksum_store(at, checksum_add(checksum_add16(g->pseudo_sum, (uint16_t)transport_len),
					out + g->inner.transport, transport_len));
	if (g->inner.udp && at[0] == 0 && at[1] == 0)
		at[0] = at[1] = 0xff;
}

size_t gso_next(struct gso *g, uint8_t *out)
{
	size_t left = g->len - g->at, part = left < g->size ? left : g->size;
	size_t before = g->at - g->inner.header_len, len = g->inner.header_len + part;

	if (g->size == 0) {
		memcpy(out, g->packet, g->len);
		g->more = false;
		return g->len;
	}
	memcpy(out, g->packet, g->inner.header_len);
	memcpy(out + g->inner.header_len, g->packet + g->at, part);
	g->at += part;
	g->more = g->at < g->len;
	if (!g->inner.v6)
		be16_store(out + 4, (uint16_t)(be16_load(out + 4) + g->index));
	inner_set_length(&g->inner, out, len);
	if (g->inner.udp)
		be16_store(out + g->inner.transport + UDP_LENGTH, (uint16_t)(len - g->inner.transport));
	else
		finish_tcp(g, out + g->inner.transport, before);
	finish_checksum(g, out, len);
	g->index++;
	return len;
}

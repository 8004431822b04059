/*
 * The rules are those of the kernel's own receive offload: all of a run have
 * the same headers but for what counts on (TCP's sequence, IPv4's id), equal
 * payloads but for a shorter last one, and right checksums; these the kernel
 * would not look at again. The checksum of a first packet is looked at when a
 * second one comes.
 */
#include "pskd/packet/gro.h"

#include <string.h>

#include "base/bytes.h"

#include "pskd/packet/checksum.h"
#include "pskd/packet/vnet.h"

_Static_assert(VNET_HEADER_LEN == GRO_ROOM, "the room is for one header");

static bool checksum_is_right(const struct inner *in, const uint8_t *ip, size_t len)
{
	size_t transport_len = len - in->transport;

	if (!in->v6 && checksum_fold(checksum_add(0, ip, in->transport)) != 0xffff)
		return false;
	return checksum_fold(checksum_add(inner_pseudo_sum(in, ip, transport_len), ip + in->transport,
					  transport_len)) == 0xffff;
}

/* Whether a run may begin with it, or it may be part of one. */
static bool is_joinable(const struct gro *g, const struct inner *in, const uint8_t *ip, size_t len)
{
	const uint8_t *t = ip + in->transport;

	/* No IP options, no extensions, and something inside. */
	if (in->transport != (in->v6 ? IPV6_HEADER_LEN : IPV4_HEADER_LEN) || len == in->header_len)
		return false;
	if (in->udp)
		return g->udp && be16_load(t + UDP_CHECKSUM) != 0;
	return g->tcp && (t[TCP_FLAGS] | TCP_PSH | TCP_ECE) == (TCP_ACK | TCP_PSH | TCP_ECE) && (t[12] & 0x0f) == 0;
}

static bool same(const uint8_t *a, const uint8_t *b, size_t from, size_t to)
{
	return memcmp(a + from, b + from, to - from) == 0;
}

/* All of both headers that does not count on or follow from the length. */
static bool is_same_flow(const struct inner *in, const uint8_t *a, const uint8_t *b)
{
	const uint8_t *s = a + in->transport, *t = b + in->transport;

	if (in->v6 ? !same(a, b, 0, 4) || !same(a, b, 6, 40) :
		     !same(a, b, 0, 2) || !same(a, b, 6, 10) || !same(a, b, 12, 20))
		return false;
	if (in->udp)
		return same(s, t, 0, UDP_LENGTH);
	/* Ports; acknowledgement and header length; window; urgent pointer and options. */
	return same(s, t, 0, TCP_SEQUENCE) && same(s, t, 8, TCP_FLAGS) &&
	       ((s[TCP_FLAGS] ^ t[TCP_FLAGS]) & ~TCP_PSH) == 0 && same(s, t, 14, TCP_CHECKSUM) &&
	       same(s, t, 18, in->header_len - in->transport);
}

static void begin(struct gro *g, const struct inner *in, uint8_t *ip, size_t len)
{
	const uint8_t *t = ip + in->transport;

	g->n = 1;
	g->inner = *in;
	g->len = len;
	g->size = len - in->header_len;
	g->verified = false;
	g->push = in->udp ? 0 : t[TCP_FLAGS] & TCP_PSH;
	g->closed = g->push;
	g->next_sequence = in->udp ? 0 : be32_load(t + TCP_SEQUENCE) + (uint32_t)g->size;
	g->next_id = in->v6 ? 0 : (uint16_t)(be16_load(ip + 4) + 1);
	g->iov[0] = (struct iovec){ ip - GRO_ROOM, GRO_ROOM + len };
}

static bool fits(struct gro *g, const struct inner *in, const uint8_t *ip, size_t len)
{
	const uint8_t *first = (const uint8_t *)g->iov[0].iov_base + GRO_ROOM;
	const uint8_t *t = ip + in->transport;
	size_t payload = len - in->header_len;

	if (g->closed || g->n == GRO_MAX || g->len + payload > UINT16_MAX || payload > g->size ||
	    in->v6 != g->inner.v6 || in->udp != g->inner.udp || in->header_len != g->inner.header_len)
		return false;
	if (!is_same_flow(in, first, ip) || (!in->udp && be32_load(t + TCP_SEQUENCE) != g->next_sequence) ||
	    (!in->v6 && be16_load(ip + 4) != g->next_id))
		return false;
	if (!g->verified && !checksum_is_right(in, first, g->iov[0].iov_len - GRO_ROOM)) {
		/* The kernel will see it; nothing joins this one. */
		g->closed = true;
		return false;
	}
	g->verified = true;
	return checksum_is_right(in, ip, len);
}

bool gro_add(struct gro *g, uint8_t *ip, size_t len)
{
	struct inner in;
	size_t payload;

	if (inner_parse(&in, ip, len) != 0 || !is_joinable(g, &in, ip, len))
		return false;
	if (g->n == 0) {
		begin(g, &in, ip, len);
		return true;
	}
	if (!fits(g, &in, ip, len))
		return false;
	payload = len - in.header_len;
	g->iov[g->n++] = (struct iovec){ ip + in.header_len, payload };
	g->len += payload;
	g->next_sequence += (uint32_t)payload;
	g->next_id++;
	g->push = in.udp ? 0 : ip[in.transport + TCP_FLAGS] & TCP_PSH;
	g->closed = payload < g->size || g->push;
	return true;
}

void gro_plain(uint8_t *ip)
{
	memset(ip - GRO_ROOM, 0, GRO_ROOM);
}

/* The packet becomes as large as the run, with a checksum for the kernel to complete where it must. */
static void make_large(const struct gro *g, uint8_t *ip)
{
	struct virtio_net_hdr h = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = g->inner.udp ? VIRTIO_NET_HDR_GSO_UDP_L4 :
			    g->inner.v6	 ? VIRTIO_NET_HDR_GSO_TCPV6 :
					   VIRTIO_NET_HDR_GSO_TCPV4,
		.hdr_len = (uint16_t)g->inner.header_len,
		.gso_size = (uint16_t)g->size,
		.csum_start = (uint16_t)g->inner.transport,
		.csum_offset = g->inner.udp ? UDP_CHECKSUM : TCP_CHECKSUM,
	};
	uint8_t *t = ip + g->inner.transport;
	uint16_t pseudo;

	inner_set_length(&g->inner, ip, g->len);
	if (g->inner.udp)
		be16_store(t + UDP_LENGTH, (uint16_t)(g->len - g->inner.transport));
	else
		t[TCP_FLAGS] |= g->push;
	pseudo = checksum_fold(inner_pseudo_sum(&g->inner, ip, g->len - g->inner.transport));
	memcpy(t + h.csum_offset, &pseudo, sizeof(pseudo));
	memcpy(ip - GRO_ROOM, &h, GRO_ROOM);
}

size_t gro_finish(struct gro *g, unsigned int *n_iov, unsigned int *packets)
{
	uint8_t *ip = (uint8_t *)g->iov[0].iov_base + GRO_ROOM;

	if (g->n > 1)
		make_large(g, ip);
	else
		gro_plain(ip);
	*n_iov = *packets = g->n;
	g->n = 0;
	return GRO_ROOM + g->len;
}

/*
 * Segmenting what the device gives, and joining what goes to it, against a
 * reference that works byte by byte; and whatever a stranger may have put into
 * a virtio header.
 */
#include "pskd/packet/gro.h"
#include "pskd/packet/gso.h"
#include "pskd/packet/offload.h"

#include <netinet/in.h>
#include <string.h>

#include "base/bytes.h"
#include "crypto/secret.h"
#include "pskd/packet/checksum.h"
#include "pskd/packet/vnet.h"
#include "unit/lib/test.h"

enum { MTU = 1400, LARGE = 65535 };

/* ---- the reference ---- */

/* RFC 1071, a byte at a time. */
static uint16_t slow_sum(uint32_t sum, const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return (uint16_t)sum;
}

static uint16_t slow_transport_sum(const uint8_t *ip, size_t transport, size_t len, bool udp)
{
	bool v6 = ip[0] >> 4 == 6;
	uint16_t sum = v6 ? slow_sum(0, ip + 8, 32) : slow_sum(0, ip + 12, 8);
	uint8_t more[4] = { 0, udp ? IPPROTO_UDP : IPPROTO_TCP, (uint8_t)((len - transport) >> 8),
			    (uint8_t)(len - transport) };

	return slow_sum(slow_sum(sum, more, 4), ip + transport, len - transport);
}

struct shape {
	bool v6, udp;
	size_t options; /* of TCP */
	size_t payload;
	uint8_t flags;
};

static size_t transport_of(const struct shape *s)
{
	return s->v6 ? 40 : 20;
}

static size_t headers_of(const struct shape *s)
{
	return transport_of(s) + (s->udp ? 8 : 20 + s->options);
}

static uint8_t *sum_at(uint8_t *ip, const struct shape *s)
{
	return ip + transport_of(s) + (s->udp ? 6 : 16);
}

/* The lengths and sums of a packet whose other bytes are there. */
static void finish(uint8_t *ip, const struct shape *s)
{
	size_t len = headers_of(s) + s->payload, transport = transport_of(s);

	if (s->v6)
		be16_store(ip + 4, (uint16_t)(len - 40));
	else
		be16_store(ip + 2, (uint16_t)len);
	if (s->udp)
		be16_store(ip + transport + 4, (uint16_t)(len - transport));
	if (!s->v6) {
		be16_store(ip + 10, 0);
		be16_store(ip + 10, (uint16_t)~slow_sum(0, ip, 20));
	}
	be16_store(sum_at(ip, s), 0);
	be16_store(sum_at(ip, s), (uint16_t)~slow_transport_sum(ip, transport, len, s->udp));
	if (s->udp && be16_load(sum_at(ip, s)) == 0)
		be16_store(sum_at(ip, s), 0xffff);
}

/* A whole packet of random content. Returns its length. */
static size_t make(uint8_t *ip, const struct shape *s)
{
	size_t len = headers_of(s) + s->payload, transport = transport_of(s);

	random_bytes(ip, len);
	ip[0] = s->v6 ? 0x60 : 0x45;
	if (s->v6) {
		ip[6] = s->udp ? IPPROTO_UDP : IPPROTO_TCP;
	} else {
		be16_store(ip + 6, 0x4000);
		ip[9] = s->udp ? IPPROTO_UDP : IPPROTO_TCP;
	}
	if (!s->udp) {
		ip[transport + 12] = (uint8_t)((20 + s->options) / 4 << 4);
		ip[transport + 13] = s->flags;
	}
	finish(ip, s);
	return len;
}

/* As the kernel gives a large packet: the sum of the pseudo header only. */
static struct virtio_net_hdr unfinish(uint8_t *ip, const struct shape *s, size_t size)
{
	uint8_t empty[LARGE] = { 0 };
	size_t transport = transport_of(s), len = headers_of(s) + s->payload;

	memcpy(empty, ip, transport);
	be16_store(sum_at(ip, s), slow_transport_sum(empty, transport, len, s->udp));
	return (struct virtio_net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = s->udp ? VIRTIO_NET_HDR_GSO_UDP_L4 : s->v6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4,
		.hdr_len = (uint16_t)headers_of(s),
		.gso_size = (uint16_t)size,
		.csum_start = (uint16_t)transport,
		.csum_offset = s->udp ? 6 : 16,
	};
}

/* The part of large from payload byte at on, as a packet of its own: the one of this index. */
static size_t slow_part(uint8_t *out, const uint8_t *large, const struct shape *s, size_t at, size_t size, size_t index)
{
	struct shape part = *s;
	size_t headers = headers_of(s), transport = transport_of(s);

	part.payload = s->payload - at < size ? s->payload - at : size;
	memcpy(out, large, headers);
	memcpy(out + headers, large + headers + at, part.payload);
	if (!s->v6)
		be16_store(out + 4, (uint16_t)(be16_load(out + 4) + index));
	if (!s->udp) {
		be32_store(out + transport + 4, be32_load(out + transport + 4) + (uint32_t)at);
		if (at > 0)
			out[transport + 13] &= (uint8_t)~0x80;
		if (at + part.payload < s->payload)
			out[transport + 13] &= (uint8_t)~0x09;
	}
	finish(out, &part);
	return headers + part.payload;
}

static size_t slow_segment(uint8_t *out, const uint8_t *large, const struct shape *s, size_t at, size_t size)
{
	return slow_part(out, large, s, at, size, at / size);
}

static uint32_t below(uint32_t n)
{
	uint32_t v;

	random_bytes((uint8_t *)&v, sizeof(v));
	return v % n;
}

static struct shape any_shape(void)
{
	struct shape s = { .v6 = below(2), .udp = below(3) == 0, .options = below(11) * 4, .flags = TCP_ACK };

	if (s.udp)
		s.options = 0;
	s.payload = 1 + below(below(2) ? 3000 : (uint32_t)(LARGE - headers_of(&s)));
	if (below(3) == 0)
		s.flags |= TCP_PSH;
	return s;
}

/* ---- checksums ---- */

TEST(checksums_are_as_when_made_byte_by_byte)
{
	static uint8_t data[LARGE + 8];

	random_bytes(data, sizeof(data));
	for (uint32_t i = 0; i < 3000; i++) {
		size_t from = below(8), len = i < 600 ? i : below(LARGE);
		uint8_t stored[2];

		checksum_store(stored, checksum_add(0, data + from, len));
		CHECK_EQ(be16_load(stored), (uint16_t)~slow_sum(0, data + from, len));
	}
}

TEST(checksums_of_all_ones_do_not_overflow)
{
	static uint8_t data[LARGE];

	memset(data, 0xff, sizeof(data));
	CHECK_EQ(checksum_fold(checksum_add(0, data, LARGE - 1)), 0xffff);
	CHECK_EQ(checksum_fold(checksum_add(UINT32_MAX, data, LARGE - 1)), 0xffff);
}

/* ---- segmenting ---- */

TEST(segments_are_those_of_the_reference)
{
	static uint8_t large[LARGE], original[LARGE], got[MTU], wanted[LARGE];

	for (int i = 0; i < 2000; i++) {
		struct shape s = any_shape();
		size_t size = 1 + below((uint32_t)(MTU - headers_of(&s))), len;
		struct virtio_net_hdr h;
		struct gso g;

		if (below(2))
			s.flags |= (uint8_t)(below(2) ? TCP_FIN : TCP_CWR);
		if (size < 50 && s.payload > 3000)
			size += 50;
		len = make(large, &s);
		memcpy(original, large, len);
		h = unfinish(large, &s, size);
		if (s.flags & TCP_CWR && !s.udp)
			h.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
		CHECK_EQ(gso_begin(&g, &h, large, len, MTU), 0);
		for (size_t at = 0; at < s.payload; at += size) {
			size_t n = slow_segment(wanted, original, &s, at, size);

			CHECK(gso_has_more(&g));
			CHECK_EQ(gso_count(&g), (s.payload - at + size - 1) / size);
			CHECK_EQ(gso_next(&g, got), n);
			CHECK_MEM(got, wanted, n);
		}
		CHECK(!gso_has_more(&g));
		CHECK_EQ(gso_count(&g), 0);
	}
}

/* The path becomes smaller when some of a piece are out. */
static void check_narrowed(const struct shape *s, bool whole)
{
	static uint8_t large[LARGE], original[LARGE], got[MTU], wanted[LARGE];
	size_t size = 200 + below(1100), max = 600 + below(MTU - 600), len = make(large, s), at = 0, index = 0, n;
	struct virtio_net_hdr h = unfinish(large, s, size);
	struct gso g;

	if (whole) {
		len = make(large, s);
		h = (struct virtio_net_hdr){ .flags = 0 };
	}
	memcpy(original, large, len);
	finish(original, s);
	CHECK_EQ(gso_begin(&g, &h, large, len, MTU), 0);
	for (; !whole && at < s->payload && below(4); at += size, index++)
		CHECK(gso_next(&g, got) > 0);
	if (at >= s->payload) {
		CHECK(!gso_narrow(&g, max));
		return;
	}
	CHECK(gso_narrow(&g, max));
	if (whole || headers_of(s) + size > max)
		size = max - headers_of(s);
	for (; at < s->payload; at += size, index++) {
		CHECK(gso_has_more(&g));
		n = slow_part(wanted, original, s, at, size, index);
		CHECK(n <= max);
		CHECK_EQ(gso_count(&g), (s->payload - at + size - 1) / size);
		CHECK_EQ(gso_next_len(&g), n);
		CHECK_EQ(gso_next(&g, got), n);
		CHECK_MEM(got, wanted, n);
	}
	CHECK(!gso_has_more(&g));
}

TEST(what_becomes_too_large_is_cut_into_smaller_segments)
{
	for (int i = 0; i < 1000; i++) {
		struct shape s = any_shape();

		s.udp = false;
		s.flags |= (uint8_t)(below(3) == 0 ? TCP_FIN : 0);
		if (s.payload < 300)
			s.payload += 300;
		/* Its headers may be longer now. */
		if (s.payload > LARGE - headers_of(&s))
			s.payload = LARGE - headers_of(&s);
		check_narrowed(&s, false);
		s.payload = 1 + below((uint32_t)(MTU - headers_of(&s)));
		check_narrowed(&s, true);
	}
}

TEST(what_is_no_stream_is_not_cut)
{
	uint8_t large[LARGE], copy[LARGE], got[MTU];
	struct shape s = { .udp = true, .payload = 5000 };
	struct virtio_net_hdr h;
	struct gso g;
	size_t len = make(large, &s);

	h = unfinish(large, &s, 1000);
	CHECK_EQ(gso_begin(&g, &h, large, len, MTU), 0);
	CHECK(!gso_narrow(&g, 600));
	CHECK_EQ(gso_next(&g, got), 1028);
	/* An opening, a reset, urgent data; a fragment; one that says nothing; one whose headers leave no room. */
	for (int i = 0; i < 6; i++) {
		static const uint8_t flags[] = { TCP_SYN, TCP_RST | TCP_ACK, TCP_ACK | TCP_URG, TCP_ACK, TCP_ACK, TCP_ACK };

		s = (struct shape){ .payload = i == 4 ? 0 : 1000, .options = 40, .flags = flags[i] };
		len = make(large, &s);
		if (i == 3)
			be16_store(large + 6, 0x2000);
		memcpy(copy, large, len);
		h = (struct virtio_net_hdr){ .flags = 0 };
		CHECK_EQ(gso_begin(&g, &h, large, len, MTU), 0);
		CHECK(!gso_narrow(&g, i == 5 ? 80 + 63 : 600));
		CHECK_EQ(gso_next_len(&g), len);
		CHECK_EQ(gso_next(&g, got), len);
		CHECK_MEM(got, copy, len);
		CHECK(!gso_narrow(&g, 600));
	}
}

TEST(what_needs_only_a_checksum_gets_it)
{
	uint8_t ip[MTU], original[MTU], got[MTU];

	for (int i = 0; i < 500; i++) {
		struct shape s = any_shape();
		struct virtio_net_hdr h;
		struct gso g;
		size_t len;

		s.payload = below((uint32_t)(MTU - headers_of(&s) + 1));
		len = make(ip, &s);
		memcpy(original, ip, len);
		h = unfinish(ip, &s, 0);
		h.gso_type = VIRTIO_NET_HDR_GSO_NONE;
		CHECK_EQ(gso_begin(&g, &h, ip, len, MTU), 0);
		CHECK_EQ(gso_next(&g, got), len);
		CHECK_MEM(got, original, len);
		CHECK(!gso_has_more(&g));
	}
}

TEST(what_needs_nothing_goes_as_it_is)
{
	const struct virtio_net_hdr h = { .flags = 0 };
	uint8_t ip[MTU + 1], original[MTU], got[MTU];
	struct gso g;

	random_bytes(ip, sizeof(ip));
	memcpy(original, ip, MTU);
	CHECK_EQ(gso_begin(&g, &h, ip, MTU, MTU), 0);
	CHECK_EQ(gso_next(&g, got), MTU);
	CHECK_MEM(got, original, MTU);
	CHECK_EQ(gso_begin(&g, &h, ip, MTU + 1, MTU), GSO_E_TOO_BIG);
	CHECK(!gso_has_more(&g));
	CHECK_EQ(gso_begin(&g, &h, ip, 0, MTU), GSO_E_MALFORMED);
}

static const struct shape tcp4 = { .payload = 3000, .flags = TCP_ACK };

struct bad {
	struct virtio_net_hdr h;
	uint8_t ip[4000];
	size_t len;
};

static void bad_init(struct bad *b, const struct shape *s)
{
	b->len = make(b->ip, s);
	b->h = unfinish(b->ip, s, 1000);
}

static int judge(struct bad *b)
{
	struct gso g;
	int r = gso_begin(&g, &b->h, b->ip, b->len, MTU);

	CHECK_EQ(gso_has_more(&g), r == 0);
	return r;
}

TEST(i4_a_malformed_virtio_header_is_refused)
{
	struct bad b;

	bad_init(&b, &tcp4);
	CHECK_EQ(judge(&b), 0);
	for (int type = 1; type < 256; type++) {
		bad_init(&b, &tcp4);
		b.h.gso_type = (uint8_t)type;
		if ((type & ~0x80) != VIRTIO_NET_HDR_GSO_TCPV4 && type != 0x80)
			CHECK_EQ(judge(&b), GSO_E_MALFORMED);
	}
	bad_init(&b, &tcp4);
	b.h.gso_size = 0;
	CHECK_EQ(judge(&b), GSO_E_MALFORMED);
	bad_init(&b, &tcp4);
	b.h.hdr_len = (uint16_t)(b.len + 1);
	CHECK_EQ(judge(&b), GSO_E_MALFORMED);
	for (uint32_t start = 0; start < 65536; start += 7) {
		bad_init(&b, &tcp4);
		b.h.csum_start = (uint16_t)start;
		if (start != 20)
			CHECK_EQ(judge(&b), GSO_E_MALFORMED);
	}
	bad_init(&b, &tcp4);
	b.h.csum_offset = 6;
	CHECK_EQ(judge(&b), GSO_E_MALFORMED);
	b.h.csum_offset = UINT16_MAX;
	CHECK_EQ(judge(&b), GSO_E_MALFORMED);
}

TEST(i4_a_checksum_outside_of_the_packet_is_refused)
{
	struct bad b;

	for (uint32_t start = 0; start < 65536; start += 13) {
		for (uint32_t offset = 0; offset < 65536; offset += 4099) {
			bad_init(&b, &tcp4);
			b.len = 200;
			b.h.gso_type = VIRTIO_NET_HDR_GSO_NONE;
			b.h.csum_start = (uint16_t)start;
			b.h.csum_offset = (uint16_t)offset;
			if (start < 20 || start + offset + 2 > b.len)
				CHECK_EQ(judge(&b), GSO_E_MALFORMED);
		}
	}
	b.h.csum_start = 198;
	b.h.csum_offset = 0;
	CHECK_EQ(judge(&b), 0);
	b.h.csum_start = 199;
	CHECK_EQ(judge(&b), GSO_E_MALFORMED);
}

TEST(i4_segments_beyond_the_mtu_are_too_big)
{
	struct bad b;

	bad_init(&b, &tcp4);
	b.h.gso_size = MTU - 40;
	CHECK_EQ(judge(&b), 0);
	bad_init(&b, &tcp4);
	b.h.gso_size = MTU - 40 + 1;
	CHECK_EQ(judge(&b), GSO_E_TOO_BIG);
	bad_init(&b, &tcp4);
	b.h.gso_size = UINT16_MAX;
	CHECK_EQ(judge(&b), GSO_E_TOO_BIG);
}

TEST(i4_a_large_packet_whose_lengths_differ_is_refused)
{
	static const struct shape udp6 = { .v6 = true, .udp = true, .payload = 3000 };
	static const struct {
		size_t offset;
		uint8_t value;
	} cases[] = {
		{ 0, 0x44 }, { 0, 0x4f }, { 0, 0x55 }, { 0, 0x65 }, { 2, 0 }, { 3, 0xff }, { 6, 0x20 }, { 7, 1 }, { 9, 1 },
		{ 9, IPPROTO_UDP }, { 32, 0x40 }, { 32, 0xf0 },
	};
	struct bad b;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		bad_init(&b, &tcp4);
		b.ip[cases[i].offset] = cases[i].value;
		/* 60 bytes of header are possible: then the checksum is elsewhere. */
		CHECK(judge(&b) != 0 || cases[i].offset == 32);
	}
	bad_init(&b, &udp6);
	CHECK_EQ(judge(&b), 0);
	b.ip[45]++;
	CHECK_EQ(judge(&b), GSO_E_MALFORMED);
	bad_init(&b, &udp6);
	b.ip[6] = IPPROTO_FRAGMENT;
	CHECK_EQ(judge(&b), GSO_E_MALFORMED);
	for (size_t len = 0; len < 60; len++) {
		bad_init(&b, &tcp4);
		b.len = len;
		CHECK_EQ(judge(&b), GSO_E_MALFORMED);
	}
}

TEST(ipv6_extensions_are_walked_and_no_further_than_the_packet)
{
	static const struct shape tcp6 = { .v6 = true, .payload = 1500, .flags = TCP_ACK };
	uint8_t got[MTU];
	struct bad b;
	struct gso g;

	bad_init(&b, &tcp6);
	/* Eight bytes of options to the destination in between. */
	memmove(b.ip + 48, b.ip + 40, b.len - 40);
	memset(b.ip + 40, 0, 8);
	b.ip[6] = IPPROTO_DSTOPTS;
	b.ip[40] = IPPROTO_TCP;
	b.len += 8;
	be16_store(b.ip + 4, (uint16_t)(b.len - 40));
	b.h.csum_start += 8;
	CHECK_EQ(gso_begin(&g, &b.h, b.ip, b.len, MTU), 0);
	for (size_t i = 0; i < 2; i++) {
		size_t n = gso_next(&g, got);

		CHECK_EQ(n, 68 + (i ? 500 : 1000));
		CHECK_EQ(be16_load(got + 4), n - 40);
		CHECK_EQ(slow_transport_sum(got, 48, n, false), 0xffff);
	}
	b.ip[41] = 0xff;
	CHECK_EQ(judge(&b), GSO_E_MALFORMED);
	/* A chain of its own kind. */
	memset(b.ip + 40, 0, 64);
	for (int i = 0; i < 8; i++)
		b.ip[40 + 8 * i] = IPPROTO_DSTOPTS;
	CHECK_EQ(judge(&b), GSO_E_MALFORMED);
}

/* ---- joining ---- */

/* Packets as they lie in a receive: each with its 32 bytes in front. */
struct arrivals {
	uint8_t memory[GRO_MAX + 8][32 + MTU];
	size_t len[GRO_MAX + 8];
	unsigned int n;
	struct gro g;
	uint8_t written[10 + LARGE];
	unsigned int packets;
};

static void arrive(struct arrivals *a, const uint8_t *large, const struct shape *s, size_t size)
{
	a->n = 0;
	for (size_t at = 0; at < s->payload && a->n < GRO_MAX + 8; at += size, a->n++)
		a->len[a->n] = slow_segment(a->memory[a->n] + 32, large, s, at, size);
}

static size_t gather(struct arrivals *a)
{
	unsigned int n_iov;
	size_t len = gro_finish(&a->g, &n_iov, &a->packets), at = 0;

	for (unsigned int i = 0; i < n_iov; i++) {
		memcpy(a->written + at, a->g.iov[i].iov_base, a->g.iov[i].iov_len);
		at += a->g.iov[i].iov_len;
	}
	CHECK_EQ(at, len);
	return len;
}

TEST(what_was_segmented_is_joined_again)
{
	static struct arrivals a;
	static uint8_t large[LARGE], got[MTU];

	for (int i = 0; i < 1000; i++) {
		struct shape s = any_shape();
		size_t size = 1 + below((uint32_t)(MTU - headers_of(&s))), len;
		struct virtio_net_hdr h;
		struct gso g;

		if (s.payload / size >= GRO_MAX)
			s.payload = 1 + below((uint32_t)(GRO_MAX * size));
		make(large, &s);
		arrive(&a, large, &s, size);
		a.g = (struct gro){ .tcp = true, .udp = true };
		for (unsigned int k = 0; k < a.n; k++)
			CHECK(gro_add(&a.g, a.memory[k] + 32, a.len[k]));
		len = gather(&a);
		CHECK_EQ(a.packets, a.n);
		CHECK_EQ(len, 10 + headers_of(&s) + s.payload);
		memcpy(&h, a.written, sizeof(h));
		if (a.n == 1) {
			CHECK_EQ(h.flags, 0);
			CHECK_EQ(h.gso_type, VIRTIO_NET_HDR_GSO_NONE);
			CHECK_MEM(a.written + 10, large, len - 10);
			continue;
		}
		/* The kernel would cut it into the same packets. */
		CHECK_EQ(h.gso_size, size);
		CHECK_EQ(gso_begin(&g, &h, a.written + 10, len - 10, MTU), 0);
		for (size_t at = 0; at < s.payload; at += size) {
			uint8_t wanted[MTU];
			size_t n = slow_segment(wanted, large, &s, at, size);

			CHECK_EQ(gso_next(&g, got), n);
			CHECK_MEM(got, wanted, n);
		}
		CHECK(!gso_has_more(&g));
	}
}

/* Two segments of one flow, the second changed at offset; whether they are joined. */
static bool joins(const struct shape *s, size_t offset, uint8_t flip, bool sums)
{
	static struct arrivals a;
	static uint8_t large[LARGE];
	struct shape part = *s;
	uint8_t *second = a.memory[1] + 32;

	part.payload = 500;
	make(large, s);
	arrive(&a, large, s, 500);
	second[offset] ^= flip;
	if (sums)
		finish(second, &part);
	a.g = (struct gro){ .tcp = true, .udp = true };
	CHECK(gro_add(&a.g, a.memory[0] + 32, a.len[0]));
	return gro_add(&a.g, second, a.len[1]);
}

TEST(what_is_not_of_the_same_run_is_not_joined)
{
	static const struct {
		struct shape shape;
		size_t offset;
		uint8_t flip;
	} cases[] = {
		/* DSCP, ECN, id, DF, more fragments, offset, TTL, both addresses */
		{ { .flags = TCP_ACK }, 1, 4 }, { { .flags = TCP_ACK }, 1, 2 }, { { .flags = TCP_ACK }, 5, 1 },
		{ { .flags = TCP_ACK }, 6, 0x40 }, { { .flags = TCP_ACK }, 6, 0x20 }, { { .flags = TCP_ACK }, 7, 1 },
		{ { .flags = TCP_ACK }, 8, 1 }, { { .flags = TCP_ACK }, 15, 1 }, { { .flags = TCP_ACK }, 19, 1 },
		/* ports, sequence, acknowledgement, reserved, each flag but PSH, window, urgent pointer */
		{ { .flags = TCP_ACK }, 21, 1 }, { { .flags = TCP_ACK }, 23, 1 }, { { .flags = TCP_ACK }, 27, 1 },
		{ { .flags = TCP_ACK }, 31, 1 }, { { .flags = TCP_ACK }, 32, 1 }, { { .flags = TCP_ACK }, 33, TCP_FIN },
		{ { .flags = TCP_ACK }, 33, 2 }, { { .flags = TCP_ACK }, 33, 4 }, { { .flags = TCP_ACK }, 33, TCP_ACK },
		{ { .flags = TCP_ACK }, 33, 0x20 }, { { .flags = TCP_ACK }, 33, TCP_ECE },
		{ { .flags = TCP_ACK }, 33, TCP_CWR }, { { .flags = TCP_ACK }, 35, 1 }, { { .flags = TCP_ACK }, 39, 1 },
		/* options */
		{ { .flags = TCP_ACK, .options = 12 }, 45, 1 },
		/* traffic class, flow label, hop limit, addresses, ports of UDP */
		{ { .v6 = true, .udp = true }, 1, 0x10 }, { { .v6 = true, .udp = true }, 3, 1 },
		{ { .v6 = true, .udp = true }, 7, 1 }, { { .v6 = true, .udp = true }, 23, 1 },
		{ { .v6 = true, .udp = true }, 39, 1 }, { { .v6 = true, .udp = true }, 41, 1 },
		{ { .v6 = true, .udp = true }, 43, 1 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct shape s = cases[i].shape;

		s.payload = 1000;
		CHECK(joins(&s, 0, 0, true));
		if (joins(&s, cases[i].offset, cases[i].flip, true))
			test_fail(__FILE__, __LINE__, "case %zu was joined", i);
		/* Nor with a sum that is wrong, whatever else is right. */
		CHECK(!joins(&s, headers_of(&s) + 100, 1, false));
	}
	CHECK(joins(&tcp4, 33, TCP_PSH, true));
}

TEST(a_first_packet_with_a_wrong_sum_stays_alone)
{
	static struct arrivals a;
	static uint8_t large[LARGE];

	make(large, &tcp4);
	arrive(&a, large, &tcp4, 500);
	a.memory[0][32 + 100] ^= 1;
	a.g = (struct gro){ .tcp = true, .udp = true };
	CHECK(gro_add(&a.g, a.memory[0] + 32, a.len[0]));
	CHECK(!gro_add(&a.g, a.memory[1] + 32, a.len[1]));
	CHECK(!gro_add(&a.g, a.memory[1] + 32, a.len[1]));
	CHECK_EQ(gather(&a), 10 + a.len[0]);
	CHECK_EQ(a.packets, 1);
	CHECK_MEM(a.written + 10, a.memory[0] + 32, a.len[0]);
}

TEST(nothing_follows_a_shorter_segment_or_a_push)
{
	static struct arrivals a;
	static uint8_t large[LARGE];
	struct shape part = tcp4;

	make(large, &tcp4);
	/* 500, 400 bytes, and then what would follow. */
	part.payload = 900;
	arrive(&a, large, &part, 500);
	a.len[2] = slow_segment(a.memory[2] + 32, large, &tcp4, 900, 450);
	a.g = (struct gro){ .tcp = true, .udp = true };
	CHECK(gro_add(&a.g, a.memory[0] + 32, a.len[0]));
	CHECK(gro_add(&a.g, a.memory[1] + 32, a.len[1]));
	CHECK(!gro_add(&a.g, a.memory[2] + 32, a.len[2]));

	/* A first one that is smaller than the next. */
	a.g = (struct gro){ .tcp = true, .udp = true };
	CHECK(gro_add(&a.g, a.memory[1] + 32, a.len[1]));
	CHECK(!gro_add(&a.g, a.memory[2] + 32, a.len[2]));

	part.flags |= TCP_PSH;
	part.payload = 500;
	arrive(&a, large, &tcp4, 500);
	a.memory[0][32 + 33] |= TCP_PSH;
	finish(a.memory[0] + 32, &part);
	a.g = (struct gro){ .tcp = true, .udp = true };
	CHECK(gro_add(&a.g, a.memory[0] + 32, a.len[0]));
	CHECK(!gro_add(&a.g, a.memory[1] + 32, a.len[1]));
}

TEST(what_may_not_be_joined_is_not)
{
	static const struct shape shapes[] = {
		{ .payload = 0, .flags = TCP_ACK }, { .payload = 100, .flags = 2 }, { .payload = 100, .flags = TCP_ACK | 4 },
		{ .payload = 100, .flags = TCP_ACK | TCP_CWR }, { .payload = 100, .flags = TCP_ACK | TCP_FIN },
	};
	uint8_t room[32 + MTU], *ip = room + 32;
	struct gro g = { .tcp = true, .udp = true };
	static const struct shape udp = { .udp = true, .payload = 100 }, good = { .payload = 100, .flags = TCP_ACK };
	size_t len;

	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		len = make(ip, &shapes[i]);
		CHECK(!gro_add(&g, ip, len));
	}
	len = make(ip, &udp);
	be16_store(ip + 26, 0); /* no checksum */
	CHECK(!gro_add(&g, ip, len));
	len = make(ip, &udp);
	CHECK(!gro_add(&g, ip, len - 1));
	ip[9] = IPPROTO_ICMP;
	CHECK(!gro_add(&g, ip, len));
	len = make(ip, &udp);
	g.udp = false;
	CHECK(!gro_add(&g, ip, len));
	len = make(ip, &good);
	CHECK(gro_add(&g, ip, len));
	g = (struct gro){ .udp = true };
	CHECK(!gro_add(&g, ip, len));
}

TEST(i4_random_packets_are_never_read_beyond_their_end)
{
	for (int i = 0; i < 20000; i++) {
		size_t len = 1 + below(120);
		uint8_t *room = malloc(32 + len), out[MTU];
		struct gro g = { .tcp = true, .udp = true };
		struct virtio_net_hdr h;
		struct gso s;

		CHECK(room != NULL);
		random_bytes(room, 32 + len);
		random_bytes((uint8_t *)&h, sizeof(h));
		room[32] = below(2) ? 0x45 : 0x60;
		h.gso_type = (uint8_t)below(6);
		gro_add(&g, room + 32, len);
		if (gso_begin(&s, &h, room + 32, len, MTU) == 0)
			while (gso_has_more(&s))
				CHECK(gso_next(&s, out) <= MTU);
		free(room);
	}
}

/* ---- names ---- */

TEST(offloads_are_chosen_by_name)
{
	static const struct {
		const char *text;
		unsigned int wanted;
	} good[] = {
		{ "all", OFFLOAD_ALL }, { "none", 0 }, { "tso", OFFLOAD_TSO }, { "-uso", OFFLOAD_ALL & ~OFFLOAD_USO },
		{ "tso, udp-gro", OFFLOAD_TSO | OFFLOAD_UDP_GRO }, { "all,-tso,-uso", OFFLOAD_ALL & ~(OFFLOAD_TSO | OFFLOAD_USO) },
		{ "-vnet-header,-udp-gso", OFFLOAD_TSO | OFFLOAD_USO | OFFLOAD_UDP_GRO },
	};
	static const char *const bad[] = { "", ",", "tso,", ",tso", "ts", "tso uso", "-", "none,tso", "TSO", "-none", "all;" };
	unsigned int got;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		CHECK(offload_parse(&got, good[i].text));
		CHECK_EQ(got, good[i].wanted);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(!offload_parse(&got, bad[i]));
}

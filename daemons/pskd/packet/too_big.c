/* Both messages quote the packet; what may not be answered is told apart first. */
#include "pskd/packet/too_big.h"

#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <string.h>

#include "base/bytes.h"

#define V4_LEN 20
#define V6_LEN 40
#define ICMP_LEN 8
#define TTL 64
/* More extension headers than this no honest packet has. */
#define EXTENSIONS_MAX 8
#define DONT_FRAGMENT 0x4000
#define MORE_FRAGMENTS 0x2000
#define FRAGMENT_OFFSET 0x1fff
/* RFC 1812 section 4.3.2.3: as much of the packet as fits in this. */
#define V4_ANSWER_MAX 576

static uint32_t add(uint32_t sum, const uint8_t *p, size_t len)
{
	for (size_t i = 0; i + 1 < len; i += 2)
		sum += be16_load(p + i);
	return len % 2 ? sum + ((uint32_t)p[len - 1] << 8) : sum;
}

static uint16_t finish(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static bool is_error_v4(const uint8_t *packet, size_t len, size_t header)
{
	uint8_t type;

	if (packet[9] != IPPROTO_ICMP)
		return false;
	if (len <= header)
		return true;
	type = packet[header];
	return type != ICMP_ECHO && type != ICMP_ECHOREPLY && type != ICMP_TIMESTAMP && type != ICMP_TIMESTAMPREPLY;
}

/* One host that can be told something. */
static bool is_host_v4(const uint8_t *a)
{
	return a[0] != 0 && a[0] != 127 && a[0] < 224;
}

static bool may_answer_v4(const uint8_t *packet, size_t len, size_t header)
{
	uint16_t fragment = be16_load(packet + 6);

	return (fragment & DONT_FRAGMENT) && !(fragment & FRAGMENT_OFFSET) && is_host_v4(packet + 12) &&
	       is_host_v4(packet + 16) && !is_error_v4(packet, len, header);
}

static size_t answer_v4(uint8_t *out, const uint8_t *packet, size_t len, uint16_t mtu, const struct tunnel_addresses *a)
{
	static const uint8_t none[4];
	size_t header = (packet[0] & 0x0fu) * 4u, quoted = V4_ANSWER_MAX - V4_LEN - ICMP_LEN, total;
	uint8_t *icmp = out + V4_LEN;

	if (header < V4_LEN || header > len || !may_answer_v4(packet, len, header))
		return 0;
	if (quoted > len)
		quoted = len;
	total = V4_LEN + ICMP_LEN + quoted;
	memset(out, 0, V4_LEN + ICMP_LEN);
	out[0] = 0x45;
	/* RFC 1812 section 4.3.2.5: network control. */
	out[1] = 0xc0;
	be16_store(out + 2, (uint16_t)total);
	out[8] = TTL;
	out[9] = IPPROTO_ICMP;
	memcpy(out + 12, a->has_v4 && memcmp(a->v4_peer, none, 4) != 0 ? a->v4_peer : packet + 16, 4);
	memcpy(out + 16, packet + 12, 4);
	be16_store(out + 10, finish(add(0, out, V4_LEN)));
	icmp[0] = ICMP_DEST_UNREACH;
	icmp[1] = ICMP_FRAG_NEEDED;
	be16_store(icmp + 6, mtu);
	memcpy(icmp + ICMP_LEN, packet, quoted);
	be16_store(icmp + 2, finish(add(0, icmp, ICMP_LEN + quoted)));
	return total;
}

/*
 * Errors and redirects, behind any extension headers; and what does not show whether it is one: it is cut
 * short, in the middle of something, or its headers have no end.
 */
static bool is_error_v6(const uint8_t *packet, size_t len)
{
	uint8_t next = packet[6];
	size_t at = V6_LEN, extension;

	for (int i = 0; i <= EXTENSIONS_MAX; i++) {
		if (next == IPPROTO_ICMPV6)
			return len <= at || !(packet[at] & ICMP6_INFOMSG_MASK) || packet[at] == ND_REDIRECT;
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS &&
		    next != IPPROTO_FRAGMENT)
			return false;
		if (len < at + 8)
			return true;
		if (next == IPPROTO_FRAGMENT && (be16_load(packet + at + 2) & 0xfff8))
			return packet[at] == IPPROTO_ICMPV6;
		extension = next == IPPROTO_FRAGMENT ? 8 : (packet[at + 1] + 1u) * 8u;
		next = packet[at];
		at += extension;
	}
	return true;
}

static bool may_answer_v6(const uint8_t *packet, size_t len)
{
	static const uint8_t none[16];
	const uint8_t *source = packet + 8, *destination = packet + 24;

	if (source[0] == 0xff || destination[0] == 0xff || memcmp(source, none, 16) == 0)
		return false;
	return !is_error_v6(packet, len);
}

static size_t answer_v6(uint8_t *out, const uint8_t *packet, size_t len, uint16_t mtu, const struct tunnel_addresses *a)
{
	static const uint8_t none[16];
	size_t quoted = TOO_BIG_ANSWER_MAX - V6_LEN - ICMP_LEN;
	uint8_t *icmp = out + V6_LEN;

	if (!may_answer_v6(packet, len))
		return 0;
	if (quoted > len)
		quoted = len;
	memset(out, 0, V6_LEN + ICMP_LEN);
	out[0] = 0x60;
	be16_store(out + 4, (uint16_t)(ICMP_LEN + quoted));
	out[6] = IPPROTO_ICMPV6;
	out[7] = TTL;
	memcpy(out + 8, a->has_v6 && memcmp(a->v6_peer, none, 16) != 0 ? a->v6_peer : packet + 24, 16);
	memcpy(out + 24, packet + 8, 16);
	icmp[0] = ICMP6_PACKET_TOO_BIG;
	be32_store(icmp + 4, mtu);
	memcpy(icmp + ICMP_LEN, packet, quoted);
	be16_store(icmp + 2, finish(add(add((uint32_t)(ICMP_LEN + quoted) + IPPROTO_ICMPV6, out + 8, 32), icmp,
					ICMP_LEN + quoted)));
	return V6_LEN + ICMP_LEN + quoted;
}

size_t too_big_answer(uint8_t out[static TOO_BIG_ANSWER_MAX], const uint8_t *packet, size_t len, uint16_t mtu,
		      const struct tunnel_addresses *a)
{
	if (len >= V4_LEN && packet[0] >> 4 == 4)
		return answer_v4(out, packet, len, mtu, a);
	if (len >= V6_LEN && packet[0] >> 4 == 6)
		return answer_v6(out, packet, len, mtu, a);
	return 0;
}

size_t too_big_fragment(uint8_t *out, const uint8_t *packet, size_t len, uint16_t mtu, size_t *done)
{
	/* What all fragments but the last hold is a multiple of 8. */
	size_t most = (mtu - V4_LEN) / 8u * 8u, payload, part;
	uint16_t fragment;

	/* Options would have to be told apart by whether they are copied: nobody sends any. */
	if (len < V4_LEN || packet[0] != 0x45 || be16_load(packet + 2) != len)
		return 0;
	fragment = be16_load(packet + 6);
	payload = len - V4_LEN;
	if ((fragment & DONT_FRAGMENT) || *done >= payload ||
	    (fragment & FRAGMENT_OFFSET) + payload / 8 > FRAGMENT_OFFSET)
		return 0;
	part = payload - *done < most ? payload - *done : most;
	memcpy(out, packet, V4_LEN);
	memcpy(out + V4_LEN, packet + V4_LEN + *done, part);
	fragment = (uint16_t)(fragment + *done / 8);
	*done += part;
	be16_store(out + 2, (uint16_t)(V4_LEN + part));
	be16_store(out + 6, *done < payload ? fragment | MORE_FRAGMENTS : fragment);
	be16_store(out + 10, 0);
	be16_store(out + 10, finish(add(0, out, V4_LEN)));
	return V4_LEN + part;
}

/* Nothing is read beyond len, whatever the packet says; see inner.h. */
#include "pskd/packet/inner.h"

#include <netinet/in.h>

#include "base/bytes.h"

#include "pskd/packet/checksum.h"

/* What IPv6 may have in front of the transport: each kind is there once at most, so more are not to be believed. */
#define EXTENSIONS_MAX 4

static int parse_v4(struct inner *in, uint8_t *protocol, const uint8_t *ip, size_t len)
{
	size_t header = (size_t)(ip[0] & 0x0f) * 4;

	if (header < IPV4_HEADER_LEN || len < header || be16_load(ip + 2) != len)
		return -1;
	/* Offset or more to follow. */
	if (be16_load(ip + 6) & 0x3fff)
		return -1;
	in->v6 = false;
	in->transport = header;
	*protocol = ip[9];
	return 0;
}

static int parse_v6(struct inner *in, uint8_t *protocol, const uint8_t *ip, size_t len)
{
	size_t at = IPV6_HEADER_LEN;
	uint8_t next = ip[6];

	if (len < IPV6_HEADER_LEN || be16_load(ip + 4) != len - IPV6_HEADER_LEN)
		return -1;
	for (int i = 0; next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS; i++) {
		if (i == EXTENSIONS_MAX || len - at < 8)
			return -1;
		next = ip[at];
		at += ((size_t)ip[at + 1] + 1) * 8;
		if (at > len)
			return -1;
	}
	in->v6 = true;
	in->transport = at;
	*protocol = next;
	return 0;
}

int inner_parse(struct inner *out, const uint8_t *ip, size_t len)
{
	struct inner in = { .v6 = false };
	uint8_t protocol = 0;
	const uint8_t *t;
	size_t left, header;

	if (len < IPV4_HEADER_LEN)
		return -1;
	switch (ip[0] >> 4) {
	case 4:
		if (parse_v4(&in, &protocol, ip, len))
			return -1;
		break;
	case 6:
		if (parse_v6(&in, &protocol, ip, len))
			return -1;
		break;
	default:
		return -1;
	}
	t = ip + in.transport;
	left = len - in.transport;
	in.udp = protocol == IPPROTO_UDP;
	if (in.udp) {
		header = UDP_HEADER_LEN;
		if (left < header || be16_load(t + UDP_LENGTH) != left)
			return -1;
	} else if (protocol == IPPROTO_TCP && left >= TCP_HEADER_LEN) {
		header = (size_t)(t[12] >> 4) * 4;
		if (header < TCP_HEADER_LEN || left < header)
			return -1;
	} else {
		return -1;
	}
	in.header_len = in.transport + header;
	*out = in;
	return 0;
}

uint64_t inner_pseudo_sum(const struct inner *in, const uint8_t *ip, size_t len)
{
	uint64_t sum = checksum_add16(0, in->udp ? IPPROTO_UDP : IPPROTO_TCP);

	sum = checksum_add16(sum, (uint16_t)len);
	return in->v6 ? checksum_add(sum, ip + 8, 32) : checksum_add(sum, ip + 12, 8);
}

void inner_set_length(const struct inner *in, uint8_t *ip, size_t len)
{
	if (in->v6) {
		be16_store(ip + 4, (uint16_t)(len - IPV6_HEADER_LEN));
		return;
	}
	be16_store(ip + 2, (uint16_t)len);
	be16_store(ip + 10, 0);
	checksum_store(ip + 10, checksum_add(0, ip, in->transport));
}

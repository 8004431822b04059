/* Every length is checked against the packet's own before it is believed. */
#include "pskd/packet/mss.h"

#include <netinet/in.h>

#include "base/bytes.h"

#define IPV4_LEN 20
#define IPV6_LEN 40
#define TCP_LEN 20
#define TCP_FLAGS 13
#define TCP_CHECKSUM 16
#define FLAG_SYN 0x02
#define OPTION_END 0
#define OPTION_NOP 1
#define OPTION_MSS 2
#define OPTION_MSS_LEN 4
/* More extension headers than this no honest SYN has. */
#define EXTENSIONS_MAX 8

/* The TCP header of a packet that is no fragment, and what is left from there; NULL: none. */
static uint8_t *find_tcp_v4(uint8_t *packet, size_t len, size_t *left)
{
	size_t header = (packet[0] & 0x0fu) * 4u, total = be16_load(packet + 2);

	if (packet[9] != IPPROTO_TCP || header < IPV4_LEN || total > len || total < header + TCP_LEN)
		return NULL;
	/* More to come, or an offset. */
	if (be16_load(packet + 6) & 0x3fff)
		return NULL;
	*left = total - header;
	return packet + header;
}

static uint8_t *find_tcp_v6(uint8_t *packet, size_t len, size_t *left)
{
	size_t end = IPV6_LEN + (size_t)be16_load(packet + 4), at = IPV6_LEN;
	uint8_t next = packet[6];

	if (end > len)
		return NULL;
	for (int i = 0; i <= EXTENSIONS_MAX; i++) {
		if (next == IPPROTO_TCP) {
			*left = end - at;
			return end - at >= TCP_LEN ? packet + at : NULL;
		}
		if ((next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS) || end - at < 8)
			return NULL;
		next = packet[at];
		if (end - at < (packet[at + 1] + 1u) * 8u)
			return NULL;
		at += (packet[at + 1] + 1u) * 8u;
	}
	return NULL;
}

/* The value of the option, or NULL when there is none or the options are broken. */
static uint8_t *find_option(uint8_t *tcp, size_t left)
{
	size_t end = (size_t)(tcp[12] >> 4) * 4, at = TCP_LEN;

	if (end > left)
		return NULL;
	while (at < end && tcp[at] != OPTION_END) {
		if (tcp[at] == OPTION_NOP) {
			at++;
			continue;
		}
		if (end - at < 2 || tcp[at + 1] < 2 || tcp[at + 1] > end - at)
			return NULL;
		if (tcp[at] == OPTION_MSS)
			return tcp[at + 1] == OPTION_MSS_LEN ? tcp + at + 2 : NULL;
		at += tcp[at + 1];
	}
	return NULL;
}

/* RFC 1624 equation 3, for the two bytes at field, which is at an odd or even offset of the header. */
static void replace(uint8_t *tcp, uint8_t *field, uint16_t value)
{
	uint16_t before = be16_load(field), after = value;
	uint32_t sum;

	be16_store(field, value);
	if ((field - tcp) % 2) {
		before = (uint16_t)(before << 8 | before >> 8);
		after = (uint16_t)(after << 8 | after >> 8);
	}
	sum = (uint16_t)~be16_load(tcp + TCP_CHECKSUM) + (uint32_t)(uint16_t)~before + after;
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	be16_store(tcp + TCP_CHECKSUM, (uint16_t)~sum);
}

bool mss_clamp(uint8_t *packet, size_t len, uint16_t mtu)
{
	uint8_t *tcp = NULL, *option;
	uint16_t most = mtu;
	size_t left;

	if (len >= IPV4_LEN && packet[0] >> 4 == 4) {
		tcp = find_tcp_v4(packet, len, &left);
		most -= IPV4_LEN + TCP_LEN;
	} else if (len >= IPV6_LEN && packet[0] >> 4 == 6) {
		tcp = find_tcp_v6(packet, len, &left);
		most -= IPV6_LEN + TCP_LEN;
	}
	if (!tcp || !(tcp[TCP_FLAGS] & FLAG_SYN))
		return false;
	option = find_option(tcp, left);
	if (!option || be16_load(option) <= most)
		return false;
	replace(tcp, option, most);
	return true;
}

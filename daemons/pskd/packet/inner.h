/*
 * The headers of a packet inside the tunnel, as far as segmenting and joining
 * need them: a whole TCP or UDP packet of which every length says the same.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	IPV4_HEADER_LEN = 20,
	IPV6_HEADER_LEN = 40,
	TCP_HEADER_LEN = 20,
	UDP_HEADER_LEN = 8,
	/* Offsets in the header of TCP, and its flags. */
	TCP_SEQUENCE = 4,
	TCP_FLAGS = 13,
	TCP_CHECKSUM = 16,
	TCP_FIN = 0x01,
	TCP_SYN = 0x02,
	TCP_RST = 0x04,
	TCP_PSH = 0x08,
	TCP_ACK = 0x10,
	TCP_URG = 0x20,
	TCP_ECE = 0x40,
	TCP_CWR = 0x80,
	UDP_LENGTH = 4,
	UDP_CHECKSUM = 6,
};

struct inner {
	bool v6, udp; /* else IPv4, TCP */
	size_t transport;  /* offset of the header of TCP or UDP */
	size_t header_len; /* IP, its options and extensions, and that of TCP or UDP */
};

/*
 * 0; or -1 for all that is no such packet: other protocols, fragments, cut
 * short, with something behind the end, IPv6 extensions that are not skipped
 * by length alone.
 */
int inner_parse(struct inner *out, const uint8_t *ip, size_t len);

/* What goes into the checksum of TCP or UDP but is not in it; len: of header and payload together. */
uint64_t inner_pseudo_sum(const struct inner *in, const uint8_t *ip, size_t len);

/* The length in the IP header, and IPv4's checksum over it. */
void inner_set_length(const struct inner *in, uint8_t *ip, size_t len);

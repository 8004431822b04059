/*
 * What the kernel can do for the packet path, each of which the configuration
 * can do without: the same packets go over the wire either way.
 */
#pragma once

#include <stdbool.h>

enum offload {
	OFFLOAD_VNET_HEADER = 1, /* packets of the device come with a virtio header */
	OFFLOAD_TSO = 2,	 /* TCP in large pieces, to and from the device */
	OFFLOAD_USO = 4,	 /* UDP likewise */
	OFFLOAD_UDP_GSO = 8,	 /* several datagrams in one send */
	OFFLOAD_UDP_GRO = 16,	 /* several datagrams in one receive */
	OFFLOAD_ALL = 31,
};
#define N_OFFLOADS 5

/* "vnet-header" … of bit 1 << i. */
const char *offload_name(unsigned int i);

/*
 * "all", "none", or names with commas between them; one with "-" in front is
 * left out, and when the first is, it is of all. What needs another is not in
 * use without it. False: not so; *out is unchanged.
 */
bool offload_parse(unsigned int *out, const char *text);

/* Set the device up for what is wanted and known to it. Returns what is in use, of the first three. */
unsigned int offload_device(int tun_fd, unsigned int wanted);
/* The same of the last two and a UDP socket. */
unsigned int offload_socket(int udp_fd, unsigned int wanted);

/* The virtio header in front of a packet of the device, with what Debian 12's headers do not know yet. */
#pragma once

#include <linux/if_tun.h>
#include <linux/virtio_net.h>

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

/* The device is asked for the short form, without num_buffers. */
#define VNET_HEADER_LEN 10
_Static_assert(sizeof(struct virtio_net_hdr) == VNET_HEADER_LEN, "the short form");

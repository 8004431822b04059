/*
 * The largest segment that a TCP connection through the tunnel announces,
 * lowered to what fits in one packet of it: so that connections work where
 * "packet too big" messages get lost behind the tunnel.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Lower the maximum segment size option of the SYN in packet, whose TCP
 * checksum is whole, to what mtu has room for. True when it was changed. What
 * is no SYN, has no such option, or is malformed stays as it is; nothing
 * beyond len is read.
 */
bool mss_clamp(uint8_t *packet, size_t len, uint16_t mtu);

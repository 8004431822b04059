/* A network of IPv4 or IPv6 addresses, as "10.1.0.0/16" or "fd00:1::/48". Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PREFIX_TEXT_MAX 52

/* Bits behind len are zero, and so is what an IPv4 address leaves of a. */
struct prefix {
	uint8_t family; /* 4 or 6 */
	uint8_t len;
	uint8_t a[16];
};

/* The network of len bits that the address (4 or 16 bytes) is in; len is in range. */
struct prefix prefix_make(uint8_t family, const uint8_t *address, uint8_t len);
/* An address alone is a network of one. 0 or -EINVAL: no network, or one with bits behind its length. */
int prefix_parse(struct prefix *out, const char *text);
void prefix_format(char out[static PREFIX_TEXT_MAX], const struct prefix *p);

/* Whether it is as these rules say: what came from elsewhere may not be. */
bool prefix_is_sound(const struct prefix *p);
bool prefix_equal(const struct prefix *a, const struct prefix *b);
/* Whether all of inner is in outer, which it may equal. */
bool prefix_contains(const struct prefix *outer, const struct prefix *inner);
/* The same for one address of 4 or 16 bytes, as the family has it. */
bool prefix_has(const struct prefix *p, uint8_t family, const uint8_t *address);

/* Rates by token bucket, by connection and by address; the tag that stands for an address in logs. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct address_key;
struct sockaddr;

struct rate {
	uint64_t per_minute;
	uint64_t burst;
};

/* Zeroed is full. */
struct bucket {
	uint64_t full_us; /* when it will be full again, in microseconds of clock_now_ms()'s clock */
};
/* Take one; false when it is empty. now is clock_now_ms(). */
bool bucket_take(struct bucket *b, const struct rate *rate, uint64_t now_ms);
/* Milliseconds until one can be taken again. */
uint64_t bucket_wait_ms(const struct bucket *b, const struct rate *rate, uint64_t now_ms);

/* A bucket for each address; full ones are forgotten. */
struct address_rates;
int address_rates_new(struct address_rates **out); /* 0 or -ENOMEM */
/* Take one of address's; false when empty, or when there are too many addresses to count. */
bool address_rates_take(struct address_rates *a, const struct sockaddr *address,
			const struct rate *rate);
/* True when one could be taken; takes nothing. */
bool address_rates_has(struct address_rates *a, const struct sockaddr *address,
		       const struct rate *rate);
size_t address_rates_bytes(const struct address_rates *a);
struct address_rates *address_rates_free(struct address_rates *a);
DEFINE_CLEANUP(struct address_rates *, address_rates_free);

/*
 * A keyed tag instead of an address: the same address gives the same tag for an
 * hour, after which nobody can tell any more, for the key is gone.
 */
#define ADDRESS_TAG_SPACE 13
struct address_tagger {
	uint8_t key[32];
	uint64_t key_until_ms;
};
void address_tag(struct address_tagger *t, char out[static ADDRESS_TAG_SPACE],
		 const struct sockaddr *address);

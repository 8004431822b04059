/* A bucket is one number: the time at which it will be full again (the generic cell rate algorithm). */
#include "relayd/limits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "crypto/kdf.h"
#include "crypto/secret.h"
#include "http/address.h"

enum { ADDRESSES_MAX = 65536, PRUNE_EVERY_MS = 1000, TAG_BYTES = 6, TAG_KEY_LIFE_MS = 3600 * 1000 };
_Static_assert(ADDRESS_TAG_SPACE == 2 * TAG_BYTES + 1, "room for the tag");

/* Microseconds: a rate of many thousand a second must not round to nothing. */
static uint64_t cost_us(const struct rate *rate)
{
	uint64_t us = 60000000 / rate->per_minute;

	return us ? us : 1;
}

bool bucket_take(struct bucket *b, const struct rate *rate, uint64_t now_ms)
{
	uint64_t now = now_ms * 1000, cost = cost_us(rate);
	uint64_t full = b->full_us > now ? b->full_us : now;

	if (full + cost > now + cost * rate->burst)
		return false;
	b->full_us = full + cost;
	return true;
}

uint64_t bucket_wait_ms(const struct bucket *b, const struct rate *rate, uint64_t now_ms)
{
	uint64_t now = now_ms * 1000, cost = cost_us(rate), ready;

	if (b->full_us + cost <= now + cost * rate->burst)
		return 0;
	ready = b->full_us + cost - cost * rate->burst;
	return (ready - now + 999) / 1000;
}

struct address_rates {
	struct address_table *table; /* of struct bucket */
	uint64_t pruned_ms;	     /* when a table that has reached its end was looked through last */
};

int address_rates_new(struct address_rates **out)
{
	struct address_rates *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		return -ENOMEM;
	r = address_table_new(&a->table, sizeof(struct bucket));
	if (r) {
		free(a);
		return r;
	}
	*out = a;
	return 0;
}

/*
 * Whether to look for full ones: whenever the table has doubled, and now and then when it has reached its
 * end. Not then for each newcomer: whoever has many addresses would have all of them looked through each time.
 */
static bool prune_is_due(struct address_rates *a, uint64_t now_ms)
{
	size_t n = address_table_count(a->table);

	if (n < ADDRESSES_MAX)
		return n >= 256 && (n & (n - 1)) == 0;
	if (now_ms - a->pruned_ms < PRUNE_EVERY_MS)
		return false;
	a->pruned_ms = now_ms;
	return true;
}

static bool is_filling(const void *value, void *arg)
{
	const struct bucket *b = value;
	const uint64_t *now_ms = arg;

	return b->full_us > *now_ms * 1000;
}

bool address_rates_take(struct address_rates *a, const struct sockaddr *address,
			const struct rate *rate)
{
	uint64_t now = clock_now_ms();
	struct address_key k;
	struct bucket *b;

	address_key_init(&k, address);
	b = address_table_get(a->table, &k, false);
	if (!b) {
		if (prune_is_due(a, now))
			address_table_prune(a->table, is_filling, &now);
		if (address_table_count(a->table) >= ADDRESSES_MAX)
			return false;
		b = address_table_get(a->table, &k, true);
		if (!b)
			return false;
	}
	return bucket_take(b, rate, now);
}

bool address_rates_has(struct address_rates *a, const struct sockaddr *address,
		       const struct rate *rate)
{
	struct address_key k;
	const struct bucket *b;

	address_key_init(&k, address);
	b = address_table_get(a->table, &k, false);
	return !b || bucket_wait_ms(b, rate, clock_now_ms()) == 0;
}

size_t address_rates_bytes(const struct address_rates *a)
{
	return address_table_count(a->table) * address_table_entry_size(a->table);
}

struct address_rates *address_rates_free(struct address_rates *a)
{
	if (!a)
		return NULL;
	address_table_free(a->table);
	free(a);
	return NULL;
}

void address_tag(struct address_tagger *t, char out[static ADDRESS_TAG_SPACE],
		 const struct sockaddr *address)
{
	uint64_t now = clock_now_ms();
	uint8_t mac[HMAC_SHA256_LEN];
	struct address_key k;

	if (now >= t->key_until_ms) {
		random_bytes(t->key, sizeof(t->key));
		t->key_until_ms = now + TAG_KEY_LIFE_MS;
	}
	address_key_init(&k, address);
	hmac_sha256(mac, t->key, sizeof(t->key), &k, sizeof(k));
	hex_format(out, mac, TAG_BYTES);
}

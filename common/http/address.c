/* A chained hash table that grows; strangers choose its keys, so the hash is salted. */
#include "http/address.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct entry {
	struct entry *next;
	struct address_key key;
	_Alignas(8) uint8_t value[];
};

struct address_table {
	struct entry **buckets;
	size_t n_buckets; /* a power of two */
	size_t count;
	size_t value_size;
	uint64_t salt[2];
};

void address_key_init(struct address_key *k, const struct sockaddr *a)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	memset(k, 0, sizeof(*k));
	if (a->sa_family == AF_INET) {
		k->family = 4;
		memcpy(k->b, &((const struct sockaddr_in *)(const void *)a)->sin_addr, 4);
	} else if (a->sa_family == AF_INET6) {
		const uint8_t *ip = ((const struct sockaddr_in6 *)(const void *)a)->sin6_addr.s6_addr;

		if (memcmp(ip, mapped, sizeof(mapped)) == 0) {
			k->family = 4;
			memcpy(k->b, ip + 12, 4);
		} else {
			k->family = 6;
			memcpy(k->b, ip, 8);
		}
	}
}

static size_t bucket_of(const struct address_table *t, const struct address_key *k)
{
	uint64_t v;

	memcpy(&v, k->b, sizeof(v));
	v = (v ^ t->salt[0]) * 0x9e3779b97f4a7c15u;
	v ^= v >> 32;
	v = (v ^ t->salt[1] ^ k->family) * 0xd6e8feb86659fd93u;
	v ^= v >> 32;
	return (size_t)v & (t->n_buckets - 1);
}

int address_table_new(struct address_table **out, size_t value_size)
{
	_cleanup_(address_table_freep) struct address_table *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->value_size = value_size;
	t->n_buckets = 64;
	t->buckets = calloc(t->n_buckets, sizeof(struct entry *));
	if (!t->buckets)
		return -ENOMEM;
	if (getrandom(t->salt, sizeof(t->salt), 0) != sizeof(t->salt))
		return -EIO;
	*out = steal(&t);
	return 0;
}

/* Without memory the chains get longer instead. */
static void grow(struct address_table *t)
{
	struct entry **old = t->buckets, **more;
	size_t n_old = t->n_buckets;

	more = calloc(n_old * 2, sizeof(*more));
	if (!more)
		return;
	t->buckets = more;
	t->n_buckets = n_old * 2;
	for (size_t i = 0; i < n_old; i++) {
		struct entry *e = old[i];

		while (e) {
			struct entry *next = e->next;
			size_t b = bucket_of(t, &e->key);

			e->next = t->buckets[b];
			t->buckets[b] = e;
			e = next;
		}
	}
	free(old);
}

static struct entry **find(struct address_table *t, const struct address_key *k)
{
	struct entry **at = &t->buckets[bucket_of(t, k)];

	while (*at && memcmp(&(*at)->key, k, sizeof(*k)) != 0)
		at = &(*at)->next;
	return at;
}

void *address_table_get(struct address_table *t, const struct address_key *k, bool create)
{
	struct entry *e = *find(t, k);
	size_t b;

	if (e || !create)
		return e ? e->value : NULL;
	if (t->count >= t->n_buckets)
		grow(t);
	e = calloc(1, sizeof(*e) + t->value_size);
	if (!e)
		return NULL;
	e->key = *k;
	b = bucket_of(t, k);
	e->next = t->buckets[b];
	t->buckets[b] = e;
	t->count++;
	return e->value;
}

static void remove_at(struct address_table *t, struct entry **at)
{
	struct entry *e = *at;

	*at = e->next;
	t->count--;
	free(e);
}

void address_table_remove(struct address_table *t, const struct address_key *k)
{
	struct entry **at = find(t, k);

	if (*at)
		remove_at(t, at);
}

void address_table_prune(struct address_table *t, bool (*keep)(const void *value, void *arg), void *arg)
{
	for (size_t i = 0; i < t->n_buckets; i++)
		for (struct entry **at = &t->buckets[i]; *at;) {
			if (keep((*at)->value, arg))
				at = &(*at)->next;
			else
				remove_at(t, at);
		}
}

size_t address_table_count(const struct address_table *t)
{
	return t->count;
}

size_t address_table_entry_size(const struct address_table *t)
{
	return sizeof(struct entry) + t->value_size;
}

struct address_table *address_table_free(struct address_table *t)
{
	if (!t)
		return NULL;
	for (size_t i = 0; t->buckets && i < t->n_buckets; i++)
		while (t->buckets[i])
			remove_at(t, &t->buckets[i]);
	free(t->buckets);
	free(t);
	return NULL;
}

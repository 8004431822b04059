/* Counting by address: IPv4 whole, IPv6 by /64, which one customer has (RFC 6177). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/cleanup.h"

struct address_key {
	uint8_t family; /* 4, 6 (the first 64 bits), or 0: no address (a Unix socket) */
	uint8_t b[8];
};

/* IPv4 mapped into IPv6 is IPv4. */
void address_key_init(struct address_key *k, const struct sockaddr *a);

/* Values of a fixed size by address, zeroed when made. */
struct address_table;
int address_table_new(struct address_table **out, size_t value_size); /* 0 or -ENOMEM */
/* The value; a new one when create is set; NULL when there is none, or no memory. */
void *address_table_get(struct address_table *t, const struct address_key *k, bool create);
/* Remove those for which keep() is false. */
void address_table_prune(struct address_table *t, bool (*keep)(const void *value, void *arg), void *arg);
size_t address_table_count(const struct address_table *t);
/* Bytes one entry takes. */
size_t address_table_entry_size(const struct address_table *t);
void address_table_remove(struct address_table *t, const struct address_key *k);
struct address_table *address_table_free(struct address_table *t);
DEFINE_CLEANUP(struct address_table *, address_table_free);

/* Reverse proxies: those whose word counts on which client they ask for. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "base/cleanup.h"

struct http_proxies;

/* For a table of options: NULL for an address or a network, else what would be accepted. */
const char *http_proxies_check(const char *text);

/*
 * From n texts such as "127.0.0.1", "10.0.0.0/8", "fd00::/8", or "unix": who
 * comes through a Unix socket. A network of IPv4
 * also holds IPv4 mapped into IPv6. 0, -EINVAL for what http_proxies_check()
 * refuses, or -ENOMEM. An empty list is nobody.
 */
int http_proxies_new(struct http_proxies **out, const char *const *texts, size_t n);
/* Whether this address is one of theirs; p may be NULL: nobody. */
bool http_proxies_has(const struct http_proxies *p, const struct sockaddr *address);

/*
 * For whom does a proxy at peer ask, whose X-Forwarded-For (all such headers,
 * in order, joined by commas) is forwarded? Read from the right, where the
 * nearest proxy wrote: the first address that is not itself a proxy's. What
 * lies further left came from that client, who may write there what he likes.
 * Where something else than an address stands, the proxy that passed it on is
 * the answer, so that nonsense gains nothing. Ports are dropped.
 */
void http_proxies_client(const struct http_proxies *p, const struct sockaddr *peer,
			 const char *forwarded, struct sockaddr_storage *out);

struct http_proxies *http_proxies_free(struct http_proxies *p);
DEFINE_CLEANUP(struct http_proxies *, http_proxies_free);

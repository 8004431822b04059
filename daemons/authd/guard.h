/* Bans, as routes meet them. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct address_key;
struct authd;
struct http_request;

/* Whether this address may try. False: answered with 429. */
bool guard_address(struct authd *a, struct http_request *req, const struct address_key *address);
/*
 * Whether this name may be tried from there. One from where its user (0: nobody's name) logged in lately
 * may always: nobody is kept out by what strangers do. False: answered with 429.
 */
bool guard_name(struct authd *a, struct http_request *req, const char *name, int64_t user, const struct address_key *address);
/* A request proved nothing: whether that may be answered as usual. False: answered with status, as banned. */
bool guard_proof(struct authd *a, struct http_request *req, unsigned int status);
/* An attempt begins; name may be NULL; user as above. */
void guard_count(struct authd *a, const char *name, int64_t user, const struct address_key *address);

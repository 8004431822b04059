/* Bans, as routes meet them. */
#pragma once

#include <stdbool.h>

struct address_key;
struct attempt;
struct authd;
struct http_request;

/* Whether this address may try. False: answered with 429. */
bool guard_address(struct authd *a, struct http_request *req, const struct address_key *address);
/*
 * Whether this name may be tried from there. From where its user logged in lately, what others did to the name does
 * not count. False: answered with 429, and counted of the address: who waits for the end of a ban does not ask often.
 */
bool guard_name(struct authd *a, struct http_request *req, const struct attempt *t);
/* Whether a session of this user may start to register anew once more; counts it. False: answered with 429. */
bool guard_renewal(struct authd *a, struct http_request *req, const char *name);
/* A request proved nothing: whether that may be answered as usual. False: answered with status, as banned. */
bool guard_proof(struct authd *a, struct http_request *req, unsigned int status);
/* An attempt begins. exists: the name is somebody's. */
void guard_count(struct authd *a, const struct attempt *t, bool exists);

/*
 * Requests and answers of authd: bodies are strict JSON objects of strings, answers JSON with the same header
 * fields everywhere, errors {"error": {"code", "text"}}. Codes are listed in handfast-auth(7).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http/address.h"
#include "http/http_server.h"

struct authd;
struct json_t;

/* body is stolen; NULL is {}. */
void reply_json(struct http_request *req, unsigned int status, struct json_t *body);
/* One that has no body. extra as in http_reply(). */
void reply_empty(struct http_request *req, unsigned int status, const char *const *extra);
void reply_error(struct http_request *req, unsigned int status, const char *code, const char *text);
/* 404: there is no such path, or none for who asks. */
void reply_not_found(struct http_request *req);
/* With Retry-After. */
void reply_later(struct http_request *req, unsigned int status, const char *code, const char *text, uint64_t ms);
/* Our own failure: logged, and 503. */
void reply_failure(struct authd *a, struct http_request *req, int r, const char *what);
/* 401 with WWW-Authenticate and a fresh X-SNONCE. */
void reply_unproven(struct authd *a, struct http_request *req, const char *code, const char *text);

/* A member of a body: text, or bytes in base64url without padding. */
struct member {
	const char *name;
	bool optional;
	size_t max;	 /* characters of text; 0 for bytes */
	uint8_t *bytes;	 /* of exactly n_bytes */
	size_t n_bytes;
	const char **text; /* NULL when absent */
	size_t *len;	   /* of text, which may hold NUL; may be NULL */
};

/*
 * Read a body of these members, all of them strings. false: answered already. What text points to lives as long
 * as *body, which the caller drops.
 */
bool read_body(struct authd *a, struct http_request *req, const struct member *m, size_t n, struct json_t **body);

/* The canonical spelling of a name that a client sent; false: answered already. */
bool read_name(struct authd *a, struct http_request *req, char *out, const char *name, size_t len);

/* Who asks, for bans and lists. */
void request_address(const struct http_request *req, struct address_key *key);
/* Whether a proxy passed it on, listed or not: one that nobody listed looks like this machine, but for what it adds. */
bool request_is_forwarded(const struct http_request *req);
/* Whether it came through a listed proxy. */
bool request_is_proxied(const struct authd *a, const struct http_request *req);
/* "https" or "http": what the client speaks, as far as a listed proxy or the listener knows. NULL: it contradicts itself. */
const char *request_scheme(const struct authd *a, const struct http_request *req);
/* Whether nobody on the way can read it: TLS, this machine, or a private network. */
bool request_is_confidential(const struct authd *a, const struct http_request *req);

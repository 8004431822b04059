/*
 * An HTTP/1.1 client's connection in the loop: resolve, connect, TLS, one
 * request, the answer's head. websocket_connect() and http_fetch_start() stand
 * on it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct bufferevent;
struct http_client;
struct loop;

struct http_url {
	bool tls;
	char host[256]; /* without brackets */
	char port[6];
	char authority[280]; /* for the Host header */
	char path[1024];
};
/* ws, wss, http, https; 0 or -EINVAL. */
int http_url_parse(struct http_url *out, const char *url);

struct http_answer {
	unsigned int status;
	/* Lines after the first, each ended by NUL; see http_answer_header(). */
	const char *headers;
	size_t headers_len;
};
/* A header's value, NULL when absent; *count (may be NULL) is how often it comes. */
const char *http_answer_header(const struct http_answer *a, const char *name, unsigned int *count);

/*
 * Called once: with the answer's head, or with answer == NULL, a
 * websocket_outcome and a detail. Freeing the client inside is allowed.
 */
typedef void (*http_client_fn)(const struct http_answer *answer, int outcome, const char *detail,
			       void *arg);
/*
 * extra: header lines, each ended by CRLF. token: NULL, or what is sent as
 * Authorization: Bearer, without blanks; it is wiped with the client. 0 or a negative errno. timeout_ms counts until the
 * answer's head is there.
 */
int http_client_start(struct http_client **out, struct loop *l, const char *method, const char *url,
		      const char *ca_file, const char *extra, const char *token, uint64_t timeout_ms,
		      http_client_fn fn, void *arg);
/* After the answer: the stream, with what has been read behind the head in its input. The caller owns it. */
struct bufferevent *http_client_take(struct http_client *c);
struct http_client *http_client_free(struct http_client *c);
DEFINE_CLEANUP(struct http_client *, http_client_free);

/*
 * libmicrohttpd inside our loop: TCP or Unix listeners, optional TLS, WebSocket
 * upgrade, deadlines of our own. What Debian 12's library lets through (a
 * second Content-Length, Content-Length with Transfer-Encoding, slow headers)
 * is refused or timed out here.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/cleanup.h"

struct loop;
struct http_proxies;
struct http_server;
struct http_request;
struct websocket;

struct http_limits {
	size_t max_connections;
	size_t max_connections_per_address; /* IPv6 by /64; 0: no limit */
	size_t max_body;
	size_t max_head; /* memory for a request's head and our answer's, of each connection; 0: 8 KiB. For new listeners */
	uint64_t header_timeout_ms; /* from accept, or from the end of the last request, to the end of the headers */
	uint64_t body_timeout_ms;
	uint64_t idle_timeout_ms;
};

/* Called with whole body. Must answer, now, with http_reply() or http_upgrade(). */
typedef void (*http_request_fn)(struct http_request *req, void *arg);

struct http_server_options {
	struct http_limits limits;
	const char *tls_cert_pem, *tls_key_pem; /* file contents, both or neither */
	http_request_fn on_request;
	void *arg;
};

int http_server_new(struct http_server **out, struct loop *l, const struct http_server_options *o);
/* Serve a listening socket (non-blocking, TCP or Unix). Takes fd. 0 or a negative errno. */
int http_server_listen(struct http_server *s, int fd);
/* The same with a handle, for a listener that ends before the server does. */
struct http_listener;
int http_server_listen_handle(struct http_server *s, int fd, struct http_listener **out);
/* Close a listener and every connection that came through it. Not from inside one of its callbacks. */
void http_server_unlisten(struct http_server *s, struct http_listener *which);
/*
 * For a server with TLS: another certificate for connections that come from now on; those that are
 * there keep theirs. Listeners from http_server_listen_handle() must not be among its own. 0; on
 * -EKEYREJECTED (no PEM certificate and its key) or another negative errno all stays as it was.
 */
int http_server_set_certificate(struct http_server *s, const char *cert_pem, const char *key_pem);
/* New limits, for what comes from now on. */
void http_server_set_limits(struct http_server *s, const struct http_limits *limits);
/*
 * From these proxies (borrowed; NULL: none) X-Forwarded-For tells the client,
 * who is what http_request_address() says and for whom connections per address
 * are counted. Everybody else's is ignored.
 */
void http_server_set_proxies(struct http_server *s, const struct http_proxies *p);
/*
 * A TCP listener for address ("127.0.0.1:8000", "[::]:8000", "*:0"); the fd or a negative errno. Port in *port.
 * The machine need not have the address yet: that of a tunnel comes later.
 */
int http_listen_tcp(const char *address, uint16_t *port);
/* What such an address stands for; *all: every address of both families. 0 or -EINVAL. */
int http_parse_listen(struct sockaddr_storage *out, bool *all, const char *address);
/*
 * Accept nobody any more; whoever waits in the sockets' backlogs is left to
 * who else has them. Connections that are there go on.
 */
void http_server_close_listeners(struct http_server *s);
/* Connections that were accepted or have sent something, and were not answered yet. */
size_t http_server_unanswered(const struct http_server *s);
struct http_server *http_server_free(struct http_server *s);
DEFINE_CLEANUP(struct http_server *, http_server_free);

struct http_counters {
	uint64_t connections, refused_limit, refused_bad, timeouts;
	size_t open;
};
void http_server_counters(const struct http_server *s, struct http_counters *out);

const char *http_request_method(const struct http_request *r);
const char *http_request_target(const struct http_request *r); /* raw, as sent */
const char *http_request_header(const struct http_request *r, const char *name); /* NULL: absent */
/*
 * A header that may come once: *value is its only one, or NULL when it is absent. False when it came twice; then
 * this reader and another may each take a different one.
 */
bool http_request_header_once(const struct http_request *r, const char *name, const char **value);
const void *http_request_body(const struct http_request *r, size_t *len);
struct http_listener *http_request_listener(const struct http_request *r); /* which one it came through */
const struct sockaddr *http_request_address(const struct http_request *r); /* the client's; family AF_UNIX: none */
const struct sockaddr *http_request_peer(const struct http_request *r); /* who connected: the client, or a proxy */

/* Answer; body is copied. content_type NULL: no body type. extra: NULL or NULL-ended name, value pairs. */
void http_reply(struct http_request *r, unsigned int status, const char *content_type,
		const void *body, size_t len, const char *const *extra);

/*
 * Answer a WebSocket handshake (RFC 6455 section 4.2): on_open gets the
 * websocket when the upgrade is done. A request that is no right handshake is
 * answered with 400 or 426 and -EPROTO is returned; then on_open never comes.
 * After 0 it comes exactly once: with NULL when the connection was lost before.
 */
int http_upgrade(struct http_request *r, void (*on_open)(struct websocket *ws, void *arg), void *arg);

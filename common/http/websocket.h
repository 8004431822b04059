/*
 * WebSocket (RFC 6455) messages over wslay, server and client side. Text
 * messages only: binary is closed with 1003, invalid UTF-8 with 1007, a message
 * beyond the limit with 1009 (counted while fragments arrive, never buffered
 * past it).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct loop;
struct websocket;

struct websocket_handlers {
	void (*on_message)(struct websocket *ws, const char *text, size_t len, void *arg);
	/* Once, at the end, however it came; code is the peer's close code or 1006. ws is freed after it returns. */
	void (*on_close)(struct websocket *ws, uint16_t code, void *arg);
	void *arg;
};

struct websocket_limits {
	size_t max_message;
	size_t max_unsent; /* beyond it the peer is too slow: closed with 1013 */
	uint64_t ping_interval_ms; /* 0: none; a peer that sends nothing for 2.5 intervals is closed */
	uint64_t message_timeout_ms; /* 0: none; from a message's first frame to its end, else 1008 */
};

/* Must be called once, from on_open, before returning to the loop. */
void websocket_start(struct websocket *ws, const struct websocket_handlers *h,
		     const struct websocket_limits *limits);
/* Queue one text message. 0, -ENOBUFS beyond max_unsent (the socket is being closed), -ENOTCONN. */
int websocket_send(struct websocket *ws, const char *text, size_t len);
/* Begin closing: what is queued is sent, then the close frame; on_close follows within 2 s. */
void websocket_close(struct websocket *ws, uint16_t code, const char *reason);
/* Bytes queued and not yet sent. */
size_t websocket_unsent(const struct websocket *ws);

/* ---- client ---- */
struct websocket_connect_options {
	const char *url; /* ws:// or wss:// host:port/path */
	const char *ca_file; /* wss: NULL for the system's CAs */
	const char *token; /* NULL, or sent as Authorization: Bearer, without blanks */
	uint64_t timeout_ms; /* for connect, TLS and handshake together */
};
enum websocket_outcome { /* why a connect failed, for people; see websocket_outcome_text() */
	WEBSOCKET_E_URL = 1, WEBSOCKET_E_RESOLVE, WEBSOCKET_E_CONNECT, WEBSOCKET_E_TLS,
	WEBSOCKET_E_CERTIFICATE, WEBSOCKET_E_REFUSED /* HTTP status in *http_status */, WEBSOCKET_E_TIMEOUT,
};
const char *websocket_outcome_text(int outcome);

struct websocket_connector;
/* fn is called once: ws != NULL on success (then websocket_start() it), else outcome and detail (a sentence part). */
typedef void (*websocket_connect_fn)(struct websocket *ws, int outcome, unsigned int http_status,
				     const char *detail, void *arg);
int websocket_connect(struct websocket_connector **out, struct loop *l,
		      const struct websocket_connect_options *o, websocket_connect_fn fn, void *arg);
/* Give up (fn is not called then); also frees after fn was called. */
struct websocket_connector *websocket_connector_free(struct websocket_connector *c);
DEFINE_CLEANUP(struct websocket_connector *, websocket_connector_free);

/*
 * One HTTP request over the same TLS rules (POST /session of a relay). url is
 * http:// or https:// (or ws/wss, the same). Answer bodies beyond 64 KiB fail.
 * token: NULL, or as in websocket_connect_options. fn as above with status and body.
 */
typedef void (*http_fetch_fn)(unsigned int status, const char *body, size_t len, int outcome,
			      const char *detail, void *arg);
struct http_fetch;
int http_fetch_start(struct http_fetch **out, struct loop *l, const char *method, const char *url,
		     const char *ca_file, const char *token, uint64_t timeout_ms, http_fetch_fn fn,
		     void *arg);
struct http_fetch *http_fetch_free(struct http_fetch *f);
DEFINE_CLEANUP(struct http_fetch *, http_fetch_free);

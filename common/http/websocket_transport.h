/* What carries a WebSocket's bytes: an upgraded server connection, or the client's bufferevent. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct loop;
struct websocket;

struct websocket_transport {
	/* Bytes, 0 at the end, or a negative errno; -EAGAIN when nothing can be done now. */
	ssize_t (*read)(void *t, void *buf, size_t len);
	ssize_t (*write)(void *t, const void *buf, size_t len);
	/* Call websocket_on_io() when the transport is readable, writable. */
	void (*watch)(void *t, bool read, bool write);
	/* Bytes that were taken by write() and still wait in the transport itself. */
	size_t (*unsent)(void *t);
	void (*shutdown_write)(void *t);
	/* Close and free it; called once. */
	void (*close)(void *t);
};

/* A websocket over t, whose ops must outlive it. On success it owns t. 0 or -ENOMEM. */
int websocket_new(struct websocket **out, struct loop *l, bool client,
		  const struct websocket_transport *ops, void *t);
/* The transport is ready for something. The websocket may be gone afterwards. */
void websocket_on_io(struct websocket *ws, bool readable, bool writable);
/* End it now, without a closing handshake: on_close comes with 1006, and it is freed. */
void websocket_abort(struct websocket *ws);

/* Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455 section 4.2.2), NUL-terminated. */
#define WEBSOCKET_ACCEPT_SPACE 29
void websocket_accept_value(char out[static WEBSOCKET_ACCEPT_SPACE], const char *key);
/* True when a comma-separated header value holds token, in any case. */
bool websocket_header_has(const char *value, const char *token);

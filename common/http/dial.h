/*
 * Reaching a server: URL, name, connection, TLS. What the WebSocket client and
 * the one-request client share; for common/http alone.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bufferevent;
struct dial;
struct loop;

struct dial_url {
	bool tls;
	char host[256]; /* without brackets */
	char port[6];
	char authority[300]; /* for the Host header */
	char path[512];	     /* with query, begins with '/' */
};

/* ws://, wss://, http://, https://. 0 or -EINVAL. */
int dial_url_parse(struct dial_url *out, const char *url);

/*
 * fn is called once, from the loop: with a connected bufferevent that the callee
 * then owns (its callbacks are unset), or NULL with an enum websocket_outcome and
 * a detail. dial_free() inside fn is allowed.
 */
typedef void (*dial_fn)(struct bufferevent *bev, int outcome, const char *detail, void *arg);
int dial_start(struct dial **out, struct loop *l, const struct dial_url *url, const char *ca_file,
	       dial_fn fn, void *arg);
/* Give up; fn is not called any more. NULL is fine. */
struct dial *dial_free(struct dial *d);

/* What control.c (the interface, and calls that take time) and control_change.c (what a tunnel is to be) share. */
#pragma once

#include "base/list.h"
#include "pskd/control.h"
#include "pskd/tunnel/tunnels.h"

struct json_t;
struct loop;
struct varlink_call;

struct control {
	struct service *svc;
	struct loop *loop;
	struct tunnels *tunnels;
	struct list waiting;
	struct list asking; /* control_change.c: what is to be set, while tund is asked */
};

void control_reply_error(struct varlink_call *call, const struct tunnel_error *e);
struct json_t *control_with_tunnel(struct tunnel *t);
/* The tunnel of the parameter name; NULL: there is none, and the caller was told. */
struct tunnel *control_find(struct control *c, struct varlink_call *call, const struct json_t *params);

/* control_change.c: methods of io.handfast.Tunnel. */
void control_pin(struct varlink_call *call, const struct json_t *params, void *arg);
void control_allow(struct varlink_call *call, const struct json_t *params, void *arg);
void control_revoke(struct varlink_call *call, const struct json_t *params, void *arg);
void control_set(struct varlink_call *call, const struct json_t *params, void *arg);
/* The end: who waits is answered no more. */
void control_stop_asking(struct control *c);

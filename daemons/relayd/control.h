/* io.handfast.Relay on the control socket. */
#pragma once

struct json_t;
struct lan;
struct relay;
struct service;

struct control {
	struct relay *relay;
	struct lan *lan;
};

/* c must outlive the service's run. 0 or a negative errno. */
int control_init(struct control *c, struct service *svc);
/* What io.handfast.Daemon.Status says beside the rest. */
void control_on_status(struct json_t *details, void *arg);

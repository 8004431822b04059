/*
 * Callers are known by SO_PEERCRED; a stranger's connection is closed unheard.
 * A message that cannot be decoded ends its connection, too.
 */
#include "tund/helper.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/list.h"
#include "base/log.h"
#include "event/loop.h"
#include "event/unixsock.h"
#include "tund/device.h"

#define CALLERS_MAX 16
#define DEVICES_MAX 64

struct helper {
	struct loop *loop;
	struct unix_server *server;
	struct list connections;
	struct helper_rules rules;
	size_t n_users;
	uid_t users[];
};

struct connection {
	struct list node;
	struct helper *h;
	struct loop_io *io;
	int fd;
	/* Devices handed out here, the latest last over the first: a number is not used again, a name is. */
	unsigned int devices[DEVICES_MAX];
	size_t n_devices;
};

static void connection_free(struct connection *c)
{
	list_remove(&c->node);
	loop_io_free(c->io);
	close(c->fd);
	unix_server_conn_closed(c->h->server);
	free(c);
}

static bool has_device(const struct connection *c, const char *name)
{
	unsigned int index = if_nametoindex(name);

	for (size_t i = 0; index && i < c->n_devices && i < DEVICES_MAX; i++)
		if (c->devices[i] == index)
			return true;
	return false;
}

static const char *complaint_about(const struct helper *h, const struct tund_request *q, char text[static 128])
{
	const char *complaint = tund_request_complaint(q, h->rules.any_address);
	char route[PREFIX_TEXT_MAX];

	if (complaint)
		return complaint;
	for (size_t i = 0; i < q->n_routes; i++) {
		complaint = tund_route_complaint(&q->routes[i], h->rules.any_route);
		if (complaint) {
			prefix_format(route, &q->routes[i]);
			snprintf(text, 128, "no route to %s: %s", route, complaint);
			return text;
		}
	}
	return NULL;
}

/* Decoding has seen to its form; here is what this caller may ask for. passed: a device that it shows, or -1. */
static void handle(struct connection *c, const struct tund_request *q, int passed, struct tund_reply *reply,
		   int *device)
{
	char text[128];
	const char *complaint = complaint_about(c->h, q, text);

	if (!complaint && q->type == TUND_CONFIGURE && !has_device(c, q->ifname) &&
	    (passed < 0 || !device_is(passed, q->ifname)))
		complaint = "the device was not made over this connection, nor was it shown";
	if (complaint) {
		*device = -1;
		*reply = (struct tund_reply){ .error = EPERM };
		snprintf(reply->detail, sizeof(reply->detail), "%s", complaint);
		return;
	}
	device_handle(q, reply, device);
	if (*device >= 0)
		c->devices[c->n_devices++ % DEVICES_MAX] = if_nametoindex(reply->ifname);
}

static void tell(const struct tund_request *q, const struct tund_reply *reply)
{
	if (reply->error)
		log_event(LOG_NOTICE, &MSG_TUND_REFUSED, LOG_FIELDS({ FIELD_DEVICE, q->ifname }), "%s %s: %s",
			  q->type == TUND_CHECK ? "asked about" : "no device", q->ifname, reply->detail);
	else if (q->type != TUND_CHECK)
		log_event(LOG_INFO, &MSG_TUND_DEVICE, LOG_FIELDS({ FIELD_DEVICE, reply->ifname }), "%s is up, MTU %u",
			  reply->ifname, q->mtu);
}

static void on_readable(int fd, unsigned int events, void *arg)
{
	struct connection *c = arg;
	uint8_t buf[TUND_MSG_MAX];
	struct tund_request q;
	struct tund_reply reply;
	_cleanup_close_ int passed = -1;
	ssize_t n;
	int device;

	(void)events;
	n = unix_recv(fd, buf, sizeof(buf), &passed);
	if (n == -EAGAIN)
		return;
	if (n <= 0 || tund_request_decode(&q, buf, (size_t)n) != 0) {
		connection_free(c);
		return;
	}
	handle(c, &q, passed, &reply, &device);
	tell(&q, &reply);
	n = tund_reply_encode(buf, sizeof(buf), &reply);
	if (n < 0 || unix_send(fd, buf, (size_t)n, device) != 0)
		connection_free(c);
	if (device >= 0)
		close(device);
}

static bool may_ask(const struct helper *h, uid_t uid)
{
	for (size_t i = 0; i < h->n_users; i++)
		if (h->users[i] == uid)
			return true;
	return uid == 0;
}

static void on_accept(int fd, const struct unix_caller *caller, void *arg)
{
	struct helper *h = arg;
	struct connection *c = NULL;
	char who[32];

	if (!may_ask(h, caller->uid)) {
		snprintf(who, sizeof(who), "uid %u", caller->uid);
		log_event(LOG_WARNING, &MSG_CONTROL_DENIED, LOG_FIELDS({ FIELD_CALLER, who }),
			  "%s may not ask for devices", who);
	} else {
		c = calloc(1, sizeof(*c));
	}
	if (c) {
		*c = (struct connection){ .h = h, .fd = fd };
		if (loop_io_new(&c->io, h->loop, fd, LOOP_READ, on_readable, c) == 0) {
			list_append(&h->connections, &c->node);
			return;
		}
		free(c);
	}
	close(fd);
	unix_server_conn_closed(h->server);
}

int helper_new(struct helper **out, struct loop *l, int listen_fd, const uid_t *users, size_t n_users,
	       const struct helper_rules *rules)
{
	_cleanup_(helper_freep) struct helper *h = NULL;
	int r;

	h = calloc(1, sizeof(*h) + n_users * sizeof(users[0]));
	if (!h)
		return -ENOMEM;
	h->loop = l;
	list_init(&h->connections);
	h->rules = *rules;
	h->n_users = n_users;
	if (n_users > 0)
		memcpy(h->users, users, n_users * sizeof(users[0]));
	r = unix_server_new(&h->server, l, listen_fd, CALLERS_MAX, on_accept, h);
	if (r)
		return r;
	*out = steal(&h);
	return 0;
}

struct helper *helper_free(struct helper *h)
{
	if (!h)
		return NULL;
	list_for_each (it, &h->connections)
		connection_free(container_of(it, struct connection, node));
	unix_server_free(h->server);
	free(h);
	return NULL;
}

/*
 * One SOCK_SEQPACKET connection. Requests in flight are in a small table;
 * what a lost connection leaves in it is answered with failure.
 */
#include "pskd/handshake/identity_client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "crypto/secret.h"
#include "event/loop.h"
#include "event/unixsock.h"

#define IN_FLIGHT_MAX 64
#define SIGNING_MAX 8
#define RETRY_MAX_MS 60000
#define REPLY 0x80

struct in_flight {
	uint32_t id; /* 0: free */
	uint8_t type;
	void (*done)(const uint8_t *sig, size_t len, void *token);
	void *token;
	uint8_t tunnel_id[IDENTITY_TUNNEL_ID_LEN]; /* PEER_SEEN */
};

struct identity_client {
	struct loop *loop;
	char path[108];
	struct identity_ops ops;
	void *arg;
	int fd;
	struct loop_io *io;
	struct loop_timer *retry;
	uint64_t retry_ms, tried_ms;
	bool was_connected, freeing, listed;
	uint32_t next_id;
	struct in_flight in_flight[IN_FLIGHT_MAX];
	unsigned int n_signing;
	bool own_known;
	struct sign_public own;
};

static void disconnect(struct identity_client *c)
{
	c->io = loop_io_free(c->io);
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	for (size_t i = 0; i < IN_FLIGHT_MAX; i++) {
		struct in_flight f = c->in_flight[i];

		c->in_flight[i] = (struct in_flight){ 0 };
		if (f.id && f.done)
			f.done(NULL, 0, f.token);
	}
	c->n_signing = 0;
	if (!c->freeing)
		loop_timer_start(c->retry, c->retry_ms);
}

static void lost(struct identity_client *c, const char *why)
{
	log_event(LOG_WARNING, &MSG_IDENTITY_LOST, LOG_NO_FIELDS, "lost pairingd: %s", why);
	c->retry_ms = 1000;
	disconnect(c);
}

static int request(struct identity_client *c, uint8_t type, const void *body, size_t len,
		   void (*done)(const uint8_t *sig, size_t len, void *token), void *token)
{
	uint8_t msg[IDENTITY_MSG_MAX];
	struct in_flight *f = NULL;
	struct wbuf w;
	int r;

	if (c->fd < 0)
		return -ENOTCONN;
	for (size_t i = 0; i < IN_FLIGHT_MAX && !f; i++)
		if (!c->in_flight[i].id)
			f = &c->in_flight[i];
	if (!f)
		return -EAGAIN;
	if (++c->next_id == 0)
		c->next_id = 1;
	wbuf_init(&w, msg, sizeof(msg));
	wbuf_u8(&w, type);
	wbuf_be32(&w, c->next_id);
	wbuf_put(&w, body, len);
	if (!wbuf_ok(&w))
		return -EMSGSIZE;
	r = unix_send(c->fd, msg, w.len, -1);
	if (r)
		return r;
	*f = (struct in_flight){ .id = c->next_id, .type = type, .done = done, .token = token };
	return 0;
}

static bool get_name(struct rbuf *r, char name[static IDENTITY_NAME_MAX + 1])
{
	size_t len = 0;
	const uint8_t *text = rbuf_lv16(r, &len);

	if (!text || len > IDENTITY_NAME_MAX)
		return false;
	memcpy(name, text, len);
	name[len] = '\0';
	return text_is_name(name);
}

static void on_pairings(struct identity_client *c, struct rbuf *r)
{
	bool more = rbuf_u8(r) != 0;

	while (rbuf_ok(r) && !rbuf_done(r)) {
		uint8_t id[IDENTITY_ID_LEN], tunnel_id[IDENTITY_TUNNEL_ID_LEN];
		char name[IDENTITY_NAME_MAX + 1];

		rbuf_get(r, id, sizeof(id));
		rbuf_get(r, tunnel_id, sizeof(tunnel_id));
		if (!get_name(r, name))
			return;
		c->ops.on_pairing(id, tunnel_id, name, c->arg);
	}
	if (!rbuf_ok(r) || more)
		return;
	c->listed = true;
	c->ops.on_listed(c->arg);
}

static void on_event(struct identity_client *c, uint8_t type, struct rbuf *r)
{
	char name[IDENTITY_NAME_MAX + 1] = "";
	static const uint8_t all[IDENTITY_TUNNEL_ID_LEN];
	uint8_t ids[IDENTITY_ID_LEN + IDENTITY_TUNNEL_ID_LEN] = { 0 };
	const uint8_t *id = ids, *tunnel_id = ids + IDENTITY_ID_LEN;

	if (type == IDENTITY_EVENT_PAIRINGS) {
		on_pairings(c, r);
		return;
	}
	rbuf_get(r, ids, type == IDENTITY_EVENT_RENAMED ? IDENTITY_ID_LEN : sizeof(ids));
	if (type == IDENTITY_EVENT_RENAMED && !get_name(r, name))
		return;
	if (!rbuf_done(r))
		return;
	if (type == IDENTITY_EVENT_ROOT)
		request(c, IDENTITY_TAKE_ROOT, ids, sizeof(ids), NULL, NULL);
	else if (type == IDENTITY_EVENT_FORGOTTEN)
		c->ops.on_forgotten(id, memcmp(tunnel_id, all, sizeof(all)) == 0 ? NULL : tunnel_id, c->arg);
	else if (type == IDENTITY_EVENT_RENAMED)
		c->ops.on_renamed(id, name, c->arg);
}

static void on_whoami(struct identity_client *c, struct rbuf *r)
{
	struct sign_public own;

	rbuf_get(r, own.b, sizeof(own.b));
	if (!rbuf_ok(r))
		return;
	c->own = own;
	c->own_known = true;
	c->ops.on_connected(c->arg);
}

static void on_reply(struct identity_client *c, uint8_t type, uint32_t id, struct rbuf *r)
{
	struct in_flight f = { 0 };
	uint8_t status = rbuf_u8(r);
	struct identity_root root = { 0 };
	bool ok = rbuf_ok(r) && status == IDENTITY_OK;

	for (size_t i = 0; i < IN_FLIGHT_MAX; i++)
		if (id != 0 && c->in_flight[i].id == id && c->in_flight[i].type == type) {
			f = c->in_flight[i];
			c->in_flight[i] = (struct in_flight){ 0 };
			break;
		}
	if (!f.id)
		return;
	if (type == IDENTITY_SIGN) {
		c->n_signing--;
		f.done(ok ? r->p : NULL, ok ? r->left : 0, f.token);
	} else if (type == IDENTITY_PEER_SEEN && ok) {
		c->ops.on_seen(f.tunnel_id, c->arg);
	} else if (type == IDENTITY_WHOAMI && ok) {
		on_whoami(c, r);
	} else if (type == IDENTITY_TAKE_ROOT && ok) {
		if (identity_root_decode(&root, r->p, r->left) == 0)
			c->ops.on_root(&root, c->arg);
		identity_root_wipe(&root);
	}
}

static void on_readable(int fd, unsigned int events, void *arg)
{
	struct identity_client *c = arg;
	uint8_t msg[IDENTITY_MSG_MAX];
	struct rbuf r;
	uint8_t type;
	uint32_t id;
	ssize_t n;

	(void)events;
	n = unix_recv(fd, msg, sizeof(msg), NULL);
	if (n == -EAGAIN)
		return;
	if (n <= 0) {
		lost(c, n == 0 ? "it closed the connection" : "its answer cannot be read");
		return;
	}
	rbuf_init(&r, msg, (size_t)n);
	type = rbuf_u8(&r);
	id = rbuf_be32(&r);
	if (rbuf_ok(&r) && id == 0)
		on_event(c, type, &r);
	else if (rbuf_ok(&r) && (type & REPLY))
		on_reply(c, type & (uint8_t)~REPLY, id, &r);
	/* A root may have been in it. */
	wipe(msg, sizeof(msg));
}

static void try_connect(void *arg)
{
	struct identity_client *c = arg;
	int fd;

	loop_timer_stop(c->retry);
	c->tried_ms = clock_now_ms();
	fd = unix_connect(c->path, SOCK_SEQPACKET, true);
	if (fd >= 0 && loop_io_new(&c->io, c->loop, fd, LOOP_READ, on_readable, c) != 0) {
		close(fd);
		fd = -ENOMEM;
	}
	if (fd < 0) {
		log_debug("identity socket %s: %s", c->path, strerror(-fd));
		loop_timer_start(c->retry, c->retry_ms);
		c->retry_ms = c->retry_ms * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : c->retry_ms * 2;
		return;
	}
	c->fd = fd;
	c->retry_ms = 1000;
	c->ops.on_list(c->arg);
	request(c, IDENTITY_WHOAMI, NULL, 0, NULL, NULL);
}

int identity_client_new(struct identity_client **out, struct loop *l, const char *path,
			const struct identity_ops *ops, void *arg)
{
	_cleanup_(identity_client_freep) struct identity_client *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	c->fd = -1;
	c->loop = l;
	c->ops = *ops;
	c->arg = arg;
	c->retry_ms = 1000;
	snprintf(c->path, sizeof(c->path), "%s", path);
	r = loop_timer_new(&c->retry, l, try_connect, c);
	if (r)
		return r;
	try_connect(c);
	*out = steal(&c);
	return 0;
}

struct identity_client *identity_client_free(struct identity_client *c)
{
	if (!c)
		return NULL;
	c->freeing = true;
	disconnect(c);
	loop_timer_free(c->retry);
	free(c);
	return NULL;
}

bool identity_is_listed(const struct identity_client *c)
{
	return c->listed;
}

const struct sign_public *identity_own(const struct identity_client *c)
{
	return c->own_known ? &c->own : NULL;
}

int identity_sign(struct identity_client *c, const uint8_t *message, size_t len,
		  void (*done)(const uint8_t *sig, size_t len, void *token), void *token)
{
	uint8_t body[2 + IDENTITY_SIGN_MAX];
	struct wbuf w;
	int r;

	/* Somebody needs it now: do not wait out a long back-off. */
	if (c->fd < 0 && clock_now_ms() - c->tried_ms >= 1000)
		try_connect(c);
	if (c->n_signing >= SIGNING_MAX)
		return -EAGAIN;
	wbuf_init(&w, body, sizeof(body));
	wbuf_lv16(&w, message, len);
	if (!wbuf_ok(&w))
		return -EMSGSIZE;
	r = request(c, IDENTITY_SIGN, body, w.len, done, token);
	if (!r)
		c->n_signing++;
	return r;
}

static void put_ids(uint8_t out[static IDENTITY_ID_LEN + IDENTITY_TUNNEL_ID_LEN], const uint8_t *id,
		    const uint8_t *tunnel_id)
{
	memcpy(out, id, IDENTITY_ID_LEN);
	memcpy(out + IDENTITY_ID_LEN, tunnel_id, IDENTITY_TUNNEL_ID_LEN);
}

void identity_root_stored(struct identity_client *c, const uint8_t id[static IDENTITY_ID_LEN],
			  const uint8_t tunnel_id[static IDENTITY_TUNNEL_ID_LEN])
{
	uint8_t body[IDENTITY_ID_LEN + IDENTITY_TUNNEL_ID_LEN];

	put_ids(body, id, tunnel_id);
	request(c, IDENTITY_ROOT_STORED, body, sizeof(body), NULL, NULL);
}

void identity_peer_seen(struct identity_client *c, const uint8_t id[static IDENTITY_ID_LEN],
			const uint8_t tunnel_id[static IDENTITY_TUNNEL_ID_LEN])
{
	uint8_t body[IDENTITY_ID_LEN + IDENTITY_TUNNEL_ID_LEN];

	put_ids(body, id, tunnel_id);
	if (request(c, IDENTITY_PEER_SEEN, body, sizeof(body), NULL, NULL))
		return;
	for (size_t i = 0; i < IN_FLIGHT_MAX; i++)
		if (c->in_flight[i].id == c->next_id)
			memcpy(c->in_flight[i].tunnel_id, tunnel_id, IDENTITY_TUNNEL_ID_LEN);
}

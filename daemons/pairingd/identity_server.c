/*
 * The identity socket. A caller's uid decides what it may ask: the daemons of
 * identity_users, root and our own uid. What is signed for whom is fixed here, so
 * that no daemon can get a signature that means something elsewhere.
 */
#include "pairingd/identity_server.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/list.h"
#include "base/log.h"
#include "crypto/secret.h"
#include "event/loop.h"
#include "event/unixsock.h"

#include "pairingd/signer.h"

#define CONNECTIONS_MAX 16
#define USERS_MAX 16
#define MESSAGES_A_TURN 16

/* The user whose daemon serves logins: it may sign for that alone, and gets no roots. */
#define LOGIN_USER "handfast-auth"

struct allowed {
	uid_t uid;
	bool login;
};

struct identity_server {
	struct identity_server_options o;
	struct allowed allowed[USERS_MAX];
	size_t n_allowed;
	struct unix_server *server;
	struct list conns;
	struct loop_timer *lister;
	char path[108];
	uint64_t signatures;
};

struct conn {
	struct list node;
	struct identity_server *server;
	int fd;
	struct loop_io *io;
	bool login;
};

static void conn_free(struct conn *c)
{
	list_remove(&c->node);
	loop_io_free(c->io);
	close(c->fd);
	unix_server_conn_closed(c->server->server);
	free(c);
}

/* A daemon that does not read is let go; it connects again and is told anew. */
static bool conn_send(struct conn *c, const uint8_t *data, size_t len)
{
	if (unix_send(c->fd, data, len, -1) == 0)
		return true;
	conn_free(c);
	return false;
}

/* ---- requests ---- */

struct answer {
	uint8_t body[IDENTITY_MSG_MAX - 16];
	struct wbuf w;
	enum identity_status status;
	void (*after)(struct identity_server *s, const uint8_t *id);
	uint8_t id[IDENTITY_ID_LEN];
};

static void answer_wipe(struct answer *a)
{
	wipe(a->body, sizeof(a->body));
}

static enum identity_status status_of(int r)
{
	switch (r) {
	case 0:
		return IDENTITY_OK;
	case PEERS_E_NO_SUCH:
		return IDENTITY_NO_SUCH_PEER;
	case PEERS_E_NO_ROOT:
		return IDENTITY_NO_ROOT;
	default:
		return IDENTITY_FAILED;
	}
}

static void do_sign(struct conn *c, struct rbuf *r, struct answer *a)
{
	const char *context = c->login ? "handfast login server" : "handfast tunnel handshake";
	uint8_t sig[SIGN_LEN];
	size_t len;
	const uint8_t *message = rbuf_lv16(r, &len);

	if (!message || !rbuf_done(r) || len > IDENTITY_SIGN_MAX) {
		a->status = IDENTITY_BAD_REQUEST;
		return;
	}
	if (signer_sign(c->server->o.signer, sig, context, message, len) != 0) {
		a->status = IDENTITY_FAILED;
		return;
	}
	c->server->signatures++;
	wbuf_put(&a->w, sig, sizeof(sig));
}

uint64_t identity_server_signatures(const struct identity_server *s)
{
	return s->signatures;
}

static void root_wipe(struct identity_root *root)
{
	identity_root_wipe(root);
}

static enum identity_status fill_root(struct conn *c, const uint8_t *id, const uint8_t *tunnel_id,
				      struct answer *a)
{
	_cleanup_(root_wipe) struct identity_root root = { 0 };
	_cleanup_(secret_freep) struct secret *secret = NULL;
	struct peer peer;
	ssize_t len;
	int r;

	r = peers_get_tunnel(c->server->o.peers, id, tunnel_id, &peer);
	if (!r)
		r = peers_root(c->server->o.peers, id, tunnel_id, &secret);
	if (r)
		return status_of(r);
	memcpy(root.peer_id, peer.id, sizeof(root.peer_id));
	memcpy(root.peer_name, peer.name, sizeof(root.peer_name));
	root.role = peer.role == PAIRING_ALICE ? IDENTITY_ALICE : IDENTITY_BOB;
	root.own_public = c->server->o.signer->public_key;
	root.peer_public = peer.identity.public_key;
	memcpy(root.tunnel_id, peer.tunnel_id, sizeof(root.tunnel_id));
	memcpy(root.root, secret_bytes(secret), sizeof(root.root));
	root.own_port = peer.own_port;
	root.peer_port = peer.identity.port;
	root.n_candidates = peer.identity.n_candidates;
	memcpy(root.candidates, peer.identity.candidates, sizeof(root.candidates));
	len = identity_root_encode(a->body, sizeof(a->body), &root);
	if (len < 0)
		return IDENTITY_FAILED;
	a->w.len = (size_t)len;
	return IDENTITY_OK;
}

static enum identity_status root_stored(struct conn *c, const uint8_t *id, const uint8_t *tunnel_id)
{
	int r = peers_root_moved(c->server->o.peers, id, tunnel_id);
	struct peer peer;

	if (r)
		log_event(LOG_ERR, &MSG_ROOT_NOT_ERASED,
			  LOG_FIELDS({ FIELD_PEER, peers_get_tunnel(c->server->o.peers, id, tunnel_id, &peer) ?
							   NULL :
							   peer.name }),
			  "cannot erase a root that was moved: %s",
			  r > 0 ? peers_outcome_text(r) : strerror(-r));
	return status_of(r);
}

/* The pairing whose tunnel it is becomes active and earlier ones go; an active one needs nothing. */
static enum identity_status peer_seen(struct conn *c, const uint8_t *id, const uint8_t *tunnel_id)
{
	struct peer peer;
	int r;

	r = peers_get_tunnel(c->server->o.peers, id, tunnel_id, &peer);
	if (r || peer.active)
		return status_of(r);
	r = peers_activate(c->server->o.peers, id, tunnel_id);
	if (!r) {
		log_event(LOG_NOTICE, &MSG_PAIRING_CONFIRMED, LOG_FIELDS({ FIELD_PEER, peer.name }),
			  "%s has confirmed the pairing", peer.name);
		identity_server_tell_pairings(c->server);
	}
	return status_of(r);
}

static void do_peer(struct conn *c, uint8_t type, struct rbuf *r, struct answer *a)
{
	const uint8_t *id = rbuf_view(r, IDENTITY_ID_LEN);
	const uint8_t *tunnel_id = rbuf_view(r, IDENTITY_TUNNEL_ID_LEN);

	if (!id || !tunnel_id || !rbuf_done(r))
		a->status = IDENTITY_BAD_REQUEST;
	else if (c->login)
		a->status = IDENTITY_DENIED;
	else if (type == IDENTITY_TAKE_ROOT)
		a->status = fill_root(c, id, tunnel_id, a);
	else if (type == IDENTITY_ROOT_STORED)
		a->status = root_stored(c, id, tunnel_id);
	else
		a->status = peer_seen(c, id, tunnel_id);
}

static void do_whoami(struct conn *c, struct rbuf *r, struct answer *a)
{
	const struct sign_public *own = &c->server->o.signer->public_key;

	if (!rbuf_done(r)) {
		a->status = IDENTITY_BAD_REQUEST;
		return;
	}
	wbuf_put(&a->w, own->b, sizeof(own->b));
	wbuf_lv16(&a->w, c->server->o.name, strlen(c->server->o.name));
}

/* False when the connection is gone. */
static bool on_request(struct conn *c, const uint8_t *data, size_t len)
{
	_cleanup_(answer_wipe) struct answer a = { .status = IDENTITY_OK };
	uint8_t reply[IDENTITY_MSG_MAX], type;
	struct wbuf w;
	struct rbuf r;
	uint32_t id;
	bool sent;

	rbuf_init(&r, data, len);
	type = rbuf_u8(&r);
	id = rbuf_be32(&r);
	if (!rbuf_ok(&r)) {
		conn_free(c);
		return false;
	}
	wbuf_init(&a.w, a.body, sizeof(a.body));
	switch (type) {
	case IDENTITY_SIGN:
		do_sign(c, &r, &a);
		break;
	case IDENTITY_TAKE_ROOT:
	case IDENTITY_ROOT_STORED:
	case IDENTITY_PEER_SEEN:
		do_peer(c, type, &r, &a);
		break;
	case IDENTITY_WHOAMI:
		do_whoami(c, &r, &a);
		break;
	default:
		a.status = IDENTITY_BAD_REQUEST;
	}
	wbuf_init(&w, reply, sizeof(reply));
	wbuf_u8(&w, type | 0x80);
	wbuf_be32(&w, id);
	wbuf_u8(&w, (uint8_t)a.status);
	if (a.status == IDENTITY_OK)
		wbuf_put(&w, a.body, a.w.len);
	sent = conn_send(c, reply, w.len);
	wipe(reply, sizeof(reply));
	return sent;
}

static void on_readable(int fd, unsigned int events, void *arg)
{
	struct conn *c = arg;
	uint8_t buf[IDENTITY_MSG_MAX];

	(void)events;
	for (int i = 0; i < MESSAGES_A_TURN; i++) {
		ssize_t len = unix_recv(fd, buf, sizeof(buf), NULL);

		if (len == -EAGAIN)
			return;
		if (len <= 0) {
			conn_free(c);
			return;
		}
		if (!on_request(c, buf, (size_t)len))
			return;
	}
}

/* ---- events ---- */

static bool conn_tell(struct conn *c, uint8_t type, const uint8_t *id, const uint8_t *tunnel_id,
		      const char *name)
{
	uint8_t buf[64 + IDENTITY_NAME_MAX];
	struct wbuf w;

	wbuf_init(&w, buf, sizeof(buf));
	wbuf_u8(&w, type);
	wbuf_be32(&w, 0);
	wbuf_put(&w, id, IDENTITY_ID_LEN);
	if (tunnel_id)
		wbuf_put(&w, tunnel_id, IDENTITY_TUNNEL_ID_LEN);
	if (name)
		wbuf_lv16(&w, name, strlen(name));
	return conn_send(c, buf, w.len);
}

static void tell_all(struct identity_server *s, uint8_t type, const uint8_t *id,
		     const uint8_t *tunnel_id, const char *name)
{
	list_for_each(i, &s->conns) {
		struct conn *c = container_of(i, struct conn, node);

		if (!c->login)
			conn_tell(c, type, id, tunnel_id, name);
	}
}

void identity_server_tell_root(struct identity_server *s, const uint8_t id[static IDENTITY_ID_LEN],
			       const uint8_t tunnel_id[static IDENTITY_TUNNEL_ID_LEN])
{
	tell_all(s, IDENTITY_EVENT_ROOT, id, tunnel_id, NULL);
}

void identity_server_tell_forgotten(struct identity_server *s, const uint8_t id[static IDENTITY_ID_LEN],
				    const uint8_t *tunnel_id)
{
	static const uint8_t all[IDENTITY_TUNNEL_ID_LEN];

	tell_all(s, IDENTITY_EVENT_FORGOTTEN, id, tunnel_id ? tunnel_id : all, NULL);
}

void identity_server_tell_renamed(struct identity_server *s, const uint8_t id[static IDENTITY_ID_LEN],
				  const char *name)
{
	tell_all(s, IDENTITY_EVENT_RENAMED, id, NULL, name);
}

/* ---- connections ---- */

struct telling {
	struct conn *c;
	bool gone;
	struct wbuf list; /* EVENT_PAIRINGS that is being filled */
	uint8_t buf[IDENTITY_MSG_MAX];
};

static void begin_list(struct telling *t)
{
	wbuf_init(&t->list, t->buf, sizeof(t->buf));
	wbuf_u8(&t->list, IDENTITY_EVENT_PAIRINGS);
	wbuf_be32(&t->list, 0);
	wbuf_u8(&t->list, 1);
}

static void list_pairing(const struct peer *peer, void *arg)
{
	struct telling *t = arg;

	if (t->gone)
		return;
	if (t->list.len + IDENTITY_ID_LEN + IDENTITY_TUNNEL_ID_LEN + 2 + IDENTITY_NAME_MAX > sizeof(t->buf)) {
		t->gone = !conn_send(t->c, t->buf, t->list.len);
		begin_list(t);
	}
	wbuf_put(&t->list, peer->id, sizeof(peer->id));
	wbuf_put(&t->list, peer->tunnel_id, sizeof(peer->tunnel_id));
	wbuf_lv16(&t->list, peer->name, strlen(peer->name));
}

static void tell_waiting(const struct peer *peer, void *arg)
{
	struct telling *t = arg;

	if (!t->gone)
		t->gone = !conn_tell(t->c, IDENTITY_EVENT_ROOT, peer->id, peer->tunnel_id, NULL);
}

/* All pairings. False when the connection is gone, or there is no list. */
static bool tell_list(struct identity_server *s, struct conn *c)
{
	struct telling t = { .c = c };

	begin_list(&t);
	if (peers_each_pairing(s->o.peers, list_pairing, &t)) {
		/* A list that is not whole would forget peers: without its end it counts for nothing. */
		log_debug("cannot list the pairings");
		return false;
	}
	if (t.gone)
		return false;
	/* The byte after type and id: no more follow. */
	t.buf[5] = 0;
	return conn_send(c, t.buf, t.list.len);
}

/*
 * All pairings, so that what was forgotten or renamed while nobody listened is known; then the roots that
 * wait, the earliest first: it is the peer's tunnel, and the others are its successors.
 */
static void tell_state(struct identity_server *s, struct conn *c)
{
	struct telling t = { .c = c };

	if (tell_list(s, c) && peers_each_root(s->o.peers, tell_waiting, &t))
		log_debug("cannot list the roots that wait");
}

static void on_lister(void *arg)
{
	struct identity_server *s = arg;

	list_for_each(i, &s->conns) {
		struct conn *c = container_of(i, struct conn, node);

		if (!c->login)
			(void)tell_list(s, c);
	}
}

void identity_server_tell_pairings(struct identity_server *s)
{
	/* From the loop: a connection that asked for what changed them must not end under its own request. */
	if (loop_timer_start(s->lister, 0))
		log_debug("cannot list the pairings");
}

static const struct allowed *find_allowed(const struct identity_server *s, uid_t uid)
{
	for (size_t i = 0; i < s->n_allowed; i++)
		if (s->allowed[i].uid == uid)
			return &s->allowed[i];
	return NULL;
}

static void on_accept(int fd, const struct unix_caller *caller, void *arg)
{
	struct identity_server *s = arg;
	const struct allowed *allowed = find_allowed(s, caller->uid);
	struct conn *c = allowed ? calloc(1, sizeof(*c)) : NULL;
	char who[32];

	if (!allowed) {
		snprintf(who, sizeof(who), "uid %u", (unsigned int)caller->uid);
		log_event(LOG_WARNING, &MSG_IDENTITY_DENIED, LOG_FIELDS({ FIELD_CALLER, who }),
			  "%s may not use the device identity", who);
	}
	if (!c) {
		close(fd);
		unix_server_conn_closed(s->server);
		return;
	}
	c->server = s;
	c->fd = fd;
	c->login = allowed->login;
	list_append(&s->conns, &c->node);
	if (loop_io_new(&c->io, s->o.loop, fd, LOOP_READ, on_readable, c)) {
		conn_free(c);
		return;
	}
	if (!c->login)
		tell_state(s, c);
}

static void allow(struct identity_server *s, uid_t uid, bool login)
{
	if (s->n_allowed < USERS_MAX && !find_allowed(s, uid))
		s->allowed[s->n_allowed++] = (struct allowed){ uid, login };
}

void identity_server_set_users(struct identity_server *s, const struct config_list *users)
{
	s->n_allowed = 0;
	allow(s, 0, false);
	allow(s, getuid(), false);
	for (size_t i = 0; i < users->n; i++) {
		const struct passwd *pw = getpwnam(users->v[i]);

		if (pw)
			allow(s, pw->pw_uid, strcmp(users->v[i], LOGIN_USER) == 0);
		else
			log_debug("identity_users: there is no user %s", users->v[i]);
	}
}

int identity_server_new(struct identity_server **out, const struct identity_server_options *o)
{
	_cleanup_(identity_server_freep) struct identity_server *s = calloc(1, sizeof(*s));
	int fd, r;

	if (!s)
		return -ENOMEM;
	s->o = *o;
	list_init(&s->conns);
	identity_server_set_users(s, o->users);
	r = loop_timer_new(&s->lister, o->loop, on_lister, s);
	if (r)
		return r;
	if (strlen(o->path) >= sizeof(s->path))
		return -ENAMETOOLONG;
	/* Callers are checked by uid, so anybody may try. */
	fd = unix_listen(o->path, SOCK_SEQPACKET, 0666, NULL, false);
	if (fd < 0)
		return fd;
	memcpy(s->path, o->path, strlen(o->path) + 1);
	r = unix_server_new(&s->server, o->loop, fd, CONNECTIONS_MAX, on_accept, s);
	if (r)
		return r;
	*out = steal(&s);
	return 0;
}

struct identity_server *identity_server_free(struct identity_server *s)
{
	if (!s)
		return NULL;
	list_for_each(i, &s->conns)
		conn_free(container_of(i, struct conn, node));
	if (*s->path)
		unlink(s->path);
	unix_server_free(s->server);
	loop_timer_free(s->lister);
	free(s);
	return NULL;
}

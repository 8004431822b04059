/* The secret socket: one datagram in, one byte back, and the connection is over. */
#include "pairingd/secret_server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/list.h"
#include "crypto/secret.h"
#include "event/loop.h"
#include "event/unixsock.h"
#include "pairingd/session.h"

#define CONNECTIONS_MAX 16
#define KEPT_FOR_ROOT 4
#define CONNECTIONS_PER_UID 4
#define HAND_OVER_MS 10000

struct secret_server {
	struct loop *loop;
	struct sessions *sessions;
	const char *admin_group;
	struct unix_group admins;
	struct unix_server *server;
	struct list conns;
	size_t n_conns;
	char path[108];
};

struct conn {
	struct list node;
	struct secret_server *server;
	int fd;
	uid_t uid;
	struct loop_io *io;
	struct loop_timer *timer;
};

static void conn_free(struct conn *c)
{
	list_remove(&c->node);
	c->server->n_conns--;
	loop_io_free(c->io);
	loop_timer_free(c->timer);
	close(c->fd);
	unix_server_conn_closed(c->server->server);
	free(c);
}

static void on_late(void *arg)
{
	conn_free(arg);
}

static uint8_t take(struct conn *c, const uint8_t *data, size_t len)
{
	struct secret_msg m;

	switch (secret_msg_decode(&m, data, len)) {
	case 0:
		return (uint8_t)sessions_take_secret(c->server->sessions, &m);
	case SECRET_MSG_E_BAD_VALUE:
		return SECRET_BAD_VALUE;
	default:
		return SECRET_NO_TICKET;
	}
}

static void on_readable(int fd, unsigned int events, void *arg)
{
	struct conn *c = arg;
	uint8_t buf[SECRET_MSG_MAX], status;
	ssize_t len;

	(void)events;
	len = unix_recv(fd, buf, sizeof(buf), NULL);
	if (len == -EAGAIN)
		return;
	if (len > 0) {
		status = take(c, buf, (size_t)len);
		(void)unix_send(fd, &status, 1, -1);
	}
	wipe(buf, sizeof(buf));
	conn_free(c);
}

static bool is_allowed(const struct secret_server *s, const struct unix_caller *caller)
{
	return caller->uid == 0 || caller->uid == getuid() ||
	       unix_caller_has_group(caller, &s->admins);
}

static bool has_room(const struct secret_server *s, const struct unix_caller *caller)
{
	size_t own = 0;

	if (caller->uid == 0)
		return true;
	list_for_each(i, &s->conns)
		own += container_of(i, struct conn, node)->uid == caller->uid;
	return own < CONNECTIONS_PER_UID && s->n_conns < CONNECTIONS_MAX - KEPT_FOR_ROOT;
}

static void on_accept(int fd, const struct unix_caller *caller, void *arg)
{
	static const uint8_t denied = SECRET_DENIED;
	struct secret_server *s = arg;
	struct conn *c = NULL;

	/* Anyone may connect; who may not pair has his answer at once and takes no place. */
	if (!is_allowed(s, caller))
		(void)unix_send(fd, &denied, 1, -1);
	else if (has_room(s, caller))
		c = calloc(1, sizeof(*c));
	if (!c) {
		close(fd);
		unix_server_conn_closed(s->server);
		return;
	}
	c->server = s;
	c->fd = fd;
	c->uid = caller->uid;
	list_append(&s->conns, &c->node);
	s->n_conns++;
	if (loop_timer_new(&c->timer, s->loop, on_late, c) ||
	    loop_timer_start(c->timer, HAND_OVER_MS) ||
	    loop_io_new(&c->io, s->loop, fd, LOOP_READ, on_readable, c))
		conn_free(c);
}

void secret_server_find_group(struct secret_server *s)
{
	s->admins = unix_group_find(s->admin_group);
}

int secret_server_new(struct secret_server **out, struct loop *l, const char *path,
		      const char *admin_group, struct sessions *sessions)
{
	_cleanup_(secret_server_freep) struct secret_server *s = calloc(1, sizeof(*s));
	int fd, r;

	if (!s)
		return -ENOMEM;
	s->loop = l;
	s->sessions = sessions;
	s->admin_group = admin_group;
	secret_server_find_group(s);
	list_init(&s->conns);
	if (strlen(path) >= sizeof(s->path))
		return -ENAMETOOLONG;
	fd = unix_listen(path, SOCK_SEQPACKET, 0666, NULL, false);
	if (fd < 0)
		return fd;
	memcpy(s->path, path, strlen(path) + 1);
	r = unix_server_new(&s->server, l, fd, CONNECTIONS_MAX, on_accept, s);
	if (r)
		return r;
	*out = steal(&s);
	return 0;
}

struct secret_server *secret_server_free(struct secret_server *s)
{
	if (!s)
		return NULL;
	list_for_each(i, &s->conns)
		conn_free(container_of(i, struct conn, node));
	if (*s->path)
		unlink(s->path);
	unix_server_free(s->server);
	free(s);
	return NULL;
}

/*
 * Unix sockets. A listening socket appears under its name only when it is
 * complete: bound under a temporary name with mode 0 (fchmod() on the socket
 * before bind() gives the inode that mode, whatever the umask), then listening,
 * given its group and mode, and renamed. There is no moment at which a
 * stranger can connect, and none at which a client finds the name gone.
 */
#include "event/unixsock.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

#include "event/loop.h"

enum {
	BACKLOG = 128,
	TEMPORARY_TRIES = 100,
	FDS_MAX = 16,	    /* received with one datagram; all but the first are closed */
	ACCEPTS_A_TURN = 16,
	RETRY_MS = 1000,    /* after running out of descriptors */
};

/* ---- connect and listen -------------------------------------------------------------------- */

static int address_fill(struct sockaddr_un *sa, const char *path)
{
	size_t len = strlen(path);

	memset(sa, 0, sizeof(*sa));
	sa->sun_family = AF_UNIX;
	if (len == 0)
		return -EINVAL;
	if (len >= sizeof(sa->sun_path))
		return -ENAMETOOLONG;
	memcpy(sa->sun_path, path, len + 1);
	return 0;
}

/* The kernel's limit for a blocking connect(), which waits for room in the backlog; 0: none. */
static int set_send_timeout(int fd, unsigned int ms)
{
	const struct timeval limit = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0 ? -errno : 0;
}

/* within_ms 0: non-blocking. */
static int connect_to(const char *path, int type, unsigned int within_ms)
{
	_cleanup_close_ int fd = -1;
	struct sockaddr_un sa;
	int r;

	r = address_fill(&sa, path);
	if (r)
		return r;
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC | (within_ms ? 0 : SOCK_NONBLOCK), 0);
	if (fd < 0)
		return -errno;
	r = within_ms ? set_send_timeout(fd, within_ms) : 0;
	while (!r && connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		if (errno != EINTR)
			r = within_ms && errno == EAGAIN ? -ETIMEDOUT : -errno;
	if (!r && within_ms)
		r = set_send_timeout(fd, 0);
	return r ? r : steal_fd(&fd);
}

int unix_connect(const char *path, int type, bool nonblocking)
{
	return connect_to(path, type, nonblocking ? 0 : UNIX_CONNECT_MS);
}

int unix_connect_within(const char *path, int type, unsigned int ms)
{
	return connect_to(path, type, ms ? ms : UNIX_CONNECT_MS);
}

/* 0 when nobody serves path, whatever lies there; -EADDRINUSE when somebody does. */
static int check_not_live(const char *path, int type)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	/* Only a socket is ours to replace. */
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = unix_connect(path, type, true);
	if (fd >= 0 || fd == -EAGAIN || fd == -EPROTOTYPE)
		return -EADDRINUSE;
	if (fd == -ECONNREFUSED || fd == -ENOENT)
		return 0;
	return fd;
}

/* Bind beside path under a name of its own, with mode 0. */
static int bind_temporary(int fd, const char *path, char temporary[static 108])
{
	const char *slash = strrchr(path, '/');
	int dir_len = slash ? (int)(slash - path) + 1 : 0;
	struct sockaddr_un sa;
	int r;

	if (fchmod(fd, 0) < 0)
		return -errno;
	for (int i = 0; i < TEMPORARY_TRIES; i++) {
		if (snprintf(temporary, 108, "%.*s.hf-%d-%d", dir_len, path, (int)getpid(), i) >= 108)
			return -ENAMETOOLONG;
		r = address_fill(&sa, temporary);
		if (r)
			return r;
		if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
			return 0;
		if (errno != EADDRINUSE)
			return -errno;
		/* Left behind by a dead process that had our number. */
	}
	return -EADDRINUSE;
}

static int group_find(gid_t *out, const char *name)
{
	_cleanup_free_ char *buf = NULL;
	struct group g, *found = NULL;
	size_t cap = 1024;
	int r;

	do {
		char *more = realloc(buf, cap);

		if (!more)
			return -ENOMEM;
		buf = more;
		r = getgrnam_r(name, &g, buf, cap, &found);
		cap *= 2;
	} while (r == ERANGE && cap <= 1 << 24);
	if (!found)
		return -ENOENT;
	*out = g.gr_gid;
	return 0;
}

static int set_owner_and_mode(const char *path, mode_t mode, const char *group, bool group_optional)
{
	gid_t gid;
	int r;

	if (group) {
		r = group_find(&gid, group);
		if (r && !(r == -ENOENT && group_optional))
			return r;
		if (!r && lchown(path, (uid_t)-1, gid) < 0)
			return -errno;
	}
	return chmod(path, mode) < 0 ? -errno : 0;
}

int unix_listen(const char *path, int type, mode_t mode, const char *group, bool group_optional)
{
	_cleanup_close_ int fd = -1;
	char temporary[108];
	struct sockaddr_un sa;
	int r;

	r = address_fill(&sa, path);
	if (r)
		return r;
	r = check_not_live(path, type);
	if (r)
		return r;
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	r = bind_temporary(fd, path, temporary);
	if (r)
		return r;
	/* Listening before it is seen: a client that finds the name is never refused. */
	r = listen(fd, BACKLOG) < 0 ? -errno : 0;
	if (!r)
		r = set_owner_and_mode(temporary, mode, group, group_optional);
	if (!r && rename(temporary, path) < 0)
		r = -errno;
	if (r) {
		unlink(temporary);
		return r;
	}
	return steal_fd(&fd);
}

static int make_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	return 0;
}

/* ---- callers ------------------------------------------------------------------------------- */

static int groups_load(struct unix_caller *c, int fd)
{
	_cleanup_free_ gid_t *groups = NULL;
	socklen_t len = 64 * sizeof(gid_t);

	for (;;) {
		gid_t *more = realloc(groups, len ? len : 1);

		if (!more)
			return -ENOMEM;
		groups = more;
		if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) == 0)
			break;
		if (errno != ERANGE)
			return -errno;
	}
	c->n_groups = len / sizeof(gid_t);
	c->groups = steal(&groups);
	return 0;
}

int unix_caller_init(struct unix_caller *c, int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);
	int r;

	memset(c, 0, sizeof(*c));
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return -errno;
	c->pid = cred.pid;
	c->uid = cred.uid;
	c->gid = cred.gid;
	r = groups_load(c, fd);
	/* A socketpair of before credentials were kept has none: the primary group counts. */
	return r == -ENODATA ? 0 : r;
}

void unix_caller_done(struct unix_caller *c)
{
	free(c->groups);
	c->groups = NULL;
	c->n_groups = 0;
}

struct unix_group unix_group_find(const char *name)
{
	struct unix_group g = { 0 };

	g.exists = name && group_find(&g.gid, name) == 0;
	return g;
}

bool unix_caller_has_group(const struct unix_caller *c, const struct unix_group *g)
{
	if (!g->exists)
		return false;
	if (c->gid == g->gid)
		return true;
	for (size_t i = 0; i < c->n_groups; i++)
		if (c->groups[i] == g->gid)
			return true;
	return false;
}

bool unix_caller_in_group(const struct unix_caller *c, const char *group)
{
	struct unix_group g = unix_group_find(group);

	return unix_caller_has_group(c, &g);
}

/* ---- datagrams with descriptors ------------------------------------------------------------ */

int unix_send(int fd, const void *data, size_t len, int pass_fd)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)data, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (pass_fd >= 0) {
		struct cmsghdr *c;

		msg.msg_control = control.space;
		msg.msg_controllen = sizeof(control.space);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &pass_fd, sizeof(int));
	}
	do {
		n = sendmsg(fd, &msg, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EIO;
}

/* The first descriptor in the message, or -1; the others are closed. */
static int fds_take_first(struct msghdr *msg)
{
	int first = -1;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int got;

			memcpy(&got, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (first < 0)
				first = got;
			else
				close(got);
		}
	}
	return first;
}

ssize_t unix_recv(int fd, void *buf, size_t cap, int *got_fd)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = buf, .iov_len = cap };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.space,
			      .msg_controllen = sizeof(control.space) };
	_cleanup_close_ int passed = -1;
	ssize_t n;

	if (got_fd)
		*got_fd = -1;
	do {
		n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	passed = fds_take_first(&msg);
	if (msg.msg_flags & MSG_TRUNC)
		return -EMSGSIZE;
	if (got_fd)
		*got_fd = steal_fd(&passed);
	return n;
}

/* ---- a listener in the loop ---------------------------------------------------------------- */

struct unix_server {
	int fd;
	struct loop_io *io;
	struct loop_timer *retry;
	size_t n_conns, max_conns;
	unix_accept_fn fn;
	void *arg;
};

static void accept_one(struct unix_server *s, int fd_)
{
	_cleanup_close_ int fd = fd_;
	_cleanup_(unix_caller_done) struct unix_caller caller = { 0 };

	if (s->n_conns >= s->max_conns)
		return;
	if (unix_caller_init(&caller, fd))
		return;
	s->n_conns++;
	s->fn(steal_fd(&fd), &caller, s->arg);
}

static void on_acceptable(int listen_fd, unsigned int events, void *arg)
{
	struct unix_server *s = arg;

	(void)events;
	for (int i = 0; i < ACCEPTS_A_TURN; i++) {
		int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			accept_one(s, fd);
			continue;
		}
		if (errno == EINTR || errno == ECONNABORTED)
			continue;
		/* Out of descriptors or memory: the socket stays readable, so look away for a while. */
		if (errno != EAGAIN && !loop_io_set(s->io, 0))
			loop_timer_start(s->retry, RETRY_MS);
		return;
	}
}

static void on_retry(void *arg)
{
	struct unix_server *s = arg;

	if (loop_io_set(s->io, LOOP_READ))
		loop_timer_start(s->retry, RETRY_MS);
}

int unix_server_new(struct unix_server **out, struct loop *l, int listen_fd, size_t max_conns,
		    unix_accept_fn fn, void *arg)
{
	_cleanup_(unix_server_freep) struct unix_server *s = calloc(1, sizeof(*s));
	int r;

	if (!s) {
		close(listen_fd);
		return -ENOMEM;
	}
	s->fd = listen_fd;
	s->max_conns = max_conns;
	s->fn = fn;
	s->arg = arg;
	r = make_nonblocking(listen_fd);
	if (!r)
		r = loop_timer_new(&s->retry, l, on_retry, s);
	if (!r)
		r = loop_io_new(&s->io, l, listen_fd, LOOP_READ, on_acceptable, s);
	if (r)
		return r;
	*out = steal(&s);
	return 0;
}

void unix_server_conn_closed(struct unix_server *s)
{
	if (s->n_conns)
		s->n_conns--;
}

struct unix_server *unix_server_free(struct unix_server *s)
{
	if (!s)
		return NULL;
	loop_io_free(s->io);
	loop_timer_free(s->retry);
	close(s->fd);
	free(s);
	return NULL;
}

/* Unix sockets: made with their final mode, callers known by the kernel, descriptors passed. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"

struct loop;

/*
 * A listening socket (SOCK_STREAM or SOCK_SEQPACKET, non-blocking, cloexec) at
 * path: bound under a temporary name inside the folder with its final owner
 * group and mode, then renamed over path (no bind-then-chmod; a stale socket is
 * replaced; a live one gives -EADDRINUSE). group NULL leaves the group alone;
 * an unknown group is -ENOENT unless group_optional. Returns the fd or a
 * negative errno.
 */
int unix_listen(const char *path, int type, mode_t mode, const char *group, bool group_optional);

/*
 * Connect; non-blocking when asked. The fd or a negative errno: -EAGAIN from a
 * non-blocking one, and -ETIMEDOUT after UNIX_CONNECT_MS from another, when the
 * backlog is full, as it is where a daemon hangs.
 */
int unix_connect(const char *path, int type, bool nonblocking);

/* A blocking one that waits ms at most; 0 is UNIX_CONNECT_MS. */
enum { UNIX_CONNECT_MS = 15000 };
int unix_connect_within(const char *path, int type, unsigned int ms);

struct unix_caller {
	pid_t pid;
	uid_t uid;
	gid_t gid;
	gid_t *groups; /* SO_PEERGROUPS */
	size_t n_groups;
};
/* Who is at the other end. 0 or a negative errno; done frees groups. */
int unix_caller_init(struct unix_caller *c, int fd);
void unix_caller_done(struct unix_caller *c);
bool unix_caller_in_group(const struct unix_caller *c, const char *group);

/* A group looked up once, for loops that cannot wait for a name service; one that does not exist has no members. */
struct unix_group {
	bool exists;
	gid_t gid;
};
struct unix_group unix_group_find(const char *name); /* NULL: none */
bool unix_caller_has_group(const struct unix_caller *c, const struct unix_group *g);

/* One datagram with up to one descriptor (pass_fd -1: none). 0 or a negative errno. */
int unix_send(int fd, const void *data, size_t len, int pass_fd);
/*
 * One datagram; returns its length (0 at end), -EMSGSIZE when it was cut, or a
 * negative errno. *got_fd (may be NULL) is a received descriptor or -1; more
 * than one are closed.
 */
ssize_t unix_recv(int fd, void *buf, size_t cap, int *got_fd);

/*
 * A listener in the loop: accepts (bounded by max_conns at once; beyond it
 * connections are closed at once), checks the caller, calls on_accept with a
 * non-blocking fd that the callee then owns and must announce closed with
 * unix_server_conn_closed().
 */
struct unix_server;
typedef void (*unix_accept_fn)(int fd, const struct unix_caller *caller, void *arg);
int unix_server_new(struct unix_server **out, struct loop *l, int listen_fd, size_t max_conns,
		    unix_accept_fn fn, void *arg); /* takes listen_fd */
void unix_server_conn_closed(struct unix_server *s);
struct unix_server *unix_server_free(struct unix_server *s);
DEFINE_CLEANUP(struct unix_server *, unix_server_free);

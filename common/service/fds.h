/*
 * Descriptors that the manager holds for a daemon: listening sockets of its
 * socket units, and what the daemon itself gave into the descriptor store (see
 * "FileDescriptorStoreMax=" in systemd.service(5)), to have it back after a
 * restart, a crash or an upgrade. Without a manager there are none, and
 * storing is done with nothing.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"

struct service_fds;

/* As in systemd: longer names, and those with a colon or a control character, are refused. */
#define SERVICE_FD_NAME_MAX 255

/*
 * Take what was passed to this process ($LISTEN_FDS, $LISTEN_FDNAMES): all
 * descriptors, now non-blocking and close-on-exec. The variables are removed,
 * so that this works once. 0 or a negative errno; *out then is NULL.
 */
int service_fds_new(struct service_fds **out);
/* Closes what was not taken; the manager's own copies stay with it. */
struct service_fds *service_fds_free(struct service_fds *f);
DEFINE_CLEANUP(struct service_fds *, service_fds_free);

/* The first descriptor of this name, which is the caller's then, or -ENOENT. Several of one name: ask again. */
int service_fds_take(struct service_fds *f, const char *name);
/* The name of the at-th that was not taken yet, or NULL; good until the next take. */
const char *service_fds_name(const struct service_fds *f, size_t at);

/* Whether fd is a socket of this family and type (SOCK_STREAM, …) that listens; AF_UNSPEC: of any. */
bool service_fd_is_listening(int fd, int family, int type);

/*
 * Have the manager keep a copy of fd under name, until service_fd_unstore() or
 * the unit's stop. watch: the manager may let go of it when it fails or is hung
 * up. 0, also without a manager; or a negative errno.
 */
int service_fd_store(const char *name, int fd, bool watch);
/* Have the manager close all that it keeps under name. 0 or a negative errno. */
int service_fd_unstore(const char *name);
/*
 * Ask the manager to hang up when it has done all that it was told before. 0 and in *fd, which is the caller's, what
 * then has POLLHUP; *fd is -1 without a manager. Or a negative errno.
 */
int service_fd_barrier(int *fd);

/*
 * What outlives this process: the device and the socket of each tunnel, kept by
 * the manager as "tun.NAME" and "udp.NAME" (service/fds.h) while pskd is started
 * again, so that the device stays with its addresses and routes, and packets
 * wait in the kernel. Without a manager nothing is kept, and nothing fails.
 */
#pragma once

#include <stdbool.h>

#include "base/cleanup.h"

struct kept;
struct service_fds;

/* Takes what an earlier life left out of fds. 0 or -ENOMEM. */
int kept_new(struct kept **out, struct service_fds *fds);
struct kept *kept_free(struct kept *k);
DEFINE_CLEANUP(struct kept *, kept_free);

/* What the earlier life left for the tunnel: the caller's then; -1: nothing (any more). */
int kept_take_tun(struct kept *k, const char *tunnel);
int kept_take_udp(struct kept *k, const char *tunnel);

/* Have it kept from now on; the descriptor stays the caller's. Not for what was taken and is kept already. */
void kept_store_tun(struct kept *k, const char *tunnel, int fd);
void kept_store_udp(struct kept *k, const char *tunnel, int fd);
/* The tunnel is down, or its device is not the right one: whatever is kept for it goes. */
void kept_drop(struct kept *k, const char *tunnel);
void kept_drop_tun(struct kept *k, const char *tunnel);
void kept_drop_udp(struct kept *k, const char *tunnel);
/* The tunnel goes, and another of its name is to take these, of which it gets copies. */
void kept_hand_over(struct kept *k, const char *tunnel, int tun_fd, int udp_fd);
/* What is kept for the tunnel is kept under its new name. */
void kept_rename(struct kept *k, const char *from, const char *to, int tun_fd, int udp_fd);
/* What was left for tunnels that nobody wants goes. */
void kept_prune(struct kept *k, bool (*is_wanted)(const char *tunnel, void *arg), void *arg);
/*
 * Whether the manager has let go of all that was dropped: until then a port is taken and a device is there. True at
 * once without a manager, and after 5 s with one that does not answer.
 */
bool kept_is_settled(struct kept *k);
/* This process ends: from now on nothing is dropped. */
void kept_leave(struct kept *k);

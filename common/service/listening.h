/* Where HTTP is served: sockets that the manager passed, and what the configuration names beside them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "config/config.h"

struct http_server;
struct listening;
struct service_fds;

/* Whether a socket that listens as fd takes what comes to address ("127.0.0.1:7117", "*:7117", "/run/x.sock"), too. */
bool listening_covers(int fd, const char *address);

/*
 * Serve the passed sockets of this name ("relayd.listen"), and those of addresses that
 * none of them covers; one that begins with / is a Unix socket, which everybody may
 * connect to who may enter its folder. 0, or a negative errno with *failed (borrowed from
 * addresses, or a constant) saying of what.
 */
int listening_new(struct listening **out, struct http_server *http, struct service_fds *fds, const char *passed_name,
		  const struct config_list *addresses, const char **failed);
struct listening *listening_free(struct listening *l); /* the sockets are the server's */
DEFINE_CLEANUP(struct listening *, listening_free);

/* The at-th address served, or NULL. */
const char *listening_address(const struct listening *l, size_t at);
size_t listening_count(const struct listening *l);

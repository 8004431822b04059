/* pairing-secret.sock: how a PIN or secret comes to its pairing (proto/secret_msg.h). */
#pragma once

#include "base/cleanup.h"

struct loop;
struct secret_server;
struct sessions;

/* admin_group's members, root and our own uid may hand secrets over. 0 or a negative errno. */
int secret_server_new(struct secret_server **out, struct loop *l, const char *path,
		      const char *admin_group, struct sessions *sessions);
/* Look the group up again, after a reload. */
void secret_server_find_group(struct secret_server *s);
struct secret_server *secret_server_free(struct secret_server *s);
DEFINE_CLEANUP(struct secret_server *, secret_server_free);

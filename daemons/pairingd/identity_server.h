/*
 * identity.sock: what the other daemons get from pairingd (proto/identity_msg.h):
 * signatures in a context that is theirs, roots, and word of changes.
 */
#pragma once

#include "base/cleanup.h"
#include "config/config.h"
#include "pairingd/peers.h"

struct identity_server;
struct loop;

struct identity_server_options {
	struct loop *loop;
	const char *path;
	struct peers *peers;
	const struct signer *signer; /* outlives */
	const char *name; /* this device's */
	const struct config_list *users;
};

/* 0 or a negative errno of making the socket. */
int identity_server_new(struct identity_server **out, const struct identity_server_options *o);
/* Another list of users, for connections to come. */
void identity_server_set_users(struct identity_server *s, const struct config_list *users);
struct identity_server *identity_server_free(struct identity_server *s);
DEFINE_CLEANUP(struct identity_server *, identity_server_free);

/* Signatures made since the start. */
uint64_t identity_server_signatures(const struct identity_server *s);

void identity_server_tell_root(struct identity_server *s, const uint8_t id[static IDENTITY_ID_LEN],
			       const uint8_t tunnel_id[static IDENTITY_TUNNEL_ID_LEN]);
/* tunnel_id NULL: all pairings with this peer. */
void identity_server_tell_forgotten(struct identity_server *s, const uint8_t id[static IDENTITY_ID_LEN],
				    const uint8_t *tunnel_id);
/* All pairings once more, soon: one became active, and earlier ones may be gone. */
void identity_server_tell_pairings(struct identity_server *s);
void identity_server_tell_renamed(struct identity_server *s, const uint8_t id[static IDENTITY_ID_LEN],
				  const char *name);

/*
 * pskd's end of pairingd's identity socket (proto/identity_msg.h): signatures,
 * roots, and what becomes of pairings. Connects when it can and again when it
 * was lost, with a back-off; without pairingd only pinned tunnels wait.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "proto/identity_msg.h"

struct loop;
struct identity_client;

struct identity_ops {
	/* A root was given; the callee makes it durable and then calls identity_root_stored(). It is wiped afterwards. */
	void (*on_root)(struct identity_root *root, void *arg);
	/* tunnel_id NULL: every pairing with the peer. */
	void (*on_forgotten)(const uint8_t id[static IDENTITY_ID_LEN], const uint8_t *tunnel_id, void *arg);
	void (*on_renamed)(const uint8_t id[static IDENTITY_ID_LEN], const char *name, void *arg);
	/* A new connection: a list of all pairings begins. Each is told, then that the list is whole. */
	void (*on_list)(void *arg);
	void (*on_pairing)(const uint8_t id[static IDENTITY_ID_LEN],
			   const uint8_t tunnel_id[static IDENTITY_TUNNEL_ID_LEN], const char *name, void *arg);
	void (*on_listed)(void *arg);
	/* pairingd has it durably that the peer was seen in this tunnel. */
	void (*on_seen)(const uint8_t tunnel_id[static IDENTITY_TUNNEL_ID_LEN], void *arg);
	/* Connected, and our own public key is known. */
	void (*on_connected)(void *arg);
};

int identity_client_new(struct identity_client **out, struct loop *l, const char *path,
			const struct identity_ops *ops, void *arg);
struct identity_client *identity_client_free(struct identity_client *c);
DEFINE_CLEANUP(struct identity_client *, identity_client_free);

/* True once all pairings were told of: which ones hold is known. */
bool identity_is_listed(const struct identity_client *c);
/* Our device's key, or NULL while pairingd was never reached. */
const struct sign_public *identity_own(const struct identity_client *c);
/*
 * Sign for the context PSKH_SIGN_CONTEXT. done comes exactly once, later
 * (sig NULL: failed). -EAGAIN: eight are in flight; -ENOTCONN.
 */
int identity_sign(struct identity_client *c, const uint8_t *message, size_t len,
		  void (*done)(const uint8_t *sig, size_t len, void *token), void *token);
void identity_root_stored(struct identity_client *c, const uint8_t id[static IDENTITY_ID_LEN],
			  const uint8_t tunnel_id[static IDENTITY_TUNNEL_ID_LEN]);
/* on_seen follows, unless the connection is lost. */
void identity_peer_seen(struct identity_client *c, const uint8_t id[static IDENTITY_ID_LEN],
			const uint8_t tunnel_id[static IDENTITY_TUNNEL_ID_LEN]);

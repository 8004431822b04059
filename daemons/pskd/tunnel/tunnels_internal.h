/* What tunnels.c (the set), tunnels_paired.c, tunnels_declared.c and tunnels_command.c share. */
#pragma once

#include "base/list.h"
#include "pskd/handshake/identity_client.h"
#include "pskd/handshake/label.h"
#include "pskd/tunnel/store.h"
#include "pskd/tunnel/tunnels.h"

#define E(name) "io.handfast.Tunnel." #name

struct tunnels {
	struct loop *loop;
	uint64_t max_tunnels;
	bool start_paired;
	struct tunnel_store store;
	char *tund_socket, *runtime_dir;
	struct packets *packets;
	struct tunnel_context ctx;
	struct tunnel_policy policy;
	struct identity_client *identity;
	struct kept *kept;
	struct loop_timer *starter;
	struct netwatch *netwatch; /* NULL: none; then timers alone find a new network */
	struct drop_log *drop_log;
	struct wake *wake;
	struct list list;
	size_t n;
	bool bad_state; /* a tunnel's state could not be read */
	void (*on_event)(struct tunnel *t, const char *event, const struct tunnel_error *e, void *arg);
	void (*on_succeeded)(struct tunnel *earlier, struct tunnel *t, void *arg);
	void *arg;
};

/* tunnels.c */
/* *spec is taken; out may be NULL. 0 or -ENOMEM. */
int tunnels_add_spec(struct tunnels *s, struct spec **spec, struct tunnel **out);
/* Stopped and gone; its state is not touched. */
void tunnels_drop(struct tunnels *s, struct tunnel *t);
/* The same where another of its name comes: what it has open is left for that. */
void tunnels_replace(struct tunnels *s, struct tunnel *t);
/* By its own name alone. */
struct tunnel *tunnels_find_exact(struct tunnels *s, const char *name);
bool tunnels_is_of_peer(const struct tunnel *t, const uint8_t *id);
/* A peer's tunnel, or the n-th of those one of which is to succeed it once the peer was seen there. */
struct tunnel *tunnels_find_peer(struct tunnels *s, const uint8_t id[static IDENTITY_ID_LEN], bool successor, size_t n);
struct tunnel *tunnels_find_pairing(struct tunnels *s, const uint8_t *tunnel_id);

/* tunnels_paired.c */
extern const struct identity_ops tunnels_identity_ops;
void tunnels_remove_ledger(struct tunnels *s, const char *ledger);
/* All tunnels of this peer, with files and keys. */
void tunnels_remove_peer(struct tunnels *s, const uint8_t *peer_id);

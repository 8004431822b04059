/*
 * One tunnel: brings keys, socket, device and handshake together, keeps it
 * alive, and takes it down again. What it should be is its spec.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/list.h"
#include "pskd/tunnel/spec.h"

struct drops;
struct drop_log;
struct identity_client;
struct json_t;
struct kept;
struct loop;
struct packets;
struct tunnel;
struct tunnel_store;
struct wake;

/* What a list of all pairings has said of a paired tunnel. */
enum tunnel_mark { TUNNEL_UNLISTED, TUNNEL_PEER_LISTED, TUNNEL_LISTED };

struct tunnel_error {
	const char *code; /* full Varlink error name; NULL: none */
	char message[400];
	char hint[300];
};

/* Fill e; message is printf-like, hint may be NULL. */
void tunnel_error_set(struct tunnel_error *e, const char *code, const char *hint, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Who is whom, for all tunnels; the set of tunnels owns it and may change what is in it. */
struct tunnel_policy {
	struct config_list label_sources;
	struct label_list revoked;
};

/* What all tunnels share. */
struct tunnel_context {
	const struct tunnel_policy *policy;
	struct loop *loop;
	struct identity_client *identity;
	const struct tunnel_store *store;
	const char *tund_socket;
	const char *runtime_dir; /* may be NULL */
	struct kept *kept;
	unsigned int offload; /* of enum offload: what may be used */
	struct packets *packets; /* threads to be carried by; may be NULL */
	/*
	 * A step: "keys", "listening", "device", "hello", "up", "prepared", "down", "staged", "switched",
	 * "retired"; or e says why it failed ("stage-failed": not the tunnel did). The tunnel may not be freed from inside.
	 */
	void (*on_event)(struct tunnel *t, const char *event, const struct tunnel_error *e, void *arg);
	void *arg;
	/* Some tunnel counts with this ledger. */
	bool (*ledger_is_used)(const char *ledger, void *arg);
	struct drop_log *drop_log; /* hears when packets were dropped */
	struct wake *wake; /* is asked whenever a tunnel's timer wakes us */
};

/* Takes *spec. 0 or a negative errno. */
int tunnel_new(struct tunnel **out, const struct tunnel_context *ctx, struct spec **spec);
struct tunnel *tunnel_free(struct tunnel *t);
DEFINE_CLEANUP(struct tunnel *, tunnel_free);

/* For tunnels that were made before the client was. */
void tunnel_set_identity(struct tunnel *t, struct identity_client *identity);
const struct spec *tunnel_spec(const struct tunnel *t);
/* The peer's name, where the tunnel comes from a pairing; else NULL. */
const char *tunnel_peer(const struct tunnel *t);
/* Packets that were dropped since tunnel_told_drops(): the log's part of the counters. */
void tunnel_untold_drops(struct tunnel *t, struct drops *out);
/* What tunnel_untold_drops() gave last was told. */
void tunnel_told_drops(struct tunnel *t);
struct spec *tunnel_spec_mutable(struct tunnel *t);
/* Node in the set of tunnels; no other list uses it. */
struct list *tunnel_node(struct tunnel *t);
struct tunnel *tunnel_of_node(struct list *node);

/* Only make its ledger (reads the key file whole, in a worker thread); "prepared" or an error follows. */
void tunnel_prepare(struct tunnel *t);
/* How far that is, in bytes of the key file; false when nothing is being read. */
bool tunnel_progress(const struct tunnel *t, uint64_t *done, uint64_t *total);
/* Bring it up; on failure, again and again when it is enabled. Steps follow. One that runs is left alone. */
void tunnel_start(struct tunnel *t);
/* It wants to be started as soon as others have come so far: until it is started or stopped. */
void tunnel_queue(struct tunnel *t);
bool tunnel_is_queued(const struct tunnel *t);
/* On the way to its device, and not waiting for another program. */
bool tunnel_is_starting(const struct tunnel *t);
/* See how much of its key file was used. */
void tunnel_fuel_look(struct tunnel *t);
/*
 * How fast it is used up, as known then, is kept; what is not new is not written. In any thread, while nothing else is
 * done with the tunnel.
 */
void tunnel_write_fuel(struct tunnel *t);
/* Another descriptor of its device, which is the caller's to close; -1: none. */
int tunnel_copy_device(const struct tunnel *t);
/* Exact marks are durable when it returns. */
void tunnel_stop(struct tunnel *t);
/* tunnel_stop() follows: nothing more is sent, and the exact marks of its keys are on their way to the disk. */
void tunnel_begin_stop(struct tunnel *t);
/* The same, and the device and the socket are left for another tunnel of its name. */
void tunnel_stop_replaced(struct tunnel *t);
/* Its spec has changed: what runs ends, and begins again with the device and the socket it has. */
void tunnel_restart(struct tunnel *t);
/*
 * Whether tund would give the addresses and routes that its spec has now, which need not stay there: fn(e, arg) comes
 * once and later, e->code NULL when nothing is refused. 0, or a negative errno and fn never comes.
 */
typedef void (*tunnel_answer_fn)(const struct tunnel_error *e, void *arg);
int tunnel_ask_networks(struct tunnel *t, tunnel_answer_fn fn, void *arg);
/* Its key file is being read for the first time, and nothing of it is kept yet. */
bool tunnel_is_being_added(const struct tunnel *t);
bool tunnel_is_running(const struct tunnel *t);
bool tunnel_is_up(const struct tunnel *t);
/* The list of revoked identities has changed: a peer that is in it is not heard any more. */
void tunnel_on_policy(struct tunnel *t);
/* pairingd is there: what waits for a signature, or for its word, need not wait for its timer. */
void tunnel_on_identity(struct tunnel *t);
/* A new connection to pairingd: what the last one was told may be lost. */
void tunnel_on_identity_new(struct tunnel *t);
/* Its spec has another name than before. */
void tunnel_on_renamed(struct tunnel *t, const char *before);
/* An interface, an address or a default route came or went: what failed for want of it, or looks for its peer, tries again now. */
void tunnel_on_network(struct tunnel *t);
/* The machine slept: addresses and names may be others now, and the peer may have given us up. */
void tunnel_on_wake(struct tunnel *t);
/* Whether it is the tunnel's; 0 is any. */
bool tunnel_has_device(const struct tunnel *t, unsigned int ifindex);
/* The index of its device when that has this route, else 0. */
unsigned int tunnel_device_of_route(const struct tunnel *t, const struct prefix *to);
/* Its device was changed by somebody: what it lacks is set again. */
void tunnel_on_device(struct tunnel *t);
/* pairingd knows that the peer was seen. */
void tunnel_on_seen(struct tunnel *t);
enum tunnel_mark tunnel_mark(const struct tunnel *t);
void tunnel_set_mark(struct tunnel *t, enum tunnel_mark mark);

/*
 * Go forward: to_slot, or (UINT64_MAX) to what a refused handshake asked for.
 * 0 with the packets given up, or -1 with *e.
 */
int tunnel_burn(struct tunnel *t, uint64_t to_slot, uint64_t *burned, struct tunnel_error *e);

/*
 * Stage the key file that comes next: it is read whole in a worker, and "staged" or "stage-failed"
 * follows, perhaps before this returns 0; -1 with *e: nothing follows.
 */
int tunnel_stage(struct tunnel *t, const char *key_file, struct tunnel_error *e);
/* While it is being read: it is read no further, and "stage-failed" comes. Else nothing. */
void tunnel_stop_staging(struct tunnel *t);
/* 0, or -1 with *e. */
int tunnel_unstage(struct tunnel *t, struct tunnel_error *e);
/* Finish what earlier key files are left, whether the tunnel is up or not. */
void tunnel_retire(struct tunnel *t);

/* The "Tunnel" of io.handfast.Tunnel; a new reference. */
struct json_t *tunnel_to_json(struct tunnel *t);
/* What to tell whoever looks, in space or the tunnel, or NULL. */
const struct tunnel_error *tunnel_problem(const struct tunnel *t, struct tunnel_error *space);

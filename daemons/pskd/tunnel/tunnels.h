/* The set of tunnels: declared in files, made by command, given by pairings. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/list.h"
#include "config/config.h"
#include "pskd/tunnel/tunnel.h"

struct json_t;
struct loop;
struct service_fds;
struct tunnel_store;
struct tunnels;

struct tunnels_options {
	struct loop *loop;
	const char *state_dir, *runtime_dir, *tund_socket, *identity_socket;
	uint64_t max_tunnels;
	bool start_paired;
	unsigned int offload; /* of enum offload: what may be used */
	unsigned int workers; /* packet threads; 0: the loop carries packets itself */
	struct service_fds *fds; /* what an earlier life left in them is taken; may be NULL */
};

/* Opens the state. 0 or a negative errno. */
int tunnels_new(struct tunnels **out, const struct tunnels_options *o);
/* Takes all down; exact marks are durable. */
struct tunnels *tunnels_free(struct tunnels *s);
DEFINE_CLEANUP(struct tunnels *, tunnels_free);

/* See tunnel_context.on_event. succeeded: earlier goes, and t, which came up, takes its name. */
void tunnels_on_event(struct tunnels *s,
		      void (*fn)(struct tunnel *t, const char *event, const struct tunnel_error *e, void *arg),
		      void (*succeeded)(struct tunnel *earlier, struct tunnel *t, void *arg), void *arg);

/* Only check the files of dir. 0, or negative with *err. */
int tunnels_check_dir(const char *dir, struct config_error *err);
/*
 * Make the declared tunnels those of dir: new ones are added, changed ones
 * replaced, missing ones taken away, the rest left alone. All files are read
 * and checked before anything changes. Of two with one key file, at the start,
 * one is there with a complaint alone; later that is wrong, too. 0, or negative with *err.
 */
int tunnels_declare(struct tunnels *s, const char *dir, bool at_start, struct config_error *err);
/*
 * What labels are made of, which the caller keeps, and which identities are revoked: *revoked is taken. A peer
 * that is revoked now is not heard any more.
 */
void tunnels_set_policy(struct tunnels *s, const struct config_list *label_sources, struct label_list *revoked);
void tunnels_start_enabled(struct tunnels *s);
/* Whether the tunnels of pairings to come start by themselves; changes nothing about those that are here. */
void tunnels_set_start_paired(struct tunnels *s, bool yes);
/* At a stop: all down, in order. */
void tunnels_stop_all(struct tunnels *s);

/* By its own name, or by that of a paired peer. NULL: none. */
struct tunnel *tunnels_find(struct tunnels *s, const char *name);
/* The n-th (from 0) of the tunnels that newer, unconfirmed pairings with t's peer have made, or NULL. */
struct tunnel *tunnels_successor(struct tunnels *s, struct tunnel *t, size_t n);
/* Where their state is kept, and this device's key, NULL while it is not known. */
const struct tunnel_store *tunnels_store(const struct tunnels *s);
const struct sign_public *tunnels_own_key(const struct tunnels *s);
struct list *tunnels_list(struct tunnels *s);
size_t tunnels_count(const struct tunnels *s);

/* Begin to add a tunnel ("prepared" or "failed" follows). 0 with *out, or -1 with *e. */
int tunnels_add(struct tunnels *s, struct tunnel **out, const char *name, const struct json_t *members,
		struct tunnel_error *e);
/* A tunnel whose adding failed: gone, soon. */
void tunnels_forget(struct tunnels *s, struct tunnel *t);
/* 0, or -1 with *e. The tunnel is gone then; a key file's ledger stays, for it remembers what is spent. */
int tunnels_remove(struct tunnels *s, struct tunnel *t, struct tunnel_error *e);
/*
 * Pin the peer's public key (base64 or hex; NULL: none) of a tunnel that was made by command; what runs begins again.
 * 0, or -1 with *e.
 */
int tunnels_set_pin(struct tunnels *s, struct tunnel *t, const char *key, struct tunnel_error *e);

/* tunnels_left.c: earlier key files that are still to be erased, as a list of paths, NULL: none; and each in the journal. */
struct json_t *tunnels_left(const struct spec *s);
void tunnels_tell_left(const struct spec *s, const char *why);

/* The same of the labels that its peer may have, none: any. *labels, which were checked, gets the earlier ones. */
int tunnels_set_labels(struct tunnels *s, struct tunnel *t, struct config_list *labels, struct tunnel_error *e);
/* Revoke these identities and keys as peers of this tunnel, or (undo) do so no more; who is revoked is not heard any more. 0, or -1 with *e. */
int tunnels_revoke(struct tunnels *s, struct tunnel *t, const struct config_list *identities, bool undo, struct tunnel_error *e);
/* Other values for what spec_change() can change of a tunnel that no file declares; what runs begins again. 0, or -1 with *e. */
int tunnels_change(struct tunnels *s, struct tunnel *t, const struct json_t *members, const struct json_t *defaults, struct tunnel_error *e);
/*
 * Before that: whether tund would give the addresses and routes that it brings. 1: fn(e, arg) comes, once and later,
 * e->code NULL when nothing is refused; 0: there is nothing to ask; or -1 with *e. Nothing is changed.
 */
int tunnels_ask_change(struct tunnels *s, struct tunnel *t, const struct json_t *members, const struct json_t *defaults,
		       void (*fn)(const struct tunnel_error *e, void *arg), void *arg, struct tunnel_error *e);
/* Remember that it comes up at start. 0, or -1 with *e: then nothing is changed. */
int tunnels_enable(struct tunnels *s, struct tunnel *t, struct tunnel_error *e);
/* It does not come up any more: 0; or 1 with *e, which says why it will all the same when pskd starts again. */
int tunnels_disable(struct tunnels *s, struct tunnel *t, struct tunnel_error *e);

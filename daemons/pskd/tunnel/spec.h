/*
 * What a tunnel should be: as declared in a YAML file, as made by command, or
 * as a pairing gave it. Plain data, checked when it is read.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "config/config.h"
#include "crypto/sign.h"
#include "proto/identity_msg.h"
#include "pskd/handshake/label.h"
#include "pskd/keys/keys.h"
#include "pskd/network/networks.h"
#include "pskd/tunnel/fuel.h"

struct json_limits;
struct json_t;

#define SPEC_NAME_MAX 32
#define SPEC_PORT 7200
#define SPEC_VERSION 1 /* of what is kept in state */
#define SPEC_STATE_MAX 65536 /* bytes of that */

/* Of JSON that is a tunnel's state: its size alone is what bounds it. */
extern const struct json_limits spec_state_limits;

enum spec_origin { SPEC_DECLARED, SPEC_MADE, SPEC_PAIRED };

/* The keys of tunnels/NAME.yaml, and of a made tunnel's state. */
struct spec_file {
	char *key_file;
	int role;  /* enum keys_role */
	int peer;  /* 1: prototype */
	char *endpoint, *listen, *local_address, *peer_address, *pin, *interface, *dscp;
	char *salt; /* of our label */
	struct config_list allow_labels;
	int erase; /* enum keys_erase */
	uint64_t window, keepalive_ms, mtu;
	struct config_list routes, allowed;
	bool enabled;
};

#define SPEC_LEDGER_LEN 80
#define SPEC_FINGERPRINT_LEN 32
#define SPEC_HINT_LEN 8
#define SPEC_RETIRED_MAX 8
#define SPEC_REVOKED_MAX 64

/* Of the key file that a ledger is of: should the ledger be lost, the file is known all the same. */
struct spec_fingerprint {
	bool is_known;
	uint8_t b[SPEC_FINGERPRINT_LEN];
};

/* A key file whose place another has taken: its ledger is to be finished, and it to be erased. */
struct spec_retired {
	char *key_file;
	char ledger[SPEC_LEDGER_LEN];
	struct spec_fingerprint fingerprint;
	int erase; /* enum keys_erase */
};

struct spec {
	char name[SPEC_NAME_MAX + 1];
	enum spec_origin origin;
	bool enabled;
	bool has_enabled; /* read from state, not only assumed */
	bool unsaved; /* it is not enabled, and the disk did not take that */
	struct spec_file f;
	struct networks routes, allowed; /* as the file's lists say */
	uint8_t dscp; /* see ecn.h */
	bool pinned;
	struct sign_public peer_public;
	struct label_list labels; /* that the peer may have; none: every one */
	/* paired */
	char peer_name[IDENTITY_NAME_MAX + 1];
	uint8_t peer_id[IDENTITY_ID_LEN];
	struct sign_public own_public;
	uint8_t tunnel_id[16];
	bool successor; /* of another tunnel to the same peer, which stays until the peer was seen in this one */
	uint16_t own_port, peer_port;
	size_t n_candidates;
	char candidates[IDENTITY_CANDIDATES_MAX][IDENTITY_CANDIDATE_LEN];
	/* state */
	char ledger[SPEC_LEDGER_LEN]; /* file below ledgers/; "": none yet */
	struct spec_fingerprint fingerprint;
	char *complaint; /* declared: why it is not started; NULL: nothing */
	char *ledger_for;     /* the key file it was made for, as read from state; else NULL */
	char last_endpoint[64]; /* where the peer was proven to be */
	struct fuel fuel;	/* of a key file: how fast it is used up */
	char last_identity[2 * PSKH_IDENTITY_LEN + 1]; /* its label in the last handshake of an unpinned tunnel; "": none */
	struct config_list revoked; /* identities and keys that its peer may not have, as a command said them */
	struct label_list revoked_ids; /* the same */
	/* generations of the key file */
	char *staged_file; /* what comes next, and its ledger; NULL: nothing */
	char staged_ledger[SPEC_LEDGER_LEN];
	struct spec_fingerprint staged_fingerprint;
	char *declared_file; /* declared: what the tunnel's file names, where that is not the current one; else NULL */
	/* Of the first one, when there were more: addresses and labels come of it. */
	bool has_first;
	uint8_t first_fingerprint[SPEC_FINGERPRINT_LEN];
	uint8_t first_hint[SPEC_HINT_LEN];
	size_t n_retired;
	struct spec_retired retired[SPEC_RETIRED_MAX];
};

extern const struct config_schema spec_schema;

struct spec *spec_free(struct spec *s);
DEFINE_CLEANUP(struct spec *, spec_free);

/* From tunnels/NAME.yaml. 0, or negative with *err. */
int spec_load(struct spec **out, const char *path, const char *name, struct config_error *err);
/* From a moved root, which stays the caller's. name is the tunnel's. 0 or -ENOMEM. */
int spec_from_root(struct spec **out, const struct identity_root *root, const char *name);
/* From what a command gives; members as in the YAML file, NULL: not given. 0, or negative with *err. */
int spec_make(struct spec **out, const char *name, const struct json_t *members, struct config_error *err);

/* A public key in base64 or hex. 0, or negative. */
int spec_parse_pin(struct sign_public *out, const char *text);
/* Pin the peer's public key, in base64 or hex; NULL: none. 0, -EINVAL when it is no key, or -ENOMEM. */
int spec_set_pin(struct spec *s, const char *key);
/* Allow these labels of an unpinned peer, which were checked; none: any. *labels gets the earlier ones. 0 or -ENOMEM (unchanged). */
int spec_set_labels(struct spec *s, struct config_list *labels);

/* spec_change.c */
/*
 * Other values for keys of its file; members as in spec_make(), and in the list defaults the keys that are to be what
 * they are when nobody says anything. 0 with *earlier, which is what was, for spec_change_back() or spec_free();
 * or negative with *err, and s is as before.
 */
int spec_change(struct spec *s, struct spec **earlier, const struct json_t *members, const struct json_t *defaults,
		struct config_error *err);
/* The values of those keys; a new reference. */
struct json_t *spec_settings(const struct spec *s);
/* Frees and clears *earlier. */
void spec_change_back(struct spec *s, struct spec **earlier);
/* Have the values that commands have set of another tunnel, as one to the same peer. 1: some are others than before, 0: none; or negative. */
int spec_inherit(struct spec *s, const struct spec *from);
/*
 * The list of whom s revokes with these identities, which were checked, or without them. 0 with *out, which is the
 * caller's; or -E2BIG, -ENOENT (undo: this is not revoked) with *at, or -ENOMEM.
 */
int spec_revoke(struct config_list *out, const struct spec *s, const struct config_list *identities, bool undo, size_t *at);
/* Have this list; *revoked gets the earlier one. 0 or -ENOMEM (unchanged). */
int spec_set_revoked(struct spec *s, struct config_list *revoked);
/* 0 or -ENOMEM (unchanged). */
int spec_copy_revoked(struct spec *s, const struct spec *from);
/* 0, -EBADMSG or -ENOMEM. */
int spec_revoked_from_json(struct spec *s, const struct json_t *list);
void spec_texts_done(struct config_list *l);

/* What is kept in state. NULL without memory. */
struct json_t *spec_to_json(const struct spec *s);
/* Of a declared tunnel, this only adds what state knows (enabled, ledger, last_endpoint). 0 or -EBADMSG, -ENOMEM. */
int spec_from_json(struct spec **out, const char *name, const struct json_t *j);
/* spec_generations.c */
void spec_generations_done(struct spec *s);
void spec_generations_to_json(const struct spec *s, struct json_t *j);
/* 0, -EBADMSG or -ENOMEM. */
int spec_generations_from_json(struct spec *s, const struct json_t *j);
/* Of a declared tunnel: what state knows goes over to s, as far as the file that declares it still means that. 0 or -ENOMEM. */
int spec_take_generations(struct spec *s, struct spec *stored);
/* The staged file is the current one, and the one before is retired. 0, -ENOMEM, or -EBUSY when too many are. */
int spec_switch(struct spec *s);
/* As it was before. */
void spec_switch_back(struct spec *s);
void spec_drop_retired(struct spec *s, size_t i);

/* True when a running tunnel need not be restarted for the change from a to b. */
bool spec_same(const struct spec *a, const struct spec *b);

/*
 * What of pairingd goes into a backup: the identity and the pairings, without
 * their roots; and how it comes back, all or nothing. It leaves through pairingd.export.
 *
 * Pieces: "identity.key", 32 bytes, the seed of the Ed25519 key; "pairings.json",
 * {"version": 1, "public_key", "peers": [...]}.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "crypto/sign.h"
#include "pairingd/peers.h"

struct export;
struct service;

#define PORTABLE_VERSION 1
/* A store with more is not exported: no backup that cannot be restored. */
#define PORTABLE_PEERS_MAX 16384

struct portable {
	struct sign_public own;
	size_t n;
	struct peer *peers;
};

/*
 * Read pairings.json; every value is checked as if a stranger had sent it. 0, or -1 with the
 * sentence in why (cap bytes). The caller frees it.
 */
int portable_decode(struct portable **out, const void *text, size_t len, char *why, size_t cap);
struct portable *portable_free(struct portable *p);
DEFINE_CLEANUP(struct portable *, portable_free);

/* Adds both pieces: an export_fn's body. 0 or a negative errno, -E2BIG for too many pairings. */
int portable_export(struct export *e, struct peers *peers, const struct sign_key *key);

/*
 * `pairingd --import`: read a bundle from standard input, check it, and, unless
 * --check was given, put it in place of what is in the state folder. Existing
 * pairings are replaced only with --replace. Prints a JSON object; an exit code.
 */
int portable_import(struct service *svc);

/*
 * A stop may have come between the commit of an import and the key's renaming: finish it, and remove
 * what stops left of key files. Call before identity_load(), with the state folder held. 0 or a negative errno.
 */
int portable_finish_import(const char *dir, struct peers *peers);

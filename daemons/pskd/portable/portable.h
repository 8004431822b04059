/*
 * What of pskd goes into a backup: tunnels from key files, and of their
 * ledgers which slots are spent; nothing of pairings, and no key file. How it
 * comes back: all or nothing, and only forward. It leaves through pskd.export.
 *
 * Pieces: "ledgers/FILE.ledger", one record (handfast-ledger(5)), marked as restored and with the marks
 * that a crash would leave; "ledgers/FILE.ledger.chunks", its table; "tunnels/NAME.json".
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct bundle_piece;
struct export;
struct pages;
struct service;

/* Adds the pieces of the state folder: an export_fn's body. 0 or a negative errno. */
int portable_export(struct export *e, const char *state_dir);

/* `pskd --import`, as pairingd's. An exit code. */
int portable_import(struct service *svc);

/* Check all pieces of a bundle that is well-formed. 0, or -1 with the sentence in why (cap bytes). */
int portable_check(const void *bundle, size_t len, char *why, size_t cap);

/* An import was committed, and a stop came before its files had their names: finish it. 0 or a negative errno. */
int portable_finish_import(const char *state_dir);

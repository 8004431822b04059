/* What pskd keeps on disk beside ledgers: one small file a tunnel, replaced whole. */
#pragma once

#include "pskd/tunnel/spec.h"

struct twins;

/* Its being there says that ledgers of this machine may be missing, or behind what was used. */
#define STORE_RESTORED "restored"

struct tunnel_store {
	char *tunnels_dir; /* STATE/tunnels */
	char *ledgers_dir; /* STATE/ledgers */
	struct twins *twins; /* of ledgers_dir */
	bool restored;	   /* STATE/restored is there: a backup was restored here once */
};

/* Make the folders, and look what is there. 0 or a negative errno. */
int tunnel_store_init(struct tunnel_store *s, const char *state_dir);
void tunnel_store_done(struct tunnel_store *s);

/* Durable when it returns 0; else a negative errno and the old state. */
int tunnel_store_save(const struct tunnel_store *s, const struct spec *spec);
int tunnel_store_remove(const struct tunnel_store *s, const char *name);
/* Call fn for each stored tunnel; it takes *spec. Files that cannot be read are told through on_bad. 0 or a negative errno. */
int tunnel_store_each(const struct tunnel_store *s, void (*fn)(struct spec **spec, void *arg),
		      void (*on_bad)(const char *path, int r, void *arg), void *arg);
/* "STATE/ledgers/NAME", NULL without memory. */
char *tunnel_store_ledger_path(const struct tunnel_store *s, const char *ledger);
/*
 * Refuse the whole folder when one of its files is of a newer handfast. 0, 1 with the sentence in
 * why (cap bytes), or a negative errno.
 */
int tunnel_store_check(const struct tunnel_store *s, char *why, size_t cap);

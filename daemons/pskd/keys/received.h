/*
 * How far a peer without handshakes was received, exactly, where it outlives the process but never the
 * boot: a small file on a tmpfs, mapped. The ledger's receive mark is durable ahead of the truth; after
 * a crash of the process alone this says the truth, and no packet of the peer need be given up.
 */
#pragma once

#include <stdint.h>

#include "base/cleanup.h"

struct received;

#define RECEIVED_UNKNOWN UINT64_MAX

/*
 * Open or make path for this material. *next is the sequence after the highest that an earlier life of
 * this boot acted on, RECEIVED_UNKNOWN when none says; *serial the highest generation of the ledger that the same
 * life may have written: with a newer record, another life without this file came after it, and *next is old.
 * -ENOTSUP: path does not lie on a tmpfs; -ENOSPC: that is full; or another negative errno. Only one process may
 * have it: hold the ledger's lock. Say at once, by received_set(), where this life begins.
 */
int received_open(struct received **out, const char *path, const uint8_t fingerprint[static 32], uint64_t *next,
		  uint64_t *serial);
/* Before the packet with sequence next - 1 is acted on. One store. */
void received_set(struct received *r, uint64_t next);
/* Before the ledger's record of this generation is written. */
void received_expect(struct received *r, uint64_t serial);
/* The file stays. */
struct received *received_close(struct received *r);
/* The ledger says it as exactly: the file goes. */
struct received *received_remove(struct received *r);
DEFINE_CLEANUP(struct received *, received_close);

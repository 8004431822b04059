/*
 * A daemon's portable state: what `handfast backup` collects and `handfast restore`
 * brings back. It leaves over RUNTIME/NAME.export (SOCK_SEQPACKET, mode 0600):
 * whoever connects as root or as the daemon's own user gets one datagram and no
 * questions: a byte, 0 with a memfd that holds a bundle (proto/bundle.h), or 1 and why not in
 * words. It comes back through `NAME --import`, run while the daemon is stopped.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "crypto/archive.h"
#include "proto/bundle.h"

struct export;
struct export_server;
struct loop;

/* The answer's longest text. */
#define EXPORT_WHY_MAX 256

/* Add a piece, names in ascending order. Failures are kept and told at the end. data is copied to the memfd alone. */
void export_add(struct export *e, const char *name, const void *data, size_t len);

/* Adds all pieces. 0, or a negative errno: then nothing is given out. */
typedef int (*export_fn)(struct export *e, void *arg);

/* A sealed memfd with what fn adds: the descriptor or a negative errno. */
int export_make(export_fn fn, void *arg);

/* Serve passed (taken in every case), or, when that is -1, RUNTIME_DIR/NAME.export. 0 or a negative errno. */
int export_server_new(struct export_server **out, struct loop *loop, const char *runtime_dir, int passed,
		      const char *name, export_fn fn, void *arg);
struct export_server *export_server_free(struct export_server *s);
DEFINE_CLEANUP(struct export_server *, export_server_free);

/*
 * Hold the state folder for the descriptor's life: any number of daemons
 * (shared; the stores inside have locks of their own), or one import alone. The
 * descriptor, -EWOULDBLOCK, or a negative errno.
 */
int state_lock(const char *dir, bool alone);

/* What `NAME --import` exits with when it found the daemon running. */
#define IMPORT_RUNNING 3

/*
 * Read a bundle to its end from fd and check it. 0 with *out (the caller's, pages_done()), or -1
 * with the sentence in why (cap bytes).
 */
int import_read(struct pages *out, int fd, char *why, size_t cap);

/*
 * What material the ledgers of a folder are of, so that nobody has to read them all again to see that none has the
 * same: each is read once, and anew when the kernel tells that it changed. Any thread may ask.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct twins;

/* 0 or -ENOMEM; the folder is looked at when it is first asked for. */
int twins_new(struct twins **out, const char *dir);
struct twins *twins_ref(struct twins *t);
struct twins *twins_unref(struct twins *t);
DEFINE_CLEANUP(struct twins *, twins_unref);

/* As ledger_find_twin(), which it is where the kernel does not tell of changes. */
int twins_find(struct twins *t, const char *own, const uint8_t fingerprint[static 32], char *name, size_t name_cap);

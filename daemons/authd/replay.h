/*
 * What was seen once is refused a second time. Memory is bounded, and so is the share of it that one owner has; what is
 * remembered is a keyed hash, for one to two intervals. When something is forgotten, the latest stamp among it is kept,
 * so that the caller can refuse all that is older.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct replay;

enum { REPLAY_E_SEEN = 1, REPLAY_E_FULL };

/* Up to max at a time, each to be of one owner. 0 or -ENOMEM. */
int replay_new(struct replay **out, size_t max, size_t each, uint64_t interval_ms);
struct replay *replay_free(struct replay *r);
DEFINE_CLEANUP(struct replay *, replay_free);

/* Remember it with a stamp of the caller's. owner 0: nobody's share. 0, REPLAY_E_SEEN, REPLAY_E_FULL, or -ENOMEM. */
int replay_add(struct replay *r, int64_t owner, const void *what, size_t len, int64_t stamp);
/* Remember it for an interval from now on, of nobody's share, whether it was added before or not. 0, REPLAY_E_FULL, or -ENOMEM. */
int replay_renew(struct replay *r, const void *what, size_t len);
/* Whether it was added lately. */
bool replay_has(struct replay *r, const void *what, size_t len);
/* The same, and forget it. */
bool replay_take(struct replay *r, const void *what, size_t len);
/* The latest stamp of all that was forgotten; INT64_MIN when nothing was. */
int64_t replay_forgotten(struct replay *r);
size_t replay_count(const struct replay *r);
uint64_t replay_interval(const struct replay *r);
/* For what comes from now on. */
void replay_set_limits(struct replay *r, size_t max, size_t each, uint64_t interval_ms);

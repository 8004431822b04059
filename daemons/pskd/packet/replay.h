/*
 * The replay window: which sequences were received. Pure. A tunnel has one for
 * all its sessions, since sequences never go back.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"

struct replay;

enum replay_verdict { REPLAY_NEW, REPLAY_SEEN, REPLAY_OLD };

/*
 * size: packets that the window spans, a multiple of 64. Sequences below floor
 * are old. 0 or -ENOMEM.
 */
int replay_new(struct replay **out, uint32_t size, uint64_t floor);
struct replay *replay_free(struct replay *r);
DEFINE_CLEANUP(struct replay *, replay_free);

/* Changes nothing. */
enum replay_verdict replay_check(const struct replay *r, uint64_t sequence);
/* sequence was authenticated and is REPLAY_NEW. */
void replay_accept(struct replay *r, uint64_t sequence);
/* The lowest sequence that is not old. */
uint64_t replay_floor(const struct replay *r);
/* One more than the highest accepted; the first floor before that. */
uint64_t replay_next(const struct replay *r);

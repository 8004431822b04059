/*
 * Whether a request is fresh. Two ways: its time lies near ours, or it carries a nonce of ours that is not old; and in
 * both, the client's own nonce was not seen before. Times are taken only while nothing can have been forgotten:
 * not for a while after a start, and not from a clock that is behind what is durable or that nobody keeps.
 * Nonces of ours need no clock and no disk.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/base64.h"
#include "base/cleanup.h"

struct authd_config;
struct fresh;
struct pop_proof;
struct state;

/* 8 bytes of time, 24 of MAC. */
#define SNONCE_LEN 32
#define SNONCE_SPACE BASE64_SPACE(SNONCE_LEN)

enum {
	FRESH_E_NEEDS_SNONCE = 1, /* times are not taken now */
	FRESH_E_TIME,		  /* too far from ours */
	FRESH_E_SNONCE,		  /* too old, or none of ours */
	FRESH_E_REPLAY,
	FRESH_E_FULL, /* no room to remember it, or none for this user: later */
};

/* Where clocks come from; tests bring their own. */
struct fresh_clocks {
	int64_t (*wall_s)(void);
	bool (*is_synchronised)(void);
};
extern const struct fresh_clocks fresh_real_clocks;

/* state, cfg (through fresh_set_config()) and clocks must outlive it. 0 or a negative errno. */
int fresh_new(struct fresh **out, struct state *s, const struct authd_config *cfg, const struct fresh_clocks *clocks);
struct fresh *fresh_free(struct fresh *f);
DEFINE_CLEANUP(struct fresh *, fresh_free);
void fresh_set_config(struct fresh *f, const struct authd_config *cfg);
/* At a clean stop: what was reserved ahead is given back. */
void fresh_stop(struct fresh *f);

/*
 * A proof whose MAC was right, of a user's session (session.user, session.id). 0, an outcome, or -ENOMEM. What is
 * accepted is remembered.
 */
int fresh_check(struct fresh *f, const struct pop_proof *p, int64_t user, int64_t session);
void fresh_snonce(const struct fresh *f, char out[static SNONCE_SPACE]);

/* Why times are not taken now; NULL: they are. For people. */
const char *fresh_why_not(struct fresh *f);
/* The one such reason that passes by itself, within two windows. */
extern const char fresh_just_started[];
size_t fresh_remembered(const struct fresh *f);

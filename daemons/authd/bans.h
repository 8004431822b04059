/*
 * Guesses cost time: each attempt on a user, and from an address, counts as failed until its login has succeeded
 * (whoever has KE2 has tested a password, whether KE3 comes or not). Above the allowed number each attempt brings
 * a ban, twice as long as the one before and never longer than the longest; what was counted is forgiven with time,
 * and no more is counted than brings the longest ban.
 *
 * A ban of a name lasts twice as long for the address that brought it: whoever takes each attempt as soon as it is
 * allowed leaves others the time between. From an address where its user was lately, attempts are counted once more,
 * for that address, and that count alone bans there: what others do to the name keeps nobody out at home.
 * Names count whether there is such a user or not. Memory is bounded.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "http/address.h"
#include "proto/username.h"

struct authd_config;
struct bans;

/* BAN_RENEWALS: of a user's sessions, registrations that they start anew. */
enum ban_kind { BAN_USER, BAN_ADDRESS, BAN_PROOFS, BAN_RENEWALS };

int bans_new(struct bans **out, const struct authd_config *cfg); /* 0 or -ENOMEM */
struct bans *bans_free(struct bans *b);
DEFINE_CLEANUP(struct bans *, bans_free);
void bans_set_config(struct bans *b, const struct authd_config *cfg);

/* An attempt: on name (NULL: on none), from a, where the name's user was lately or not. */
struct attempt {
	const char *name;
	struct address_key from;
	bool known;
};

/* Milliseconds that a ban still lasts; 0: none. An address of family 0 (a Unix socket) is never banned, and never known. */
uint64_t bans_user(struct bans *b, const struct attempt *t);
uint64_t bans_address(struct bans *b, const struct address_key *a);
/* *began: whether it brought a ban of the user, the address, or neither. */
void bans_count(struct bans *b, const struct attempt *t, bool *user_began, bool *address_began);
/* It succeeded after all. */
void bans_uncount(struct bans *b, const struct attempt *t);
/*
 * A registration that a session of this user starts: counted apart, so that it keeps nobody from logging in. True when
 * it brought a ban.
 */
bool bans_count_renewal(struct bans *b, const char *name);
uint64_t bans_renewals(struct bans *b, const char *name);
/* A request from a that should have proven something and did not: counted apart. True when it brought a ban. */
bool bans_count_proof(struct bans *b, const struct address_key *a);
/* Milliseconds that a ban of such requests still lasts. It is for those alone: one that proves something is let pass. */
uint64_t bans_proofs(struct bans *b, const struct address_key *a);

struct ban {
	enum ban_kind kind;
	char name[USERNAME_SPACE];  /* BAN_USER, BAN_RENEWALS */
	struct address_key address; /* the others; of BAN_USER where it counts there alone, else of family 0 */
	uint64_t attempts, left_ms;
};
/* Calls fn for each ban in force. */
void bans_each(struct bans *b, void (*fn)(const struct ban *ban, void *arg), void *arg);
size_t bans_in_force(struct bans *b, enum ban_kind kind);
/* Forget what was counted, of a user for each address. False when there was nothing. */
bool bans_lift_user(struct bans *b, const char *name);
bool bans_lift_address(struct bans *b, const struct address_key *a);

#define ADDRESS_TEXT_SPACE 48
/* "192.0.2.1", "2001:db8:1:2::/64", or "unix". */
void address_key_format(char out[static ADDRESS_TEXT_SPACE], const struct address_key *k);
/* An address, or such a network. 0 or -EINVAL. */
int address_key_parse(struct address_key *k, const char *text);

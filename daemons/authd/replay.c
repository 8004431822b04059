/*
 * Two hash sets: additions go into one, look-ups into both; after an interval the older one is emptied and
 * becomes the newer. Strangers choose what is added, so the hash has a key. What is taken out leaves a mark in its place.
 */
#include "authd/replay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "crypto/kdf.h"
#include "crypto/secret.h"

enum { TAG_LEN = 16, SLOTS_MIN = 256 };

/* How many are of one owner. */
struct share {
	int64_t owner; /* 0: free */
	size_t n;
};

struct set {
	uint8_t (*slots)[TAG_LEN]; /* all zeros: free */
	size_t n_slots, n;	   /* a power of two; at most half are taken */
	struct share *shares;	   /* the same */
	size_t n_share_slots, n_shares;
	int64_t latest;
};

struct replay {
	struct set now, before;
	size_t max, each;
	uint64_t interval_ms, turns_ms;
	int64_t forgotten;
	uint8_t key[32];
};

static const uint8_t nothing[TAG_LEN];
static const uint8_t taken[TAG_LEN] = { 0, 1 }; /* what was there was forgotten; others may lie behind it */

static void set_clear(struct set *s)
{
	free(s->slots);
	free(s->shares);
	*s = (struct set){ .latest = INT64_MIN };
}

/* Its place, or the free one where it belongs. */
static size_t place_of(const struct set *s, const uint8_t tag[static TAG_LEN])
{
	size_t i;

	memcpy(&i, tag, sizeof(i));
	for (i &= s->n_slots - 1;; i = (i + 1) & (s->n_slots - 1))
		if (memcmp(s->slots[i], tag, TAG_LEN) == 0 || memcmp(s->slots[i], nothing, TAG_LEN) == 0)
			return i;
}

static bool set_has(const struct set *s, const uint8_t tag[static TAG_LEN])
{
	return s->n > 0 && memcmp(s->slots[place_of(s, tag)], tag, TAG_LEN) == 0;
}

static int set_grow(struct set *s)
{
	struct set more = *s;

	more.n_slots = s->n_slots ? s->n_slots * 2 : SLOTS_MIN;
	more.slots = calloc(more.n_slots, TAG_LEN);
	if (!more.slots)
		return -ENOMEM;
	for (size_t i = 0; i < s->n_slots; i++)
		if (memcmp(s->slots[i], nothing, TAG_LEN) != 0)
			memcpy(more.slots[place_of(&more, s->slots[i])], s->slots[i], TAG_LEN);
	free(s->slots);
	*s = more;
	return 0;
}

/* ---- shares ---- */

/* Owners are numbered in a row, so that their numbers are as good as a hash. */
static struct share *share_of(const struct set *s, int64_t owner)
{
	size_t i = (size_t)owner;

	for (i &= s->n_share_slots - 1;; i = (i + 1) & (s->n_share_slots - 1))
		if (s->shares[i].owner == owner || s->shares[i].owner == 0)
			return &s->shares[i];
}

static size_t share(const struct set *s, int64_t owner)
{
	return s->n_shares > 0 ? share_of(s, owner)->n : 0;
}

static int shares_grow(struct set *s)
{
	struct set more = *s;

	more.n_share_slots = s->n_share_slots ? s->n_share_slots * 2 : SLOTS_MIN;
	more.shares = calloc(more.n_share_slots, sizeof(*more.shares));
	if (!more.shares)
		return -ENOMEM;
	for (size_t i = 0; i < s->n_share_slots; i++)
		if (s->shares[i].owner)
			*share_of(&more, s->shares[i].owner) = s->shares[i];
	free(s->shares);
	*s = more;
	return 0;
}

/* One more of owner's, for whom there is room. */
static void share_add(struct set *s, int64_t owner)
{
	struct share *o = share_of(s, owner);

	s->n_shares += o->n == 0;
	o->owner = owner;
	o->n++;
}

/* ---- both sets ---- */

static void forget(struct replay *r, struct set *s)
{
	if (s->n > 0 && s->latest > r->forgotten)
		r->forgotten = s->latest;
	set_clear(s);
}

static void turn(struct replay *r)
{
	uint64_t now = clock_now_ms();

	if (now < r->turns_ms)
		return;
	forget(r, &r->before);
	r->before = r->now;
	r->now = (struct set){ .latest = INT64_MIN };
	if (now >= r->turns_ms + r->interval_ms)
		forget(r, &r->before);
	r->turns_ms = now + r->interval_ms;
}

static void tag_of(const struct replay *r, uint8_t tag[static TAG_LEN], const void *what, size_t len)
{
	uint8_t mac[HMAC_SHA256_LEN];

	hmac_sha256(mac, r->key, sizeof(r->key), what, len);
	memcpy(tag, mac, TAG_LEN);
	tag[0] |= (uint8_t)(memcmp(tag, nothing, TAG_LEN) == 0);
}

int replay_new(struct replay **out, size_t max, size_t each, uint64_t interval_ms)
{
	struct replay *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->max = max;
	r->each = each;
	r->interval_ms = interval_ms;
	r->turns_ms = clock_now_ms() + interval_ms;
	r->now.latest = r->before.latest = r->forgotten = INT64_MIN;
	random_bytes(r->key, sizeof(r->key));
	*out = r;
	return 0;
}

struct replay *replay_free(struct replay *r)
{
	if (!r)
		return NULL;
	set_clear(&r->now);
	set_clear(&r->before);
	free(r);
	return NULL;
}

static int make_room(struct set *s)
{
	int r = (s->n + 1) * 2 > s->n_slots ? set_grow(s) : 0;

	return r || (s->n_shares + 1) * 2 <= s->n_share_slots ? r : shares_grow(s);
}

static int put(struct replay *r, int64_t owner, const uint8_t tag[static TAG_LEN], int64_t stamp)
{
	int e;

	if (r->now.n + r->before.n >= r->max || (owner && share(&r->now, owner) + share(&r->before, owner) >= r->each))
		return REPLAY_E_FULL;
	e = make_room(&r->now);
	if (e)
		return e;
	memcpy(r->now.slots[place_of(&r->now, tag)], tag, TAG_LEN);
	r->now.n++;
	if (owner)
		share_add(&r->now, owner);
	if (stamp > r->now.latest)
		r->now.latest = stamp;
	return 0;
}

static bool take(struct set *s, const uint8_t tag[static TAG_LEN])
{
	if (!set_has(s, tag))
		return false;
	memcpy(s->slots[place_of(s, tag)], taken, TAG_LEN);
	return true;
}

int replay_add(struct replay *r, int64_t owner, const void *what, size_t len, int64_t stamp)
{
	uint8_t tag[TAG_LEN];

	turn(r);
	tag_of(r, tag, what, len);
	if (set_has(&r->now, tag) || set_has(&r->before, tag))
		return REPLAY_E_SEEN;
	return put(r, owner, tag, stamp);
}

int replay_renew(struct replay *r, const void *what, size_t len)
{
	uint8_t tag[TAG_LEN];
	int e;

	turn(r);
	tag_of(r, tag, what, len);
	/* What is in there stays for an interval at least. */
	if (set_has(&r->now, tag))
		return 0;
	e = put(r, 0, tag, INT64_MIN);
	if (!e)
		(void)take(&r->before, tag);
	return e;
}

bool replay_has(struct replay *r, const void *what, size_t len)
{
	uint8_t tag[TAG_LEN];

	turn(r);
	tag_of(r, tag, what, len);
	return set_has(&r->now, tag) || set_has(&r->before, tag);
}

bool replay_take(struct replay *r, const void *what, size_t len)
{
	uint8_t tag[TAG_LEN];

	turn(r);
	tag_of(r, tag, what, len);
	return take(&r->now, tag) || take(&r->before, tag);
}

int64_t replay_forgotten(struct replay *r)
{
	turn(r);
	return r->forgotten;
}

size_t replay_count(const struct replay *r)
{
	return r->now.n + r->before.n;
}

uint64_t replay_interval(const struct replay *r)
{
	return r->interval_ms;
}

void replay_set_limits(struct replay *r, size_t max, size_t each, uint64_t interval_ms)
{
	r->max = max;
	r->each = each;
	r->interval_ms = interval_ms;
	/* What is remembered already stays as long as it would have; a longer window begins with the next turn. */
}

/*
 * Two hash sets: additions go into one, look-ups into both; after an interval the older one is emptied and
 * becomes the newer. Strangers choose what is added, so the hash has a key.
 */
#include "authd/replay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "crypto/kdf.h"
#include "crypto/secret.h"

enum { TAG_LEN = 16, SLOTS_MIN = 256 };

struct set {
	uint8_t (*slots)[TAG_LEN]; /* all zeros: free */
	size_t n_slots, n;	   /* a power of two; at most half are taken */
	int64_t latest;
};

struct replay {
	struct set now, before;
	size_t max;
	uint64_t interval_ms, turns_ms;
	int64_t forgotten;
	uint8_t key[32];
};

static const uint8_t nothing[TAG_LEN];

static void set_clear(struct set *s)
{
	free(s->slots);
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
	struct set more = { .n_slots = s->n_slots ? s->n_slots * 2 : SLOTS_MIN, .n = s->n, .latest = s->latest };

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

int replay_new(struct replay **out, size_t max, uint64_t interval_ms)
{
	struct replay *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->max = max;
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

int replay_add(struct replay *r, const void *what, size_t len, int64_t stamp)
{
	uint8_t tag[TAG_LEN];
	int e;

	turn(r);
	tag_of(r, tag, what, len);
	if (set_has(&r->now, tag) || set_has(&r->before, tag))
		return REPLAY_E_SEEN;
	if (r->now.n + r->before.n >= r->max)
		return REPLAY_E_FULL;
	if ((r->now.n + 1) * 2 > r->now.n_slots) {
		e = set_grow(&r->now);
		if (e)
			return e;
	}
	memcpy(r->now.slots[place_of(&r->now, tag)], tag, TAG_LEN);
	r->now.n++;
	if (stamp > r->now.latest)
		r->now.latest = stamp;
	return 0;
}

bool replay_has(struct replay *r, const void *what, size_t len)
{
	uint8_t tag[TAG_LEN];

	turn(r);
	tag_of(r, tag, what, len);
	return set_has(&r->now, tag) || set_has(&r->before, tag);
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

void replay_set_limits(struct replay *r, size_t max, uint64_t interval_ms)
{
	r->max = max;
	r->interval_ms = interval_ms;
	/* What is remembered already stays as long as it would have; a longer window begins with the next turn. */
}

/*
 * One hash table of fixed size with a list in the order of last use. When it is full, what was used longest
 * ago goes, which is nobody who is being guessed at now.
 */
#include "authd/bans.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "authd/config.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/list.h"
#include "crypto/kdf.h"
#include "crypto/secret.h"

enum { BUCKETS = 4096, ENTRIES_MAX = 32768 };

/* kind, and name or address, or a name at an address. */
struct key {
	uint8_t kind;
	char name[USERNAME_SPACE];
	struct address_key address;
};
_Static_assert(sizeof(struct key) == 1 + USERNAME_SPACE + sizeof(struct address_key), "compared as bytes");

struct entry {
	struct entry *next;
	struct list used;
	struct key key;
	uint64_t attempts;
	uint64_t forgiven_ms; /* up to when attempts were forgiven */
	uint64_t until_ms;    /* of the ban, */
	uint64_t lasts_ms;    /* its length, */
	struct address_key by; /* and who brought it */
};

struct bans {
	const struct authd_config *cfg;
	struct entry *buckets[BUCKETS];
	struct list used; /* the latest last */
	size_t n;
	uint8_t salt[16];
};

int bans_new(struct bans **out, const struct authd_config *cfg)
{
	struct bans *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->cfg = cfg;
	list_init(&b->used);
	random_bytes(b->salt, sizeof(b->salt));
	*out = b;
	return 0;
}

struct bans *bans_free(struct bans *b)
{
	if (!b)
		return NULL;
	list_for_each(it, &b->used)
		free(container_of(it, struct entry, used));
	free(b);
	return NULL;
}

void bans_set_config(struct bans *b, const struct authd_config *cfg)
{
	b->cfg = cfg;
}

/* ---- entries ---- */

static struct key key_of(enum ban_kind kind, const char *name, const struct address_key *a)
{
	struct key k = { .kind = (uint8_t)kind };

	if (name)
		snprintf(k.name, sizeof(k.name), "%s", name);
	if (a)
		k.address = *a;
	return k;
}

static struct entry **bucket_of(struct bans *b, const struct key *k)
{
	uint8_t mac[HMAC_SHA256_LEN];

	hmac_sha256(mac, b->salt, sizeof(b->salt), k, sizeof(*k));
	return &b->buckets[be16_load(mac) % BUCKETS];
}

static struct entry **find(struct bans *b, const struct key *k)
{
	struct entry **e = bucket_of(b, k);

	while (*e && memcmp(&(*e)->key, k, sizeof(*k)) != 0)
		e = &(*e)->next;
	return e;
}

static void drop(struct bans *b, struct entry **at)
{
	struct entry *e = *at;

	*at = e->next;
	list_remove(&e->used);
	free(e);
	b->n--;
}

static void forgive(const struct bans *b, struct entry *e)
{
	uint64_t now = clock_now_ms(), n = (now - e->forgiven_ms) / b->cfg->ban_forgive_ms;

	e->attempts -= n < e->attempts ? n : e->attempts;
	e->forgiven_ms += n * b->cfg->ban_forgive_ms;
}

/* Entries without a meaning any more, from the oldest on. */
static void tidy(struct bans *b)
{
	list_for_each(it, &b->used) {
		struct entry *e = container_of(it, struct entry, used);

		forgive(b, e);
		if (b->n < ENTRIES_MAX && (e->attempts > 0 || e->until_ms > clock_now_ms()))
			return;
		drop(b, find(b, &e->key));
	}
}

static struct entry *need(struct bans *b, const struct key *k)
{
	struct entry **at, *e;

	tidy(b);
	at = find(b, k);
	e = *at;
	if (!e) {
		e = calloc(1, sizeof(*e));
		if (!e)
			return NULL;
		e->key = *k;
		e->forgiven_ms = clock_now_ms();
		*at = e;
		b->n++;
	}
	list_remove(&e->used);
	list_append(&b->used, &e->used);
	return e;
}

/* ---- counting ---- */

static uint64_t left(const struct entry *e)
{
	uint64_t now = clock_now_ms();

	return e && e->until_ms > now ? e->until_ms - now : 0;
}

static bool is_same(const struct address_key *a, const struct address_key *b)
{
	return a->family == b->family && memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

/* Whether the name's bans there are apart from those elsewhere. */
static bool is_home(const struct attempt *t)
{
	return t->known && t->from.family;
}

uint64_t bans_user(struct bans *b, const struct attempt *t)
{
	struct key k = key_of(BAN_USER, t->name, is_home(t) ? &t->from : NULL);
	const struct entry *e = *find(b, &k);
	uint64_t now = clock_now_ms(), until = e ? e->until_ms : 0;

	if (e && t->from.family && is_same(&e->by, &t->from))
		until += e->lasts_ms;
	return until > now ? until - now : 0;
}

static uint64_t left_of(struct bans *b, enum ban_kind kind, const struct address_key *a)
{
	struct key k = key_of(kind, NULL, a);

	return a->family ? left(*find(b, &k)) : 0;
}

uint64_t bans_address(struct bans *b, const struct address_key *a)
{
	return left_of(b, BAN_ADDRESS, a);
}

uint64_t bans_proofs(struct bans *b, const struct address_key *a)
{
	return left_of(b, BAN_PROOFS, a);
}

uint64_t bans_renewals(struct bans *b, const char *name)
{
	struct key k = key_of(BAN_RENEWALS, name, NULL);

	return left(*find(b, &k));
}

/* Of the n-th attempt above what is allowed. */
static uint64_t length_of(const struct bans *b, uint64_t n)
{
	uint64_t ms = b->cfg->ban_first_ms;

	for (; n > 1 && ms < b->cfg->ban_longest_ms; n--)
		ms *= 2;
	return ms < b->cfg->ban_longest_ms ? ms : b->cfg->ban_longest_ms;
}

/* One more would bring no longer ban, and only more to be forgiven. */
static bool is_enough(const struct bans *b, uint64_t attempts, uint64_t allowed)
{
	return attempts > allowed && length_of(b, attempts - allowed) == b->cfg->ban_longest_ms;
}

/* True when a ban begins. */
static bool count(struct bans *b, const struct key *k, uint64_t allowed, const struct address_key *by)
{
	struct entry *e = need(b, k);

	/* Without memory nothing is counted, and the login will not find any either. */
	if (!e)
		return false;
	forgive(b, e);
	if (!is_enough(b, e->attempts, allowed))
		e->attempts++;
	if (e->attempts <= allowed)
		return false;
	e->lasts_ms = length_of(b, e->attempts - allowed);
	e->until_ms = clock_now_ms() + e->lasts_ms;
	e->by = *by;
	return true;
}

void bans_count(struct bans *b, const struct attempt *t, bool *user_began, bool *address_began)
{
	struct key k = key_of(BAN_ADDRESS, NULL, &t->from);

	*address_began = t->from.family && count(b, &k, b->cfg->ban_attempts_address, &t->from);
	*user_began = false;
	if (!t->name)
		return;
	k = key_of(BAN_USER, t->name, NULL);
	*user_began = count(b, &k, b->cfg->ban_attempts, &t->from);
	if (is_home(t)) {
		k = key_of(BAN_USER, t->name, &t->from);
		(void)count(b, &k, b->cfg->ban_attempts, &t->from);
	}
}

bool bans_count_proof(struct bans *b, const struct address_key *a)
{
	struct key k = key_of(BAN_PROOFS, NULL, a);

	return a->family && count(b, &k, b->cfg->ban_proofs, a);
}

bool bans_count_renewal(struct bans *b, const char *name)
{
	static const struct address_key none;
	struct key k = key_of(BAN_RENEWALS, name, NULL);

	return count(b, &k, b->cfg->ban_attempts, &none);
}

static void uncount(struct bans *b, const struct key *k, uint64_t allowed)
{
	struct entry **at = find(b, k), *e = *at;

	if (!e || e->attempts == 0)
		return;
	e->attempts--;
	/* A ban that this attempt brought began with a right password. */
	if (e->attempts <= allowed)
		e->until_ms = e->lasts_ms = 0;
	if (e->attempts == 0)
		drop(b, at);
}

void bans_uncount(struct bans *b, const struct attempt *t)
{
	struct key user = key_of(BAN_USER, t->name, NULL), home = key_of(BAN_USER, t->name, &t->from),
		   address = key_of(BAN_ADDRESS, NULL, &t->from);

	uncount(b, &user, b->cfg->ban_attempts);
	if (is_home(t))
		uncount(b, &home, b->cfg->ban_attempts);
	uncount(b, &address, b->cfg->ban_attempts_address);
}

/* ---- looking after ---- */

void bans_each(struct bans *b, void (*fn)(const struct ban *ban, void *arg), void *arg)
{
	list_for_each(it, &b->used) {
		const struct entry *e = container_of(it, struct entry, used);
		struct ban ban = { .kind = e->key.kind, .address = e->key.address, .attempts = e->attempts, .left_ms = left(e) };

		memcpy(ban.name, e->key.name, sizeof(ban.name));
		if (ban.left_ms)
			fn(&ban, arg);
	}
}

struct sum {
	enum ban_kind kind;
	size_t n;
};

static void add_one(const struct ban *ban, void *arg)
{
	struct sum *s = arg;

	s->n += ban->kind == s->kind;
}

size_t bans_in_force(struct bans *b, enum ban_kind kind)
{
	struct sum s = { kind, 0 };

	bans_each(b, add_one, &s);
	return s.n;
}

/* All of this name, or of this address where it is no name's. */
static bool lift(struct bans *b, const char *name, const struct address_key *a)
{
	bool lifted = false;

	list_for_each(it, &b->used) {
		struct entry *e = container_of(it, struct entry, used);

		if (name ? strcmp(e->key.name, name) != 0 : *e->key.name || !is_same(&e->key.address, a))
			continue;
		drop(b, find(b, &e->key));
		lifted = true;
	}
	return lifted;
}

bool bans_lift_user(struct bans *b, const char *name)
{
	return lift(b, name, NULL);
}

bool bans_lift_address(struct bans *b, const struct address_key *a)
{
	return lift(b, NULL, a);
}

/* ---- addresses as text ---- */

void address_key_format(char out[static ADDRESS_TEXT_SPACE], const struct address_key *k)
{
	uint8_t ip[16] = { 0 };

	memcpy(ip, k->b, sizeof(k->b));
	if (k->family == 4) {
		inet_ntop(AF_INET, ip, out, ADDRESS_TEXT_SPACE);
	} else if (k->family == 6) {
		inet_ntop(AF_INET6, ip, out, ADDRESS_TEXT_SPACE);
		strncat(out, "/64", ADDRESS_TEXT_SPACE - strlen(out) - 1);
	} else {
		snprintf(out, ADDRESS_TEXT_SPACE, "unix");
	}
}

int address_key_parse(struct address_key *k, const char *text)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
	char ip[ADDRESS_TEXT_SPACE];
	size_t len = strlen(text);

	if (len >= sizeof(ip))
		return -EINVAL;
	memcpy(ip, text, len + 1);
	if (inet_pton(AF_INET, ip, &v4.sin_addr) == 1) {
		address_key_init(k, (const struct sockaddr *)(const void *)&v4);
		return 0;
	}
	if (len > 3 && strcmp(ip + len - 3, "/64") == 0)
		ip[len - 3] = '\0';
	if (inet_pton(AF_INET6, ip, &v6.sin6_addr) != 1)
		return -EINVAL;
	address_key_init(k, (const struct sockaddr *)(const void *)&v6);
	return 0;
}

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

/* An entry's key: kind, then the name or the address, then zeros. */
struct key {
	uint8_t b[1 + USERNAME_SPACE];
};

struct entry {
	struct entry *next;
	struct list used;
	struct key key;
	uint64_t attempts;
	uint64_t forgiven_ms; /* up to when attempts were forgiven */
	uint64_t until_ms;    /* of the ban */
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

static struct key key_of_user(const char *name)
{
	struct key k = { { BAN_USER } };

	snprintf((char *)k.b + 1, sizeof(k.b) - 1, "%s", name);
	return k;
}

static struct key key_of_address(enum ban_kind kind, const struct address_key *a)
{
	struct key k = { { (uint8_t)kind, a->family } };

	memcpy(k.b + 2, a->b, sizeof(a->b));
	return k;
}

static struct entry **bucket_of(struct bans *b, const struct key *k)
{
	uint8_t mac[HMAC_SHA256_LEN];

	hmac_sha256(mac, b->salt, sizeof(b->salt), k->b, sizeof(k->b));
	return &b->buckets[be16_load(mac) % BUCKETS];
}

static struct entry **find(struct bans *b, const struct key *k)
{
	struct entry **e = bucket_of(b, k);

	while (*e && memcmp((*e)->key.b, k->b, sizeof(k->b)) != 0)
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

uint64_t bans_user(struct bans *b, const char *name)
{
	struct key k = key_of_user(name);

	return left(*find(b, &k));
}

static uint64_t left_of(struct bans *b, enum ban_kind kind, const struct address_key *a)
{
	struct key k = key_of_address(kind, a);

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

/* True when a ban begins. */
static bool count(struct bans *b, const struct key *k, uint64_t allowed)
{
	struct entry *e = need(b, k);
	uint64_t ms = b->cfg->ban_first_ms;

	/* Without memory nothing is counted, and the login will not find any either. */
	if (!e)
		return false;
	forgive(b, e);
	e->attempts++;
	if (e->attempts <= allowed)
		return false;
	for (uint64_t i = allowed + 1; i < e->attempts && ms < b->cfg->ban_longest_ms; i++)
		ms *= 2;
	if (ms > b->cfg->ban_longest_ms)
		ms = b->cfg->ban_longest_ms;
	e->until_ms = clock_now_ms() + ms;
	return true;
}

void bans_count(struct bans *b, const char *name, const struct address_key *a, bool *user_began, bool *address_began)
{
	struct key address = key_of_address(BAN_ADDRESS, a), user;

	*address_began = a->family && count(b, &address, b->cfg->ban_attempts_address);
	*user_began = false;
	if (name) {
		user = key_of_user(name);
		*user_began = count(b, &user, b->cfg->ban_attempts);
	}
}

bool bans_count_proof(struct bans *b, const struct address_key *a)
{
	struct key k = key_of_address(BAN_PROOFS, a);

	return a->family && count(b, &k, b->cfg->ban_proofs);
}

static void uncount(struct bans *b, const struct key *k, uint64_t allowed)
{
	struct entry **at = find(b, k), *e = *at;

	if (!e || e->attempts == 0)
		return;
	e->attempts--;
	/* A ban that this attempt brought began with a right password. */
	if (e->attempts <= allowed)
		e->until_ms = 0;
	if (e->attempts == 0)
		drop(b, at);
}

void bans_uncount(struct bans *b, const char *name, const struct address_key *a)
{
	struct key user = key_of_user(name), address = key_of_address(BAN_ADDRESS, a);

	uncount(b, &user, b->cfg->ban_attempts);
	uncount(b, &address, b->cfg->ban_attempts_address);
}

/* ---- looking after ---- */

void bans_each(struct bans *b, void (*fn)(const struct ban *ban, void *arg), void *arg)
{
	list_for_each(it, &b->used) {
		const struct entry *e = container_of(it, struct entry, used);
		struct ban ban = { .kind = e->key.b[0], .attempts = e->attempts, .left_ms = left(e) };

		if (!ban.left_ms)
			continue;
		if (ban.kind == BAN_USER) {
			memcpy(ban.name, e->key.b + 1, sizeof(ban.name));
		} else {
			ban.address.family = e->key.b[1];
			memcpy(ban.address.b, e->key.b + 2, sizeof(ban.address.b));
		}
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

static bool lift(struct bans *b, const struct key *k)
{
	struct entry **at = find(b, k);

	if (!*at)
		return false;
	drop(b, at);
	return true;
}

bool bans_lift_user(struct bans *b, const char *name)
{
	struct key k = key_of_user(name);

	return lift(b, &k);
}

bool bans_lift_address(struct bans *b, const struct address_key *a)
{
	struct key logins = key_of_address(BAN_ADDRESS, a), proofs = key_of_address(BAN_PROOFS, a);
	bool lifted = lift(b, &logins);

	return lift(b, &proofs) || lifted;
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

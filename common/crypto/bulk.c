/*
 * Which library seals packets. One that is not libsodium is believed only
 * after it has sealed as libsodium does and refused what libsodium refuses, at
 * lengths around every block that an implementation may treat apart; and it
 * must be faster here, on this processor, to be taken by itself.
 */
#include "crypto/bulk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "crypto/bulk_internal.h"
#include "crypto/secret.h"

enum {
	LEN_MAX = 65535,
	/* Every length of a usual packet, then every PROVE_STEPth: odd, so that all remainders come. */
	PROVE_EACH = 1600,
	PROVE_STEP = 4093,
	GUARD = 64,
	/* A full packet of the default MTU; so many in a row, best of so many rounds. */
	RACE_LEN = 1420,
	RACE_PACKETS = 16,
	RACE_ROUNDS = 25,
	/* Percent of libsodium's speed that are worth a second library. */
	RACE_WORTH = 120,
};

const char *const bulk_choice_names[] = { "auto", "libsodium", "ipsec-mb", NULL };

static const struct bulk_way *way = &bulk_sodium;
static struct bulk_info info = { .name = "libsodium" };

void bulk_seal(uint8_t *header, size_t len, const uint8_t nonce[static AEAD_NONCE_LEN],
	       const uint8_t key[static AEAD_KEY_LEN])
{
	way->seal(header, len, nonce, key);
}

int bulk_open(uint8_t *header, size_t len, const uint8_t nonce[static AEAD_NONCE_LEN],
	      const uint8_t key[static AEAD_KEY_LEN])
{
	return way->open(header, len, nonce, key);
}

/* What is sealed for the proof, with bytes around it that must stay. */
struct proof {
	uint8_t key[AEAD_KEY_LEN], nonce[AEAD_NONCE_LEN];
	uint8_t plain[GUARD + BULK_HEADER_LEN + LEN_MAX + AEAD_TAG_LEN + GUARD];
	uint8_t want[GUARD + BULK_HEADER_LEN + LEN_MAX + AEAD_TAG_LEN + GUARD];
	uint8_t got[GUARD + BULK_HEADER_LEN + LEN_MAX + AEAD_TAG_LEN + GUARD];
};

/* One bit in header, packet or tag turned over: refused, and nothing else has changed. */
static bool refuses(const struct bulk_way *w, struct proof *p, size_t at, size_t len, size_t whole)
{
	size_t from = at - BULK_HEADER_LEN;
	uint32_t bit = random_below((uint32_t)(8 * (BULK_HEADER_LEN + len + AEAD_TAG_LEN)));
	uint8_t mask = (uint8_t)(1 << bit % 8);
	bool good;

	p->got[from + bit / 8] ^= mask;
	p->want[from + bit / 8] ^= mask;
	good = w->open(p->got + from, len, p->nonce, p->key) == -EBADMSG &&
	       memcmp(p->got, p->want, whole) == 0;
	p->got[from + bit / 8] ^= mask;
	p->want[from + bit / 8] ^= mask;
	return good;
}

static bool prove_length(const struct bulk_way *w, struct proof *p, size_t len)
{
	/* At every alignment in turn. */
	size_t from = len % GUARD, at = from + BULK_HEADER_LEN;
	size_t whole = at + len + AEAD_TAG_LEN + GUARD;

	memcpy(p->want, p->plain, whole);
	memcpy(p->got, p->plain, whole);
	p->nonce[0]++;
	aead_seal(p->want + at, p->plain + at, len, p->plain + from, BULK_HEADER_LEN, p->nonce, p->key);
	w->seal(p->got + from, len, p->nonce, p->key);
	if (memcmp(p->got, p->want, whole) != 0 || !refuses(w, p, at, len, whole))
		return false;
	if (w->open(p->got + from, len, p->nonce, p->key) != 0)
		return false;
	/* The tag stays behind the packet. */
	memcpy(p->want + at, p->plain + at, len);
	return memcmp(p->got, p->want, whole) == 0;
}

/* Equal to libsodium's AEAD, both ways. Without memory it is not proven. */
static bool prove(const struct bulk_way *w)
{
	_cleanup_free_ struct proof *p = malloc(sizeof(*p));
	bool good = true;

	if (!p)
		return false;
	random_bytes(p->key, sizeof(p->key));
	random_bytes(p->nonce, sizeof(p->nonce));
	random_bytes(p->plain, sizeof(p->plain));
	for (size_t len = 0; good && len <= LEN_MAX; len += len < PROVE_EACH ? 1 : PROVE_STEP)
		good = prove_length(w, p, len);
	return good && prove_length(w, p, LEN_MAX);
}

bool bulk_selfcheck(void)
{
	const struct bulk_way *other;
	struct bulk_info unused;

	if (!prove(&bulk_sodium))
		return false;
	if (bulk_ipsec_mb_load(&other, unused.note, sizeof(unused.note), &unused.hint))
		return true;
	return prove(other);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t lap(const struct bulk_way *w, uint8_t *buf, const uint8_t *nonce, const uint8_t *key)
{
	uint64_t begun = now_ns();

	for (int i = 0; i < RACE_PACKETS; i++)
		w->seal(buf, RACE_LEN, nonce, key);
	return now_ns() - begun;
}

/* The speed of w in percent of libsodium's: of the best laps, which other work on the machine disturbs least. */
static uint64_t race(const struct bulk_way *w)
{
	uint8_t buf[BULK_HEADER_LEN + RACE_LEN + BULK_ROOM] = { 0 };
	static const uint8_t key[AEAD_KEY_LEN], nonce[AEAD_NONCE_LEN];
	uint64_t ours = UINT64_MAX, theirs = UINT64_MAX;

	for (int i = 0; i < RACE_ROUNDS; i++) {
		uint64_t a = lap(&bulk_sodium, buf, nonce, key), b = lap(w, buf, nonce, key);

		ours = a < ours ? a : ours;
		theirs = b < theirs ? b : theirs;
	}
	return theirs ? 100 * ours / theirs : RACE_WORTH;
}

static void add_note(const char *text)
{
	size_t n = strlen(info.note);

	snprintf(info.note + n, sizeof(info.note) - n, "%s", text);
}

int bulk_choose(enum bulk_choice choice)
{
	const struct bulk_way *other;
	char speed[64];
	uint64_t percent;
	int r;

	way = &bulk_sodium;
	info = (struct bulk_info){ .name = way->name };
	if (choice == BULK_SODIUM) {
		add_note("as configured");
		return 0;
	}
	r = bulk_ipsec_mb_load(&other, info.note, sizeof(info.note), &info.hint);
	if (r)
		return choice == BULK_AUTO ? 0 : r;
	if (!prove(other)) {
		add_note(": this ipsec-mb does not seal as libsodium does, and is not used");
		info.hint = "Install the distribution's libipsec-mb anew, or another version of it.";
		return BULK_E_WRONG;
	}
	if (choice == BULK_AUTO) {
		percent = race(other);
		snprintf(speed, sizeof(speed), percent < RACE_WORTH ? ": ipsec-mb has only %u.%02u times libsodium's speed here" :
								      ": %u.%02u times libsodium's speed here",
			 (unsigned int)(percent / 100), (unsigned int)(percent % 100));
		add_note(speed);
		if (percent < RACE_WORTH)
			return 0;
	}
	way = other;
	info.name = way->name;
	return 0;
}

const struct bulk_info *bulk_info(void)
{
	return &info;
}

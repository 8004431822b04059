/*
 * Profile negotiation, pure. Nothing here trusts an offer's origin: the offers
 * are plain statements, and only the digest that both sides bind into their
 * keys makes them mean anything.
 */
#include "proto/negotiate.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "crypto/kdf.h"
#include "crypto/secret.h"

#define RANK_DIGITS_MAX 5

bool profile_is_name(const char *name, uint32_t *rank)
{
	const char *p = name;
	uint32_t v = 0;

	if (strnlen(name, PROFILE_NAME_MAX + 1) > PROFILE_NAME_MAX)
		return false;
	if (*p++ != 'v' || *p == '0')
		return false;
	for (; *p >= '0' && *p <= '9'; p++) {
		if (p - name > RANK_DIGITS_MAX)
			return false;
		v = v * 10 + (uint32_t)(*p - '0');
	}
	if (v == 0 || *p++ != '-' || !*p)
		return false;
	for (; *p; p++)
		if (!(*p >= 'a' && *p <= 'z') && !(*p >= '0' && *p <= '9') && *p != '-')
			return false;
	if (rank)
		*rank = v;
	return true;
}

/* Falling rank; of one rank, the name that sorts later comes first. Both names are valid. */
static int profile_compare(const char *a, const char *b)
{
	uint32_t ra = 0, rb = 0;

	profile_is_name(a, &ra);
	profile_is_name(b, &rb);
	if (ra != rb)
		return ra > rb ? -1 : 1;
	return -strcmp(a, b);
}

static bool offer_has(const struct negotiate_offer *o, const char *name)
{
	for (size_t i = 0; i < o->n; i++)
		if (strcmp(o->names[i], name) == 0)
			return true;
	return false;
}

int negotiate_offer_init(struct negotiate_offer *o, const char *const *names, size_t n,
			 const char *minimum)
{
	struct negotiate_offer made = { 0 };

	if (n == 0 || n > PROFILES_MAX)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		size_t at = made.n;

		if (!profile_is_name(names[i], NULL) || offer_has(&made, names[i]))
			return -EINVAL;
		for (; at > 0 && profile_compare(names[i], made.names[at - 1]) < 0; at--)
			memcpy(made.names[at], made.names[at - 1], sizeof(made.names[0]));
		memset(made.names[at], 0, sizeof(made.names[0]));
		memcpy(made.names[at], names[i], strlen(names[i]));
		made.n++;
	}
	if (!minimum)
		minimum = made.names[made.n - 1];
	if (!offer_has(&made, minimum))
		return -EINVAL;
	memcpy(made.minimum, minimum, strlen(minimum) + 1);
	*o = made;
	return 0;
}

bool negotiate_offer_is_valid(const struct negotiate_offer *o)
{
	if (o->n == 0 || o->n > PROFILES_MAX)
		return false;
	for (size_t i = 0; i < o->n; i++) {
		if (!profile_is_name(o->names[i], NULL))
			return false;
		if (i > 0 && profile_compare(o->names[i - 1], o->names[i]) >= 0)
			return false;
	}
	return profile_is_name(o->minimum, NULL) && offer_has(o, o->minimum);
}

int negotiate_choose(char chosen[static PROFILE_NAME_MAX + 1], const struct negotiate_offer *a,
		     const struct negotiate_offer *b)
{
	uint32_t min_a = 0, min_b = 0;

	profile_is_name(a->minimum, &min_a);
	profile_is_name(b->minimum, &min_b);
	for (size_t i = 0; i < a->n; i++) {
		uint32_t rank = 0;

		profile_is_name(a->names[i], &rank);
		if (rank < min_a || rank < min_b || !offer_has(b, a->names[i]))
			continue;
		memcpy(chosen, a->names[i], PROFILE_NAME_MAX + 1);
		return 0;
	}
	return NEGOTIATE_E_NO_COMMON;
}

static void put_offer(struct wbuf *w, const struct negotiate_offer *o)
{
	wbuf_be16(w, (uint16_t)o->n);
	for (size_t i = 0; i < o->n; i++)
		wbuf_lv16(w, o->names[i], strlen(o->names[i]));
	wbuf_lv16(w, o->minimum, strlen(o->minimum));
}

void negotiate_digest(uint8_t out[static NEGOTIATE_DIGEST_LEN], const uint8_t session_id[static 16],
		      const struct negotiate_offer *alice, const struct negotiate_offer *bob,
		      const char *chosen)
{
	static const char label[] = "handfast pairing negotiation";
	uint8_t buf[64 + 2 * (PROFILES_MAX + 2) * (PROFILE_NAME_MAX + 2) + PROFILE_NAME_MAX];
	struct wbuf w;

	wbuf_init(&w, buf, sizeof(buf));
	wbuf_lv16(&w, label, sizeof(label) - 1);
	wbuf_lv16(&w, session_id, 16);
	put_offer(&w, alice);
	put_offer(&w, bob);
	wbuf_lv16(&w, chosen, strlen(chosen));
	sha256(out, buf, w.len);
}

int negotiate_verify(const char *own_choice, const uint8_t own_digest[static NEGOTIATE_DIGEST_LEN],
		     const char *peer_choice,
		     const uint8_t peer_digest[static NEGOTIATE_DIGEST_LEN])
{
	if (strcmp(own_choice, peer_choice) != 0)
		return NEGOTIATE_E_DOWNGRADE;
	if (!bytes_equal(own_digest, peer_digest, NEGOTIATE_DIGEST_LEN))
		return NEGOTIATE_E_DOWNGRADE;
	return 0;
}

/* What one side ends with that sent own and was shown seen. */
static int selfcheck_side(char chosen[static PROFILE_NAME_MAX + 1],
			  uint8_t digest[static NEGOTIATE_DIGEST_LEN],
			  const struct negotiate_offer *alice, const struct negotiate_offer *bob)
{
	static const uint8_t session_id[16] = { 0 };

	if (negotiate_choose(chosen, alice, bob))
		return -EINVAL;
	negotiate_digest(digest, session_id, alice, bob, chosen);
	return 0;
}

bool negotiate_selfcheck(void)
{
	static const char *const both[] = { "v40-selfcheck", "v50-selfcheck" };
	struct negotiate_offer full, low;
	char a[PROFILE_NAME_MAX + 1], b[PROFILE_NAME_MAX + 1];
	uint8_t da[NEGOTIATE_DIGEST_LEN], db[NEGOTIATE_DIGEST_LEN];

	if (negotiate_offer_init(&full, both, 2, NULL) || negotiate_offer_init(&low, both, 1, NULL))
		return false;

	/* Untouched: both choose the higher one and agree. */
	if (selfcheck_side(a, da, &full, &full) || selfcheck_side(b, db, &full, &full) ||
	    strcmp(a, both[1]) != 0 || negotiate_verify(a, da, b, db))
		return false;
	/* Each list stripped on its way to the other side: equal choices, and still refused. */
	if (selfcheck_side(a, da, &full, &low) || selfcheck_side(b, db, &low, &full) ||
	    strcmp(a, b) != 0 || negotiate_verify(a, da, b, db) != NEGOTIATE_E_DOWNGRADE)
		return false;
	/* One list stripped: the choices differ. */
	if (selfcheck_side(a, da, &full, &full) || selfcheck_side(b, db, &low, &full) ||
	    negotiate_verify(a, da, b, db) != NEGOTIATE_E_DOWNGRADE)
		return false;
	/* A side that insists on the higher one is not talked down. */
	if (negotiate_offer_init(&full, both, 2, both[1]))
		return false;
	return negotiate_choose(a, &full, &low) == NEGOTIATE_E_NO_COMMON;
}

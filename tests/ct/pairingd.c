/*
 * Whole pairings, both halves in one process: the secret, all that is drawn at random and the
 * identity keys are secret; what goes over the relay is public from there on. Argon2id is not
 * run (see common.c); a hash stands in for it.
 */
#include <stdio.h>
#include <string.h>

#include "crypto/seal.h"
#include "ct/ct.h"
#include "pairingd/identity.h"
#include "pairingd/pairing_internal.h"
#include "pairingd/peers.h"
#include "unit/pairingd/halves.h"

static void ct_random(void *out, size_t len, void *arg)
{
	halves_random(out, len, arg);
	mark_secret(out, len);
}

static bool over_the_relay(struct halves *h, enum pairing_role from, struct pairing_packet *packet, void *arg)
{
	(void)h;
	(void)from;
	(void)arg;
	mark_public(packet, sizeof(*packet));
	return true;
}

static void marked_halves(struct halves *h, const struct halves_setup *setup)
{
	memset(h, 0, sizeof(*h));
	h->relay = over_the_relay;
	h->people = true;
	halves_new(h, setup);
	for (int role = 0; role < 2; role++) {
		struct pairing *p = h->side[role].p;
		uint8_t seed[SIGN_SEED_LEN];

		random_bytes(seed, sizeof(seed));
		sign_key_free(h->side[role].key);
		must_be(sign_key_from_seed(&h->side[role].key, seed), 0, "no memory");
		signer_init(&h->side[role].signer, h->side[role].key);
		p->random = ct_random;
		mark_secret(secret_bytes(p->secret), secret_len(p->secret));
	}
}

static void pair(const struct halves_setup *setup, enum pairing_code alice, enum pairing_code bob)
{
	static struct halves h;

	marked_halves(&h, setup);
	halves_run(&h);
	must(h.side[0].ended && h.side[1].ended, "a pairing does not end");
	must(h.side[0].code == alice && h.side[1].code == bob, "a pairing ends in another way");
	halves_done(&h);
}

CHECK(pairing_by_pin)
{
	const struct halves_setup setup = halves_pin("123456", "123456");

	pair(&setup, PAIRING_OK, PAIRING_OK);
}

CHECK(pairing_by_wrong_pin)
{
	const struct halves_setup setup = halves_pin("123456", "123457");

	pair(&setup, PAIRING_WRONG_SECRET, PAIRING_WRONG_SECRET);
}

CHECK(pairing_by_secret)
{
	const struct halves_setup setup = {
		.class = { SECRET_SEC, SECRET_SEC },
		.secret = { "sixteen bytes or more", "sixteen bytes or more" },
	};

	pair(&setup, PAIRING_OK, PAIRING_OK);
}

/* A sealed packet that was changed on its way: nothing but that it does not open. */
CHECK(channel_tampered_with)
{
	const struct halves_setup setup = halves_pin("123456", "123456");
	struct pairing_packet packet;
	static struct halves h;
	int tries = 0;

	marked_halves(&h, &setup);
	h.people = false;
	halves_run(&h);
	must(h.side[0].p->channel_open, "no channel");
	packet = (struct pairing_packet){ .kind = PAIRING_SEALED, .seq = PAIRING_VERDICT, .len = 40 };
	while (!h.side[0].ended && tries++ < PAIRING_OPEN_FAILURES_MAX)
		halves_deliver_to(&h, PAIRING_ALICE, &packet);
	must(h.side[0].code == PAIRING_TAMPERED, "tampering is not noticed");
	halves_done(&h);
}

CHECK(sas_number)
{
	char text[SAS_DIGITS + 1];
	uint8_t value[8];

	random_bytes(value, sizeof(value));
	sas_format(text, value);
}

static struct seal_key *state_key(void)
{
	_cleanup_(secret_freep) struct secret *master = marked(32);
	struct seal_key *key;

	must_be(seal_key_new(&key, master, "test"), 0, "no memory");
	mark_public(seal_key_id(key), SEAL_ID_LEN);
	return key;
}

CHECK(identity_at_rest)
{
	_cleanup_(seal_key_freep) struct seal_key *key = state_key();
	_cleanup_(sign_key_freep) struct sign_key *made = NULL, *again = NULL;
	enum identity_news news;

	must_be(identity_load(&made, ct_tmpdir(), NULL, &news), 0, "no identity is made");
	/* Sealed now, and read back. */
	must_be(identity_load(&again, ct_tmpdir(), key, &news), 0, "an identity is not sealed");
	again = sign_key_free(again);
	must_be(identity_load(&again, ct_tmpdir(), key, &news), 0, "an identity is not read");
}

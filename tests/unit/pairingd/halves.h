/*
 * Both halves of a pairing in one process, with everything around them in the
 * test's hand: the relay is a function, the disk a flag, the person a pick.
 */
#pragma once

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/kdf.h"
#include "pairingd/pairing.h"
#include "pairingd/signer.h"

#define HALVES_MAIL_MAX 64

struct half {
	struct pairing *p;
	struct sign_key *key;
	struct signer signer;
	struct pairing_packet mail[HALVES_MAIL_MAX]; /* sent, in order */
	size_t n_mail, n_delivered;
	/* what it did */
	unsigned int spends, proven, stores, activations, removals, greetings, waits;
	bool ended;
	enum pairing_code code;
	bool stored, active;
	char choices[SAS_CHOICES][SAS_DIGITS + 1];
	bool comparing;
	uint8_t root[32], tunnel_id[16];
	char peer_name[IDENTITY_NAME_MAX + 1], peer_note[PAIRING_NOTE_MAX + 1];
	char profile[PROFILE_NAME_MAX + 1];
	bool sas_compared;
	size_t mail_when_spent; /* packets that had left when it asked to spend */
	/* the world around it */
	int spend_error, store_error, activate_error;
	bool hold_stretch; /* keep the job until halves_stretch() */
	struct pairing_stretch *job;
	uint64_t random_state;
};

struct halves {
	struct half side[2];
	uint64_t now_ms;
	/* What the relay does with a packet of from: true to deliver *packet (perhaps changed). NULL: everything. */
	bool (*relay)(struct halves *h, enum pairing_role from, struct pairing_packet *packet, void *arg);
	void *relay_arg;
	bool people; /* pick by themselves the number that both screens show */
};

struct halves_setup {
	enum secret_class class[2];
	const char *secret[2];
	bool compare[2];
	const struct pairing_profile *profiles[2];
	size_t n_profiles[2];
	const char *minimum[2];
	bool same_device;
};

static const struct pairing_profile halves_test_profiles[] = {
	{ "v40-spake2-x25519", PAIRING_SUITE_SPAKE2_X25519 },
	{ "v50-test", PAIRING_SUITE_SPAKE2_X25519 },
	{ "v60-test", PAIRING_SUITE_SPAKE2_X25519 },
};

static inline struct halves_setup halves_pin(const char *alice, const char *bob)
{
	return (struct halves_setup){ .class = { SECRET_PIN, SECRET_PIN }, .secret = { alice, bob } };
}

/* Repeatable, and different for each side. */
static inline void halves_random(void *out, size_t len, void *arg)
{
	struct half *half = arg;
	uint8_t *p = out;

	while (len > 0) {
		uint8_t in[8], hash[SHA256_LEN];
		size_t n = len < sizeof(hash) ? len : sizeof(hash);

		half->random_state += 2;
		memcpy(in, &half->random_state, sizeof(in));
		sha256(hash, in, sizeof(in));
		memcpy(p, hash, n);
		p += n;
		len -= n;
	}
}

static inline void halves_new(struct halves *h, const struct halves_setup *setup)
{
	h->now_ms = 1000;
	for (int role = 0; role < 2; role++) {
		struct half *half = &h->side[role];
		uint8_t seed[SIGN_SEED_LEN];
		char value[SECRET_VALUE_MAX];
		struct pairing_options o = {
			.role = (enum pairing_role)role,
			.session_id = "session id 16 by",
			.profiles = setup->profiles[role] ? setup->profiles[role] : pairing_profiles,
			.n_profiles = setup->profiles[role] ? setup->n_profiles[role] : pairing_n_profiles,
			.minimum = setup->minimum[role],
			.secret_class = setup->class[role],
			.compare_sas = setup->compare[role],
			.deadlines = { .join_ms = 60000, .step_ms = 10000, .sas_ms = 30000 },
			.random = halves_random,
			.random_arg = half,
		};
		int r;

		memset(seed, setup->same_device ? 7 : role + 1, sizeof(seed));
		r = sign_key_from_seed(&half->key, seed);
		assert(!r);
		half->random_state = (uint64_t)role;
		signer_init(&half->signer, half->key);
		o.self.signer = &half->signer;
		strcpy(o.self.name, role ? "pi" : "laptop");
		strcpy(o.self.version, "0.1.0");
		strcpy(o.self.host_name, role ? "pi.local" : "laptop.local");
		strcpy(o.self.note, role ? "from the shed" : "");
		o.self.port = (uint16_t)(7200 + role);
		o.self.n_candidates = 2;
		strcpy(o.self.candidates[0], role ? "192.0.2.2" : "192.0.2.1");
		strcpy(o.self.candidates[1], "[2001:db8::1]");
		strcpy(value, setup->secret[role]);
		r = secret_take(&o.secret, (uint8_t *)value, strlen(setup->secret[role]));
		assert(!r);
		r = pairing_new(&half->p, &o, h->now_ms);
		assert(!r);
		(void)r;
	}
}

static inline void halves_done(struct halves *h)
{
	for (int role = 0; role < 2; role++) {
		pairing_stretch_free(h->side[role].job);
		pairing_free(h->side[role].p);
		sign_key_free(h->side[role].key);
	}
}

/* In place of Argon2id, which takes too long to do a thousand times. */
static inline void halves_stretch(struct halves *h, enum pairing_role role)
{
	struct half *half = &h->side[role];
	struct pairing_stretch *job = half->job;
	uint8_t hash[SHA256_LEN];

	if (!job)
		return;
	half->job = NULL;
	sha256(hash, secret_bytes(job->input), secret_len(job->input));
	if (secret_take(&job->output, hash, sizeof(hash)))
		job->output = NULL;
	pairing_on_stretched(half->p, job, h->now_ms);
}

static inline void halves_store(struct half *half, const struct pairing_result *result)
{
	half->stores++;
	if (half->store_error)
		return;
	half->stored = true;
	memcpy(half->root, secret_bytes(result->tunnel_root), sizeof(half->root));
	memcpy(half->tunnel_id, result->tunnel_id, sizeof(half->tunnel_id));
	strcpy(half->profile, result->profile);
	half->sas_compared = result->sas_compared;
}

/* Do what a half asks for until it asks for nothing. */
static inline void halves_serve(struct halves *h, enum pairing_role role)
{
	struct half *half = &h->side[role];
	const struct pairing_action *a;

	while ((a = pairing_next(half->p))->what != PAIRING_DO_NOTHING) {
		switch (a->what) {
		case PAIRING_DO_SEND:
			assert(half->n_mail < HALVES_MAIL_MAX);
			half->mail[half->n_mail++] = a->packet;
			break;
		case PAIRING_DO_STRETCH:
			half->job = a->stretch;
			if (!half->hold_stretch)
				halves_stretch(h, role);
			break;
		case PAIRING_DO_SPEND:
			half->spends++;
			half->mail_when_spent = half->n_mail;
			pairing_on_spent(half->p, half->spend_error, h->now_ms);
			break;
		case PAIRING_DO_PROVEN:
			half->proven++;
			break;
		case PAIRING_DO_WAIT:
			half->waits++;
			break;
		case PAIRING_DO_COMPARE:
			memcpy(half->choices, a->choices, sizeof(half->choices));
			half->comparing = true;
			break;
		case PAIRING_DO_GREET:
			half->greetings++;
			strcpy(half->peer_name, a->peer->name);
			strcpy(half->peer_note, a->peer->note);
			break;
		case PAIRING_DO_STORE:
			halves_store(half, &a->result);
			pairing_on_stored(half->p, half->store_error, h->now_ms);
			break;
		case PAIRING_DO_ACTIVATE:
			half->activations++;
			half->active = !half->activate_error;
			pairing_on_activated(half->p, half->activate_error, h->now_ms);
			break;
		case PAIRING_DO_REMOVE:
			half->removals++;
			half->stored = false;
			break;
		case PAIRING_DO_END:
			assert(!half->ended);
			half->ended = true;
			half->code = a->code;
			break;
		case PAIRING_DO_NOTHING:
			break;
		}
	}
}

static inline void halves_deliver_to(struct halves *h, enum pairing_role to,
				     const struct pairing_packet *packet)
{
	pairing_on_packet(h->side[to].p, packet, h->now_ms);
	halves_serve(h, to);
}

/* Pass on one packet of from. False when there was none. */
static inline bool halves_pass(struct halves *h, enum pairing_role from)
{
	struct half *half = &h->side[from];
	struct pairing_packet packet;

	if (half->n_delivered == half->n_mail)
		return false;
	packet = half->mail[half->n_delivered++];
	if (!h->relay || h->relay(h, from, &packet, h->relay_arg))
		halves_deliver_to(h, from == PAIRING_ALICE ? PAIRING_BOB : PAIRING_ALICE, &packet);
	return true;
}

/* The number on both screens, or NULL. */
static inline const char *halves_common_number(const struct halves *h)
{
	for (size_t i = 0; i < SAS_CHOICES; i++)
		for (size_t j = 0; j < SAS_CHOICES; j++)
			if (strcmp(h->side[0].choices[i], h->side[1].choices[j]) == 0)
				return h->side[0].choices[i];
	return NULL;
}

static inline void halves_compare(struct halves *h)
{
	const char *number = halves_common_number(h);

	for (int role = 0; role < 2; role++) {
		if (!h->side[role].comparing)
			continue;
		h->side[role].comparing = false;
		pairing_on_sas(h->side[role].p, number, h->now_ms);
		halves_serve(h, (enum pairing_role)role);
	}
}

static inline void halves_join(struct halves *h)
{
	for (int role = 0; role < 2; role++) {
		halves_serve(h, (enum pairing_role)role);
		pairing_on_peer_joined(h->side[role].p, h->now_ms);
		halves_serve(h, (enum pairing_role)role);
	}
}

/* Run until nothing moves. */
static inline void halves_run(struct halves *h)
{
	bool moved;

	halves_join(h);
	do {
		moved = halves_pass(h, PAIRING_ALICE);
		moved = halves_pass(h, PAIRING_BOB) || moved;
		if (!moved && h->people && h->side[0].comparing && h->side[1].comparing) {
			halves_compare(h);
			moved = true;
		}
	} while (moved);
}

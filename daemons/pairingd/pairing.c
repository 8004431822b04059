/*
 * The pairing protocol. The two sides move in rounds: each sends its message
 * of round n + 1 only after it has the other's of round n, so a peer is never
 * more than one message ahead, and a message's kind and sequence are known
 * before it comes. Here is what goes in and comes out; pairing_machine.c says
 * what follows from what.
 *
 * Relies on the caller to make a spent secret durable before it says so (I3)
 * and to store before it says so (I9). Reads no clock (I7).
 */
#include "pairingd/pairing_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/text.h"
#include "crypto/spake2.h"

#define PIN_DIGITS_MIN 6
#define PIN_DIGITS_MAX 8

const struct pairing_profile pairing_profiles[] = {
	{ "v40-spake2-x25519", PAIRING_SUITE_SPAKE2_X25519 },
};
const size_t pairing_n_profiles = ARRAY_SIZE(pairing_profiles);

static const char *const phase_names[] = {
	[PAIRING_CREATED] = "created",
	[PAIRING_JOINED] = "joined",
	[PAIRING_NEGOTIATED] = "negotiated",
	[PAIRING_IN_PAKE] = "pake",
	[PAIRING_PAKE_CONFIRMED] = "pake-confirmed",
	[PAIRING_IN_HANDSHAKE] = "handshake",
	[PAIRING_CONFIRMED] = "confirmed",
	[PAIRING_IN_SAS] = "sas",
	[PAIRING_IS_PREPARED] = "prepared",
	[PAIRING_IS_ACTIVE] = "active",
	[PAIRING_IS_ABORTED] = "aborted",
};

const char *pairing_phase_name(enum pairing_phase phase)
{
	return phase_names[phase];
}

static void system_random(void *out, size_t len, void *arg)
{
	(void)arg;
	random_bytes(out, len);
}

/* ---- what to do ---- */

/*
 * The caller empties the queue after each event and no event makes more than
 * five actions, so a full queue is a caller that forgot.
 */
struct pairing_action *pairing_push(struct pairing *p, enum pairing_do what)
{
	struct pairing_action *a;

	if (p->queue_at == p->queue_n)
		p->queue_at = p->queue_n = 0;
	assert(p->queue_n < QUEUE_MAX);
	a = &p->queue[p->queue_n++];
	a->what = what;
	return a;
}

const struct pairing_action *pairing_next(struct pairing *p)
{
	static const struct pairing_action nothing = { .what = PAIRING_DO_NOTHING };

	if (p->queue_at == p->queue_n)
		return &nothing;
	return &p->queue[p->queue_at++];
}

void pairing_set_wait(struct pairing *p, const char *step, const char *who, uint64_t for_ms,
		      uint64_t now_ms)
{
	if (p->wait_step && strcmp(p->wait_step, step) == 0 && strcmp(p->wait_for, who) == 0)
		return;
	p->wait_step = step;
	p->wait_for = who;
	p->deadline_ms = for_ms > UINT64_MAX - now_ms ? UINT64_MAX : now_ms + for_ms;
	pairing_push(p, PAIRING_DO_WAIT);
}

/* Secrets have no use past the end. */
static void drop_secrets(struct pairing *p)
{
	p->secret = secret_free(p->secret);
	p->stretched = secret_free(p->stretched);
	p->spake2 = spake2_free(p->spake2);
	p->pake_key = secret_free(p->pake_key);
	p->x25519_private = secret_free(p->x25519_private);
	p->session = secret_free(p->session);
	p->channel[0] = secret_free(p->channel[0]);
	p->channel[1] = secret_free(p->channel[1]);
	p->tunnel_root = secret_free(p->tunnel_root);
	p->channel_open = false;
	wipe(p->nonce, sizeof(p->nonce));
	wipe(p->sas, sizeof(p->sas));
}

void pairing_end(struct pairing *p, enum pairing_code code)
{
	p->code = code;
	p->phase = code == PAIRING_OK ? PAIRING_IS_ACTIVE : PAIRING_IS_ABORTED;
	p->deadline_ms = UINT64_MAX;
	drop_secrets(p);
	pairing_push(p, PAIRING_DO_END)->code = code;
}

/* End from this side, but never take back what the peer may rely on already. */
void pairing_end_early(struct pairing *p, enum pairing_code code)
{
	if (p->phase == PAIRING_IS_PREPARED)
		pairing_end(p, PAIRING_UNCONFIRMED);
	else
		pairing_abort(p, code);
}

/* ---- what happens ---- */

void pairing_on_garbage(struct pairing *p, uint64_t now_ms)
{
	(void)now_ms;
	if (!pairing_is_over(p))
		pairing_end_early(p, PAIRING_TAMPERED);
}

void pairing_on_peer_joined(struct pairing *p, uint64_t now_ms)
{
	if (p->phase != PAIRING_CREATED)
		return;
	p->phase = PAIRING_JOINED;
	pairing_advance(p, now_ms);
}

void pairing_on_peer_left(struct pairing *p, uint64_t now_ms)
{
	(void)now_ms;
	if (pairing_is_over(p))
		return;
	pairing_end(p, p->phase == PAIRING_IS_PREPARED ? PAIRING_UNCONFIRMED : PAIRING_PEER_LEFT);
}

void pairing_on_stretched(struct pairing *p, struct pairing_stretch *s, uint64_t now_ms)
{
	_cleanup_(pairing_stretch_freep) struct pairing_stretch *mine = s;

	if (pairing_is_over(p))
		return;
	assert(p->phase == PAIRING_IN_PAKE && !p->stretched && p->sent < PAIRING_PAKE);
	if (!mine->output) {
		pairing_abort(p, PAIRING_INTERNAL);
		return;
	}
	p->stretched = steal(&mine->output);
	pairing_advance(p, now_ms);
}

void pairing_on_spent(struct pairing *p, int r, uint64_t now_ms)
{
	if (pairing_is_over(p))
		return;
	assert(p->spend_asked && !p->spent);
	if (r) {
		pairing_abort(p, PAIRING_STORAGE_FAILED);
		return;
	}
	p->spent = true;
	pairing_advance(p, now_ms);
}

void pairing_on_stored(struct pairing *p, int r, uint64_t now_ms)
{
	if (pairing_is_over(p))
		return;
	assert(p->store_asked && !p->stored);
	if (r) {
		pairing_abort(p, PAIRING_STORAGE_FAILED);
		return;
	}
	p->stored = true;
	pairing_advance(p, now_ms);
}

void pairing_on_activated(struct pairing *p, int r, uint64_t now_ms)
{
	if (pairing_is_over(p))
		return;
	assert(p->activate_asked);
	/* It stays prepared, which the peer's first tunnel message mends. */
	if (r) {
		pairing_end(p, PAIRING_UNCONFIRMED);
		return;
	}
	p->activated = true;
	pairing_advance(p, now_ms);
}

void pairing_on_sas(struct pairing *p, const char *digits, uint64_t now_ms)
{
	if (p->phase != PAIRING_IN_SAS || !p->compare_needed || p->compared)
		return;
	if (!digits || strlen(digits) != SAS_DIGITS || !bytes_equal(digits, p->sas, SAS_DIGITS)) {
		pairing_abort(p, PAIRING_SAS_MISMATCH);
		return;
	}
	p->compared = true;
	pairing_advance(p, now_ms);
}

void pairing_on_time(struct pairing *p, uint64_t now_ms)
{
	if (!pairing_is_over(p) && now_ms >= p->deadline_ms)
		pairing_end_early(p, PAIRING_EXPIRED);
}

void pairing_on_cancel(struct pairing *p, enum pairing_code why, uint64_t now_ms)
{
	(void)now_ms;
	if (!pairing_is_over(p))
		pairing_end_early(p, why);
}

/* ---- life ---- */

static bool secret_fits(enum secret_class class, const struct secret *s)
{
	size_t len = secret_len(s);

	if (class == SECRET_SEC)
		return len >= SECRET_VALUE_MIN_SEC && len <= SECRET_VALUE_MAX;
	return len >= PIN_DIGITS_MIN && len <= PIN_DIGITS_MAX;
}

int pairing_new(struct pairing **out, struct pairing_options *o, uint64_t now_ms)
{
	_cleanup_(pairing_freep) struct pairing *p = NULL;
	const char *names[PROFILES_MAX];
	int r;

	if (o->n_profiles > PROFILES_MAX || !o->secret || !secret_fits(o->secret_class, o->secret))
		return -EINVAL;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	for (size_t i = 0; i < o->n_profiles; i++)
		names[i] = o->profiles[i].name;
	r = negotiate_offer_init(&p->offer, names, o->n_profiles, o->minimum);
	if (r)
		return r;
	p->role = o->role;
	p->profiles = o->profiles;
	p->n_profiles = o->n_profiles;
	p->secret_class = o->secret_class;
	p->compare_wanted = o->compare_sas;
	p->self = o->self;
	p->deadlines = o->deadlines;
	p->random = o->random ? o->random : system_random;
	p->random_arg = o->random_arg;
	transcript_init(&p->transcript, o->session_id);
	p->secret = steal(&o->secret);
	pairing_advance(p, now_ms);
	*out = steal(&p);
	return 0;
}

struct pairing *pairing_free(struct pairing *p)
{
	if (!p)
		return NULL;
	for (size_t i = p->queue_at; i < p->queue_n; i++)
		if (p->queue[i].what == PAIRING_DO_STRETCH)
			pairing_stretch_free(p->queue[i].stretch);
	drop_secrets(p);
	free(p);
	return NULL;
}

enum pairing_phase pairing_phase(const struct pairing *p)
{
	return p->phase;
}

enum pairing_code pairing_code(const struct pairing *p)
{
	return p->code;
}

enum pairing_code pairing_peer_code(const struct pairing *p)
{
	return p->peer_code;
}

const char *pairing_wait_step(const struct pairing *p)
{
	return p->wait_step;
}

const char *pairing_wait_for(const struct pairing *p)
{
	return p->wait_for;
}

uint64_t pairing_deadline_ms(const struct pairing *p)
{
	return p->deadline_ms;
}

bool pairing_is_over(const struct pairing *p)
{
	return p->phase >= PAIRING_IS_ACTIVE;
}

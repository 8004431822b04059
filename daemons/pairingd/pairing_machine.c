/*
 * The one place where phases change: pairing_advance() goes as far as what has
 * happened allows. Everything else only notes what happened, and calls it.
 */
#include "pairingd/pairing_internal.h"

static void show_choices(struct pairing *p)
{
	struct pairing_action *a = pairing_push(p, PAIRING_DO_COMPARE);

	sas_choices(a->choices, p->sas, p->random, p->random_arg);
}

static void ask_store(struct pairing *p)
{
	struct pairing_result *result = &pairing_push(p, PAIRING_DO_STORE)->result;

	*result = (struct pairing_result){
		.profile = p->profile->name,
		.role = p->role,
		.sas_compared = p->compare_needed,
		.peer = &p->peer,
		.tunnel_root = p->tunnel_root,
	};
	pairing_derive_tunnel_id(p, result->tunnel_id);
}

static bool refused(struct pairing *p, enum pairing_code code)
{
	if (code == PAIRING_OK)
		return false;
	pairing_abort(p, code);
	return true;
}

/*
 * One step of the present phase. True when the phase changed and there may be
 * more to do; false when something must happen first, or all is over.
 */
static bool step(struct pairing *p, uint64_t now)
{
	const struct pairing_deadlines *d = &p->deadlines;

	switch (p->phase) {
	case PAIRING_CREATED:
		pairing_set_wait(p, "peer-joins", "peer", d->join_ms, now);
		return false;

	case PAIRING_JOINED:
		if (p->sent < PAIRING_HELLO)
			pairing_send_hello(p);
		if (p->got < PAIRING_HELLO) {
			pairing_set_wait(p, "greeting", "peer", d->step_ms, now);
			return false;
		}
		if (refused(p, pairing_check_hello(p)))
			return false;
		pairing_send_choose(p);
		p->phase = PAIRING_NEGOTIATED;
		return true;

	case PAIRING_NEGOTIATED:
		if (p->got < PAIRING_CHOOSE) {
			pairing_set_wait(p, "negotiation", "peer", d->step_ms, now);
			return false;
		}
		if (negotiate_verify(p->profile->name, p->digest, p->peer_choose.profile,
				     p->peer_choose.digest))
			return refused(p, PAIRING_DOWNGRADE), false;
		if (pairing_ask_stretch(p))
			return refused(p, PAIRING_INTERNAL), false;
		p->phase = PAIRING_IN_PAKE;
		return true;

	case PAIRING_IN_PAKE:
		pairing_set_wait(p, "key-exchange", "peer", d->step_ms, now);
		if (!p->stretched && !p->spake2 && p->sent < PAIRING_PAKE)
			return false;
		if (!p->spent) {
			/* I3: not a byte derived from the secret leaves before this is durable. */
			if (!p->spend_asked)
				pairing_push(p, PAIRING_DO_SPEND);
			p->spend_asked = true;
			return false;
		}
		if (p->sent < PAIRING_PAKE) {
			if (pairing_start_pake(p))
				return refused(p, PAIRING_INTERNAL), false;
			pairing_send_pake(p);
		}
		if (p->got < PAIRING_PAKE)
			return false;
		if (p->sent < PAIRING_CONFIRM && refused(p, pairing_check_pake(p)))
			return false;
		if (p->got < PAIRING_CONFIRM)
			return false;
		if (refused(p, pairing_check_confirm(p)))
			return false;
		p->phase = PAIRING_PAKE_CONFIRMED;
		return true;

	case PAIRING_PAKE_CONFIRMED:
		if (p->sent < PAIRING_HANDSHAKE)
			pairing_send_handshake(p);
		if (p->got < PAIRING_HANDSHAKE) {
			pairing_set_wait(p, "handshake", "peer", d->step_ms, now);
			return false;
		}
		if (refused(p, pairing_check_handshake(p)))
			return false;
		p->phase = PAIRING_IN_HANDSHAKE;
		return true;

	case PAIRING_IN_HANDSHAKE:
		if (p->got < PAIRING_FINISH) {
			pairing_set_wait(p, "confirmation", "peer", d->step_ms, now);
			return false;
		}
		if (refused(p, pairing_check_finish(p)))
			return false;
		p->phase = PAIRING_CONFIRMED;
		return true;

	case PAIRING_CONFIRMED:
		if (p->compare_needed) {
			pairing_set_wait(p, "compare", "you", d->sas_ms, now);
			show_choices(p);
		}
		p->phase = PAIRING_IN_SAS;
		return true;

	case PAIRING_IN_SAS:
		if (p->compare_needed && !p->compared)
			return false;
		if (p->sent < PAIRING_VERDICT)
			pairing_send_verdict(p);
		if (p->got < PAIRING_VERDICT) {
			pairing_set_wait(p, p->compare_needed ? "peer-compares" : "identities", "peer",
					 p->compare_needed ? d->sas_ms : d->step_ms, now);
			return false;
		}
		if (p->peer_verdict.compared != p->compare_needed)
			return refused(p, PAIRING_TAMPERED), false;
		if (p->sent < PAIRING_IDENTITY && refused(p, pairing_send_identity(p)))
			return false;
		if (p->got < PAIRING_IDENTITY) {
			pairing_set_wait(p, "identities", "peer", d->step_ms, now);
			return false;
		}
		if (!p->store_asked) {
			if (refused(p, pairing_check_identity(p)))
				return false;
			pairing_push(p, PAIRING_DO_GREET)->peer = &p->peer;
			ask_store(p);
			p->store_asked = true;
		}
		if (!p->stored)
			return false;
		p->tunnel_root = secret_free(p->tunnel_root);
		pairing_send_prepared(p);
		p->phase = PAIRING_IS_PREPARED;
		return true;

	case PAIRING_IS_PREPARED:
		if (p->got < PAIRING_PREPARED) {
			pairing_set_wait(p, "peer-stores", "peer", d->step_ms, now);
			return false;
		}
		if (!p->activate_asked)
			pairing_push(p, PAIRING_DO_ACTIVATE);
		p->activate_asked = true;
		if (p->activated)
			pairing_end(p, PAIRING_OK);
		return false;

	case PAIRING_IS_ACTIVE:
	case PAIRING_IS_ABORTED:
		return false;
	}
	return false;
}

void pairing_advance(struct pairing *p, uint64_t now_ms)
{
	while (step(p, now_ms))
		;
}

/*
 * A packet came. Which kind and sequence can come is known before it does: a
 * peer is never more than one message ahead, and only an abort may stand in
 * another's place.
 */
#include "pairingd/pairing_internal.h"

#include <errno.h>

#include "crypto/aead.h"

/* A reason that the peer gave, if it can be believed at this point; else only that it ended. */
static enum pairing_code believe(const struct pairing *p, uint8_t code, bool authentic)
{
	switch (code) {
	case PAIRING_NO_COMMON_PROFILE:
	case PAIRING_DOWNGRADE:
	case PAIRING_OTHER_CLASS:
		return authentic || p->got <= PAIRING_CHOOSE ? code : PAIRING_PEER_ABORTED;
	case PAIRING_WRONG_SECRET:
		return p->sent == PAIRING_CONFIRM ? code : PAIRING_PEER_ABORTED;
	case PAIRING_SAS_MISMATCH:
	case PAIRING_OWN_DEVICE:
		return authentic ? code : PAIRING_PEER_ABORTED;
	default:
		return PAIRING_PEER_ABORTED;
	}
}

static void on_abort(struct pairing *p, const struct pairing_msg *m, bool authentic)
{
	p->peer_code = m->abort.code < PAIRING_CODES_ON_WIRE ? m->abort.code : PAIRING_INTERNAL;
	if (p->phase != PAIRING_IS_PREPARED) {
		pairing_end(p, believe(p, m->abort.code, authentic));
		return;
	}
	/*
	 * The abort stands where the peer's "prepared" would: it has stored
	 * nothing, and said so inside the channel. From outside the channel
	 * anybody can say it.
	 */
	if (!authentic) {
		pairing_end(p, PAIRING_UNCONFIRMED);
		return;
	}
	if (p->activate_asked)
		return;
	pairing_push(p, PAIRING_DO_REMOVE);
	pairing_end(p, believe(p, m->abort.code, true));
}

static void keep(struct pairing *p, const struct pairing_msg *m)
{
	switch (m->kind) {
	case PAIRING_HELLO:
		p->peer_hello = m->hello;
		/* Its greeting tells that it is there, whatever the relay says. */
		if (p->phase == PAIRING_CREATED)
			p->phase = PAIRING_JOINED;
		break;
	case PAIRING_CHOOSE:
		p->peer_choose = m->choose;
		break;
	case PAIRING_PAKE:
		p->peer_pake = m->pake;
		break;
	case PAIRING_CONFIRM:
		p->peer_confirm = m->confirm;
		break;
	case PAIRING_HANDSHAKE:
		p->peer_handshake = m->handshake;
		break;
	case PAIRING_FINISH:
		p->peer_finish = m->finish;
		break;
	case PAIRING_VERDICT:
		p->peer_verdict = m->verdict;
		break;
	case PAIRING_IDENTITY:
		p->peer = m->identity;
		break;
	}
}

/* A message of the peer's turn: 0 with it in *m; -EAGAIN when it did not open and may come yet; -EBADMSG. */
static int open_packet(struct pairing *p, struct pairing_msg *m, const struct pairing_packet *packet)
{
	uint8_t plain[PAIRING_BODY_MAX];
	ssize_t len;
	int r;

	if (packet->kind != PAIRING_SEALED)
		return pairing_msg_decode(m, packet->kind, packet->body, packet->len);
	if (!p->channel_open)
		return -EBADMSG;
	len = pairing_unseal(p, plain, packet);
	if (len < 0)
		return ++p->open_failures < PAIRING_OPEN_FAILURES_MAX ? -EAGAIN : -EBADMSG;
	r = pairing_msg_decode(m, plain[0], plain + 1, (size_t)len - 1);
	wipe(plain, (size_t)len);
	return r;
}

void pairing_on_packet(struct pairing *p, const struct pairing_packet *packet, uint64_t now_ms)
{
	struct pairing_msg m;
	uint64_t round = p->got + 1;
	bool sealed = packet->kind == PAIRING_SEALED;
	int r;

	if (pairing_is_over(p))
		return;
	if (packet->kind == PAIRING_ABORT) {
		/* Its sequence is not looked at: nobody vouches for it anyway. */
		if (pairing_msg_decode(&m, packet->kind, packet->body, packet->len))
			pairing_end_early(p, PAIRING_TAMPERED);
		else
			on_abort(p, &m, false);
		return;
	}
	/*
	 * A peer that has sent its round r and then stops seals its abort one
	 * further, while our own round, which it did not wait for, is under way.
	 */
	if (sealed && packet->seq == round && round == p->sent + 2 && round > ROUND_FIRST_SEALED &&
	    round <= ROUND_LAST) {
		r = open_packet(p, &m, packet);
		if (r == -EAGAIN)
			return;
		if (!r && m.kind == PAIRING_ABORT)
			on_abort(p, &m, true);
		else
			pairing_end_early(p, PAIRING_TAMPERED);
		return;
	}
	/*
	 * In its turn, and not ahead of what it can know: a peer sends round n
	 * only with our round n - 1 in hand.
	 */
	if (packet->seq != round || round > ROUND_LAST || round > p->sent + 1 ||
	    sealed != (round >= ROUND_FIRST_SEALED)) {
		pairing_end_early(p, PAIRING_TAMPERED);
		return;
	}
	r = open_packet(p, &m, packet);
	if (r == -EAGAIN)
		return;
	if (!r && sealed && m.kind == PAIRING_ABORT) {
		on_abort(p, &m, true);
		return;
	}
	if (r || m.kind != round) {
		pairing_end_early(p, PAIRING_TAMPERED);
		return;
	}
	transcript_add(&p->transcript, pairing_peer_role(p), packet->kind, packet->seq, packet->body,
		       packet->len);
	p->got = round;
	keep(p, &m);
	pairing_advance(p, now_ms);
}

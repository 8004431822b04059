/*
 * What is sent in each round, and what is checked of the peer's message in it:
 * PAIRING_OK, or why the pairing ends.
 */
#include "pairingd/pairing_internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "crypto/spake2.h"

#include "pairingd/operations.h"
#include "pairingd/signer.h"

#define IDENTITY_CONTEXT "handfast pairing identity"

/* ---- sending ---- */

void pairing_send_hello(struct pairing *p)
{
	const struct pairing_msg m = {
		.kind = PAIRING_HELLO,
		.hello = {
			.protocol = PAIRING_PROTOCOL,
			.role = (uint8_t)p->role,
			.secret_class = (uint8_t)p->secret_class,
			.compare_sas = p->compare_wanted,
			.offer = p->offer,
		},
	};

	pairing_send_round(p, &m);
}

void pairing_send_choose(struct pairing *p)
{
	struct pairing_msg m = { .kind = PAIRING_CHOOSE };

	memcpy(m.choose.profile, p->profile->name, strlen(p->profile->name) + 1);
	memcpy(m.choose.digest, p->digest, sizeof(m.choose.digest));
	pairing_send_round(p, &m);
}

void pairing_send_pake(struct pairing *p)
{
	struct pairing_msg m = { .kind = PAIRING_PAKE, .pake.len = SPAKE2_MSG_LEN };

	spake2_message(p->spake2, m.pake.share);
	pairing_send_round(p, &m);
}

int pairing_send_confirm(struct pairing *p)
{
	_cleanup_(pairing_tag_wipe) struct pairing_tag tag;
	struct pairing_msg m = { .kind = PAIRING_CONFIRM };
	int r;

	pairing_make_commitment(p, m.confirm.commitment, p->role, p->nonce, p->share, sizeof(p->share));
	r = pairing_make_tag(p, &tag, p->pake_key, "confirm", p->role, m.confirm.commitment,
			     sizeof(m.confirm.commitment));
	if (r)
		return r;
	memcpy(m.confirm.tag, tag.b, sizeof(m.confirm.tag));
	pairing_send_round(p, &m);
	return 0;
}

void pairing_send_handshake(struct pairing *p)
{
	struct pairing_msg m = { .kind = PAIRING_HANDSHAKE, .handshake.len = sizeof(p->share) };

	memcpy(m.handshake.nonce, p->nonce, sizeof(m.handshake.nonce));
	memcpy(m.handshake.share, p->share, sizeof(p->share));
	pairing_send_round(p, &m);
}

int pairing_send_finish(struct pairing *p)
{
	_cleanup_(pairing_tag_wipe) struct pairing_tag tag;
	struct pairing_msg m = { .kind = PAIRING_FINISH };
	int r;

	r = pairing_make_tag(p, &tag, p->session, "finish", p->role, NULL, 0);
	if (r)
		return r;
	memcpy(m.finish.tag, tag.b, sizeof(m.finish.tag));
	pairing_send_round(p, &m);
	return 0;
}

void pairing_send_verdict(struct pairing *p)
{
	const struct pairing_msg m = { .kind = PAIRING_VERDICT,
				       .verdict.compared = p->compare_needed };

	pairing_send_round(p, &m);
}

enum pairing_code pairing_send_identity(struct pairing *p)
{
	struct pairing_msg m = { .kind = PAIRING_IDENTITY };
	struct pairing_identity *i = &m.identity;
	uint8_t message[PAIRING_AD_MAX];
	size_t len;

	p->random(p->tunnel_share, sizeof(p->tunnel_share), p->random_arg);
	i->key_type = PAIRING_KEY_ED25519;
	i->public_key = p->self.signer->public_key;
	memcpy(i->tunnel_share, p->tunnel_share, sizeof(i->tunnel_share));
	i->port = p->self.port;
	i->n_candidates = p->self.n_candidates;
	memcpy(i->name, p->self.name, sizeof(i->name));
	memcpy(i->candidates, p->self.candidates, sizeof(i->candidates));
	memcpy(i->host_name, p->self.host_name, sizeof(i->host_name));
	memcpy(i->version, p->self.version, sizeof(i->version));
	memcpy(i->note, p->self.note, sizeof(i->note));
	len = pairing_signed_bytes(p, message, p->role, i);
	if (signer_sign(p->self.signer, i->signature, IDENTITY_CONTEXT, message, len) != 0)
		return PAIRING_INTERNAL;
	pairing_send_round(p, &m);
	return PAIRING_OK;
}

void pairing_send_prepared(struct pairing *p)
{
	const struct pairing_msg m = { .kind = PAIRING_PREPARED };

	pairing_send_round(p, &m);
}

/* ---- checking ---- */

enum pairing_code pairing_check_hello(struct pairing *p)
{
	const struct negotiate_offer *alice = &p->offer, *bob = &p->peer_hello.offer;
	char chosen[PROFILE_NAME_MAX + 1];

	if (p->peer_hello.protocol != PAIRING_PROTOCOL)
		return PAIRING_NO_COMMON_PROFILE;
	/* Our own words back. */
	if (p->peer_hello.role != pairing_peer_role(p))
		return PAIRING_TAMPERED;
	if (p->peer_hello.secret_class != p->secret_class)
		return PAIRING_OTHER_CLASS;
	if (negotiate_choose(chosen, &p->offer, &p->peer_hello.offer))
		return PAIRING_NO_COMMON_PROFILE;
	for (size_t i = 0; i < p->n_profiles; i++)
		if (strcmp(p->profiles[i].name, chosen) == 0)
			p->profile = &p->profiles[i];
	assert(p->profile);
	p->compare_needed = p->secret_class == SECRET_PIN || p->compare_wanted ||
			    p->peer_hello.compare_sas;
	if (p->role == PAIRING_BOB) {
		alice = &p->peer_hello.offer;
		bob = &p->offer;
	}
	negotiate_digest(p->digest, p->transcript.session_id, alice, bob, chosen);
	transcript_join(&p->transcript, "negotiated", p->digest, sizeof(p->digest));
	return PAIRING_OK;
}

enum pairing_code pairing_check_pake(struct pairing *p)
{
	uint64_t begun = opstat_begin();
	int r;

	r = spake2_finish(p->spake2, &p->pake_key, p->peer_pake.share, p->peer_pake.len);
	opstat_end(&pairing_operations[OP_SPAKE2_FINISH], begun, p->peer_pake.len, r == 0);
	p->spake2 = spake2_free(p->spake2);
	if (r == SPAKE2_E_BAD_MESSAGE)
		return PAIRING_TAMPERED; /* says nothing about the secret: any element is as likely */
	if (r)
		return PAIRING_INTERNAL;
	transcript_join(&p->transcript, "pake", NULL, 0);
	r = pairing_make_shares(p);
	if (!r)
		r = pairing_send_confirm(p);
	return r ? PAIRING_INTERNAL : PAIRING_OK;
}

/*
 * The tag decides whether the peer had the same secret and saw the same
 * words. Everything that success needs is computed before the comparison
 * decides anything, so that failure takes the same time.
 */
enum pairing_code pairing_check_confirm(struct pairing *p)
{
	_cleanup_(pairing_tag_wipe) struct pairing_tag expected;
	int r;

	r = pairing_make_tag(p, &expected, p->pake_key, "confirm", pairing_peer_role(p),
			     p->peer_confirm.commitment, sizeof(p->peer_confirm.commitment));
	if (r)
		return PAIRING_INTERNAL;
	transcript_join(&p->transcript, "committed", NULL, 0);
	if (!bytes_equal(expected.b, p->peer_confirm.tag, sizeof(expected.b)))
		return PAIRING_WRONG_SECRET;
	pairing_push(p, PAIRING_DO_PROVEN);
	return PAIRING_OK;
}

enum pairing_code pairing_check_handshake(struct pairing *p)
{
	_cleanup_(secret_freep) struct secret *agreed = NULL;
	uint8_t commitment[PAIRING_HASH_LEN];
	uint64_t begun;
	int r;

	pairing_make_commitment(p, commitment, pairing_peer_role(p), p->peer_handshake.nonce,
				p->peer_handshake.share, p->peer_handshake.len);
	if (!bytes_equal(commitment, p->peer_confirm.commitment, sizeof(commitment)))
		return PAIRING_TAMPERED;
	if (p->peer_handshake.len != X25519_LEN)
		return PAIRING_TAMPERED;
	begun = opstat_begin();
	r = x25519(&agreed, p->x25519_private, p->peer_handshake.share);
	opstat_end(&pairing_operations[OP_X25519], begun, X25519_LEN, r == 0);
	p->x25519_private = secret_free(p->x25519_private);
	if (r == -EBADMSG)
		return PAIRING_TAMPERED;
	if (r)
		return PAIRING_INTERNAL;
	transcript_join(&p->transcript, "handshake", NULL, 0);
	r = pairing_derive_session(p, agreed);
	if (!r)
		r = pairing_derive_channel(p);
	if (!r)
		r = pairing_send_finish(p);
	return r ? PAIRING_INTERNAL : PAIRING_OK;
}

enum pairing_code pairing_check_finish(struct pairing *p)
{
	_cleanup_(pairing_tag_wipe) struct pairing_tag expected;

	/* The tag is over the join "handshake", which is the last one still. */
	if (pairing_make_tag(p, &expected, p->session, "finish", pairing_peer_role(p), NULL, 0))
		return PAIRING_INTERNAL;
	if (!bytes_equal(expected.b, p->peer_finish.tag, sizeof(expected.b)))
		return PAIRING_TAMPERED;
	transcript_join(&p->transcript, "confirmed", NULL, 0);
	memcpy(p->channel_transcript, p->transcript.joined, sizeof(p->channel_transcript));
	p->channel_open = true;
	pairing_derive_sas(p);
	return PAIRING_OK;
}

enum pairing_code pairing_check_identity(struct pairing *p)
{
	const struct sign_public *own = &p->self.signer->public_key;
	uint8_t message[PAIRING_AD_MAX];
	uint64_t begun;
	size_t len;
	bool ok;

	if (bytes_equal(own->b, p->peer.public_key.b, sizeof(own->b)))
		return PAIRING_OWN_DEVICE;
	len = pairing_signed_bytes(p, message, pairing_peer_role(p), &p->peer);
	begun = opstat_begin();
	ok = sign_verify(p->peer.signature, &p->peer.public_key, IDENTITY_CONTEXT, message, len);
	opstat_end(&pairing_operations[OP_SIGN_VERIFY], begun, len, ok);
	if (!ok)
		return PAIRING_TAMPERED;
	transcript_join(&p->transcript, "identified", NULL, 0);
	return pairing_derive_roots(p) ? PAIRING_INTERNAL : PAIRING_OK;
}

/*
 * Packets on their way out, and the channel that the last rounds go through:
 * sealed by sender, sequence, and all that was said before it opened.
 */
#include "pairingd/pairing_internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "crypto/aead.h"

#include "pairingd/operations.h"

/* ---- the channel ---- */

/* What binds a sealed message to this pairing, its sender and its place. */
static size_t channel_ad(const struct pairing *p, uint8_t out[static PAIRING_AD_MAX],
			 enum pairing_role sender, uint64_t seq)
{
	struct wbuf w;

	wbuf_init(&w, out, PAIRING_AD_MAX);
	wbuf_lv16(&w, PROTOCOL_NAME, strlen(PROTOCOL_NAME));
	wbuf_lv16(&w, p->profile->name, strlen(p->profile->name));
	wbuf_lv16(&w, p->transcript.session_id, sizeof(p->transcript.session_id));
	wbuf_lv16(&w, p->channel_transcript, sizeof(p->channel_transcript));
	wbuf_u8(&w, (uint8_t)sender);
	wbuf_be64(&w, seq);
	assert(wbuf_ok(&w));
	return w.len;
}

static void channel_nonce(uint8_t out[static AEAD_NONCE_LEN], const struct channel_key *k,
			  uint64_t seq)
{
	uint8_t be[8];

	be64_store(be, seq);
	memcpy(out, k->nonce, AEAD_NONCE_LEN);
	for (size_t i = 0; i < sizeof(be); i++)
		out[AEAD_NONCE_LEN - sizeof(be) + i] ^= be[i];
}

static const struct channel_key *channel_key(const struct pairing *p, enum pairing_role sender)
{
	return (const struct channel_key *)(const void *)secret_bytes(p->channel[sender]);
}

/* kind and body become packet's sealed body. */
static void channel_seal(const struct pairing *p, struct pairing_packet *packet, uint8_t kind,
			 const uint8_t *body, size_t len)
{
	const struct channel_key *k = channel_key(p, p->role);
	uint8_t ad[PAIRING_AD_MAX], nonce[AEAD_NONCE_LEN];
	size_t ad_len = channel_ad(p, ad, p->role, packet->seq);
	uint64_t begun;

	assert(1 + len + AEAD_TAG_LEN <= sizeof(packet->body));
	channel_nonce(nonce, k, packet->seq);
	packet->kind = PAIRING_SEALED;
	memmove(packet->body + 1, body, len);
	packet->body[0] = kind;
	begun = opstat_begin();
	aead_seal(packet->body, packet->body, 1 + len, ad, ad_len, nonce, k->key);
	opstat_end(&pairing_operations[OP_CHANNEL_SEAL], begun, 1 + len, true);
	packet->len = 1 + len + AEAD_TAG_LEN;
}

/* Plaintext into out, kind first. Its length, or -EBADMSG. */
ssize_t pairing_unseal(const struct pairing *p, uint8_t out[static PAIRING_BODY_MAX],
		       const struct pairing_packet *packet)
{
	const struct channel_key *k = channel_key(p, pairing_peer_role(p));
	uint8_t ad[PAIRING_AD_MAX], nonce[AEAD_NONCE_LEN];
	size_t ad_len = channel_ad(p, ad, pairing_peer_role(p), packet->seq);
	uint64_t begun;
	int r;

	if (packet->len < 1 + AEAD_TAG_LEN)
		return -EBADMSG;
	channel_nonce(nonce, k, packet->seq);
	begun = opstat_begin();
	r = aead_open(out, packet->body, packet->len, ad, ad_len, nonce, k->key);
	opstat_end(&pairing_operations[OP_CHANNEL_OPEN], begun, packet->len, r == 0);
	if (r)
		return -EBADMSG;
	return (ssize_t)(packet->len - AEAD_TAG_LEN);
}

/* ---- sending ---- */

static bool is_sealed_kind(uint8_t kind, bool channel_open)
{
	return kind >= ROUND_FIRST_SEALED && kind != PAIRING_SEALED &&
	       (kind != PAIRING_ABORT || channel_open);
}

static struct pairing_packet *push_packet(struct pairing *p, const struct pairing_msg *m,
					  uint64_t seq)
{
	struct pairing_packet *packet = &pairing_push(p, PAIRING_DO_SEND)->packet;
	ssize_t len = pairing_msg_encode(packet->body, sizeof(packet->body) - 1 - AEAD_TAG_LEN, m);

	assert(len >= 0);
	packet->seq = seq;
	packet->kind = m->kind;
	packet->len = (size_t)len;
	if (is_sealed_kind(m->kind, p->channel_open))
		channel_seal(p, packet, m->kind, packet->body, packet->len);
	return packet;
}

void pairing_send_round(struct pairing *p, const struct pairing_msg *m)
{
	const struct pairing_packet *packet;

	assert(m->kind == p->sent + 1);
	packet = push_packet(p, m, p->sent + 1);
	p->sent++;
	transcript_add(&p->transcript, p->role, packet->kind, packet->seq, packet->body,
		       packet->len);
}

void pairing_abort(struct pairing *p, enum pairing_code code)
{
	const struct pairing_msg m = { .kind = PAIRING_ABORT, .abort.code = (uint8_t)code };

	assert(code > PAIRING_OK && code < PAIRING_CODES_ON_WIRE);
	/* Nobody is there to tell before the peer came. */
	if (p->phase != PAIRING_CREATED)
		push_packet(p, &m, p->sent + 1);
	pairing_end(p, code);
}

/*
 * The pairing protocol. The two sides move in rounds: each sends its message
 * of round n + 1 only after it has the other's of round n, so a peer is never
 * more than one message ahead, and a message's kind and sequence are known
 * before it comes. advance() is the one place where phases change; everything
 * else only notes what happened and calls it.
 *
 * Relies on the caller to make a spent secret durable before it says so (I3)
 * and to store before it says so (I9). Reads no clock (I7).
 */
#include "pairingd/pairing.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/text.h"
#include "crypto/aead.h"
#include "crypto/kdf.h"
#include "crypto/spake2.h"
#include "crypto/x25519.h"
#include "pairingd/transcript.h"

#define PROTOCOL_NAME "handfast pairing 1"

/* design: 64 MiB, three passes; a Raspberry Pi 3 needs about two seconds. */
#define STRETCH_MEM_KIB (64 * 1024)
#define STRETCH_PASSES 3
#define STRETCHED_LEN 32

#define PIN_DIGITS_MIN 6
#define PIN_DIGITS_MAX 8

#define AD_MAX 512
#define QUEUE_MAX 8

/* Rounds, by their names in the code below. */
#define ROUND_LAST PAIRING_PREPARED
#define ROUND_FIRST_SEALED PAIRING_VERDICT

const struct pairing_profile pairing_profiles[] = {
	{ "v40-spake2-x25519", PAIRING_SUITE_SPAKE2_X25519 },
};
const size_t pairing_n_profiles = ARRAY_SIZE(pairing_profiles);

struct channel_key {
	uint8_t key[AEAD_KEY_LEN];
	uint8_t nonce[AEAD_NONCE_LEN];
};

struct pairing {
	enum pairing_role role;
	enum pairing_phase phase;
	enum pairing_code code, peer_code;
	struct transcript transcript;
	uint64_t sent, got; /* rounds */
	uint64_t deadline_ms;
	const char *wait_step, *wait_for;
	struct pairing_deadlines deadlines;
	void (*random)(void *out, size_t len, void *arg);
	void *random_arg;

	/* negotiation */
	struct negotiate_offer offer;
	struct pairing_hello peer_hello;
	const struct pairing_profile *profiles;
	size_t n_profiles;
	const struct pairing_profile *profile;
	uint8_t digest[NEGOTIATE_DIGEST_LEN];
	struct pairing_choose peer_choose;

	/* key exchange */
	enum secret_class secret_class;
	struct secret *secret;
	struct secret *stretched;
	bool spend_asked, spent;
	struct spake2 *spake2;
	struct pairing_pake peer_pake;
	struct secret *pake_key;
	struct pairing_confirm peer_confirm;

	/* handshake */
	struct secret *x25519_private;
	uint8_t share[X25519_LEN];
	uint8_t nonce[PAIRING_NONCE_LEN];
	struct pairing_handshake peer_handshake;
	struct secret *session;
	struct pairing_finish peer_finish;

	/* channel */
	bool channel_open;
	struct secret *channel[2]; /* struct channel_key, by sender */
	uint8_t channel_transcript[PAIRING_HASH_LEN];
	unsigned int open_failures;

	/* comparing */
	bool compare_wanted, compare_needed, compared;
	char sas[SAS_DIGITS + 1];
	struct pairing_verdict peer_verdict;

	/* identities and storing */
	struct pairing_self self;
	uint8_t tunnel_share[PAIRING_TUNNEL_SHARE_LEN];
	struct pairing_identity peer;
	struct secret *tunnel_root;
	bool store_asked, stored, activate_asked, activated;

	struct pairing_action queue[QUEUE_MAX];
	size_t queue_at, queue_n;
};

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

static enum pairing_role peer_role(const struct pairing *p)
{
	return p->role == PAIRING_ALICE ? PAIRING_BOB : PAIRING_ALICE;
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
static struct pairing_action *push(struct pairing *p, enum pairing_do what)
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

static void set_wait(struct pairing *p, const char *step, const char *who, uint64_t for_ms,
		     uint64_t now_ms)
{
	if (p->wait_step && strcmp(p->wait_step, step) == 0 && strcmp(p->wait_for, who) == 0)
		return;
	p->wait_step = step;
	p->wait_for = who;
	p->deadline_ms = for_ms > UINT64_MAX - now_ms ? UINT64_MAX : now_ms + for_ms;
	push(p, PAIRING_DO_WAIT);
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

static void end(struct pairing *p, enum pairing_code code)
{
	p->code = code;
	p->phase = code == PAIRING_OK ? PAIRING_IS_ACTIVE : PAIRING_IS_ABORTED;
	p->deadline_ms = UINT64_MAX;
	drop_secrets(p);
	push(p, PAIRING_DO_END)->code = code;
}

/* ---- the channel ---- */

/* What binds a sealed message to this pairing, its sender and its place. */
static size_t channel_ad(const struct pairing *p, uint8_t out[static AD_MAX],
			 enum pairing_role sender, uint64_t seq)
{
	struct wbuf w;

	wbuf_init(&w, out, AD_MAX);
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
	uint8_t ad[AD_MAX], nonce[AEAD_NONCE_LEN];
	size_t ad_len = channel_ad(p, ad, p->role, packet->seq);

	assert(1 + len + AEAD_TAG_LEN <= sizeof(packet->body));
	channel_nonce(nonce, k, packet->seq);
	packet->kind = PAIRING_SEALED;
	memmove(packet->body + 1, body, len);
	packet->body[0] = kind;
	aead_seal(packet->body, packet->body, 1 + len, ad, ad_len, nonce, k->key);
	packet->len = 1 + len + AEAD_TAG_LEN;
}

/* Plaintext into out, kind first. Its length, or -EBADMSG. */
static ssize_t channel_unseal(const struct pairing *p, uint8_t out[static PAIRING_BODY_MAX],
			      const struct pairing_packet *packet)
{
	const struct channel_key *k = channel_key(p, peer_role(p));
	uint8_t ad[AD_MAX], nonce[AEAD_NONCE_LEN];
	size_t ad_len = channel_ad(p, ad, peer_role(p), packet->seq);

	if (packet->len < 1 + AEAD_TAG_LEN)
		return -EBADMSG;
	channel_nonce(nonce, k, packet->seq);
	if (aead_open(out, packet->body, packet->len, ad, ad_len, nonce, k->key))
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
	struct pairing_packet *packet = &push(p, PAIRING_DO_SEND)->packet;
	ssize_t len = pairing_msg_encode(packet->body, sizeof(packet->body) - 1 - AEAD_TAG_LEN, m);

	assert(len >= 0);
	packet->seq = seq;
	packet->kind = m->kind;
	packet->len = (size_t)len;
	if (is_sealed_kind(m->kind, p->channel_open))
		channel_seal(p, packet, m->kind, packet->body, packet->len);
	return packet;
}

static void send_round(struct pairing *p, const struct pairing_msg *m)
{
	const struct pairing_packet *packet;

	assert(m->kind == p->sent + 1);
	packet = push_packet(p, m, p->sent + 1);
	p->sent++;
	transcript_add(&p->transcript, p->role, packet->kind, packet->seq, packet->body,
		       packet->len);
}

static void abort_with(struct pairing *p, enum pairing_code code)
{
	const struct pairing_msg m = { .kind = PAIRING_ABORT, .abort.code = (uint8_t)code };

	assert(code > PAIRING_OK && code < PAIRING_CODES_ON_WIRE);
	/* Nobody is there to tell before the peer came. */
	if (p->phase != PAIRING_CREATED)
		push_packet(p, &m, p->sent + 1);
	end(p, code);
}

/* ---- key schedule ---- */

struct tag {
	uint8_t b[HMAC_SHA256_LEN];
};

static void tag_wipe(struct tag *t)
{
	wipe(t, sizeof(*t));
}

/* A tag by sender over everything joined so far, its place, and extra. */
static int make_tag(const struct pairing *p, struct tag *out, const struct secret *key,
		    const char *purpose, enum pairing_role sender, const void *extra,
		    size_t extra_len)
{
	_cleanup_(secret_freep) struct secret *mac_key = NULL;
	uint64_t seq = strcmp(purpose, "confirm") == 0 ? PAIRING_CONFIRM : PAIRING_FINISH;
	char label[64] = "handfast pairing ";
	uint8_t buf[AD_MAX];
	struct wbuf w;
	int r;

	strcat(label, purpose);
	strcat(label, sender == PAIRING_ALICE ? " alice" : " bob");
	r = kdf_expand(&mac_key, 32, key, label);
	if (r)
		return err_fold(r);

	wbuf_init(&w, buf, sizeof(buf));
	wbuf_lv16(&w, PROTOCOL_NAME, strlen(PROTOCOL_NAME));
	wbuf_lv16(&w, p->profile->name, strlen(p->profile->name));
	wbuf_lv16(&w, p->transcript.session_id, sizeof(p->transcript.session_id));
	wbuf_lv16(&w, p->transcript.joined, sizeof(p->transcript.joined));
	wbuf_u8(&w, (uint8_t)sender);
	wbuf_be64(&w, seq);
	wbuf_lv16(&w, extra, extra_len);
	assert(wbuf_ok(&w));
	hmac_sha256(out->b, secret_bytes(mac_key), secret_len(mac_key), buf, w.len);
	return 0;
}

static void make_commitment(const struct pairing *p, uint8_t out[static PAIRING_HASH_LEN],
			    enum pairing_role sender, const uint8_t nonce[static PAIRING_NONCE_LEN],
			    const uint8_t *share, size_t share_len)
{
	static const char label[] = "handfast pairing commitment";
	uint8_t buf[128 + PAIRING_SHARE_MAX];
	struct wbuf w;

	wbuf_init(&w, buf, sizeof(buf));
	wbuf_lv16(&w, label, sizeof(label) - 1);
	wbuf_lv16(&w, p->transcript.session_id, sizeof(p->transcript.session_id));
	wbuf_u8(&w, (uint8_t)sender);
	wbuf_lv16(&w, nonce, PAIRING_NONCE_LEN);
	wbuf_lv16(&w, share, share_len);
	assert(wbuf_ok(&w));
	sha256(out, buf, w.len);
	wipe(buf, w.len);
}

/* SPAKE2's identity of one side: who it is in which pairing, after which negotiation. */
static size_t pake_identity(const struct pairing *p, uint8_t out[static AD_MAX],
			    enum pairing_role role)
{
	struct wbuf w;

	wbuf_init(&w, out, AD_MAX);
	wbuf_lv16(&w, PROTOCOL_NAME, strlen(PROTOCOL_NAME));
	wbuf_lv16(&w, role == PAIRING_ALICE ? "alice" : "bob", role == PAIRING_ALICE ? 5 : 3);
	wbuf_lv16(&w, p->profile->name, strlen(p->profile->name));
	wbuf_lv16(&w, p->transcript.session_id, sizeof(p->transcript.session_id));
	wbuf_lv16(&w, p->transcript.joined, sizeof(p->transcript.joined));
	assert(wbuf_ok(&w));
	return w.len;
}

static int start_pake(struct pairing *p)
{
	uint8_t alice[AD_MAX], bob[AD_MAX], seed[64];
	size_t alice_len = pake_identity(p, alice, PAIRING_ALICE);
	size_t bob_len = pake_identity(p, bob, PAIRING_BOB);
	int r;

	p->random(seed, sizeof(seed), p->random_arg);
	r = spake2_new_seeded(&p->spake2, p->role == PAIRING_ALICE ? SPAKE2_A : SPAKE2_B,
			      secret_bytes(p->stretched), secret_len(p->stretched), alice,
			      alice_len, bob, bob_len, seed);
	wipe(seed, sizeof(seed));
	p->stretched = secret_free(p->stretched);
	return err_fold(r);
}

/* Our nonce and X25519 share; only their commitment leaves until the peer is committed too. */
static int make_shares(struct pairing *p)
{
	static const uint8_t base_point[X25519_LEN] = { 9 };
	_cleanup_(secret_freep) struct secret *share = NULL;
	uint8_t scalar[X25519_LEN];
	int r;

	p->random(p->nonce, sizeof(p->nonce), p->random_arg);
	p->random(scalar, sizeof(scalar), p->random_arg);
	r = secret_take(&p->x25519_private, scalar, sizeof(scalar));
	if (r)
		return r;
	/* RFC 7748 section 6.1: the public key is X25519 of the scalar and the base point. */
	r = x25519(&share, p->x25519_private, base_point);
	if (r)
		return r;
	memcpy(p->share, secret_bytes(share), sizeof(p->share));
	return 0;
}

struct key_input {
	uint8_t b[SPAKE2_KEY_LEN + X25519_LEN + 4];
};

static void key_input_wipe(struct key_input *k)
{
	wipe(k, sizeof(*k));
}

/* The session key: of the password's key and the fresh agreement, over the joined transcript. */
static int derive_session(struct pairing *p, const struct secret *agreed)
{
	_cleanup_(key_input_wipe) struct key_input ikm = { 0 };
	_cleanup_(key_input_wipe) struct key_input out = { 0 };
	char info[64 + PROFILE_NAME_MAX] = "handfast pairing session ";
	struct wbuf w;

	strcat(info, p->profile->name);
	wbuf_init(&w, ikm.b, sizeof(ikm.b));
	wbuf_lv16(&w, secret_bytes(p->pake_key), secret_len(p->pake_key));
	wbuf_lv16(&w, secret_bytes(agreed), secret_len(agreed));
	assert(wbuf_ok(&w));
	hkdf_sha256(out.b, 32, p->transcript.joined, sizeof(p->transcript.joined), ikm.b, w.len,
		    info, strlen(info));
	p->pake_key = secret_free(p->pake_key);
	return secret_take(&p->session, out.b, 32);
}

static int derive_channel(struct pairing *p)
{
	int r;

	r = kdf_expand(&p->channel[PAIRING_ALICE], sizeof(struct channel_key), p->session,
		       "handfast pairing channel alice");
	if (r)
		return err_fold(r);
	r = kdf_expand(&p->channel[PAIRING_BOB], sizeof(struct channel_key), p->session,
		       "handfast pairing channel bob");
	return err_fold(r);
}

static void derive_sas(struct pairing *p)
{
	static const char info[] = "handfast pairing sas";
	uint8_t value[8];

	hkdf_sha256(value, sizeof(value), p->transcript.joined, sizeof(p->transcript.joined),
		    secret_bytes(p->session), secret_len(p->session), info, sizeof(info) - 1);
	sas_format(p->sas, value);
	wipe(value, sizeof(value));
}

/* One root for each use, of the session and all that was said; then the session key is done with. */
static int derive_roots(struct pairing *p)
{
	static const char info[] = "handfast pairing secret";
	_cleanup_(secret_freep) struct secret *pairing_secret = NULL;
	_cleanup_(key_input_wipe) struct key_input out = { 0 };
	int r;

	hkdf_sha256(out.b, 32, p->transcript.joined, sizeof(p->transcript.joined),
		    secret_bytes(p->session), secret_len(p->session), info, sizeof(info) - 1);
	r = secret_take(&pairing_secret, out.b, 32);
	if (r)
		return r;
	r = kdf_expand(&p->tunnel_root, 32, pairing_secret, "pskd tunnel");
	p->session = secret_free(p->session);
	return err_fold(r);
}

static void derive_tunnel_id(const struct pairing *p, uint8_t out[static 16])
{
	static const char label[] = "handfast tunnel id";
	const uint8_t *alice = p->role == PAIRING_ALICE ? p->tunnel_share : p->peer.tunnel_share;
	const uint8_t *bob = p->role == PAIRING_ALICE ? p->peer.tunnel_share : p->tunnel_share;
	uint8_t buf[64], hash[SHA256_LEN];
	struct wbuf w;

	wbuf_init(&w, buf, sizeof(buf));
	wbuf_lv16(&w, label, sizeof(label) - 1);
	wbuf_lv16(&w, alice, PAIRING_TUNNEL_SHARE_LEN);
	wbuf_lv16(&w, bob, PAIRING_TUNNEL_SHARE_LEN);
	assert(wbuf_ok(&w));
	sha256(hash, buf, w.len);
	memcpy(out, hash, 16);
}

/* What an identity's signature is over: the pairing so far, the signer's role, and the message without it. */
static size_t signed_bytes(const struct pairing *p, uint8_t out[static AD_MAX],
			   enum pairing_role signer, const struct pairing_identity *identity)
{
	struct pairing_msg m = { .kind = PAIRING_IDENTITY, .identity = *identity };
	uint8_t body[PAIRING_BODY_MAX], hash[SHA256_LEN];
	struct wbuf w;
	ssize_t len;

	memset(m.identity.signature, 0, sizeof(m.identity.signature));
	len = pairing_msg_encode(body, sizeof(body), &m);
	assert(len >= 0);
	sha256(hash, body, (size_t)len);
	wbuf_init(&w, out, AD_MAX);
	wbuf_lv16(&w, p->channel_transcript, sizeof(p->channel_transcript));
	wbuf_u8(&w, (uint8_t)signer);
	wbuf_lv16(&w, hash, sizeof(hash));
	assert(wbuf_ok(&w));
	return w.len;
}

#define IDENTITY_CONTEXT "handfast pairing identity"

/* ---- the rounds: what is sent in each ---- */

static void send_hello(struct pairing *p)
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

	send_round(p, &m);
}

static void send_choose(struct pairing *p)
{
	struct pairing_msg m = { .kind = PAIRING_CHOOSE };

	memcpy(m.choose.profile, p->profile->name, strlen(p->profile->name) + 1);
	memcpy(m.choose.digest, p->digest, sizeof(m.choose.digest));
	send_round(p, &m);
}

static void send_pake(struct pairing *p)
{
	struct pairing_msg m = { .kind = PAIRING_PAKE, .pake.len = SPAKE2_MSG_LEN };

	spake2_message(p->spake2, m.pake.share);
	send_round(p, &m);
}

static int send_confirm(struct pairing *p)
{
	_cleanup_(tag_wipe) struct tag tag;
	struct pairing_msg m = { .kind = PAIRING_CONFIRM };
	int r;

	make_commitment(p, m.confirm.commitment, p->role, p->nonce, p->share, sizeof(p->share));
	r = make_tag(p, &tag, p->pake_key, "confirm", p->role, m.confirm.commitment,
		     sizeof(m.confirm.commitment));
	if (r)
		return r;
	memcpy(m.confirm.tag, tag.b, sizeof(m.confirm.tag));
	send_round(p, &m);
	return 0;
}

static void send_handshake(struct pairing *p)
{
	struct pairing_msg m = { .kind = PAIRING_HANDSHAKE, .handshake.len = sizeof(p->share) };

	memcpy(m.handshake.nonce, p->nonce, sizeof(m.handshake.nonce));
	memcpy(m.handshake.share, p->share, sizeof(p->share));
	send_round(p, &m);
}

static int send_finish(struct pairing *p)
{
	_cleanup_(tag_wipe) struct tag tag;
	struct pairing_msg m = { .kind = PAIRING_FINISH };
	int r;

	r = make_tag(p, &tag, p->session, "finish", p->role, NULL, 0);
	if (r)
		return r;
	memcpy(m.finish.tag, tag.b, sizeof(m.finish.tag));
	send_round(p, &m);
	return 0;
}

static void send_verdict(struct pairing *p)
{
	const struct pairing_msg m = { .kind = PAIRING_VERDICT,
				       .verdict.compared = p->compare_needed };

	send_round(p, &m);
}

static void send_identity(struct pairing *p)
{
	struct pairing_msg m = { .kind = PAIRING_IDENTITY };
	struct pairing_identity *i = &m.identity;
	uint8_t message[AD_MAX];
	size_t len;

	p->random(p->tunnel_share, sizeof(p->tunnel_share), p->random_arg);
	i->key_type = PAIRING_KEY_ED25519;
	sign_key_public(p->self.key, &i->public_key);
	memcpy(i->tunnel_share, p->tunnel_share, sizeof(i->tunnel_share));
	i->port = p->self.port;
	i->n_candidates = p->self.n_candidates;
	memcpy(i->name, p->self.name, sizeof(i->name));
	memcpy(i->candidates, p->self.candidates, sizeof(i->candidates));
	memcpy(i->host_name, p->self.host_name, sizeof(i->host_name));
	memcpy(i->version, p->self.version, sizeof(i->version));
	memcpy(i->note, p->self.note, sizeof(i->note));
	len = signed_bytes(p, message, p->role, i);
	sign_make(i->signature, p->self.key, IDENTITY_CONTEXT, message, len);
	send_round(p, &m);
}

static void send_prepared(struct pairing *p)
{
	const struct pairing_msg m = { .kind = PAIRING_PREPARED };

	send_round(p, &m);
}

/* ---- the rounds: what is checked in each; PAIRING_OK or why it ends ---- */

static enum pairing_code check_hello(struct pairing *p)
{
	const struct negotiate_offer *alice = &p->offer, *bob = &p->peer_hello.offer;
	char chosen[PROFILE_NAME_MAX + 1];

	if (p->peer_hello.protocol != PAIRING_PROTOCOL)
		return PAIRING_NO_COMMON_PROFILE;
	/* Our own words back. */
	if (p->peer_hello.role != peer_role(p))
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

/* Password: length-prefixed profile, session id, class, value. */
static int ask_stretch(struct pairing *p)
{
	_cleanup_(pairing_stretch_freep) struct pairing_stretch *s = NULL;
	static const char label[] = "handfast pairing salt";
	uint8_t buf[256 + SECRET_VALUE_MAX], hash[SHA256_LEN];
	struct wbuf w;
	int r;

	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	wbuf_init(&w, buf, sizeof(buf));
	wbuf_lv16(&w, label, sizeof(label) - 1);
	wbuf_lv16(&w, p->transcript.session_id, sizeof(p->transcript.session_id));
	sha256(hash, buf, w.len);
	memcpy(s->salt, hash, sizeof(s->salt));

	wbuf_init(&w, buf, sizeof(buf));
	wbuf_lv16(&w, p->profile->name, strlen(p->profile->name));
	wbuf_lv16(&w, p->transcript.session_id, sizeof(p->transcript.session_id));
	wbuf_lv16(&w, p->secret_class == SECRET_PIN ? "PIN" : "SEC", 3);
	wbuf_lv16(&w, secret_bytes(p->secret), secret_len(p->secret));
	assert(wbuf_ok(&w));
	r = secret_take(&s->input, buf, w.len);
	wipe(buf, sizeof(buf));
	if (r)
		return r;
	p->secret = secret_free(p->secret);
	push(p, PAIRING_DO_STRETCH)->stretch = steal(&s);
	return 0;
}

static enum pairing_code check_pake(struct pairing *p)
{
	int r;

	r = spake2_finish(p->spake2, &p->pake_key, p->peer_pake.share, p->peer_pake.len);
	p->spake2 = spake2_free(p->spake2);
	if (r == SPAKE2_E_BAD_MESSAGE)
		return PAIRING_TAMPERED; /* says nothing about the secret: any element is as likely */
	if (r)
		return PAIRING_INTERNAL;
	transcript_join(&p->transcript, "pake", NULL, 0);
	r = make_shares(p);
	if (!r)
		r = send_confirm(p);
	return r ? PAIRING_INTERNAL : PAIRING_OK;
}

/*
 * The tag decides whether the peer had the same secret and saw the same
 * words. Everything that success needs is computed before the comparison
 * decides anything, so that failure takes the same time.
 */
static enum pairing_code check_confirm(struct pairing *p)
{
	_cleanup_(tag_wipe) struct tag expected;
	int r;

	r = make_tag(p, &expected, p->pake_key, "confirm", peer_role(p),
		     p->peer_confirm.commitment, sizeof(p->peer_confirm.commitment));
	if (r)
		return PAIRING_INTERNAL;
	transcript_join(&p->transcript, "committed", NULL, 0);
	if (!bytes_equal(expected.b, p->peer_confirm.tag, sizeof(expected.b)))
		return PAIRING_WRONG_SECRET;
	push(p, PAIRING_DO_PROVEN);
	return PAIRING_OK;
}

static enum pairing_code check_handshake(struct pairing *p)
{
	_cleanup_(secret_freep) struct secret *agreed = NULL;
	uint8_t commitment[PAIRING_HASH_LEN];
	int r;

	make_commitment(p, commitment, peer_role(p), p->peer_handshake.nonce,
			p->peer_handshake.share, p->peer_handshake.len);
	if (!bytes_equal(commitment, p->peer_confirm.commitment, sizeof(commitment)))
		return PAIRING_TAMPERED;
	if (p->peer_handshake.len != X25519_LEN)
		return PAIRING_TAMPERED;
	r = x25519(&agreed, p->x25519_private, p->peer_handshake.share);
	p->x25519_private = secret_free(p->x25519_private);
	if (r == -EBADMSG)
		return PAIRING_TAMPERED;
	if (r)
		return PAIRING_INTERNAL;
	transcript_join(&p->transcript, "handshake", NULL, 0);
	r = derive_session(p, agreed);
	if (!r)
		r = derive_channel(p);
	if (!r)
		r = send_finish(p);
	return r ? PAIRING_INTERNAL : PAIRING_OK;
}

static enum pairing_code check_finish(struct pairing *p)
{
	_cleanup_(tag_wipe) struct tag expected;

	/* The tag is over the join "handshake", which is the last one still. */
	if (make_tag(p, &expected, p->session, "finish", peer_role(p), NULL, 0))
		return PAIRING_INTERNAL;
	if (!bytes_equal(expected.b, p->peer_finish.tag, sizeof(expected.b)))
		return PAIRING_TAMPERED;
	transcript_join(&p->transcript, "confirmed", NULL, 0);
	memcpy(p->channel_transcript, p->transcript.joined, sizeof(p->channel_transcript));
	p->channel_open = true;
	derive_sas(p);
	return PAIRING_OK;
}

static enum pairing_code check_identity(struct pairing *p)
{
	struct sign_public own;
	uint8_t message[AD_MAX];
	size_t len;

	sign_key_public(p->self.key, &own);
	if (bytes_equal(own.b, p->peer.public_key.b, sizeof(own.b)))
		return PAIRING_OWN_DEVICE;
	len = signed_bytes(p, message, peer_role(p), &p->peer);
	if (!sign_verify(p->peer.signature, &p->peer.public_key, IDENTITY_CONTEXT, message, len))
		return PAIRING_TAMPERED;
	transcript_join(&p->transcript, "identified", NULL, 0);
	return derive_roots(p) ? PAIRING_INTERNAL : PAIRING_OK;
}

/* ---- the machine ---- */

static void show_choices(struct pairing *p)
{
	struct pairing_action *a = push(p, PAIRING_DO_COMPARE);

	sas_choices(a->choices, p->sas, p->random, p->random_arg);
}

static void ask_store(struct pairing *p)
{
	struct pairing_result *result = &push(p, PAIRING_DO_STORE)->result;

	*result = (struct pairing_result){
		.profile = p->profile->name,
		.role = p->role,
		.sas_compared = p->compare_needed,
		.peer = &p->peer,
		.tunnel_root = p->tunnel_root,
	};
	derive_tunnel_id(p, result->tunnel_id);
}

static bool refused(struct pairing *p, enum pairing_code code)
{
	if (code == PAIRING_OK)
		return false;
	abort_with(p, code);
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
		set_wait(p, "peer-joins", "peer", d->join_ms, now);
		return false;

	case PAIRING_JOINED:
		if (p->sent < PAIRING_HELLO)
			send_hello(p);
		if (p->got < PAIRING_HELLO) {
			set_wait(p, "greeting", "peer", d->step_ms, now);
			return false;
		}
		if (refused(p, check_hello(p)))
			return false;
		send_choose(p);
		p->phase = PAIRING_NEGOTIATED;
		return true;

	case PAIRING_NEGOTIATED:
		if (p->got < PAIRING_CHOOSE) {
			set_wait(p, "negotiation", "peer", d->step_ms, now);
			return false;
		}
		if (negotiate_verify(p->profile->name, p->digest, p->peer_choose.profile,
				     p->peer_choose.digest))
			return refused(p, PAIRING_DOWNGRADE), false;
		if (ask_stretch(p))
			return refused(p, PAIRING_INTERNAL), false;
		p->phase = PAIRING_IN_PAKE;
		return true;

	case PAIRING_IN_PAKE:
		set_wait(p, "key-exchange", "peer", d->step_ms, now);
		if (!p->stretched && !p->spake2 && p->sent < PAIRING_PAKE)
			return false;
		if (!p->spent) {
			/* I3: not a byte derived from the secret leaves before this is durable. */
			if (!p->spend_asked)
				push(p, PAIRING_DO_SPEND);
			p->spend_asked = true;
			return false;
		}
		if (p->sent < PAIRING_PAKE) {
			if (start_pake(p))
				return refused(p, PAIRING_INTERNAL), false;
			send_pake(p);
		}
		if (p->got < PAIRING_PAKE)
			return false;
		if (p->sent < PAIRING_CONFIRM && refused(p, check_pake(p)))
			return false;
		if (p->got < PAIRING_CONFIRM)
			return false;
		if (refused(p, check_confirm(p)))
			return false;
		p->phase = PAIRING_PAKE_CONFIRMED;
		return true;

	case PAIRING_PAKE_CONFIRMED:
		if (p->sent < PAIRING_HANDSHAKE)
			send_handshake(p);
		if (p->got < PAIRING_HANDSHAKE) {
			set_wait(p, "handshake", "peer", d->step_ms, now);
			return false;
		}
		if (refused(p, check_handshake(p)))
			return false;
		p->phase = PAIRING_IN_HANDSHAKE;
		return true;

	case PAIRING_IN_HANDSHAKE:
		if (p->got < PAIRING_FINISH) {
			set_wait(p, "confirmation", "peer", d->step_ms, now);
			return false;
		}
		if (refused(p, check_finish(p)))
			return false;
		p->phase = PAIRING_CONFIRMED;
		return true;

	case PAIRING_CONFIRMED:
		if (p->compare_needed) {
			set_wait(p, "compare", "you", d->sas_ms, now);
			show_choices(p);
		}
		p->phase = PAIRING_IN_SAS;
		return true;

	case PAIRING_IN_SAS:
		if (p->compare_needed && !p->compared)
			return false;
		if (p->sent < PAIRING_VERDICT)
			send_verdict(p);
		if (p->got < PAIRING_VERDICT) {
			set_wait(p, p->compare_needed ? "peer-compares" : "identities", "peer",
				 p->compare_needed ? d->sas_ms : d->step_ms, now);
			return false;
		}
		if (p->peer_verdict.compared != p->compare_needed)
			return refused(p, PAIRING_TAMPERED), false;
		if (p->sent < PAIRING_IDENTITY)
			send_identity(p);
		if (p->got < PAIRING_IDENTITY) {
			set_wait(p, "identities", "peer", d->step_ms, now);
			return false;
		}
		if (!p->store_asked) {
			if (refused(p, check_identity(p)))
				return false;
			push(p, PAIRING_DO_GREET)->peer = &p->peer;
			ask_store(p);
			p->store_asked = true;
		}
		if (!p->stored)
			return false;
		p->tunnel_root = secret_free(p->tunnel_root);
		send_prepared(p);
		p->phase = PAIRING_IS_PREPARED;
		return true;

	case PAIRING_IS_PREPARED:
		if (p->got < PAIRING_PREPARED) {
			set_wait(p, "peer-stores", "peer", d->step_ms, now);
			return false;
		}
		if (!p->activate_asked)
			push(p, PAIRING_DO_ACTIVATE);
		p->activate_asked = true;
		if (p->activated)
			end(p, PAIRING_OK);
		return false;

	case PAIRING_IS_ACTIVE:
	case PAIRING_IS_ABORTED:
		return false;
	}
	return false;
}

static void advance(struct pairing *p, uint64_t now_ms)
{
	while (step(p, now_ms))
		;
}

bool pairing_is_over(const struct pairing *p)
{
	return p->phase >= PAIRING_IS_ACTIVE;
}

/* ---- receiving ---- */

/* End from this side, but never take back what the peer may rely on already. */
static void end_early(struct pairing *p, enum pairing_code code)
{
	if (p->phase == PAIRING_IS_PREPARED)
		end(p, PAIRING_UNCONFIRMED);
	else
		abort_with(p, code);
}

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
		end(p, believe(p, m->abort.code, authentic));
		return;
	}
	/*
	 * The abort stands where the peer's "prepared" would: it has stored
	 * nothing, and said so inside the channel. From outside the channel
	 * anybody can say it.
	 */
	if (!authentic) {
		end(p, PAIRING_UNCONFIRMED);
		return;
	}
	if (p->activate_asked)
		return;
	push(p, PAIRING_DO_REMOVE);
	end(p, believe(p, m->abort.code, true));
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
	len = channel_unseal(p, plain, packet);
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
			end_early(p, PAIRING_TAMPERED);
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
			end_early(p, PAIRING_TAMPERED);
		return;
	}
	/*
	 * In its turn, and not ahead of what it can know: a peer sends round n
	 * only with our round n - 1 in hand.
	 */
	if (packet->seq != round || round > ROUND_LAST || round > p->sent + 1 ||
	    sealed != (round >= ROUND_FIRST_SEALED)) {
		end_early(p, PAIRING_TAMPERED);
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
		end_early(p, PAIRING_TAMPERED);
		return;
	}
	transcript_add(&p->transcript, peer_role(p), packet->kind, packet->seq, packet->body,
		       packet->len);
	p->got = round;
	keep(p, &m);
	advance(p, now_ms);
}

void pairing_on_garbage(struct pairing *p, uint64_t now_ms)
{
	(void)now_ms;
	if (!pairing_is_over(p))
		end_early(p, PAIRING_TAMPERED);
}

void pairing_on_peer_joined(struct pairing *p, uint64_t now_ms)
{
	if (p->phase != PAIRING_CREATED)
		return;
	p->phase = PAIRING_JOINED;
	advance(p, now_ms);
}

void pairing_on_peer_left(struct pairing *p, uint64_t now_ms)
{
	(void)now_ms;
	if (pairing_is_over(p))
		return;
	end(p, p->phase == PAIRING_IS_PREPARED ? PAIRING_UNCONFIRMED : PAIRING_PEER_LEFT);
}

void pairing_on_stretched(struct pairing *p, struct pairing_stretch *s, uint64_t now_ms)
{
	_cleanup_(pairing_stretch_freep) struct pairing_stretch *mine = s;

	if (pairing_is_over(p))
		return;
	assert(p->phase == PAIRING_IN_PAKE && !p->stretched && p->sent < PAIRING_PAKE);
	if (!mine->output) {
		abort_with(p, PAIRING_INTERNAL);
		return;
	}
	p->stretched = steal(&mine->output);
	advance(p, now_ms);
}

void pairing_on_spent(struct pairing *p, int r, uint64_t now_ms)
{
	if (pairing_is_over(p))
		return;
	assert(p->spend_asked && !p->spent);
	if (r) {
		abort_with(p, PAIRING_STORAGE_FAILED);
		return;
	}
	p->spent = true;
	advance(p, now_ms);
}

void pairing_on_stored(struct pairing *p, int r, uint64_t now_ms)
{
	if (pairing_is_over(p))
		return;
	assert(p->store_asked && !p->stored);
	if (r) {
		abort_with(p, PAIRING_STORAGE_FAILED);
		return;
	}
	p->stored = true;
	advance(p, now_ms);
}

void pairing_on_activated(struct pairing *p, int r, uint64_t now_ms)
{
	if (pairing_is_over(p))
		return;
	assert(p->activate_asked);
	/* It stays prepared, which the peer's first tunnel message mends. */
	if (r) {
		end(p, PAIRING_UNCONFIRMED);
		return;
	}
	p->activated = true;
	advance(p, now_ms);
}

void pairing_on_sas(struct pairing *p, const char *digits, uint64_t now_ms)
{
	if (p->phase != PAIRING_IN_SAS || !p->compare_needed || p->compared)
		return;
	if (!digits || strlen(digits) != SAS_DIGITS || !bytes_equal(digits, p->sas, SAS_DIGITS)) {
		abort_with(p, PAIRING_SAS_MISMATCH);
		return;
	}
	p->compared = true;
	advance(p, now_ms);
}

void pairing_on_time(struct pairing *p, uint64_t now_ms)
{
	if (!pairing_is_over(p) && now_ms >= p->deadline_ms)
		end_early(p, PAIRING_EXPIRED);
}

void pairing_on_cancel(struct pairing *p, enum pairing_code why, uint64_t now_ms)
{
	(void)now_ms;
	if (!pairing_is_over(p))
		end_early(p, why);
}

/* ---- life ---- */

void pairing_stretch_run(struct pairing_stretch *s)
{
	/* Without memory there is no output, which says it. */
	if (argon2id(&s->output, STRETCHED_LEN, secret_bytes(s->input), secret_len(s->input),
		     s->salt, STRETCH_MEM_KIB, STRETCH_PASSES))
		s->output = NULL;
}

struct pairing_stretch *pairing_stretch_free(struct pairing_stretch *s)
{
	if (!s)
		return NULL;
	secret_free(s->input);
	secret_free(s->output);
	free(s);
	return NULL;
}

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
	advance(p, now_ms);
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

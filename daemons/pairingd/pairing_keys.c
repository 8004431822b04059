/*
 * What is computed of secrets and the transcript: the stretched password, tags
 * and commitments, keys and roots. A secret that has had its use is freed here.
 */
#include "pairingd/pairing_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "crypto/kdf.h"
#include "crypto/spake2.h"

#include "pairingd/operations.h"

/* design: 64 MiB, three passes; a Raspberry Pi 3 needs about two seconds. */
#define STRETCH_MEM_KIB (64 * 1024)
#define STRETCH_PASSES 3
#define STRETCHED_LEN 32

/* ---- the password ---- */

/* Password: length-prefixed profile, session id, class, value. */
int pairing_ask_stretch(struct pairing *p)
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
	pairing_push(p, PAIRING_DO_STRETCH)->stretch = steal(&s);
	return 0;
}

void pairing_stretch_run(struct pairing_stretch *s)
{
	uint64_t begun = opstat_begin();

	/* Without memory there is no output, which says it. */
	if (argon2id(&s->output, STRETCHED_LEN, secret_bytes(s->input), secret_len(s->input),
		     s->salt, STRETCH_MEM_KIB, STRETCH_PASSES))
		s->output = NULL;
	opstat_end(&pairing_operations[OP_ARGON2ID], begun, secret_len(s->input), s->output != NULL);
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

/* ---- tags and shares ---- */

void pairing_tag_wipe(struct pairing_tag *t)
{
	wipe(t, sizeof(*t));
}

/* A tag by sender over everything joined so far, its place, and extra. */
int pairing_make_tag(const struct pairing *p, struct pairing_tag *out, const struct secret *key,
		     const char *purpose, enum pairing_role sender, const void *extra,
		     size_t extra_len)
{
	_cleanup_(secret_freep) struct secret *mac_key = NULL;
	uint64_t seq = strcmp(purpose, "confirm") == 0 ? PAIRING_CONFIRM : PAIRING_FINISH;
	char label[64] = "handfast pairing ";
	uint8_t buf[PAIRING_AD_MAX];
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

void pairing_make_commitment(const struct pairing *p, uint8_t out[static PAIRING_HASH_LEN],
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
static size_t pake_identity(const struct pairing *p, uint8_t out[static PAIRING_AD_MAX],
			    enum pairing_role role)
{
	struct wbuf w;

	wbuf_init(&w, out, PAIRING_AD_MAX);
	wbuf_lv16(&w, PROTOCOL_NAME, strlen(PROTOCOL_NAME));
	wbuf_lv16(&w, role == PAIRING_ALICE ? "alice" : "bob", role == PAIRING_ALICE ? 5 : 3);
	wbuf_lv16(&w, p->profile->name, strlen(p->profile->name));
	wbuf_lv16(&w, p->transcript.session_id, sizeof(p->transcript.session_id));
	wbuf_lv16(&w, p->transcript.joined, sizeof(p->transcript.joined));
	assert(wbuf_ok(&w));
	return w.len;
}

int pairing_start_pake(struct pairing *p)
{
	uint8_t alice[PAIRING_AD_MAX], bob[PAIRING_AD_MAX], seed[64];
	size_t alice_len = pake_identity(p, alice, PAIRING_ALICE);
	size_t bob_len = pake_identity(p, bob, PAIRING_BOB);
	uint64_t begun;
	int r;

	p->random(seed, sizeof(seed), p->random_arg);
	begun = opstat_begin();
	r = spake2_new_seeded(&p->spake2, p->role == PAIRING_ALICE ? SPAKE2_A : SPAKE2_B,
			      secret_bytes(p->stretched), secret_len(p->stretched), alice,
			      alice_len, bob, bob_len, seed);
	opstat_end(&pairing_operations[OP_SPAKE2_START], begun, SPAKE2_MSG_LEN, r == 0);
	wipe(seed, sizeof(seed));
	p->stretched = secret_free(p->stretched);
	return err_fold(r);
}

/* Our nonce and X25519 share; only their commitment leaves until the peer is committed too. */
int pairing_make_shares(struct pairing *p)
{
	static const uint8_t base_point[X25519_LEN] = { 9 };
	_cleanup_(secret_freep) struct secret *share = NULL;
	uint8_t scalar[X25519_LEN];
	uint64_t begun;
	int r;

	p->random(p->nonce, sizeof(p->nonce), p->random_arg);
	p->random(scalar, sizeof(scalar), p->random_arg);
	r = secret_take(&p->x25519_private, scalar, sizeof(scalar));
	if (r)
		return r;
	/* RFC 7748 section 6.1: the public key is X25519 of the scalar and the base point. */
	begun = opstat_begin();
	r = x25519(&share, p->x25519_private, base_point);
	opstat_end(&pairing_operations[OP_X25519], begun, X25519_LEN, r == 0);
	if (r)
		return r;
	memcpy(p->share, secret_bytes(share), sizeof(p->share));
	return 0;
}

/* ---- keys ---- */

struct key_input {
	uint8_t b[SPAKE2_KEY_LEN + X25519_LEN + 4];
};

static void key_input_wipe(struct key_input *k)
{
	wipe(k, sizeof(*k));
}

/* The session key: of the password's key and the fresh agreement, over the joined transcript. */
int pairing_derive_session(struct pairing *p, const struct secret *agreed)
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

int pairing_derive_channel(struct pairing *p)
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

void pairing_derive_sas(struct pairing *p)
{
	static const char info[] = "handfast pairing sas";
	uint8_t value[8];

	hkdf_sha256(value, sizeof(value), p->transcript.joined, sizeof(p->transcript.joined),
		    secret_bytes(p->session), secret_len(p->session), info, sizeof(info) - 1);
	sas_format(p->sas, value);
	wipe(value, sizeof(value));
}

/* One root for each use, of the session and all that was said; then the session key is done with. */
int pairing_derive_roots(struct pairing *p)
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

void pairing_derive_tunnel_id(const struct pairing *p, uint8_t out[static 16])
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
size_t pairing_signed_bytes(const struct pairing *p, uint8_t out[static PAIRING_AD_MAX],
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
	wbuf_init(&w, out, PAIRING_AD_MAX);
	wbuf_lv16(&w, p->channel_transcript, sizeof(p->channel_transcript));
	wbuf_u8(&w, (uint8_t)signer);
	wbuf_lv16(&w, hash, sizeof(hash));
	assert(wbuf_ok(&w));
	return w.len;
}

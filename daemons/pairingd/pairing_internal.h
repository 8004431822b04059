/* What the files of one pairing share: pairing.c says which is which. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "crypto/aead.h"
#include "crypto/kdf.h"
#include "crypto/secret.h"
#include "crypto/x25519.h"
#include "pairingd/pairing.h"
#include "pairingd/transcript.h"

#define PROTOCOL_NAME "handfast pairing 1"

#define PAIRING_AD_MAX 512
#define QUEUE_MAX 8

/* Rounds, by their names in the code. */
#define ROUND_LAST PAIRING_PREPARED
#define ROUND_FIRST_SEALED PAIRING_VERDICT

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

static inline enum pairing_role pairing_peer_role(const struct pairing *p)
{
	return p->role == PAIRING_ALICE ? PAIRING_BOB : PAIRING_ALICE;
}

/* ---- pairing.c: what to do ---- */

/* A new action at the queue's end, for the caller to fill. */
struct pairing_action *pairing_push(struct pairing *p, enum pairing_do what);
/* From now on who ("you", "peer") must do step within for_ms; nothing when that is so already. */
void pairing_set_wait(struct pairing *p, const char *step, const char *who, uint64_t for_ms,
		      uint64_t now_ms);
/* The end: secrets are wiped. */
void pairing_end(struct pairing *p, enum pairing_code code);
/* End from this side, but never take back what the peer may rely on already. */
void pairing_end_early(struct pairing *p, enum pairing_code code);

/* ---- pairing_channel.c ---- */

/* The next round's message: into the transcript, sealed from ROUND_FIRST_SEALED on, and out. */
void pairing_send_round(struct pairing *p, const struct pairing_msg *m);
/* Tell the peer why, and end. */
void pairing_abort(struct pairing *p, enum pairing_code code);
/* A sealed packet's plaintext into out, kind first. Its length, or -EBADMSG. */
ssize_t pairing_unseal(const struct pairing *p, uint8_t out[static PAIRING_BODY_MAX],
		       const struct pairing_packet *packet);

/* ---- pairing_keys.c: 0 or a negative errno ---- */

struct pairing_tag {
	uint8_t b[HMAC_SHA256_LEN];
};
void pairing_tag_wipe(struct pairing_tag *t);

/* Have the secret stretched; it is wiped. */
int pairing_ask_stretch(struct pairing *p);
/* A tag by sender over all joined so far, its place, and extra. purpose: "confirm", "finish". */
int pairing_make_tag(const struct pairing *p, struct pairing_tag *out, const struct secret *key,
		     const char *purpose, enum pairing_role sender, const void *extra, size_t extra_len);
void pairing_make_commitment(const struct pairing *p, uint8_t out[static PAIRING_HASH_LEN],
			     enum pairing_role sender, const uint8_t nonce[static PAIRING_NONCE_LEN],
			     const uint8_t *share, size_t share_len);
int pairing_start_pake(struct pairing *p);
/* Our nonce and X25519 share; only their commitment leaves until the peer is committed too. */
int pairing_make_shares(struct pairing *p);
int pairing_derive_session(struct pairing *p, const struct secret *agreed);
int pairing_derive_channel(struct pairing *p);
void pairing_derive_sas(struct pairing *p);
/* The session key is wiped. */
int pairing_derive_roots(struct pairing *p);
void pairing_derive_tunnel_id(const struct pairing *p, uint8_t out[static 16]);
/* What the signature of signer's identity is over; its length. */
size_t pairing_signed_bytes(const struct pairing *p, uint8_t out[static PAIRING_AD_MAX],
			    enum pairing_role signer, const struct pairing_identity *identity);

/* ---- pairing_rounds.c ---- */

void pairing_send_hello(struct pairing *p);
void pairing_send_choose(struct pairing *p);
void pairing_send_pake(struct pairing *p);
int pairing_send_confirm(struct pairing *p);
void pairing_send_handshake(struct pairing *p);
int pairing_send_finish(struct pairing *p);
void pairing_send_verdict(struct pairing *p);
/* PAIRING_INTERNAL: nothing can be signed. */
enum pairing_code pairing_send_identity(struct pairing *p);
void pairing_send_prepared(struct pairing *p);

/* Each looks at the peer's message of its round: PAIRING_OK, or why it ends. */
enum pairing_code pairing_check_hello(struct pairing *p);
enum pairing_code pairing_check_pake(struct pairing *p);
enum pairing_code pairing_check_confirm(struct pairing *p);
enum pairing_code pairing_check_handshake(struct pairing *p);
enum pairing_code pairing_check_finish(struct pairing *p);
enum pairing_code pairing_check_identity(struct pairing *p);

/* ---- pairing_machine.c ---- */

/* Go on as far as what has happened allows. */
void pairing_advance(struct pairing *p, uint64_t now_ms);

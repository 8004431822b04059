/*
 * One pairing, from this side: the whole protocol of handfast-pairing(7) as a
 * state machine that does no I/O. Whatever happens goes in through
 * pairing_on_…(); what to do about it comes out of pairing_next(), which must
 * be emptied after each of them. Time is what the caller says it is, randomness
 * can be given, and slow work (Argon2id) is asked for as a job.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/secret.h"
#include "crypto/sign.h"
#include "pairingd/sas.h"
#include "proto/pairing_msg.h"
#include "proto/secret_msg.h"

struct pairing;

/* Strictly in this order; aborted from anywhere. */
enum pairing_phase {
	PAIRING_CREATED,	/* waits for the peer to come to the session */
	PAIRING_JOINED,		/* hello goes out */
	PAIRING_NEGOTIATED,	/* one profile, both sides say the same */
	PAIRING_IN_PAKE,	/* the secret is spent, shares cross */
	PAIRING_PAKE_CONFIRMED, /* both know the secret; both are committed */
	PAIRING_IN_HANDSHAKE,	/* nonces and X25519 shares opened */
	PAIRING_CONFIRMED,	/* session keys proven, channel open */
	PAIRING_IN_SAS,		/* people compare */
	PAIRING_IS_PREPARED,	/* stored here */
	PAIRING_IS_ACTIVE,	/* and there */
	PAIRING_IS_ABORTED,
};
const char *pairing_phase_name(enum pairing_phase phase);

/* Decryption failures before the pairing ends as tampered with. */
#define PAIRING_OPEN_FAILURES_MAX 10

/* What a profile runs. All names that a side offers must be in its table. */
struct pairing_profile {
	const char *name;
	enum { PAIRING_SUITE_SPAKE2_X25519 } suite;
};
extern const struct pairing_profile pairing_profiles[];
extern const size_t pairing_n_profiles;

/* How long each wait may last. */
struct pairing_deadlines {
	uint64_t join_ms; /* for the peer to come */
	uint64_t step_ms; /* for its next message */
	uint64_t sas_ms;  /* for a person to pick, here and there */
};

/* What this device says of itself once it knows whom it talks to. */
struct pairing_self {
	const struct signer *signer; /* outlives the pairing */
	char name[IDENTITY_NAME_MAX + 1];
	uint16_t port;
	size_t n_candidates;
	char candidates[IDENTITY_CANDIDATES_MAX][IDENTITY_CANDIDATE_LEN];
	char host_name[PAIRING_TEXT_MAX + 1];
	char version[PAIRING_TEXT_MAX + 1];
	char note[PAIRING_NOTE_MAX + 1];
};

struct pairing_options {
	enum pairing_role role;
	uint8_t session_id[PAIRING_SESSION_ID_LEN];
	const struct pairing_profile *profiles; /* outlives the pairing */
	size_t n_profiles;
	const char *minimum; /* NULL: the lowest of profiles */
	enum secret_class secret_class;
	struct secret *secret; /* the PIN or secret; taken by pairing_new() */
	bool compare_sas;      /* also without a PIN */
	struct pairing_self self;
	struct pairing_deadlines deadlines;
	/* NULL: the system's. */
	void (*random)(void *out, size_t len, void *arg);
	void *random_arg;
};

/* 0, -EINVAL for wrong profile names or a secret of wrong length for its class, -ENOMEM. */
int pairing_new(struct pairing **out, struct pairing_options *o, uint64_t now_ms);
struct pairing *pairing_free(struct pairing *p);
DEFINE_CLEANUP(struct pairing *, pairing_free);

/* ---- work for a thread ---- */

/* Argon2id over the secret. Run it anywhere, then give it back with pairing_on_stretched(). */
struct pairing_stretch {
	struct secret *input;
	uint8_t salt[16];
	struct secret *output; /* 32 bytes, set by pairing_stretch_run() */
};
void pairing_stretch_run(struct pairing_stretch *s);
struct pairing_stretch *pairing_stretch_free(struct pairing_stretch *s);
DEFINE_CLEANUP(struct pairing_stretch *, pairing_stretch_free);

/* ---- what happens ---- */
void pairing_on_peer_joined(struct pairing *p, uint64_t now_ms);
void pairing_on_packet(struct pairing *p, const struct pairing_packet *packet, uint64_t now_ms);
/* Something that was no packet came in the peer's place. */
void pairing_on_garbage(struct pairing *p, uint64_t now_ms);
void pairing_on_peer_left(struct pairing *p, uint64_t now_ms);
/* Takes s, whether or not it has an output. */
void pairing_on_stretched(struct pairing *p, struct pairing_stretch *s, uint64_t now_ms);
/* Answers to PAIRING_DO_SPEND, _STORE and _ACTIVATE: 0 when it is durable. */
void pairing_on_spent(struct pairing *p, int r, uint64_t now_ms);
void pairing_on_stored(struct pairing *p, int r, uint64_t now_ms);
void pairing_on_activated(struct pairing *p, int r, uint64_t now_ms);
/* The person's one pick; NULL: none of the three. */
void pairing_on_sas(struct pairing *p, const char *digits, uint64_t now_ms);
/* The time has come to look at pairing_deadline_ms(). */
void pairing_on_time(struct pairing *p, uint64_t now_ms);
/* End it from this side; why is sent to the peer. Once prepared was sent it ends as PAIRING_UNCONFIRMED. */
void pairing_on_cancel(struct pairing *p, enum pairing_code why, uint64_t now_ms);

/* ---- what to do ---- */
enum pairing_do {
	PAIRING_DO_NOTHING, /* the queue is empty */
	PAIRING_DO_SEND,    /* packet */
	PAIRING_DO_STRETCH, /* stretch, now the caller's */
	PAIRING_DO_SPEND,   /* make durable that the secret is used up, counted as a failure until PROVEN */
	PAIRING_DO_PROVEN,  /* the peer knew the secret: the row of failures is over */
	PAIRING_DO_WAIT,    /* a new wait began: pairing_wait_…() */
	PAIRING_DO_COMPARE, /* show choices */
	PAIRING_DO_GREET,   /* peer: who it is, proven */
	PAIRING_DO_STORE,   /* result: make it durable as prepared */
	PAIRING_DO_ACTIVATE, /* make it durable as active */
	PAIRING_DO_REMOVE,  /* the peer said that it has not stored: remove what STORE stored */
	PAIRING_DO_END,	    /* code; nothing more comes */
};

/* What to store. */
struct pairing_result {
	const char *profile;
	enum pairing_role role;
	bool sas_compared;
	const struct pairing_identity *peer;
	uint8_t tunnel_id[16];
	const struct secret *tunnel_root; /* 32 bytes */
};

struct pairing_action {
	enum pairing_do what;
	union {
		struct pairing_packet packet;
		struct pairing_stretch *stretch;
		char choices[SAS_CHOICES][SAS_DIGITS + 1];
		const struct pairing_identity *peer; /* lives as long as the pairing */
		struct pairing_result result;	     /* its pointers live until pairing_on_stored() */
		enum pairing_code code;
	};
};

/* The next thing to do, in order. The reference lives until the next call. */
const struct pairing_action *pairing_next(struct pairing *p);

/* ---- about ---- */
enum pairing_phase pairing_phase(const struct pairing *p);
enum pairing_code pairing_code(const struct pairing *p); /* how it ended */
enum pairing_code pairing_peer_code(const struct pairing *p); /* with PAIRING_PEER_ABORTED: the reason it gave */
bool pairing_is_over(const struct pairing *p);
/* "peer-key-exchange" …: what is waited for, and who must act. */
const char *pairing_wait_step(const struct pairing *p);
const char *pairing_wait_for(const struct pairing *p); /* "you", "peer" */
uint64_t pairing_deadline_ms(const struct pairing *p); /* UINT64_MAX: over */

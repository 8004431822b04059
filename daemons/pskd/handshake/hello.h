/*
 * The handshake of one tunnel, both roles (handfast-tunnel(7)). It sends,
 * checks and answers HELLO, WELCOME and BIND, moves the key material forward
 * as they ask, and makes sessions; it knows no socket and no packet.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "crypto/sign.h"
#include "proto/psk_handshake.h"
#include "pskd/handshake/label.h"
#include "pskd/handshake/session.h"
#include "pskd/keys/keys.h"
#include "pskd/packet/drops.h"
#include "pskd/packet/udp.h"

struct loop;
struct hello;

#define HELLO_CANDIDATES_MAX 32

enum hello_event {
	HELLO_OTHER_KEY,      /* unauthenticated: the peer names other key material */
	HELLO_OWN_ROLE,	      /* somebody with our key plays our role */
	HELLO_REFLECTED,      /* our own message came back */
	HELLO_WRONG_IDENTITY, /* right key, but not the pinned device; n: the first half of its identity */
	HELLO_BAD_SIGNATURE,
	HELLO_NOT_ALLOWED,    /* right key, but its label is not in the list; n: the first half of it */
	HELLO_REVOKED,	      /* right key, but its identity is revoked; n: the first half of it */
	HELLO_OWN_ROLLBACK,   /* the peer has seen n sequences that our ledger does not know */
	HELLO_PEER_ROLLBACK,  /* the peer's ledger is n behind what we received */
	HELLO_NEEDS_BURN,     /* to go on, n packets of key material are given up */
	HELLO_EXHAUSTED,
	HELLO_CANNOT_SIGN,    /* pairingd does not answer */
	HELLO_FAILED,	      /* n: negative errno */
};

/* sig NULL: no signature came. */
typedef void (*hello_signed_fn)(const uint8_t *sig, size_t len, void *token);

struct hello_ops {
	/* An answer goes back as the message came; else the kernel chooses where it leaves from. */
	void (*send)(const uint8_t *msg, size_t len, const struct udp_ends *to, void *arg);
	/* Ask for a signature over hash; done comes exactly once, later. 0, or a negative errno and done never comes. */
	int (*sign)(const uint8_t hash[static PSKH_HASH_LEN], hello_signed_fn done, void *token, void *arg);
	/* A session was made and is pending; the peer said that it will begin at peer_tx_next. The callee takes *s. */
	void (*on_session)(struct session **s, uint64_t peer_tx_next, void *arg);
	/* Responder: the BIND of the pending session came again; its answer was lost. */
	void (*on_bind_again)(void *arg);
	/* Initiator: whether a call from there may open an attempt. */
	bool (*may_call)(const struct sockaddr_in6 *from, void *arg);
	/* Another round of HELLOs begins: names may be resolved again. */
	void (*on_round)(unsigned int round, void *arg);
	void (*on_event)(enum hello_event e, const struct sockaddr_in6 *from, uint64_t n, void *arg);
};

struct hello_options {
	struct loop *loop;
	struct keys *keys;
	enum keys_role role;
	uint32_t window;
	bool pinned; /* both sides sign */
	struct sign_public peer_public;
	uint8_t own_identity[PSKH_IDENTITY_LEN];
	const struct label_list *allowed; /* of an unpinned tunnel; NULL or empty: every label */
	const struct label_list *revoked; /* of all tunnels; NULL: none. It may change meanwhile */
	const struct label_list *revoked_here; /* of this one; the same */
	const struct hello_ops *ops;
	void *arg;
	struct drops *drops;
	/*
	 * The newest session's number, where several handshakes, each of its own key material, make sessions
	 * for one path; NULL: this one counts alone.
	 */
	uint32_t *last_session;
	bool patient; /* rounds go on for long: the later ones come every four minutes */
};

/* 0 or -ENOMEM. */
int hello_new(struct hello **out, const struct hello_options *o);
struct hello *hello_free(struct hello *h);
DEFINE_CLEANUP(struct hello *, hello_free);

/* Where the peer may be. At most HELLO_CANDIDATES_MAX are used. */
void hello_set_candidates(struct hello *h, const struct sockaddr_in6 *v, size_t n);
/* One more, where the peer was proven to be. */
void hello_add_candidate(struct hello *h, const struct sockaddr_in6 *a);
/* Begin: HELLOs to all candidates now and after 1, 2, 4 … 32 s. A running one is left alone. */
void hello_start(struct hello *h);
/* The network changed: what looks for its peer begins its rounds anew, at most once a second. */
void hello_hurry(struct hello *h);
void hello_stop(struct hello *h);
/* From now on another owner hears of it, and its rounds are like any other's. */
void hello_hand_over(struct hello *h, const struct hello_ops *ops, void *arg);
/* The candidates that another one has. */
void hello_copy_candidates(struct hello *h, const struct hello *from);
bool hello_is_running(const struct hello *h);
/* The pending session carried an authenticated packet: the handshake is done. */
void hello_on_proven(struct hello *h);

/* high: keys_rx_high() when the message came, or UINT64_MAX: what it says is compared with that, and not with what came since. */
void hello_on_message(struct hello *h, const uint8_t *msg, size_t len, const struct udp_ends *from, uint64_t high);

/* What a refused handshake asked for: sequences to go forward to; both 0: nothing. */
void hello_burn_targets(const struct hello *h, uint64_t *tx_next, uint64_t *rx_next);
void hello_clear_burn(struct hello *h);
uint32_t hello_last_session(const struct hello *h);

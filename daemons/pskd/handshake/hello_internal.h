/* What hello.c (life, initiator) and welcome.c (responder) share. */
#pragma once

#include <assert.h>

#include "base/list.h"
#include "pskd/handshake/hello.h"

#define EPOCH_MS 8000
/* HELLOs from where the peer may be, and other sources, that are told apart when they are counted; powers of two. */
#define N_KNOWN 16
#define N_STRANGERS 64
#define BINDS_PER_S 1
#define BINDS_BURST 8
/* A small token bucket on the boot clock. */
struct bucket {
	uint64_t at_ms;
	uint64_t milli; /* tokens, in thousandths */
};

enum hello_state { HELLO_IDLE, HELLO_SENT, HELLO_SIGNING, HELLO_BIND_SENT };

struct hello {
	struct hello_options o;
	struct loop_timer *timer;
	struct sockaddr_in6 candidates[HELLO_CANDIDATES_MAX];
	size_t n_candidates;

	enum hello_state state;
	bool running;	  /* rounds go on until a session is proven */
	unsigned int round, bind_tries;
	uint64_t begun_ms, round_ms; /* of the attempt; of the last round */

	/* initiator: this attempt's messages, retransmitted as they are */
	uint8_t hello[PSKH_MAX];
	struct pskh hello_msg;
	uint8_t bind[PSKH_MAX];
	size_t bind_len;
	struct udp_ends bind_to;
	/* where this attempt's HELLO went: WELCOMEs from elsewhere were copied there */
	struct sockaddr_in6 asked[2 * HELLO_CANDIDATES_MAX];
	size_t n_asked;
	bool role_told; /* to somebody with our role, and when */
	uint64_t role_told_ms;
	struct session *session; /* until BIND is signed */

	/* responder: no state of strangers but this */
	uint8_t boot_key[32];
	uint64_t n_binds; /* accepted since the start */
	bool awaited; /* the newest session is not proven yet */

	uint32_t own_last_session; /* where there is no other handshake beside this one */
	uint8_t last_nonce[PSKH_NONCE_LEN]; /* nonce_a of the newest session */
	uint64_t burn_tx, burn_rx;
	struct bucket calls, past_calls, again;
	/* [1]: of HELLOs that may be recordings, see hello_is_past() */
	struct bucket known[2][N_KNOWN];	 /* from where the peer may be, by nonce */
	struct bucket strangers[2][N_STRANGERS]; /* and from elsewhere, by source */
	struct list signing; /* struct signing */
};

/* A signature that is being made: outlives its hello, which then forgets it. */
struct signing {
	struct list node;
	struct hello *h;
	struct pskh msg;
	struct udp_ends to;
};

bool bucket_take(struct bucket *b, uint64_t now_ms, uint64_t per_s, uint64_t burst);

/* Our part of any message. */
void hello_fill(const struct hello *h, struct pskh *m, enum pskh_type type);
size_t hello_encode(const struct hello *h, uint8_t out[static PSKH_MAX], const struct pskh *m);
void hello_drop(struct hello *h, enum drop cause);
void hello_event(struct hello *h, enum hello_event e, const struct sockaddr_in6 *from, uint64_t n);
/* Sign m (with hello's bytes in the transcript) and call done, or call it at once for an unpinned tunnel. */
void hello_sign(struct hello *h, const struct pskh *m, const uint8_t *hello, size_t hello_len,
		const struct udp_ends *to, void (*done)(struct signing *s, bool ok));
bool hello_signature_is_right(struct hello *h, const struct pskh *m, const uint8_t *hello,
			      size_t hello_len, const struct sockaddr_in6 *from);
/* Said before something that we had received when it came: a recording, or the peer's disk was restored. */
bool hello_is_past(const struct pskh *m, uint64_t high);
/* The peer will begin at tx_next and has seen all below rx_next: 0 when our material is there, else not now. */
int hello_forward(struct hello *h, uint64_t tx_next, uint64_t rx_next, const struct sockaddr_in6 *from);
/* software: the peer's, as its message says. */
int hello_make_session(struct hello *h, struct session **out, const struct pskh *m,
		       const uint8_t *identity_a, const uint8_t *identity_b, uint32_t software,
		       const struct udp_ends *peer);

/* welcome.c */
void welcome_on_hello(struct hello *h, const struct pskh *m, const uint8_t *msg, size_t len,
		      const struct udp_ends *from, uint64_t high);
void welcome_on_bind(struct hello *h, const struct pskh *m, const struct udp_ends *from);

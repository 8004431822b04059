/*
 * The handshake of a tunnel (handfast-tunnel(7)): HELLO, WELCOME, BIND.
 * Fixed big-endian layouts that end with an HMAC-SHA-256 over all that is
 * before it, by the hello key. Decoding believes nothing: pskh_is_authentic()
 * must be true before a field is acted on.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PSKH_MAGIC "PSKH"
#define PSKH_VERSION 1
#define PSKH_KEY_LEN 32
#define PSKH_HINT_LEN 8
#define PSKH_NONCE_LEN 32
#define PSKH_IDENTITY_LEN 16
#define PSKH_MAC_LEN 32
#define PSKH_HASH_LEN 32
#define PSKH_SIG_MAX 64
/* A HELLO is exactly this long, and no answer to one is longer. */
#define PSKH_HELLO_LEN 256
#define PSKH_MAX PSKH_HELLO_LEN

/* The context in which a device identity signs handshakes. */
#define PSKH_SIGN_CONTEXT "handfast tunnel handshake"

enum pskh_type { PSKH_HELLO = 1, PSKH_WELCOME = 2, PSKH_BIND = 3 };
enum pskh_role { PSKH_INITIATOR = 0, PSKH_RESPONDER = 1 };

struct pskh {
	uint8_t type;
	uint8_t role; /* of the sender */
	uint8_t hint[PSKH_HINT_LEN];
	uint8_t identity[PSKH_IDENTITY_LEN];
	uint32_t software; /* major << 24 | minor << 16 | patch */
	/* HELLO, WELCOME: the sender's last session; BIND: this one. */
	uint32_t session;
	uint8_t nonce_a[PSKH_NONCE_LEN]; /* of whoever sent the HELLO */
	uint8_t nonce_b[PSKH_NONCE_LEN]; /* zero in HELLO */
	uint64_t tx_next; /* the sender's next sequence */
	uint64_t rx_next; /* one more than the highest it authenticated, 0: none */
	/* BIND alone: what the WELCOME said, since its sender kept no copy. */
	uint8_t peer_identity[PSKH_IDENTITY_LEN];
	uint64_t peer_tx_next;
	uint64_t peer_rx_next;
	/* WELCOME and BIND; 0: unsigned. */
	size_t sig_len;
	uint8_t sig[PSKH_SIG_MAX];
};

/* True for what pskh_decode() is meant for. */
bool pskh_is_handshake(const uint8_t *msg, size_t len);

/* The clear hint at key material in such a message, whatever else is wrong with it; NULL: it is too short to have one. */
const uint8_t *pskh_hint(const uint8_t *msg, size_t len);

/* Outcome of decoding: wrong length, magic, version, type, role, or something where zeros must be. */
enum { PSKH_E_MALFORMED = 1 };
int pskh_decode(struct pskh *out, const uint8_t *msg, size_t len);

/* The HMAC at the end, compared in constant time. len >= PSKH_MAC_LEN. */
bool pskh_is_authentic(const uint8_t *msg, size_t len, const uint8_t key[static PSKH_KEY_LEN]);

/* Encode and authenticate; returns the length, at most PSKH_MAX. sig_len <= PSKH_SIG_MAX. */
size_t pskh_encode(uint8_t out[static PSKH_MAX], const struct pskh *m,
		   const uint8_t key[static PSKH_KEY_LEN]);

/*
 * What is signed: SHA-256 over context, role, the HELLO (of a WELCOME; empty
 * for a BIND, which repeats what matters of both messages before it) and all
 * fields of m before its signature.
 */
void pskh_signed_hash(uint8_t out[static PSKH_HASH_LEN], const struct pskh *m,
		      const uint8_t *hello, size_t hello_len);

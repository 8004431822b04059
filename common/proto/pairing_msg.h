/*
 * The messages of a pairing (handfast-pairing(7)). A packet is what the relay
 * carries: kind, sequence and body. A body is a row of fields in fixed order,
 *
 *   u8 field id, u8 type, be16 length, value
 *
 * each there exactly once, so that a message has one encoding and the bytes
 * that are hashed are the bytes that were sent.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "crypto/sign.h"
#include "proto/identity_msg.h"
#include "proto/negotiate.h"

#define PAIRING_PROTOCOL 1
#define PAIRING_BODY_MAX 4096
#define PAIRING_SESSION_ID_LEN 16
#define PAIRING_HASH_LEN 32
#define PAIRING_NONCE_LEN 32
#define PAIRING_SHARE_MAX 2048
#define PAIRING_NOTE_MAX 280
#define PAIRING_TEXT_MAX 64 /* host name, version */
#define PAIRING_TUNNEL_SHARE_LEN 16

enum pairing_role { PAIRING_ALICE = 0, PAIRING_BOB = 1 };

/*
 * The first nine are the rounds: each side sends each once, in this order,
 * with its number as sequence. From VERDICT on they travel inside SEALED.
 */
enum pairing_kind {
	PAIRING_HELLO = 1,
	PAIRING_CHOOSE = 2,
	PAIRING_PAKE = 3,
	PAIRING_CONFIRM = 4,
	PAIRING_HANDSHAKE = 5,
	PAIRING_FINISH = 6,
	PAIRING_VERDICT = 7,
	PAIRING_IDENTITY = 8,
	PAIRING_PREPARED = 9,
	PAIRING_SEALED = 32,
	PAIRING_ABORT = 33,
};

/* The reasons to end, on the wire and in the daemon. */
enum pairing_code {
	PAIRING_OK = 0,
	PAIRING_WRONG_SECRET = 1,
	PAIRING_SAS_MISMATCH = 2,
	PAIRING_NO_COMMON_PROFILE = 3,
	PAIRING_DOWNGRADE = 4,
	PAIRING_TAMPERED = 5,
	PAIRING_EXPIRED = 6,
	PAIRING_CANCELLED = 7,
	PAIRING_OWN_DEVICE = 8,
	PAIRING_STORAGE_FAILED = 9,
	PAIRING_OTHER_CLASS = 10, /* one side has a PIN, the other a secret */
	PAIRING_INTERNAL = 11,
	PAIRING_CODES_ON_WIRE = 12,

	/* Never sent: what this side concludes about the other. */
	PAIRING_PEER_ABORTED = 64,
	PAIRING_PEER_LEFT = 65,
	PAIRING_UNCONFIRMED = 66, /* stored here; whether the peer has it is unknown */
};

struct pairing_packet {
	uint8_t kind; /* enum pairing_kind */
	uint64_t seq;
	size_t len;
	uint8_t body[PAIRING_BODY_MAX];
};

struct pairing_hello {
	uint8_t protocol;
	uint8_t role;
	uint8_t secret_class; /* enum secret_class */
	bool compare_sas;
	struct negotiate_offer offer;
};

struct pairing_choose {
	char profile[PROFILE_NAME_MAX + 1];
	uint8_t digest[NEGOTIATE_DIGEST_LEN];
};

struct pairing_pake {
	size_t len;
	uint8_t share[PAIRING_SHARE_MAX];
};

struct pairing_confirm {
	uint8_t commitment[PAIRING_HASH_LEN];
	uint8_t tag[PAIRING_HASH_LEN];
};

struct pairing_handshake {
	uint8_t nonce[PAIRING_NONCE_LEN];
	size_t len;
	uint8_t share[PAIRING_SHARE_MAX];
};

struct pairing_finish {
	uint8_t tag[PAIRING_HASH_LEN];
};

struct pairing_verdict {
	bool compared; /* a person picked the right number; false: none was asked */
};

enum { PAIRING_KEY_ED25519 = 1 };

struct pairing_identity {
	char name[IDENTITY_NAME_MAX + 1]; /* text_is_name() */
	uint8_t key_type;
	struct sign_public public_key;
	uint8_t signature[SIGN_LEN];
	uint8_t tunnel_share[PAIRING_TUNNEL_SHARE_LEN];
	uint16_t port; /* UDP, the sender's end of a tunnel */
	size_t n_candidates;
	char candidates[IDENTITY_CANDIDATES_MAX][IDENTITY_CANDIDATE_LEN];
	char host_name[PAIRING_TEXT_MAX + 1]; /* mDNS name; may be empty */
	char version[PAIRING_TEXT_MAX + 1];
	char note[PAIRING_NOTE_MAX + 1];
};

struct pairing_abort {
	uint8_t code;
};

/* One message of any kind but SEALED, whose body is bare ciphertext. */
struct pairing_msg {
	uint8_t kind;
	union {
		struct pairing_hello hello;
		struct pairing_choose choose;
		struct pairing_pake pake;
		struct pairing_confirm confirm;
		struct pairing_handshake handshake;
		struct pairing_finish finish;
		struct pairing_verdict verdict;
		struct pairing_identity identity;
		struct pairing_abort abort;
	};
};

/* The body of a message. Bytes written, or -EMSGSIZE. */
ssize_t pairing_msg_encode(uint8_t *out, size_t cap, const struct pairing_msg *m);
/*
 * The other way; nothing is trusted: order, types, lengths, ranges, names,
 * UTF-8 are checked, text must be clean as text_clean() leaves it. 0 or
 * -EBADMSG. What decodes encodes to the same bytes.
 */
int pairing_msg_decode(struct pairing_msg *out, uint8_t kind, const uint8_t *body, size_t len);

struct json_t;
/* A relay frame with payload {"kind", "seq", "body_b64"}: NUL-terminated, the caller frees it. 0 or -ENOMEM. */
int pairing_packet_encode(char **out, size_t *len, const struct pairing_packet *p);
/* From a relay frame's payload. 0, or -EBADMSG: another member, unknown kind, seq of no positive whole number, body no canonical base64 or too long. */
int pairing_packet_decode(struct pairing_packet *out, const struct json_t *payload);

const char *pairing_kind_name(uint8_t kind); /* "hello"; NULL: unknown */

/* An address that may be a candidate: IPv4, or IPv6 in brackets, as inet_ntop() spells them. */
bool pairing_is_candidate(const char *s);

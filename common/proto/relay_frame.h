/*
 * What passes between a relay and its clients (handfast-relay(7)): session
 * codes, request targets, invitations, and the JSON text frames of the
 * WebSocket, both directions. Text in, struct out, and back; nothing else.
 *
 * The relay's side of decoding allocates nothing and leaves the text alone,
 * so that a packet can be forwarded byte for byte.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_t;

#define RELAY_PROTO "handfast-relay"
#define RELAY_VER 1

#define RELAY_CODE_LEN 8
#define RELAY_CODE_ALPHABET "ABCDEFGHJKMNPQRSTUVWXYZ23456789" /* without I, L, O, 0, 1 */
#define RELAY_CODE_BASE 31u
#define RELAY_SESSION_ID_LEN 16
#define RELAY_SESSION_ID_B64_LEN 24
#define RELAY_PORT 7117

/* The default limits of a client's frame; relayd.yaml can change the relay's. */
#define RELAY_MESSAGE_MAX 16384
#define RELAY_DEPTH_MAX 10
#define RELAY_KEYS_MAX 100
/* A server frame is at most its largest packet and this much more. */
#define RELAY_ENVELOPE_MAX 512
#define RELAY_KIND_MAX 32
#define RELAY_SEQ_MAX ((UINT64_C(1) << 53) - 1) /* what every JSON reader holds exactly */
#define RELAY_ERROR_CODE_MAX 32
#define RELAY_ERROR_TEXT_MAX 200

enum relay_role { RELAY_ALICE, RELAY_BOB };

const char *relay_role_name(enum relay_role role);
/* 0 or -EINVAL. */
int relay_role_parse(enum relay_role *out, const char *s, size_t len);
static inline enum relay_role relay_role_peer(enum relay_role r)
{
	return r == RELAY_ALICE ? RELAY_BOB : RELAY_ALICE;
}

/* ---- session codes, targets, invitations ---- */

/* A code from eight values below RELAY_CODE_BASE. */
void relay_code_format(char out[static RELAY_CODE_LEN + 1], const uint8_t values[static RELAY_CODE_LEN]);
/* Eight characters of the alphabet as people type them (small letters are raised). 0 or -EINVAL. */
int relay_code_parse(char out[static RELAY_CODE_LEN + 1], const char *text, size_t len);
/* True for exactly what relay_code_format() makes. */
bool relay_code_is_valid(const char *text, size_t len);

/* "/ws/CODE/role", exactly. 0 or -EINVAL. */
int relay_target_parse(char code[static RELAY_CODE_LEN + 1], enum relay_role *role, const char *target);

struct relay_invitation {
	char code[RELAY_CODE_LEN + 1];
	/* "ws://host:port" or "wss://host[:port]", without a path; empty when text was a code alone. */
	char url[300];
};
/* CODE, CODE@host:port, CODE@ws://host:port, CODE@wss://host[:port]; IPv6 in brackets. 0 or -EINVAL. */
int relay_invitation_parse(struct relay_invitation *out, const char *text);
/*
 * What follows the @ (or a relay given in a configuration): host[:port],
 * ws://… or wss://… to the url form above; ws without a port gets RELAY_PORT.
 * 0 or -EINVAL.
 */
int relay_url_parse(char *out, size_t cap, const char *text);

/* The answer to POST /session, for the client. */
struct relay_session_reply {
	char code[RELAY_CODE_LEN + 1];
	uint8_t id[RELAY_SESSION_ID_LEN];
	uint64_t expires_in_s;
};
/* 0, RELAY_E_FRAME or -ENOMEM. */
int relay_session_reply_decode(struct relay_session_reply *out, const char *text, size_t len);
/* Returns the length; cap of 256 is always enough. */
size_t relay_session_reply_encode(char *out, size_t cap, const struct relay_session_reply *r);

/* ---- frames ---- */

enum relay_frame_type {
	RELAY_HELLO = 1,
	RELAY_PEER_JOINED,
	RELAY_PEER_LEFT,
	RELAY_RELAY,
	RELAY_PONG,
	RELAY_ERROR,
	RELAY_PING,
	RELAY_PACKET,
};

/* Outcomes of decoding; also the "code" of an error frame: see relay_outcome_code(). */
enum relay_outcome {
	RELAY_E_TOO_LONG = 1,
	RELAY_E_TOO_DEEP,
	RELAY_E_TOO_MANY_KEYS,
	RELAY_E_SYNTAX, /* no JSON object, invalid UTF-8 */
	RELAY_E_FRAME,	/* the envelope: type, proto, ver, payload and nothing else; or a wrong member */
	RELAY_E_BASE64, /* a member named *_b64 is not canonical base64 */
	RELAY_E_SEQ,	/* packet: seq is missing, no whole number, 0 or too large */
};
/* "bad_json", "too_deep" …: stable, for machines; and a sentence for people. */
const char *relay_outcome_code(int outcome);
const char *relay_outcome_text(int outcome);

/* ---- the client's side ---- */

/*
 * A packet: fields' members (an object, borrowed, may be NULL; without "kind"
 * and "seq") and kind and seq become its payload. *out is NUL-terminated text
 * that the caller frees. 0, -EINVAL (kind or seq out of range) or -ENOMEM.
 */
int relay_packet_encode(char **out, size_t *len, const char *kind, uint64_t seq,
			const struct json_t *fields);
/* The one ping there is. */
const char *relay_ping_text(void);

struct relay_server_frame {
	enum relay_frame_type type; /* RELAY_HELLO to RELAY_ERROR */
	enum relay_role role;	    /* hello: own; peer_joined, peer_left: the peer's; relay: who sent it */
	/* hello */
	char code[RELAY_CODE_LEN + 1];
	uint8_t session_id[RELAY_SESSION_ID_LEN];
	uint64_t expires_in_s;
	uint64_t last_seq;
	/* relay: the packet inside; payload is borrowed from json and holds kind and seq, too */
	char kind[RELAY_KIND_MAX + 1];
	uint64_t seq;
	const struct json_t *payload;
	/* error */
	char error_code[RELAY_ERROR_CODE_MAX + 1];
	char error_text[RELAY_ERROR_TEXT_MAX + 1]; /* cleaned (base/text.h) */
	struct json_t *json; /* owns payload */
};
/*
 * Decode what a relay sent, which is believed in nothing. Limits are the
 * defaults above plus the envelope. 0, a relay_outcome or -ENOMEM; *out needs
 * relay_server_frame_done() after 0 only (calling it on a zeroed one is fine).
 */
int relay_server_frame_decode(struct relay_server_frame *out, const char *text, size_t len);
void relay_server_frame_done(struct relay_server_frame *f);

/* ---- the relay's side ---- */

struct relay_frame_limits {
	size_t max_bytes;
	unsigned int max_depth;
	unsigned int max_keys; /* object keys and array elements in all */
};

struct relay_client_frame {
	enum relay_frame_type type; /* RELAY_PING or RELAY_PACKET */
	uint64_t seq;		    /* packet */
};
/* One pass over text, no allocation. 0 or a relay_outcome. */
int relay_client_frame_decode(struct relay_client_frame *out, const char *text, size_t len,
			      const struct relay_frame_limits *limits);

/* Each returns the length written (RELAY_ENVELOPE_MAX is always enough) and NUL-terminates. */
size_t relay_hello_encode(char *out, size_t cap, const char *code, enum relay_role role,
			  const uint8_t session_id[static RELAY_SESSION_ID_LEN],
			  uint64_t expires_in_s, uint64_t last_seq);
size_t relay_peer_encode(char *out, size_t cap, enum relay_frame_type type, enum relay_role role);
size_t relay_pong_encode(char *out, size_t cap);
/* text must be plain ASCII without quotes or backslashes: our own sentences. */
size_t relay_error_encode(char *out, size_t cap, const char *code, const char *text);
/* A relay frame is this, the packet as it was received, and the tail. */
size_t relay_relay_head(char *out, size_t cap, enum relay_role from);
#define RELAY_RELAY_TAIL "}}"

/*
 * The secret socket: how the command gives pairingd a PIN or secret
 * (RUNTIME/pairing-secret.sock, SOCK_SEQPACKET, handfast-admin and root). One
 * datagram: ticket (16 bytes, from the pairing's "secret-needed" event),
 * u8 class, then the value. One byte comes back: enum secret_status.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SECRET_TICKET_LEN 16
#define SECRET_VALUE_MAX 1024
#define SECRET_VALUE_MIN_SEC 16

enum secret_class { SECRET_PIN = 1, SECRET_SEC = 2 };
enum secret_status {
	SECRET_OK = 0,
	SECRET_NO_TICKET = 1, /* unknown or used */
	SECRET_BAD_VALUE = 2, /* a PIN that is not 6 to 8 digits; a secret under 16 bytes */
	SECRET_DENIED = 3,
};

#define SECRET_MSG_MAX (SECRET_TICKET_LEN + 1 + SECRET_VALUE_MAX)

/* One datagram, taken apart: value points into it. */
struct secret_msg {
	uint8_t ticket[SECRET_TICKET_LEN];
	enum secret_class class;
	const uint8_t *value;
	size_t value_len;
};

/* Bytes written, or -EMSGSIZE. The caller wipes out. */
ssize_t secret_msg_encode(uint8_t *out, size_t cap, const struct secret_msg *m);

/* Outcome of secret_msg_decode(): the ticket is set, the value is not what its class allows. */
enum { SECRET_MSG_E_BAD_VALUE = 1 };

/* 0, SECRET_MSG_E_BAD_VALUE, or -EBADMSG when it is no such message. */
int secret_msg_decode(struct secret_msg *out, const uint8_t *in, size_t len);

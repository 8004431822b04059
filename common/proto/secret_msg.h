/*
 * The secret socket: how the command gives pairingd a PIN or secret
 * (RUNTIME/pairing-secret.sock, SOCK_SEQPACKET, handfast-admin and root). One
 * datagram: ticket (16 bytes, from the pairing's "secret-needed" event),
 * u8 class, then the value. One byte comes back: enum secret_status.
 */
#pragma once

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

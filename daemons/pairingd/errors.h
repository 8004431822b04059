/* How a pairing's end is told: the one error code, and sentences for people. */
#pragma once

#include "pairingd/pairing.h"
#include "pairingd/relay_client.h"

struct pairing_error {
	const char *code; /* "io.handfast.Pairing.WrongSecret" */
	const char *message;
	const char *hint;
};

#define PAIRING_ERROR(name) "io.handfast.Pairing." name

/* code is anything but PAIRING_OK and _UNCONFIRMED; peer_code is the peer's reason with PEER_ABORTED. */
struct pairing_error pairing_error(enum pairing_code code, enum pairing_code peer_code,
				   enum secret_class class);
/* detail goes into message_buf and must outlive the result. */
struct pairing_error relay_error(enum relay_client_outcome outcome, const char *detail,
				 char *message_buf, size_t cap);

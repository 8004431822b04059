/* io.handfast.Pairing on the control socket. */
#pragma once

#include "pairingd/identity_server.h"
#include "pairingd/peers.h"
#include "pairingd/session.h"

struct service;

struct control {
	struct peers *peers;
	struct sessions *sessions;
	struct identity_server *identity;
	const struct signer *signer;
	const char *name; /* this device's */
};

/* c must live as long as the service. 0 or a negative errno. */
int control_start(struct service *svc, struct control *c);

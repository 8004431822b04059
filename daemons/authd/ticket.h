/*
 * The login_id: a started login's state, sealed under a key of this process and handed to the client, so that
 * logins which are never finished cost no memory. It is good once, and for a short time.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/base64.h"
#include "base/cleanup.h"
#include "crypto/opaque.h"
#include "crypto/seal.h"
#include "http/address.h"
#include "proto/username.h"

struct tickets;

struct ticket {
	char name[USERNAME_SPACE];
	int64_t user, version; /* user 0: nobody's name */
	struct address_key address;
	uint8_t login_state[OPAQUE_LOGIN_STATE_LEN];
};

/* number 8, expiry 8, user 8, version 8, name 65, address 9, login state. */
#define TICKET_LEN (8 + 8 + 8 + 8 + USERNAME_SPACE + 9 + OPAQUE_LOGIN_STATE_LEN)
#define TICKET_SPACE BASE64_SPACE(TICKET_LEN + SEAL_EXTRA)

enum { TICKET_E_BAD = 1, TICKET_E_EXPIRED, TICKET_E_USED, TICKET_E_FULL };

int tickets_new(struct tickets **out, uint64_t ttl_ms); /* 0 or -ENOMEM */
struct tickets *tickets_free(struct tickets *t);
DEFINE_CLEANUP(struct tickets *, tickets_free);
/* For what comes from now on. */
void tickets_set_ttl(struct tickets *t, uint64_t ttl_ms);

void ticket_seal(struct tickets *t, char out[static TICKET_SPACE], const struct ticket *in);
/* Opens it for the one time. 0, an outcome, or -ENOMEM. *out is secret: wipe it. */
int ticket_open(struct tickets *t, struct ticket *out, const char *text);

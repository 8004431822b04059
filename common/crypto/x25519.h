/* X25519 (RFC 7748). */
#pragma once

#include <stdint.h>

#include "crypto/secret.h"

#define X25519_LEN 32

/* A fresh key pair. 0 or -ENOMEM. */
int x25519_keypair(struct secret **priv, uint8_t pub[static X25519_LEN]);
/* Shared secret. 0, -EBADMSG when the result is all zero (RFC 7748 section 6.1), -ENOMEM. */
int x25519(struct secret **shared, const struct secret *priv, const uint8_t pub[static X25519_LEN]);

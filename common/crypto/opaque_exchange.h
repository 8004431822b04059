/*
 * OPAQUE's messages, and what both of its halves compute. For opaque_client.c
 * and opaque_server.c alone; names without a prefix are RFC 9807's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/group.h"
#include "crypto/kdf.h"
#include "crypto/opaque.h"
#include "crypto/oprf.h"

enum { NONCE_LEN = 32, MAC_LEN = 64, HASH_LEN = SHA512_LEN, SEED_LEN = OPRF_SEED_LEN };

/* Wire formats (sections 5.1 and 6.1): structs of bytes alone, which are the messages. */

struct envelope {
	uint8_t nonce[NONCE_LEN];
	uint8_t auth_tag[MAC_LEN];
};

struct record {
	uint8_t client_public_key[OPAQUE_PUBLIC_LEN];
	uint8_t masking_key[HASH_LEN];
	struct envelope envelope;
};

struct response {
	uint8_t evaluated[OPRF_ELEMENT_LEN];
	uint8_t server_public_key[OPAQUE_PUBLIC_LEN];
};

/* What masked_response hides. */
struct credentials {
	uint8_t server_public_key[OPAQUE_PUBLIC_LEN];
	struct envelope envelope;
};

struct credential_response {
	uint8_t evaluated[OPRF_ELEMENT_LEN];
	uint8_t masking_nonce[NONCE_LEN];
	uint8_t masked[sizeof(struct credentials)];
};

struct ke1 {
	uint8_t blinded[OPRF_ELEMENT_LEN];
	uint8_t client_nonce[NONCE_LEN];
	uint8_t client_keyshare[OPAQUE_PUBLIC_LEN];
};

struct ke2 {
	struct credential_response response;
	uint8_t server_nonce[NONCE_LEN];
	uint8_t server_keyshare[OPAQUE_PUBLIC_LEN];
	uint8_t server_mac[MAC_LEN];
};

/* An identity as it is used: absent ones are the public key (section 4). */
struct identity {
	const void *p;
	size_t len;
};

struct identities {
	struct identity client, server;
};

struct identities opaque_identities(const struct opaque_ids *ids, const uint8_t *client_public_key,
				    const uint8_t *server_public_key);

/* None longer than two bytes of length can say. */
bool opaque_ids_are_good(const struct opaque_ids *ids);

/* HKDF-Expand, with an info that is one label, or a nonce and a label. */
void opaque_expand(uint8_t *out, size_t len, const uint8_t prk[static HASH_LEN], const void *info,
		   size_t info_len);
void opaque_expand_nonce(uint8_t *out, size_t len, const uint8_t prk[static HASH_LEN],
			 const uint8_t nonce[static NONCE_LEN], const char *label);

/* DeriveDiffieHellmanKeyPair (section 6.4.1). Fails for no seed that anyone will meet. */
int opaque_derive_dh_keys(uint8_t private_key[static OPRF_SCALAR_LEN],
			  uint8_t public_key[static OPAQUE_PUBLIC_LEN],
			  const uint8_t seed[static SEED_LEN]);

/* Hide credentials, or show them again (section 6.3.2). */
void opaque_mask(uint8_t out[static sizeof(struct credentials)], const void *in,
		 const uint8_t masking_key[static HASH_LEN],
		 const uint8_t masking_nonce[static NONCE_LEN]);

/* The key exchange of section 6.4, in which both sides arrive at the same values. */
struct exchange {
	uint8_t ikm[3][OPRF_ELEMENT_LEN]; /* the three Diffie-Hellman values */
	uint8_t prk[HASH_LEN];
	uint8_t handshake_secret[HASH_LEN];
	uint8_t km2[HASH_LEN];
	uint8_t km3[HASH_LEN];
	uint8_t session_key[OPAQUE_SESSION_KEY_LEN];
	uint8_t server_mac[MAC_LEN];
	uint8_t client_mac[MAC_LEN];
};

/* Everything after ikm; of ke2 all but its MAC is read. */
void opaque_exchange_finish(struct exchange *x, const struct ke1 *ke1, const struct ke2 *ke2,
			    const struct identities *ids, const struct opaque_ids *context);

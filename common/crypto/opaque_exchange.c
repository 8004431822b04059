/* The functions that RFC 9807 has both sides compute. Callers own and wipe what they pass. */
#include "crypto/opaque_exchange.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include <sodium.h>

#include "base/bytes.h"
#include "crypto/sodium-compat/crypto_kdf_hkdf.h"

static_assert(sizeof(struct record) == OPAQUE_RECORD_LEN, "RegistrationRecord");
static_assert(sizeof(struct response) == OPAQUE_RESPONSE_LEN, "RegistrationResponse");
static_assert(sizeof(struct ke1) == OPAQUE_KE1_LEN, "KE1");
static_assert(sizeof(struct ke2) == OPAQUE_KE2_LEN, "KE2");
static_assert(MAC_LEN == OPAQUE_KE3_LEN && MAC_LEN == crypto_auth_hmacsha512_BYTES, "HMAC-SHA-512");
static_assert(OPAQUE_PUBLIC_LEN == OPRF_ELEMENT_LEN && OPAQUE_REQUEST_LEN == OPRF_ELEMENT_LEN,
	      "keys and blinded inputs are elements");

struct identities opaque_identities(const struct opaque_ids *ids, const uint8_t *client_public_key,
				    const uint8_t *server_public_key)
{
	struct identities i = { { client_public_key, OPAQUE_PUBLIC_LEN },
				{ server_public_key, OPAQUE_PUBLIC_LEN } };

	if (ids->client)
		i.client = (struct identity){ ids->client, ids->client_len };
	if (ids->server)
		i.server = (struct identity){ ids->server, ids->server_len };
	return i;
}

bool opaque_ids_are_good(const struct opaque_ids *ids)
{
	return ids->client_len <= OPAQUE_FIELD_MAX && ids->server_len <= OPAQUE_FIELD_MAX &&
	       ids->context_len <= OPAQUE_FIELD_MAX;
}

void opaque_expand(uint8_t *out, size_t len, const uint8_t prk[static HASH_LEN], const void *info,
		   size_t info_len)
{
	crypto_kdf_hkdf_sha512_expand(out, len, info, info_len, prk);
}

void opaque_expand_nonce(uint8_t *out, size_t len, const uint8_t prk[static HASH_LEN],
			 const uint8_t nonce[static NONCE_LEN], const char *label)
{
	uint8_t info[NONCE_LEN + 32];
	struct wbuf w;

	wbuf_init(&w, info, sizeof(info));
	wbuf_put(&w, nonce, NONCE_LEN);
	wbuf_put(&w, label, strlen(label));
	assert(wbuf_ok(&w));
	opaque_expand(out, len, prk, info, w.len);
}

int opaque_derive_dh_keys(uint8_t private_key[static OPRF_SCALAR_LEN],
			  uint8_t public_key[static OPAQUE_PUBLIC_LEN],
			  const uint8_t seed[static SEED_LEN])
{
	static const char info[] = "OPAQUE-DeriveDiffieHellmanKeyPair";

	if (oprf_derive_key(private_key, seed, info, sizeof(info) - 1) ||
	    group_public_key(public_key, private_key))
		return -ENOTRECOVERABLE;
	return 0;
}

/* Of one part only; libsodium's function for that takes keys of 32 bytes. */
static void mac(uint8_t tag[static MAC_LEN], const uint8_t key[static HASH_LEN],
		const uint8_t data[static HASH_LEN])
{
	crypto_auth_hmacsha512_state st;

	crypto_auth_hmacsha512_init(&st, key, HASH_LEN);
	crypto_auth_hmacsha512_update(&st, data, HASH_LEN);
	crypto_auth_hmacsha512_final(&st, tag);
	wipe(&st, sizeof(st));
}

static void hash_lv16(crypto_hash_sha512_state *st, const void *part, size_t len)
{
	uint8_t prefix[2];

	be16_store(prefix, (uint16_t)len);
	crypto_hash_sha512_update(st, prefix, sizeof(prefix));
	crypto_hash_sha512_update(st, part, len);
}

void opaque_mask(uint8_t out[static sizeof(struct credentials)], const void *in,
		 const uint8_t masking_key[static HASH_LEN],
		 const uint8_t masking_nonce[static NONCE_LEN])
{
	const uint8_t *bytes = in;
	uint8_t pad[sizeof(struct credentials)];

	opaque_expand_nonce(pad, sizeof(pad), masking_key, masking_nonce, "CredentialResponsePad");
	for (size_t i = 0; i < sizeof(pad); i++)
		out[i] = bytes[i] ^ pad[i];
	wipe(pad, sizeof(pad));
}

/* Expand-Label (section 6.4.2). */
static void derive_secret(uint8_t out[static HASH_LEN], const uint8_t secret[static HASH_LEN],
			  const char *label, const uint8_t *transcript_hash, size_t hash_len)
{
	uint8_t info[2 + 1 + 32 + 1 + HASH_LEN];
	size_t label_len = strlen(label);
	struct wbuf w;

	wbuf_init(&w, info, sizeof(info));
	wbuf_be16(&w, HASH_LEN);
	wbuf_u8(&w, (uint8_t)(strlen("OPAQUE-") + label_len));
	wbuf_put(&w, "OPAQUE-", strlen("OPAQUE-"));
	wbuf_put(&w, label, label_len);
	wbuf_u8(&w, (uint8_t)hash_len);
	wbuf_put(&w, transcript_hash, hash_len);
	assert(wbuf_ok(&w));
	opaque_expand(out, HASH_LEN, secret, info, w.len);
}

void opaque_exchange_finish(struct exchange *x, const struct ke1 *ke1, const struct ke2 *ke2,
			    const struct identities *ids, const struct opaque_ids *context)
{
	static const char version[] = "OPAQUEv1-";
	crypto_hash_sha512_state st, with_mac;
	uint8_t preamble[HASH_LEN], transcript[HASH_LEN];

	/* The preamble is all that both have seen up to the server's MAC. */
	crypto_hash_sha512_init(&st);
	crypto_hash_sha512_update(&st, (const uint8_t *)version, strlen(version));
	hash_lv16(&st, context->context, context->context_len);
	hash_lv16(&st, ids->client.p, ids->client.len);
	crypto_hash_sha512_update(&st, (const uint8_t *)ke1, sizeof(*ke1));
	hash_lv16(&st, ids->server.p, ids->server.len);
	crypto_hash_sha512_update(&st, (const uint8_t *)ke2, offsetof(struct ke2, server_mac));
	with_mac = st;
	crypto_hash_sha512_final(&st, preamble);

	crypto_kdf_hkdf_sha512_extract(x->prk, NULL, 0, x->ikm[0], sizeof(x->ikm));
	derive_secret(x->handshake_secret, x->prk, "HandshakeSecret", preamble, sizeof(preamble));
	derive_secret(x->session_key, x->prk, "SessionKey", preamble, sizeof(preamble));
	derive_secret(x->km2, x->handshake_secret, "ServerMAC", NULL, 0);
	derive_secret(x->km3, x->handshake_secret, "ClientMAC", NULL, 0);

	mac(x->server_mac, x->km2, preamble);
	crypto_hash_sha512_update(&with_mac, x->server_mac, sizeof(x->server_mac));
	crypto_hash_sha512_final(&with_mac, transcript);
	mac(x->client_mac, x->km3, transcript);
}

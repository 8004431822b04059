/*
 * RFC 9807, its functions under its names. Each public function works in one
 * struct that is wiped when it returns; what lives longer is in secrets.
 *
 * Where the RFC leaves a choice: peers' elements are checked before the
 * password is stretched; a client tells "wrong password" and "tampered
 * with" apart in no way, not even when a server that knows the password sends nonsense.
 */
#include "crypto/opaque.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "base/bytes.h"
#include "base/error.h"
#include "crypto/kdf.h"
#include "crypto/oprf.h"
#include "crypto/sodium-compat/crypto_kdf_hkdf.h"

enum { NONCE_LEN = 32, MAC_LEN = 64, HASH_LEN = SHA512_LEN, SEED_LEN = OPRF_SEED_LEN };

/* ---- wire formats, RFC 9807 sections 5.1 and 6.1 ---- */

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

struct login_state {
	uint8_t expected_client_mac[MAC_LEN];
	uint8_t session_key[OPAQUE_SESSION_KEY_LEN];
};

struct server_keys {
	uint8_t oprf_seed[HASH_LEN];
	uint8_t private_key[OPRF_SCALAR_LEN];
};

/* Bytes alone: these structs are the messages. */
static_assert(sizeof(struct record) == OPAQUE_RECORD_LEN, "RegistrationRecord");
static_assert(sizeof(struct response) == OPAQUE_RESPONSE_LEN, "RegistrationResponse");
static_assert(sizeof(struct ke1) == OPAQUE_KE1_LEN, "KE1");
static_assert(sizeof(struct ke2) == OPAQUE_KE2_LEN, "KE2");
static_assert(sizeof(struct login_state) == OPAQUE_LOGIN_STATE_LEN, "login state");
static_assert(sizeof(struct server_keys) == OPAQUE_KEYS_LEN, "server keys");
static_assert(MAC_LEN == OPAQUE_KE3_LEN && MAC_LEN == crypto_auth_hmacsha512_BYTES, "HMAC-SHA-512");
static_assert(OPAQUE_PUBLIC_LEN == OPRF_ELEMENT_LEN && OPAQUE_REQUEST_LEN == OPRF_ELEMENT_LEN,
	      "keys and blinded inputs are elements");

/* ---- both sides ---- */

/* An identity as it is used: absent ones are the public key (section 4). */
struct identity {
	const void *p;
	size_t len;
};

struct identities {
	struct identity client, server;
};

static struct identities identities_of(const struct opaque_ids *ids, const uint8_t *client_public_key,
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

static bool ids_are_good(const struct opaque_ids *ids)
{
	return ids->client_len <= OPAQUE_FIELD_MAX && ids->server_len <= OPAQUE_FIELD_MAX &&
	       ids->context_len <= OPAQUE_FIELD_MAX;
}

static void expand(uint8_t *out, size_t len, const uint8_t prk[static HASH_LEN], const void *info,
		   size_t info_len)
{
	crypto_kdf_hkdf_sha512_expand(out, len, info, info_len, prk);
}

/* Expand with an info that is a nonce and a label. */
static void expand_nonce(uint8_t *out, size_t len, const uint8_t prk[static HASH_LEN],
			 const uint8_t nonce[static NONCE_LEN], const char *label)
{
	uint8_t info[NONCE_LEN + 32];
	struct wbuf w;

	wbuf_init(&w, info, sizeof(info));
	wbuf_put(&w, nonce, NONCE_LEN);
	wbuf_put(&w, label, strlen(label));
	assert(wbuf_ok(&w));
	expand(out, len, prk, info, w.len);
}

/* DeriveDiffieHellmanKeyPair (section 6.4.1). Fails for no seed that anyone will meet. */
static int derive_dh_keys(uint8_t private_key[static OPRF_SCALAR_LEN],
			  uint8_t public_key[static OPAQUE_PUBLIC_LEN],
			  const uint8_t seed[static SEED_LEN])
{
	static const char info[] = "OPAQUE-DeriveDiffieHellmanKeyPair";

	if (oprf_derive_key(private_key, seed, info, sizeof(info) - 1) ||
	    oprf_public_key(public_key, private_key))
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

/* A hash or MAC of one part after another. */
static void hash_lv16(crypto_hash_sha512_state *st, const void *part, size_t len)
{
	uint8_t prefix[2];

	be16_store(prefix, (uint16_t)len);
	crypto_hash_sha512_update(st, prefix, sizeof(prefix));
	crypto_hash_sha512_update(st, part, len);
}

static void mac_lv16(crypto_auth_hmacsha512_state *st, const void *part, size_t len)
{
	uint8_t prefix[2];

	be16_store(prefix, (uint16_t)len);
	crypto_auth_hmacsha512_update(st, prefix, sizeof(prefix));
	crypto_auth_hmacsha512_update(st, part, len);
}

/* The envelope's tag (sections 4.1.2 and 4.1.3): over its nonce and CleartextCredentials. */
static void envelope_tag(uint8_t tag[static MAC_LEN], const uint8_t auth_key[static HASH_LEN],
			 const uint8_t nonce[static NONCE_LEN],
			 const uint8_t server_public_key[static OPAQUE_PUBLIC_LEN],
			 const struct identities *ids)
{
	crypto_auth_hmacsha512_state st;

	crypto_auth_hmacsha512_init(&st, auth_key, HASH_LEN);
	crypto_auth_hmacsha512_update(&st, nonce, NONCE_LEN);
	crypto_auth_hmacsha512_update(&st, server_public_key, OPAQUE_PUBLIC_LEN);
	mac_lv16(&st, ids->server.p, ids->server.len);
	mac_lv16(&st, ids->client.p, ids->client.len);
	crypto_auth_hmacsha512_final(&st, tag);
	wipe(&st, sizeof(st));
}

static void mask(uint8_t out[static sizeof(struct credentials)], const void *in,
		 const uint8_t masking_key[static HASH_LEN],
		 const uint8_t masking_nonce[static NONCE_LEN])
{
	const uint8_t *bytes = in;
	uint8_t pad[sizeof(struct credentials)];

	expand_nonce(pad, sizeof(pad), masking_key, masking_nonce, "CredentialResponsePad");
	for (size_t i = 0; i < sizeof(pad); i++)
		out[i] = bytes[i] ^ pad[i];
	wipe(pad, sizeof(pad));
}

/* The key exchange of section 6.4, in which both sides arrive at the same values. */
struct exchange {
	uint8_t ikm[3][OPRF_ELEMENT_LEN];
	uint8_t prk[HASH_LEN];
	uint8_t handshake_secret[HASH_LEN];
	uint8_t km2[HASH_LEN];
	uint8_t km3[HASH_LEN];
	uint8_t session_key[OPAQUE_SESSION_KEY_LEN];
	uint8_t server_mac[MAC_LEN];
	uint8_t client_mac[MAC_LEN];
};

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
	expand(out, HASH_LEN, secret, info, w.len);
}

/* Everything after the three Diffie-Hellman values: keys and both MACs. */
static void exchange_finish(struct exchange *x, const struct ke1 *ke1, const struct ke2 *ke2,
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

/* ---- client ---- */

struct client_secrets {
	uint8_t blind[OPRF_SCALAR_LEN];
	uint8_t keyshare_private[OPRF_SCALAR_LEN]; /* at login */
	uint8_t password[];
};

struct opaque_client {
	bool is_login;
	uint8_t envelope_nonce[NONCE_LEN]; /* at registration */
	struct ke1 ke1;			   /* at login; at registration blinded alone */
	size_t password_len;
	struct secret *memory;
	struct client_secrets *secrets; /* in memory */
};

/* What the last step of a client computes on the way. */
struct client_work {
	struct {
		uint8_t oprf_output[OPRF_OUTPUT_LEN];
		uint8_t stretched[OPRF_OUTPUT_LEN];
	} ikm;
	uint8_t randomized_password[HASH_LEN];
	uint8_t masking_key[HASH_LEN];
	uint8_t auth_key[HASH_LEN];
	uint8_t seed[SEED_LEN];
	uint8_t private_key[OPRF_SCALAR_LEN];
	uint8_t public_key[OPAQUE_PUBLIC_LEN];
	uint8_t auth_tag[MAC_LEN];
	struct credentials credentials;
	struct record record; /* its masking key is the server's secret, too */
	struct exchange x;
};

static void client_work_wipe(struct client_work *w)
{
	wipe(w, sizeof(*w));
}

static void client_random(struct opaque_client_random *out, const struct opaque_client_random *given)
{
	if (given) {
		*out = *given;
		return;
	}
	random_bytes(out, sizeof(*out));
	oprf_random_scalar(out->blind);
}

static int client_new(struct opaque_client **out, const uint8_t *password, size_t password_len,
		      const struct opaque_client_random *random, bool is_login)
{
	_cleanup_(opaque_client_freep) struct opaque_client *c = NULL;
	uint8_t *bytes;
	int r;

	if (password_len > OPAQUE_FIELD_MAX)
		return OPAQUE_E_BAD_PARAMETER;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	r = secret_new(&c->memory, sizeof(*c->secrets) + password_len, &bytes);
	if (r)
		return r;
	c->secrets = (struct client_secrets *)(void *)bytes;
	c->is_login = is_login;

	c->password_len = password_len;
	if (password_len > 0)
		memcpy(c->secrets->password, password, password_len);
	memcpy(c->secrets->blind, random->blind, sizeof(c->secrets->blind));
	memcpy(c->envelope_nonce, random->envelope_nonce, sizeof(c->envelope_nonce));
	r = oprf_blind(c->ke1.blinded, password, password_len, c->secrets->blind);
	if (r)
		return OPAQUE_E_BAD_PARAMETER;
	if (is_login) {
		memcpy(c->ke1.client_nonce, random->client_nonce, sizeof(c->ke1.client_nonce));
		r = derive_dh_keys(c->secrets->keyshare_private, c->ke1.client_keyshare,
				   random->keyshare_seed);
		if (r)
			return r;
	}
	*out = steal(&c);
	return 0;
}

static int client_start(struct opaque_client **out, const uint8_t *password, size_t password_len,
			const struct opaque_client_random *given, bool is_login)
{
	struct opaque_client_random random;
	int r;

	client_random(&random, given);
	r = client_new(out, password, password_len, &random, is_login);
	wipe(&random, sizeof(random));
	return r;
}

static int stretch(uint8_t out[static OPRF_OUTPUT_LEN], const uint8_t in[static OPRF_OUTPUT_LEN],
		   const struct opaque_ksf *ksf)
{
	static const uint8_t salt[16];
	_cleanup_(secret_freep) struct secret *s = NULL;
	int r;

	if (ksf->kind == OPAQUE_KSF_IDENTITY) {
		memcpy(out, in, OPRF_OUTPUT_LEN);
		return 0;
	}
	r = argon2id(&s, OPRF_OUTPUT_LEN, in, OPRF_OUTPUT_LEN, salt, ksf->mem_kib, ksf->passes);
	if (r)
		return err_fold(r);
	memcpy(out, secret_bytes(s), OPRF_OUTPUT_LEN);
	return 0;
}

/* Argon2id's own bounds (RFC 9106 section 3.1), and 4 GiB; which of them to agree to is for the caller. */
static bool ksf_is_good(const struct opaque_ksf *ksf)
{
	if (ksf->kind == OPAQUE_KSF_IDENTITY)
		return true;
	return ksf->kind == OPAQUE_KSF_ARGON2ID && ksf->mem_kib >= 8 &&
	       ksf->mem_kib <= 4U * 1024 * 1024 && ksf->passes >= 1;
}

/* From the server's element to randomized_password, and all that follows from it and from the nonce. */
static int client_keys(struct client_work *w, const struct opaque_client *c,
		       const uint8_t evaluated[static OPRF_ELEMENT_LEN], const struct opaque_ksf *ksf)
{
	int r;

	if (oprf_finalize(w->ikm.oprf_output, c->secrets->password, c->password_len,
			  c->secrets->blind, evaluated))
		return OPAQUE_E_BAD_MESSAGE;
	r = stretch(w->ikm.stretched, w->ikm.oprf_output, ksf);
	if (r)
		return r;
	crypto_kdf_hkdf_sha512_extract(w->randomized_password, NULL, 0, w->ikm.oprf_output,
				       sizeof(w->ikm));
	expand(w->masking_key, sizeof(w->masking_key), w->randomized_password, "MaskingKey",
	       strlen("MaskingKey"));
	return 0;
}

/* What Store and Recover (section 4.1) share: the client's keys of an envelope's nonce. */
static int envelope_keys(struct client_work *w, const uint8_t nonce[static NONCE_LEN])
{
	expand_nonce(w->auth_key, sizeof(w->auth_key), w->randomized_password, nonce, "AuthKey");
	expand_nonce(w->seed, sizeof(w->seed), w->randomized_password, nonce, "PrivateKey");
	return derive_dh_keys(w->private_key, w->public_key, w->seed);
}

static int make_export_key(struct secret **out, const struct client_work *w,
			   const uint8_t nonce[static NONCE_LEN])
{
	uint8_t *bytes;
	int r;

	r = secret_new(out, OPAQUE_EXPORT_KEY_LEN, &bytes);
	if (r)
		return r;
	expand_nonce(bytes, OPAQUE_EXPORT_KEY_LEN, w->randomized_password, nonce, "ExportKey");
	return 0;
}

int opaque_register_start(struct opaque_client **out, uint8_t request[static OPAQUE_REQUEST_LEN],
			  const uint8_t *password, size_t password_len,
			  const struct opaque_client_random *random)
{
	int r;

	r = client_start(out, password, password_len, random, false);
	if (r)
		return r;
	memcpy(request, (*out)->ke1.blinded, OPAQUE_REQUEST_LEN);
	return 0;
}

int opaque_register_finish(struct opaque_client *c, uint8_t record[static OPAQUE_RECORD_LEN],
			   struct secret **export_key,
			   const uint8_t response[static OPAQUE_RESPONSE_LEN],
			   const struct opaque_ids *ids, const struct opaque_ksf *ksf)
{
	const struct response *from = (const void *)response;
	_cleanup_(client_work_wipe) struct client_work w = { 0 };
	struct record *made = &w.record;
	struct identities names;
	int r;

	if (c->is_login)
		return -EINVAL;
	if (!ids_are_good(ids) || !ksf_is_good(ksf))
		return OPAQUE_E_BAD_PARAMETER;
	if (oprf_check_element(from->server_public_key))
		return OPAQUE_E_BAD_MESSAGE;
	r = client_keys(&w, c, from->evaluated, ksf);
	if (r)
		return r;
	r = envelope_keys(&w, c->envelope_nonce);
	if (r)
		return r;

	names = identities_of(ids, w.public_key, from->server_public_key);
	memcpy(made->client_public_key, w.public_key, sizeof(made->client_public_key));
	memcpy(made->masking_key, w.masking_key, sizeof(made->masking_key));
	memcpy(made->envelope.nonce, c->envelope_nonce, sizeof(made->envelope.nonce));
	envelope_tag(made->envelope.auth_tag, w.auth_key, c->envelope_nonce, from->server_public_key,
		     &names);
	if (export_key) {
		r = make_export_key(export_key, &w, c->envelope_nonce);
		if (r)
			return r;
	}
	memcpy(record, made, sizeof(*made));
	return 0;
}

int opaque_login_start(struct opaque_client **out, uint8_t ke1[static OPAQUE_KE1_LEN],
		       const uint8_t *password, size_t password_len,
		       const struct opaque_client_random *random)
{
	int r;

	r = client_start(out, password, password_len, random, true);
	if (r)
		return r;
	memcpy(ke1, &(*out)->ke1, OPAQUE_KE1_LEN);
	return 0;
}

/* RecoverCredentials (section 6.3.2.3): w has the client's keys when the envelope is ours. */
static int recover(struct client_work *w, const struct opaque_client *c, const struct ke2 *ke2,
		   const struct opaque_ids *ids, const struct opaque_ksf *ksf)
{
	const struct envelope *envelope = &w->credentials.envelope;
	struct identities names;
	int r;

	r = client_keys(w, c, ke2->response.evaluated, ksf);
	if (r)
		return r;
	mask((uint8_t *)&w->credentials, ke2->response.masked, w->masking_key,
	     ke2->response.masking_nonce);
	r = envelope_keys(w, envelope->nonce);
	if (r)
		return r;
	names = identities_of(ids, w->public_key, w->credentials.server_public_key);
	envelope_tag(w->auth_tag, w->auth_key, envelope->nonce, w->credentials.server_public_key,
		     &names);
	return bytes_equal(w->auth_tag, envelope->auth_tag, sizeof(w->auth_tag)) ? 0 : OPAQUE_E_WRONG;
}

/* AuthClientFinalize (section 6.4.3): the same keys as the server's, or it is another server. */
static int authenticate(struct client_work *w, const struct opaque_client *c,
			const struct ke2 *ke2, const struct opaque_ids *ids)
{
	struct identities names =
		identities_of(ids, w->public_key, w->credentials.server_public_key);

	if (oprf_multiply(w->x.ikm[0], c->secrets->keyshare_private, ke2->server_keyshare) ||
	    oprf_multiply(w->x.ikm[1], c->secrets->keyshare_private,
			    w->credentials.server_public_key) ||
	    oprf_multiply(w->x.ikm[2], w->private_key, ke2->server_keyshare))
		return OPAQUE_E_WRONG;
	exchange_finish(&w->x, &c->ke1, ke2, &names, ids);
	return bytes_equal(w->x.server_mac, ke2->server_mac, sizeof(ke2->server_mac)) ? 0 :
											OPAQUE_E_WRONG;
}

int opaque_login_finish(struct opaque_client *c, uint8_t ke3[static OPAQUE_KE3_LEN],
			struct secret **session_key, struct secret **export_key,
			const uint8_t ke2[static OPAQUE_KE2_LEN], const struct opaque_ids *ids,
			const struct opaque_ksf *ksf)
{
	const struct ke2 *from = (const void *)ke2;
	_cleanup_(secret_freep) struct secret *export = NULL, *session = NULL;
	_cleanup_(client_work_wipe) struct client_work w = { 0 };
	int r;

	if (!c->is_login)
		return -EINVAL;
	if (!ids_are_good(ids) || !ksf_is_good(ksf))
		return OPAQUE_E_BAD_PARAMETER;
	if (oprf_check_element(from->server_keyshare))
		return OPAQUE_E_BAD_MESSAGE;
	r = recover(&w, c, from, ids, ksf);
	if (!r)
		r = authenticate(&w, c, from, ids);
	if (r)
		return r;

	if (export_key) {
		r = make_export_key(&export, &w, w.credentials.envelope.nonce);
		if (r)
			return r;
	}
	r = secret_take(&session, w.x.session_key, sizeof(w.x.session_key));
	if (r)
		return r;
	memcpy(ke3, w.x.client_mac, OPAQUE_KE3_LEN);
	*session_key = steal(&session);
	if (export_key)
		*export_key = steal(&export);
	return 0;
}

struct opaque_client *opaque_client_free(struct opaque_client *c)
{
	if (!c)
		return NULL;
	secret_free(c->memory);
	free(c);
	return NULL;
}

/* ---- server ---- */

struct opaque_keys {
	struct secret *memory; /* struct server_keys, then the fake record */
	const struct server_keys *secrets;
	const struct record *fake;
	uint8_t public_key[OPAQUE_PUBLIC_LEN];
};

/*
 * RFC 9807 section 6.3.2.2: unknown users are answered from a record of random
 * keys and an envelope of zeros. Nothing of it shows in an answer, so it need not
 * be the same after a restart; what must be, the OPRF key of a name, comes
 * of the seed.
 */
static int make_fake(struct record *fake)
{
	uint8_t private_key[OPRF_SCALAR_LEN];
	int r;

	oprf_random_scalar(private_key);
	r = oprf_public_key(fake->client_public_key, private_key);
	wipe(private_key, sizeof(private_key));
	random_bytes(fake->masking_key, sizeof(fake->masking_key));
	return err_fold(r);
}

int opaque_keys_import(struct opaque_keys **out, const uint8_t bytes[static OPAQUE_KEYS_LEN])
{
	_cleanup_(opaque_keys_freep) struct opaque_keys *k = NULL;
	struct server_keys *secrets;
	struct record *fake;
	uint8_t *memory;
	int r;

	k = calloc(1, sizeof(*k));
	if (!k)
		return -ENOMEM;
	r = secret_new(&k->memory, sizeof(*secrets) + sizeof(*fake), &memory);
	if (r)
		return r;
	secrets = (struct server_keys *)(void *)memory;
	fake = (struct record *)(void *)(memory + sizeof(*secrets));
	memcpy(secrets, bytes, sizeof(*secrets));
	if (oprf_public_key(k->public_key, secrets->private_key))
		return OPAQUE_E_BAD_KEYS;
	r = make_fake(fake);
	if (r)
		return r;
	k->secrets = secrets;
	k->fake = fake;
	*out = steal(&k);
	return 0;
}

int opaque_keys_generate(struct opaque_keys **out)
{
	struct server_keys fresh;
	int r;

	random_bytes(fresh.oprf_seed, sizeof(fresh.oprf_seed));
	oprf_random_scalar(fresh.private_key);
	r = opaque_keys_import(out, (const uint8_t *)&fresh);
	wipe(&fresh, sizeof(fresh));
	return err_fold(r);
}

int opaque_keys_export(struct secret **out, const struct opaque_keys *k)
{
	uint8_t *bytes;
	int r;

	r = secret_new(out, OPAQUE_KEYS_LEN, &bytes);
	if (r)
		return r;
	memcpy(bytes, k->secrets, OPAQUE_KEYS_LEN);
	return 0;
}

const uint8_t *opaque_keys_public(const struct opaque_keys *k)
{
	return k->public_key;
}

struct opaque_keys *opaque_keys_free(struct opaque_keys *k)
{
	if (!k)
		return NULL;
	secret_free(k->memory);
	free(k);
	return NULL;
}

/* The OPRF under the key that seed and credential identifier give (section 5.2.2). */
static int evaluate(const struct opaque_keys *k, uint8_t evaluated[static OPRF_ELEMENT_LEN],
		    const uint8_t blinded[static OPRF_ELEMENT_LEN], const void *credential_id,
		    size_t credential_id_len)
{
	static const char label[] = "OprfKey", info[] = "OPAQUE-DeriveKeyPair";
	uint8_t id[OPAQUE_CREDENTIAL_ID_MAX + sizeof(label) - 1], seed[SEED_LEN];
	uint8_t key[OPRF_SCALAR_LEN];
	struct wbuf w;
	int r;

	wbuf_init(&w, id, sizeof(id));
	wbuf_put(&w, credential_id, credential_id_len);
	wbuf_put(&w, label, sizeof(label) - 1);
	if (!wbuf_ok(&w))
		return OPAQUE_E_BAD_PARAMETER;
	expand(seed, sizeof(seed), k->secrets->oprf_seed, id, w.len);
	r = err_fold(oprf_derive_key(key, seed, info, sizeof(info) - 1));
	if (!r)
		r = oprf_blind_evaluate(evaluated, blinded, key) ? OPAQUE_E_BAD_MESSAGE : 0;
	wipe(seed, sizeof(seed));
	wipe(key, sizeof(key));
	return r;
}

int opaque_server_register(const struct opaque_keys *k,
			   uint8_t response[static OPAQUE_RESPONSE_LEN],
			   const uint8_t request[static OPAQUE_REQUEST_LEN],
			   const void *credential_id, size_t credential_id_len)
{
	struct response made;
	int r;

	r = evaluate(k, made.evaluated, request, credential_id, credential_id_len);
	if (r)
		return r;
	memcpy(made.server_public_key, k->public_key, sizeof(made.server_public_key));
	memcpy(response, &made, sizeof(made));
	return 0;
}

int opaque_record_check(const uint8_t record[static OPAQUE_RECORD_LEN])
{
	const struct record *from = (const void *)record;

	return oprf_check_element(from->client_public_key) ? OPAQUE_E_BAD_MESSAGE : 0;
}

/* What the server's answer computes on the way. */
struct server_work {
	uint8_t keyshare_private[OPRF_SCALAR_LEN];
	struct credentials credentials;
	struct opaque_server_random random;
	struct exchange x;
};

static void server_work_wipe(struct server_work *w)
{
	wipe(w, sizeof(*w));
}

int opaque_server_ke2(const struct opaque_keys *k, uint8_t ke2[static OPAQUE_KE2_LEN],
		      struct secret **login_state, const uint8_t record[OPAQUE_RECORD_LEN],
		      const void *credential_id, size_t credential_id_len,
		      const uint8_t ke1[static OPAQUE_KE1_LEN], const struct opaque_ids *ids,
		      const struct opaque_server_random *random)
{
	const struct record *user = record ? (const void *)record : k->fake;
	const struct ke1 *from = (const void *)ke1;
	_cleanup_(server_work_wipe) struct server_work w = { 0 };
	struct login_state *state;
	struct identities names;
	struct ke2 made;
	uint8_t *bytes;
	int r;

	if (!ids_are_good(ids))
		return OPAQUE_E_BAD_PARAMETER;
	if (random)
		w.random = *random;
	else
		random_bytes(&w.random, sizeof(w.random));

	/* CreateCredentialResponse (section 6.3.2.2). */
	r = evaluate(k, made.response.evaluated, from->blinded, credential_id, credential_id_len);
	if (r)
		return r;
	memcpy(made.response.masking_nonce, w.random.masking_nonce, NONCE_LEN);
	memcpy(w.credentials.server_public_key, k->public_key, OPAQUE_PUBLIC_LEN);
	w.credentials.envelope = user->envelope;
	mask(made.response.masked, &w.credentials, user->masking_key, w.random.masking_nonce);

	/* AuthServerRespond (section 6.4.4). */
	memcpy(made.server_nonce, w.random.server_nonce, NONCE_LEN);
	r = derive_dh_keys(w.keyshare_private, made.server_keyshare, w.random.keyshare_seed);
	if (r)
		return r;
	if (oprf_multiply(w.x.ikm[0], w.keyshare_private, from->client_keyshare) ||
	    oprf_multiply(w.x.ikm[1], k->secrets->private_key, from->client_keyshare))
		return OPAQUE_E_BAD_MESSAGE;
	if (oprf_multiply(w.x.ikm[2], w.keyshare_private, user->client_public_key))
		return OPAQUE_E_BAD_KEYS;
	names = identities_of(ids, user->client_public_key, k->public_key);
	exchange_finish(&w.x, from, &made, &names, ids);
	memcpy(made.server_mac, w.x.server_mac, sizeof(made.server_mac));

	r = secret_new(login_state, sizeof(*state), &bytes);
	if (r)
		return r;
	state = (struct login_state *)(void *)bytes;
	memcpy(state->expected_client_mac, w.x.client_mac, sizeof(state->expected_client_mac));
	memcpy(state->session_key, w.x.session_key, sizeof(state->session_key));
	memcpy(ke2, &made, sizeof(made));
	return 0;
}

int opaque_server_finish(struct secret **session_key,
			 const uint8_t login_state[static OPAQUE_LOGIN_STATE_LEN],
			 const uint8_t ke3[static OPAQUE_KE3_LEN])
{
	const struct login_state *state = (const void *)login_state;
	uint8_t *bytes;
	int r;

	if (!bytes_equal(state->expected_client_mac, ke3, sizeof(state->expected_client_mac)))
		return OPAQUE_E_WRONG;
	r = secret_new(session_key, OPAQUE_SESSION_KEY_LEN, &bytes);
	if (r)
		return r;
	memcpy(bytes, state->session_key, OPAQUE_SESSION_KEY_LEN);
	return 0;
}

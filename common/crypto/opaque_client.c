/*
 * The client's half. Each public function works in one struct that is wiped
 * when it returns; what lives longer is in secrets.
 *
 * Where the RFC leaves a choice: peers' elements are checked before the
 * password is stretched; "wrong password" and "tampered with" are told apart in
 * no way, not even when a server that knows the record sends nonsense.
 */
#include "crypto/opaque.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "base/bytes.h"
#include "base/error.h"
#include "crypto/opaque_exchange.h"
#include "crypto/sodium-compat/crypto_kdf_hkdf.h"

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
	group_random_scalar(out->blind);
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
		r = opaque_derive_dh_keys(c->secrets->keyshare_private, c->ke1.client_keyshare,
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
	opaque_expand(w->masking_key, sizeof(w->masking_key), w->randomized_password, "MaskingKey",
	       strlen("MaskingKey"));
	return 0;
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

/* What Store and Recover (section 4.1) share: the client's keys of an envelope's nonce. */
static int envelope_keys(struct client_work *w, const uint8_t nonce[static NONCE_LEN])
{
	opaque_expand_nonce(w->auth_key, sizeof(w->auth_key), w->randomized_password, nonce, "AuthKey");
	opaque_expand_nonce(w->seed, sizeof(w->seed), w->randomized_password, nonce, "PrivateKey");
	return opaque_derive_dh_keys(w->private_key, w->public_key, w->seed);
}

static int make_export_key(struct secret **out, const struct client_work *w,
			   const uint8_t nonce[static NONCE_LEN])
{
	uint8_t *bytes;
	int r;

	r = secret_new(out, OPAQUE_EXPORT_KEY_LEN, &bytes);
	if (r)
		return r;
	opaque_expand_nonce(bytes, OPAQUE_EXPORT_KEY_LEN, w->randomized_password, nonce, "ExportKey");
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
	if (!opaque_ids_are_good(ids) || !ksf_is_good(ksf))
		return OPAQUE_E_BAD_PARAMETER;
	if (group_check_element(from->server_public_key))
		return OPAQUE_E_BAD_MESSAGE;
	r = client_keys(&w, c, from->evaluated, ksf);
	if (r)
		return r;
	r = envelope_keys(&w, c->envelope_nonce);
	if (r)
		return r;

	names = opaque_identities(ids, w.public_key, from->server_public_key);
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
	opaque_mask((uint8_t *)&w->credentials, ke2->response.masked, w->masking_key,
	     ke2->response.masking_nonce);
	r = envelope_keys(w, envelope->nonce);
	if (r)
		return r;
	names = opaque_identities(ids, w->public_key, w->credentials.server_public_key);
	envelope_tag(w->auth_tag, w->auth_key, envelope->nonce, w->credentials.server_public_key,
		     &names);
	return bytes_equal(w->auth_tag, envelope->auth_tag, sizeof(w->auth_tag)) ? 0 : OPAQUE_E_WRONG;
}

/* AuthClientFinalize (section 6.4.3): the same keys as the server's, or it is another server. */
static int authenticate(struct client_work *w, const struct opaque_client *c,
			const struct ke2 *ke2, const struct opaque_ids *ids)
{
	struct identities names =
		opaque_identities(ids, w->public_key, w->credentials.server_public_key);

	if (group_multiply(w->x.ikm[0], c->secrets->keyshare_private, ke2->server_keyshare) ||
	    group_multiply(w->x.ikm[1], c->secrets->keyshare_private,
			    w->credentials.server_public_key) ||
	    group_multiply(w->x.ikm[2], w->private_key, ke2->server_keyshare))
		return OPAQUE_E_WRONG;
	opaque_exchange_finish(&w->x, &c->ke1, ke2, &names, ids);
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
	if (!opaque_ids_are_good(ids) || !ksf_is_good(ksf))
		return OPAQUE_E_BAD_PARAMETER;
	if (group_check_element(from->server_keyshare))
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

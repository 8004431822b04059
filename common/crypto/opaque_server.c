/* The server's half. What is secret on the way is wiped; what lives longer is in secrets. */
#include "crypto/opaque.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "crypto/opaque_exchange.h"

struct server_keys {
	uint8_t oprf_seed[HASH_LEN];
	uint8_t private_key[OPRF_SCALAR_LEN];
};

struct login_state {
	uint8_t expected_client_mac[MAC_LEN];
	uint8_t session_key[OPAQUE_SESSION_KEY_LEN];
};

static_assert(sizeof(struct server_keys) == OPAQUE_KEYS_LEN, "server keys");
static_assert(sizeof(struct login_state) == OPAQUE_LOGIN_STATE_LEN, "login state");

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

	group_random_scalar(private_key);
	r = group_public_key(fake->client_public_key, private_key);
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
	if (group_public_key(k->public_key, secrets->private_key))
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
	group_random_scalar(fresh.private_key);
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
	opaque_expand(seed, sizeof(seed), k->secrets->oprf_seed, id, w.len);
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

	return group_check_element(from->client_public_key) ? OPAQUE_E_BAD_MESSAGE : 0;
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

	if (!opaque_ids_are_good(ids))
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
	opaque_mask(made.response.masked, &w.credentials, user->masking_key, w.random.masking_nonce);

	/* AuthServerRespond (section 6.4.4). */
	memcpy(made.server_nonce, w.random.server_nonce, NONCE_LEN);
	r = opaque_derive_dh_keys(w.keyshare_private, made.server_keyshare, w.random.keyshare_seed);
	if (r)
		return r;
	if (group_multiply(w.x.ikm[0], w.keyshare_private, from->client_keyshare) ||
	    group_multiply(w.x.ikm[1], k->secrets->private_key, from->client_keyshare))
		return OPAQUE_E_BAD_MESSAGE;
	if (group_multiply(w.x.ikm[2], w.keyshare_private, user->client_public_key))
		return OPAQUE_E_BAD_KEYS;
	names = opaque_identities(ids, user->client_public_key, k->public_key);
	opaque_exchange_finish(&w.x, from, &made, &names, ids);
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

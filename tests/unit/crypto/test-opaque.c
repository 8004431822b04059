/* OPAQUE against RFC 9807 appendix C and generated vectors, and everything that must not work. */
#include "crypto/opaque.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "crypto/group.h"
#include "unit/crypto/vectors.h"
#include "vectors/opaque.h"

/* ---- vectors ---- */

/* One registration and one login with everything given; members that are absent are empty. */
struct opaque_case {
	struct opaque_ksf ksf;
	bool has_client_identity, has_server_identity;
	struct octets context, password, credential_id, client_identity, server_identity;
	struct octets oprf_seed, server_private_key;
	struct octets envelope_nonce, masking_nonce, client_nonce, server_nonce;
	struct octets client_keyshare_seed, server_keyshare_seed, blind_registration, blind_login;
	struct octets request, response, record, ke1, ke2, ke3, session_key, export_key;
};

/* Everywhere called the same, but in the files of vectors. */
static const struct {
	const char *file_name, *output_name;
	size_t at, own_at;
} members[] = {
#define INPUT(file, member)                                                                        \
	{ file, NULL, offsetof(struct opaque_case, member), offsetof(struct opaque_vector, member) }
#define OUTPUT(file, member)                                                                       \
	{ NULL, file, offsetof(struct opaque_case, member), offsetof(struct opaque_vector, member) }
	INPUT("password", password),
	INPUT("credential_identifier", credential_id),
	INPUT("client_identity", client_identity),
	INPUT("server_identity", server_identity),
	INPUT("oprf_seed", oprf_seed),
	INPUT("server_private_key", server_private_key),
	INPUT("envelope_nonce", envelope_nonce),
	INPUT("masking_nonce", masking_nonce),
	INPUT("client_nonce", client_nonce),
	INPUT("server_nonce", server_nonce),
	INPUT("client_keyshare_seed", client_keyshare_seed),
	INPUT("server_keyshare_seed", server_keyshare_seed),
	INPUT("blind_registration", blind_registration),
	INPUT("blind_login", blind_login),
	INPUT("context", context),
	OUTPUT("registration_request", request),
	OUTPUT("registration_response", response),
	OUTPUT("registration_upload", record),
	OUTPUT("KE1", ke1),
	OUTPUT("KE2", ke2),
	OUTPUT("KE3", ke3),
	OUTPUT("session_key", session_key),
	OUTPUT("export_key", export_key),
};

static struct octets *member_of(struct opaque_case *c, size_t i)
{
	return (void *)((char *)c + members[i].at);
}

static void opaque_case_done(struct opaque_case *c)
{
	for (size_t i = 0; i < ARRAY_SIZE(members); i++)
		free(member_of(c, i)->p);
}

/* From a file; the RFC's have the context and the KSF in "config", ours beside the inputs. */
static void case_from_json(struct opaque_case *c, const json_t *test)
{
	const json_t *in = json_object_get(test, "inputs"), *out = json_object_get(test, "outputs");
	const json_t *config = json_object_get(test, "config"), *ksf = json_object_get(test, "ksf");

	memset(c, 0, sizeof(*c));
	for (size_t i = 0; i < ARRAY_SIZE(members); i++)
		*member_of(c, i) = members[i].output_name ? octets_get(out, members[i].output_name) :
							    octets_get(in, members[i].file_name);
	if (config) {
		free(c->context.p);
		c->context = octets_get(config, "Context");
	}
	c->has_client_identity = json_object_get(in, "client_identity") != NULL;
	c->has_server_identity = json_object_get(in, "server_identity") != NULL;
	c->ksf.kind = OPAQUE_KSF_IDENTITY;
	if (ksf && strcmp(text_get(ksf, "name"), "Identity") != 0)
		c->ksf = (struct opaque_ksf){ OPAQUE_KSF_ARGON2ID, (uint32_t)size_get(ksf, "m_KiB"),
					      (uint32_t)size_get(ksf, "t") };
}

static void case_from_own(struct opaque_case *c, const struct opaque_vector *v)
{
	memset(c, 0, sizeof(*c));
	for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
		const char *const *hex = (const void *)((const char *)v + members[i].own_at);

		*member_of(c, i) = octets_of_hex(*hex ? *hex : "");
	}
	c->has_client_identity = v->client_identity != NULL;
	c->has_server_identity = v->server_identity != NULL;
	c->ksf.kind = OPAQUE_KSF_IDENTITY;
	if (v->mem_kib)
		c->ksf = (struct opaque_ksf){ OPAQUE_KSF_ARGON2ID, v->mem_kib, v->passes };
}

static void copy32(uint8_t out[static 32], const struct octets *from)
{
	CHECK_EQ(from->len, 32);
	memcpy(out, from->p, 32);
}

static void case_keys(struct opaque_keys **out, const struct opaque_case *c)
{
	uint8_t bytes[OPAQUE_KEYS_LEN];

	CHECK_EQ(c->oprf_seed.len, 64);
	memcpy(bytes, c->oprf_seed.p, 64);
	copy32(bytes + 64, &c->server_private_key);
	CHECK_EQ(opaque_keys_import(out, bytes), 0);
}

static struct opaque_ids case_ids(const struct opaque_case *c)
{
	return (struct opaque_ids){
		.client = c->has_client_identity ? c->client_identity.p : NULL,
		.client_len = c->client_identity.len,
		.server = c->has_server_identity ? c->server_identity.p : NULL,
		.server_len = c->server_identity.len,
		.context = c->context.p,
		.context_len = c->context.len,
	};
}

static void case_server_random(struct opaque_server_random *out, const struct opaque_case *c)
{
	copy32(out->masking_nonce, &c->masking_nonce);
	copy32(out->server_nonce, &c->server_nonce);
	copy32(out->keyshare_seed, &c->server_keyshare_seed);
}

static void check_secret(const struct secret *s, const struct octets *want)
{
	CHECK_EQ(secret_len(s), want->len);
	CHECK_MEM(secret_bytes(s), want->p, want->len);
}

static void case_register(const struct opaque_case *c, const struct opaque_keys *keys)
{
	uint8_t request[OPAQUE_REQUEST_LEN], response[OPAQUE_RESPONSE_LEN], record[OPAQUE_RECORD_LEN];
	_cleanup_(opaque_client_freep) struct opaque_client *client = NULL;
	_cleanup_(secret_freep) struct secret *export_key = NULL;
	struct opaque_client_random random = { 0 };
	struct opaque_ids ids = case_ids(c);

	copy32(random.blind, &c->blind_registration);
	copy32(random.envelope_nonce, &c->envelope_nonce);
	CHECK_EQ(opaque_register_start(&client, request, c->password.p, c->password.len, &random), 0);
	CHECK_EQ(c->request.len, sizeof(request));
	CHECK_MEM(request, c->request.p, sizeof(request));
	CHECK_EQ(opaque_server_register(keys, response, request, c->credential_id.p,
					c->credential_id.len),
		 0);
	CHECK_EQ(c->response.len, sizeof(response));
	CHECK_MEM(response, c->response.p, sizeof(response));
	CHECK_EQ(opaque_register_finish(client, record, &export_key, response, &ids, &c->ksf), 0);
	CHECK_EQ(c->record.len, sizeof(record));
	CHECK_MEM(record, c->record.p, sizeof(record));
	check_secret(export_key, &c->export_key);
	CHECK_EQ(opaque_record_check(record), 0);
}

static void case_login(const struct opaque_case *c, const struct opaque_keys *keys)
{
	uint8_t ke1[OPAQUE_KE1_LEN], ke2[OPAQUE_KE2_LEN], ke3[OPAQUE_KE3_LEN];
	_cleanup_(secret_freep) struct secret *state = NULL, *export_key = NULL;
	_cleanup_(secret_freep) struct secret *ours = NULL, *theirs = NULL;
	_cleanup_(opaque_client_freep) struct opaque_client *client = NULL;
	struct opaque_client_random random = { 0 };
	struct opaque_server_random answer;
	struct opaque_ids ids = case_ids(c);

	copy32(random.blind, &c->blind_login);
	copy32(random.client_nonce, &c->client_nonce);
	copy32(random.keyshare_seed, &c->client_keyshare_seed);
	case_server_random(&answer, c);
	CHECK_EQ(opaque_login_start(&client, ke1, c->password.p, c->password.len, &random), 0);
	CHECK_EQ(c->ke1.len, sizeof(ke1));
	CHECK_MEM(ke1, c->ke1.p, sizeof(ke1));
	CHECK_EQ(opaque_server_ke2(keys, ke2, &state, c->record.p, c->credential_id.p,
				   c->credential_id.len, ke1, &ids, &answer),
		 0);
	CHECK_EQ(c->ke2.len, sizeof(ke2));
	CHECK_MEM(ke2, c->ke2.p, sizeof(ke2));
	CHECK_EQ(opaque_login_finish(client, ke3, &ours, &export_key, ke2, &ids, &c->ksf), 0);
	CHECK_EQ(c->ke3.len, sizeof(ke3));
	CHECK_MEM(ke3, c->ke3.p, sizeof(ke3));
	check_secret(ours, &c->session_key);
	check_secret(export_key, &c->export_key);
	CHECK_EQ(secret_len(state), OPAQUE_LOGIN_STATE_LEN);
	CHECK_EQ(opaque_server_finish(&theirs, secret_bytes(state), ke3), 0);
	check_secret(theirs, &c->session_key);
}

static void case_run(const struct opaque_case *c)
{
	_cleanup_(opaque_keys_freep) struct opaque_keys *keys = NULL;

	case_keys(&keys, c);
	case_register(c, keys);
	case_login(c, keys);
}

TEST(opaque_agrees_with_rfc9807_c11_and_c12_2_vectors)
{
	json_t *root = vectors_load("opaque/vectors.json");
	const json_t *test;
	size_t i, n = 0;

	json_array_foreach(root, i, test) {
		const json_t *config = json_object_get(test, "config");
		_cleanup_(opaque_case_done) struct opaque_case c = { 0 };

		if (strcmp(text_get(config, "Group"), "ristretto255") != 0 ||
		    strcmp(text_get(config, "Fake"), "False") != 0)
			continue;
		case_from_json(&c, test);
		case_run(&c);
		n++;
	}
	CHECK_EQ(n, 2);
	json_decref(root);
}

/* Client's public key and masking key of a user that is none; the envelope stays zero. */
static void fake_record(uint8_t record[static OPAQUE_RECORD_LEN], const json_t *in)
{
	_cleanup_octets_ struct octets client_public_key = octets_get(in, "client_public_key");
	_cleanup_octets_ struct octets masking_key = octets_get(in, "masking_key");

	memset(record, 0, OPAQUE_RECORD_LEN);
	CHECK_EQ(client_public_key.len, 32);
	CHECK_EQ(masking_key.len, 64);
	memcpy(record, client_public_key.p, 32);
	memcpy(record + 32, masking_key.p, 64);
}

TEST(opaque_agrees_with_rfc9807_c21_1_vector_of_an_unknown_user)
{
	json_t *root = vectors_load("opaque/vectors.json");
	const json_t *test;
	size_t i, n = 0;

	json_array_foreach(root, i, test) {
		const json_t *config = json_object_get(test, "config");
		const json_t *in = json_object_get(test, "inputs");
		_cleanup_octets_ struct octets ke1 = octets_get(in, "KE1");
		_cleanup_(opaque_keys_freep) struct opaque_keys *keys = NULL;
		_cleanup_(opaque_case_done) struct opaque_case c = { 0 };
		_cleanup_(secret_freep) struct secret *state = NULL;
		uint8_t record[OPAQUE_RECORD_LEN], ke2[OPAQUE_KE2_LEN];
		struct opaque_server_random answer;
		struct opaque_ids ids;

		if (strcmp(text_get(config, "Group"), "ristretto255") != 0 ||
		    strcmp(text_get(config, "Fake"), "True") != 0)
			continue;
		case_from_json(&c, test);
		case_keys(&keys, &c);
		case_server_random(&answer, &c);
		ids = case_ids(&c);
		fake_record(record, in);
		CHECK_EQ(opaque_server_ke2(keys, ke2, &state, record, c.credential_id.p,
					   c.credential_id.len, ke1.p, &ids, &answer),
			 0);
		CHECK_EQ(c.ke2.len, sizeof(ke2));
		CHECK_MEM(ke2, c.ke2.p, sizeof(ke2));
		n++;
	}
	CHECK_EQ(n, 1);
	json_decref(root);
}

TEST(opaque_agrees_with_6_generated_vectors_4_of_them_with_argon2id)
{
	json_t *root = vectors_load("generated/opaque_3dh_ristretto255_sha512.json");
	size_t i, n = 0, stretched = 0;
	const json_t *test;

	json_array_foreach(json_object_get(root, "tests"), i, test) {
		_cleanup_(opaque_case_done) struct opaque_case c = { 0 };

		case_from_json(&c, test);
		case_run(&c);
		stretched += c.ksf.kind == OPAQUE_KSF_ARGON2ID;
		n++;
	}
	CHECK_EQ(n, 6);
	CHECK_EQ(stretched, 4);
	json_decref(root);
}

TEST(opaque_agrees_with_our_3_vectors_2_of_them_with_argon2id)
{
	size_t stretched = 0;

	for (size_t i = 0; i < ARRAY_SIZE(own_opaque); i++) {
		_cleanup_(opaque_case_done) struct opaque_case c = { 0 };

		case_from_own(&c, &own_opaque[i]);
		case_run(&c);
		stretched += c.ksf.kind == OPAQUE_KSF_ARGON2ID;
	}
	CHECK_EQ(ARRAY_SIZE(own_opaque), 3);
	CHECK_EQ(stretched, 2);
}

/* ---- both halves, with random choices ---- */

static const struct opaque_ksf no_ksf = { .kind = OPAQUE_KSF_IDENTITY };
static const struct opaque_ksf small_ksf = { OPAQUE_KSF_ARGON2ID, 64, 1 };

static struct opaque_ids ids_of(const char *client, const char *server, const char *context)
{
	return (struct opaque_ids){ client, client ? strlen(client) : 0, server,
				    server ? strlen(server) : 0, context, strlen(context) };
}

/* A server that knows alice, by the password "secret". */
struct house {
	struct opaque_keys *keys;
	struct opaque_ids ids;
	uint8_t response[OPAQUE_RESPONSE_LEN];
	uint8_t record[OPAQUE_RECORD_LEN];
	struct secret *export_key;
};

static void house_done(struct house *h)
{
	opaque_keys_free(h->keys);
	secret_free(h->export_key);
}

static void house_register(struct house *h, const char *password)
{
	_cleanup_(opaque_client_freep) struct opaque_client *client = NULL;
	uint8_t request[OPAQUE_REQUEST_LEN];

	CHECK_EQ(opaque_register_start(&client, request, (const uint8_t *)password, strlen(password),
				       NULL),
		 0);
	CHECK_EQ(opaque_server_register(h->keys, h->response, request, "alice", 5), 0);
	h->export_key = secret_free(h->export_key);
	CHECK_EQ(opaque_register_finish(client, h->record, &h->export_key, h->response, &h->ids,
					&no_ksf),
		 0);
}

static void house_init(struct house *h)
{
	memset(h, 0, sizeof(*h));
	CHECK_EQ(crypto_init(), 0);
	CHECK_EQ(opaque_keys_generate(&h->keys), 0);
	h->ids = ids_of("alice", "https://example.org", "");
	house_register(h, "secret");
}

/* A login as far as it goes. */
struct attempt {
	uint8_t ke1[OPAQUE_KE1_LEN], ke2[OPAQUE_KE2_LEN], ke3[OPAQUE_KE3_LEN];
	struct opaque_client *client;
	struct secret *state, *session_key, *export_key;
};

static void attempt_done(struct attempt *a)
{
	opaque_client_free(a->client);
	secret_free(a->state);
	secret_free(a->session_key);
	secret_free(a->export_key);
}

static void attempt_start(struct attempt *a, const struct house *h, const char *password)
{
	memset(a, 0, sizeof(*a));
	CHECK_EQ(opaque_login_start(&a->client, a->ke1, (const uint8_t *)password, strlen(password),
				    NULL),
		 0);
	CHECK_EQ(opaque_server_ke2(h->keys, a->ke2, &a->state, h->record, "alice", 5, a->ke1, &h->ids,
				   NULL),
		 0);
}

static int attempt_finish(struct attempt *a, const struct opaque_ids *ids)
{
	int r = opaque_login_finish(a->client, a->ke3, &a->session_key, &a->export_key, a->ke2, ids,
				    &no_ksf);

	CHECK(!r == (a->session_key != NULL) && !r == (a->export_key != NULL));
	return r;
}

TEST(opaque_gives_both_sides_one_new_key_at_each_login)
{
	_cleanup_(house_done) struct house h;
	_cleanup_(attempt_done) struct attempt a, b;
	_cleanup_(secret_freep) struct secret *theirs = NULL;

	house_init(&h);
	attempt_start(&a, &h, "secret");
	attempt_start(&b, &h, "secret");
	CHECK_EQ(attempt_finish(&a, &h.ids), 0);
	CHECK_EQ(attempt_finish(&b, &h.ids), 0);
	CHECK_EQ(opaque_server_finish(&theirs, secret_bytes(a.state), a.ke3), 0);
	CHECK_EQ(secret_len(theirs), OPAQUE_SESSION_KEY_LEN);
	CHECK(secret_equal(theirs, secret_bytes(a.session_key), secret_len(a.session_key)));
	CHECK(!secret_equal(theirs, secret_bytes(b.session_key), secret_len(b.session_key)));
	/* The export key is the password's, not the login's. */
	CHECK_EQ(secret_len(a.export_key), OPAQUE_EXPORT_KEY_LEN);
	CHECK(secret_equal(a.export_key, secret_bytes(b.export_key), OPAQUE_EXPORT_KEY_LEN));
	CHECK(secret_equal(a.export_key, secret_bytes(h.export_key), OPAQUE_EXPORT_KEY_LEN));
	/* Nothing is the same twice but the OPRF's answer to one blind, and blinds differ. */
	for (size_t at = 0; at < OPAQUE_KE1_LEN; at += 32)
		CHECK(memcmp(a.ke1 + at, b.ke1 + at, 32) != 0);
	for (size_t at = 0; at < OPAQUE_KE2_LEN; at += 32)
		CHECK(memcmp(a.ke2 + at, b.ke2 + at, 32) != 0);
}

TEST(opaque_takes_an_empty_password_and_a_very_long_one)
{
	static char longest[OPAQUE_FIELD_MAX + 2];
	_cleanup_(opaque_client_freep) struct opaque_client *client = NULL;
	_cleanup_(house_done) struct house h;
	uint8_t ke1[OPAQUE_KE1_LEN];

	house_init(&h);
	memset(longest, 'x', sizeof(longest) - 1);
	CHECK_EQ(opaque_login_start(&client, ke1, (uint8_t *)longest, OPAQUE_FIELD_MAX + 1, NULL),
		 OPAQUE_E_BAD_PARAMETER);
	longest[OPAQUE_FIELD_MAX] = '\0';
	for (const char *password = longest; password; password = *password ? "" : NULL) {
		_cleanup_(attempt_done) struct attempt good, bad;

		house_register(&h, password);
		attempt_start(&good, &h, password);
		CHECK_EQ(attempt_finish(&good, &h.ids), 0);
		attempt_start(&bad, &h, *password ? password + 1 : "x");
		CHECK_EQ(attempt_finish(&bad, &h.ids), OPAQUE_E_WRONG);
	}
}

TEST(opaque_works_with_argon2id_of_these_parameters_only)
{
	static const struct opaque_ksf others[] = {
		{ OPAQUE_KSF_ARGON2ID, 65, 1 },
		{ OPAQUE_KSF_ARGON2ID, 64, 2 },
		{ OPAQUE_KSF_IDENTITY, 64, 1 },
	};
	_cleanup_(opaque_client_freep) struct opaque_client *client = NULL;
	_cleanup_(house_done) struct house h;
	_cleanup_(attempt_done) struct attempt a;
	uint8_t request[OPAQUE_REQUEST_LEN];

	house_init(&h);
	CHECK_EQ(opaque_register_start(&client, request, (const uint8_t *)"secret", 6, NULL), 0);
	CHECK_EQ(opaque_server_register(h.keys, h.response, request, "alice", 5), 0);
	CHECK_EQ(opaque_register_finish(client, h.record, NULL, h.response, &h.ids, &small_ksf), 0);
	attempt_start(&a, &h, "secret");
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		CHECK_EQ(opaque_login_finish(a.client, a.ke3, &a.session_key, NULL, a.ke2, &h.ids,
					     &others[i]),
			 OPAQUE_E_WRONG);
	CHECK_EQ(opaque_login_finish(a.client, a.ke3, &a.session_key, NULL, a.ke2, &h.ids, &small_ksf),
		 0);
}

TEST(opaque_refuses_argon2id_parameters_that_are_none)
{
	static const struct opaque_ksf bad[] = {
		{ OPAQUE_KSF_ARGON2ID, 0, 0 },		{ OPAQUE_KSF_ARGON2ID, 7, 1 },
		{ OPAQUE_KSF_ARGON2ID, 64, 0 },		{ OPAQUE_KSF_ARGON2ID, UINT32_MAX, 1 },
		{ .kind = 2, .mem_kib = 64, .passes = 1 },
	};
	_cleanup_(opaque_client_freep) struct opaque_client *client = NULL;
	uint8_t request[OPAQUE_REQUEST_LEN], record[OPAQUE_RECORD_LEN];
	_cleanup_(house_done) struct house h;
	_cleanup_(attempt_done) struct attempt a;

	house_init(&h);
	attempt_start(&a, &h, "secret");
	CHECK_EQ(opaque_register_start(&client, request, (const uint8_t *)"secret", 6, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		CHECK_EQ(opaque_register_finish(client, record, NULL, h.response, &h.ids, &bad[i]),
			 OPAQUE_E_BAD_PARAMETER);
		CHECK_EQ(opaque_login_finish(a.client, a.ke3, &a.session_key, NULL, a.ke2, &h.ids,
					     &bad[i]),
			 OPAQUE_E_BAD_PARAMETER);
	}
}

TEST(opaque_steps_of_registration_and_login_do_not_mix)
{
	_cleanup_(opaque_client_freep) struct opaque_client *client = NULL;
	uint8_t request[OPAQUE_REQUEST_LEN], record[OPAQUE_RECORD_LEN];
	_cleanup_(house_done) struct house h;
	_cleanup_(attempt_done) struct attempt a;

	house_init(&h);
	attempt_start(&a, &h, "secret");
	CHECK_EQ(opaque_register_start(&client, request, (const uint8_t *)"secret", 6, NULL), 0);
	CHECK_EQ(opaque_register_finish(a.client, record, NULL, h.response, &h.ids, &no_ksf), -EINVAL);
	CHECK_EQ(opaque_login_finish(client, a.ke3, &a.session_key, NULL, a.ke2, &h.ids, &no_ksf),
		 -EINVAL);
}

/* ---- what must not work ---- */

TEST(opaque_of_a_wrong_password_gives_no_key)
{
	static const char *const wrong[] = { "", "Secret", "secret ", "secre", "secretsecret" };
	_cleanup_(house_done) struct house h;

	house_init(&h);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		_cleanup_(attempt_done) struct attempt a;

		attempt_start(&a, &h, wrong[i]);
		CHECK_EQ(attempt_finish(&a, &h.ids), OPAQUE_E_WRONG);
	}
}

TEST(opaque_of_other_identities_or_another_context_gives_no_key)
{
	struct opaque_ids wrong[] = {
		ids_of("alicf", "https://example.org", ""),
		ids_of("alice", "https://example.com", ""),
		ids_of("https://example.org", "alice", ""),
		ids_of("alic", "ehttps://example.org", ""),
		ids_of("alice", "https://example.org", "x"),
		ids_of("alice", NULL, ""),
		ids_of(NULL, "https://example.org", ""),
		ids_of("", "https://example.org", ""),
	};
	_cleanup_(house_done) struct house h;
	_cleanup_(attempt_done) struct attempt a;

	house_init(&h);
	attempt_start(&a, &h, "secret");
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		CHECK_EQ(attempt_finish(&a, &wrong[i]), OPAQUE_E_WRONG);
	CHECK_EQ(attempt_finish(&a, &h.ids), 0);

	/* The same on the server's side. */
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		_cleanup_(attempt_done) struct attempt b;
		struct opaque_ids right = h.ids;

		h.ids = wrong[i];
		attempt_start(&b, &h, "secret");
		h.ids = right;
		CHECK_EQ(attempt_finish(&b, &h.ids), OPAQUE_E_WRONG);
	}
}

TEST(opaque_refuses_identities_and_contexts_that_are_too_long)
{
	static uint8_t much[OPAQUE_FIELD_MAX + 1];
	uint8_t request[OPAQUE_REQUEST_LEN], record[OPAQUE_RECORD_LEN];
	_cleanup_(opaque_client_freep) struct opaque_client *client = NULL;
	_cleanup_(secret_freep) struct secret *state = NULL;
	_cleanup_(house_done) struct house h;
	_cleanup_(attempt_done) struct attempt a;
	uint8_t ke2[OPAQUE_KE2_LEN];

	house_init(&h);
	attempt_start(&a, &h, "secret");
	CHECK_EQ(opaque_register_start(&client, request, (const uint8_t *)"secret", 6, NULL), 0);
	for (int i = 0; i < 3; i++) {
		struct opaque_ids ids = h.ids;
		const void **p[] = { &ids.client, &ids.server, &ids.context };
		size_t *len[] = { &ids.client_len, &ids.server_len, &ids.context_len };

		*p[i] = much;
		*len[i] = sizeof(much);
		CHECK_EQ(attempt_finish(&a, &ids), OPAQUE_E_BAD_PARAMETER);
		CHECK_EQ(opaque_register_finish(client, record, NULL, h.response, &ids, &no_ksf),
			 OPAQUE_E_BAD_PARAMETER);
		CHECK_EQ(opaque_server_ke2(h.keys, ke2, &state, h.record, "alice", 5, a.ke1, &ids, NULL),
			 OPAQUE_E_BAD_PARAMETER);
	}
	CHECK_EQ(opaque_server_ke2(h.keys, ke2, &state, h.record, much, OPAQUE_CREDENTIAL_ID_MAX + 1,
				   a.ke1, &h.ids, NULL),
		 OPAQUE_E_BAD_PARAMETER);
	CHECK_EQ(opaque_server_register(h.keys, h.response, request, much,
					OPAQUE_CREDENTIAL_ID_MAX + 1),
		 OPAQUE_E_BAD_PARAMETER);
	CHECK(!state);
	CHECK_EQ(opaque_server_ke2(h.keys, ke2, &state, h.record, much, OPAQUE_CREDENTIAL_ID_MAX, a.ke1,
				   &h.ids, NULL),
		 0);
}

TEST(opaque_of_another_users_name_or_record_gives_no_key)
{
	_cleanup_(house_done) struct house h, other;
	_cleanup_(attempt_done) struct attempt a, b, c;

	house_init(&h);
	house_init(&other);
	/* Bob's OPRF key. */
	attempt_start(&a, &h, "secret");
	a.state = secret_free(a.state);
	CHECK_EQ(opaque_server_ke2(h.keys, a.ke2, &a.state, h.record, "bob", 3, a.ke1, &h.ids, NULL), 0);
	CHECK_EQ(attempt_finish(&a, &h.ids), OPAQUE_E_WRONG);
	/* A server with other keys but alice's record. */
	attempt_start(&b, &h, "secret");
	b.state = secret_free(b.state);
	CHECK_EQ(opaque_server_ke2(other.keys, b.ke2, &b.state, h.record, "alice", 5, b.ke1, &h.ids,
				   NULL),
		 0);
	CHECK_EQ(attempt_finish(&b, &h.ids), OPAQUE_E_WRONG);
	/* The right keys and a record of the same password at another server. */
	attempt_start(&c, &h, "secret");
	c.state = secret_free(c.state);
	CHECK_EQ(opaque_server_ke2(h.keys, c.ke2, &c.state, other.record, "alice", 5, c.ke1, &h.ids,
				   NULL),
		 0);
	CHECK_EQ(attempt_finish(&c, &h.ids), OPAQUE_E_WRONG);
}

TEST(opaque_of_a_ke2_with_any_bit_changed_gives_no_key)
{
	_cleanup_(house_done) struct house h;
	_cleanup_(attempt_done) struct attempt a;

	house_init(&h);
	attempt_start(&a, &h, "secret");
	for (size_t bit = 0; bit < 8 * sizeof(a.ke2); bit += 5) {
		int r;

		a.ke2[bit / 8] ^= (uint8_t)(1 << bit % 8);
		r = attempt_finish(&a, &h.ids);
		CHECK(r == OPAQUE_E_WRONG || r == OPAQUE_E_BAD_MESSAGE);
		/* Of what has no structure, nothing is "bad". */
		if ((bit / 8 >= 32 && bit / 8 < 224) || bit / 8 >= 256)
			CHECK_EQ(r, OPAQUE_E_WRONG);
		a.ke2[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	CHECK_EQ(attempt_finish(&a, &h.ids), 0);
}

TEST(opaque_of_a_ke1_with_any_bit_changed_gives_no_key)
{
	_cleanup_(house_done) struct house h;
	_cleanup_(attempt_done) struct attempt a;
	size_t refused = 0;

	house_init(&h);
	attempt_start(&a, &h, "secret");
	for (size_t bit = 0; bit < 8 * sizeof(a.ke1); bit += 3) {
		_cleanup_(secret_freep) struct secret *state = NULL;
		int r;

		a.ke1[bit / 8] ^= (uint8_t)(1 << bit % 8);
		r = opaque_server_ke2(h.keys, a.ke2, &state, h.record, "alice", 5, a.ke1, &h.ids, NULL);
		a.ke1[bit / 8] ^= (uint8_t)(1 << bit % 8);
		CHECK(!r == (state != NULL));
		if (!r)
			CHECK_EQ(attempt_finish(&a, &h.ids), OPAQUE_E_WRONG);
		else
			CHECK_EQ(r, OPAQUE_E_BAD_MESSAGE);
		refused += r != 0;
	}
	/* A nonce has no bad values; of other bytes most are no element. */
	CHECK(refused > 50 && refused < 180);
}

TEST(opaque_of_a_record_with_any_bit_changed_gives_no_key)
{
	_cleanup_(house_done) struct house h;

	house_init(&h);
	for (size_t bit = 0; bit < 8 * sizeof(h.record); bit += 7) {
		_cleanup_(attempt_done) struct attempt a = { 0 };
		int r;

		h.record[bit / 8] ^= (uint8_t)(1 << bit % 8);
		CHECK_EQ(opaque_login_start(&a.client, a.ke1, (const uint8_t *)"secret", 6, NULL), 0);
		r = opaque_server_ke2(h.keys, a.ke2, &a.state, h.record, "alice", 5, a.ke1, &h.ids, NULL);
		CHECK_EQ(r, opaque_record_check(h.record) ? OPAQUE_E_BAD_KEYS : 0);
		h.record[bit / 8] ^= (uint8_t)(1 << bit % 8);
		if (!r)
			CHECK_EQ(attempt_finish(&a, &h.ids), OPAQUE_E_WRONG);
	}
}

TEST(opaque_server_takes_a_ke3_of_this_login_only)
{
	_cleanup_(house_done) struct house h;
	_cleanup_(attempt_done) struct attempt a, b;
	_cleanup_(secret_freep) struct secret *key = NULL;

	house_init(&h);
	attempt_start(&a, &h, "secret");
	attempt_start(&b, &h, "secret");
	CHECK_EQ(attempt_finish(&a, &h.ids), 0);
	CHECK_EQ(attempt_finish(&b, &h.ids), 0);
	CHECK_EQ(opaque_server_finish(&key, secret_bytes(a.state), b.ke3), OPAQUE_E_WRONG);
	for (size_t bit = 0; bit < 8 * sizeof(a.ke3); bit++) {
		a.ke3[bit / 8] ^= (uint8_t)(1 << bit % 8);
		CHECK_EQ(opaque_server_finish(&key, secret_bytes(a.state), a.ke3), OPAQUE_E_WRONG);
		a.ke3[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	CHECK(!key);
	CHECK_EQ(opaque_server_finish(&key, secret_bytes(a.state), a.ke3), 0);
}

/* 32 bytes that are no element of the group, or its identity. */
static const char *const no_elements[] = {
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
};

/* Puts each of them at a place of a message, and the message back in order. */
#define FOR_NO_ELEMENT(i, message, at)                                                             \
	for (size_t i = 0, keep_ = put_no_element((message) + (at), 0); i < ARRAY_SIZE(no_elements); \
	     i++, keep_ = put_no_element((message) + (at), i), (void)keep_)

static size_t put_no_element(uint8_t *at, size_t i)
{
	static uint8_t kept[32];

	if (i == 0)
		memcpy(kept, at, sizeof(kept));
	if (i < ARRAY_SIZE(no_elements))
		CHECK_EQ(hex_parse(at, 32, no_elements[i]), 0);
	else
		memcpy(at, kept, sizeof(kept));
	return i;
}

TEST(opaque_refuses_elements_that_are_none_in_every_field)
{
	uint8_t request[OPAQUE_REQUEST_LEN], response[OPAQUE_RESPONSE_LEN], record[OPAQUE_RECORD_LEN];
	_cleanup_(opaque_client_freep) struct opaque_client *client = NULL;
	_cleanup_(secret_freep) struct secret *state = NULL;
	_cleanup_(house_done) struct house h;
	_cleanup_(attempt_done) struct attempt a;
	uint8_t ke2[OPAQUE_KE2_LEN];

	house_init(&h);
	attempt_start(&a, &h, "secret");
	CHECK_EQ(opaque_register_start(&client, request, (const uint8_t *)"secret", 6, NULL), 0);

	FOR_NO_ELEMENT(i, request, 0)
		CHECK_EQ(opaque_server_register(h.keys, response, request, "alice", 5),
			 OPAQUE_E_BAD_MESSAGE);
	CHECK_EQ(opaque_server_register(h.keys, response, request, "alice", 5), 0);
	for (size_t at = 0; at < OPAQUE_RESPONSE_LEN; at += 32)
		FOR_NO_ELEMENT(i, response, at)
			CHECK_EQ(opaque_register_finish(client, record, NULL, response, &h.ids, &no_ksf),
				 OPAQUE_E_BAD_MESSAGE);
	CHECK_EQ(opaque_register_finish(client, record, NULL, response, &h.ids, &no_ksf), 0);

	FOR_NO_ELEMENT(i, record, 0) {
		CHECK_EQ(opaque_record_check(record), OPAQUE_E_BAD_MESSAGE);
		CHECK_EQ(opaque_server_ke2(h.keys, ke2, &state, record, "alice", 5, a.ke1, &h.ids, NULL),
			 OPAQUE_E_BAD_KEYS);
	}
	for (size_t at = 0; at < OPAQUE_KE1_LEN; at += 64)
		FOR_NO_ELEMENT(i, a.ke1, at)
			CHECK_EQ(opaque_server_ke2(h.keys, ke2, &state, record, "alice", 5, a.ke1,
						   &h.ids, NULL),
				 OPAQUE_E_BAD_MESSAGE);
	FOR_NO_ELEMENT(i, a.ke2, 0)
		CHECK_EQ(attempt_finish(&a, &h.ids), OPAQUE_E_BAD_MESSAGE);
	FOR_NO_ELEMENT(i, a.ke2, 224)
		CHECK_EQ(attempt_finish(&a, &h.ids), OPAQUE_E_BAD_MESSAGE);
	CHECK(!state);
	CHECK_EQ(attempt_finish(&a, &h.ids), 0);
}

TEST(opaque_refuses_blinds_that_are_no_scalars)
{
	_cleanup_(opaque_client_freep) struct opaque_client *client = NULL;
	struct opaque_client_random random = { 0 };
	uint8_t ke1[OPAQUE_KE1_LEN];

	CHECK_EQ(crypto_init(), 0);
	CHECK_EQ(opaque_login_start(&client, ke1, (const uint8_t *)"x", 1, &random),
		 OPAQUE_E_BAD_PARAMETER);
	memset(random.blind, 0xff, sizeof(random.blind));
	CHECK_EQ(opaque_register_start(&client, ke1, (const uint8_t *)"x", 1, &random),
		 OPAQUE_E_BAD_PARAMETER);
	CHECK(!client);
}

/* ---- unknown users ---- */

TEST(i8_opaque_answers_unknown_users_alike)
{
	_cleanup_(house_done) struct house h;
	_cleanup_(attempt_done) struct attempt a, b;

	house_init(&h);
	attempt_start(&a, &h, "secret");
	attempt_start(&b, &h, "secret");
	memcpy(b.ke1, a.ke1, sizeof(b.ke1));
	for (int i = 0; i < 2; i++) {
		struct attempt *x = i ? &b : &a;

		x->state = secret_free(x->state);
		CHECK_EQ(opaque_server_ke2(h.keys, x->ke2, &x->state, NULL, "nobody", 6, x->ke1, &h.ids,
					   NULL),
			 0);
		CHECK_EQ(secret_len(x->state), OPAQUE_LOGIN_STATE_LEN);
		CHECK_EQ(group_check_element(x->ke2), 0);
		CHECK_EQ(group_check_element(x->ke2 + 224), 0);
	}
	/* As for a known one: one name and one blind have one evaluation; the rest is new. */
	CHECK_MEM(a.ke2, b.ke2, 32);
	for (size_t at = 32; at < OPAQUE_KE2_LEN; at += 32)
		CHECK(memcmp(a.ke2 + at, b.ke2 + at, 32) != 0);
	CHECK_EQ(attempt_finish(&a, &h.ids), OPAQUE_E_WRONG);
	/* Nor is it an error that tells: a message that is none is refused for both. */
	memset(a.ke1, 0, 32);
	CHECK_EQ(opaque_server_ke2(h.keys, a.ke2, &b.session_key, NULL, "nobody", 6, a.ke1, &h.ids, NULL),
		 OPAQUE_E_BAD_MESSAGE);
}

TEST(i8_opaque_masks_answers_to_unknown_users_under_a_key_that_nobody_has)
{
	static const struct opaque_server_random random = { { 1 }, { 2 }, { 3 } };
	_cleanup_(opaque_keys_freep) struct opaque_keys *again = NULL;
	_cleanup_(secret_freep) struct secret *bytes = NULL;
	_cleanup_(house_done) struct house h;
	_cleanup_(attempt_done) struct attempt a, b;

	house_init(&h);
	attempt_start(&a, &h, "secret");
	attempt_start(&b, &h, "secret");
	a.state = secret_free(a.state);
	b.state = secret_free(b.state);
	CHECK_EQ(opaque_keys_export(&bytes, h.keys), 0);
	CHECK_EQ(opaque_keys_import(&again, secret_bytes(bytes)), 0);
	/* One server in two lives, with everything else alike: who knew the mask would see the server's public key below it. */
	CHECK_EQ(opaque_server_ke2(h.keys, a.ke2, &a.state, NULL, "nobody", 6, a.ke1, &h.ids, &random), 0);
	CHECK_EQ(opaque_server_ke2(again, b.ke2, &b.state, NULL, "nobody", 6, a.ke1, &h.ids, &random), 0);
	CHECK_MEM(a.ke2, b.ke2, 64);
	for (size_t at = 64; at < 192; at += 32)
		CHECK(memcmp(a.ke2 + at, b.ke2 + at, 32) != 0);
}

TEST(i8_opaque_evaluates_an_unknown_name_as_it_will_once_registered)
{
	_cleanup_(opaque_keys_freep) struct opaque_keys *again = NULL;
	_cleanup_(secret_freep) struct secret *bytes = NULL;
	_cleanup_(house_done) struct house h;
	_cleanup_(attempt_done) struct attempt a;
	uint8_t known[32];

	house_init(&h);
	attempt_start(&a, &h, "secret");
	memcpy(known, a.ke2, sizeof(known));
	/* After a restart, too. */
	CHECK_EQ(opaque_keys_export(&bytes, h.keys), 0);
	CHECK_EQ(opaque_keys_import(&again, secret_bytes(bytes)), 0);
	a.state = secret_free(a.state);
	CHECK_EQ(opaque_server_ke2(again, a.ke2, &a.state, NULL, "alice", 5, a.ke1, &h.ids, NULL), 0);
	CHECK_MEM(a.ke2, known, sizeof(known));
}

/* ---- keys ---- */

TEST(opaque_keys_come_back_from_their_bytes)
{
	_cleanup_(opaque_keys_freep) struct opaque_keys *a = NULL, *b = NULL, *c = NULL;
	_cleanup_(secret_freep) struct secret *bytes = NULL, *more = NULL;

	CHECK_EQ(crypto_init(), 0);
	CHECK_EQ(opaque_keys_generate(&a), 0);
	CHECK_EQ(opaque_keys_generate(&c), 0);
	CHECK_EQ(opaque_keys_export(&bytes, a), 0);
	CHECK_EQ(secret_len(bytes), OPAQUE_KEYS_LEN);
	CHECK_EQ(opaque_keys_import(&b, secret_bytes(bytes)), 0);
	CHECK_EQ(opaque_keys_export(&more, b), 0);
	CHECK(secret_equal(bytes, secret_bytes(more), OPAQUE_KEYS_LEN));
	CHECK_MEM(opaque_keys_public(a), opaque_keys_public(b), OPAQUE_PUBLIC_LEN);
	CHECK(memcmp(opaque_keys_public(a), opaque_keys_public(c), OPAQUE_PUBLIC_LEN) != 0);
}

TEST(opaque_refuses_keys_whose_private_key_is_none)
{
	_cleanup_(opaque_keys_freep) struct opaque_keys *k = NULL;
	uint8_t bytes[OPAQUE_KEYS_LEN] = { 1 };

	CHECK_EQ(crypto_init(), 0);
	CHECK_EQ(opaque_keys_import(&k, bytes), OPAQUE_E_BAD_KEYS);
	memset(bytes + 64, 0xff, 32);
	CHECK_EQ(opaque_keys_import(&k, bytes), OPAQUE_E_BAD_KEYS);
	CHECK(!k);
}
/* ---- what is left behind ---- */

/*
 * Each step runs on a stack of its own, which is then searched for every value that
 * RFC 9807's vectors call intermediate.
 */
struct steps {
	struct opaque_case c;
	struct opaque_ids ids;
	struct opaque_keys *keys;
	struct opaque_client *registering, *client;
	struct opaque_server_random answer;
	uint8_t ke1[OPAQUE_KE1_LEN], ke2[OPAQUE_KE2_LEN], ke3[OPAQUE_KE3_LEN];
	uint8_t record[OPAQUE_RECORD_LEN];
	struct secret *state, *ours, *theirs, *export_key;
	struct opaque_client_random login;
	struct opaque_client *again;
	int step, r;
};

static int take_step(struct steps *s)
{
	switch (s->step) {
	case 0:
		return opaque_register_finish(s->registering, s->record, NULL, s->c.response.p, &s->ids,
					      &s->c.ksf);
	case 1:
		return opaque_server_ke2(s->keys, s->ke2, &s->state, s->c.record.p, s->c.credential_id.p,
					 s->c.credential_id.len, s->ke1, &s->ids, &s->answer);
	case 2:
		return opaque_login_finish(s->client, s->ke3, &s->ours, &s->export_key, s->ke2, &s->ids,
					   &s->c.ksf);
	case 3:
		return opaque_server_finish(&s->theirs, secret_bytes(s->state), s->ke3);
	}
	return opaque_login_start(&s->again, s->ke1, s->c.password.p, s->c.password.len, &s->login);
}

static void *thread_of_a_step(void *arg)
{
	struct steps *s = arg;

	s->r = take_step(s);
	return NULL;
}

static void steps_init(struct steps *s, const json_t *test)
{
	struct opaque_client_random registration = { 0 };
	uint8_t request[OPAQUE_REQUEST_LEN];

	memset(s, 0, sizeof(*s));
	case_from_json(&s->c, test);
	s->ids = case_ids(&s->c);
	case_keys(&s->keys, &s->c);
	case_server_random(&s->answer, &s->c);
	copy32(registration.blind, &s->c.blind_registration);
	copy32(registration.envelope_nonce, &s->c.envelope_nonce);
	copy32(s->login.blind, &s->c.blind_login);
	copy32(s->login.client_nonce, &s->c.client_nonce);
	copy32(s->login.keyshare_seed, &s->c.client_keyshare_seed);
	CHECK_EQ(opaque_register_start(&s->registering, request, s->c.password.p, s->c.password.len,
				       &registration),
		 0);
	CHECK_EQ(opaque_login_start(&s->client, s->ke1, s->c.password.p, s->c.password.len, &s->login), 0);
}

static void steps_done(struct steps *s)
{
	opaque_client_free(s->registering);
	opaque_client_free(s->client);
	opaque_client_free(s->again);
	opaque_keys_free(s->keys);
	secret_free(s->state);
	secret_free(s->ours);
	secret_free(s->theirs);
	secret_free(s->export_key);
	opaque_case_done(&s->c);
}

static void run_on_stack(void *stack, size_t len, struct steps *s)
{
	pthread_attr_t attr;
	pthread_t thread;

	CHECK_EQ(pthread_attr_init(&attr), 0);
	CHECK_EQ(pthread_attr_setstack(&attr, stack, len), 0);
	CHECK_EQ(pthread_create(&thread, &attr, thread_of_a_step, s), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	pthread_attr_destroy(&attr);
	CHECK_EQ(s->r, 0);
}

/* Of a long secret each half is one. */
static void look_for(const uint8_t *stack, size_t len, const char *name, const struct octets *secret)
{
	for (size_t at = 0; at + 16 <= secret->len; at += 16)
		if (memmem(stack, len, secret->p + at, 16))
			test_fail(__FILE__, __LINE__, "%s from byte %zu is on the stack", name, at);
}

static void look_for_all(const uint8_t *stack, size_t len, const json_t *test, const struct opaque_case *c)
{
	static const char *const public[] = { "client_public_key", "envelope" };
	const char *name;
	json_t *value;

	json_object_foreach(json_object_get(test, "intermediates"), name, value) {
		_cleanup_octets_ struct octets secret = octets_of_hex(json_string_value(value));

		if (strcmp(name, public[0]) != 0 && strcmp(name, public[1]) != 0)
			look_for(stack, len, name, &secret);
	}
	look_for(stack, len, "session_key", &c->session_key);
	look_for(stack, len, "export_key", &c->export_key);
	look_for(stack, len, "password", &c->password);
	look_for(stack, len, "server_private_key", &c->server_private_key);
	look_for(stack, len, "oprf_seed", &c->oprf_seed);
	look_for(stack, len, "blind_login", &c->blind_login);
	look_for(stack, len, "blind_registration", &c->blind_registration);
	look_for(stack, len, "client_keyshare_seed", &c->client_keyshare_seed);
	look_for(stack, len, "server_keyshare_seed", &c->server_keyshare_seed);
}

TEST(i5_opaque_leaves_no_secret_on_the_stack)
{
	enum { STACK_LEN = 256 * 1024 };
	_cleanup_(steps_done) struct steps s;
	json_t *root = vectors_load("opaque/vectors.json"), *test = json_array_get(root, 0);
	_cleanup_free_ uint8_t *stack = aligned_alloc(4096, STACK_LEN);

	CHECK(stack);
	steps_init(&s, test);
	for (; s.step < 5; s.step++) {
		memset(stack, 0, STACK_LEN);
		run_on_stack(stack, STACK_LEN, &s);
		/* What is public was there. */
		if (s.step == 1)
			CHECK(memmem(stack, STACK_LEN, s.ke2, sizeof(s.ke2)));
		look_for_all(stack, STACK_LEN, test, &s.c);
	}
	json_decref(root);
}

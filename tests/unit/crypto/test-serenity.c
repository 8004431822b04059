/* OPAQUE with @serenity-kit/opaque, from what it once said: system/47-auth-serenity has the package itself. */
#include "crypto/opaque.h"

#include "unit/crypto/vectors.h"
#include "vectors/opaque_fixed.h"
#include "vectors/serenity.h"

static const uint8_t *const password = (const uint8_t *)fixed_password;

static void is_hex(const void *bytes, size_t len, const char *hex)
{
	_cleanup_octets_ struct octets o = octets_of_hex(hex);

	CHECK_EQ(o.len, len);
	CHECK_MEM(o.p, bytes, len);
}

static struct opaque_keys *keys(void)
{
	_cleanup_octets_ struct octets o = octets_of_hex(serenity_keys);
	struct opaque_keys *k = NULL;

	CHECK_EQ(o.len, OPAQUE_KEYS_LEN);
	CHECK_EQ(opaque_keys_import(&k, o.p), 0);
	return k;
}

TEST(opaque_client_goes_through_1_registration_and_login_of_a_serenity_server)
{
	const struct serenity_vector *v = &our_client_their_server;
	_cleanup_octets_ struct octets response = octets_of_hex(v->response), ke2 = octets_of_hex(v->ke2);
	_cleanup_(opaque_client_freep) struct opaque_client *r = NULL, *c = NULL;
	_cleanup_(secret_freep) struct secret *key = NULL;
	uint8_t request[OPAQUE_REQUEST_LEN], record[OPAQUE_RECORD_LEN], ke1[OPAQUE_KE1_LEN], ke3[OPAQUE_KE3_LEN];

	CHECK_EQ(opaque_register_start(&r, request, password, sizeof(fixed_password) - 1, &fixed_client), 0);
	is_hex(request, sizeof(request), v->request);
	CHECK_EQ(opaque_register_finish(r, record, NULL, response.p, &fixed_ids, &fixed_ksf), 0);
	is_hex(record, sizeof(record), v->record);
	CHECK_EQ(opaque_login_start(&c, ke1, password, sizeof(fixed_password) - 1, &fixed_client), 0);
	is_hex(ke1, sizeof(ke1), v->ke1);
	CHECK_EQ(opaque_login_finish(c, ke3, &key, NULL, ke2.p, &fixed_ids, &fixed_ksf), 0);
	is_hex(ke3, sizeof(ke3), v->ke3);
	is_hex(secret_bytes(key), secret_len(key), v->session_key);
}

TEST(opaque_server_goes_through_1_registration_and_login_of_a_serenity_client)
{
	const struct serenity_vector *v = &their_client_our_server;
	_cleanup_octets_ struct octets request = octets_of_hex(v->request), record = octets_of_hex(v->record),
				       ke1 = octets_of_hex(v->ke1), ke3 = octets_of_hex(v->ke3);
	_cleanup_(opaque_keys_freep) struct opaque_keys *k = keys();
	_cleanup_(secret_freep) struct secret *state = NULL, *key = NULL;
	uint8_t response[OPAQUE_RESPONSE_LEN], ke2[OPAQUE_KE2_LEN];

	CHECK_EQ(opaque_server_register(k, response, request.p, fixed_user, sizeof(fixed_user) - 1), 0);
	is_hex(response, sizeof(response), v->response);
	CHECK_EQ(opaque_record_check(record.p), 0);
	CHECK_EQ(opaque_server_ke2(k, ke2, &state, record.p, fixed_user, sizeof(fixed_user) - 1, ke1.p, &fixed_ids, &fixed_server), 0);
	is_hex(ke2, sizeof(ke2), v->ke2);
	CHECK_EQ(opaque_server_finish(&key, secret_bytes(state), ke3.p), 0);
	is_hex(secret_bytes(key), secret_len(key), v->session_key);
}

TEST(opaque_server_answers_a_registration_as_a_serenity_server_with_its_keys)
{
	_cleanup_octets_ struct octets request = octets_of_hex(our_client_their_server.request);
	_cleanup_(opaque_keys_freep) struct opaque_keys *k = keys();
	uint8_t response[OPAQUE_RESPONSE_LEN];

	CHECK_EQ(opaque_server_register(k, response, request.p, fixed_user, sizeof(fixed_user) - 1), 0);
	is_hex(response, sizeof(response), our_client_their_server.response);
}

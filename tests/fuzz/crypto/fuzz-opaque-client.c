/*
 * What a hostile server answers to the client's half of OPAQUE: KE2, then the response
 * to a registration; what is missing is zero. Nothing that does not know the record logs in.
 */
#include <assert.h>
#include <string.h>

#include "crypto/group.h"
#include "crypto/opaque.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	uint8_t ke2[OPAQUE_KE2_LEN];
	uint8_t response[OPAQUE_RESPONSE_LEN];
};

static const struct opaque_client_random chosen = { { 1 }, { 2 }, { 3 }, { 4 } };
static const struct opaque_ids ids = { "alice", 5, "https://example.org", 19, NULL, 0 };
static const struct opaque_ksf ksf = { .kind = OPAQUE_KSF_IDENTITY };

static void try_register(const uint8_t *response)
{
	bool good = group_check_element(response) == 0 && group_check_element(response + 32) == 0;
	_cleanup_(opaque_client_freep) struct opaque_client *c = NULL;
	_cleanup_(secret_freep) struct secret *export_key = NULL;
	uint8_t request[OPAQUE_REQUEST_LEN], record[OPAQUE_RECORD_LEN];
	int r;

	assert(opaque_register_start(&c, request, (const uint8_t *)"secret", 6, &chosen) == 0);
	r = opaque_register_finish(c, record, &export_key, response, &ids, &ksf);
	assert(r == (good ? 0 : OPAQUE_E_BAD_MESSAGE));
	assert(!r == (export_key != NULL));
	assert(r || opaque_record_check(record) == 0);
}

static void try_login(const uint8_t *ke2)
{
	bool good = group_check_element(ke2) == 0 && group_check_element(ke2 + 224) == 0;
	_cleanup_(opaque_client_freep) struct opaque_client *c = NULL;
	_cleanup_(secret_freep) struct secret *key = NULL, *export_key = NULL;
	uint8_t ke1[OPAQUE_KE1_LEN], ke3[OPAQUE_KE3_LEN];
	int r;

	assert(opaque_login_start(&c, ke1, (const uint8_t *)"secret", 6, &chosen) == 0);
	r = opaque_login_finish(c, ke3, &key, &export_key, ke2, &ids, &ksf);
	assert(r == (good ? OPAQUE_E_WRONG : OPAQUE_E_BAD_MESSAGE));
	assert(!key && !export_key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { 0 };

	assert(crypto_init() == 0);
	memcpy(&in, data, size < sizeof(in) ? size : sizeof(in));
	try_login(in.ke2);
	try_register(in.response);
	return 0;
}

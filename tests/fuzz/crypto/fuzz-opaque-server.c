/*
 * What a stranger sends to the server's half of OPAQUE: KE1, KE3, a record, a
 * registration's request, one after the other; what is missing is zero. Every answer is a
 * documented one, and no KE3 but the right one gives a key.
 */
#include <assert.h>
#include <string.h>

#include "crypto/group.h"
#include "crypto/opaque.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	uint8_t ke1[OPAQUE_KE1_LEN];
	uint8_t ke3[OPAQUE_KE3_LEN];
	uint8_t record[OPAQUE_RECORD_LEN];
	uint8_t request[OPAQUE_REQUEST_LEN];
};

static const struct opaque_ids ids = { "alice", 5, "https://example.org", 19, NULL, 0 };
static struct opaque_keys *keys;

static void try_register(const struct input *in)
{
	uint8_t response[OPAQUE_RESPONSE_LEN];
	int r = opaque_server_register(keys, response, in->request, "alice", 5);

	assert(r == (group_check_element(in->request) ? OPAQUE_E_BAD_MESSAGE : 0));
	if (!r)
		assert(group_check_element(response) == 0 &&
		       memcmp(response + 32, opaque_keys_public(keys), 32) == 0);
}

/* With this record, or with none. */
static void try_login(const struct input *in, const uint8_t *record)
{
	static const struct opaque_server_random random = { { 1 }, { 2 }, { 3 } };
	bool good = group_check_element(in->ke1) == 0 && group_check_element(in->ke1 + 64) == 0;
	_cleanup_(secret_freep) struct secret *state = NULL, *key = NULL;
	uint8_t ke2[OPAQUE_KE2_LEN];
	int r;

	r = opaque_server_ke2(keys, ke2, &state, record, "alice", 5, in->ke1, &ids, &random);
	if (!good)
		assert(r == OPAQUE_E_BAD_MESSAGE);
	else
		assert(r == (record && opaque_record_check(record) ? OPAQUE_E_BAD_KEYS : 0));
	assert(!r == (state != NULL));
	if (r)
		return;
	assert(group_check_element(ke2) == 0 && group_check_element(ke2 + 224) == 0);
	assert(opaque_server_finish(&key, secret_bytes(state), in->ke3) == OPAQUE_E_WRONG && !key);
	assert(opaque_server_finish(&key, secret_bytes(state), secret_bytes(state)) == 0);
	assert(secret_len(key) == OPAQUE_SESSION_KEY_LEN);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t fixed[OPAQUE_KEYS_LEN] = { [0] = 1, [64] = 7 };
	struct input in = { 0 };

	if (!keys) {
		assert(crypto_init() == 0);
		assert(opaque_keys_import(&keys, fixed) == 0);
	}
	memcpy(&in, data, size < sizeof(in) ? size : sizeof(in));
	try_register(&in);
	try_login(&in, in.record);
	try_login(&in, NULL);
	return 0;
}

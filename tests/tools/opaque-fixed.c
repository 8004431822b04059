/*
 * Our halves of OPAQUE without randomness, for tests/system/serenity/vectors.mjs. Bytes are hex:
 *
 *	opaque-fixed request			a registration's first message
 *	opaque-fixed record RESPONSE
 *	opaque-fixed ke1
 *	opaque-fixed ke3 KE2			KE3, and the session key on a second line
 *	opaque-fixed response KEYS REQUEST	the server's; KEYS: OPRF seed, private key
 *	opaque-fixed ke2 KEYS RECORD KE1
 */
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "vectors/opaque_fixed.h"

static int say(const void *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		printf("%02x", ((const uint8_t *)bytes)[i]);
	printf("\n");
	return 0;
}

static int with_client(const char *what, const char *answer)
{
	uint8_t first[OPAQUE_KE1_LEN], in[OPAQUE_KE2_LEN], out[OPAQUE_RECORD_LEN];
	_cleanup_(opaque_client_freep) struct opaque_client *c = NULL;
	_cleanup_(secret_freep) struct secret *key = NULL;
	const uint8_t *password = (const uint8_t *)fixed_password;
	bool registers = strcmp(what, "request") == 0 || strcmp(what, "record") == 0;
	size_t in_len = registers ? OPAQUE_RESPONSE_LEN : OPAQUE_KE2_LEN;

	if (registers ? opaque_register_start(&c, first, password, sizeof(fixed_password) - 1, &fixed_client) :
			opaque_login_start(&c, first, password, sizeof(fixed_password) - 1, &fixed_client))
		return 1;
	if (!answer)
		return say(first, registers ? OPAQUE_REQUEST_LEN : OPAQUE_KE1_LEN);
	if (strlen(answer) != 2 * in_len || hex_parse(in, in_len, answer) < 0)
		return 1;
	if (registers)
		return opaque_register_finish(c, out, NULL, in, &fixed_ids, &fixed_ksf) ? 1 : say(out, OPAQUE_RECORD_LEN);
	if (opaque_login_finish(c, out, &key, NULL, in, &fixed_ids, &fixed_ksf))
		return 1;
	say(out, OPAQUE_KE3_LEN);
	return say(secret_bytes(key), OPAQUE_SESSION_KEY_LEN);
}

static int with_server(char **argv)
{
	uint8_t keys[OPAQUE_KEYS_LEN], record[OPAQUE_RECORD_LEN], ke1[OPAQUE_KE1_LEN], out[OPAQUE_KE2_LEN];
	_cleanup_(opaque_keys_freep) struct opaque_keys *k = NULL;
	_cleanup_(secret_freep) struct secret *state = NULL;

	if (hex_parse(keys, sizeof(keys), argv[1]) < 0 || opaque_keys_import(&k, keys))
		return 1;
	if (strcmp(argv[0], "response") == 0)
		return hex_parse(ke1, OPAQUE_REQUEST_LEN, argv[2]) < 0 ||
				       opaque_server_register(k, out, ke1, fixed_user, sizeof(fixed_user) - 1) ?
			       1 :
			       say(out, OPAQUE_RESPONSE_LEN);
	return !argv[3] || hex_parse(record, sizeof(record), argv[2]) < 0 || hex_parse(ke1, sizeof(ke1), argv[3]) < 0 ||
			       opaque_server_ke2(k, out, &state, record, fixed_user, sizeof(fixed_user) - 1, ke1, &fixed_ids,
						 &fixed_server) ?
		       1 :
		       say(out, OPAQUE_KE2_LEN);
}

int main(int argc, char **argv)
{
	if (argc < 2 || crypto_init())
		return 2;
	return argc > 3 ? with_server(argv + 1) : with_client(argv[1], argv[2]);
}

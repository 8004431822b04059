/* Hashes and key derivation against published answers. */
#include "crypto/kdf.h"

#include <errno.h>

#include "unit/crypto/vectors.h"
#include "vectors/rfc_crypto.h"

TEST(hmac_sha256_gives_rfc_4231s_answers)
{
	for (size_t i = 0; i < ARRAY_SIZE(rfc4231); i++) {
		_cleanup_octets_ struct octets key = octets_of_hex(rfc4231[i].key);
		_cleanup_octets_ struct octets data = octets_of_hex(rfc4231[i].data);
		_cleanup_octets_ struct octets want = octets_of_hex(rfc4231[i].mac);
		uint8_t mac[HMAC_SHA256_LEN];

		hmac_sha256(mac, key.p, key.len, data.p, data.len);
		CHECK_MEM(mac, want.p, sizeof(mac));
	}
}

static void hmac_case(const json_t *group, const json_t *test)
{
	_cleanup_octets_ struct octets key = octets_get(test, "key");
	_cleanup_octets_ struct octets msg = octets_get(test, "msg");
	_cleanup_octets_ struct octets tag = octets_get(test, "tag");
	bool valid = !strcmp(text_get(test, "result"), "valid");
	uint8_t mac[HMAC_SHA256_LEN];

	hmac_sha256(mac, key.p, key.len, msg.p, msg.len);
	CHECK_EQ(tag.len, size_get(group, "tagSize") / 8);
	CHECK_EQ(memcmp(mac, tag.p, tag.len) == 0, valid);
}

TEST(hmac_sha256_agrees_with_wycheproof)
{
	wycheproof_run("hkdf/wycheproof_hmac_sha256_test.json", hmac_case);
}

TEST(hkdf_sha256_gives_rfc_5869s_answers)
{
	for (size_t i = 0; i < ARRAY_SIZE(rfc5869); i++) {
		_cleanup_octets_ struct octets ikm = octets_of_hex(rfc5869[i].ikm);
		_cleanup_octets_ struct octets salt = octets_of_hex(rfc5869[i].salt);
		_cleanup_octets_ struct octets info = octets_of_hex(rfc5869[i].info);
		_cleanup_octets_ struct octets want = octets_of_hex(rfc5869[i].okm);
		uint8_t okm[128];

		hkdf_sha256(okm, want.len, salt.len ? salt.p : NULL, salt.len, ikm.p, ikm.len,
			    info.p, info.len);
		CHECK_MEM(okm, want.p, want.len);
	}
}

static void hkdf_case(const json_t *test, size_t hash_len,
		      void (*hkdf)(uint8_t *out, size_t out_len, const void *salt, size_t salt_len,
				   const void *ikm, size_t ikm_len, const void *info,
				   size_t info_len))
{
	_cleanup_octets_ struct octets ikm = octets_get(test, "ikm");
	_cleanup_octets_ struct octets salt = octets_get(test, "salt");
	_cleanup_octets_ struct octets info = octets_get(test, "info");
	_cleanup_octets_ struct octets okm = octets_get(test, "okm");
	_cleanup_free_ uint8_t *out = malloc(okm.len + 1);
	size_t size = size_get(test, "size");

	/* Too much output is the caller's mistake, which is asserted. */
	if (strcmp(text_get(test, "result"), "valid") != 0) {
		CHECK(flag_is_set(test, "SizeTooLarge") && size > 255 * hash_len);
		return;
	}
	CHECK_EQ(size, okm.len);
	hkdf(out, okm.len, salt.p, salt.len, ikm.p, ikm.len, info.p, info.len);
	CHECK_MEM(out, okm.p, okm.len);
}

static void hkdf_sha256_case(const json_t *group, const json_t *test)
{
	(void)group;
	hkdf_case(test, SHA256_LEN, hkdf_sha256);
}

static void hkdf_sha512_case(const json_t *group, const json_t *test)
{
	(void)group;
	hkdf_case(test, SHA512_LEN, hkdf_sha512);
}

TEST(hkdf_sha256_agrees_with_wycheproof)
{
	wycheproof_run("hkdf/wycheproof_hkdf_sha256_test.json", hkdf_sha256_case);
}

TEST(hkdf_sha512_agrees_with_wycheproof)
{
	wycheproof_run("hkdf/wycheproof_hkdf_sha512_test.json", hkdf_sha512_case);
}

TEST(kdf_expand_is_hkdf_without_salt_and_separates_labels)
{
	_cleanup_(secret_freep) struct secret *ikm = NULL, *a = NULL, *b = NULL;
	uint8_t want[40];

	CHECK_EQ(secret_random(&ikm, 32), 0);
	CHECK_EQ(kdf_expand(&a, sizeof(want), ikm, "pskd tunnel"), 0);
	CHECK_EQ(kdf_expand(&b, sizeof(want), ikm, "pskd tunnem"), 0);
	hkdf_sha256(want, sizeof(want), NULL, 0, secret_bytes(ikm), 32, "pskd tunnel", 11);
	CHECK(secret_equal(a, want, sizeof(want)));
	CHECK(!secret_equal(b, want, sizeof(want)));
}

TEST(argon2id_agrees_with_the_reference_implementation)
{
	for (size_t i = 0; i < ARRAY_SIZE(argon2_command); i++) {
		_cleanup_octets_ struct octets want = octets_of_hex(argon2_command[i].out);
		_cleanup_(secret_freep) struct secret *out = NULL;

		CHECK_EQ(argon2id(&out, want.len, (const uint8_t *)"correct horse", 13,
				  (const uint8_t *)"sixteenbytesalt!", argon2_command[i].mem_kib,
				  argon2_command[i].passes),
			 0);
		CHECK_MEM(secret_bytes(out), want.p, want.len);
	}
}

static void argon2id_case(const json_t *test, const char *password_key, uint32_t passes,
			  uint32_t mem_kib)
{
	_cleanup_octets_ struct octets pw = octets_get(test, password_key);
	_cleanup_octets_ struct octets salt = octets_get(test, "salt");
	_cleanup_octets_ struct octets want = octets_get(test, "out");
	_cleanup_(secret_freep) struct secret *out = NULL;

	CHECK_EQ(salt.len, 16);
	CHECK_EQ(argon2id(&out, want.len, pw.p, pw.len, salt.p, mem_kib, passes), 0);
	CHECK_MEM(secret_bytes(out), want.p, want.len);
}

TEST(argon2id_agrees_with_libsodiums_own_vectors)
{
	json_t *root = vectors_load("argon2id/libsodium_pwhash.json");
	const json_t *test;
	size_t i;

	CHECK(json_array_size(root) > 0);
	json_array_foreach(root, i, test)
		argon2id_case(test, "passwd", (uint32_t)size_get(test, "opslimit"),
			      (uint32_t)(size_get(test, "memlimit") / 1024));
	json_decref(root);
}

TEST(argon2id_agrees_with_generated_vectors)
{
	json_t *root = vectors_load("generated/argon2id_p1_salt16.json");
	const json_t *test;
	size_t i;

	CHECK(json_array_size(json_object_get(root, "tests")) > 0);
	json_array_foreach(json_object_get(root, "tests"), i, test)
		argon2id_case(test, "pw", (uint32_t)size_get(test, "t"),
			      (uint32_t)size_get(test, "m_KiB"));
	json_decref(root);
}

TEST(argon2id_without_memory_says_so)
{
	_cleanup_(secret_freep) struct secret *out = NULL;
	static const uint8_t salt[16];

	/* 4 TiB less a little: no machine of ours has it. */
	CHECK_EQ(argon2id(&out, 32, (const uint8_t *)"x", 1, salt, UINT32_MAX, 1), -ENOMEM);
	CHECK(!out);
}

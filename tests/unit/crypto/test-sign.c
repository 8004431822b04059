/* Ed25519 against published answers, its context, and what it refuses. */
#include "crypto/sign.h"

#include "crypto/kdf.h"
#include "unit/crypto/vectors.h"
#include "vectors/rfc_crypto.h"

static void plain_case(const char *seed_hex, const char *public_hex, const char *message_hex,
		       const char *signature_hex)
{
	_cleanup_octets_ struct octets seed = octets_of_hex(seed_hex);
	_cleanup_octets_ struct octets public = octets_of_hex(public_hex);
	_cleanup_octets_ struct octets message = octets_of_hex(message_hex);
	_cleanup_octets_ struct octets signature = octets_of_hex(signature_hex);
	_cleanup_(sign_key_freep) struct sign_key *key = NULL;
	static const uint8_t zero[SIGN_SEED_LEN];
	uint8_t sig[SIGN_LEN];
	struct sign_public pub;

	CHECK_EQ(sign_key_from_seed(&key, seed.p), 0);
	CHECK_MEM(seed.p, zero, sizeof(zero));
	sign_key_public(key, &pub);
	CHECK_MEM(pub.b, public.p, sizeof(pub.b));
	sign_make_plain(sig, key, message.p, message.len);
	CHECK_MEM(sig, signature.p, sizeof(sig));
	CHECK(sign_verify_plain(sig, &pub, message.p, message.len));
}

TEST(ed25519_gives_rfc_8032s_answers)
{
	for (size_t i = 0; i < ARRAY_SIZE(rfc8032); i++)
		plain_case(rfc8032[i].seed, rfc8032[i].public, rfc8032[i].message,
			   rfc8032[i].signature);
}

TEST(ed25519_gives_all_of_rfc_8032s_answers)
{
	json_t *root = vectors_load("ed25519/rfc8032_ed25519.json");
	const json_t *test;
	size_t i;

	CHECK(json_array_size(root) > 0);
	json_array_foreach(root, i, test)
		plain_case(text_get(test, "secretKey"), text_get(test, "publicKey"),
			   text_get(test, "message"), text_get(test, "signature"));
	json_decref(root);
}

static void verify_case(const json_t *group, const json_t *test)
{
	_cleanup_octets_ struct octets pk = octets_get(json_object_get(group, "publicKey"), "pk");
	_cleanup_octets_ struct octets msg = octets_get(test, "msg");
	_cleanup_octets_ struct octets sig = octets_get(test, "sig");
	bool valid = !strcmp(text_get(test, "result"), "valid");
	struct sign_public pub;

	CHECK_EQ(pk.len, sizeof(pub.b));
	memcpy(pub.b, pk.p, sizeof(pub.b));
	/* Our type has no room for another signature length. */
	if (sig.len != SIGN_LEN) {
		CHECK(!valid);
		return;
	}
	CHECK_EQ(sign_verify_plain(sig.p, &pub, msg.p, msg.len), valid);
}

TEST(ed25519_verification_agrees_with_wycheproof)
{
	wycheproof_run("ed25519/wycheproof_ed25519_test.json", verify_case);
}

TEST(ed25519_refuses_small_order_keys)
{
	/* With the identity for key and R, and S = 0, any message would verify. */
	static const struct sign_public identity = { { 1 } };
	static const uint8_t sig[SIGN_LEN] = { 1 };

	CHECK(!sign_verify_plain(sig, &identity, "anything", 8));
}

TEST(a_signature_holds_for_its_context_alone)
{
	_cleanup_(sign_key_freep) struct sign_key *key = NULL;
	uint8_t sig[SIGN_LEN];
	struct sign_public pub;

	CHECK_EQ(sign_key_generate(&key), 0);
	sign_key_public(key, &pub);
	sign_make(sig, key, "handfast one", "message", 7);
	CHECK(sign_verify(sig, &pub, "handfast one", "message", 7));
	CHECK(!sign_verify(sig, &pub, "handfast two", "message", 7));
	CHECK(!sign_verify(sig, &pub, "handfast one", "messagE", 7));
	CHECK(!sign_verify(sig, &pub, "handfast one", "message", 6));
	/* The length in front keeps the border between context and message. */
	CHECK(!sign_verify(sig, &pub, "handfast on", "emessage", 8));
	CHECK(!sign_verify(sig, &pub, "handfast onem", "essage", 6));
	CHECK(sign_verify_plain(sig, &pub, "\0\x0chandfast onemessage", 2 + 12 + 7));
}

TEST(a_message_beyond_the_limit_does_not_verify)
{
	static const uint8_t message[SIGN_MESSAGE_MAX];
	_cleanup_(sign_key_freep) struct sign_key *key = NULL;
	const size_t longest = SIGN_MESSAGE_MAX - 2 - 1;
	uint8_t sig[SIGN_LEN];
	struct sign_public pub;

	CHECK_EQ(sign_key_generate(&key), 0);
	sign_key_public(key, &pub);
	sign_make(sig, key, "c", message, longest);
	CHECK(sign_verify(sig, &pub, "c", message, longest));
	CHECK(!sign_verify(sig, &pub, "c", message, longest + 1));
	CHECK(!sign_verify(sig, &pub, "c", message, SIZE_MAX));
}

TEST(a_stored_seed_gives_the_same_key)
{
	_cleanup_(sign_key_freep) struct sign_key *key = NULL, *again = NULL;
	_cleanup_(secret_freep) struct secret *seed = NULL;
	struct sign_public a, b;
	uint8_t copy[SIGN_SEED_LEN];

	CHECK_EQ(sign_key_generate(&key), 0);
	CHECK_EQ(sign_key_seed(key, &seed), 0);
	memcpy(copy, secret_bytes(seed), sizeof(copy));
	CHECK_EQ(sign_key_from_seed(&again, copy), 0);
	sign_key_public(key, &a);
	sign_key_public(again, &b);
	CHECK_MEM(a.b, b.b, sizeof(a.b));
}

TEST(an_identity_id_is_the_hash_of_its_key)
{
	uint8_t id[IDENTITY_ID_LEN], hash[SHA256_LEN];
	struct sign_public pub;

	random_bytes(pub.b, sizeof(pub.b));
	identity_id(id, &pub);
	sha256(hash, pub.b, sizeof(pub.b));
	CHECK_MEM(id, hash, sizeof(id));
}

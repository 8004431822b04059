/*
 * One published answer for each primitive, so that a broken library or
 * processor shows before it costs a pairing. The unit tests run many more; these are
 * for the machine at hand. Every check also proves that it would notice: where
 * there is something to verify, an altered input must be refused.
 */
#include "crypto/selfcheck.h"

#include <errno.h>
#include <string.h>

#include "base/base64.h"
#include "base/bytes.h"
#include "crypto/aead.h"
#include "crypto/bulk.h"
#include "crypto/kdf.h"
#include "crypto/opaque.h"
#include "crypto/secret.h"
#include "crypto/sign.h"
#include "crypto/spake2.h"
#include "crypto/x25519.h"

static bool equals_hex(const uint8_t *got, size_t len, const char *hex)
{
	uint8_t want[128];

	return len <= sizeof(want) && hex_parse(want, len, hex) == 0 && memcmp(got, want, len) == 0;
}

static bool secret_equals_hex(const struct secret *s, const char *hex)
{
	return equals_hex(secret_bytes(s), secret_len(s), hex);
}

static bool check_sha256(void)
{
	uint8_t h[SHA256_LEN];

	sha256(h, "abc", 3);
	return equals_hex(h, sizeof(h),
			  "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static bool check_sha512(void)
{
	uint8_t h[SHA512_LEN];

	sha512(h, "abc", 3);
	return equals_hex(h, sizeof(h),
			  "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
			  "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f");
}

static bool check_hmac(void)
{
	static const char message[] = "what do ya want for nothing?";
	uint8_t mac[HMAC_SHA256_LEN];

	hmac_sha256(mac, "Jefe", 4, message, strlen(message));
	return equals_hex(mac, sizeof(mac),
			  "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

/* RFC 5869 A.1's input, for both hashes. */
static const uint8_t hkdf_ikm[22] = {
	0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b,
	0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b,
};
static const uint8_t hkdf_salt[13] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 };
static const uint8_t hkdf_info[10] = { 0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9 };

static bool check_hkdf_sha256(void)
{
	uint8_t okm[42];

	hkdf_sha256(okm, sizeof(okm), hkdf_salt, sizeof(hkdf_salt), hkdf_ikm, sizeof(hkdf_ikm),
		    hkdf_info, sizeof(hkdf_info));
	return equals_hex(okm, sizeof(okm),
			  "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
			  "34007208d5b887185865");
}

static bool check_hkdf_sha512(void)
{
	uint8_t okm[42];

	hkdf_sha512(okm, sizeof(okm), hkdf_salt, sizeof(hkdf_salt), hkdf_ikm, sizeof(hkdf_ikm),
		    hkdf_info, sizeof(hkdf_info));
	return equals_hex(okm, sizeof(okm),
			  "832390086cda71fb47625bb5ceb168e4c8e26a1a16ed34d9fc7fe92c14815793"
			  "38da362cb8d9f925d7cb");
}

static bool check_aead(void)
{
	static const char text[] = "Ladies and Gentlemen of the class of '99: If I could offer you "
				   "only one tip for the future, sunscreen would be it.";
	static const uint8_t nonce[AEAD_NONCE_LEN] = { 7, 0,	0,    0,    0x40, 0x41,
						       0x42, 0x43, 0x44, 0x45, 0x46, 0x47 };
	static const uint8_t aad[12] = { 0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1,
					 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7 };
	enum { LEN = sizeof(text) - 1 };
	uint8_t key[AEAD_KEY_LEN], sealed[LEN + AEAD_TAG_LEN], opened[LEN];

	for (size_t i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t)(0x80 + i);

	aead_seal(sealed, (const uint8_t *)text, LEN, aad, sizeof(aad), nonce, key);
	if (!equals_hex(sealed, 32,
			"d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6") ||
	    !equals_hex(sealed + LEN, AEAD_TAG_LEN, "1ae10b594f09e26a7e902ecbd0600691"))
		return false;
	if (aead_open(opened, sealed, sizeof(sealed), aad, sizeof(aad), nonce, key) != 0 ||
	    memcmp(opened, text, LEN) != 0)
		return false;
	sealed[LEN / 2] ^= 1;
	return aead_open(opened, sealed, sizeof(sealed), aad, sizeof(aad), nonce, key) == -EBADMSG;
}

static bool check_x25519(void)
{
	_cleanup_(secret_freep) struct secret *priv = NULL, *shared = NULL;
	uint8_t scalar[X25519_LEN], u[X25519_LEN];
	static const uint8_t zero[X25519_LEN];

	/* Alice's private and Bob's public key. */
	if (hex_parse(scalar, sizeof(scalar),
		      "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a") ||
	    hex_parse(u, sizeof(u),
		      "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f") ||
	    secret_take(&priv, scalar, sizeof(scalar)) || x25519(&shared, priv, u))
		return false;
	if (!secret_equals_hex(shared,
			       "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"))
		return false;
	shared = secret_free(shared);
	return x25519(&shared, priv, zero) == -EBADMSG;
}

static bool check_ed25519(void)
{
	_cleanup_(sign_key_freep) struct sign_key *key = NULL;
	uint8_t seed[SIGN_SEED_LEN], sig[SIGN_LEN];
	struct sign_public pub;

	if (hex_parse(seed, sizeof(seed),
		      "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb") ||
	    sign_key_from_seed(&key, seed))
		return false;
	sign_key_public(key, &pub);
	sign_make_plain(sig, key, "\x72", 1);
	if (!equals_hex(pub.b, sizeof(pub.b),
			"3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c") ||
	    !equals_hex(sig, sizeof(sig),
			"92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
			"085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"))
		return false;
	return sign_verify_plain(sig, &pub, "\x72", 1) && !sign_verify_plain(sig, &pub, "\x73", 1);
}

static bool check_argon2id(void)
{
	static const char password[] = "correct horse";
	_cleanup_(secret_freep) struct secret *out = NULL;

	if (argon2id(&out, 32, (const uint8_t *)password, strlen(password),
		     (const uint8_t *)"sixteenbytesalt!", 64, 2))
		return false;
	return secret_equals_hex(
		out, "8595863a099e75dbb10221028345ee0c426923653969f15476557be3e9f4e49e");
}

/* python-spake2's test_asymmetric: its generator's first 64 bytes for a side. */
static void compat_entropy(uint8_t out[static 64], const char *first, const char *second)
{
	sha256(out, first, strlen(first));
	sha256(out + SHA256_LEN, second, strlen(second));
}

static bool check_spake2(void)
{
	static const char password[] = "password";
	_cleanup_(spake2_freep) struct spake2 *a = NULL, *b = NULL;
	_cleanup_(secret_freep) struct secret *key_a = NULL, *key_b = NULL;
	uint8_t seed[64], msg_a[SPAKE2_MSG_LEN], msg_b[SPAKE2_MSG_LEN];
	const uint8_t *pw = (const uint8_t *)password;

	compat_entropy(seed, "prng-0-A", "prng-1-A");
	if (spake2_new_seeded(&a, SPAKE2_A, pw, strlen(password), NULL, 0, NULL, 0, seed))
		return false;
	compat_entropy(seed, "prng-0-B", "prng-1-B");
	if (spake2_new_seeded(&b, SPAKE2_B, pw, strlen(password), NULL, 0, NULL, 0, seed))
		return false;
	spake2_message(a, msg_a);
	spake2_message(b, msg_b);
	if (!equals_hex(msg_a, sizeof(msg_a),
			"416fc960df73c9cf8ed7198b0c9534e2e96a5984bfc5edc023fd24dacf371f2af9") ||
	    !equals_hex(msg_b, sizeof(msg_b),
			"42354e97b88406922b1df4bea1d7870f17aed3dba7c720b313edae315b00959309"))
		return false;
	if (spake2_finish(a, &key_a, msg_b, sizeof(msg_b)) ||
	    spake2_finish(b, &key_b, msg_a, sizeof(msg_a)))
		return false;
	return secret_equals_hex(key_a, "a480bca13fa04464bb644f10e340125e"
					"96c9494f7399fef7c2bda67eb0fdf06d") &&
	       secret_equal(key_a, secret_bytes(key_b), secret_len(key_b));
}

/* A user of the password e5 whose name is 9c, and a login with every random choice given. */
static bool read_opaque(uint8_t keys[static OPAQUE_KEYS_LEN], uint8_t record[static OPAQUE_RECORD_LEN],
			struct opaque_client_random *client, struct opaque_server_random *server)
{
	const struct {
		uint8_t *p;
		size_t len;
		const char *hex;
	} inputs[] = {
		{ keys, OPAQUE_KEYS_LEN,
		  "118f7103c21610777308bfe7b034b977e09d073defcdf5151438618ace28ae6d"
		  "cc40454c5fbfec4edcf3f30713926000bbcff4d8eff1230b7259af4e1a9608d4"
		  "b687b83611b0c0e21f8470a9756a7ab51239e8054e7bf80005256868e1e2290d" },
		{ record, OPAQUE_RECORD_LEN,
		  "e21b6696e010b31b7c20af85101638d7df85bed951853c31e26c5e887dfd0145"
		  "fa3917e07ae2a03d93f1fbb9d723badb8e3a1881ffaadcda7ce07dcd20845865"
		  "fd7416811faf7c0811706d400a8c2d1e9bd5edb8a73f6ad959868400272cb917"
		  "2b5b577015ae1ce2242aac30a3b5c7cc2159e6baa333af5d1e83a9e8df9fcacb"
		  "7ec8c82e07bd53225450483e5ecd380ec4689519c2572a750e8c416cbcd911bb"
		  "ffcb1915ede6b92885cb812bae2c8963d0e8fae29e7ae42bc63f60bfe7fbefd4" },
		{ client->blind, sizeof(client->blind),
		  "08193f6b9a45835ccabbe97377102cf6edbf664d7ecbd0bb22b0325fc7308c0f" },
		{ client->client_nonce, sizeof(client->client_nonce),
		  "d7ad79fc980307e7b305b06eb6300b4f0d934bf135d215c0ee6eea798d334ea2" },
		{ client->keyshare_seed, sizeof(client->keyshare_seed),
		  "40300e532b5d32775bddbd0c38d778fefbe2cd700e400b3828280532305500ef" },
		{ server->masking_nonce, sizeof(server->masking_nonce),
		  "c2ed5ec2cc5a5e23490de2ad69682d19d73263ae1c05b82e19b1d7f30e17f0bc" },
		{ server->server_nonce, sizeof(server->server_nonce),
		  "1070722307dcf66c9ebc0473a3bbea293b9e3457976ff597469ffee0235cb85f" },
		{ server->keyshare_seed, sizeof(server->keyshare_seed),
		  "72de5a78f0cc3aa60c6dfdbc3601f734126c6f680c457b4e310fc2c4d4f6eb9e" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(inputs); i++)
		if (hex_parse(inputs[i].p, inputs[i].len, inputs[i].hex))
			return false;
	return true;
}

static bool check_opaque(void)
{
	static const struct opaque_ksf identity = { .kind = OPAQUE_KSF_IDENTITY };
	static const struct opaque_ids ids = { 0 };
	_cleanup_(secret_freep) struct secret *state = NULL, *ours = NULL, *theirs = NULL;
	_cleanup_(opaque_client_freep) struct opaque_client *client = NULL;
	_cleanup_(opaque_keys_freep) struct opaque_keys *keys = NULL;
	uint8_t key_bytes[OPAQUE_KEYS_LEN], record[OPAQUE_RECORD_LEN];
	uint8_t ke1[OPAQUE_KE1_LEN], ke2[OPAQUE_KE2_LEN], ke3[OPAQUE_KE3_LEN];
	struct opaque_client_random client_random = { 0 };
	struct opaque_server_random server_random;

	if (!read_opaque(key_bytes, record, &client_random, &server_random) ||
	    opaque_keys_import(&keys, key_bytes) ||
	    opaque_login_start(&client, ke1, (const uint8_t *)"\xe5", 1, &client_random) ||
	    opaque_server_ke2(keys, ke2, &state, record, "\x9c", 1, ke1, &ids, &server_random) ||
	    opaque_login_finish(client, ke3, &ours, NULL, ke2, &ids, &identity) ||
	    opaque_server_finish(&theirs, secret_bytes(state), ke3))
		return false;
	if (!equals_hex(ke3, sizeof(ke3),
			"85fe1f7ffd37df4937efa0b1a16a2ccfea565db16c629e9da8a7a790308cf226"
			"b71224ef05b986a74eff5637aa1e3b89336d7b47d5a4285ec598924c6bb5133f") ||
	    !secret_equals_hex(ours, "06e102326a07f62e9e4f1e1a3ce03a8c0c3552b8423c7c7cf566bb2d681100eb"
				     "5871d6fb17ad07b0321aa1c7fd1da2f10ffed40b4adbcd8afff12b0c1f70242b") ||
	    !secret_equal(ours, secret_bytes(theirs), secret_len(theirs)))
		return false;

	ours = secret_free(ours);
	theirs = secret_free(theirs);
	ke3[0] ^= 1;
	ke2[OPAQUE_KE2_LEN - 1] ^= 1;
	return opaque_server_finish(&theirs, secret_bytes(state), ke3) == OPAQUE_E_WRONG &&
	       opaque_login_finish(client, ke3, &ours, NULL, ke2, &ids, &identity) == OPAQUE_E_WRONG;
}

/*
 * A generator that is stuck, repeats, or leans. The bounds are 6 sigma and
 * more, so that a good one fails less than once in 10^8 runs.
 */
static bool check_random(void)
{
	enum { LEN = 64 * 1024, BLOCK = 16, BITS = LEN * 8, SIX_SIGMA = 2173 };
	_cleanup_(secret_freep) struct secret *s = NULL;
	bool seen[256] = { false };
	unsigned int ones = 0, below = 0;
	const uint8_t *p;

	if (secret_random(&s, LEN))
		return false;
	p = secret_bytes(s);
	for (size_t i = 0; i < LEN; i++) {
		seen[p[i]] = true;
		ones += (unsigned int)__builtin_popcount(p[i]);
		if (i >= BLOCK && i % BLOCK == 0 && memcmp(p + i, p + i - BLOCK, BLOCK) == 0)
			return false;
	}
	if (memcmp(p, p + LEN / 2, LEN / 2) == 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(seen); i++)
		if (!seen[i])
			return false;
	if (ones < BITS / 2 - SIX_SIGMA || ones > BITS / 2 + SIX_SIGMA)
		return false;

	/* Each of 10 values in 1000 draws: one stays away once in 10^45. */
	for (int i = 0; i < 1000; i++) {
		uint32_t v = random_below(10);

		if (v >= 10)
			return false;
		below |= 1U << v;
	}
	return below == (1U << 10) - 1;
}

static bool check_base64(void)
{
	/* RFC 4648 section 3: what a strict decoder must not take. */
	static const char *const refused[] = {
		"Zg",	    "Zg=",     "Zg===",	 "Zh==",   "Zm9=",   "Zm9v\n", " Zm9v",
		"Zm9v====", "Zm=v",    "=Zm9",	 "Zm9-",   "Zm9_",   "Z",      "====",
		"Zm 9v",    "Zm9vZg=", "Zm9\xc3", "Zg==Zg==",
	};
	uint8_t out[16];
	char text[BASE64_SPACE(6)];
	size_t len;

	/* RFC 4648 section 10. */
	base64_encode(text, "fooba", 5, BASE64_STANDARD);
	if (strcmp(text, "Zm9vYmE=") != 0 ||
	    base64_decode(out, sizeof(out), &len, text, strlen(text), BASE64_STANDARD) != 0 ||
	    len != 5 || memcmp(out, "fooba", 5) != 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		if (base64_decode(out, sizeof(out), &len, refused[i], strlen(refused[i]),
				  BASE64_STANDARD) != -EBADMSG)
			return false;
	return true;
}

static const struct check {
	const char *name, *source;
	bool (*run)(void);
} checks[] = {
	{ "sha256", "FIPS 180-4 examples, \"abc\"", check_sha256 },
	{ "sha512", "FIPS 180-4 examples, \"abc\"", check_sha512 },
	{ "hmac-sha256", "RFC 4231 section 4.3", check_hmac },
	{ "hkdf-sha256", "RFC 5869 appendix A.1", check_hkdf_sha256 },
	{ "hkdf-sha512", "the input of RFC 5869 appendix A.1", check_hkdf_sha512 },
	{ "chacha20-poly1305", "RFC 8439 section 2.8.2", check_aead },
	{ "chacha20-poly1305-bulk", "equal to libsodium's", bulk_selfcheck },
	{ "x25519", "RFC 7748 section 6.1", check_x25519 },
	{ "ed25519", "RFC 8032 section 7.1, test 2", check_ed25519 },
	{ "argon2id", "the argon2 command of the reference implementation", check_argon2id },
	{ "spake2-ed25519", "python-spake2 test_compat", check_spake2 },
	{ "opaque-3dh", "@noble/curves and @noble/hashes", check_opaque },
	{ "random", "not stuck, repeating or leaning", check_random },
	{ "base64", "RFC 4648 sections 3 and 10", check_base64 },
};

int selfcheck_run(void (*fn)(const struct selfcheck_result *r, void *arg), void *arg)
{
	int failed = 0;

	for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
		struct selfcheck_result r = { checks[i].name, checks[i].source, checks[i].run() };

		if (!r.ok)
			failed++;
		fn(&r, arg);
	}
	return failed;
}

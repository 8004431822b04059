/* X25519 against published answers, and what it refuses. */
#include "crypto/x25519.h"

#include <errno.h>

#include "unit/crypto/vectors.h"
#include "vectors/rfc_crypto.h"

/* Returns what x25519() does. */
static int agree(struct secret **shared, const uint8_t *scalar, const uint8_t *u)
{
	_cleanup_(secret_freep) struct secret *priv = NULL;
	uint8_t copy[X25519_LEN];

	memcpy(copy, scalar, sizeof(copy));
	CHECK_EQ(secret_take(&priv, copy, sizeof(copy)), 0);
	return x25519(shared, priv, u);
}

TEST(x25519_gives_rfc_7748s_answers)
{
	for (size_t i = 0; i < ARRAY_SIZE(rfc7748); i++) {
		_cleanup_octets_ struct octets scalar = octets_of_hex(rfc7748[i].scalar);
		_cleanup_octets_ struct octets u = octets_of_hex(rfc7748[i].u);
		_cleanup_octets_ struct octets want = octets_of_hex(rfc7748[i].out);
		_cleanup_(secret_freep) struct secret *shared = NULL;

		CHECK_EQ(agree(&shared, scalar.p, u.p), 0);
		CHECK_MEM(secret_bytes(shared), want.p, X25519_LEN);
	}
}

TEST(x25519_gives_rfc_7748s_answer_after_1000_rounds)
{
	_cleanup_octets_ struct octets first = octets_of_hex(rfc7748_round_1);
	_cleanup_octets_ struct octets last = octets_of_hex(rfc7748_round_1000);
	uint8_t k[X25519_LEN] = { 9 }, u[X25519_LEN] = { 9 };

	for (int i = 1; i <= 1000; i++) {
		_cleanup_(secret_freep) struct secret *shared = NULL;

		CHECK_EQ(agree(&shared, k, u), 0);
		memcpy(u, k, sizeof(u));
		memcpy(k, secret_bytes(shared), sizeof(k));
		if (i == 1)
			CHECK_MEM(k, first.p, sizeof(k));
	}
	CHECK_MEM(k, last.p, sizeof(k));
}

static void x25519_case(const json_t *group, const json_t *test)
{
	_cleanup_octets_ struct octets priv = octets_get(test, "private");
	_cleanup_octets_ struct octets pub = octets_get(test, "public");
	_cleanup_octets_ struct octets want = octets_get(test, "shared");
	_cleanup_(secret_freep) struct secret *shared = NULL;

	(void)group;
	CHECK_EQ(pub.len, X25519_LEN);
	if (flag_is_set(test, "ZeroSharedSecret")) {
		CHECK_EQ(agree(&shared, priv.p, pub.p), -EBADMSG);
		CHECK(!shared);
		return;
	}
	CHECK_EQ(agree(&shared, priv.p, pub.p), 0);
	CHECK_MEM(secret_bytes(shared), want.p, X25519_LEN);
}

TEST(x25519_agrees_with_wycheproof_and_refuses_low_order_points)
{
	wycheproof_run("x25519/wycheproof_x25519_test.json", x25519_case);
}

TEST(two_fresh_x25519_pairs_agree)
{
	_cleanup_(secret_freep) struct secret *a = NULL, *b = NULL, *ab = NULL, *ba = NULL;
	uint8_t pub_a[X25519_LEN], pub_b[X25519_LEN];

	CHECK_EQ(x25519_keypair(&a, pub_a), 0);
	CHECK_EQ(x25519_keypair(&b, pub_b), 0);
	CHECK(memcmp(pub_a, pub_b, X25519_LEN) != 0);
	CHECK_EQ(x25519(&ab, a, pub_b), 0);
	CHECK_EQ(x25519(&ba, b, pub_a), 0);
	CHECK(secret_equal(ab, secret_bytes(ba), X25519_LEN));
}

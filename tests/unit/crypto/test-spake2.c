/* SPAKE2 against python-spake2's answers, RFC 9588's group operation, and what it refuses. */
#include "crypto/spake2.h"

#include <errno.h>
#include <stdio.h>

#include <sodium.h>

#include "crypto/kdf.h"
#include "crypto/spake2_group.h"
#include "unit/crypto/vectors.h"
#include "vectors/rfc_crypto.h"

/* python-spake2's test generator: SHA-256 of "prng-COUNTER-SEED", one after the other. */
static void prng(uint8_t out[static 64], const char *seed)
{
	char block[32];

	for (int i = 0; i < 2; i++) {
		snprintf(block, sizeof(block), "prng-%d-%s", i, seed);
		sha256(out + 32 * i, block, strlen(block));
	}
}

struct pair {
	struct spake2 *a, *b;
	uint8_t msg_a[SPAKE2_MSG_LEN], msg_b[SPAKE2_MSG_LEN];
};

static void pair_done(struct pair *p)
{
	spake2_free(p->a);
	spake2_free(p->b);
}

/* Two sides that use these passwords and the ids "alice" and "bob". */
static void pair_init(struct pair *p, const char *pw_a, const char *pw_b)
{
	CHECK_EQ(spake2_new(&p->a, SPAKE2_A, (const uint8_t *)pw_a, strlen(pw_a), "alice", 5, "bob",
			    3),
		 0);
	CHECK_EQ(spake2_new(&p->b, SPAKE2_B, (const uint8_t *)pw_b, strlen(pw_b), "alice", 5, "bob",
			    3),
		 0);
	spake2_message(p->a, p->msg_a);
	spake2_message(p->b, p->msg_b);
}

static void asymmetric_case(const struct octets *pw, const struct octets *id_a,
			    const struct octets *id_b, const uint8_t *seed_a, const uint8_t *seed_b,
			    const json_t *want, const char *msg_a_key, const char *msg_b_key)
{
	_cleanup_octets_ struct octets msg_a = octets_get(want, msg_a_key);
	_cleanup_octets_ struct octets msg_b = octets_get(want, msg_b_key);
	_cleanup_octets_ struct octets key = octets_get(want, "key");
	_cleanup_(secret_freep) struct secret *key_a = NULL, *key_b = NULL;
	_cleanup_(pair_done) struct pair p = { 0 };

	CHECK_EQ(spake2_new_seeded(&p.a, SPAKE2_A, pw->p, pw->len, id_a->p, id_a->len, id_b->p,
				   id_b->len, seed_a),
		 0);
	CHECK_EQ(spake2_new_seeded(&p.b, SPAKE2_B, pw->p, pw->len, id_a->p, id_a->len, id_b->p,
				   id_b->len, seed_b),
		 0);
	spake2_message(p.a, p.msg_a);
	spake2_message(p.b, p.msg_b);
	CHECK_MEM(p.msg_a, msg_a.p, SPAKE2_MSG_LEN);
	CHECK_MEM(p.msg_b, msg_b.p, SPAKE2_MSG_LEN);
	CHECK_EQ(spake2_finish(p.a, &key_a, p.msg_b, SPAKE2_MSG_LEN), 0);
	CHECK_EQ(spake2_finish(p.b, &key_b, p.msg_a, SPAKE2_MSG_LEN), 0);
	CHECK_MEM(secret_bytes(key_a), key.p, SPAKE2_KEY_LEN);
	CHECK_MEM(secret_bytes(key_b), key.p, SPAKE2_KEY_LEN);
}

TEST(spake2_agrees_with_python_spake2s_test_compat)
{
	json_t *root = vectors_load("spake2/python_spake2_ed25519.json");
	const json_t *want = json_object_get(root, "asymmetric");
	const char *pw_text = text_get(want, "pw");
	const struct octets pw = { (uint8_t *)(uintptr_t)pw_text, strlen(pw_text) }, none = { 0 };
	uint8_t seed_a[64], seed_b[64];

	prng(seed_a, "A");
	prng(seed_b, "B");
	asymmetric_case(&pw, &none, &none, seed_a, seed_b, want, "msgA_with_side_byte",
			"msgB_with_side_byte");
	json_decref(root);
}

TEST(spake2_agrees_with_generated_vectors)
{
	json_t *root = vectors_load("generated/python_spake2_ed25519.json");
	const json_t *test;
	size_t i, n = 0;

	json_array_foreach(json_object_get(root, "tests"), i, test) {
		_cleanup_octets_ struct octets pw = octets_get(test, "pw");
		_cleanup_octets_ struct octets id_a = octets_get(test, "idA");
		_cleanup_octets_ struct octets id_b = octets_get(test, "idB");
		_cleanup_octets_ struct octets seed_a = octets_get(test, "entropyA");
		_cleanup_octets_ struct octets seed_b = octets_get(test, "entropyB");

		if (strcmp(text_get(test, "mode"), "asymmetric") != 0)
			continue;
		CHECK_EQ(seed_a.len, 64);
		CHECK_EQ(seed_b.len, 64);
		asymmetric_case(&pw, &id_a, &id_b, seed_a.p, seed_b.p, test, "msgA", "msgB");
		n++;
	}
	CHECK(n > 0);
	json_decref(root);
}

/* A big-endian number modulo 2^255 - 19, as the little-endian y of a point with even x. */
static void reduce_y(uint8_t y[static 32], const uint8_t *be, size_t len)
{
	uint32_t acc[16] = { 0 }; /* 16-bit limbs */

	for (size_t i = 0; i < len; i++) {
		uint32_t carry = be[i];

		/* acc = 256 acc + byte; what passes bit 255 comes back times 19. */
		for (int j = 0; j < 16; j++) {
			acc[j] = (acc[j] << 8) + carry;
			carry = acc[j] >> 16;
			acc[j] &= 0xffff;
		}
		carry = (carry << 1 | acc[15] >> 15) * 19;
		acc[15] &= 0x7fff;
		for (int j = 0; j < 16; j++) {
			acc[j] += carry;
			carry = acc[j] >> 16;
			acc[j] &= 0xffff;
		}
	}
	for (int j = 0; j < 16; j++) {
		y[2 * j] = (uint8_t)acc[j];
		y[2 * j + 1] = (uint8_t)(acc[j] >> 8);
	}
}

/* python-spake2's arbitrary_element(): a point whose logarithm nobody can know. */
static void arbitrary_element(uint8_t out[static 32], const void *seed, size_t len)
{
	static const char info[] = "SPAKE2 arbitrary element";
	uint8_t wide[48], y[32], p[32];

	hkdf_sha256(wide, sizeof(wide), NULL, 0, seed, len, info, strlen(info));
	reduce_y(y, wide, sizeof(wide));
	/* libsodium adds whatever lies on the curve, and says so when it does not. */
	while (crypto_core_ed25519_add(p, y, y) != 0)
		sodium_increment(y, sizeof(y));
	CHECK_EQ(crypto_core_ed25519_add(p, p, p), 0);
	CHECK_EQ(crypto_core_ed25519_add(out, p, p), 0);
}

TEST(arbitrary_elements_are_python_spake2s)
{
	for (size_t i = 0; i < ARRAY_SIZE(spake2_arbitrary_element); i++) {
		_cleanup_octets_ struct octets seed =
			octets_of_hex(spake2_arbitrary_element[i].seed);
		_cleanup_octets_ struct octets want =
			octets_of_hex(spake2_arbitrary_element[i].element);
		uint8_t got[32];

		arbitrary_element(got, seed.p, seed.len);
		CHECK_MEM(got, want.p, sizeof(got));
	}
}

/* The scalar of a password, as spake2.c derives it. */
static void password_scalar(uint8_t w[static 32], const void *pw, size_t len)
{
	uint8_t wide[64] = { 0 };

	hkdf_sha256(wide + 16, 48, NULL, 0, pw, len, "SPAKE2 pw", 9);
	spake2_group_reduce(w, wide);
}

TEST(password_scalars_are_python_spake2s)
{
	for (size_t i = 0; i < ARRAY_SIZE(spake2_password_scalar); i++) {
		_cleanup_octets_ struct octets pw =
			octets_of_hex(spake2_password_scalar[i].password);
		_cleanup_octets_ struct octets want =
			octets_of_hex(spake2_password_scalar[i].scalar);
		uint8_t w[32];

		password_scalar(w, pw.p, pw.len);
		CHECK_MEM(w, want.p, sizeof(w));
	}
}

/* Each side's message is x B + w M or N, with M and N derived here from their seeds. */
TEST(nobody_chose_m_and_n)
{
	static const struct {
		enum spake2_side side;
		const char *seed;
	} sides[] = { { SPAKE2_A, "M" }, { SPAKE2_B, "N" } };
	uint8_t seed[64], x[32], w[32], blind[32], share[32], msg[SPAKE2_MSG_LEN];

	for (size_t i = 0; i < ARRAY_SIZE(sides); i++) {
		_cleanup_(spake2_freep) struct spake2 *s = NULL;

		random_bytes(seed, sizeof(seed));
		spake2_group_reduce(x, seed);
		password_scalar(w, "pw", 2);
		arbitrary_element(blind, sides[i].seed, 1);
		CHECK_EQ(spake2_group_share(share, x, w, blind), 0);
		CHECK_EQ(spake2_new_seeded(&s, sides[i].side, (const uint8_t *)"pw", 2, NULL, 0,
					   NULL, 0, seed),
			 0);
		spake2_message(s, msg);
		CHECK_MEM(msg + 1, share, sizeof(share));
	}
}

static void reduce_le(uint8_t out[static 32], const struct octets *le)
{
	uint8_t be[64] = { 0 };

	for (size_t i = 0; i < le->len; i++)
		be[63 - i] = le->p[i];
	spake2_group_reduce(out, be);
}

/* RFC 9382 section 6: M and N for edwards25519. */
static const char rfc9382_m[] = "d048032c6ea0b6d697ddc2e86bda85a33adac920f1bf18e1b0c6d166a5cecdaf";
static const char rfc9382_n[] = "d3bfb518f44f3430f29d0c92af503865a1ed3281dc69b35dd868ba85f886c4ab";

TEST(the_group_operation_is_rfc_9588s)
{
	json_t *root = vectors_load("spake2/rfc9588_edwards25519.json");
	_cleanup_octets_ struct octets m = octets_of_hex(rfc9382_m), n = octets_of_hex(rfc9382_n);
	const json_t *test;
	size_t i;

	CHECK(json_array_size(root) > 0);
	json_array_foreach(root, i, test) {
		_cleanup_octets_ struct octets w_le = octets_get(test, "w");
		_cleanup_octets_ struct octets x_le = octets_get(test, "x");
		_cleanup_octets_ struct octets y_le = octets_get(test, "y");
		_cleanup_octets_ struct octets t = octets_get(test, "T");
		_cleanup_octets_ struct octets s = octets_get(test, "S");
		_cleanup_octets_ struct octets k = octets_get(test, "K");
		uint8_t w[32], x[32], y[32], got[32];

		reduce_le(w, &w_le);
		reduce_le(x, &x_le);
		reduce_le(y, &y_le);
		CHECK_EQ(spake2_group_share(got, x, w, m.p), 0);
		CHECK_MEM(got, t.p, 32);
		CHECK_EQ(spake2_group_share(got, y, w, n.p), 0);
		CHECK_MEM(got, s.p, 32);
		CHECK_EQ(spake2_group_agree(got, x, w, s.p, n.p), 0);
		CHECK_MEM(got, k.p, 32);
		CHECK_EQ(spake2_group_agree(got, y, w, t.p, m.p), 0);
		CHECK_MEM(got, k.p, 32);
	}
	json_decref(root);
}

TEST(the_same_password_gives_the_same_fresh_key)
{
	_cleanup_(secret_freep) struct secret *a1 = NULL, *b1 = NULL, *a2 = NULL;
	_cleanup_(pair_done) struct pair p = { 0 }, q = { 0 };

	pair_init(&p, "123456", "123456");
	CHECK_EQ(spake2_finish(p.a, &a1, p.msg_b, SPAKE2_MSG_LEN), 0);
	CHECK_EQ(spake2_finish(p.b, &b1, p.msg_a, SPAKE2_MSG_LEN), 0);
	CHECK(secret_equal(a1, secret_bytes(b1), SPAKE2_KEY_LEN));

	pair_init(&q, "123456", "123456");
	CHECK_EQ(spake2_finish(q.a, &a2, q.msg_b, SPAKE2_MSG_LEN), 0);
	CHECK(!secret_equal(a1, secret_bytes(a2), SPAKE2_KEY_LEN));
}

TEST(another_password_or_identity_gives_another_key)
{
	_cleanup_(secret_freep) struct secret *a = NULL, *b = NULL, *c = NULL;
	_cleanup_(pair_done) struct pair p = { 0 };
	static const char ids[] = "alicebob";
	uint8_t seed[64], msg[SPAKE2_MSG_LEN];

	pair_init(&p, "123456", "123457");
	CHECK_EQ(spake2_finish(p.a, &a, p.msg_b, SPAKE2_MSG_LEN), 0);
	CHECK_EQ(spake2_finish(p.b, &b, p.msg_a, SPAKE2_MSG_LEN), 0);
	CHECK(!secret_equal(a, secret_bytes(b), SPAKE2_KEY_LEN));

	/* The same exchange but for the border between the two ids. */
	random_bytes(seed, sizeof(seed));
	for (size_t split = 0; split <= 8; split += 4) {
		_cleanup_(spake2_freep) struct spake2 *s = NULL;
		_cleanup_(secret_freep) struct secret *key = NULL;

		CHECK_EQ(spake2_new_seeded(&s, SPAKE2_A, (const uint8_t *)"pw", 2, ids, split,
					   &ids[split], 8 - split, seed),
			 0);
		spake2_message(p.b, msg);
		CHECK_EQ(spake2_finish(s, &key, msg, sizeof(msg)), 0);
		if (c)
			CHECK(!secret_equal(c, secret_bytes(key), SPAKE2_KEY_LEN));
		secret_free(c);
		c = steal(&key);
	}
}

/* What side A says to a message. */
static int offer(const uint8_t *msg, size_t len)
{
	_cleanup_(secret_freep) struct secret *key = NULL;
	_cleanup_(pair_done) struct pair p = { 0 };
	int r;

	pair_init(&p, "123456", "123456");
	r = spake2_finish(p.a, &key, msg, len);
	CHECK(r == 0 || !key);
	return r;
}

TEST(wrong_lengths_and_sides_are_refused)
{
	_cleanup_(pair_done) struct pair p = { 0 };
	uint8_t msg[SPAKE2_MSG_LEN + 1];

	pair_init(&p, "123456", "123456");
	memcpy(msg, p.msg_b, SPAKE2_MSG_LEN);
	msg[SPAKE2_MSG_LEN] = 0;
	CHECK_EQ(offer(msg, SPAKE2_MSG_LEN), 0);
	for (size_t len = 0; len <= sizeof(msg); len++)
		if (len != SPAKE2_MSG_LEN)
			CHECK_EQ(offer(msg, len), SPAKE2_E_BAD_MESSAGE);
	CHECK_EQ(offer(NULL, 0), SPAKE2_E_BAD_MESSAGE);
	for (int side = 0; side < 256; side++) {
		msg[0] = (uint8_t)side;
		if (side != 'B')
			CHECK_EQ(offer(msg, SPAKE2_MSG_LEN), SPAKE2_E_BAD_MESSAGE);
	}
}

/* RFC 7748's and Ed25519's small-order points, with both signs where y allows, and what is not canonical. */
static const char *const bad_elements[] = {
	"0100000000000000000000000000000000000000000000000000000000000000", /* identity */
	"0100000000000000000000000000000000000000000000000000000000000080",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", /* order 2 */
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"0000000000000000000000000000000000000000000000000000000000000000", /* order 4 */
	"0000000000000000000000000000000000000000000000000000000000000080",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", /* order 8 */
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", /* y = p */
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", /* y = p + 1 */
	"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"0200000000000000000000000000000000000000000000000000000000000000", /* not on the curve */
};

TEST(elements_outside_of_the_prime_order_group_are_refused)
{
	_cleanup_octets_ struct octets torsion = octets_of_hex(bad_elements[6]);
	_cleanup_(pair_done) struct pair p = { 0 };
	uint8_t msg[SPAKE2_MSG_LEN] = { 'B' };

	for (size_t i = 0; i < ARRAY_SIZE(bad_elements); i++) {
		_cleanup_octets_ struct octets element = octets_of_hex(bad_elements[i]);

		memcpy(msg + 1, element.p, 32);
		if (offer(msg, sizeof(msg)) != SPAKE2_E_BAD_MESSAGE)
			test_fail(__FILE__, __LINE__, "%s was taken", bad_elements[i]);
	}
	/* A good element with a point of order 8 added lies on the curve, but not in the group. */
	pair_init(&p, "123456", "123456");
	CHECK_EQ(crypto_core_ed25519_add(msg + 1, p.msg_b + 1, torsion.p), 0);
	CHECK_EQ(offer(msg, sizeof(msg)), SPAKE2_E_BAD_MESSAGE);
}

TEST(our_own_element_is_no_answer)
{
	_cleanup_(secret_freep) struct secret *key = NULL;
	_cleanup_(pair_done) struct pair p = { 0 };

	pair_init(&p, "123456", "123456");
	p.msg_a[0] = 'B';
	CHECK_EQ(spake2_finish(p.a, &key, p.msg_a, SPAKE2_MSG_LEN), SPAKE2_E_BAD_MESSAGE);
}

/* I3: one guess. */
TEST(i3_a_second_message_is_refused_whatever_became_of_the_first)
{
	_cleanup_(secret_freep) struct secret *key = NULL, *again = NULL;
	_cleanup_(pair_done) struct pair p = { 0 }, q = { 0 };

	pair_init(&p, "123456", "123456");
	CHECK_EQ(spake2_finish(p.a, &key, p.msg_b, SPAKE2_MSG_LEN), 0);
	CHECK_EQ(spake2_finish(p.a, &again, p.msg_b, SPAKE2_MSG_LEN), SPAKE2_E_BAD_MESSAGE);
	pair_init(&q, "123456", "123456");
	CHECK_EQ(spake2_finish(q.a, &again, q.msg_b, 3), SPAKE2_E_BAD_MESSAGE);
	CHECK_EQ(spake2_finish(q.a, &again, q.msg_b, SPAKE2_MSG_LEN), SPAKE2_E_BAD_MESSAGE);
	CHECK(!again);
}

/* A peer that blinds nothing (y = 0) sends w N: python-spake2 then hashes the identity, and so do we. */
TEST(an_empty_share_gives_the_identity_and_no_error)
{
	static const uint8_t identity[32] = { 1 };
	uint8_t seed[64], x[32], w[32], n[32], share[32], k[32];

	random_bytes(seed, sizeof(seed));
	spake2_group_reduce(x, seed);
	password_scalar(w, "pw", 2);
	arbitrary_element(n, "N", 1);
	CHECK_EQ(crypto_scalarmult_ed25519_noclamp(share, w, n), 0);
	CHECK_EQ(spake2_group_agree(k, x, w, share, n), 0);
	CHECK_MEM(k, identity, sizeof(k));
}

TEST(zero_scalars_are_refused)
{
	_cleanup_(spake2_freep) struct spake2 *s = NULL;
	static const uint8_t zero[64];

	CHECK_EQ(spake2_new_seeded(&s, SPAKE2_A, (const uint8_t *)"pw", 2, NULL, 0, NULL, 0, zero),
		 -EINVAL);
	CHECK(!s);
}

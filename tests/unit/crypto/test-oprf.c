/* Hashing to the group and the OPRF against RFC 9380 and RFC 9497, and what they refuse. */
#include "crypto/oprf.h"

#include <stdlib.h>

#include "crypto/group.h"
#include "crypto/secret.h"
#include "unit/crypto/vectors.h"
#include "vectors/opaque.h"

/* ---- hashing to the group ---- */

TEST(expand_message_agrees_with_the_10_vectors_of_rfc9380_k3)
{
	json_t *root = vectors_load("h2c/expand_message_xmd_SHA512_38.json");
	const char *dst = text_get(root, "DST");
	const json_t *test;
	size_t i, n = 0;

	json_array_foreach(json_object_get(root, "tests"), i, test) {
		_cleanup_octets_ struct octets want = octets_get(test, "uniform_bytes");
		const char *msg = text_get(test, "msg");
		uint8_t got[256];

		CHECK_EQ(want.len, strtoul(text_get(test, "len_in_bytes"), NULL, 16));
		CHECK(want.len <= sizeof(got));
		group_expand_message(got, want.len, msg, strlen(msg), dst, strlen(dst));
		CHECK_MEM(got, want.p, want.len);
		n++;
	}
	CHECK_EQ(n, 10);
	json_decref(root);
}

static void hash_case(const struct octets *msg, const struct octets *dst,
		      const struct octets *expanded, const struct octets *element,
		      const struct octets *scalar)
{
	uint8_t wide[2048], got[32];

	CHECK(expanded->len <= sizeof(wide));
	group_expand_message(wide, expanded->len, msg->p, msg->len, dst->p, dst->len);
	CHECK_MEM(wide, expanded->p, expanded->len);
	group_hash_to_element(got, msg->p, msg->len, dst->p, dst->len);
	CHECK_MEM(got, element->p, 32);
	group_hash_to_scalar(got, msg->p, msg->len, dst->p, dst->len);
	CHECK_MEM(got, scalar->p, 32);
}

TEST(hashing_to_the_group_agrees_with_7_generated_vectors)
{
	json_t *root = vectors_load("generated/hash_to_ristretto255.json");
	const json_t *test;
	size_t i, n = 0;

	json_array_foreach(json_object_get(root, "tests"), i, test) {
		_cleanup_octets_ struct octets msg = octets_get(test, "msg");
		_cleanup_octets_ struct octets dst = octets_get(test, "DST");
		_cleanup_octets_ struct octets expanded =
			octets_get(test, "expand_message_xmd_sha512");
		_cleanup_octets_ struct octets element = octets_get(test, "hash_to_ristretto255");
		_cleanup_octets_ struct octets scalar = octets_get(test, "hash_to_scalar_le");

		hash_case(&msg, &dst, &expanded, &element, &scalar);
		n++;
	}
	CHECK_EQ(n, 7);
	json_decref(root);
}

TEST(hashing_to_the_group_agrees_with_our_3_vectors)
{
	for (size_t i = 0; i < ARRAY_SIZE(own_hash_to_group); i++) {
		_cleanup_octets_ struct octets msg = octets_of_hex(own_hash_to_group[i].msg);
		_cleanup_octets_ struct octets dst = octets_of_hex(own_hash_to_group[i].dst);
		_cleanup_octets_ struct octets expanded = octets_of_hex(own_hash_to_group[i].expanded);
		_cleanup_octets_ struct octets element = octets_of_hex(own_hash_to_group[i].element);
		_cleanup_octets_ struct octets scalar = octets_of_hex(own_hash_to_group[i].scalar);

		hash_case(&msg, &dst, &expanded, &element, &scalar);
	}
	CHECK_EQ(ARRAY_SIZE(own_hash_to_group), 3);
}

/* ---- the function ---- */

struct oprf_case {
	struct octets key, input, blind, blinded, evaluated, output;
};

static void oprf_case_done(struct oprf_case *c)
{
	free(c->key.p);
	free(c->input.p);
	free(c->blind.p);
	free(c->blinded.p);
	free(c->evaluated.p);
	free(c->output.p);
}

static void oprf_case_run(const struct oprf_case *c)
{
	uint8_t element[OPRF_ELEMENT_LEN], output[OPRF_OUTPUT_LEN];

	CHECK_EQ(c->output.len, sizeof(output));
	CHECK_EQ(oprf_blind(element, c->input.p, c->input.len, c->blind.p), 0);
	CHECK_MEM(element, c->blinded.p, sizeof(element));
	CHECK_EQ(oprf_blind_evaluate(element, c->blinded.p, c->key.p), 0);
	CHECK_MEM(element, c->evaluated.p, sizeof(element));
	CHECK_EQ(oprf_finalize(output, c->input.p, c->input.len, c->blind.p, c->evaluated.p), 0);
	CHECK_MEM(output, c->output.p, sizeof(output));
}

static void key_case(const struct octets *seed, const struct octets *info, const struct octets *key)
{
	uint8_t got[OPRF_SCALAR_LEN];

	CHECK_EQ(seed->len, OPRF_SEED_LEN);
	CHECK_EQ(oprf_derive_key(got, seed->p, info->p, info->len), 0);
	CHECK_MEM(got, key->p, sizeof(got));
}

TEST(oprf_agrees_with_the_2_vectors_of_rfc9497_a11_mode_0)
{
	json_t *root = vectors_load("oprf/allVectors.json");
	const json_t *suite, *test;
	size_t i, j, n = 0;

	json_array_foreach(root, i, suite) {
		_cleanup_octets_ struct octets seed = octets_get(suite, "seed");
		_cleanup_octets_ struct octets info = octets_get(suite, "keyInfo");
		_cleanup_octets_ struct octets key = octets_get(suite, "skSm");

		if (strcmp(text_get(suite, "identifier"), "ristretto255-SHA512") != 0 ||
		    size_get(suite, "mode") != 0)
			continue;
		key_case(&seed, &info, &key);
		json_array_foreach(json_object_get(suite, "vectors"), j, test) {
			_cleanup_(oprf_case_done) struct oprf_case c = {
				octets_get(suite, "skSm"),	  octets_get(test, "Input"),
				octets_get(test, "Blind"),	  octets_get(test, "BlindedElement"),
				octets_get(test, "EvaluationElement"), octets_get(test, "Output"),
			};

			oprf_case_run(&c);
			n++;
		}
	}
	CHECK_EQ(n, 2);
	json_decref(root);
}

TEST(oprf_agrees_with_10_generated_vectors)
{
	json_t *root = vectors_load("generated/oprf_ristretto255_sha512.json");
	const json_t *test;
	size_t i, n = 0;

	json_array_foreach(json_object_get(root, "tests"), i, test) {
		_cleanup_octets_ struct octets seed = octets_get(test, "seed");
		_cleanup_octets_ struct octets info = octets_get(test, "info");
		_cleanup_(oprf_case_done) struct oprf_case c = {
			octets_get(test, "skS"),     octets_get(test, "input"),
			octets_get(test, "blind"),   octets_get(test, "blinded"),
			octets_get(test, "evaluated"), octets_get(test, "output"),
		};

		key_case(&seed, &info, &c.key);
		oprf_case_run(&c);
		n++;
	}
	CHECK_EQ(n, 10);
	json_decref(root);
}

TEST(oprf_agrees_with_our_3_vectors)
{
	for (size_t i = 0; i < ARRAY_SIZE(own_oprf); i++) {
		_cleanup_octets_ struct octets seed = octets_of_hex(own_oprf[i].seed);
		_cleanup_octets_ struct octets info = octets_of_hex(own_oprf[i].info);
		_cleanup_(oprf_case_done) struct oprf_case c = {
			octets_of_hex(own_oprf[i].key),	      octets_of_hex(own_oprf[i].input),
			octets_of_hex(own_oprf[i].blind),     octets_of_hex(own_oprf[i].blinded),
			octets_of_hex(own_oprf[i].evaluated), octets_of_hex(own_oprf[i].output),
		};

		key_case(&seed, &info, &c.key);
		oprf_case_run(&c);
	}
	CHECK_EQ(ARRAY_SIZE(own_oprf), 3);
}

TEST(oprf_gives_one_value_whatever_the_blind)
{
	uint8_t key[32], blind[32], blinded[32], evaluated[32], first[64], output[64];

	CHECK_EQ(crypto_init(), 0);
	group_random_scalar(key);
	for (int i = 0; i < 20; i++) {
		group_random_scalar(blind);
		CHECK_EQ(oprf_blind(blinded, "input", 5, blind), 0);
		CHECK_EQ(oprf_blind_evaluate(evaluated, blinded, key), 0);
		CHECK_EQ(oprf_finalize(i ? output : first, "input", 5, blind, evaluated), 0);
		if (i)
			CHECK_MEM(output, first, sizeof(first));
	}
	CHECK_EQ(oprf_finalize(output, "inpux", 5, blind, evaluated), 0);
	CHECK(memcmp(output, first, sizeof(first)) != 0);
}

/* ---- what is refused ---- */

/* RFC 9496 section 4: the order of the group, little-endian. */
static const char order[] = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";

TEST(oprf_refuses_scalars_that_are_zero_or_not_below_the_order)
{
	static const char *const bad[] = {
		"0000000000000000000000000000000000000000000000000000000000000000",
		order,
		"eed3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010",
		"0000000000000000000000000000000000000000000000000000000000000080",
		"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	};
	uint8_t scalar[32], good[32] = { 1 }, element[32], out[64];

	CHECK_EQ(group_check_scalar(good), 0);
	CHECK_EQ(group_public_key(element, good), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		CHECK_EQ(hex_parse(scalar, sizeof(scalar), bad[i]), 0);
		CHECK_EQ(group_check_scalar(scalar), GROUP_E_BAD_SCALAR);
		CHECK_EQ(group_public_key(out, scalar), GROUP_E_BAD_SCALAR);
		CHECK_EQ(group_multiply(out, scalar, element), GROUP_E_BAD_SCALAR);
		CHECK_EQ(group_invert(out, scalar), GROUP_E_BAD_SCALAR);
		CHECK_EQ(oprf_blind(out, "x", 1, scalar), OPRF_E_BAD_SCALAR);
		CHECK_EQ(oprf_blind_evaluate(out, element, scalar), OPRF_E_BAD_SCALAR);
		CHECK_EQ(oprf_finalize(out, "x", 1, scalar, element), OPRF_E_BAD_SCALAR);
	}
	/* The largest scalar there is. */
	CHECK_EQ(hex_parse(scalar, sizeof(scalar), order), 0);
	scalar[0]--;
	CHECK_EQ(group_check_scalar(scalar), 0);
}

static void refuse_element(const uint8_t element[static OPRF_ELEMENT_LEN])
{
	static const uint8_t one[32] = { 1 };
	uint8_t out[64];

	CHECK_EQ(group_check_element(element), GROUP_E_BAD_ELEMENT);
	CHECK_EQ(group_multiply(out, one, element), GROUP_E_BAD_ELEMENT);
	CHECK_EQ(oprf_blind_evaluate(out, element, one), OPRF_E_BAD_ELEMENT);
	CHECK_EQ(oprf_finalize(out, "x", 1, one, element), OPRF_E_BAD_ELEMENT);
}

TEST(oprf_refuses_the_29_encodings_that_rfc9496_a2_calls_invalid)
{
	json_t *root = vectors_load("ristretto255/rfc9496.json");
	const json_t *list = json_object_get(root, "invalid_encodings"), *hex;
	size_t i;

	json_array_foreach(list, i, hex) {
		_cleanup_octets_ struct octets element = octets_of_hex(json_string_value(hex));

		CHECK_EQ(element.len, OPRF_ELEMENT_LEN);
		refuse_element(element.p);
	}
	CHECK_EQ(json_array_size(list), 29);
	json_decref(root);
}

TEST(oprf_refuses_the_identity_and_what_is_no_canonical_element)
{
	/* The identity; the field's order (0 again) and one more than it; a negative 1; with the high bit. */
	static const char *const bad[] = {
		"0000000000000000000000000000000000000000000000000000000000000000",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	};
	static const uint8_t one[32] = { 1 };
	uint8_t element[32];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		CHECK_EQ(hex_parse(element, sizeof(element), bad[i]), 0);
		refuse_element(element);
	}
	/* A good one with its unused bit set is another encoding of it. */
	CHECK_EQ(group_public_key(element, one), 0);
	CHECK_EQ(group_check_element(element), 0);
	element[31] |= 0x80;
	refuse_element(element);
}

TEST(oprf_refuses_inputs_and_infos_that_are_too_long)
{
	static const uint8_t one[32] = { 1 }, input[OPRF_INPUT_MAX + 1], info[OPRF_INFO_MAX + 1];
	uint8_t out[64], element[32];

	CHECK_EQ(oprf_blind(element, input, OPRF_INPUT_MAX, one), 0);
	CHECK_EQ(oprf_blind(out, input, OPRF_INPUT_MAX + 1, one), OPRF_E_BAD_INPUT);
	CHECK_EQ(oprf_finalize(out, input, OPRF_INPUT_MAX, one, element), 0);
	CHECK_EQ(oprf_finalize(out, input, OPRF_INPUT_MAX + 1, one, element), OPRF_E_BAD_INPUT);
	CHECK_EQ(oprf_derive_key(out, one, info, OPRF_INFO_MAX), 0);
	CHECK_EQ(oprf_derive_key(out, one, info, OPRF_INFO_MAX + 1), OPRF_E_BAD_INPUT);
	/* Nothing at all is an input like any other. */
	CHECK_EQ(oprf_blind(element, NULL, 0, one), 0);
	CHECK_EQ(oprf_finalize(out, NULL, 0, one, element), 0);
	CHECK_EQ(oprf_derive_key(out, one, NULL, 0), 0);
}

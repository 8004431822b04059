/* ChaCha20-Poly1305, message by message and in the packet path. */
#include "crypto/aead.h"

#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "crypto/bulk.h"
#include "crypto/secret.h"
#include "unit/crypto/vectors.h"

enum { LEN_MAX = 65535 };

static void aead_case(const json_t *group, const json_t *test)
{
	_cleanup_octets_ struct octets key = octets_get(test, "key");
	_cleanup_octets_ struct octets iv = octets_get(test, "iv");
	_cleanup_octets_ struct octets aad = octets_get(test, "aad");
	_cleanup_octets_ struct octets msg = octets_get(test, "msg");
	_cleanup_octets_ struct octets ct = octets_get(test, "ct");
	_cleanup_octets_ struct octets tag = octets_get(test, "tag");
	bool valid = !strcmp(text_get(test, "result"), "valid");
	_cleanup_free_ uint8_t *sealed = malloc(ct.len + AEAD_TAG_LEN);
	_cleanup_free_ uint8_t *opened = malloc(ct.len + AEAD_TAG_LEN);

	/* Our type has no room for another nonce length. */
	if (size_get(group, "ivSize") != 8 * AEAD_NONCE_LEN) {
		CHECK(!valid);
		return;
	}
	CHECK_EQ(key.len, AEAD_KEY_LEN);
	memcpy(sealed, ct.p, ct.len);
	memcpy(sealed + ct.len, tag.p, AEAD_TAG_LEN);
	CHECK_EQ(aead_open(opened, sealed, ct.len + AEAD_TAG_LEN, aad.p, aad.len, iv.p, key.p),
		 valid ? 0 : -EBADMSG);
	if (!valid)
		return;
	CHECK_MEM(opened, msg.p, msg.len);
	aead_seal(opened, msg.p, msg.len, aad.p, aad.len, iv.p, key.p);
	CHECK_MEM(opened, sealed, ct.len + AEAD_TAG_LEN);
}

TEST(aead_agrees_with_wycheproof)
{
	wycheproof_run("aead/wycheproof_chacha20_poly1305_test.json", aead_case);
}

TEST(aead_refuses_what_is_shorter_than_a_tag)
{
	static const uint8_t key[AEAD_KEY_LEN], nonce[AEAD_NONCE_LEN];
	uint8_t in[AEAD_TAG_LEN] = { 0 }, out[1];

	for (size_t len = 0; len < sizeof(in); len++)
		CHECK_EQ(aead_open(out, in, len, NULL, 0, nonce, key), -EBADMSG);
}

TEST(aead_seals_and_opens_in_place)
{
	uint8_t key[AEAD_KEY_LEN], nonce[AEAD_NONCE_LEN], buf[100 + AEAD_TAG_LEN], want[100];

	random_bytes(key, sizeof(key));
	random_bytes(nonce, sizeof(nonce));
	random_bytes(want, sizeof(want));
	memcpy(buf, want, sizeof(want));
	aead_seal(buf, buf, sizeof(want), "aad", 3, nonce, key);
	CHECK(memcmp(buf, want, sizeof(want)) != 0);
	CHECK_EQ(aead_open(buf, buf, sizeof(buf), "aad", 3, nonce, key), 0);
	CHECK_MEM(buf, want, sizeof(want));
}

/* A claim about libsodium's way and about ipsec-mb's. */
#define BOTH_WAYS(claim)                                                                       \
	static void claim(void);                                                               \
	TEST(bulk_##claim)                                                                     \
	{                                                                                      \
		use(BULK_SODIUM);                                                              \
		claim();                                                                       \
	}                                                                                      \
	TEST(ipsec_mb_##claim)                                                                 \
	{                                                                                      \
		use(BULK_IPSEC_MB);                                                            \
		claim();                                                                       \
	}                                                                                      \
	static void claim(void)

static void use(enum bulk_choice choice)
{
	if (bulk_choose(choice) == BULK_E_UNAVAILABLE)
		test_skip("%s", bulk_info()->note);
	CHECK_STR(bulk_info()->name, bulk_choice_names[choice]);
}

/* A packet with something around it, all of it random. */
struct packet {
	uint8_t key[AEAD_KEY_LEN], nonce[AEAD_NONCE_LEN];
	uint8_t before[64];
	uint8_t header[BULK_HEADER_LEN];
	uint8_t rest[LEN_MAX + AEAD_TAG_LEN + 64];
};

static struct packet got, want;

static void bulk_case(size_t len)
{
	random_bytes(got.key, sizeof(got.key));
	random_bytes(got.nonce, sizeof(got.nonce));
	random_bytes(got.before, sizeof(got.before));
	random_bytes(got.header, sizeof(got.header));
	random_bytes(got.rest, len + AEAD_TAG_LEN + sizeof(got.before));
	want = got;

	aead_seal(want.rest, want.rest, len, want.header, sizeof(want.header), want.nonce, want.key);
	bulk_seal(got.header, len, got.nonce, got.key);
	/* All of it: what is around has to be as it was. */
	CHECK_MEM(got.before, want.before, sizeof(got.before));
	CHECK_MEM(got.header, want.header, sizeof(got.header));
	CHECK_MEM(got.rest, want.rest, len + AEAD_TAG_LEN + sizeof(got.before));

	CHECK_EQ(bulk_open(got.header, len, got.nonce, got.key), 0);
	CHECK_EQ(aead_open(want.rest, want.rest, len + AEAD_TAG_LEN, want.header,
			   sizeof(want.header), want.nonce, want.key),
		 0);
	CHECK_MEM(got.before, want.before, sizeof(got.before));
	CHECK_MEM(got.header, want.header, sizeof(got.header));
	CHECK_MEM(got.rest, want.rest, len);
	CHECK_MEM(got.rest + len + AEAD_TAG_LEN, want.rest + len + AEAD_TAG_LEN,
		  sizeof(got.before));
}

BOTH_WAYS(equals_the_aead_at_every_length_to_2048)
{
	for (size_t len = 0; len <= 2048; len++)
		bulk_case(len);
}

BOTH_WAYS(equals_the_aead_at_random_lengths)
{
	for (int i = 0; i < 200; i++)
		bulk_case(random_below(LEN_MAX + 1));
	bulk_case(LEN_MAX);
}

BOTH_WAYS(refuses_every_flipped_bit_and_then_changes_nothing)
{
	enum { LEN = 45, SPAN = BULK_HEADER_LEN + LEN + AEAD_TAG_LEN };

	bulk_case(LEN);
	bulk_seal(got.header, LEN, got.nonce, got.key);
	want = got;
	for (size_t bit = 0; bit < 8 * (size_t)SPAN; bit++) {
		uint8_t *at = bit / 8 < BULK_HEADER_LEN ? &got.header[bit / 8] :
							  &got.rest[bit / 8 - BULK_HEADER_LEN];
		uint8_t *wanted = bit / 8 < BULK_HEADER_LEN ?
					  &want.header[bit / 8] :
					  &want.rest[bit / 8 - BULK_HEADER_LEN];
		uint8_t mask = (uint8_t)(1 << bit % 8);

		*at ^= mask;
		*wanted ^= mask;
		CHECK_EQ(bulk_open(got.header, LEN, got.nonce, got.key), -EBADMSG);
		CHECK_MEM(&got, &want, sizeof(got));
		*at ^= mask;
		*wanted ^= mask;
	}
	CHECK_EQ(bulk_open(got.header, LEN, got.nonce, got.key), 0);
}

BOTH_WAYS(works_on_packets_that_lie_back_to_back)
{
	enum { N = 5, LEN = 99, SEGMENT = BULK_HEADER_LEN + LEN + AEAD_TAG_LEN };
	static uint8_t buf[N * SEGMENT], plain[sizeof(buf)];
	uint8_t key[AEAD_KEY_LEN], nonce[AEAD_NONCE_LEN] = { 0 };

	random_bytes(key, sizeof(key));
	random_bytes(buf, sizeof(buf));
	memcpy(plain, buf, sizeof(buf));
	for (int i = 0; i < N; i++) {
		nonce[0] = (uint8_t)i;
		bulk_seal(buf + i * SEGMENT, LEN, nonce, key);
	}
	/* Backwards, since the order must not matter. */
	for (int i = N - 1; i >= 0; i--) {
		uint8_t *header = buf + i * SEGMENT;

		nonce[0] = (uint8_t)i;
		CHECK_EQ(bulk_open(header, LEN, nonce, key), 0);
		CHECK_MEM(header, plain + i * SEGMENT, BULK_HEADER_LEN + LEN);
	}
}

/* As the packet path has it: a tag that is wrong must leave nothing decrypted behind, of any length. */
BOTH_WAYS(leaves_a_forged_packet_as_it_was_at_every_length)
{
	for (size_t len = 0; len <= 2048; len++) {
		bulk_case(len);
		bulk_seal(got.header, len, got.nonce, got.key);
		got.rest[len + len % AEAD_TAG_LEN] ^= (uint8_t)(1 + random_below(255));
		want = got;
		CHECK_EQ(bulk_open(got.header, len, got.nonce, got.key), -EBADMSG);
		CHECK_MEM(&got, &want, offsetof(struct packet, rest) + len + AEAD_TAG_LEN + 64);
	}
}

static void *seal_apart(void *arg)
{
	enum { LEN = 1420, ROUNDS = 2000 };
	_cleanup_free_ uint8_t *buf = calloc(1, BULK_HEADER_LEN + LEN + BULK_ROOM);
	uint8_t key[AEAD_KEY_LEN] = { 0 }, nonce[AEAD_NONCE_LEN] = { 0 };
	bool *good = arg;

	key[0] = (uint8_t)(uintptr_t)arg;
	for (int i = 0; buf && i < ROUNDS; i++) {
		bulk_seal(buf, LEN, nonce, key);
		if (bulk_open(buf, LEN, nonce, key) != 0 || buf[BULK_HEADER_LEN + LEN / 2] != 0)
			return NULL;
	}
	*good = buf;
	return NULL;
}

BOTH_WAYS(serves_threads_at_once)
{
	enum { N = 4 };
	bool good[N] = { false };
	pthread_t thread[N];

	for (int i = 0; i < N; i++)
		CHECK_EQ(pthread_create(&thread[i], NULL, seal_apart, &good[i]), 0);
	for (int i = 0; i < N; i++) {
		CHECK_EQ(pthread_join(thread[i], NULL), 0);
		CHECK(good[i]);
	}
}

TEST(bulk_chooses_one_of_both_by_itself_and_says_why)
{
	int r = bulk_choose(BULK_AUTO);
	const struct bulk_info *info = bulk_info();

	CHECK(r == 0 || r == BULK_E_WRONG);
	CHECK(!strcmp(info->name, "libsodium") || (r == 0 && !strcmp(info->name, "ipsec-mb")));
	CHECK(info->note[0]);
	bulk_case(1420);
}

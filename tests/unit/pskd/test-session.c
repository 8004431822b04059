/* The keys of a session, against numbers that another program computed from handfast-tunnel(7). */
#include "pskd/handshake/session.h"

#include <string.h>

#include "base/bytes.h"
#include "crypto/kdf.h"
#include "unit/lib/test.h"

/*
 * With Python's hmac and hashlib alone:
 *
 *	b = lambda first, n: bytes(range(first, first + n))
 *	prk = hmac.digest(b(0x20, 32) + b(0x40, 32), b(0, 32), "sha256")
 *	info = b"handfast psk2 session" + bytes([direction]) + b(0x60, 16) + b(0x70, 16)
 *	hmac.digest(prk, info + b"\1", "sha256").hex()
 */
static const char *const expected[] = {
	[PSK2_FROM_INITIATOR] = "ea767ac6e601927def61a95c6e4012b477de2db25579589dd8eb5c6300d4f7a1",
	[PSK2_FROM_RESPONDER] = "00369cb5eb1d88d737c9cf75364de5ee21565501de1d0aa8734c264d3b2b8668",
};

static void count_up(uint8_t *out, size_t len, uint8_t first)
{
	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)(first + i);
}

static struct session_id sample_id(void)
{
	struct session_id id = { .number = 7 };

	count_up(id.nonce_a, sizeof(id.nonce_a), 0x20);
	count_up(id.nonce_b, sizeof(id.nonce_b), 0x40);
	count_up(id.identity_a, sizeof(id.identity_a), 0x60);
	count_up(id.identity_b, sizeof(id.identity_b), 0x70);
	return id;
}

static struct slot_key sample_slot(void)
{
	struct slot_key slot;

	count_up(slot.tag, sizeof(slot.tag), 0x80);
	count_up(slot.nonce, sizeof(slot.nonce), 0x90);
	count_up(slot.key, sizeof(slot.key), 0);
	return slot;
}

/* What role sends slot 3 with; id NULL: to a prototype. */
static struct slot_key key_of(const struct session_id *id, enum keys_role role)
{
	_cleanup_(session_freep) struct session *s = NULL;
	struct slot_key slot = sample_slot();

	CHECK_EQ(crypto_init(), 0);
	CHECK_EQ(session_new(&s, id, role, 4), 0);
	return *session_tx(s, 3, &slot);
}

TEST(session_keys_are_as_described)
{
	static const enum keys_role roles[] = {
		[PSK2_FROM_INITIATOR] = KEYS_INITIATOR,
		[PSK2_FROM_RESPONDER] = KEYS_RESPONDER,
	};
	struct slot_key slot = sample_slot();
	struct session_id id = sample_id();

	for (size_t d = 0; d < 2; d++) {
		struct slot_key k = key_of(&id, roles[d]);
		char hex[2 * sizeof(k.key) + 1];

		hex_format(hex, k.key, sizeof(k.key));
		CHECK_STR(hex, expected[d]);
		CHECK_MEM(k.tag, slot.tag, sizeof(k.tag));
		CHECK_MEM(k.nonce, slot.nonce, sizeof(k.nonce));
	}
}

TEST(i1_each_part_of_a_session_changes_its_keys)
{
	static const size_t bytes[] = {
		offsetof(struct session_id, nonce_a),	 offsetof(struct session_id, nonce_a) + PSKH_NONCE_LEN - 1,
		offsetof(struct session_id, nonce_b),	 offsetof(struct session_id, nonce_b) + PSKH_NONCE_LEN - 1,
		offsetof(struct session_id, identity_a), offsetof(struct session_id, identity_a) + PSKH_IDENTITY_LEN - 1,
		offsetof(struct session_id, identity_b), offsetof(struct session_id, identity_b) + PSKH_IDENTITY_LEN - 1,
	};
	enum { N = ARRAY_SIZE(bytes) + 1 };
	struct slot_key keys[2 * N];

	for (size_t i = 0; i < 2 * N; i++) {
		struct session_id id = sample_id();

		if (i % N)
			((uint8_t *)&id)[bytes[i % N - 1]] ^= 0x80;
		keys[i] = key_of(&id, i < N ? KEYS_INITIATOR : KEYS_RESPONDER);
		for (size_t j = 0; j < i; j++)
			CHECK(memcmp(keys[i].key, keys[j].key, sizeof(keys[i].key)) != 0);
	}
}

TEST(a_prototype_gets_the_slot_as_it_is)
{
	struct slot_key slot = sample_slot(), k = key_of(NULL, KEYS_INITIATOR);

	CHECK_MEM(&k, &slot, sizeof(slot));
}

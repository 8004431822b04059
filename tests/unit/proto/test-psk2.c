/* PSK2 headers and handshake messages: one encoding each, and nothing else is taken. */
#include "proto/psk2.h"
#include "proto/psk_handshake.h"

#include <string.h>

#include "crypto/kdf.h"
#include "crypto/secret.h"
#include "unit/lib/test.h"

static const uint8_t key[PSKH_KEY_LEN] = "a hello key of thirty-two bytes";

static struct pskh sample(enum pskh_type type)
{
	struct pskh m = { .type = (uint8_t)type,
			  .role = type == PSKH_WELCOME ? PSKH_RESPONDER : PSKH_INITIATOR,
			  .hint = "hint", .identity = "identity", .software = 0x00010203, .session = 7,
			  .nonce_a = "nonce a", .tx_next = 12345, .rx_next = UINT64_MAX };

	if (type != PSKH_HELLO) {
		memcpy(m.nonce_b, "nonce b", 7);
		memset(m.sig, 0x5a, PSKH_SIG_MAX);
		m.sig_len = PSKH_SIG_MAX;
	}
	if (type == PSKH_BIND) {
		memcpy(m.peer_identity, "peer", 4);
		m.peer_tx_next = 1;
		m.peer_rx_next = 2;
	}
	return m;
}

TEST(a_probe_is_as_long_as_it_says_and_an_answer_is_short)
{
	static const uint8_t expected[PSK2_PROBE_LEN] = { 0, 1, 0x05, 0x78, 1, 2, 3, 4 };
	struct psk2_probe p = { .type = PSK2_PROBE, .size = 1400, .number = 0x01020304 }, got;
	uint8_t inside[1500] = { 0 };

	psk2_probe_encode(inside, &p);
	CHECK_MEM(inside, expected, sizeof(expected));
	for (size_t len = 0; len <= sizeof(inside); len++)
		CHECK_EQ(psk2_probe_decode(&got, inside, len), len == 1400 ? 0 : PSK2_E_PROBE);
	CHECK_EQ(psk2_probe_decode(&got, inside, 1400), 0);
	CHECK_EQ(got.type, PSK2_PROBE);
	CHECK_EQ(got.size, 1400);
	CHECK_EQ(got.number, 0x01020304);
	p.type = PSK2_PROBE_ANSWER;
	psk2_probe_encode(inside, &p);
	for (size_t len = 0; len <= sizeof(inside); len++)
		CHECK_EQ(psk2_probe_decode(&got, inside, len), len == PSK2_PROBE_LEN ? 0 : PSK2_E_PROBE);
	for (unsigned int type = 0; type < 256; type++) {
		inside[1] = (uint8_t)type;
		CHECK_EQ(psk2_probe_decode(&got, inside, PSK2_PROBE_LEN), type == PSK2_PROBE_ANSWER ? 0 : PSK2_E_PROBE);
	}
}

TEST(no_ip_packet_is_a_probe)
{
	static const uint8_t v4[20] = { 0x45 }, v6[40] = { 0x60 }, probe[PSK2_PROBE_LEN];

	CHECK(!psk2_is_probe(v4, sizeof(v4)));
	CHECK(!psk2_is_probe(v6, sizeof(v6)));
	CHECK(!psk2_is_probe(probe, 0));
	CHECK(psk2_is_probe(probe, 1));
}

TEST(psk2_header_is_as_published)
{
	static const uint8_t expected[PSK2_HEADER_LEN] = {
		'P', 'S', 'K', '2', 2, 1, 1, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
		1, 2, 3, 4, 5, 6, 7, 8,
	};
	struct psk2_header h = { .flags = 1, .direction = 1, .reserved = 9, .sequence = 0x0102030405060708 };
	uint8_t packet[PSK2_OVERHEAD] = { 0 };
	struct psk2_header back;

	for (uint8_t i = 0; i < PSK2_SLOT_TAG_LEN; i++)
		h.slot_tag[i] = i;
	psk2_header_encode(packet, &h);
	CHECK_MEM(packet, expected, sizeof(expected));
	CHECK_EQ(psk2_header_decode(&back, packet, sizeof(packet)), 0);
	/* By the wire form: a struct's padding may hold anything. */
	psk2_header_encode(packet, &back);
	CHECK_MEM(packet, expected, sizeof(expected));
}

TEST(psk2_refuses_what_is_short_or_foreign)
{
	struct psk2_header h = { 0 };
	uint8_t packet[PSK2_OVERHEAD] = { 0 };

	psk2_header_encode(packet, &h);
	CHECK_EQ(psk2_header_decode(&h, packet, PSK2_OVERHEAD - 1), PSK2_E_LENGTH);
	packet[4] = 1;
	CHECK_EQ(psk2_header_decode(&h, packet, sizeof(packet)), PSK2_E_VERSION);
	packet[0] = 'p';
	CHECK_EQ(psk2_header_decode(&h, packet, sizeof(packet)), PSK2_E_MAGIC);
}

TEST(nonce_is_the_slots_prefix_and_the_low_bits_of_the_sequence)
{
	static const uint8_t slot[PSK2_NONCE_LEN] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9 };
	static const uint8_t expected[PSK2_NONCE_LEN] = { 1, 2, 3, 4, 5, 6, 7, 8, 0xa, 0xb, 0xc, 0xd };
	uint8_t nonce[PSK2_NONCE_LEN];

	psk2_nonce(nonce, slot, UINT64_C(0x77777777) << 32 | 0x0a0b0c0d);
	CHECK_MEM(nonce, expected, sizeof(expected));
}

TEST(handshake_messages_survive_a_round_trip)
{
	static const size_t lengths[] = { [PSKH_HELLO] = 256, [PSKH_WELCOME] = 218, [PSKH_BIND] = 250 };

	for (int type = PSKH_HELLO; type <= PSKH_BIND; type++) {
		struct pskh m = sample((enum pskh_type)type), back;
		uint8_t msg[PSKH_MAX], again[PSKH_MAX];
		size_t len = pskh_encode(msg, &m, key);

		CHECK_EQ(len, lengths[type]);
		CHECK(pskh_is_handshake(msg, len));
		CHECK(pskh_is_authentic(msg, len, key));
		CHECK_EQ(pskh_decode(&back, msg, len), 0);
		CHECK_EQ(pskh_encode(again, &back, key), len);
		CHECK_MEM(again, msg, len);
	}
}

TEST(the_hint_is_read_before_anything_else_and_not_beyond_the_end)
{
	for (int type = PSKH_HELLO; type <= PSKH_BIND; type++) {
		struct pskh m = sample((enum pskh_type)type);
		uint8_t msg[PSKH_MAX];
		size_t len = pskh_encode(msg, &m, key);

		CHECK_MEM(pskh_hint(msg, len), m.hint, PSKH_HINT_LEN);
		CHECK_MEM(pskh_hint(msg, 16), m.hint, PSKH_HINT_LEN);
		for (size_t n = 0; n < 16; n++)
			CHECK(!pskh_hint(msg, n));
		msg[0] ^= 1;
		CHECK(!pskh_hint(msg, len));
	}
}

TEST(i6_no_answer_is_longer_than_a_hello)
{
	struct pskh hello = sample(PSKH_HELLO), welcome = sample(PSKH_WELCOME);
	uint8_t msg[PSKH_MAX];

	CHECK(pskh_encode(msg, &welcome, key) <= pskh_encode(msg, &hello, key));
}

TEST(every_flipped_bit_is_noticed)
{
	for (int type = PSKH_HELLO; type <= PSKH_BIND; type++) {
		struct pskh m = sample((enum pskh_type)type), back;
		uint8_t msg[PSKH_MAX];
		size_t len = pskh_encode(msg, &m, key);

		for (size_t bit = 0; bit < 8 * len; bit++) {
			msg[bit / 8] ^= (uint8_t)(1 << bit % 8);
			CHECK(pskh_decode(&back, msg, len) != 0 || !pskh_is_authentic(msg, len, key));
			msg[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
	}
}

TEST(no_other_length_is_taken)
{
	for (int type = PSKH_HELLO; type <= PSKH_BIND; type++) {
		struct pskh m = sample((enum pskh_type)type), back;
		uint8_t msg[PSKH_MAX + 8] = { 0 };
		size_t len = pskh_encode(msg, &m, key);

		for (size_t n = 0; n <= sizeof(msg); n++)
			CHECK_EQ(pskh_decode(&back, msg, n), n == len ? 0 : PSKH_E_MALFORMED);
	}
}

TEST(what_must_be_zero_must_be_zero_even_when_authentic)
{
	static const size_t offsets[] = { 7, 72, 103, 120, 223 };
	struct pskh m = sample(PSKH_HELLO), back;
	uint8_t msg[PSKH_MAX];
	size_t len = pskh_encode(msg, &m, key);

	for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		msg[offsets[i]] = 1;
		hmac_sha256(msg + len - PSKH_MAC_LEN, key, sizeof(key), msg, len - PSKH_MAC_LEN);
		CHECK(pskh_is_authentic(msg, len, key));
		CHECK_EQ(pskh_decode(&back, msg, len), PSKH_E_MALFORMED);
		msg[offsets[i]] = 0;
	}
}

TEST(only_the_responder_welcomes_and_only_the_initiator_binds)
{
	struct pskh welcome = sample(PSKH_WELCOME), bind = sample(PSKH_BIND), back;
	uint8_t msg[PSKH_MAX];
	size_t len;

	welcome.role = PSKH_INITIATOR;
	len = pskh_encode(msg, &welcome, key);
	CHECK_EQ(pskh_decode(&back, msg, len), PSKH_E_MALFORMED);
	bind.role = PSKH_RESPONDER;
	len = pskh_encode(msg, &bind, key);
	CHECK_EQ(pskh_decode(&back, msg, len), PSKH_E_MALFORMED);
}

TEST(signature_covers_role_hello_and_every_field)
{
	struct pskh m = sample(PSKH_WELCOME), other;
	uint8_t hello[PSKH_HELLO_LEN] = "hello", first[PSKH_HASH_LEN], hash[PSKH_HASH_LEN];

	pskh_signed_hash(first, &m, hello, sizeof(hello));
	hello[200] ^= 1;
	pskh_signed_hash(hash, &m, hello, sizeof(hello));
	CHECK(memcmp(first, hash, sizeof(hash)) != 0);
	hello[200] ^= 1;
	other = m;
	other.rx_next ^= 1;
	pskh_signed_hash(hash, &other, hello, sizeof(hello));
	CHECK(memcmp(first, hash, sizeof(hash)) != 0);
	other = m;
	other.session ^= 1;
	pskh_signed_hash(hash, &other, hello, sizeof(hello));
	CHECK(memcmp(first, hash, sizeof(hash)) != 0);
	/* But not the signature itself. */
	other = m;
	other.sig[0] ^= 1;
	pskh_signed_hash(hash, &other, hello, sizeof(hello));
	CHECK_MEM(first, hash, sizeof(hash));
}

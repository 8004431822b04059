/* The ratchet against its description, written out a second time from HMAC alone. */
#include "pskd/keys/ratchet.h"

#include <string.h>

#include "crypto/kdf.h"
#include "unit/lib/test.h"

static const uint8_t root[32] = "thirty-two bytes of root secret";
static const uint8_t id[16] = "sixteen byte id";

/* RFC 5869 by hand. */
static void hkdf(uint8_t *out, size_t len, const uint8_t *salt, size_t salt_len,
		 const uint8_t *ikm, const char *info)
{
	static const uint8_t no_salt[32];
	uint8_t prk[32], t[32], in[32 + 64];
	size_t t_len = 0;

	hmac_sha256(prk, salt ? salt : no_salt, salt ? salt_len : 32, ikm, 32);
	for (uint8_t i = 1; len > 0; i++) {
		size_t n = len < 32 ? len : 32;

		memcpy(in, t, t_len);
		memcpy(in + t_len, info, strlen(info));
		in[t_len + strlen(info)] = i;
		hmac_sha256(t, prk, 32, in, t_len + strlen(info) + 1);
		t_len = 32;
		memcpy(out, t, n);
		out += n;
		len -= n;
	}
}

TEST(chains_and_slots_are_as_described)
{
	uint8_t chain[32], expected[32], material[60];
	struct slot_key slot;

	for (unsigned int d = 0; d < 2; d++) {
		ratchet_start(chain, root, id, d);
		hkdf(expected, 32, id, 16, root, d ? "handfast ratchet 1" : "handfast ratchet 0");
		CHECK_MEM(chain, expected, 32);
		for (int i = 0; i < 5; i++) {
			ratchet_slot(&slot, chain);
			hkdf(material, 60, NULL, 0, expected, "slot");
			CHECK_MEM(&slot, material, 60);
			ratchet_step(chain, 1);
			hkdf(expected, 32, NULL, 0, expected, "next");
			CHECK_MEM(chain, expected, 32);
		}
	}
}

TEST(many_steps_are_one_step_many_times)
{
	uint8_t a[32], b[32];

	ratchet_start(a, root, id, 0);
	memcpy(b, a, 32);
	ratchet_step(a, 1000);
	for (int i = 0; i < 1000; i++)
		ratchet_step(b, 1);
	CHECK_MEM(a, b, 32);
	ratchet_step(a, 0);
	CHECK_MEM(a, b, 32);
}

TEST(directions_and_tunnels_have_nothing_in_common)
{
	static const uint8_t other_id[16] = "sixteen byte ID";
	uint8_t a[32], b[32];

	ratchet_start(a, root, id, 0);
	ratchet_start(b, root, id, 1);
	CHECK(memcmp(a, b, 32) != 0);
	ratchet_start(b, root, other_id, 0);
	CHECK(memcmp(a, b, 32) != 0);
}

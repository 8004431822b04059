/* seal.c: secrets at rest. */
#include "crypto/seal.h"

#include <stdlib.h>
#include <string.h>

#include "unit/lib/test.h"

static struct seal_key *make_key(uint8_t byte, const char *label)
{
	struct secret *master = NULL;
	struct seal_key *k = NULL;
	uint8_t bytes[32];

	memset(bytes, byte, sizeof(bytes));
	CHECK_EQ(crypto_init(), 0);
	CHECK_EQ(secret_take(&master, bytes, sizeof(bytes)), 0);
	CHECK_EQ(seal_key_new(&k, master, label), 0);
	secret_free(master);
	return k;
}

TEST(a_sealed_secret_comes_back_and_shows_nothing)
{
	struct seal_key *k = make_key(1, "test");
	uint8_t blob[32 + SEAL_BLOB_EXTRA], again[32 + SEAL_BLOB_EXTRA];
	static const uint8_t plain[32] = "thirty-two bytes of secrecy";
	struct secret *s = NULL;

	seal_blob(blob, plain, sizeof(plain), "a", 1, k);
	CHECK(seal_is_blob(blob, sizeof(blob)));
	CHECK(memmem(blob, sizeof(blob), plain, 8) == NULL);
	CHECK_EQ(seal_blob_open(&s, blob, sizeof(blob), "a", 1, k), 0);
	CHECK_EQ(secret_len(s), sizeof(plain));
	CHECK_MEM(secret_bytes(s), plain, sizeof(plain));
	secret_free(s);
	/* No nonce twice. */
	seal_blob(again, plain, sizeof(plain), "a", 1, k);
	CHECK(memcmp(blob, again, sizeof(blob)) != 0);
	seal_key_free(k);
}

TEST(another_key_context_or_bit_does_not_open_it)
{
	struct seal_key *k = make_key(1, "test"), *other = make_key(2, "test"), *label = make_key(1, "tset");
	uint8_t blob[32 + SEAL_BLOB_EXTRA];
	struct secret *s = NULL;

	memset(blob, 7, 32);
	seal_blob(blob, (uint8_t[32]){ 7 }, 32, "a", 1, k);
	CHECK_EQ(seal_blob_open(&s, blob, sizeof(blob), "a", 1, NULL), SEAL_E_NO_KEY);
	CHECK_EQ(seal_blob_open(&s, blob, sizeof(blob), "a", 1, other), SEAL_E_OTHER_KEY);
	CHECK_EQ(seal_blob_open(&s, blob, sizeof(blob), "a", 1, label), SEAL_E_OTHER_KEY);
	CHECK_EQ(seal_blob_open(&s, blob, sizeof(blob), "b", 1, k), SEAL_E_BROKEN);
	CHECK_EQ(seal_blob_open(&s, blob, sizeof(blob), "", 0, k), SEAL_E_BROKEN);
	CHECK_EQ(seal_blob_open(&s, blob, sizeof(blob) - 1, "a", 1, k), SEAL_E_BROKEN);
	CHECK_EQ(seal_blob_open(&s, blob, 32, "a", 1, k), SEAL_E_PLAIN);
	for (size_t i = 0; i < 8 * sizeof(blob); i++) {
		blob[i / 8] ^= (uint8_t)(1 << i % 8);
		CHECK(seal_blob_open(&s, blob, sizeof(blob), "a", 1, k) > 0);
		blob[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	CHECK_EQ(seal_blob_open(&s, blob, sizeof(blob), "a", 1, k), 0);
	secret_free(s);
	seal_key_free(k);
	seal_key_free(other);
	seal_key_free(label);
}

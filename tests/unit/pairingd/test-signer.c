/* What signs for this device: with its key, or not at all. */
#include "pairingd/signer.h"

#include <errno.h>
#include <string.h>

#include "crypto/secret.h"
#include "unit/lib/test.h"

TEST(a_signer_signs_with_its_key_under_the_context)
{
	_cleanup_(sign_key_freep) struct sign_key *key = NULL;
	uint8_t sig[SIGN_LEN];
	struct sign_public pub;
	struct signer s;

	CHECK_EQ(crypto_init(), 0);
	CHECK_EQ(sign_key_generate(&key), 0);
	sign_key_public(key, &pub);
	signer_init(&s, key);
	CHECK_MEM(s.public_key.b, pub.b, sizeof(pub.b));
	CHECK_EQ(signer_sign(&s, sig, "one use", "message", 7), 0);
	CHECK(sign_verify(sig, &pub, "one use", "message", 7));
	CHECK(!sign_verify(sig, &pub, "another use", "message", 7));
}

static int half_a_signature(uint8_t sig[static SIGN_LEN], const void *of, const char *context, const void *message, size_t len)
{
	(void)context;
	(void)message;
	(void)len;
	memset(sig, 's', SIGN_LEN / 2);
	return *(const int *)of;
}

/* Another kind, whose key is out of reach. */
TEST(what_could_not_be_signed_leaves_nothing_behind)
{
	static const int outcome = -EIO;
	const struct signer s = { .sign = half_a_signature, .of = &outcome };
	uint8_t sig[SIGN_LEN] = { 0 }, zeros[SIGN_LEN] = { 0 };

	CHECK_EQ(signer_sign(&s, sig, "one use", "message", 7), -EIO);
	CHECK_MEM(sig, zeros, sizeof(sig));
}

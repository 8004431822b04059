/* libsodium's X25519; both halves of a result that must stay secret are struct secret. */
#include "crypto/x25519.h"

#include <assert.h>
#include <errno.h>

#include <sodium.h>

static_assert(X25519_LEN == crypto_scalarmult_curve25519_BYTES, "element length");
static_assert(X25519_LEN == crypto_scalarmult_curve25519_SCALARBYTES, "scalar length");

int x25519_keypair(struct secret **priv, uint8_t pub[static X25519_LEN])
{
	int r;

	r = secret_random(priv, X25519_LEN);
	if (r)
		return r;
	crypto_scalarmult_curve25519_base(pub, secret_bytes(*priv));
	return 0;
}

int x25519(struct secret **shared, const struct secret *priv, const uint8_t pub[static X25519_LEN])
{
	_cleanup_(secret_freep) struct secret *s = NULL;
	uint8_t *bytes;
	int r;

	assert(secret_len(priv) == X25519_LEN);

	r = secret_new(&s, X25519_LEN, &bytes);
	if (r)
		return r;
	/* RFC 7748 section 6.1: libsodium refuses small-order points and so the all-zero result. */
	if (crypto_scalarmult_curve25519(bytes, secret_bytes(priv), pub) != 0)
		return -EBADMSG;
	*shared = steal(&s);
	return 0;
}

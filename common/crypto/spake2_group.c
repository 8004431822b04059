/*
 * On libsodium's edwards25519. The _noclamp multiplications are needed because
 * SPAKE2's scalars are integers modulo L, not Ed25519 keys; they validate the
 * point they are given (canonical, on the curve, of prime order).
 */
#include "crypto/spake2_group.h"

#include <assert.h>
#include <errno.h>

#include <sodium.h>

#include "base/cleanup.h"
#include "crypto/secret.h"

/* What one operation computes on the way; all of it secret. */
struct work {
	uint8_t scalar[SPAKE2_SCALAR_LEN];
	uint8_t a[SPAKE2_ELEMENT_LEN];
	uint8_t b[SPAKE2_ELEMENT_LEN];
	uint8_t wide[crypto_core_ed25519_NONREDUCEDSCALARBYTES];
};

static void work_wipe(struct work *w)
{
	wipe(w, sizeof(*w));
}

int spake2_group_share(uint8_t share[static SPAKE2_ELEMENT_LEN],
		       const uint8_t x[static SPAKE2_SCALAR_LEN],
		       const uint8_t w[static SPAKE2_SCALAR_LEN],
		       const uint8_t blind[static SPAKE2_ELEMENT_LEN])
{
	_cleanup_(work_wipe) struct work t = { 0 };

	if (crypto_scalarmult_ed25519_base_noclamp(t.a, x) != 0 ||
	    crypto_scalarmult_ed25519_noclamp(t.b, w, blind) != 0)
		return -EINVAL;
	return crypto_core_ed25519_add(share, t.a, t.b) ? -ENOTRECOVERABLE : 0;
}

int spake2_group_agree(uint8_t k[static SPAKE2_ELEMENT_LEN],
		       const uint8_t x[static SPAKE2_SCALAR_LEN],
		       const uint8_t w[static SPAKE2_SCALAR_LEN],
		       const uint8_t share[static SPAKE2_ELEMENT_LEN],
		       const uint8_t blind[static SPAKE2_ELEMENT_LEN])
{
	_cleanup_(work_wipe) struct work t = { 0 };

	if (sodium_is_zero(x, SPAKE2_SCALAR_LEN) || sodium_is_zero(w, SPAKE2_SCALAR_LEN))
		return -EINVAL;

	/*
	 * x (share - w blind) as x share + (-x w) blind, so that only public
	 * points are decoded and multiplied. It also makes a share that was
	 * blinded but empty (the peer chose zero) no special case: it gives the
	 * identity, as with python-spake2, instead of an error that would tell
	 * a guesser more than a wrong key does.
	 */
	if (crypto_scalarmult_ed25519_noclamp(t.a, x, share) != 0)
		return SPAKE2_GROUP_E_BAD_ELEMENT;
	crypto_core_ed25519_scalar_mul(t.scalar, x, w);
	crypto_core_ed25519_scalar_negate(t.scalar, t.scalar);
	if (crypto_scalarmult_ed25519_noclamp(t.b, t.scalar, blind) != 0)
		return -EINVAL;
	return crypto_core_ed25519_add(k, t.a, t.b) ? -ENOTRECOVERABLE : 0;
}

void spake2_group_reduce(uint8_t out[static SPAKE2_SCALAR_LEN], const uint8_t be[static 64])
{
	_cleanup_(work_wipe) struct work t = { 0 };

	static_assert(sizeof(t.wide) == 64, "scalars are reduced from 64 bytes");
	for (size_t i = 0; i < sizeof(t.wide); i++)
		t.wide[i] = be[sizeof(t.wide) - 1 - i];
	crypto_core_ed25519_scalar_reduce(out, t.wide);
}

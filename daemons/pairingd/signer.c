/* Keys in memory, and the one place where signatures are counted. */
#include "pairingd/signer.h"

#include <string.h>

#include "pairingd/operations.h"

static int sign_with_key(uint8_t sig[static SIGN_LEN], const void *of, const char *context, const void *message,
			 size_t len)
{
	sign_make(sig, of, context, message, len);
	return 0;
}

void signer_init(struct signer *s, const struct sign_key *key)
{
	*s = (struct signer){ .sign = sign_with_key, .of = key };
	sign_key_public(key, &s->public_key);
}

int signer_sign(const struct signer *s, uint8_t sig[static SIGN_LEN], const char *context, const void *message,
		size_t len)
{
	uint64_t begun = opstat_begin();
	uint8_t made[SIGN_LEN];
	int r = s->sign(made, s->of, context, message, len);

	opstat_end(&pairing_operations[OP_SIGN], begun, len, r == 0);
	if (r == 0)
		memcpy(sig, made, sizeof(made));
	return r;
}

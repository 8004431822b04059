/* What the command hands to pairingd: what is taken encodes to the same bytes again. */
#include <assert.h>
#include <string.h>

#include "proto/secret_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t again[SECRET_MSG_MAX];
	struct secret_msg m;

	if (secret_msg_decode(&m, data, size) != 0)
		return 0;
	assert(secret_msg_encode(again, sizeof(again), &m) == (ssize_t)size);
	assert(memcmp(again, data, size) == 0);
	return 0;
}

/* The identity socket's root message: what is taken encodes to the same bytes again. */
#include <assert.h>
#include <string.h>

#include "proto/identity_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t again[IDENTITY_MSG_MAX];
	struct identity_root r;

	if (identity_root_decode(&r, data, size) != 0)
		return 0;
	assert(identity_root_encode(again, sizeof(again), &r) == (ssize_t)size);
	assert(memcmp(again, data, size) == 0);
	identity_root_wipe(&r);
	return 0;
}

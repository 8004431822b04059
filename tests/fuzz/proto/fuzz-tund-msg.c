/* tund's requests and replies: what is taken encodes to the same bytes again. */
#include <assert.h>
#include <string.h>

#include "proto/tund_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t again[TUND_MSG_MAX];
	struct tund_request q;
	struct tund_reply y;

	if (tund_request_decode(&q, data, size) == 0) {
		assert(tund_request_encode(again, sizeof(again), &q) == (ssize_t)size);
		assert(memcmp(again, data, size) == 0);
	}
	if (tund_reply_decode(&y, data, size) == 0) {
		assert(tund_reply_encode(again, sizeof(again), &y) == (ssize_t)size);
		assert(memcmp(again, data, size) == 0);
	}
	return 0;
}

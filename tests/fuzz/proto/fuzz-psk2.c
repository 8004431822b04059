/* PSK2 headers: what is taken encodes to the same bytes again. */
#include <assert.h>
#include <string.h>

#include "proto/psk2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t again[PSK2_HEADER_LEN], nonce[PSK2_NONCE_LEN];
	struct psk2_header h;

	if (psk2_header_decode(&h, data, size) != 0)
		return 0;
	psk2_header_encode(again, &h);
	assert(memcmp(again, data, sizeof(again)) == 0);
	psk2_nonce(nonce, data + 8, h.sequence);
	return 0;
}

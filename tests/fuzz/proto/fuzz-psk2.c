/* PSK2 headers and probes: what is taken encodes to the same bytes again. */
#include <assert.h>
#include <string.h>

#include "proto/psk2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t again[PSK2_HEADER_LEN], nonce[PSK2_NONCE_LEN];
	struct psk2_header h;
	struct psk2_probe p;

	if (psk2_probe_decode(&p, data, size) == 0) {
		psk2_probe_encode(again, &p);
		assert(memcmp(again, data, PSK2_PROBE_LEN) == 0);
		assert(size == (p.type == PSK2_PROBE ? p.size : PSK2_PROBE_LEN));
	}
	if (psk2_header_decode(&h, data, size) != 0)
		return 0;
	psk2_header_encode(again, &h);
	assert(memcmp(again, data, sizeof(again)) == 0);
	psk2_nonce(nonce, data + 8, h.sequence);
	return 0;
}

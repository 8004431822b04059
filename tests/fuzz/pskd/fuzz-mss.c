/* Any bytes as a packet: nothing beyond them is touched, no length changes, and a second look finds nothing to do. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "pskd/packet/mss.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *packet;

	if (size < 1)
		return 0;
	packet = malloc(size);
	assert(packet);
	memcpy(packet, data, size);
	if (mss_clamp(packet, size, 1280))
		assert(memcmp(packet, data, size) != 0 && !mss_clamp(packet, size, 1280));
	else
		assert(memcmp(packet, data, size) == 0);
	free(packet);
	return 0;
}

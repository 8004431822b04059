/* Any bytes as a packet, under any outer mark: nothing but its own mark and IPv4's checksum changes, and only once. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "pskd/packet/ecn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Put back what may have changed. */
static void undo(uint8_t *packet, const uint8_t *before)
{
	bool v6 = before[0] >> 4 == 6;

	assert(((packet[1] ^ before[1]) & ~(v6 ? ECN_MASK << 4 : ECN_MASK)) == 0);
	packet[1] = before[1];
	if (!v6)
		memcpy(packet + 10, before + 10, 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *packet, *once, class, mark;
	int r;

	if (size < 2)
		return 0;
	class = *data++;
	size--;
	packet = malloc(size);
	once = malloc(size);
	assert(packet && once);
	memcpy(packet, data, size);
	r = ecn_decapsulate(packet, size, class);
	memcpy(once, packet, size);
	mark = ecn_get(packet, size);
	if (r)
		assert((class & ECN_MASK) == ECN_CE && (mark & ECN_MASK) == ECN_NOT_ECT);
	else
		assert(ecn_decapsulate(packet, size, class) == 0);
	assert(memcmp(packet, once, size) == 0);
	assert((mark & ~ECN_MASK) == (ecn_get(data, size) & ~ECN_MASK));
	if (mark != ecn_get(data, size))
		undo(packet, data);
	assert(memcmp(packet, data, size) == 0);
	free(packet);
	free(once);
	return 0;
}

/*
 * What a peer says inside the tunnel, of any content: read no further than it is, and never in the name of this
 * machine or its links, even where the peer may speak for the whole world.
 */
#include "pskd/packet/sources.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_v4(const uint8_t *ip)
{
	assert(ip[12] != 0 && ip[12] != 127 && ip[12] < 224);
	assert(memcmp(ip + 12, (uint8_t[]){ 10, 9, 0, 1 }, 4) != 0);
}

static void check_v6(const uint8_t *ip, size_t len)
{
	assert(ip[8] != 0xff && !(ip[8] == 0xfe && ip[9] >> 6 == 2));
	/* Right behind the header nothing has to be looked for. */
	assert(ip[6] != 58 || len == 40 || ip[40] < 133 || ip[40] > 137);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct networks world = { .n = 2, .v = { { .family = 4 }, { .family = 6 } } };
	struct tunnel_addresses a = { .has_v4 = true, .v4_local = { 10, 9, 0, 1 }, .v4_prefix = 24,
				      .has_v6 = true, .v6_local = { 0xfd, 9, [15] = 1 }, .v6_prefix = 64 };
	_cleanup_free_ uint8_t *ip = malloc(size ? size : 1);
	struct sources all, few;

	assert(ip);
	/* In memory that ends with the packet. */
	memcpy(ip, data, size);
	if (size < 20 || (ip[0] >> 4 != 4 && (ip[0] >> 4 != 6 || size < 40)))
		return 0;
	sources_init(&all, &a, &world);
	sources_init(&few, &a, &(struct networks){ .n = 0 });
	if (sources_judge(&all, ip, size) == SOURCES_FINE) {
		if (ip[0] >> 4 == 4)
			check_v4(ip);
		else
			check_v6(ip, size);
	} else {
		/* Whoever may say less may not say more. */
		assert(sources_judge(&few, ip, size) != SOURCES_FINE);
	}
	return 0;
}

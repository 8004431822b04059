/* Bundles: what is found good reads through without surprise, and every piece lies inside. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "proto/bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bundle_piece p, found;
	struct bundle_reader r;
	uint32_t version = 0;
	char last[BUNDLE_NAME_MAX + 1] = "";
	int e = bundle_check(data, size, &version);

	if (bundle_open(&r, data, size, NULL))
		return 0;
	while (bundle_next(&r, &p) == 1) {
		assert(p.data >= data && p.len <= size && p.data + p.len <= data + size);
		assert(bundle_name_is_good(p.name, strlen(p.name)));
		if (e)
			continue;
		assert(strcmp(last, p.name) < 0);
		assert(bundle_find(data, size, p.name, &found) && found.data == p.data);
		memcpy(last, p.name, sizeof(last));
	}
	return 0;
}

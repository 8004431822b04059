/* What `handfast restore --dry-run` shows of a bundle, whoever made it: the input is what its pieces hold. */
#include <assert.h>
#include <jansson.h>
#include <string.h>

#include "base/json.h"
#include "ctl/backup/backup_file.h"
#include "ctl/ctl.h"
#include "proto/bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX = 8192 };

static size_t add(uint8_t *out, size_t at, const char *name, const void *data, size_t len)
{
	at += bundle_prefix(out + at, name, len);
	if (len > 0)
		memcpy(out + at, data, len);
	return at + len;
}

static void look(struct pages *b)
{
	_cleanup_json_ json_t *contents = backup_contents(b), *unreadable = backup_unreadable(b), *left = backup_left_out(b);

	assert(!contents || json_is_array(json_object_get(contents, "tunnels")));
	assert(!unreadable || json_is_array(unreadable));
	assert(!left || json_is_array(left));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t bundle[MAX + 8 * BUNDLE_PREFIX_MAX + 256];
	/* The pieces in order of their names; what a NUL ends goes to the next. */
	static const char *const names[] = { "about.json", "config/relayd.yaml", "pairingd/pairings.json",
					     "pskd/about.json", "pskd/tunnels/t.json", "pskd/unreadable.json" };
	size_t at = BUNDLE_HEAD_LEN;
	struct pages b = { .p = bundle };

	if (size > MAX)
		return 0;
	bundle_head(bundle);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && size > 0; i++) {
		const uint8_t *nul = memchr(data, 0, size);
		size_t len = nul ? (size_t)(nul - data) : size;

		at = add(bundle, at, names[i], data, len);
		data += len + (nul != NULL);
		size -= len + (nul != NULL);
	}
	memset(bundle + at, 0, BUNDLE_END_LEN);
	b.len = b.cap = at + BUNDLE_END_LEN;
	if (bundle_check(b.p, b.len, NULL) == 0)
		look(&b);
	return 0;
}

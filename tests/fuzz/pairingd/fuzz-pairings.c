/* The list of pairings in a backup: whatever it says, what is taken of it could have come from peers. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/text.h"
#include "pairingd/portable.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct portable *p = NULL;
	char why[256] = "";

	if (portable_decode(&p, data, size, why, sizeof(why))) {
		assert(*why);
		return 0;
	}
	for (size_t i = 0; i < p->n; i++) {
		const struct peer *one = &p->peers[i];
		char clean[sizeof(one->identity.note)];

		assert(text_is_name(one->name) && !peers_name_is_id(one->name));
		assert(one->active && one->restored && !one->has_root);
		assert(one->identity.n_candidates <= IDENTITY_CANDIDATES_MAX);
		assert(text_clean(clean, sizeof(clean), one->identity.note, strlen(one->identity.note)) ==
		       strlen(one->identity.note));
		assert(i == 0 || strcmp(p->peers[i - 1].name, one->name) < 0);
	}
	portable_free(p);
	return 0;
}

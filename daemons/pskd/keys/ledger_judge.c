/* What both records of a ledger tell together: which one counts, and what the other may have been. */
#include "pskd/keys/ledger.h"

#include <string.h>

#include "base/bytes.h"
#include "crypto/secret.h"

void ledger_state_wipe(struct ledger_state *s)
{
	wipe(s, sizeof(*s));
}

static bool is_same_material(const struct ledger_record *a, const struct ledger_record *b)
{
	return a->kind == b->kind && a->role == b->role && a->slots_total == b->slots_total &&
	       memcmp(a->fingerprint, b->fingerprint, sizeof(a->fingerprint)) == 0 &&
	       memcmp(a->tunnel_id, b->tunnel_id, sizeof(a->tunnel_id)) == 0 &&
	       memcmp(a->table_sum, b->table_sum, sizeof(a->table_sum)) == 0 &&
	       bytes_equal(a->hello_key, b->hello_key, sizeof(a->hello_key));
}

/* What one record alone is enough for to refuse both. */
static int worst(const int found[static 2], const struct ledger_record rec[static 2], struct ledger_state *s)
{
	static const int refused[] = { LEDGER_E_NEWER, LEDGER_E_OTHER_KEY, LEDGER_E_SEALED };

	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		for (unsigned int at = 0; at < 2; at++)
			if (found[at] == refused[i]) {
				memset(s, 0, sizeof(*s));
				s->newest = rec[at];
				return refused[i];
			}
	return 0;
}

static bool is_newer(const struct ledger_record *a, const struct ledger_record *b)
{
	if (a->generation != b->generation)
		return a->generation > b->generation;
	return a->tx_reserved > b->tx_reserved;
}

int ledger_judge(struct ledger_state *s, const uint8_t *data, size_t len)
{
	struct ledger_record rec[2] = { 0 };
	int found[2], r;
	unsigned int at;

	for (unsigned int i = 0; i < 2; i++) {
		found[i] = len >= (i + 1) * LEDGER_BLOCK_LEN ?
				   ledger_decode(&rec[i], data + i * LEDGER_BLOCK_LEN) :
				   LEDGER_E_BROKEN;
	}
	r = worst(found, rec, s);
	if (r) {
		/* said already */
	} else if (found[0] && found[1]) {
		r = LEDGER_E_BROKEN;
	} else if (!found[0] && !found[1] && !is_same_material(&rec[0], &rec[1])) {
		r = LEDGER_E_MIXED;
	} else {
		at = found[0] || (!found[1] && is_newer(&rec[1], &rec[0]));
		memset(s, 0, sizeof(*s));
		s->newest = rec[at];
		s->newest_at = at;
		s->any_plain = (!found[0] && !rec[0].sealed) || (!found[1] && !rec[1].sealed);
		s->other_ok = !found[!at] && rec[!at].generation + 1 == rec[at].generation;
		if (s->other_ok)
			s->other = rec[!at];
	}
	wipe(rec, sizeof(rec));
	return r;
}

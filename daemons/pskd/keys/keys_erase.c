/* The end of slots that are spent, in steps. The steps themselves are done by keys_job.c. */
#include "pskd/keys/keys_internal.h"

#include <errno.h>

#include "base/clock.h"
#include "base/error.h"

enum { ERASE_EVERY_MS = 100 }; /* each step reads and hashes up to 2 MiB */

/* Slots below were left behind both ways, window included. */
static uint64_t spent_slots(const struct keys *k, uint64_t tx_next, uint64_t rx_mark)
{
	uint64_t behind = (uint64_t)k->window + RX_AHEAD;

	return ledger_slot(min_u64(tx_next, rx_mark > behind ? rx_mark - behind : 0));
}

/*
 * The same, whichever record a later life finds. A mark may be ahead of what was received, and is lowered to that
 * one day: no further than it will then be.
 */
static uint64_t spent_by_records(const struct keys *k)
{
	uint64_t marked = min_u64(k->newest->rx_mark, k->other->rx_mark);

	return spent_slots(k, min_u64(k->newest->tx_next, k->other->tx_next), min_u64(marked, keys_rx_exact(k)));
}

static bool is_announced(const struct keys *k)
{
	return k->newest->erase_to == k->edge.to && k->other->erase_to == k->edge.to;
}

/*
 * Erasing goes in three steps, each durable before the next: the hash of the piece as it will be, in
 * both records; then the zeros; then the count. A crash between them finds
 * a hash that fits, whichever record is read and however far the zeros got.
 */
bool keys_erase_is_due(const struct keys *k)
{
	if (k->erase == KEYS_ERASE_NONE || !k->other_ok || k->hold_erase)
		return false;
	if (k->edge.to > k->erased)
		return is_announced(k);
	return spent_by_records(k) > k->edge.to &&
	       (k->tidy || clock_now_ms() - k->erase_ms >= ERASE_EVERY_MS);
}

struct job *keys_next_erase(struct keys *k)
{
	bool has_edge = k->edge.to > k->erased;
	struct job *j = job_new(k, has_edge ? JOB_ERASE : JOB_EDGE);

	if (!j)
		return NULL;
	j->erase_from = k->erased;
	j->erase_to = has_edge ? k->edge.to : spent_by_records(k);
	k->erase_ms = clock_now_ms();
	return j;
}

bool keys_erase_wants_record(const struct keys *k)
{
	uint64_t spent = spent_slots(k, k->tx_next, keys_rx_exact(k));

	if (k->erase == KEYS_ERASE_NONE || k->hold_erase)
		return false;
	if (k->edge.to > k->erased)
		return !k->other_ok || !is_announced(k);
	return spent > k->edge.to && (!k->other_ok || spent_by_records(k) < spent);
}

void keys_finish_erase(struct keys *k, const struct job *j)
{
	k->erase_error = j->error == KEYS_E_CHANGED ? -EBADMSG : err_fold(j->error);
	/* Until the next record, or for good when the file is not what it was. */
	k->hold_erase = j->error;
	if (j->error)
		return;
	if (j->kind == JOB_EDGE)
		k->edge = j->next_edge;
	else
		k->erased = j->erase_to;
}

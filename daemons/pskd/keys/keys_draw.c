/* Which slots should be drawn, and how far ahead: keys_job.c does it. */
#include "pskd/keys/keys_internal.h"

#include <errno.h>

enum { JOB_SLOTS_MAX = 256 };

/* How many slots the lane should be drawn further, so that all before `need` are there; 0: none. */
static size_t lane_missing(const struct keys *k, const struct lane *l, uint64_t need)
{
	uint64_t first = lane_next(l), total = keys_slots_for(k->end), last;

	if (first >= min_u64(need + (k->file ? FILE_EARLY : RATCHET_EARLY), total))
		return 0;
	last = min_u64(need + keys_draw_ahead(k), total);
	if (k->file)
		last = min_u64(last, keyfile_piece_end(k->file, first));
	last = min_u64(last, l->base + l->cap);
	last = min_u64(last, first + JOB_SLOTS_MAX);
	return last > first ? (size_t)(last - first) : 0;
}

/* The slots that each lane should have: need is one past the last. */
static uint64_t tx_need(const struct keys *k)
{
	uint64_t until = k->tx_next;

	if (k->tx_wanted)
		until = max_u64(min_u64(k->tx_next + k->block, k->end), k->newest->tx_reserved);
	return max_u64(keys_slots_for(until), ledger_slot(k->tx_next) + 2);
}

size_t keys_tx_missing(const struct keys *k)
{
	return lane_missing(k, &k->tx, tx_need(k));
}

size_t keys_rx_missing(const struct keys *k)
{
	return lane_missing(k, &k->rx, keys_rx_need(k));
}

struct job *keys_next_draw(struct keys *k)
{
	if (!k->tx.held && keys_tx_missing(k) > 0)
		return job_draw(k, &k->tx, keys_tx_missing(k));
	return job_draw(k, &k->rx, keys_rx_missing(k));
}

bool keys_has_draw(const struct keys *k)
{
	return (!k->tx.held && keys_tx_missing(k) > 0) || (!k->rx.held && keys_rx_missing(k) > 0);
}

/* *out NULL: nothing is missing. */
static int begin_draw(struct job **out, struct keys *k, struct lane *l, size_t (*missing)(const struct keys *k))
{
	HOLD(k->thread);
	size_t n = k->job ? 0 : missing(k);

	*out = n > 0 ? job_draw(k, l, n) : NULL;
	return n > 0 && !*out ? -ENOMEM : 0;
}

static void end_draw(struct keys *k, const struct job *j)
{
	HOLD(k->thread);

	job_deliver(j);
}

int keys_draw_now(struct keys *k, struct lane *l, size_t (*missing)(const struct keys *k))
{
	struct job *j;
	int r;

	while ((r = begin_draw(&j, k, l, missing)) == 0 && j) {
		job_work(j);
		r = j->error;
		if (!r)
			end_draw(k, j);
		job_free(j);
		if (r)
			break;
	}
	return r;
}

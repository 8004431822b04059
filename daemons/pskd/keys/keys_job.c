/*
 * One piece of work for a worker: drawing slots, or a step of erasing. A job owns all that it
 * touches while it runs, so that it may outlive the keys it is for.
 */
#include "pskd/keys/keys_internal.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/secret.h"

#include "pskd/operations.h"

void job_free(struct job *j)
{
	if (!j)
		return;
	keyfile_unref(j->file);
	secret_free(j->mem);
	free(j);
}

static void draw(struct job *j)
{
	uint64_t begun = opstat_begin();

	if (j->file) {
		j->error = keyfile_draw(j->file, j->direction, j->first, j->n, &j->edge, j->slots);
	} else {
		ratchet_step(j->chains[0], j->skip);
		for (size_t i = 0; i < j->n; i++) {
			ratchet_slot(&j->slots[i], j->chains[i]);
			memcpy(j->chains[i + 1], j->chains[i], RATCHET_CHAIN_LEN);
			ratchet_step(j->chains[i + 1], 1);
		}
	}
	opstat_end(&pskd_operations[OP_SLOTS_DRAW], begun, j->n * sizeof(*j->slots), j->error == 0);
}

void job_work(void *arg)
{
	struct job *j = arg;

	switch (j->kind) {
	case JOB_EDGE:
		j->error = keyfile_move_edge(j->file, &j->edge, j->erase_to, &j->next_edge);
		break;
	case JOB_ERASE:
		j->error = keyfile_erase(j->file, j->erase_from, j->erase_to, j->how);
		break;
	case JOB_DRAW:
		draw(j);
		break;
	}
}

struct job *job_new(struct keys *k, enum job_kind kind)
{
	struct job *j = calloc(1, sizeof(*j));

	if (!j)
		return NULL;
	j->keys = k;
	j->kind = kind;
	j->file = k->file ? keyfile_ref(k->file) : NULL;
	j->edge = k->edge;
	j->how = k->erase;
	return j;
}

/* Draw n slots of the lane from where it stands, or from its base. */
struct job *job_draw(struct keys *k, struct lane *l, size_t n)
{
	uint64_t first = lane_next(l);
	struct job *j = job_new(k, JOB_DRAW);
	size_t chains;
	uint8_t *p;

	if (!j)
		return NULL;
	chains = k->file ? 0 : (n + 1) * RATCHET_CHAIN_LEN;
	if (secret_new(&j->mem, n * sizeof(*j->slots) + chains, &p)) {
		job_free(j);
		return NULL;
	}
	j->chains = (void *)p;
	j->slots = (void *)(p + chains);
	j->lane = l;
	j->direction = l->direction;
	j->first = first;
	j->n = n;
	if (!k->file) {
		j->skip = first - l->to;
		memcpy(j->chains[0], l->next_chain, RATCHET_CHAIN_LEN);
	}
	return j;
}

void job_deliver(const struct job *j)
{
	lane_put(j->lane, j->first, j->n, j->slots, j->chains);
}

/*
 * The search for what comes through, with the network in the fuzzer's hand: time, answers of any size to any question,
 * hints, new sessions. What must hold: sizes and limits stay where they may be, nothing is due at once again and
 * again, nothing is asked while nothing is sent, and in the end a path that keeps still is found as it is.
 */
#include "pskd/packet/pmtu.h"

#include <assert.h>

#include "fuzz/lib/sequence.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX = 1400, SESSION = 1000000 };

static uint64_t now;

static void check(const struct pmtu *p)
{
	assert(pmtu_limit(p) >= PMTU_MIN && pmtu_limit(p) <= MAX);
	assert(p->n <= PMTU_PROBES);
	assert(pmtu_state_name(p->state));
	/* What is known to come through whole is not cut up. */
	assert(p->state != PMTU_FOUND || pmtu_df(p) == UDP_DF_SET);
}

/* The path's answers to what is asked now: all that is no larger than it carries. */
static void tick(struct pmtu *p, uint16_t carries)
{
	uint16_t sizes[PMTU_PROBES];
	size_t n = pmtu_tick(p, now, sizes);
	uint32_t number;

	/* One question may follow at once on another; then time has to go by. */
	if (n == 0 && pmtu_due(p) <= now)
		n = pmtu_tick(p, now, sizes);
	assert(pmtu_due(p) > now && n <= PMTU_PROBES);
	number = p->number;
	for (size_t i = 0; i < n; i++)
		assert(sizes[i] >= PMTU_SMALL && sizes[i] <= MAX);
	for (size_t i = 0; i < n; i++)
		if (sizes[i] <= carries)
			pmtu_on_answer(p, number, sizes[i], now);
	check(p);
}

/* Until nothing is due; what is asked without end would be. */
static void come_to_rest(struct pmtu *p, uint16_t carries)
{
	for (int i = 0; i < 1000 && pmtu_due(p) != UINT64_MAX; i++) {
		if (pmtu_due(p) > now)
			now = pmtu_due(p);
		tick(p, carries);
	}
	assert(pmtu_due(p) == UINT64_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sequence s = { data, size };
	struct happening h;
	struct pmtu p;

	now = SESSION;
	pmtu_init(&p, MAX);
	pmtu_start(&p, now, true);
	while (sequence_next(&s, &h)) {
		switch (h.what % 6) {
		case 0:
			now += happening_number(&h, 0, 3);
			tick(&p, (uint16_t)happening_number(&h, 3, 2));
			break;
		case 1:
			pmtu_on_answer(&p, p.number + happening_byte(&h, 2) % 3, (uint16_t)happening_number(&h, 0, 2), now);
			break;
		case 2:
			pmtu_on_hint(&p, (uint16_t)happening_number(&h, 0, 2));
			break;
		case 3:
			pmtu_start(&p, now, happening_byte(&h, 0) & 1);
			break;
		case 4:
			pmtu_on_sent(&p, (size_t)happening_number(&h, 0, 2));
			break;
		default:
			if (pmtu_due(&p) != UINT64_MAX && pmtu_due(&p) > now)
				now = pmtu_due(&p);
			tick(&p, MAX);
		}
		check(&p);
	}
	come_to_rest(&p, MAX);
	pmtu_start(&p, now, true);
	come_to_rest(&p, 1333);
	assert(p.state == PMTU_FOUND && pmtu_limit(&p) == 1333);
	return 0;
}

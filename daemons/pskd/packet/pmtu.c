/*
 * A question is a check of one size, or a search, which takes a few rounds of
 * up to nine sizes at once: each round leaves an eighth of what is in doubt.
 * Each round is sent three times before what was not answered is believed to
 * be too big, and a small probe among them tells a path that loses everything
 * from one that loses what is large. Nothing is asked while nothing is sent.
 */
#include "pskd/packet/pmtu.h"

#include <string.h>

#define TRIES 3
#define STEPS 8
#define WAIT_MS 1000
#define WAIT_MIN_MS 250
#define WAIT_MAX_MS 2000
/* How often a size that is in use is asked for again: how long a black hole is not noticed. */
#define CONFIRM_MS 5000
/* RFC 8899 section 5.1.1: PMTU_RAISE_TIMER. */
#define RAISE_MS 600000

void pmtu_init(struct pmtu *p, uint16_t max)
{
	*p = (struct pmtu){ .max = max, .mtu = max, .wait_ms = WAIT_MS };
}

static void add(struct pmtu *p, uint16_t size)
{
	p->sizes[p->n] = size;
	p->answered[p->n++] = false;
}

static void begin_round(struct pmtu *p)
{
	p->n = 0;
	p->tries = 0;
	p->sent_ms = 0;
	add(p, PMTU_SMALL);
}

static void check(struct pmtu *p, enum pmtu_doing doing, uint16_t target)
{
	p->doing = doing;
	p->number++;
	p->target = target;
	p->good = 0;
	p->sent = p->sent_big = false;
	begin_round(p);
	if (p->hint >= PMTU_MIN && p->hint < target)
		add(p, p->hint);
	add(p, target);
}

static void search_round(struct pmtu *p)
{
	uint16_t from = p->good, steps = STEPS;

	begin_round(p);
	if (from == 0) {
		from = PMTU_MIN;
		add(p, PMTU_MIN);
		steps--;
	}
	if (p->bad <= from + 1)
		return;
	if (steps > p->bad - 1 - from)
		steps = (uint16_t)(p->bad - 1 - from);
	for (unsigned int i = 1; i <= steps; i++)
		add(p, (uint16_t)(from + (p->bad - 1u - from) * i / steps));
}

static void search(struct pmtu *p, uint16_t good, uint16_t bad)
{
	p->doing = PMTU_SEARCH;
	p->number++;
	p->good = good;
	p->bad = bad;
	search_round(p);
}

static void settle(struct pmtu *p, enum pmtu_state state, uint16_t mtu, uint64_t now)
{
	p->state = state;
	p->mtu = mtu;
	p->doing = PMTU_QUIET;
	p->hint = 0;
	p->confirmed_ms = p->raised_ms = now;
	p->sent = p->sent_big = false;
}

void pmtu_start(struct pmtu *p, uint64_t now, bool moved)
{
	p->answers = false;
	p->wait_ms = WAIT_MS;
	p->confirmed_ms = p->raised_ms = now;
	if (!moved && p->state == PMTU_FOUND) {
		check(p, PMTU_CHECK, p->mtu);
	} else if (!moved && p->state == PMTU_SMALLER) {
		check(p, PMTU_RAISE, PMTU_MIN);
	} else {
		p->state = PMTU_UNKNOWN;
		p->mtu = p->max;
		p->hint = p->refuted = 0;
		check(p, PMTU_CHECK, p->max);
	}
}

void pmtu_on_hint(struct pmtu *p, uint16_t size)
{
	if (p->doing != PMTU_QUIET || p->state != PMTU_FOUND || size >= p->mtu || size == p->refuted)
		return;
	p->hint = size;
	check(p, PMTU_CHECK, p->mtu);
}

/* ---- what is due when nothing is asked ---- */

static bool wants_check(const struct pmtu *p)
{
	return p->sent_big && (p->state == PMTU_FOUND || p->state == PMTU_SEARCHING);
}

static bool wants_raise(const struct pmtu *p)
{
	return p->sent && (p->mtu < p->max || p->state == PMTU_SMALLER || p->state == PMTU_UNANSWERED);
}

static void begin(struct pmtu *p, uint64_t now)
{
	if (wants_check(p) && now - p->confirmed_ms >= CONFIRM_MS) {
		check(p, PMTU_CHECK, p->state == PMTU_FOUND ? p->mtu : p->max);
	} else if (wants_raise(p) && now - p->raised_ms >= RAISE_MS) {
		if (p->state == PMTU_UNANSWERED)
			check(p, PMTU_CHECK, p->max);
		else
			check(p, PMTU_RAISE, p->state == PMTU_SMALLER ? PMTU_MIN : (uint16_t)(p->mtu + 1));
	}
}

/* ---- a round is over ---- */

static bool is_heard(const struct pmtu *p)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->answered[i])
			return true;
	return false;
}

static bool is_all_answered(const struct pmtu *p)
{
	for (size_t i = 0; i < p->n; i++)
		if (!p->answered[i] && p->sizes[i] > p->good)
			return false;
	return true;
}

static void give_up(struct pmtu *p, uint64_t now)
{
	p->doing = PMTU_QUIET;
	p->confirmed_ms = p->raised_ms = now;
	if (!p->answers) {
		p->state = PMTU_UNANSWERED;
		p->mtu = p->max;
	}
}

static void judge_check(struct pmtu *p, uint64_t now)
{
	if (p->doing == PMTU_RAISE) {
		p->doing = PMTU_QUIET;
		p->raised_ms = now;
	} else if (p->hint && p->good == p->hint) {
		settle(p, PMTU_FOUND, p->hint, now);
	} else {
		p->state = PMTU_SEARCHING;
		search(p, p->good, p->target);
	}
}

static void judge_search(struct pmtu *p, uint64_t now)
{
	/* What was not answered, and all that is larger. */
	for (size_t i = 0; i < p->n; i++)
		if (!p->answered[i] && p->sizes[i] > p->good && p->sizes[i] < p->bad)
			p->bad = p->sizes[i];
	if (p->good == 0)
		settle(p, PMTU_SMALLER, PMTU_MIN, now);
	else if (p->bad <= p->good + 1)
		settle(p, PMTU_FOUND, p->good, now);
	else
		search_round(p);
}

/* All tries are over, or nothing is open any more. */
static void judge(struct pmtu *p, uint64_t now)
{
	if (!is_heard(p))
		give_up(p, now);
	else if (p->doing == PMTU_SEARCH)
		judge_search(p, now);
	else
		judge_check(p, now);
}

size_t pmtu_tick(struct pmtu *p, uint64_t now, uint16_t sizes[static PMTU_PROBES])
{
	size_t n = 0;

	if (p->doing == PMTU_QUIET)
		begin(p, now);
	else if (p->sent_ms && (is_all_answered(p) || (now - p->sent_ms >= p->wait_ms && p->tries == TRIES)))
		judge(p, now);
	if (p->doing == PMTU_QUIET || (p->sent_ms && now - p->sent_ms < p->wait_ms))
		return 0;
	if (p->tries++ == 0)
		p->begun_ms = now;
	p->sent_ms = now;
	for (size_t i = 0; i < p->n; i++)
		if (p->sizes[i] == PMTU_SMALL || (!p->answered[i] && p->sizes[i] > p->good))
			sizes[n++] = p->sizes[i];
	return n;
}

uint64_t pmtu_due(const struct pmtu *p)
{
	uint64_t due = UINT64_MAX;

	if (p->doing != PMTU_QUIET)
		return p->sent_ms ? p->sent_ms + p->wait_ms : 0;
	if (wants_check(p))
		due = p->confirmed_ms + CONFIRM_MS;
	if (wants_raise(p) && p->raised_ms + RAISE_MS < due)
		due = p->raised_ms + RAISE_MS;
	return due;
}

void pmtu_on_answer(struct pmtu *p, uint32_t number, uint16_t size, uint64_t now)
{
	bool is_new = false;
	uint64_t wait;

	if (p->doing == PMTU_QUIET || number != p->number || size > p->max)
		return;
	p->answers = true;
	for (size_t i = 0; i < p->n; i++)
		if (p->sizes[i] == size && !p->answered[i])
			is_new = p->answered[i] = true;
	if (is_new) {
		wait = 2 * (now - p->begun_ms) + WAIT_MIN_MS;
		p->wait_ms = wait < WAIT_MAX_MS ? (uint32_t)wait : WAIT_MAX_MS;
	}
	if (size < PMTU_MIN || size <= p->good)
		return;
	p->good = size;
	if (p->doing == PMTU_SEARCH && size >= p->bad)
		p->bad = size + 1;
	if (p->doing == PMTU_SEARCH || size < p->target)
		return;
	if (p->doing == PMTU_RAISE && p->target < p->max) {
		search(p, p->target, (uint16_t)(p->max + 1));
		return;
	}
	p->refuted = p->hint;
	settle(p, PMTU_FOUND, p->target, now);
}

uint16_t pmtu_limit(const struct pmtu *p)
{
	return p->state == PMTU_FOUND || p->state == PMTU_SMALLER ? p->mtu : p->max;
}

enum udp_df pmtu_df(const struct pmtu *p)
{
	switch (p->state) {
	case PMTU_FOUND:
		return UDP_DF_SET;
	case PMTU_SEARCHING:
	case PMTU_SMALLER:
		return UDP_DF_CLEAR;
	case PMTU_UNKNOWN:
	case PMTU_UNANSWERED:
		break;
	}
	return UDP_DF_KERNEL;
}

const char *pmtu_state_name(enum pmtu_state s)
{
	static const char *const names[] = {
		[PMTU_UNKNOWN] = "unknown",	  [PMTU_SEARCHING] = "searching",
		[PMTU_FOUND] = "found",		  [PMTU_SMALLER] = "smaller",
		[PMTU_UNANSWERED] = "unanswered",
	};

	return names[s];
}

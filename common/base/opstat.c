/*
 * Samples of operations. Relaxed atomics: each number is right for itself, and nothing
 * is decided by two of them together.
 */
#include "base/opstat.h"

#include <time.h>

#define ADD(field, n) atomic_fetch_add_explicit(&(field), (n), memory_order_relaxed)
#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)

uint64_t opstat_begin(void)
{
	struct timespec t;

	/* Without the time in suspend: no operation went on in it. */
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

/* Below 8 each nanosecond has its own; above, the leading bit and the three behind it tell which. */
static size_t bucket_of(uint64_t ns)
{
	unsigned int exp;

	if (ns < 1U << OPSTAT_SUB_BITS)
		return (size_t)ns;
	exp = 63U - (unsigned int)__builtin_clzll(ns);
	if (exp > OPSTAT_EXP_MAX)
		return OPSTAT_BUCKETS - 1;
	return ((size_t)(exp - OPSTAT_SUB_BITS + 1) << OPSTAT_SUB_BITS) |
	       ((ns >> (exp - OPSTAT_SUB_BITS)) & ((1U << OPSTAT_SUB_BITS) - 1));
}

/* The middle of what falls into a bucket. */
static double bucket_middle(size_t i)
{
	size_t exp = i >> OPSTAT_SUB_BITS, sub = i & ((1U << OPSTAT_SUB_BITS) - 1);
	uint64_t width;

	if (exp == 0)
		return (double)i;
	width = 1ULL << (exp - 1);
	return (double)(((1ULL << OPSTAT_SUB_BITS) + sub) * width) + (double)(width - 1) / 2;
}

static void raise_to(_Atomic uint64_t *most, uint64_t v)
{
	uint64_t now = atomic_load_explicit(most, memory_order_relaxed);

	while (v > now &&
	       !atomic_compare_exchange_weak_explicit(most, &now, v, memory_order_relaxed, memory_order_relaxed))
		;
}

void opstat_sample(struct opstat *o, uint64_t ns, size_t bytes)
{
	ADD(o->timed, 1);
	ADD(o->timed_bytes, bytes);
	ADD(o->ns, ns);
	raise_to(&o->most, ns);
	raise_to(&o->least_not, ~ns);
	ADD(o->buckets[bucket_of(ns)], 1);
}

void opstat_add(struct opstat *o, uint64_t ns, size_t bytes, bool ok)
{
	ADD(o->count, 1);
	ADD(o->bytes, bytes);
	if (!ok)
		ADD(o->failures, 1);
	opstat_sample(o, ns, bytes);
}

void opstat_count(struct opstat *o, uint64_t n, uint64_t failures, uint64_t bytes)
{
	ADD(o->count, n);
	if (failures)
		ADD(o->failures, failures);
	ADD(o->bytes, bytes);
}

void opstat_end(struct opstat *o, uint64_t begun, size_t bytes, bool ok)
{
	opstat_add(o, opstat_begin() - begun, bytes, ok);
}

struct quantile {
	double part;
	double *out;
};

/* quantiles ascend. */
static void read_quantiles(const struct opstat *o, const struct quantile *q, size_t n, double min, double max)
{
	uint64_t counts[OPSTAT_BUCKETS], total = 0, below = 0;
	size_t k = 0;

	for (size_t i = 0; i < OPSTAT_BUCKETS; i++) {
		counts[i] = GET(o->buckets[i]);
		total += counts[i];
	}
	for (size_t i = 0; i < OPSTAT_BUCKETS; i++) {
		double v = bucket_middle(i);

		below += counts[i];
		/* No percentile lies outside of what was seen. */
		v = v < min ? min : v > max ? max : v;
		for (; k < n && total > 0 && (double)below >= q[k].part * (double)total; k++)
			*q[k].out = v / 1e9;
	}
}

void opstat_read(const struct opstat *o, struct opstat_view *out)
{
	struct opstat_view v = {
		.count = GET(o->count),
		.failures = GET(o->failures),
		.bytes = GET(o->bytes),
		.timed = GET(o->timed),
		.success_rate = 100,
	};
	const struct quantile q[] = { { 0.5, &v.p50_s }, { 0.9, &v.p90_s }, { 0.95, &v.p95_s }, { 0.99, &v.p99_s } };
	double ns = (double)GET(o->ns), min = (double)~GET(o->least_not), max = (double)GET(o->most);

	if (v.count)
		v.success_rate = 100 * (1 - (double)v.failures / (double)v.count);
	if (v.timed) {
		v.seconds = ns / 1e9;
		v.avg_s = v.seconds / (double)v.timed;
		v.min_s = min / 1e9;
		v.max_s = max / 1e9;
		v.bytes_per_s = ns > 0 ? (double)GET(o->timed_bytes) / v.seconds : 0;
		read_quantiles(o, q, sizeof(q) / sizeof(q[0]), min, max);
	}
	*out = v;
}

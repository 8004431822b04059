/* Counts, sums and percentiles of operations. */
#include "base/opstat.h"

#include <pthread.h>
#include <stdlib.h>

#include "unit/lib/test.h"

static struct opstat o;

static bool near(double a, double b, double part)
{
	return a >= b * (1 - part) && a <= b * (1 + part);
}

TEST(nothing_done_is_all_zeros_and_no_failure)
{
	struct opstat_view v;

	opstat_read(&o, &v);
	CHECK(v.count == 0 && v.timed == 0 && v.bytes == 0 && v.failures == 0);
	CHECK(v.avg_s == 0 && v.min_s == 0 && v.max_s == 0 && v.p50_s == 0 && v.p99_s == 0 && v.bytes_per_s == 0);
	CHECK(v.success_rate == 100);
}

TEST(one_sample_is_every_percentile)
{
	struct opstat_view v;

	opstat_add(&o, 1234567, 1000, true);
	opstat_read(&o, &v);
	CHECK(v.count == 1 && v.timed == 1 && v.bytes == 1000);
	CHECK(v.min_s == 1234567 / 1e9 && v.max_s == v.min_s && v.avg_s == v.min_s);
	/* Held between smallest and largest, a bucket's width does not show. */
	CHECK(v.p50_s == v.min_s && v.p90_s == v.min_s && v.p95_s == v.min_s && v.p99_s == v.min_s);
	CHECK(near(v.bytes_per_s, 1000 / (1234567 / 1e9), 1e-9));
}

TEST(percentiles_are_within_an_eighth)
{
	struct opstat_view v;

	/* 1 µs to 1 ms in even steps, in an order that is none. */
	for (uint64_t i = 0; i < 1000; i++)
		opstat_add(&o, 1000 * (1 + i * 619 % 1000), 1, true);
	opstat_read(&o, &v);
	CHECK(v.count == 1000);
	CHECK(near(v.avg_s, 500.5e-6, 1e-9));
	CHECK(v.min_s == 1e-6 && v.max_s == 1e-3);
	CHECK(near(v.p50_s, 500e-6, 0.125));
	CHECK(near(v.p90_s, 900e-6, 0.125));
	CHECK(near(v.p95_s, 950e-6, 0.125));
	CHECK(near(v.p99_s, 990e-6, 0.125));
	CHECK(v.p50_s <= v.p90_s && v.p90_s <= v.p95_s && v.p95_s <= v.p99_s && v.p99_s <= v.max_s);
}

TEST(every_length_falls_into_a_bucket_near_it)
{
	for (unsigned int bit = 0; bit < 38; bit++) {
		for (uint64_t off = 0; off <= 2; off++) {
			struct opstat *one = calloc(1, sizeof(*one));
			uint64_t ns = (UINT64_C(1) << bit) - 1 + off;
			struct opstat_view v;

			CHECK(one != NULL);
			/* Others at both ends, so that no bound hides where it fell. */
			opstat_add(one, 0, 0, true);
			opstat_add(one, ns, 0, true);
			opstat_add(one, UINT64_MAX / 4, 0, true);
			opstat_read(one, &v);
			if (!near(v.p50_s * 1e9, (double)ns, 0.0626))
				test_fail(__FILE__, __LINE__, "%llu ns was told as %g", (unsigned long long)ns, v.p50_s * 1e9);
			free(one);
		}
	}
}

TEST(what_is_longer_than_the_last_bucket_is_counted)
{
	struct opstat_view v;

	for (int i = 0; i < 100; i++)
		opstat_add(&o, UINT64_MAX / 1000, 0, true);
	opstat_read(&o, &v);
	CHECK(v.count == 100 && v.p50_s > 200 && v.max_s == (double)(UINT64_MAX / 1000) / 1e9);
}

TEST(failures_are_part_of_the_count)
{
	struct opstat_view v;

	opstat_add(&o, 10, 0, true);
	opstat_add(&o, 10, 0, false);
	opstat_add(&o, 10, 0, true);
	opstat_add(&o, 10, 0, true);
	opstat_read(&o, &v);
	CHECK(v.count == 4 && v.failures == 1 && v.success_rate == 75);
}

TEST(counted_ones_have_no_time)
{
	struct opstat_view v;

	opstat_count(&o, 64, 2, 90000);
	opstat_read(&o, &v);
	CHECK(v.count == 64 && v.failures == 2 && v.bytes == 90000 && v.timed == 0 && v.avg_s == 0);
}

TEST(samples_alone_count_nothing)
{
	struct opstat_view v;

	opstat_sample(&o, 1000, 64);
	opstat_read(&o, &v);
	CHECK(v.count == 0 && v.bytes == 0 && v.timed == 1 && v.avg_s == 1e-6 && near(v.bytes_per_s, 64e6, 1e-9));
}

TEST(a_measured_one_takes_time)
{
	uint64_t begun = opstat_begin();
	struct opstat_view v;

	while (opstat_begin() - begun < 1000000)
		;
	opstat_end(&o, begun, 7, true);
	opstat_read(&o, &v);
	CHECK(v.count == 1 && v.bytes == 7 && v.min_s >= 0.001);
}

enum { THREADS = 4, EACH = 20000 };

static void *add_many(void *arg)
{
	uint64_t n = *(const uint64_t *)arg;

	for (uint64_t i = 0; i < EACH; i++)
		opstat_add(&o, n * EACH + i, 3, i % 4 != 0);
	return NULL;
}

TEST(threads_lose_no_sample)
{
	pthread_t t[THREADS];
	uint64_t n[THREADS], sum = 0;
	struct opstat_view v;

	for (size_t i = 0; i < THREADS; i++) {
		n[i] = i;
		CHECK(pthread_create(&t[i], NULL, add_many, &n[i]) == 0);
	}
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	for (size_t i = 0; i < OPSTAT_BUCKETS; i++)
		sum += o.buckets[i];
	opstat_read(&o, &v);
	CHECK(v.count == THREADS * EACH && v.timed == v.count && sum == v.count);
	CHECK(v.failures == THREADS * EACH / 4 && v.bytes == 3 * THREADS * EACH);
	CHECK(v.min_s == 0 && v.max_s == (THREADS * EACH - 1) / 1e9);
}

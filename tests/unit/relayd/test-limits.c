/* Token buckets and the tags that stand for addresses. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "relayd/limits.h"
#include "relayd/mailbox.h"
#include "unit/lib/test.h"

static const struct rate rate = { .per_minute = 90, .burst = 30 };

static struct sockaddr_in6 address(const char *text)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6 };

	CHECK_EQ(inet_pton(AF_INET6, text, &a.sin6_addr), 1);
	return a;
}

TEST(i4_a_bucket_gives_its_burst_and_then_its_rate)
{
	struct bucket b = { 0 };
	uint64_t now = 1000000;
	unsigned int taken = 0;

	for (int i = 0; i < 1000; i++)
		taken += bucket_take(&b, &rate, now);
	CHECK_EQ(taken, 30);
	/* 60 s / 90: one in 667 ms. */
	CHECK_EQ(bucket_wait_ms(&b, &rate, now), 667);
	CHECK(!bucket_take(&b, &rate, now + 666));
	CHECK(bucket_take(&b, &rate, now + 667));
	taken = 0;
	for (uint64_t t = 0; t < 60000; t++)
		taken += bucket_take(&b, &rate, now + 667 + t);
	CHECK(taken >= 89 && taken <= 90);
}

TEST(a_bucket_fills_up_to_its_burst_and_no_further)
{
	struct bucket b = { 0 };
	unsigned int taken = 0;

	CHECK(bucket_take(&b, &rate, 1000));
	for (int i = 0; i < 1000; i++)
		taken += bucket_take(&b, &rate, 100000000);
	CHECK_EQ(taken, 30);
}

TEST(a_high_rate_does_not_round_to_nothing)
{
	const struct rate fast = { .per_minute = 1000000000, .burst = 1 };
	struct bucket b = { 0 };

	CHECK(bucket_take(&b, &fast, 1));
	CHECK(!bucket_take(&b, &fast, 1));
	CHECK(bucket_take(&b, &fast, 2));
}

TEST(i4_rates_count_ipv6_by_64)
{
	_cleanup_(address_rates_freep) struct address_rates *a = NULL;
	struct sockaddr_in6 one = address("2001:db8::1"), same = address("2001:db8::ffff:2"),
			    other = address("2001:db8:0:1::1");
	const struct rate two = { .per_minute = 1, .burst = 2 };

	clock_fake_ms(1000);
	CHECK_EQ(address_rates_new(&a), 0);
	CHECK(address_rates_take(a, (struct sockaddr *)&one, &two));
	CHECK(address_rates_has(a, (struct sockaddr *)&same, &two));
	CHECK(address_rates_take(a, (struct sockaddr *)&same, &two));
	CHECK(!address_rates_has(a, (struct sockaddr *)&one, &two));
	CHECK(!address_rates_take(a, (struct sockaddr *)&one, &two));
	CHECK(address_rates_take(a, (struct sockaddr *)&other, &two));
	clock_fake_ms(62000);
	CHECK(address_rates_take(a, (struct sockaddr *)&one, &two));
}

static unsigned int take_from(struct address_rates *a, uint32_t n, const struct rate *r)
{
	struct sockaddr_in s = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(n) };

	return address_rates_take(a, (struct sockaddr *)&s, r);
}

TEST(i4_addresses_are_bounded_and_full_buckets_forgotten)
{
	_cleanup_(address_rates_freep) struct address_rates *a = NULL;
	const struct rate slow = { .per_minute = 1, .burst = 1 };
	unsigned int taken = 0;

	clock_fake_ms(1000);
	CHECK_EQ(address_rates_new(&a), 0);
	for (uint32_t i = 0; i < 70000; i++)
		taken += take_from(a, 0x0a000000 + i, &slow);
	CHECK_EQ(taken, 65536);
	CHECK(address_rates_bytes(a) < 8 << 20);
	/* A minute later all are full, and the first to come makes room. */
	clock_fake_ms(62000);
	CHECK(take_from(a, 0x0b000000, &slow));
	CHECK(address_rates_bytes(a) < 1000);
}

/* Whoever has more addresses than fit would have the table looked through with each of them. */
TEST(i4_a_full_table_of_addresses_is_looked_through_once_a_second)
{
	_cleanup_(address_rates_freep) struct address_rates *a = NULL;
	const struct rate fast = { .per_minute = 60000, .burst = 1 };

	clock_fake_ms(1000);
	CHECK_EQ(address_rates_new(&a), 0);
	for (uint32_t i = 0; i < 65536; i++)
		CHECK(take_from(a, 0x0a000000 + i, &fast));
	CHECK(!take_from(a, 0x0b000000, &fast));
	/* All of them are full again, and nobody looks yet. */
	clock_fake_ms(1999);
	CHECK(!take_from(a, 0x0b000000, &fast));
	clock_fake_ms(2000);
	CHECK(take_from(a, 0x0b000000, &fast));
	CHECK(address_rates_bytes(a) < 1000);
}

TEST(tags_tell_addresses_apart_for_an_hour)
{
	struct sockaddr_in6 one = address("2001:db8::1"), other = address("2001:db9::1");
	struct address_tagger t = { 0 };
	char a[ADDRESS_TAG_SPACE], b[ADDRESS_TAG_SPACE], c[ADDRESS_TAG_SPACE];

	clock_fake_ms(1000);
	address_tag(&t, a, (struct sockaddr *)&one);
	address_tag(&t, b, (struct sockaddr *)&other);
	CHECK(strcmp(a, b) != 0);
	clock_fake_ms(1000 + 3599 * 1000);
	address_tag(&t, b, (struct sockaddr *)&one);
	CHECK_STR(a, b);
	clock_fake_ms(1000 + 3600 * 1000);
	address_tag(&t, c, (struct sockaddr *)&one);
	CHECK(strcmp(a, c) != 0);
}

TEST(a_mailbox_keeps_order_and_counts_its_bytes)
{
	struct mailbox m = { 0 };
	struct letter *l;

	CHECK_EQ(mailbox_put(&m, "one", 3), 0);
	CHECK_EQ(mailbox_put(&m, "three", 5), 0);
	CHECK_EQ(m.bytes, mailbox_cost(3) + mailbox_cost(5));
	l = mailbox_take(&m);
	CHECK_MEM(l->text, "one", 3);
	free(l);
	CHECK_EQ(m.bytes, mailbox_cost(5));
	mailbox_done(&m);
	CHECK_EQ(m.bytes, 0);
	CHECK(!mailbox_take(&m));
	CHECK_EQ(mailbox_put(&m, "again", 5), 0);
	mailbox_done(&m);
}

/* A peer that goes to and fro: moves.c. */
#include "pskd/tunnel/moves.h"

#include <arpa/inet.h>

#include "unit/lib/test.h"

static struct sockaddr_in6 at(uint8_t host, uint16_t port)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(port) };

	a.sin6_addr.s6_addr[10] = a.sin6_addr.s6_addr[11] = 0xff;
	a.sin6_addr.s6_addr[12] = 10;
	a.sin6_addr.s6_addr[15] = host;
	return a;
}

static bool session(struct moves *m, uint8_t host, uint64_t now_ms)
{
	struct sockaddr_in6 a = at(host, 7200);

	return moves_on_session(m, &a, false, now_ms);
}

/* Sessions of two hosts in turn, from 1 on; how many of them were told of. */
static unsigned int take_turns(struct moves *m, unsigned int n, uint64_t *now_ms, uint64_t step_ms)
{
	unsigned int told = 0;

	for (unsigned int i = 0; i < n; i++, *now_ms += step_ms)
		told += session(m, i % 2 ? 2 : 1, *now_ms);
	return told;
}

TEST(four_returns_to_the_same_two_addresses_are_told)
{
	struct moves m = { 0 };
	uint64_t now = 1000;

	CHECK_EQ(take_turns(&m, 5, &now, 15000), 0);
	CHECK(!moves_is_to_and_fro(&m, now));
	CHECK(session(&m, 2, now));
	CHECK(moves_is_to_and_fro(&m, now));
}

TEST(idle_clones_that_take_turns_each_minute_are_told)
{
	struct moves m = { 0 };
	uint64_t now = 1;

	CHECK_EQ(take_turns(&m, 6, &now, 65000), 1);
}

TEST(it_is_told_again_after_an_hour_and_not_before)
{
	struct moves m = { 0 };
	uint64_t now = 1000;

	CHECK_EQ(take_turns(&m, 240, &now, 15000), 1);
	CHECK_EQ(take_turns(&m, 8, &now, 15000), 1);
}

TEST(it_is_over_an_hour_after_the_last_return)
{
	struct moves m = { 0 };
	uint64_t now = 1000;

	CHECK_EQ(take_turns(&m, 6, &now, 1000), 1);
	now -= 1000;
	CHECK(moves_is_to_and_fro(&m, now + MOVES_AGAIN_MS));
	CHECK(!moves_is_to_and_fro(&m, now + MOVES_AGAIN_MS + 1));
}

TEST(a_peer_that_moves_on_is_not_told)
{
	struct moves m = { 0 };

	for (unsigned int i = 0; i < 200; i++)
		CHECK(!session(&m, (uint8_t)(i % 3), 1000 + i));
}

TEST(a_third_address_begins_the_count_anew)
{
	struct moves m = { 0 };
	uint64_t now = 1000;

	CHECK_EQ(take_turns(&m, 5, &now, 1000), 0);
	CHECK(!session(&m, 9, now));
	CHECK_EQ(take_turns(&m, 5, &now, 1000), 0);
	CHECK(session(&m, 2, now));
}

TEST(returns_over_a_longer_time_are_not_told)
{
	struct moves m = { 0 };
	uint64_t now = 1000;

	CHECK_EQ(take_turns(&m, 100, &now, MOVES_WITHIN_MS / 3 + 1), 0);
}

TEST(sessions_that_were_due_are_not_counted)
{
	struct moves m = { 0 };

	for (unsigned int i = 0; i < 100; i++) {
		struct sockaddr_in6 a = at(i % 2 ? 1 : 2, 7200);

		CHECK(!moves_on_session(&m, &a, true, 1000 + i));
	}
}

TEST(sessions_from_where_it_is_are_no_moves)
{
	struct moves m = { 0 };

	for (unsigned int i = 0; i < 100; i++)
		CHECK(!session(&m, i < 50 ? 1 : 2, 1000 + i));
}

TEST(ports_of_one_address_are_two_machines_too)
{
	struct moves m = { 0 };
	unsigned int told = 0;

	for (unsigned int i = 0; i < 6; i++) {
		struct sockaddr_in6 a = at(1, i % 2 ? 7200 : 7201);

		told += moves_on_session(&m, &a, false, 1000 + i);
	}
	CHECK_EQ(told, 1);
}

/*
 * Path MTU discovery against a path in the test's hand: one that carries what
 * is not too large, loses some of it, changes, and takes its time.
 */
#include "pskd/packet/pmtu.h"

#include <stdlib.h>
#include <string.h>

#include "unit/lib/test.h"

enum { IN_FLIGHT = 400, MINUTE = 60000 };

struct net {
	struct pmtu p;
	uint16_t carries; /* 0: nothing at all */
	unsigned int loss; /* percent */
	unsigned int rtt;
	bool mute; /* the peer knows no probes */
	uint64_t now;
	struct {
		uint64_t at;
		uint32_t number;
		uint16_t size;
	} answers[IN_FLIGHT];
	size_t n_answers;
	unsigned int probes, bytes;
	uint32_t seed;
};

static unsigned int rnd(struct net *n, unsigned int below)
{
	n->seed = n->seed * 1664525 + 1013904223;
	return (n->seed >> 8) % below;
}

static void net_init(struct net *n, uint16_t max, uint16_t carries)
{
	*n = (struct net){ .carries = carries, .rtt = 30, .now = 1000000, .seed = max };
	pmtu_init(&n->p, max);
	pmtu_start(&n->p, n->now, true);
}

static void deliver(struct net *n)
{
	for (size_t i = 0; i < n->n_answers;) {
		if (n->answers[i].at > n->now) {
			i++;
			continue;
		}
		pmtu_on_answer(&n->p, n->answers[i].number, n->answers[i].size, n->now);
		n->answers[i] = n->answers[--n->n_answers];
	}
}

static void tick(struct net *n)
{
	uint16_t sizes[PMTU_PROBES];
	size_t count;

	if (pmtu_due(&n->p) > n->now)
		return;
	count = pmtu_tick(&n->p, n->now, sizes);
	CHECK(count <= PMTU_PROBES);
	for (size_t i = 0; i < count; i++) {
		CHECK(sizes[i] <= n->p.max && sizes[i] >= PMTU_SMALL);
		n->probes++;
		n->bytes += sizes[i];
		if (n->mute || sizes[i] > n->carries || rnd(n, 100) < n->loss)
			continue;
		CHECK(n->n_answers < IN_FLIGHT);
		n->answers[n->n_answers].at = n->now + n->rtt;
		n->answers[n->n_answers].number = n->p.number;
		n->answers[n->n_answers++].size = sizes[i];
	}
}

/* Let ms go by, with a packet of len bytes each 100 ms (0: none). */
static void pass(struct net *n, uint64_t ms, size_t len)
{
	for (uint64_t end = n->now + ms; n->now < end; n->now += 10) {
		if (len && n->now % 100 == 0)
			pmtu_on_sent(&n->p, len);
		deliver(n);
		tick(n);
	}
}

TEST(a_path_that_carries_all_is_known_after_one_round_trip)
{
	struct net n;

	net_init(&n, 1400, 1400);
	CHECK_EQ(n.p.state, PMTU_UNKNOWN);
	CHECK_EQ(pmtu_limit(&n.p), 1400);
	CHECK_EQ(pmtu_df(&n.p), UDP_DF_KERNEL);
	pass(&n, 100, 0);
	CHECK_EQ(n.p.state, PMTU_FOUND);
	CHECK_EQ(pmtu_limit(&n.p), 1400);
	CHECK_EQ(pmtu_df(&n.p), UDP_DF_SET);
	CHECK_EQ(n.probes, 2);
	CHECK(n.p.answers);
}

TEST(every_size_is_found_exactly)
{
	struct net n;

	for (uint16_t carries = 1280; carries <= 1500; carries++) {
		net_init(&n, 1500, carries);
		pass(&n, 20000, 0);
		CHECK_EQ(n.p.state, PMTU_FOUND);
		CHECK_EQ(pmtu_limit(&n.p), carries);
		CHECK(n.probes < 100);
	}
	for (uint16_t carries = 1280; carries <= 9000; carries = (uint16_t)(carries + 61)) {
		net_init(&n, 9000, carries);
		pass(&n, 30000, 0);
		CHECK_EQ(pmtu_limit(&n.p), carries);
	}
}

TEST(slow_paths_are_searched_too)
{
	struct net n;

	for (unsigned int rtt = 200; rtt <= 1900; rtt += 100) {
		net_init(&n, 1400, 1333);
		n.rtt = rtt;
		pass(&n, 60000, 0);
		CHECK_EQ(n.p.state, PMTU_FOUND);
		CHECK_EQ(pmtu_limit(&n.p), 1333);
	}
}

TEST(a_path_below_the_minimum_is_told_apart)
{
	struct net n;

	net_init(&n, 1400, 1279);
	pass(&n, 20000, 0);
	CHECK_EQ(n.p.state, PMTU_SMALLER);
	CHECK_EQ(pmtu_limit(&n.p), PMTU_MIN);
	CHECK_EQ(pmtu_df(&n.p), UDP_DF_CLEAR);
	/* It may grow. */
	n.carries = 1400;
	pass(&n, 11 * MINUTE, 1000);
	CHECK_EQ(n.p.state, PMTU_FOUND);
	CHECK_EQ(pmtu_limit(&n.p), 1400);
	/* The smallest device there is. */
	net_init(&n, 1280, 1280);
	pass(&n, 100, 0);
	CHECK_EQ(n.p.state, PMTU_FOUND);
	net_init(&n, 1280, 1000);
	pass(&n, 20000, 0);
	CHECK_EQ(n.p.state, PMTU_SMALLER);
}

TEST(a_black_hole_is_noticed_while_large_packets_are_sent)
{
	struct net n;

	net_init(&n, 1400, 1400);
	pass(&n, 1000, 0);
	n.carries = 1300;
	pass(&n, 20000, 1400);
	CHECK_EQ(n.p.state, PMTU_FOUND);
	CHECK_EQ(pmtu_limit(&n.p), 1300);
	/* Once more, further down, and below what is possible. */
	n.carries = 1290;
	pass(&n, 20000, 1300);
	CHECK_EQ(pmtu_limit(&n.p), 1290);
	n.carries = 1250;
	pass(&n, 20000, 1280);
	CHECK_EQ(n.p.state, PMTU_SMALLER);
	/* Also from the least that is found. */
	net_init(&n, 1400, 1280);
	pass(&n, 20000, 0);
	CHECK_EQ(n.p.state, PMTU_FOUND);
	n.carries = 1250;
	pass(&n, 20000, 1280);
	CHECK_EQ(n.p.state, PMTU_SMALLER);
}

TEST(while_it_searches_the_network_may_cut_up_what_is_too_big)
{
	struct net n;
	bool was = false;

	net_init(&n, 1400, 1400);
	pass(&n, 1000, 0);
	n.carries = 1300;
	for (int i = 0; i < 2000; i++) {
		pass(&n, 10, 1400);
		if (n.p.state == PMTU_SEARCHING) {
			was = true;
			CHECK_EQ(pmtu_df(&n.p), UDP_DF_CLEAR);
			CHECK_EQ(pmtu_limit(&n.p), 1400);
		}
	}
	CHECK(was);
	CHECK_EQ(pmtu_df(&n.p), UDP_DF_SET);
}

TEST(i10_nothing_is_asked_while_nothing_is_sent)
{
	struct net n;
	unsigned int before;

	net_init(&n, 1400, 1333);
	pass(&n, 20000, 0);
	before = n.probes;
	CHECK(pmtu_due(&n.p) == UINT64_MAX);
	pass(&n, 60 * MINUTE, 0);
	CHECK_EQ(n.probes, before);
	/* Small packets need no check, but may find a larger path now and then. */
	pass(&n, 60 * MINUTE, 500);
	CHECK(n.probes - before <= 7 * 6);
	/* And what was sent before the silence is looked after once. */
	pass(&n, 10000, 1333);
	before = n.probes;
	pass(&n, 60 * MINUTE, 0);
	CHECK(n.probes - before <= 2 + 6);
	CHECK(pmtu_due(&n.p) == UINT64_MAX);
}

TEST(a_path_that_grows_is_used)
{
	struct net n;

	net_init(&n, 1400, 1300);
	pass(&n, 20000, 0);
	CHECK_EQ(pmtu_limit(&n.p), 1300);
	n.carries = 1380;
	pass(&n, 11 * MINUTE, 1000);
	CHECK_EQ(n.p.state, PMTU_FOUND);
	CHECK_EQ(pmtu_limit(&n.p), 1380);
	n.carries = 2000;
	pass(&n, 11 * MINUTE, 1000);
	CHECK_EQ(pmtu_limit(&n.p), 1400);
}

TEST(looking_for_a_larger_path_disturbs_nothing)
{
	struct net n;

	net_init(&n, 1400, 1300);
	pass(&n, 20000, 0);
	for (int i = 0; i < 12 * 600; i++) {
		pass(&n, 100, 1300);
		CHECK_EQ(n.p.state, PMTU_FOUND);
		CHECK_EQ(pmtu_limit(&n.p), 1300);
	}
}

TEST(loss_is_not_taken_for_a_smaller_path)
{
	struct net n;

	for (uint32_t seed = 0; seed < 200; seed++) {
		net_init(&n, 1400, 1400);
		n.seed = seed;
		n.loss = 5;
		pass(&n, MINUTE, 1400);
		CHECK_EQ(n.p.state, PMTU_FOUND);
		/* One of thousands of probes may be unlucky thrice; that is found out later. */
		CHECK(pmtu_limit(&n.p) >= 1380);
	}
}

TEST(silence_says_nothing_of_sizes)
{
	struct net n;

	net_init(&n, 1400, 1400);
	pass(&n, 1000, 0);
	n.carries = 0;
	pass(&n, 5 * MINUTE, 1400);
	CHECK_EQ(n.p.state, PMTU_FOUND);
	CHECK_EQ(pmtu_limit(&n.p), 1400);
	n.carries = 1400;
	pass(&n, MINUTE, 1400);
	CHECK_EQ(n.p.state, PMTU_FOUND);
	/* Also in the middle of a search. */
	n.carries = 1300;
	while (n.p.state != PMTU_SEARCHING)
		pass(&n, 10, 1400);
	n.carries = 0;
	pass(&n, MINUTE, 1400);
	n.carries = 1300;
	pass(&n, MINUTE, 1400);
	CHECK_EQ(n.p.state, PMTU_FOUND);
	CHECK_EQ(pmtu_limit(&n.p), 1300);
}

TEST(a_peer_that_knows_no_probes_is_left_in_peace)
{
	struct net n;

	net_init(&n, 1400, 1400);
	n.mute = true;
	pass(&n, 10000, 1400);
	CHECK_EQ(n.p.state, PMTU_UNANSWERED);
	CHECK_EQ(pmtu_limit(&n.p), 1400);
	CHECK_EQ(pmtu_df(&n.p), UDP_DF_KERNEL);
	CHECK(!n.p.answers);
	CHECK_EQ(n.probes, 6);
	pass(&n, 9 * MINUTE, 1400);
	CHECK_EQ(n.probes, 6);
	/* The silence may have been the path's. */
	pass(&n, 2 * MINUTE, 1400);
	CHECK_EQ(n.probes, 12);
	n.mute = false;
	pass(&n, 10 * MINUTE, 1400);
	CHECK_EQ(n.p.state, PMTU_FOUND);
}

TEST(the_networks_hint_is_asked_and_not_believed)
{
	struct net n;

	net_init(&n, 1400, 1400);
	pass(&n, 1000, 0);
	/* True: found without a search. */
	n.carries = 1317;
	n.probes = 0;
	pmtu_on_hint(&n.p, 1317);
	pass(&n, 3000, 0);
	CHECK_EQ(n.p.state, PMTU_FOUND);
	CHECK_EQ(pmtu_limit(&n.p), 1317);
	CHECK(n.probes <= 8);
	/* A lie: one check, however often it is told. */
	n.probes = 0;
	for (int i = 0; i < 100; i++) {
		pmtu_on_hint(&n.p, 1290);
		pass(&n, 1000, 0);
		CHECK_EQ(pmtu_limit(&n.p), 1317);
	}
	CHECK_EQ(n.probes, 3);
	/* Larger than what is known: of no interest. */
	pmtu_on_hint(&n.p, 1400);
	pass(&n, 1000, 0);
	CHECK_EQ(n.probes, 3);
	/* Too small to be asked for: the search finds what there is. */
	n.carries = 1300;
	pmtu_on_hint(&n.p, 68);
	pass(&n, 20000, 0);
	CHECK_EQ(pmtu_limit(&n.p), 1300);
}

TEST(a_new_session_asks_again_and_a_new_place_begins_anew)
{
	struct net n;

	net_init(&n, 1400, 1300);
	pass(&n, 20000, 0);
	n.probes = 0;
	pmtu_start(&n.p, n.now, false);
	CHECK(!n.p.answers);
	CHECK_EQ(pmtu_limit(&n.p), 1300);
	pass(&n, 1000, 0);
	CHECK_EQ(n.probes, 2);
	CHECK(n.p.answers);
	pmtu_start(&n.p, n.now, true);
	CHECK_EQ(n.p.state, PMTU_UNKNOWN);
	CHECK_EQ(pmtu_limit(&n.p), 1400);
	n.carries = 1400;
	pass(&n, 1000, 0);
	CHECK_EQ(pmtu_limit(&n.p), 1400);
	n.carries = 700;
	pmtu_start(&n.p, n.now, false);
	pass(&n, 20000, 0);
	CHECK_EQ(n.p.state, PMTU_SMALLER);
	pmtu_start(&n.p, n.now, false);
	CHECK_EQ(n.p.state, PMTU_SMALLER);
	n.carries = 1350;
	pass(&n, 20000, 0);
	CHECK_EQ(pmtu_limit(&n.p), 1350);
}

TEST(answers_to_what_was_not_asked_change_nothing)
{
	struct net n;

	net_init(&n, 1400, 1300);
	pass(&n, 500, 0);
	/* Another question's, and one that is larger than any probe. */
	pmtu_on_answer(&n.p, n.p.number + 1, 1400, n.now);
	pmtu_on_answer(&n.p, n.p.number - 1, 1400, n.now);
	pmtu_on_answer(&n.p, n.p.number, 65535, n.now);
	pmtu_on_answer(&n.p, n.p.number, 0, n.now);
	pass(&n, 20000, 0);
	CHECK_EQ(pmtu_limit(&n.p), 1300);
	/* When nothing is asked, nothing is answered. */
	pmtu_on_answer(&n.p, n.p.number, 1400, n.now);
	CHECK_EQ(pmtu_limit(&n.p), 1300);
}

TEST(i4_any_order_of_events_ends_in_a_sound_state)
{
	for (uint32_t seed = 0; seed < 300; seed++) {
		struct net n;

		net_init(&n, 1400, 1400);
		n.seed = seed;
		for (int i = 0; i < 300; i++) {
			switch (rnd(&n, 7)) {
			case 0:
				n.carries = (uint16_t)rnd(&n, 1500);
				break;
			case 1:
				n.rtt = rnd(&n, 3000);
				break;
			case 2:
				pmtu_on_hint(&n.p, (uint16_t)rnd(&n, 1500));
				break;
			case 3:
				pmtu_start(&n.p, n.now, rnd(&n, 2));
				break;
			case 4:
				pmtu_on_answer(&n.p, n.p.number, (uint16_t)rnd(&n, 1500), n.now);
				break;
			default:
				n.loss = rnd(&n, 4) ? 0 : 30;
				pass(&n, 500 + rnd(&n, 3000), rnd(&n, 2) ? 1400 : 0);
			}
			CHECK(pmtu_limit(&n.p) >= PMTU_MIN && pmtu_limit(&n.p) <= 1400);
		}
		/* And in the right one, when the path has come to rest. */
		n.carries = 1350;
		n.loss = 0;
		n.rtt = 20;
		pmtu_start(&n.p, n.now, true);
		pass(&n, MINUTE, 1400);
		CHECK_EQ(pmtu_limit(&n.p), 1350);
	}
}

TEST(states_have_names)
{
	CHECK_STR(pmtu_state_name(PMTU_UNKNOWN), "unknown");
	CHECK_STR(pmtu_state_name(PMTU_FOUND), "found");
	CHECK_STR(pmtu_state_name(PMTU_UNANSWERED), "unanswered");
}

/* negotiate.c: one choice, and no way to talk it down. */
#include "unit/lib/test.h"

#include <errno.h>
#include <string.h>

#include "proto/negotiate.h"

static const char *const names[] = { "v40-a", "v60-c", "v50-b" };
static const uint8_t session_id[16] = "session";

static struct negotiate_offer offer(size_t n, const char *minimum)
{
	struct negotiate_offer o;

	CHECK_EQ(negotiate_offer_init(&o, names, n, minimum), 0);
	return o;
}

TEST(names_begin_with_their_rank)
{
	uint32_t rank = 0;

	CHECK(profile_is_name("v40-spake2-x25519", &rank));
	CHECK_EQ(rank, 40);
	CHECK(profile_is_name("v99999-x", NULL));
	CHECK(!profile_is_name("v100000-x", NULL));
	CHECK(!profile_is_name("v040-x", NULL));
	CHECK(!profile_is_name("v0-x", NULL));
	CHECK(!profile_is_name("v-x", NULL));
	CHECK(!profile_is_name("v40", NULL));
	CHECK(!profile_is_name("v40-", NULL));
	CHECK(!profile_is_name("v40-X", NULL));
	CHECK(!profile_is_name("40-x", NULL));
	CHECK(!profile_is_name("", NULL));
	CHECK(!profile_is_name("v40-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", NULL));
}

TEST(offers_are_sorted_and_checked)
{
	struct negotiate_offer o = offer(3, NULL), bad;
	const char *const twice[] = { "v40-a", "v40-a" };

	CHECK_STR(o.names[0], "v60-c");
	CHECK_STR(o.names[2], "v40-a");
	CHECK_STR(o.minimum, "v40-a");
	CHECK(negotiate_offer_is_valid(&o));
	CHECK_EQ(negotiate_offer_init(&bad, twice, 2, NULL), -EINVAL);
	CHECK_EQ(negotiate_offer_init(&bad, names, 0, NULL), -EINVAL);
	CHECK_EQ(negotiate_offer_init(&bad, names, 2, "v50-b"), -EINVAL);
	bad = o;
	memcpy(bad.names[0], o.names[1], sizeof(bad.names[0]));
	CHECK(!negotiate_offer_is_valid(&bad));
	bad = o;
	strcpy(bad.minimum, "v41-a");
	CHECK(!negotiate_offer_is_valid(&bad));
	bad = o;
	bad.n = PROFILES_MAX + 1;
	CHECK(!negotiate_offer_is_valid(&bad));
}

TEST(the_highest_common_one_is_chosen_by_both)
{
	struct negotiate_offer a = offer(3, NULL), b = offer(2, NULL);
	char x[PROFILE_NAME_MAX + 1], y[PROFILE_NAME_MAX + 1];

	CHECK_EQ(negotiate_choose(x, &a, &b), 0);
	CHECK_EQ(negotiate_choose(y, &b, &a), 0);
	CHECK_STR(x, "v60-c");
	CHECK_STR(y, x);
}

TEST(of_one_rank_both_take_the_same)
{
	const char *const one[] = { "v50-b", "v50-a" }, *const two[] = { "v50-a", "v50-b" };
	struct negotiate_offer a, b;
	char x[PROFILE_NAME_MAX + 1], y[PROFILE_NAME_MAX + 1];

	CHECK_EQ(negotiate_offer_init(&a, one, 2, NULL), 0);
	CHECK_EQ(negotiate_offer_init(&b, two, 2, NULL), 0);
	CHECK_EQ(negotiate_choose(x, &a, &b), 0);
	CHECK_EQ(negotiate_choose(y, &b, &a), 0);
	CHECK_STR(x, "v50-b");
	CHECK_STR(y, "v50-b");
}

TEST(i2_both_minima_hold)
{
	struct negotiate_offer high = offer(3, "v60-c"), low = offer(1, NULL);
	const char *const unknown[] = { "v40-a", "v70-z" };
	struct negotiate_offer strict;
	char x[PROFILE_NAME_MAX + 1] = "untouched";

	CHECK_EQ(negotiate_choose(x, &high, &low), NEGOTIATE_E_NO_COMMON);
	CHECK_EQ(negotiate_choose(x, &low, &high), NEGOTIATE_E_NO_COMMON);
	/* A minimum that this side does not know still has a rank. */
	CHECK_EQ(negotiate_offer_init(&strict, unknown, 2, "v70-z"), 0);
	CHECK_EQ(negotiate_choose(x, &low, &strict), NEGOTIATE_E_NO_COMMON);
	CHECK_STR(x, "untouched");
}

TEST(i2_any_difference_in_what_was_seen_is_a_downgrade)
{
	struct negotiate_offer full = offer(3, NULL), low = offer(1, NULL), strict = offer(3, "v60-c");
	uint8_t a[NEGOTIATE_DIGEST_LEN], b[NEGOTIATE_DIGEST_LEN], other_session[16] = "other";

	negotiate_digest(a, session_id, &full, &full, "v60-c");
	negotiate_digest(b, session_id, &full, &full, "v60-c");
	CHECK_EQ(negotiate_verify("v60-c", a, "v60-c", b), 0);
	CHECK_EQ(negotiate_verify("v60-c", a, "v40-a", b), NEGOTIATE_E_DOWNGRADE);
	negotiate_digest(b, session_id, &full, &low, "v60-c");
	CHECK_EQ(negotiate_verify("v60-c", a, "v60-c", b), NEGOTIATE_E_DOWNGRADE);
	negotiate_digest(b, session_id, &low, &full, "v60-c");
	CHECK_EQ(negotiate_verify("v60-c", a, "v60-c", b), NEGOTIATE_E_DOWNGRADE);
	negotiate_digest(b, session_id, &full, &strict, "v60-c");
	CHECK_EQ(negotiate_verify("v60-c", a, "v60-c", b), NEGOTIATE_E_DOWNGRADE);
	negotiate_digest(b, other_session, &full, &full, "v60-c");
	CHECK_EQ(negotiate_verify("v60-c", a, "v60-c", b), NEGOTIATE_E_DOWNGRADE);
}

TEST(the_selfcheck_of_negotiation_passes)
{
	CHECK(negotiate_selfcheck());
}

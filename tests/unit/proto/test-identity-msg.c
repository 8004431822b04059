/* The identity socket's root message: it comes back, and nothing else is taken for one. */
#include "proto/identity_msg.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "unit/lib/test.h"

static struct identity_root fixture(void)
{
	struct identity_root r = {
		.peer_name = "pi",
		.role = IDENTITY_BOB,
		.own_port = 7200,
		.peer_port = 7201,
		.n_candidates = 3,
		.candidates = { "192.0.2.1", "[2001:db8::1]", "pi.local" },
	};

	memset(r.own_public.b, 1, sizeof(r.own_public.b));
	memset(r.peer_public.b, 2, sizeof(r.peer_public.b));
	memset(r.tunnel_id, 3, sizeof(r.tunnel_id));
	memset(r.root, 4, sizeof(r.root));
	identity_id(r.peer_id, &r.peer_public);
	return r;
}

/* Encode, decode. Returns what decoding does; *out is the result. */
static int round_trip(struct identity_root *out, const struct identity_root *r)
{
	uint8_t buf[IDENTITY_MSG_MAX];
	ssize_t n = identity_root_encode(buf, sizeof(buf), r);

	CHECK(n > 0);
	return identity_root_decode(out, buf, (size_t)n);
}

static void check_wiped(const struct identity_root *r)
{
	static const struct identity_root zero;

	CHECK_MEM(r, &zero, sizeof(zero));
}

static void check_refused(const struct identity_root *r)
{
	struct identity_root out;

	memset(&out, 0xff, sizeof(out));
	CHECK_EQ(round_trip(&out, r), -EBADMSG);
	check_wiped(&out);
}

TEST(a_root_comes_back_as_it_was)
{
	struct identity_root r = fixture(), out;

	memset(&out, 0xff, sizeof(out));
	CHECK_EQ(round_trip(&out, &r), 0);
	CHECK_MEM(&out, &r, sizeof(r));
}

TEST(the_largest_root_fits_a_message)
{
	struct identity_root r = fixture(), out;

	memset(r.peer_name, 'n', IDENTITY_NAME_MAX);
	r.n_candidates = IDENTITY_CANDIDATES_MAX;
	for (size_t i = 0; i < r.n_candidates; i++)
		memset(r.candidates[i], 'c', IDENTITY_CANDIDATE_LEN - 1);
	CHECK_EQ(round_trip(&out, &r), 0);
	CHECK_MEM(&out, &r, sizeof(r));
}

TEST(no_candidates_are_fine)
{
	struct identity_root r = fixture(), out;

	r.n_candidates = 0;
	CHECK_EQ(round_trip(&out, &r), 0);
	CHECK_EQ(out.n_candidates, 0);
}

TEST(every_other_length_is_refused)
{
	struct identity_root r = fixture(), out;
	uint8_t buf[IDENTITY_MSG_MAX];
	ssize_t n = identity_root_encode(buf, sizeof(buf), &r);

	CHECK(n > 0);
	for (size_t len = 0; len < (size_t)n; len++) {
		CHECK_EQ(identity_root_decode(&out, buf, len), -EBADMSG);
		check_wiped(&out);
	}
	buf[n] = 0;
	CHECK_EQ(identity_root_decode(&out, buf, (size_t)n + 1), -EBADMSG);
}

TEST(too_small_a_buffer_is_an_error)
{
	struct identity_root r = fixture();
	uint8_t buf[IDENTITY_MSG_MAX];
	ssize_t n = identity_root_encode(buf, sizeof(buf), &r);

	for (size_t cap = 0; cap < (size_t)n; cap++)
		CHECK_EQ(identity_root_encode(buf, cap, &r), -EMSGSIZE);
	r.n_candidates = IDENTITY_CANDIDATES_MAX + 1;
	CHECK_EQ(identity_root_encode(buf, sizeof(buf), &r), -EMSGSIZE);
}

TEST(names_that_are_none_are_refused)
{
	static const char *const names[] = { "", "a b", "-x", ".x", "p\x1bi", "p/i", "\xc3\xa4" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct identity_root r = fixture();

		snprintf(r.peer_name, sizeof(r.peer_name), "%s", names[i]);
		check_refused(&r);
	}
}

TEST(candidates_with_other_characters_are_refused)
{
	static const char *const candidates[] = { "", "a b", "a\n", "a;b", "$(x)", "a/b", "\xe2\x80\xae" };

	for (size_t i = 0; i < ARRAY_SIZE(candidates); i++) {
		struct identity_root r = fixture();

		snprintf(r.candidates[1], sizeof(r.candidates[1]), "%s", candidates[i]);
		check_refused(&r);
	}
}

TEST(an_id_that_is_not_the_keys_is_refused)
{
	struct identity_root r = fixture();

	r.peer_id[15] ^= 1;
	check_refused(&r);
}

TEST(our_own_key_for_the_peers_is_refused)
{
	struct identity_root r = fixture();

	r.own_public = r.peer_public;
	check_refused(&r);
}

TEST(unknown_roles_and_port_zero_are_refused)
{
	struct identity_root r = fixture();

	r.role = 2;
	check_refused(&r);
	r = fixture();
	r.own_port = 0;
	check_refused(&r);
	r = fixture();
	r.peer_port = 0;
	check_refused(&r);
}

TEST(i5_a_wiped_root_is_zero)
{
	struct identity_root r = fixture();

	identity_root_wipe(&r);
	check_wiped(&r);
}

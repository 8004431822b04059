/* Guessing costs time, and never all of it. */
#include "authd/bans.h"

#include <stdio.h>
#include <string.h>

#include "authd/config.h"
#include "base/clock.h"
#include "crypto/secret.h"
#include "unit/lib/test.h"

static const struct authd_config cfg = { .ban_attempts = 3,
					 .ban_attempts_address = 5,
					 .ban_proofs = 4,
					 .ban_first_ms = 1000,
					 .ban_longest_ms = 5000,
					 .ban_forgive_ms = 60000 };
static const struct address_key here = { .family = 4, .b = { 192, 0, 2, 1 } };
static uint64_t now_ms;

static struct bans *fixture(void)
{
	struct bans *b;

	CHECK_EQ(crypto_init(), 0);
	clock_fake_ms(now_ms = 1000000);
	CHECK_EQ(bans_new(&b, &cfg), 0);
	return b;
}

static void pass(uint64_t ms)
{
	clock_fake_ms(now_ms += ms);
}

static struct attempt attempt(const char *name, const struct address_key *from)
{
	return (struct attempt){ .name = name, .from = *from };
}

static bool count_one(struct bans *b, const struct attempt *t)
{
	bool user, address;

	bans_count(b, t, &user, &address);
	return user || address;
}

static bool count(struct bans *b, const char *name, const struct address_key *a)
{
	const struct attempt t = attempt(name, a);

	return count_one(b, &t);
}

static void uncount(struct bans *b, const char *name, const struct address_key *a)
{
	const struct attempt t = attempt(name, a);

	bans_uncount(b, &t);
}

/* For whoever did not bring the ban. */
static uint64_t left(struct bans *b, const char *name)
{
	const struct attempt t = attempt(name, &(struct address_key){ .family = 4, .b = { 198, 51, 100, 9 } });

	return bans_user(b, &t);
}

TEST(proofs_that_fail_are_counted_apart_by_address)
{
	const struct address_key nowhere = { 0 }, other = { .family = 4, .b = { 192, 0, 2, 2 } };
	_cleanup_(bans_freep) struct bans *b = fixture();

	for (int i = 0; i < 4; i++)
		CHECK(!bans_count_proof(b, &here));
	CHECK_EQ(bans_proofs(b, &here), 0);
	CHECK(bans_count_proof(b, &here));
	CHECK_EQ(bans_proofs(b, &here), 1000);
	CHECK_EQ(bans_address(b, &here), 0);
	CHECK_EQ(bans_proofs(b, &other), 0);
	CHECK_EQ(bans_in_force(b, BAN_PROOFS), 1);
	CHECK(bans_lift_address(b, &here));
	CHECK_EQ(bans_proofs(b, &here), 0);
	for (int i = 0; i < 100; i++)
		CHECK(!bans_count_proof(b, &nowhere));
}

TEST(a_ban_begins_above_what_is_allowed_and_doubles_up_to_the_longest)
{
	static const uint64_t lasts[] = { 1000, 2000, 4000, 5000, 5000, 5000 };
	const struct address_key nowhere = { 0 };
	_cleanup_(bans_freep) struct bans *b = fixture();

	for (int i = 0; i < 3; i++) {
		CHECK(!count(b, "alice", &nowhere));
		CHECK_EQ(left(b, "alice"), 0);
	}
	for (size_t i = 0; i < sizeof(lasts) / sizeof(lasts[0]); i++) {
		CHECK(count(b, "alice", &nowhere));
		CHECK_EQ(left(b, "alice"), lasts[i]);
		pass(lasts[i]);
		CHECK_EQ(left(b, "alice"), 0);
	}
	CHECK_EQ(left(b, "bob"), 0);
}

TEST(addresses_are_counted_whatever_the_names_are)
{
	_cleanup_(bans_freep) struct bans *b = fixture();
	char name[16];

	for (int i = 0; i < 6; i++) {
		CHECK_EQ(bans_address(b, &here), 0);
		snprintf(name, sizeof(name), "n%d", i);
		count(b, name, &here);
	}
	CHECK_EQ(bans_address(b, &here), 1000);
	CHECK_EQ(bans_address(b, &(struct address_key){ .family = 4, .b = { 192, 0, 2, 2 } }), 0);
	CHECK_EQ(bans_address(b, &(struct address_key){ .family = 6, .b = { 192, 0, 2, 1 } }), 0);
}

TEST(what_succeeds_does_not_count)
{
	_cleanup_(bans_freep) struct bans *b = fixture();

	for (int i = 0; i < 100; i++) {
		CHECK(!count(b, "alice", &here));
		uncount(b, "alice", &here);
	}
	/* Several at once: the ban that the last of them brought goes when one of them succeeds. */
	for (int i = 0; i < 4; i++)
		count(b, "alice", &here);
	CHECK(left(b, "alice") > 0);
	uncount(b, "alice", &here);
	CHECK_EQ(left(b, "alice"), 0);
}

TEST(a_success_takes_back_its_own_attempt_and_no_other)
{
	_cleanup_(bans_freep) struct bans *b = fixture();

	for (int i = 0; i < 6; i++)
		count(b, "alice", &here);
	count(b, "alice", &here);
	uncount(b, "alice", &here);
	CHECK(left(b, "alice") > 0);
}

TEST(attempts_are_forgiven_with_time)
{
	_cleanup_(bans_freep) struct bans *b = fixture();

	for (int i = 0; i < 3; i++)
		count(b, "alice", &here);
	pass(60000);
	CHECK(!count(b, "alice", &here));
	CHECK(count(b, "alice", &here));
	pass(10 * 60000);
	for (int i = 0; i < 3; i++)
		CHECK(!count(b, "alice", &here));
}

TEST(who_has_no_address_is_not_banned_by_it)
{
	_cleanup_(bans_freep) struct bans *b = fixture();
	const struct address_key unix_socket = { 0 };

	for (int i = 0; i < 100; i++)
		count(b, NULL, &unix_socket);
	CHECK_EQ(bans_address(b, &unix_socket), 0);
}

TEST(who_goes_on_has_no_more_to_be_forgiven_than_who_stops_at_the_longest_ban)
{
	_cleanup_(bans_freep) struct bans *b = fixture();

	for (int i = 0; i < 1000; i++)
		count(b, "alice", &here);
	/* Three are allowed; the fourth ban in a row is the longest: seven are counted. */
	pass(4 * 60000);
	CHECK(count(b, "alice", &(struct address_key){ 0 }));
	CHECK_EQ(left(b, "alice"), 1000);
}

TEST(a_stranger_who_takes_every_attempt_does_not_keep_others_out)
{
	_cleanup_(bans_freep) struct bans *b = fixture();
	const struct attempt stranger = attempt("alice", &here);
	int tries = 0, chances = 0;

	for (int i = 0; i < 36000; i++) {
		if (!bans_user(b, &stranger)) {
			count_one(b, &stranger);
			tries++;
		}
		chances += left(b, "alice") == 0;
		pass(100);
	}
	CHECK(tries > 60);
	/* As long as the ban was, again and again. */
	CHECK(chances > 36000 / 4);
}

TEST(i4_what_others_do_to_a_name_keeps_nobody_out_where_he_was_before)
{
	_cleanup_(bans_freep) struct bans *b = fixture();
	struct attempt home = attempt("alice", &here);
	struct attempt elsewhere = attempt("alice", &(struct address_key){ .family = 4, .b = { 9 } });
	struct attempt through_a_socket = attempt("alice", &(struct address_key){ 0 });

	home.known = through_a_socket.known = true;
	for (int i = 0; i < 5; i++)
		count_one(b, &elsewhere);
	CHECK(bans_user(b, &elsewhere) > 0);
	CHECK_EQ(bans_user(b, &home), 0);
	CHECK(bans_user(b, &through_a_socket) > 0);
	/* There, attempts are counted like those on a name that nobody has. */
	for (int i = 0; i < 3; i++) {
		count_one(b, &home);
		CHECK_EQ(bans_user(b, &home), 0);
	}
	count_one(b, &home);
	CHECK(bans_user(b, &home) > 0);
	bans_uncount(b, &home);
	CHECK_EQ(bans_user(b, &home), 0);
	count_one(b, &home);
	CHECK(bans_lift_user(b, "alice"));
	CHECK_EQ(bans_user(b, &home), 0);
	CHECK_EQ(bans_user(b, &elsewhere), 0);
	CHECK_EQ(bans_address(b, &elsewhere.from), 0);
}

TEST(i8_who_guesses_where_a_user_was_sees_no_more_than_of_nobody)
{
	_cleanup_(bans_freep) struct bans *b = fixture();
	struct attempt user = attempt("alice", &here), nobody = attempt("nobody", &here);

	user.known = true;
	for (int i = 0; i < 40; i++) {
		CHECK_EQ(bans_user(b, &user), bans_user(b, &nobody));
		if (!bans_user(b, &user))
			count_one(b, &user);
		if (!bans_user(b, &nobody))
			count_one(b, &nobody);
		pass(500);
	}
	CHECK(left(b, "alice") > 0);
}

TEST(what_sessions_register_anew_is_counted_apart)
{
	_cleanup_(bans_freep) struct bans *b = fixture();

	for (int i = 0; i < 3; i++)
		CHECK(!bans_count_renewal(b, "alice"));
	CHECK_EQ(bans_renewals(b, "alice"), 0);
	CHECK(bans_count_renewal(b, "alice"));
	CHECK_EQ(bans_renewals(b, "alice"), 1000);
	CHECK_EQ(left(b, "alice"), 0);
	CHECK_EQ(bans_renewals(b, "bob"), 0);
	CHECK_EQ(bans_in_force(b, BAN_RENEWALS), 1);
	CHECK(bans_lift_user(b, "alice"));
	CHECK_EQ(bans_renewals(b, "alice"), 0);
}

static void remember(const struct ban *ban, void *arg)
{
	struct ban *out = arg;

	*out = *ban;
}

TEST(bans_are_listed_and_lifted)
{
	_cleanup_(bans_freep) struct bans *b = fixture();
	struct ban found = { .left_ms = 0 };

	for (int i = 0; i < 4; i++)
		count(b, "alice", &here);
	bans_each(b, remember, &found);
	CHECK_EQ(found.kind, BAN_USER);
	CHECK_STR(found.name, "alice");
	CHECK_EQ(found.attempts, 4);
	CHECK_EQ(bans_in_force(b, BAN_USER), 1);
	CHECK_EQ(bans_in_force(b, BAN_ADDRESS), 0);
	CHECK(bans_lift_user(b, "alice"));
	CHECK(!bans_lift_user(b, "alice"));
	CHECK_EQ(left(b, "alice"), 0);
	CHECK(bans_lift_address(b, &here));
}

TEST(i4_a_flood_of_names_takes_bounded_memory_and_frees_nobody_who_is_guessed_at)
{
	_cleanup_(bans_freep) struct bans *b = fixture();
	const struct address_key nowhere = { 0 };
	char name[32];

	for (int i = 0; i < 100000; i++) {
		snprintf(name, sizeof(name), "flood%d", i);
		count(b, name, &nowhere);
		if (i % 10000 == 0)
			count(b, "alice", &nowhere);
	}
	CHECK(left(b, "alice") > 0);
}

TEST(addresses_have_one_text)
{
	static const char *const texts[] = { "192.0.2.1", "2001:db8:1:2::/64", "::/64" };
	char out[ADDRESS_TEXT_SPACE];
	struct address_key k;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		CHECK_EQ(address_key_parse(&k, texts[i]), 0);
		address_key_format(out, &k);
		CHECK_STR(out, texts[i]);
	}
	CHECK_EQ(address_key_parse(&k, "2001:db8:1:2:3:4:5:6"), 0);
	address_key_format(out, &k);
	CHECK_STR(out, "2001:db8:1:2::/64");
	CHECK_EQ(address_key_parse(&k, "::ffff:192.0.2.1"), 0);
	address_key_format(out, &k);
	CHECK_STR(out, "192.0.2.1");
	for (const char *const *bad = (const char *const[]){ "", "x", "192.0.2", "192.0.2.1/24", "2001:db8::/32", "/64", NULL }; *bad; bad++)
		CHECK(address_key_parse(&k, *bad) != 0);
}

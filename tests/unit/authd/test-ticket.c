/* A login_id is good once, for its time, and in this process alone. */
#include "authd/ticket.h"

#include <string.h>

#include "base/clock.h"
#include "crypto/secret.h"
#include "unit/lib/test.h"

static const struct ticket example = { .name = "alice", .user = 7, .version = 3, .address = { .family = 4, .b = { 192, 0, 2, 1 } }, .login_state = { 9 } };

static struct tickets *fixture(void)
{
	struct tickets *t;

	CHECK_EQ(crypto_init(), 0);
	clock_fake_ms(1000);
	CHECK_EQ(tickets_new(&t, 60000), 0);
	return t;
}

TEST(what_was_sealed_comes_back_once)
{
	_cleanup_(tickets_freep) struct tickets *t = fixture();
	struct ticket out = { .user = 0 };
	char text[TICKET_SPACE];

	ticket_seal(t, text, &example);
	CHECK_EQ(ticket_open(t, &out, text), 0);
	CHECK_STR(out.name, "alice");
	CHECK_EQ(out.user, 7);
	CHECK_EQ(out.version, 3);
	CHECK_MEM(out.login_state, example.login_state, sizeof(out.login_state));
	CHECK_MEM(&out.address, &example.address, sizeof(out.address));
	CHECK_EQ(ticket_open(t, &out, text), TICKET_E_USED);
}

TEST(two_of_the_same_login_differ)
{
	_cleanup_(tickets_freep) struct tickets *t = fixture();
	char a[TICKET_SPACE], b[TICKET_SPACE];
	struct ticket out;

	ticket_seal(t, a, &example);
	ticket_seal(t, b, &example);
	CHECK(strcmp(a, b) != 0);
	CHECK_EQ(strlen(a), strlen(b));
	CHECK_EQ(ticket_open(t, &out, a), 0);
	CHECK_EQ(ticket_open(t, &out, b), 0);
}

TEST(an_old_one_is_refused_and_a_used_one_for_as_long_as_it_would_be_good)
{
	_cleanup_(tickets_freep) struct tickets *t = fixture();
	char a[TICKET_SPACE], b[TICKET_SPACE];
	struct ticket out;

	ticket_seal(t, a, &example);
	ticket_seal(t, b, &example);
	CHECK_EQ(ticket_open(t, &out, a), 0);
	/* A shorter life from now on changes nothing for what is out. */
	tickets_set_ttl(t, 1000);
	clock_fake_ms(60999);
	CHECK_EQ(ticket_open(t, &out, a), TICKET_E_USED);
	clock_fake_ms(61000);
	CHECK_EQ(ticket_open(t, &out, a), TICKET_E_EXPIRED);
	CHECK_EQ(ticket_open(t, &out, b), TICKET_E_EXPIRED);
}

TEST(one_that_was_changed_or_is_another_process_is_none)
{
	_cleanup_(tickets_freep) struct tickets *t = fixture();
	_cleanup_(tickets_freep) struct tickets *other = fixture();
	char text[TICKET_SPACE], bad[TICKET_SPACE];
	struct ticket out;

	ticket_seal(t, text, &example);
	CHECK_EQ(ticket_open(other, &out, text), TICKET_E_BAD);
	for (size_t i = 0; text[i]; i++) {
		memcpy(bad, text, sizeof(bad));
		bad[i] = bad[i] == 'A' ? 'B' : 'A';
		CHECK_EQ(ticket_open(t, &out, bad), TICKET_E_BAD);
	}
	CHECK_EQ(ticket_open(t, &out, ""), TICKET_E_BAD);
	text[strlen(text) - 1] = '\0';
	CHECK_EQ(ticket_open(t, &out, text), TICKET_E_BAD);
}

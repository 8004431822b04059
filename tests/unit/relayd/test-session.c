/* Who may take a place, and when a session ends. */
#include <string.h>

#include "base/clock.h"
#include "event/loop.h"
#include "relayd/session.h"
#include "unit/lib/test.h"

struct fixture {
	struct loop *loop;
	struct sessions *t;
	unsigned int expired, freed;
};

static void on_expired(struct session *s, void *arg)
{
	struct fixture *f = arg;

	f->expired++;
	session_end(f->t, s);
}

static void on_free(struct session *s, void *arg)
{
	struct fixture *f = arg;

	(void)s;
	f->freed++;
}

static void start(struct fixture *f)
{
	struct sessions_events ev = { on_expired, on_free, f };

	memset(f, 0, sizeof(*f));
	clock_fake_ms(5000);
	CHECK_EQ(loop_new(&f->loop), 0);
	CHECK_EQ(sessions_new(&f->t, f->loop, &ev), 0);
}

static void stop(struct fixture *f)
{
	sessions_free(f->t);
	loop_free(f->loop);
}

TEST(a_session_has_a_code_of_the_alphabet_and_two_places)
{
	struct session *s, *other;
	struct fixture f;

	start(&f);
	CHECK_EQ(session_create(&s, f.t, 1000), 0);
	CHECK_EQ(session_create(&other, f.t, 1000), 0);
	CHECK(relay_code_is_valid(s->code, RELAY_CODE_LEN));
	CHECK(strcmp(s->code, other->code) != 0);
	CHECK(memcmp(s->id, other->id, sizeof(s->id)) != 0);
	CHECK(session_find(f.t, s->code) == s);
	CHECK(session_hold(f.t, s->code, RELAY_ALICE, NULL) == &s->members[0]);
	CHECK(session_hold(f.t, s->code, RELAY_BOB, NULL) == &s->members[1]);
	session_release(f.t, &s->members[0]);
	session_release(f.t, &s->members[1]);
	stop(&f);
	CHECK_EQ(f.freed, 2);
}

TEST(a_place_is_taken_once)
{
	struct session *s;
	struct member *m;
	struct fixture f;

	start(&f);
	session_create(&s, f.t, 1000);
	m = session_hold(f.t, s->code, RELAY_ALICE, NULL);
	CHECK(!session_hold(f.t, s->code, RELAY_ALICE, NULL));
	m->place = PLACE_HERE;
	CHECK(!session_hold(f.t, s->code, RELAY_ALICE, NULL));
	session_release(f.t, m);
	CHECK_EQ(m->place, PLACE_GONE);
	CHECK(!session_hold(f.t, s->code, RELAY_ALICE, NULL));
	CHECK(session_hold(f.t, s->code, RELAY_BOB, NULL) == &s->members[1]);
	session_release(f.t, &s->members[1]);
	stop(&f);
}

TEST(a_handshake_that_came_to_nothing_gives_its_place_back)
{
	struct session *s;
	struct member *m;
	struct fixture f;

	start(&f);
	session_create(&s, f.t, 1000);
	m = session_hold(f.t, s->code, RELAY_ALICE, NULL);
	session_release(f.t, m);
	CHECK(session_hold(f.t, s->code, RELAY_ALICE, NULL) == m);
	session_release(f.t, m);
	stop(&f);
}

TEST(unknown_codes_and_other_listeners_have_no_place)
{
	struct session *s;
	struct fixture f;
	char code[] = "AAAAAAAA";

	start(&f);
	CHECK(!session_hold(f.t, code, RELAY_ALICE, NULL));
	session_create(&s, f.t, 1000);
	CHECK(!session_hold(f.t, s->code, RELAY_ALICE, (struct http_listener *)&f));
	s->lan = (struct http_listener *)&f;
	CHECK(!session_hold(f.t, s->code, RELAY_ALICE, NULL));
	CHECK(session_hold(f.t, s->code, RELAY_ALICE, (struct http_listener *)&f));
	session_release(f.t, &s->members[0]);
	stop(&f);
}

TEST(a_session_ends_when_its_time_is_up)
{
	struct session *s;
	struct fixture f;

	start(&f);
	session_create(&s, f.t, 1000);
	clock_fake_ms(5999);
	loop_step(f.loop, 0);
	CHECK_EQ(f.expired, 0);
	clock_fake_ms(6000);
	CHECK(!session_hold(f.t, s->code, RELAY_ALICE, NULL));
	loop_step(f.loop, 0);
	CHECK_EQ(f.expired, 1);
	CHECK_EQ(f.freed, 1);
	CHECK_EQ(sessions_count(f.t), 0);
	stop(&f);
}

TEST(an_ended_session_is_freed_when_the_last_holder_lets_go)
{
	struct session *s;
	struct fixture f;

	start(&f);
	session_create(&s, f.t, 1000);
	session_hold(f.t, s->code, RELAY_ALICE, NULL);
	session_end(f.t, s);
	CHECK_EQ(f.freed, 0);
	CHECK(!session_find(f.t, s->code));
	session_release(f.t, &s->members[0]);
	CHECK_EQ(f.freed, 1);
	stop(&f);
}

TEST(sessions_end_in_the_order_of_their_ends)
{
	struct session *longer, *shorter;
	struct fixture f;

	start(&f);
	session_create(&longer, f.t, 5000);
	session_create(&shorter, f.t, 1000);
	CHECK(sessions_first(f.t) == shorter);
	CHECK(session_next(f.t, shorter) == longer);
	CHECK(!session_next(f.t, longer));
	clock_fake_ms(6000);
	loop_step(f.loop, 0);
	CHECK_EQ(sessions_count(f.t), 1);
	CHECK(sessions_first(f.t) == longer);
	stop(&f);
}

/* What memory is kept for. */
TEST(places_are_awaited_until_their_holders_are_there_or_the_session_is_over)
{
	struct session *s, *other;
	struct member *a, *b;
	struct fixture f;

	start(&f);
	CHECK_EQ(session_create(&s, f.t, 1000), 0);
	CHECK_EQ(session_create(&other, f.t, 1000), 0);
	CHECK_EQ(sessions_awaited(f.t), 4);
	a = session_hold(f.t, s->code, RELAY_ALICE, NULL);
	CHECK_EQ(sessions_awaited(f.t), 4);
	session_release(f.t, a);
	CHECK_EQ(sessions_awaited(f.t), 4);
	a = session_hold(f.t, s->code, RELAY_ALICE, NULL);
	session_enter(f.t, a);
	CHECK_EQ(sessions_awaited(f.t), 3);
	session_release(f.t, a);
	CHECK_EQ(sessions_awaited(f.t), 3);
	b = session_hold(f.t, s->code, RELAY_BOB, NULL);
	session_end(f.t, s);
	CHECK_EQ(sessions_awaited(f.t), 2);
	/* A handshake that ends after its session. */
	session_enter(f.t, b);
	CHECK_EQ(sessions_awaited(f.t), 2);
	session_release(f.t, b);
	session_end(f.t, other);
	CHECK_EQ(sessions_awaited(f.t), 0);
	stop(&f);
}

/* Datagrams through a room that several sockets share; a loop is only a name here. */
#include "pskd/packet/room.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "unit/lib/test.h"

static const struct loop *loop_named(unsigned int i)
{
	static const char names[4];

	return (const struct loop *)(const void *)&names[i];
}

struct link {
	int from, to;
};

static struct link link_open(void)
{
	int fds[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds), 0);
	return (struct link){ fds[0], fds[1] };
}

static void link_close(struct link *l)
{
	close(l->from);
	close(l->to);
}

/* A datagram of len bytes, each of which is what. */
static void say(const struct link *l, char what, size_t len)
{
	char data[ROOM_LARGE];

	memset(data, what, len);
	CHECK_EQ(send(l->from, data, len, 0), (ssize_t)len);
}

static void check_came(const struct room *r, unsigned int i, char what, size_t len)
{
	const uint8_t *data = r->iov[i].iov_base;

	CHECK_EQ(r->msgs[i].msg_len, len);
	for (size_t n = 0; n < len; n++)
		CHECK_EQ(data[n], (uint8_t)what);
}

TEST(a_loop_has_one_room_and_another_loop_another)
{
	struct room *a, *b, *c;

	CHECK_EQ(room_get(&a, loop_named(0)), 0);
	CHECK_EQ(room_get(&b, loop_named(1)), 0);
	CHECK_EQ(room_get(&c, loop_named(0)), 0);
	CHECK(a == c);
	CHECK(a != b);
	CHECK(a->memory != b->memory);
	room_free(a);
	/* One user is left. */
	CHECK_EQ(room_get(&a, loop_named(0)), 0);
	CHECK(a == c);
	room_free(a);
	room_free(c);
	room_free(b);
}

TEST(a_room_goes_with_its_last_user_from_wherever_it_is_in_the_row)
{
	struct room *r[4], *again;

	for (unsigned int i = 0; i < 4; i++)
		CHECK_EQ(room_get(&r[i], loop_named(i)), 0);
	/* The middle, the last made, the first made. */
	room_free(r[1]);
	room_free(r[3]);
	room_free(r[0]);
	CHECK_EQ(room_get(&again, loop_named(2)), 0);
	CHECK(again == r[2]);
	CHECK_EQ(again->users, 2);
	room_free(again);
	room_free(r[2]);
	CHECK_EQ(room_get(&again, loop_named(2)), 0);
	CHECK_EQ(again->users, 1);
	room_free(again);
	CHECK(room_free(NULL) == NULL);
}

TEST(messages_do_not_reach_into_each_other)
{
	static const size_t sizes[] = { 1, 63, 64, 65, 2048, 2049, 9000, 65000, ROOM_LARGE };
	struct room *r;

	CHECK_EQ(room_get(&r, loop_named(0)), 0);
	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		unsigned int n = room_capacity(sizes[s]);
		struct link l = link_open();

		CHECK(n >= 8 && n <= ROOM_MESSAGES);
		/* Nothing is there: only the layout is looked at. */
		CHECK_EQ(room_receive(r, l.to, sizes[s], n), -1);
		CHECK_EQ(errno, EAGAIN);
		for (unsigned int i = 0; i + 1 < n; i++)
			CHECK((uint8_t *)r->iov[i].iov_base + r->iov[i].iov_len <= (uint8_t *)r->iov[i + 1].iov_base);
		CHECK_EQ(r->iov[n - 1].iov_len, sizes[s]);
		/* To the last byte of the last: an address sanitizer sees more. */
		memset(r->iov[n - 1].iov_base, 1, sizes[s]);
		CHECK_EQ((uintptr_t)r->iov[n - 1].iov_base % 64, (uintptr_t)r->memory % 64);
		link_close(&l);
	}
	room_free(r);
}

TEST(users_with_messages_of_different_sizes_take_turns)
{
	struct link small = link_open(), large = link_open();
	struct room *r;

	CHECK_EQ(room_get(&r, loop_named(0)), 0);
	for (int turn = 0; turn < 3; turn++) {
		say(&small, 'a', 100);
		say(&small, 'b', 2048);
		say(&large, 'c', 30000);
		say(&large, 'd', 1);
		CHECK_EQ(room_receive(r, small.to, 2048, room_capacity(2048)), 2);
		check_came(r, 0, 'a', 100);
		check_came(r, 1, 'b', 2048);
		CHECK_EQ(room_receive(r, large.to, ROOM_LARGE, room_capacity(ROOM_LARGE)), 2);
		check_came(r, 0, 'c', 30000);
		check_came(r, 1, 'd', 1);
	}
	room_free(r);
	link_close(&small);
	link_close(&large);
}

TEST(i4_a_message_that_is_too_large_is_marked_and_spoils_nothing)
{
	struct link l = link_open();
	struct room *r;

	CHECK_EQ(room_get(&r, loop_named(0)), 0);
	say(&l, 'x', 3000);
	say(&l, 'y', 10);
	CHECK_EQ(room_receive(r, l.to, 2048, 2), 2);
	CHECK(r->msgs[0].msg_hdr.msg_flags & MSG_TRUNC);
	CHECK(!(r->msgs[1].msg_hdr.msg_flags & MSG_TRUNC));
	check_came(r, 1, 'y', 10);
	room_free(r);
	link_close(&l);
}

TEST(no_more_come_than_were_asked_for)
{
	struct link l = link_open();
	struct room *r;

	CHECK_EQ(room_get(&r, loop_named(0)), 0);
	for (char c = 'a'; c < 'd'; c++)
		say(&l, c, 10);
	CHECK_EQ(room_receive(r, l.to, 2048, 2), 2);
	CHECK_EQ(room_receive(r, l.to, 2048, 2), 1);
	check_came(r, 0, 'c', 10);
	room_free(r);
	link_close(&l);
}

/* Names of peers: numbers at once, names in a worker, nothing for what is neither. */
#include "pskd/network/resolve.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "event/loop.h"
#include "pskd/packet/udp.h"
#include "unit/lib/test.h"

struct answer {
	struct sockaddr_in6 v[RESOLVE_MAX];
	size_t n;
	unsigned int times;
};

static void on_done(const struct sockaddr_in6 *v, size_t n, void *arg)
{
	struct answer *a = arg;

	memcpy(a->v, v, n * sizeof(*v));
	a->n = n;
	a->times++;
}

static void add(struct resolve_names *names, const char *name)
{
	snprintf(names->v[names->n++], sizeof(names->v[0]), "%s", name);
}

TEST(numbers_need_no_waiting)
{
	struct resolve_names names = { 0 };
	struct sockaddr_in6 v[RESOLVE_MAX];
	char text[UDP_TEXT_MAX];

	add(&names, "192.0.2.1:7200");
	add(&names, "localhost:7200");
	add(&names, "[2001:db8::1]:7");
	add(&names, "2001:db8::1:7");
	CHECK_EQ(resolve_numbers(v, RESOLVE_MAX, &names), 2);
	udp_format(text, &v[0]);
	CHECK_STR(text, "192.0.2.1:7200");
	udp_format(text, &v[1]);
	CHECK_STR(text, "[2001:db8::1]:7");
}

TEST(names_are_looked_up_elsewhere)
{
	_cleanup_(loop_freep) struct loop *l = NULL;
	struct resolve_names names = { 0 };
	struct answer a = { .n = 0 };

	CHECK_EQ(loop_new(&l), 0);
	add(&names, "localhost:7200");
	add(&names, "no-such-name.invalid:7200");
	add(&names, "192.0.2.1:1");
	CHECK_EQ(resolve_start(l, &names, on_done, &a), 0);
	CHECK_EQ(a.times, 0);
	for (int i = 0; i < 1000 && a.times == 0; i++)
		loop_step(l, 30);
	CHECK_EQ(a.times, 1);
	CHECK(a.n >= 2);
	CHECK_EQ(ntohs(a.v[0].sin6_port), 7200);
	CHECK_EQ(ntohs(a.v[a.n - 1].sin6_port), 1);
}

TEST(i4_more_addresses_than_fit_are_left_out)
{
	struct resolve_names names = { 0 };
	struct sockaddr_in6 v[3];

	for (int i = 0; i < RESOLVE_MAX; i++)
		add(&names, "192.0.2.1:7200");
	CHECK_EQ(resolve_numbers(v, 3, &names), 3);
}

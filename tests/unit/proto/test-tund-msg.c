/* Requests to the privileged helper: they come back, and nothing unsound gets through. */
#include "proto/tund_msg.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "unit/lib/test.h"

static struct tund_request fixture(void)
{
	return (struct tund_request){
		.type = TUND_CONFIGURE,
		.ifname = "hf0",
		.flags = TUND_VNET_HDR,
		.mtu = 1420,
		.has_v4 = true,
		.has_v6 = true,
		.v4_local = { 10, 64, 0, 1 },
		.v4_peer = { 10, 64, 0, 2 },
		.v4_prefix = 30,
		.v6_local = { 0xfd, 1 },
		.v6_prefix = 64,
	};
}

static int round_trip(struct tund_request *out, const struct tund_request *q)
{
	uint8_t buf[TUND_MSG_MAX];
	ssize_t n = tund_request_encode(buf, sizeof(buf), q);

	CHECK(n > 0);
	return tund_request_decode(out, buf, (size_t)n);
}

static void check_taken(const struct tund_request *q)
{
	struct tund_request out;

	memset(&out, 0xff, sizeof(out));
	CHECK_EQ(round_trip(&out, q), 0);
	CHECK_EQ(out.type, q->type);
	CHECK_STR(out.ifname, q->ifname);
	CHECK_EQ(out.flags, q->flags);
	CHECK_EQ(out.mtu, q->mtu);
	CHECK_EQ(out.has_v4, q->has_v4);
	CHECK_EQ(out.has_v6, q->has_v6);
	if (q->has_v4) {
		CHECK_MEM(out.v4_local, q->v4_local, 4);
		CHECK_MEM(out.v4_peer, q->v4_peer, 4);
		CHECK_EQ(out.v4_prefix, q->v4_prefix);
	}
	if (q->has_v6) {
		CHECK_MEM(out.v6_local, q->v6_local, 16);
		CHECK_EQ(out.v6_prefix, q->v6_prefix);
	}
}

static void check_refused(const struct tund_request *q)
{
	struct tund_request out = { .mtu = 7 };

	CHECK_EQ(round_trip(&out, q), -EBADMSG);
	CHECK_EQ(out.mtu, 7);
}

TEST(a_request_comes_back_as_it_was)
{
	struct tund_request q = fixture();

	check_taken(&q);
	q.has_v4 = false;
	check_taken(&q);
	q.has_v6 = false;
	check_taken(&q);
	q.type = TUND_CREATE;
	q.mtu = 0;
	snprintf(q.ifname, sizeof(q.ifname), "hf%%d");
	check_taken(&q);
}

TEST(names_that_are_not_ours_are_refused)
{
	static const char *const names[] = { "",     "eth0", "hf",	"h",	"lo",	 "hf%d",
					     "hf%s", "hf/0", "hf 0", "hf\n",	"Hf0", "hfA",
					     "hf%d%d" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct tund_request q = fixture();

		snprintf(q.ifname, sizeof(q.ifname), "%s", names[i]);
		check_refused(&q);
	}
}

TEST(only_a_creation_may_leave_the_mtu_open)
{
	struct tund_request q = fixture();

	q.mtu = 0;
	check_refused(&q);
	q.type = TUND_CHECK;
	check_refused(&q);
	q.type = TUND_CREATE;
	check_taken(&q);
}

TEST(a_check_may_be_of_a_device_or_of_one_to_come)
{
	struct tund_request q = fixture();

	q.type = TUND_CHECK;
	check_taken(&q);
	snprintf(q.ifname, sizeof(q.ifname), "hf%%d");
	check_taken(&q);
	q.type = TUND_CONFIGURE;
	check_refused(&q);
}

TEST(values_out_of_range_are_refused)
{
	struct tund_request q = fixture();

	for (int type = 0; type < 256; type++) {
		q.type = (uint8_t)type;
		if (type == TUND_CREATE || type == TUND_CONFIGURE || type == TUND_CHECK)
			check_taken(&q);
		else
			check_refused(&q);
	}
	q = fixture();
	q.mtu = 1279;
	check_refused(&q);
	q.mtu = 1280;
	check_taken(&q);
	q.mtu = 65000;
	check_taken(&q);
	q.mtu = 65001;
	check_refused(&q);
	q = fixture();
	q.flags = 2;
	check_refused(&q);
	q = fixture();
	q.v4_prefix = 33;
	check_refused(&q);
	q = fixture();
	q.v6_prefix = 129;
	check_refused(&q);
}

static bool v4_is_given(const char *local, unsigned int prefix, const char *peer, bool any_address)
{
	struct tund_request q = { .type = TUND_CREATE, .has_v4 = true, .v4_prefix = (uint8_t)prefix };

	CHECK_EQ(inet_pton(AF_INET, local, q.v4_local), 1);
	CHECK_EQ(inet_pton(AF_INET, peer, q.v4_peer), 1);
	return !tund_request_complaint(&q, any_address);
}

static bool v6_is_given(const char *local, unsigned int prefix, bool any_address)
{
	struct tund_request q = { .type = TUND_CREATE, .has_v6 = true, .v6_prefix = (uint8_t)prefix };

	CHECK_EQ(inet_pton(AF_INET6, local, q.v6_local), 1);
	return !tund_request_complaint(&q, any_address);
}

TEST(only_private_addresses_are_given_unless_it_is_said)
{
	static const char *const own[] = { "10.0.0.1", "10.255.255.254", "172.16.0.1", "172.31.255.1",
					   "192.168.0.1", "100.64.0.1", "100.127.255.1" };
	static const char *const others[] = { "8.8.8.8", "9.255.255.1", "11.0.0.1", "172.15.0.1", "172.32.0.1",
					      "192.167.0.1", "192.169.0.1", "100.63.0.1", "100.128.0.1" };

	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		CHECK(v4_is_given(own[i], 30, "0.0.0.0", false));
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		CHECK(!v4_is_given(others[i], 30, "0.0.0.0", false));
		CHECK(v4_is_given(others[i], 30, "0.0.0.0", true));
		CHECK(!v4_is_given("10.0.0.1", 32, others[i], false));
	}
	CHECK(v6_is_given("fd00::1", 64, false));
	CHECK(v6_is_given("fc00::1", 16, false));
	CHECK(!v6_is_given("2000::1", 64, false));
	CHECK(v6_is_given("2000::1", 64, true));
	CHECK(!v6_is_given("fe00::1", 64, false));
}

TEST(no_device_attracts_the_world)
{
	static const char *const never[] = { "0.0.0.0", "0.1.2.3",   "127.0.0.5", "169.254.0.1",
					     "224.0.0.1", "240.0.0.1", "255.255.255.255" };
	static const char *const never6[] = { "::", "::1", "::ffff:10.0.0.1", "ff02::1", "fe80::1" };

	for (size_t i = 0; i < ARRAY_SIZE(never); i++) {
		CHECK(!v4_is_given(never[i], 32, "0.0.0.0", true));
		if (i > 0)
			CHECK(!v4_is_given("10.0.0.1", 32, never[i], true));
	}
	for (size_t i = 0; i < ARRAY_SIZE(never6); i++)
		CHECK(!v6_is_given(never6[i], 128, true));
	for (unsigned int prefix = 0; prefix < 16; prefix++) {
		CHECK_EQ(v4_is_given("10.0.0.1", prefix, "0.0.0.0", true), prefix >= 8);
		CHECK(!v6_is_given("fd00::1", prefix, true));
	}
	CHECK(!v4_is_given("10.0.0.255", 24, "0.0.0.0", true));
	CHECK(!v4_is_given("10.0.0.3", 30, "0.0.0.0", true));
	CHECK(v4_is_given("10.0.0.3", 31, "0.0.0.0", true));
}

TEST(every_other_length_is_refused)
{
	struct tund_request q = fixture(), out;
	uint8_t buf[TUND_MSG_MAX];
	ssize_t n = tund_request_encode(buf, sizeof(buf), &q);

	for (size_t len = 0; len < (size_t)n; len++) {
		CHECK_EQ(tund_request_decode(&out, buf, len), -EBADMSG);
		CHECK_EQ(tund_request_encode(buf + 256, len, &q), -EMSGSIZE);
	}
	buf[n] = 0;
	CHECK_EQ(tund_request_decode(&out, buf, (size_t)n + 1), -EBADMSG);
}

/* What is not there must be zero, and nothing may hide behind a name's end. */
TEST(a_request_has_one_encoding)
{
	enum { NAME_AT = 1, HAS_AT = 20 };
	struct tund_request q = fixture(), out;
	uint8_t buf[TUND_MSG_MAX];
	ssize_t n = tund_request_encode(buf, sizeof(buf), &q);

	CHECK_EQ(buf[HAS_AT], 3);
	buf[HAS_AT] = 1;
	CHECK_EQ(tund_request_decode(&out, buf, (size_t)n), -EBADMSG);
	buf[HAS_AT] = 2;
	CHECK_EQ(tund_request_decode(&out, buf, (size_t)n), -EBADMSG);
	buf[HAS_AT] = 7;
	CHECK_EQ(tund_request_decode(&out, buf, (size_t)n), -EBADMSG);
	buf[HAS_AT] = 3;
	CHECK_EQ(tund_request_decode(&out, buf, (size_t)n), 0);
	buf[NAME_AT + 10] = 'x';
	CHECK_EQ(tund_request_decode(&out, buf, (size_t)n), -EBADMSG);
	memset(buf + NAME_AT + 3, 'x', IF_NAMESIZE - 3);
	CHECK_EQ(tund_request_decode(&out, buf, (size_t)n), -EBADMSG);
}

static struct tund_request with_routes(size_t n)
{
	struct tund_request q = fixture();

	for (; q.n_routes < n; q.n_routes++)
		q.routes[q.n_routes] = prefix_make(q.n_routes & 1 ? 6 : 4, (uint8_t[16]){ 10, (uint8_t)q.n_routes }, 16);
	return q;
}

TEST(routes_come_back_as_they_were)
{
	struct tund_request q = with_routes(TUND_ROUTES_MAX), out;

	CHECK_EQ(round_trip(&out, &q), 0);
	CHECK_EQ(out.n_routes, TUND_ROUTES_MAX);
	for (size_t i = 0; i < out.n_routes; i++)
		CHECK(prefix_equal(&out.routes[i], &q.routes[i]));
	q = with_routes(1);
	CHECK_EQ(round_trip(&out, &q), 0);
	CHECK_EQ(out.n_routes, 1);
}

TEST(i4_routes_that_are_none_are_refused)
{
	struct tund_request q = with_routes(3), out;
	uint8_t buf[TUND_MSG_MAX + 64];
	ssize_t n = tund_request_encode(buf, sizeof(buf), &q);
	size_t at = (size_t)n - 3 * 18 - 1;

	CHECK_EQ(buf[at], 3);
	for (size_t len = at + 1; len < (size_t)n; len++)
		CHECK_EQ(tund_request_decode(&out, buf, len), -EBADMSG);
	/* No count of none, none of more or of fewer than there are. */
	for (unsigned int count = 0; count < 256; count++) {
		buf[at] = (uint8_t)count;
		CHECK_EQ(tund_request_decode(&out, buf, (size_t)n), count == 3 ? 0 : -EBADMSG);
	}
	buf[at] = 0;
	CHECK_EQ(tund_request_decode(&out, buf, at + 1), -EBADMSG);
	buf[at] = 3;
	for (unsigned int family = 0; family < 256; family++) {
		buf[at + 1] = (uint8_t)family;
		CHECK_EQ(tund_request_decode(&out, buf, (size_t)n), family == 4 || family == 6 ? 0 : -EBADMSG);
	}
	buf[at + 1] = 4;
	buf[at + 2] = 33;
	CHECK_EQ(tund_request_decode(&out, buf, (size_t)n), -EBADMSG);
	buf[at + 2] = 7;
	CHECK_EQ(tund_request_decode(&out, buf, (size_t)n), 0);
	buf[at + 2] = 6;
	CHECK_EQ(tund_request_decode(&out, buf, (size_t)n), -EBADMSG);
	/* More than there may be. */
	q = with_routes(TUND_ROUTES_MAX);
	n = tund_request_encode(buf, sizeof(buf), &q);
	at = (size_t)n - TUND_ROUTES_MAX * 18 - 1;
	memcpy(buf + n, buf + n - 18, 18);
	buf[at]++;
	CHECK_EQ(tund_request_decode(&out, buf, (size_t)n + 18), -EBADMSG);
}

static bool is_set(const char *text, bool any_route)
{
	struct prefix p;

	CHECK_EQ(prefix_parse(&p, text), 0);
	return tund_route_complaint(&p, any_route) == NULL;
}

TEST(only_private_networks_are_routed_unless_it_is_said)
{
	static const char *const own[] = { "10.0.0.0/8", "10.1.2.3/32", "172.16.0.0/12", "192.168.5.0/24", "100.64.0.0/10",
					   "fd00::/8", "fc00::/7", "fd12:3456::/48" };
	/* A private network's first address alone does not make the rest private. */
	static const char *const others[] = { "8.8.8.0/24", "172.0.0.0/11", "192.168.0.0/15", "100.0.0.0/9", "10.0.0.0/7",
					      "0.0.0.0/1", "128.0.0.0/1", "2001:db8::/32", "::/1", "8000::/1", "fc00::/6" };

	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		CHECK(is_set(own[i], false) && is_set(own[i], true));
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		CHECK(!is_set(others[i], false));
		CHECK(is_set(others[i], true));
	}
}

TEST(no_route_takes_what_is_the_machines_own)
{
	static const char *const never[] = { "0.0.0.0/0", "::/0", "0.0.0.0/8", "0.1.0.0/16", "127.0.0.0/8", "127.0.0.1/32",
					     "169.254.0.0/16", "169.254.9.0/24", "224.0.0.0/4", "239.0.0.0/8",
					     "255.255.255.255/32", "::1/128", "::/80", "::ffff:0:0/96", "fe80::/10",
					     "fe80::/64", "ff00::/8", "ff02::1/128" };

	for (size_t i = 0; i < ARRAY_SIZE(never); i++)
		CHECK(!is_set(never[i], true) && !is_set(never[i], false));
}

TEST(a_reply_comes_back_as_it_was)
{
	struct tund_reply good = { .ifname = "hf3" };
	struct tund_reply bad = { .error = EPERM, .detail = "not allowed \xc3\xa4" };
	struct tund_reply out;
	uint8_t buf[TUND_MSG_MAX];
	ssize_t n;

	n = tund_reply_encode(buf, sizeof(buf), &good);
	CHECK_EQ(tund_reply_decode(&out, buf, (size_t)n), 0);
	CHECK_EQ(out.error, 0);
	CHECK_STR(out.ifname, "hf3");
	CHECK_STR(out.detail, "");

	n = tund_reply_encode(buf, sizeof(buf), &bad);
	CHECK_EQ(tund_reply_decode(&out, buf, (size_t)n), 0);
	CHECK_EQ(out.error, EPERM);
	CHECK_STR(out.detail, bad.detail);
	for (size_t len = 0; len < (size_t)n; len++)
		CHECK_EQ(tund_reply_decode(&out, buf, len), -EBADMSG);
	buf[n] = 0;
	CHECK_EQ(tund_reply_decode(&out, buf, (size_t)n + 1), -EBADMSG);
}

TEST(replies_that_make_no_sense_are_refused)
{
	struct tund_reply y = { .ifname = "hf3" }, out;
	uint8_t buf[TUND_MSG_MAX];
	ssize_t n;

	/* A device of another name. */
	snprintf(y.ifname, sizeof(y.ifname), "eth0");
	n = tund_reply_encode(buf, sizeof(buf), &y);
	CHECK_EQ(tund_reply_decode(&out, buf, (size_t)n), -EBADMSG);
	/* A negative error. */
	y = (struct tund_reply){ .error = -1 };
	n = tund_reply_encode(buf, sizeof(buf), &y);
	CHECK_EQ(tund_reply_decode(&out, buf, (size_t)n), -EBADMSG);
	/* A detail that is not UTF-8. */
	y = (struct tund_reply){ .error = EPERM, .detail = "\xff" };
	n = tund_reply_encode(buf, sizeof(buf), &y);
	CHECK_EQ(tund_reply_decode(&out, buf, (size_t)n), -EBADMSG);
}

TEST(networks_of_addresses_are_those_the_kernel_routes_to)
{
	struct prefix p[TUND_CONNECTED_MAX];
	struct tund_request q = fixture();
	char text[PREFIX_TEXT_MAX];

	CHECK_EQ(tund_connected(p, &q), 2);
	prefix_format(text, &p[0]);
	CHECK_STR(text, "10.64.0.0/30");
	prefix_format(text, &p[1]);
	CHECK_STR(text, "fd01::/64");
	/* Point to point it is the peer; an address alone leads nowhere. */
	q.v4_prefix = 32;
	q.v6_prefix = 128;
	CHECK_EQ(tund_connected(p, &q), 1);
	prefix_format(text, &p[0]);
	CHECK_STR(text, "10.64.0.2/32");
	memset(q.v4_peer, 0, sizeof(q.v4_peer));
	CHECK_EQ(tund_connected(p, &q), 0);
}

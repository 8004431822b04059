/* Congestion and urgency: marks between the outer packet and the one inside. */
#include "unit/pskd/path_ends.h"

#include <sys/socket.h>

#include "base/clock.h"
#include "pskd/packet/ecn.h"
#include "pskd/packet/offload.h"

static void set_class(int fd, int value)
{
	CHECK_EQ(setsockopt(fd, IPPROTO_IPV6, IPV6_TCLASS, &value, sizeof(value)), 0);
}

static void fill_marked(uint8_t *ip, size_t len, uint8_t class)
{
	fill_ip(ip, len, 0x11);
	ip[1] = class;
}

TEST(the_outer_mark_reaches_the_packet_inside)
{
	static const struct {
		uint8_t inner, outer, out;
	} cases[] = { { 0xb8 | ECN_ECT0, ECN_CE, 0xb8 | ECN_CE },  { ECN_ECT0, ECN_ECT1, ECN_ECT1 },
		      { ECN_ECT1, 0x20 | ECN_CE, ECN_CE },	   { ECN_CE, ECN_NOT_ECT, ECN_CE },
		      { ECN_NOT_ECT, 0xb8 | ECN_ECT0, ECN_NOT_ECT } };
	_cleanup_(both_freep) struct both *x = both_new(SLOTS);
	uint8_t ip[60], msg[200], got[100];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		fill_marked(ip, sizeof(ip), cases[i].inner);
		set_class(x->raw, cases[i].outer);
		inject(x, msg, forge(x, msg, i, ip, sizeof(ip)));
		CHECK_EQ(read(x->b.tun, got, sizeof(got)), (ssize_t)sizeof(ip));
		CHECK_EQ(got[1], cases[i].out);
	}
	CHECK_EQ(drops_of(&x->b).arrived, 0);
}

TEST(a_mark_that_the_packet_inside_cannot_have_drops_it)
{
	_cleanup_(both_freep) struct both *x = both_new(SLOTS);
	uint8_t ip[60], msg[200], got[100];

	fill_marked(ip, sizeof(ip), 0xb8);
	set_class(x->raw, ECN_CE);
	inject(x, msg, forge(x, msg, 0, ip, sizeof(ip)));
	CHECK_EQ(read(x->b.tun, got, sizeof(got)), -1);
	CHECK_EQ(drops_of(&x->b).n[DROP_ECN], 1);
	/* One with nothing inside has nothing to lose. */
	inject(x, msg, forge(x, msg, 1, NULL, 0));
	CHECK_EQ(drops_of(&x->b).arrived, 1);
	CHECK_EQ(path_rx_next(x->b.path), 2);
}

/* From now on a sends to x->raw instead, which is told classes. */
static void catch_outer(struct both *x)
{
	struct sockaddr_in6 at = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	socklen_t len = sizeof(at);
	struct timeval second = { .tv_sec = 1 };
	int on = 1;

	CHECK_EQ(bind(x->raw, (struct sockaddr *)&at, sizeof(at)), 0);
	CHECK_EQ(getsockname(x->raw, (struct sockaddr *)&at, &len), 0);
	CHECK_EQ(setsockopt(x->raw, IPPROTO_IPV6, IPV6_RECVTCLASS, &on, sizeof(on)), 0);
	CHECK_EQ(setsockopt(x->raw, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second)), 0);
	((struct session *)(uintptr_t)path_current(x->a.path))->address = at;
}

/* The class of the next datagram that a sent, which carries len bytes; -1: none came. */
static int outer_class(struct both *x, size_t len)
{
	uint8_t data[MTU + PSK2_OVERHEAD], room[100];
	struct iovec iov = { data, sizeof(data) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room) };
	ssize_t n = recvmsg(x->raw, &m, 0);

	if (n < 0)
		return -1;
	CHECK_EQ(n, (ssize_t)(len + PSK2_OVERHEAD));
	return udp_get_class(&m);
}

static void check_outer(struct both *x, bool obeys, uint8_t dscp)
{
	static const uint8_t inner[] = { 0xb8 | ECN_ECT0, 0xb8 | ECN_ECT0, 0xb8 | ECN_ECT0, 0xb8 | ECN_CE, 0xb8, 0x28 | ECN_ECT1,
					 0x28 | ECN_ECT1, ECN_ECT0, ECN_ECT0, ECN_NOT_ECT };
	uint8_t ip[200];

	for (size_t i = 0; i < ARRAY_SIZE(inner); i++) {
		fill_marked(ip, sizeof(ip), inner[i]);
		CHECK_EQ(write(x->a.tun, ip, sizeof(ip)), (ssize_t)sizeof(ip));
	}
	run(x);
	for (size_t i = 0; i < ARRAY_SIZE(inner); i++)
		CHECK_EQ(outer_class(x, sizeof(ip)), ecn_encapsulate(inner[i], dscp, obeys));
}

static void check_marks(unsigned int wanted, uint8_t dscp)
{
	_cleanup_(both_freep) struct both *x = NULL;
	uint64_t now = 1000000;
	uint8_t none[1];

	offload = wanted;
	dscp_of_both = dscp;
	clock_fake_ms(now);
	x = both_new(SLOTS);
	catch_outer(x);
	/* Its peer has answered nothing yet. */
	check_outer(x, false, dscp);
	close(x->raw);
	x->raw = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	give_session(&x->a, &x->b, NUMBER, false);
	CHECK(!path_copies_ecn(x->a.path));
	find_mtu(x, &now);
	CHECK(path_copies_ecn(x->a.path));
	catch_outer(x);
	check_outer(x, true, dscp);
	/* What has nothing inside is marked as nothing, and as urgent as the rest. */
	CHECK(path_send_keepalive(x->a.path, false));
	CHECK_EQ(outer_class(x, 0), dscp == ECN_DSCP_COPY ? 0 : dscp << 2);
	path_send_handshake(x->a.path, none, 0, &(struct udp_ends){ .peer = path_current(x->a.path)->address });
	CHECK_EQ(recv(x->raw, none, sizeof(none), 0), 0);
}

TEST(outer_marks_are_those_inside_when_the_peer_is_known_to_obey_them)
{
	check_marks(0, 0);
}

TEST(outer_marks_break_runs_of_one_send)
{
	check_marks(OFFLOAD_ALL, 0);
}

TEST(outer_urgency_is_copied)
{
	check_marks(OFFLOAD_ALL, ECN_DSCP_COPY);
}

TEST(outer_urgency_is_a_number)
{
	check_marks(OFFLOAD_ALL, 46);
}

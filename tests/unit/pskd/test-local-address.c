/*
 * A host with several addresses: what comes says which of them it was sent to, and what is sent leaves from there, or,
 * where the kernel will not, from another: nothing is lost, and no sequence is used twice. In a network namespace of the
 * test's own; without root there is nothing to test.
 */
#include "unit/pskd/path_ends.h"

#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>

#include "pskd/network/way.h"
#include "pskd/packet/offload.h"
#include "pskd/packet/room.h"

static void commands(const char *text)
{
	CHECK_EQ(system(text), 0);
}

/* A card of no use but for its addresses: all that is sent to them passes by the loopback. */
static void network(void)
{
	if (system("command -v ip >/dev/null") != 0)
		test_skip("no ip(8)");
	if (unshare(CLONE_NEWNET) < 0)
		test_skip("no network namespace: %s", strerror(errno));
	commands("ip link set lo up && ip link add c0 type veth peer name c1 && ip link set c0 up && ip link set c1 up &&"
		 " for i in 1 2; do ip addr add 192.0.2.$i/24 dev c0 && ip addr add 2001:db8::$i/64 dev c0 nodad || exit 1; done &&"
		 " ip addr add 169.254.0.9/24 dev c0 && ip addr add fe80::9/64 dev c0 nodad && ip addr add fe80::19/64 dev c0 nodad");
}

static struct sockaddr_in6 at(const char *text)
{
	struct sockaddr_in6 a;

	CHECK_EQ(udp_parse(&a, text), 0);
	return a;
}

static struct udp_local local(const char *text)
{
	struct sockaddr_in6 a = at(text);

	return (struct udp_local){ .address = a.sin6_addr, .ifindex = a.sin6_scope_id };
}

/* The next datagram of a socket, as the packet path receives it: where it is from, and to. */
static struct udp_ends next(const struct udp *u)
{
	static const char name;
	_cleanup_(room_freep) struct room *r = NULL;
	struct udp_ends e;

	CHECK_EQ(room_get(&r, (const struct loop *)(const void *)&name), 0);
	CHECK_EQ(room_receive(r, u->fd, 2000, 1), 1);
	CHECK_EQ(r->msgs[0].msg_hdr.msg_flags & MSG_CTRUNC, 0);
	udp_from_socket(&e.peer, &r->address[0]);
	udp_get_local(&e.local, &r->msgs[0].msg_hdr);
	/* Beside all else that is told. */
	CHECK_EQ(udp_get_class(&r->msgs[0].msg_hdr), 0xb8);
	return e;
}

/* From an address of its own to one of the other's, and back. */
static void check_there_and_back(struct udp *there, struct udp *here, const char *from, const char *to)
{
	struct sockaddr_in6 a = at(from), b = at(to);
	struct udp_local l = local(from);
	struct udp_ends came;

	b.sin6_port = htons(udp_port(there));
	CHECK_EQ(udp_send_by(here, "there", 5, &b, 0, &l, 0xb8), 0);
	CHECK_MEM(&l.address, &a.sin6_addr, 16);
	came = next(there);
	CHECK_MEM(&came.peer.sin6_addr, &a.sin6_addr, 16);
	CHECK_MEM(&came.local.address, &b.sin6_addr, 16);
	CHECK(came.local.ifindex != 0);
	CHECK_EQ(udp_send_by(there, "back", 4, &came.peer, 0, &came.local, 0xb8), 0);
	came = next(here);
	CHECK_MEM(&came.peer.sin6_addr, &b.sin6_addr, 16);
	CHECK_MEM(&came.local.address, &a.sin6_addr, 16);
}

TEST(answers_leave_from_where_the_question_was_sent)
{
	const struct sockaddr_in6 any = { .sin6_family = AF_INET6 };
	struct udp a, b;

	network();
	CHECK_EQ(udp_open(&a, &any), 0);
	CHECK_EQ(udp_open(&b, &any), 0);
	CHECK(!a.v4_only);
	check_there_and_back(&a, &b, "192.0.2.1:1", "192.0.2.2:1");
	check_there_and_back(&a, &b, "192.0.2.2:1", "169.254.0.9:1");
	check_there_and_back(&a, &b, "[2001:db8::1]:1", "[2001:db8::2]:1");
	check_there_and_back(&a, &b, "[2001:db8::2]:1", "[2001:db8::1]:1");
	check_there_and_back(&a, &b, "[fe80::9%c0]:1", "[fe80::19%c0]:1");
	check_there_and_back(&a, &b, "[fe80::19%c0]:1", "[fe80::9%c0]:1");
	/* As one that an earlier life left. */
	CHECK_EQ(setsockopt(a.fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &(int){ 0 }, sizeof(int)), 0);
	CHECK_EQ(udp_adopt(&a, a.fd, &any), 0);
	check_there_and_back(&a, &b, "192.0.2.1:1", "192.0.2.2:1");
	udp_close(&a);
	udp_close(&b);
}

/* On a machine without IPv6. */
TEST(also_through_sockets_of_ipv4)
{
	struct sockaddr_in any = { .sin_family = AF_INET };
	struct sockaddr_in6 wildcard = { .sin6_family = AF_INET6 };
	struct udp u[2];

	network();
	for (int i = 0; i < 2; i++) {
		int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

		CHECK_EQ(bind(fd, (struct sockaddr *)&any, sizeof(any)), 0);
		CHECK_EQ(udp_adopt(&u[i], fd, &wildcard), 0);
		CHECK(u[i].v4_only);
	}
	check_there_and_back(&u[0], &u[1], "192.0.2.2:1", "192.0.2.1:1");
	check_there_and_back(&u[0], &u[1], "192.0.2.1:1", "192.0.2.2:1");
	udp_close(&u[0]);
	udp_close(&u[1]);
}

TEST(an_address_that_is_gone_or_of_the_other_family_stops_nothing)
{
	static const char *const gone[] = { "192.0.2.77:1", "[2001:db8::77]:1", "255.255.255.255:1", "[fe80::77%c0]:1", "[ff02::1%c0]:1" };
	static const char *const to[] = { "192.0.2.1:1", "[2001:db8::1]:1", "192.0.2.1:1", "[fe80::9%c0]:1", "[2001:db8::1]:1" };
	const struct sockaddr_in6 any = { .sin6_family = AF_INET6 };
	struct udp a, b;

	network();
	CHECK_EQ(udp_open(&a, &any), 0);
	CHECK_EQ(udp_open(&b, &any), 0);
	for (size_t i = 0; i < ARRAY_SIZE(gone); i++) {
		struct udp_local l = local(gone[i]), other = local(to[(i + 1) % 2]);
		struct sockaddr_in6 there = at(to[i]);

		there.sin6_port = htons(udp_port(&a));
		CHECK_EQ(udp_send_by(&b, "x", 1, &there, 0, &l, 0xb8), 0);
		CHECK(!udp_is_local(&l));
		next(&a);
		if (i > 1)
			continue;
		/* Of no use there, and kept. */
		CHECK_EQ(udp_send_by(&b, "x", 1, &there, 0, &other, 0xb8), 0);
		CHECK(udp_is_local(&other));
		next(&a);
	}
	/* What would not go anyway is told as ever. */
	CHECK_EQ(udp_send_by(&b, "x", 1, &any, WAY_NONE, &(struct udp_local){ .ifindex = 0 }, -1), -ENETUNREACH);
	udp_close(&a);
	udp_close(&b);
}

/* What is said of a datagram from an address to another, by this device: 0: nothing. */
static size_t said(struct in6_pktinfo *out, const char *from, const char *to, uint32_t way)
{
	union {
		struct cmsghdr c;
		uint8_t room[UDP_WAY_SPACE_MAX];
	} u = { .room = { 0 } };
	struct udp_local l = from ? local(from) : (struct udp_local){ .ifindex = 0 };
	struct sockaddr_in6 there = at(to);
	size_t space = udp_way_space(&there, way, &l);
	struct in_pktinfo v4;

	*out = (struct in6_pktinfo){ .ipi6_ifindex = 0 };
	if (space == 0)
		return 0;
	udp_put_way(&u.c, &there, way, &l);
	CHECK_EQ(space, CMSG_ALIGN(u.c.cmsg_len));
	if (u.c.cmsg_level == IPPROTO_IPV6) {
		CHECK_EQ(u.c.cmsg_type, IPV6_PKTINFO);
		memcpy(out, CMSG_DATA(&u.c), sizeof(*out));
		return space;
	}
	CHECK_EQ(u.c.cmsg_type, IP_PKTINFO);
	memcpy(&v4, CMSG_DATA(&u.c), sizeof(v4));
	out->ipi6_ifindex = (unsigned int)v4.ipi_ifindex;
	memcpy(out->ipi6_addr.s6_addr + 12, &v4.ipi_spec_dst, 4);
	return space;
}

static void check_said(const char *from, const char *to, uint32_t way, bool address, uint32_t ifindex)
{
	struct in6_pktinfo i;

	CHECK_EQ(said(&i, from, to, way) > 0, address || ifindex);
	CHECK_EQ(!IN6_IS_ADDR_UNSPECIFIED(&i.ipi6_addr), address);
	CHECK_EQ(i.ipi6_ifindex, ifindex);
}

TEST(what_is_said_is_what_counts)
{
	check_said(NULL, "192.0.2.1:1", 0, false, 0);
	check_said(NULL, "[2001:db8::1]:1", 0, false, 0);
	check_said("192.0.2.2:1", "192.0.2.1:1", 0, true, 0);
	check_said("[2001:db8::2]:1", "[2001:db8::1]:1", 0, true, 0);
	check_said("[fe80::2%lo]:1", "[fe80::1%lo]:1", 0, true, 1);
	/* Of no use there. */
	check_said("192.0.2.2:1", "[2001:db8::1]:1", 0, false, 0);
	check_said("[2001:db8::2]:1", "192.0.2.1:1", 0, false, 0);
	/* Past a tunnel that takes everything: beside an address of IPv6 the kernel would take the device for a wish. */
	check_said(NULL, "192.0.2.1:1", 7, false, 7);
	check_said(NULL, "[2001:db8::1]:1", 7, false, 7);
	check_said("192.0.2.2:1", "192.0.2.1:1", 7, true, 7);
	check_said("[2001:db8::2]:1", "[2001:db8::1]:1", 7, false, 7);
}

/* Two ends over IPv4 and all of the machine's addresses: a sends from 192.0.2.1, b is asked at 192.0.2.2. */
static struct both *both_anywhere(void)
{
	struct both *x = calloc(1, sizeof(*x));
	const struct session_id number = id(NUMBER);
	struct session *s;

	CHECK(x != NULL);
	CHECK_EQ(crypto_init(), 0);
	random_bytes(x->material, sizeof(x->material));
	listen_at = (struct sockaddr_in6){ .sin6_family = AF_INET6 };
	end_init(&x->a, "a", KEYS_INITIATOR, x->material, SLOTS, false);
	end_init(&x->b, "b", KEYS_RESPONDER, x->material, SLOTS, false);
	for (int i = 0; i < 2; i++) {
		struct end *e = i ? &x->b : &x->a;
		uint16_t port = e->address.sin6_port;

		e->address = at(i ? "192.0.2.2:1" : "192.0.2.1:1");
		e->address.sin6_port = port;
	}
	for (int i = 0; i < 2; i++) {
		struct end *e = i ? &x->b : &x->a;

		CHECK_EQ(session_new(&s, &number, e->role, path_rx_slots(8192)), 0);
		s->address = i ? x->a.address : x->b.address;
		if (i == 0)
			s->local = local("192.0.2.1:1");
		path_set_current(e->path, &s);
	}
	CHECK_EQ(session_new(&x->forge, &number, KEYS_INITIATOR, 20), 0);
	x->raw = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	CHECK(x->raw >= 0);
	return x;
}

static bool heard_from(const struct end *e, const char *text)
{
	struct sockaddr_in6 a = at(text);

	return memcmp(&path_current(e->path)->heard_from.sin6_addr, &a.sin6_addr, 16) == 0;
}

static bool sends_from(const struct end *e, const char *text)
{
	struct udp_local l = local(text);

	return memcmp(&path_current(e->path)->local.address, &l.address, 16) == 0;
}

/* A burst of n packets of two sizes from one end to the other: all come, once and in order. */
static void burst(struct both *x, struct end *from, struct end *to, unsigned int n)
{
	uint8_t ip[MTU], got[MTU + 100];

	for (unsigned int i = 0; i < n; i++) {
		fill_ip(ip, i < n / 2 ? 1300 : 60, (uint8_t)i);
		CHECK_EQ(write(from->tun, ip, i < n / 2 ? 1300 : 60), i < n / 2 ? 1300 : 60);
	}
	run(x);
	for (unsigned int i = 0; i < n; i++) {
		fill_ip(ip, i < n / 2 ? 1300 : 60, (uint8_t)i);
		CHECK_EQ(read(to->tun, got, sizeof(got)), i < n / 2 ? 1300 : 60);
		CHECK_MEM(got, ip, i < n / 2 ? 1300 : 60);
	}
	CHECK(read(to->tun, got, sizeof(got)) < 0);
}

static void check_paths(unsigned int wanted)
{
	_cleanup_(both_freep) struct both *x = NULL;

	network();
	offload = wanted;
	x = both_anywhere();
	burst(x, &x->a, &x->b, 40);
	CHECK(heard_from(&x->b, "192.0.2.1:1"));
	CHECK(sends_from(&x->b, "192.0.2.2:1"));
	burst(x, &x->b, &x->a, 40);
	CHECK(heard_from(&x->a, "192.0.2.2:1"));
	/* Not one that the kernel would choose. */
	commands("ip addr add 192.0.2.3/24 dev c0");
	path_send_keepalive(x->b.path, false);
	run(x);
	CHECK(heard_from(&x->a, "192.0.2.2:1"));
	/* The network is another now: the kernel chooses, until the peer is heard. */
	path_forget_locals(x->b.path);
	CHECK(!udp_is_local(&path_current(x->b.path)->local));
	burst(x, &x->b, &x->a, 4);
	CHECK(heard_from(&x->a, "192.0.2.1:1"));
	burst(x, &x->a, &x->b, 4);
	burst(x, &x->b, &x->a, 4);
	CHECK(heard_from(&x->a, "192.0.2.2:1"));
	/* The address goes. Nothing of the batch that finds it out is lost or comes twice, and the next are whole again. */
	commands("ip addr del 192.0.2.2/24 dev c0");
	burst(x, &x->b, &x->a, 40);
	CHECK(!udp_is_local(&path_current(x->b.path)->local));
	CHECK(heard_from(&x->a, "192.0.2.1:1"));
	CHECK_EQ(path_counters(x->b.path)->drops.n[DROP_SEND], 0);
	CHECK_EQ(drops_of(&x->a).arrived, 0);
	CHECK_EQ(path_offload(x->b.path), path_offload(x->a.path));
	burst(x, &x->b, &x->a, 40);
}

TEST(data_leaves_from_where_the_peer_sends_to_and_from_another_when_that_is_gone)
{
	check_paths(0);
}

TEST(also_in_segmented_sends)
{
	check_paths(OFFLOAD_UDP_GSO | OFFLOAD_UDP_GRO);
}

/* A stranger's packet to another address, or the peer's from elsewhere, moves nothing. */
TEST(i6_only_what_the_peer_proves_from_where_it_is_counts)
{
	_cleanup_(both_freep) struct both *x = NULL;
	uint8_t ip[40], msg[200];
	in_port_t port;

	network();
	x = both_anywhere();
	port = x->b.address.sin6_port;
	burst(x, &x->a, &x->b, 2);
	CHECK(sends_from(&x->b, "192.0.2.2:1"));
	x->b.address = at("169.254.0.9:1");
	x->b.address.sin6_port = port;
	inject(x, (const uint8_t *)"PSK2", 4);
	CHECK(sends_from(&x->b, "192.0.2.2:1"));
	/* The peer's own, from elsewhere: the answer goes to where it was proven to be, which was reached from the other. */
	fill_ip(ip, sizeof(ip), 3);
	inject(x, msg, forge(x, msg, 7, ip, sizeof(ip)));
	CHECK(path_current(x->b.path)->heard_from.sin6_port != path_current(x->b.path)->address.sin6_port);
	CHECK(sends_from(&x->b, "192.0.2.2:1"));
}

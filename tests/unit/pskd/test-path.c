/* Packets pass both ways, and every cause of dropping one is provoked, by a packet that is right but for that. */
#include "unit/pskd/path_ends.h"

#include <malloc.h>
#include <netinet/udp.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "crypto/secret.h"
#include "event/loop.h"
#include "pskd/packet/offload.h"

/* A tunnel may be started and stopped any number of times. */
TEST(i4_a_path_that_ended_leaves_nothing)
{
	struct sockaddr_in6 at = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	_cleanup_(both_freep) struct both *x = both_new(1);
	size_t before = 0;

	for (int i = 0; i < 110; i++) {
		struct path_options o = { .loop = x->a.loop, .keys = x->a.keys, .window = 8192, .mtu = MTU,
					  .events = &events, .arg = &x->a };
		struct path *p;
		int fds[2];

		/* What is made once and kept is there by then. */
		if (i == 10)
			before = mallinfo2().uordblks;
		CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
		CHECK_EQ(udp_open(&o.udp, &at), 0);
		o.tun_fd = fds[1];
		CHECK_EQ(path_new(&p, &o), 0);
		path_free(p);
		close(fds[0]);
	}
	CHECK(mallinfo2().uordblks < before + 100 * 100);
}

TEST(packets_pass_both_ways_in_order)
{
	_cleanup_(both_freep) struct both *x = both_new(SLOTS);
	uint8_t ip[MTU], got[MTU + 100];

	for (int i = 0; i < 200; i++) {
		size_t len = (size_t)(20 + i * 7);
		struct end *from = i % 2 ? &x->b : &x->a, *to = i % 2 ? &x->a : &x->b;

		fill_ip(ip, len, (uint8_t)i);
		CHECK_EQ(write(from->tun, ip, len), (ssize_t)len);
		run(x);
		CHECK_EQ(read(to->tun, got, sizeof(got)), (ssize_t)len);
		CHECK_MEM(got, ip, len);
	}
	CHECK_EQ(path_counters(x->a.path)->tx_packets, 100);
	CHECK_EQ(path_counters(x->b.path)->rx_packets, 100);
}

TEST(i1_more_than_a_slot_passes_and_every_sequence_is_used_once)
{
	_cleanup_(both_freep) struct both *x = both_new(SLOTS);
	uint8_t ip[60], got[100];
	unsigned int n = 0;

	fill_ip(ip, sizeof(ip), 1);
	for (int i = 0; i < 3500; i++) {
		CHECK_EQ(write(x->a.tun, ip, sizeof(ip)), (ssize_t)sizeof(ip));
		if (i % 50 == 49) {
			run(x);
			while (read(x->b.tun, got, sizeof(got)) > 0)
				n++;
		}
	}
	CHECK_EQ(n, 3500);
	CHECK_EQ(path_rx_next(x->b.path), 3500);
	CHECK_EQ(keys_rx_high(x->b.keys), 3499);
}

static void check_bursts(unsigned int wanted)
{
	static const size_t sizes[] = { 20, 60, 60, 60, 61, 1300, 1300, 1300, 1300, 400, MTU, MTU, 20, 1300, MTU };
	_cleanup_(both_freep) struct both *x = NULL;
	uint8_t ip[MTU], got[MTU + 100];

	offload = wanted;
	x = both_new(SLOTS);
	CHECK_EQ(path_offload(x->a.path) & ~wanted, 0);
	for (int burst = 0; burst < 40; burst++) {
		size_t n = 1 + (size_t)burst * 2;

		for (size_t i = 0; i < n; i++) {
			size_t len = sizes[(i / 7 + (size_t)burst) % ARRAY_SIZE(sizes)];

			fill_ip(ip, len, (uint8_t)(burst * 3 + (int)i));
			CHECK_EQ(write(x->a.tun, ip, len), (ssize_t)len);
		}
		run(x);
		for (size_t i = 0; i < n; i++) {
			size_t len = sizes[(i / 7 + (size_t)burst) % ARRAY_SIZE(sizes)];

			fill_ip(ip, len, (uint8_t)(burst * 3 + (int)i));
			CHECK_EQ(read(x->b.tun, got, sizeof(got)), (ssize_t)len);
			CHECK_MEM(got, ip, len);
		}
	}
	CHECK_EQ(path_counters(x->b.path)->rx_packets, path_counters(x->a.path)->tx_packets);
	CHECK_EQ(path_counters(x->b.path)->rx_bytes, path_counters(x->a.path)->tx_bytes);
	CHECK_EQ(drops_of(&x->b).arrived, 0);
}

TEST(bursts_arrive_in_order_without_offloads)
{
	check_bursts(0);
}

TEST(bursts_arrive_in_order_with_segmented_sends)
{
	check_bursts(OFFLOAD_UDP_GSO);
}

TEST(bursts_arrive_in_order_with_joined_receives)
{
	check_bursts(OFFLOAD_UDP_GRO);
}

TEST(bursts_arrive_in_order_with_both)
{
	check_bursts(OFFLOAD_ALL);
}

/* Many datagrams in one receive: each is judged alone, wherever it lies. */
TEST(i4_bad_datagrams_among_good_ones_are_dropped_alone)
{
	_cleanup_(both_freep) struct both *x = NULL;
	uint8_t ip[200], all[40 * (200 + PSK2_OVERHEAD)], got[300];
	int size = sizeof(ip) + PSK2_OVERHEAD;
	size_t len = 0;

	offload = OFFLOAD_ALL;
	x = both_new(SLOTS);
	if (!(path_offload(x->b.path) & OFFLOAD_UDP_GRO) ||
	    setsockopt(x->raw, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)) != 0)
		test_skip("no UDP_GRO here");
	for (uint64_t i = 0; i < 40; i++) {
		fill_ip(ip, sizeof(ip), (uint8_t)i);
		CHECK_EQ(forge(x, all + len, i, ip, sizeof(ip)), (size_t)size);
		if (i % 4 == 1)
			all[len + 40] ^= 1;
		else if (i % 4 == 2)
			memcpy(all + len, "PSKH", 4);
		len += (size_t)size;
	}
	/* The last one is shorter than a packet can be. */
	inject(x, all, len - (size_t)size + PSK2_OVERHEAD - 1);
	for (int i = 0; i < 39; i++) {
		if (i % 4 == 1 || i % 4 == 2)
			continue;
		fill_ip(ip, sizeof(ip), (uint8_t)i);
		CHECK_EQ(read(x->b.tun, got, sizeof(got)), (ssize_t)sizeof(ip));
		CHECK_MEM(got, ip, sizeof(ip));
	}
	CHECK_EQ(read(x->b.tun, got, sizeof(got)), -1);
	CHECK_EQ(drops_of(&x->b).n[DROP_AEAD], 10);
	CHECK_EQ(drops_of(&x->b).n[DROP_LENGTH], 1);
	CHECK_EQ(x->b.handshakes, 10);
	/* And all once more: nothing is taken twice. */
	inject(x, all, len - (size_t)size);
	CHECK_EQ(read(x->b.tun, got, sizeof(got)), -1);
	CHECK_EQ(drops_of(&x->b).n[DROP_REPLAY], 19);
}

TEST(a_right_packet_is_taken_once)
{
	_cleanup_(both_freep) struct both *x = both_new(SLOTS);
	uint8_t ip[40], msg[200], got[100];
	size_t len;

	fill_ip(ip, sizeof(ip), 3);
	len = forge(x, msg, 5, ip, sizeof(ip));
	inject(x, msg, len);
	CHECK_EQ(read(x->b.tun, got, sizeof(got)), (ssize_t)sizeof(ip));
	inject(x, msg, len);
	CHECK_EQ(read(x->b.tun, got, sizeof(got)), -1);
	CHECK_EQ(drops_of(&x->b).n[DROP_REPLAY], 1);
}

TEST(only_right_packets_say_where_the_peer_sends_from)
{
	_cleanup_(both_freep) struct both *x = both_new(SLOTS);
	struct sockaddr_in6 raw;
	socklen_t n = sizeof(raw);
	uint8_t ip[40], msg[200];
	size_t len;

	fill_ip(ip, sizeof(ip), 3);
	len = forge(x, msg, 7, ip, sizeof(ip));
	msg[60] ^= 1;
	inject(x, msg, len);
	CHECK_EQ(path_current(x->b.path)->heard_from.sin6_port, 0);
	msg[60] ^= 1;
	inject(x, msg, len);
	CHECK_EQ(getsockname(x->raw, (struct sockaddr *)&raw, &n), 0);
	CHECK_EQ(path_current(x->b.path)->heard_from.sin6_port, raw.sin6_port);
	/* But nothing is sent there yet. */
	CHECK_EQ(path_current(x->b.path)->address.sin6_port, x->a.address.sin6_port);
}

TEST(i4_each_wrong_thing_is_dropped_for_what_it_is)
{
	_cleanup_(both_freep) struct both *x = both_new(SLOTS);
	static const struct {
		size_t offset;
		uint8_t flip;
		enum drop cause;
	} cases[] = {
		{ 0, 0x20, DROP_MAGIC }, { 4, 3, DROP_VERSION }, { 5, 1, DROP_FLAGS }, { 5, 2, DROP_FLAGS },
		{ 7, 1, DROP_SESSION }, { 6, 2, DROP_DIRECTION }, { 6, 1, DROP_DIRECTION }, { 8, 1, DROP_TAG },
		{ 23, 0x80, DROP_TAG }, { 24, 1, DROP_AHEAD }, { 31, 1, DROP_AEAD }, { 32, 1, DROP_AEAD },
		{ 80, 1, DROP_AEAD },
	};
	uint8_t ip[40], msg[200], got[100];
	size_t len;

	fill_ip(ip, sizeof(ip), 3);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t before = drops_of(&x->b).n[cases[i].cause];

		len = forge(x, msg, 100, ip, sizeof(ip));
		msg[cases[i].offset] ^= cases[i].flip;
		inject(x, msg, len);
		CHECK_EQ(drops_of(&x->b).n[cases[i].cause], before + 1);
		CHECK_EQ(read(x->b.tun, got, sizeof(got)), -1);
	}
	inject(x, msg, PSK2_OVERHEAD - 1);
	CHECK_EQ(drops_of(&x->b).n[DROP_LENGTH], 1);
	/* None of that moved anything; each was told to who tells the log. */
	CHECK_EQ(path_rx_next(x->b.path), 0);
	CHECK_EQ(drops_of(&x->b).arrived, ARRAY_SIZE(cases) + 1);
	CHECK_EQ(x->b.drop_calls, ARRAY_SIZE(cases) + 1);
	len = forge(x, msg, 100, ip, sizeof(ip));
	inject(x, msg, len);
	CHECK_EQ(read(x->b.tun, got, sizeof(got)), (ssize_t)sizeof(ip));
	CHECK_EQ(x->b.drop_calls, ARRAY_SIZE(cases) + 1);
}

TEST(i4_unauthenticated_packets_derive_nothing)
{
	_cleanup_(both_freep) struct both *x = both_new(SLOTS);
	uint8_t ip[40], msg[200];
	size_t len;

	fill_ip(ip, sizeof(ip), 3);
	len = forge(x, msg, (PATH_SLOTS_AHEAD + 1) * SLOT_PACKETS + 1, ip, sizeof(ip));
	inject(x, msg, len);
	CHECK_EQ(drops_of(&x->b).n[DROP_AHEAD], 1);
	len = forge(x, msg, PATH_SLOTS_AHEAD * SLOT_PACKETS, ip, sizeof(ip));
	inject(x, msg, len);
	CHECK_EQ(path_counters(x->b.path)->rx_packets, 1);
}

TEST(packets_below_the_window_are_old)
{
	_cleanup_(both_freep) struct both *x = both_new(SLOTS);
	uint8_t ip[40], msg[200];
	size_t len;

	fill_ip(ip, sizeof(ip), 3);
	len = forge(x, msg, 9000, ip, sizeof(ip));
	inject(x, msg, len);
	len = forge(x, msg, 9000 - 8191, ip, sizeof(ip));
	inject(x, msg, len);
	CHECK_EQ(path_counters(x->b.path)->rx_packets, 2);
	len = forge(x, msg, 9000 - 8192, ip, sizeof(ip));
	inject(x, msg, len);
	CHECK_EQ(drops_of(&x->b).n[DROP_OLD], 1);
}

/* It was so told once, and is not so: the peer's disk was restored, or it lies. */
TEST(a_peer_that_has_come_to_the_end_is_heard_when_it_goes_on)
{
	_cleanup_(both_freep) struct both *x = both_new(SLOTS);
	uint8_t ip[100], msg[PSK2_OVERHEAD + sizeof(ip)], got[200];

	fill_ip(ip, sizeof(ip), 7);
	path_rx_forward(x->b.path, keys_end(x->b.keys));
	give_session(&x->b, &x->a, NUMBER, false);
	for (uint64_t sequence = 0; sequence < 3 * PSK2_SLOT_PACKETS; sequence += PSK2_SLOT_PACKETS) {
		inject(x, msg, forge(x, msg, sequence, ip, sizeof(ip)));
		CHECK_EQ(read(x->b.tun, got, sizeof(got)), (ssize_t)sizeof(ip));
	}
}

TEST(what_is_no_ip_packet_is_not_delivered)
{
	_cleanup_(both_freep) struct both *x = both_new(SLOTS);
	uint8_t ip[40] = { 0x15 }, msg[200], got[100];
	size_t len;

	len = forge(x, msg, 0, ip, sizeof(ip));
	inject(x, msg, len);
	ip[0] = 0x45;
	len = forge(x, msg, 1, ip, 19);
	inject(x, msg, len);
	ip[0] = 0x60;
	len = forge(x, msg, 2, ip, 39);
	inject(x, msg, len);
	CHECK_EQ(drops_of(&x->b).n[DROP_INNER], 3);
	CHECK_EQ(read(x->b.tun, got, sizeof(got)), -1);
}

/* An IPv4 SYN that announces 1460; what it announces when it has come through. */
static uint16_t announced_behind(struct end *from, struct end *to, struct both *x)
{
	uint8_t syn[44] = { 0x45, [3] = 44, [6] = 0x40, [9] = IPPROTO_TCP, [32] = 6 << 4, [33] = 2,
			    [40] = 2, [41] = 4, [42] = 0x05, [43] = 0xb4 };
	uint8_t got[100];

	CHECK_EQ(write(from->tun, syn, sizeof(syn)), (ssize_t)sizeof(syn));
	run(x);
	CHECK_EQ(read(to->tun, got, sizeof(got)), (ssize_t)sizeof(syn));
	return (uint16_t)(got[42] << 8 | got[43]);
}

TEST(connections_announce_what_fits_both_ways)
{
	_cleanup_(both_freep) struct both *x = both_new(SLOTS);
	uint8_t syn[44] = { 0x45, [3] = 44, [9] = IPPROTO_TCP, [32] = 6 << 4, [33] = 2,
			    [40] = 2, [41] = 4, [42] = 0x05, [43] = 0xb4 };
	uint8_t msg[200], got[100];

	CHECK_EQ(announced_behind(&x->a, &x->b, x), MTU - 40);
	CHECK_EQ(announced_behind(&x->b, &x->a, x), MTU - 40);
	/* Also of a peer that does not see to it. */
	inject(x, msg, forge(x, msg, 50, syn, sizeof(syn)));
	CHECK_EQ(read(x->b.tun, got, sizeof(got)), (ssize_t)sizeof(syn));
	CHECK_EQ(got[42] << 8 | got[43], MTU - 40);
}

TEST(own_packet_that_comes_back_is_an_event)
{
	_cleanup_(both_freep) struct both *x = both_new(SLOTS);
	uint8_t ip[40], msg[200];
	struct sockaddr_in6 b = x->b.address;
	size_t len;

	fill_ip(ip, sizeof(ip), 3);
	/* a has sent in slot 0, so it knows its own tag. */
	CHECK(write(x->a.tun, ip, sizeof(ip)) > 0);
	run(x);
	len = forge(x, msg, 0, ip, sizeof(ip));
	x->b.address = x->a.address;
	inject(x, msg, len);
	x->b.address = b;
	CHECK_EQ(x->a.own, 1);
	CHECK_EQ(drops_of(&x->a).n[DROP_OWN], 1);
}

TEST(a_pending_session_becomes_current_with_its_first_packet)
{
	_cleanup_(both_freep) struct both *x = both_new(SLOTS);
	uint8_t ip[40], got[100];

	fill_ip(ip, sizeof(ip), 3);
	give_session(&x->a, &x->b, NUMBER + 1, true);
	give_session(&x->b, &x->a, NUMBER + 1, true);
	/* Still the old one. */
	CHECK(write(x->a.tun, ip, sizeof(ip)) > 0);
	run(x);
	CHECK_EQ(x->b.proven, 0);
	CHECK(read(x->b.tun, got, sizeof(got)) > 0);
	/* Not at once, perhaps: its sequence must be durable first. */
	path_send_keepalive(x->b.path, true);
	run(x);
	CHECK_EQ(x->a.proven, 1);
	CHECK_EQ(path_current(x->a.path)->id.number, NUMBER + 1);
	CHECK(write(x->a.tun, ip, sizeof(ip)) > 0);
	run(x);
	CHECK_EQ(x->b.proven, 1);
	CHECK(read(x->b.tun, got, sizeof(got)) > 0);
}

TEST(the_session_before_is_heard_for_ten_seconds)
{
	_cleanup_(both_freep) struct both *x = both_new(SLOTS);
	uint8_t ip[40], msg[200];
	size_t len;

	clock_fake_ms(1000000);
	fill_ip(ip, sizeof(ip), 3);
	give_session(&x->b, &x->a, NUMBER + 1, false);
	len = forge(x, msg, 10, ip, sizeof(ip));
	inject(x, msg, len);
	CHECK_EQ(path_counters(x->b.path)->rx_packets, 1);
	CHECK_EQ(path_expiry(x->b.path), 1010000);
	path_expire(x->b.path, 1009999);
	len = forge(x, msg, 11, ip, sizeof(ip));
	inject(x, msg, len);
	CHECK_EQ(path_counters(x->b.path)->rx_packets, 2);
	path_expire(x->b.path, 1010000);
	len = forge(x, msg, 12, ip, sizeof(ip));
	inject(x, msg, len);
	CHECK_EQ(path_counters(x->b.path)->rx_packets, 2);
	CHECK_EQ(drops_of(&x->b).n[DROP_SESSION], 1);
}

TEST(no_session_no_data)
{
	_cleanup_(both_freep) struct both *x = both_new(SLOTS);
	uint8_t ip[40], msg[200];
	size_t len;

	fill_ip(ip, sizeof(ip), 3);
	path_drop_sessions(x->b.path);
	len = forge(x, msg, 0, ip, sizeof(ip));
	inject(x, msg, len);
	CHECK_EQ(drops_of(&x->b).n[DROP_SESSION], 1);
	CHECK(write(x->b.tun, ip, sizeof(ip)) > 0);
	run(x);
	CHECK_EQ(path_counters(x->b.path)->tx_packets, 0);
	CHECK(!path_send_keepalive(x->b.path, false));
}

TEST(what_waited_too_long_is_forgotten)
{
	_cleanup_(both_freep) struct both *x = both_new(SLOTS);
	uint8_t ip[40];

	clock_fake_ms(1000000);
	fill_ip(ip, sizeof(ip), 3);
	path_drop_sessions(x->a.path);
	CHECK(write(x->a.tun, ip, sizeof(ip)) > 0);
	run(x);
	clock_fake_ms(1006000);
	give_session(&x->a, &x->b, NUMBER, false);
	run(x);
	CHECK_EQ(drops_of(&x->a).n[DROP_STALE], 1);
	CHECK_EQ(path_counters(x->a.path)->tx_packets, 0);
}

/* While on, nothing can be reserved. */
static void fill_disk(bool on)
{
	const struct rlimit none = { 0, RLIM_INFINITY }, all = { RLIM_INFINITY, RLIM_INFINITY };

	signal(SIGXFSZ, SIG_IGN);
	CHECK_EQ(setrlimit(RLIMIT_FSIZE, on ? &none : &all), 0);
}

static void on_keys_of_full_disk(int error, void *arg)
{
	struct end *e = arg;

	if (!error)
		path_on_keys_ready(e->path);
}

TEST(what_was_read_and_waited_too_long_is_forgotten)
{
	_cleanup_(both_freep) struct both *x = both_new(SLOTS);
	const struct slot_key *unused;
	uint8_t ip[60], got[100];
	uint64_t first;

	keys_hand_over(x->a.keys, on_keys_of_full_disk, &x->a);
	fill_disk(true);
	while (keys_tx_take(x->a.keys, 64, &first, &unused) > 0)
		;
	fill_ip(ip, sizeof(ip), 3);
	clock_fake_ms(1000000);
	for (int i = 0; i < 40; i++)
		CHECK_EQ(write(x->a.tun, ip, sizeof(ip)), (ssize_t)sizeof(ip));
	run(x);
	path_drop_sessions(x->a.path);
	clock_fake_ms(1006000);
	give_session(&x->a, &x->b, NUMBER, false);
	CHECK_EQ(drops_of(&x->a).n[DROP_STALE], 40);
	fill_disk(false);
	/* What comes now goes its way, and nothing else does. */
	fill_ip(ip, sizeof(ip), 9);
	CHECK_EQ(write(x->a.tun, ip, sizeof(ip)), (ssize_t)sizeof(ip));
	while (path_counters(x->a.path)->tx_packets == 0)
		run(x);
	run(x);
	CHECK_EQ(read(x->b.tun, got, sizeof(got)), (ssize_t)sizeof(ip));
	CHECK_MEM(got, ip, sizeof(ip));
	CHECK(read(x->b.tun, got, sizeof(got)) < 0);
}

TEST(exhausted_material_stops_sending_and_says_so)
{
	_cleanup_(both_freep) struct both *x = both_new(1);
	uint8_t ip[40], got[100];
	unsigned int n = 0;

	fill_ip(ip, sizeof(ip), 3);
	for (int i = 0; i < 1100; i++) {
		if (write(x->a.tun, ip, sizeof(ip)) < 0)
			break;
		if (i % 50 == 49)
			run(x);
		while (read(x->b.tun, got, sizeof(got)) > 0)
			n++;
	}
	CHECK_EQ(n, 1000);
	CHECK(x->a.exhausted >= 1);
}

TEST(handshakes_are_handed_on_unjudged)
{
	_cleanup_(both_freep) struct both *x = both_new(SLOTS);

	inject(x, (const uint8_t *)"PSKH", 4);
	inject(x, (const uint8_t *)"PSKHjunk", 8);
	CHECK_EQ(x->b.handshakes, 2);
}

TEST(i4_oversized_datagrams_are_dropped_by_length)
{
	_cleanup_(both_freep) struct both *x = both_new(SLOTS);
	uint8_t ip[4000], msg[4100];
	size_t len;

	fill_ip(ip, sizeof(ip), 3);
	len = forge(x, msg, 0, ip, sizeof(ip));
	inject(x, msg, len);
	CHECK_EQ(drops_of(&x->b).n[DROP_LENGTH], 1);
}

TEST(prototype_peers_take_slots_as_they_are)
{
	struct end a = { 0 }, b = { 0 };
	uint8_t material[10 * SLOT_LEN], ip[40], got[100];
	struct session *s;

	CHECK_EQ(crypto_init(), 0);
	random_bytes(material, sizeof(material));
	fill_ip(ip, sizeof(ip), 3);
	end_init(&a, "a", KEYS_INITIATOR, material, 10, true);
	end_init(&b, "b", KEYS_RESPONDER, material, 10, true);
	CHECK_EQ(session_new(&s, NULL, KEYS_INITIATOR, path_rx_slots(8192)), 0);
	s->address = b.address;
	path_set_current(a.path, &s);
	CHECK_EQ(session_new(&s, NULL, KEYS_RESPONDER, path_rx_slots(8192)), 0);
	s->address = a.address;
	path_set_current(b.path, &s);
	CHECK(write(a.tun, ip, sizeof(ip)) > 0);
	for (int i = 0; i < 50; i++) {
		loop_step(a.loop, 2);
		loop_step(b.loop, 2);
	}
	CHECK_EQ(read(b.tun, got, sizeof(got)), (ssize_t)sizeof(ip));
	CHECK_MEM(got, ip, sizeof(ip));
	end_done(&a);
	end_done(&b);
}

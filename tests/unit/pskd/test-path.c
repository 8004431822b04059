/*
 * The packet path of both ends in one process: UDP over loopback, and a socket
 * pair in place of each TUN device. Every cause of dropping a packet is
 * provoked, by a packet that is right but for that.
 */
#include "pskd/packet/path.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/udp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "crypto/aead.h"
#include "crypto/secret.h"
#include "event/loop.h"
#include "pskd/packet/ecn.h"
#include "pskd/packet/offload.h"
#include "pskd/packet/packets.h"
#include "pskd/packet/pmtu.h"
#include "unit/lib/test.h"

enum { SLOTS = 100, MTU = 1420, NUMBER = 300 };

struct end {
	struct loop *loop;
	struct keys *keys, *next; /* next: of a staged key file */
	struct path *path;
	struct packet_thread *thread;
	enum keys_role role;
	struct sockaddr_in6 address;
	int tun; /* the kernel's side */
	uint64_t high; /* with the last handshake */
	unsigned int handshakes, proven, switched, exhausted, own, drop_calls;
	bool refuses; /* handshakes: counts them as dropped */
};

static void on_handshake(const uint8_t *msg, size_t len, const struct sockaddr_in6 *from, uint64_t high, void *arg)
{
	struct end *e = arg;

	(void)msg;
	(void)len;
	(void)from;
	e->handshakes++;
	e->high = high;
	if (e->refuses)
		drops_count(path_drops(e->path), DROP_HS_UNEXPECTED);
}

static void on_proven(void *arg)
{
	((struct end *)arg)->proven++;
}

static void on_switched(void *arg)
{
	((struct end *)arg)->switched++;
}

static void on_traffic(void *arg)
{
	(void)arg;
}

static void on_exhausted(void *arg)
{
	((struct end *)arg)->exhausted++;
}

static void on_own_packet(const struct sockaddr_in6 *from, void *arg)
{
	(void)from;
	((struct end *)arg)->own++;
}

static void on_drops(void *arg)
{
	((struct end *)arg)->drop_calls++;
}

static const struct path_events events = { on_handshake, on_proven, on_switched, on_traffic, on_exhausted, on_own_packet, on_drops };

static void on_keys(int error, void *arg)
{
	struct end *e = arg;

	CHECK_EQ(error, 0);
	if (e->path)
		path_on_keys_ready(e->path);
}

static void open_keys(struct end *e, const char *name, const uint8_t *material, size_t slots, bool prototype)
{
	char dir[200], ledger[256], file[256], detail[200];
	struct keys_options o;

	snprintf(dir, sizeof(dir), "%s/%s", test_tmpdir(), name);
	CHECK_EQ(mkdir(dir, 0700), 0);
	snprintf(ledger, sizeof(ledger), "%s/t.ledger", dir);
	snprintf(file, sizeof(file), "%s/key", dir);
	CHECK_EQ(file_write_atomic(file, material, slots * SLOT_LEN, 0600), 0);
	o = (struct keys_options){ .ledger_path = ledger, .ledgers_dir = dir, .role = e->role,
				   .prototype = prototype, .window = 8192, .key_file = file, .loop = e->loop,
				   .hold = packet_thread_hold(e->thread), .on_ready = on_keys, .arg = e };
	CHECK_EQ(keys_create_file(&o, NULL, NULL, detail, sizeof(detail)), 0);
	CHECK_EQ(keys_open(&e->keys, &o, NULL, detail, sizeof(detail)), 0);
}

/* What both ends may use and are to do; each test is a process of its own. */
static unsigned int offload;
static uint8_t dscp_of_both;
static struct packets *threads; /* that carry what passes; NULL: the ends' own loops do */

static void end_init_mtu(struct end *e, const char *name, enum keys_role role, const uint8_t *material,
			 size_t slots, bool prototype, uint16_t mtu)
{
	struct sockaddr_in6 at = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct path_options o = { .role = role, .prototype = prototype, .window = 8192, .mtu = mtu,
				  .offload = offload, .dscp = dscp_of_both, .events = &events, .arg = e };
	int fds[2];

	e->role = role;
	CHECK_EQ(loop_new(&e->loop), 0);
	CHECK_EQ(packets_join(&e->thread, threads), 0);
	open_keys(e, name, material, slots, prototype);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	if (udp_open(&o.udp, &at) != 0)
		test_skip("no IPv6 loopback");
	e->tun = fds[0];
	e->address = at;
	e->address.sin6_port = htons(udp_port(&o.udp));
	o.tun_fd = fds[1];
	o.loop = e->thread ? packet_thread_loop(e->thread) : e->loop;
	o.hold = packet_thread_hold(e->thread);
	o.control = e->loop;
	o.keys = e->keys;
	CHECK_EQ(path_new(&e->path, &o), 0);
}

static void end_init(struct end *e, const char *name, enum keys_role role, const uint8_t *material,
		     size_t slots, bool prototype)
{
	end_init_mtu(e, name, role, material, slots, prototype, MTU);
}

static void end_done(struct end *e)
{
	path_free(e->path);
	keys_close(e->keys);
	keys_close(e->next);
	close(e->tun);
	packets_leave(e->thread);
	loop_free(e->loop);
}

struct both {
	struct end a, b;
	struct session *forge; /* keys of a's direction, to make packets with */
	uint8_t material[SLOTS * SLOT_LEN];
	int raw; /* a stranger's socket */
};

static struct session_id id(uint32_t number)
{
	return (struct session_id){ .number = number, .nonce_a = "nonce a", .nonce_b = "nonce b",
				    .identity_a = "alice", .identity_b = "bob" };
}

static void give_session(struct end *e, const struct end *peer, uint32_t number, bool pending)
{
	struct session_id i = id(number);
	struct session *s;

	CHECK_EQ(session_new(&s, &i, e->role, path_rx_slots(8192)), 0);
	s->address = peer->address;
	if (pending)
		path_set_pending(e->path, &s);
	else
		path_set_current(e->path, &s);
}

static struct both *both_new(size_t slots)
{
	struct both *x = calloc(1, sizeof(*x));
	struct session_id i = id(NUMBER);

	CHECK(x != NULL);
	CHECK_EQ(crypto_init(), 0);
	random_bytes(x->material, sizeof(x->material));
	end_init(&x->a, "a", KEYS_INITIATOR, x->material, slots, false);
	end_init(&x->b, "b", KEYS_RESPONDER, x->material, slots, false);
	give_session(&x->a, &x->b, NUMBER, false);
	give_session(&x->b, &x->a, NUMBER, false);
	CHECK_EQ(session_new(&x->forge, &i, KEYS_INITIATOR, 20), 0);
	x->raw = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	CHECK(x->raw >= 0);
	return x;
}

static void both_free(struct both *x)
{
	end_done(&x->a);
	end_done(&x->b);
	session_free(x->forge);
	close(x->raw);
	free(x);
	clock_fake_ms(UINT64_MAX);
}
DEFINE_CLEANUP(struct both *, both_free);

/* Until nothing happens any more; sockets and workers may take a moment. */
static void run(struct both *x)
{
	for (int i = 0; i < 10; i++) {
		loop_step(x->a.loop, 2);
		loop_step(x->b.loop, 2);
	}
}

static void wait_for(struct both *x, const unsigned int *what, unsigned int least)
{
	for (int i = 0; i < 3000 && *what < least; i++) {
		loop_step(x->a.loop, 1);
		loop_step(x->b.loop, 1);
	}
	CHECK(*what >= least);
}

static struct drops drops_of(struct end *e)
{
	return path_counters(e->path)->drops;
}

static void fill_ip(uint8_t *p, size_t len, uint8_t mark)
{
	memset(p, mark, len);
	p[0] = 0x45;
}

/* A packet of a's to b, as the wire has it; returns its length. */
static size_t forge(struct both *x, uint8_t *out, uint64_t sequence, const uint8_t *ip, size_t len)
{
	const uint8_t *slot = x->material + sequence / SLOT_PACKETS * SLOT_LEN;
	const struct slot_key *k;
	struct slot_key material;
	struct psk2_header h = { .flags = PSK2_FLAG_SESSION, .reserved = (uint8_t)NUMBER, .sequence = sequence };
	uint8_t nonce[PSK2_NONCE_LEN];

	memcpy(material.tag, slot, 16);
	memcpy(material.nonce, slot + 16, 12);
	memcpy(material.key, slot + 28, 32);
	k = session_tx(x->forge, sequence / SLOT_PACKETS, &material);
	memcpy(h.slot_tag, k->tag, 16);
	psk2_header_encode(out, &h);
	psk2_nonce(nonce, k->nonce, sequence);
	aead_seal(out + PSK2_HEADER_LEN, ip, len, out, PSK2_HEADER_LEN, nonce, k->key);
	return len + PSK2_OVERHEAD;
}

static void inject(struct both *x, const uint8_t *msg, size_t len)
{
	CHECK_EQ(sendto(x->raw, msg, len, 0, (struct sockaddr *)&x->b.address, sizeof(x->b.address)), (ssize_t)len);
	run(x);
}

static void pass(struct both *x, struct end *from, struct end *to, uint8_t mark)
{
	uint8_t ip[60], got[100];

	fill_ip(ip, sizeof(ip), mark);
	CHECK_EQ(write(from->tun, ip, sizeof(ip)), (ssize_t)sizeof(ip));
	run(x);
	CHECK_EQ(read(to->tun, got, sizeof(got)), (ssize_t)sizeof(ip));
	CHECK_MEM(got, ip, sizeof(ip));
}

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

/* ---- another key file ---- */

static void stage(struct end *e, const char *name, const uint8_t *material)
{
	struct keys *own = e->keys;

	open_keys(e, name, material, SLOTS, false);
	e->next = e->keys;
	e->keys = own;
	CHECK_EQ(path_stage(e->path, e->next), 0);
}

static void give_staged(struct end *e, const struct end *peer, uint32_t number)
{
	struct session_id i = id(number);
	struct session *s;

	CHECK_EQ(session_new(&s, &i, e->role, path_rx_slots(8192)), 0);
	s->address = peer->address;
	path_set_staged(e->path, &s, 0);
	session_free(s);
}

/* Both have another file staged, and agreed on a session of it; nothing was sent there yet. */
static struct both *staged_new(void)
{
	struct both *x = both_new(SLOTS);
	uint8_t material[SLOTS * SLOT_LEN];

	clock_fake_ms(1000000);
	random_bytes(material, sizeof(material));
	stage(&x->a, "a2", material);
	stage(&x->b, "b2", material);
	give_staged(&x->a, &x->b, NUMBER + 1);
	give_staged(&x->b, &x->a, NUMBER + 1);
	return x;
}

/* b proves the staged session, and hears the proof of a. */
static void switch_both(struct both *x)
{
	path_send_proof(x->b.path);
	wait_for(x, &x->a.switched, 1);
	path_send_keepalive(x->a.path, false);
	wait_for(x, &x->b.switched, 1);
	CHECK_EQ(x->a.switched, 1);
	CHECK_EQ(x->b.switched, 1);
}

TEST(i1_each_file_counts_for_itself_and_a_switch_passes_every_packet)
{
	_cleanup_(both_freep) struct both *x = staged_new();

	for (uint8_t i = 0; i < 5; i++) {
		pass(x, &x->a, &x->b, i);
		pass(x, &x->b, &x->a, i);
	}
	CHECK_EQ(keys_tx_next(x->a.next), 0);
	/* a has heard b in the staged session, and b not yet a: both are heard. */
	path_send_proof(x->b.path);
	wait_for(x, &x->a.switched, 1);
	CHECK_EQ(x->a.switched, 1);
	CHECK_EQ(x->b.switched, 0);
	CHECK_EQ(path_current(x->a.path)->id.number, NUMBER + 1);
	pass(x, &x->b, &x->a, 90);
	CHECK_EQ(keys_rx_high(x->a.keys), 5);
	pass(x, &x->a, &x->b, 91);
	CHECK_EQ(x->b.switched, 1);
	pass(x, &x->b, &x->a, 92);
	CHECK_EQ(keys_tx_next(x->a.keys), 5);
	CHECK_EQ(keys_tx_next(x->b.keys), 6);
	/* A proof, since b was heard in the file before, and the packet. */
	CHECK_EQ(keys_rx_high(x->b.next), 1);
	CHECK_EQ(drops_of(&x->a).arrived + drops_of(&x->b).arrived, 0);
}

TEST(late_packets_of_the_file_before_are_opened_until_it_has_been_silent_for_ten_seconds)
{
	_cleanup_(both_freep) struct both *x = staged_new();
	uint8_t ip[40], msg[200], got[100];

	switch_both(x);
	CHECK(path_is_retiring(x->b.path));
	fill_ip(ip, sizeof(ip), 3);
	clock_fake_ms(1000000 + 9000);
	path_expire(x->b.path, 1000000 + 9000);
	inject(x, msg, forge(x, msg, 40, ip, sizeof(ip)));
	CHECK_EQ(read(x->b.tun, got, sizeof(got)), (ssize_t)sizeof(ip));
	inject(x, msg, forge(x, msg, 40, ip, sizeof(ip)));
	CHECK_EQ(drops_of(&x->b).n[DROP_REPLAY], 1);
	path_expire(x->b.path, 1000000 + 18000);
	CHECK(path_is_retiring(x->b.path));
	path_expire(x->b.path, path_expiry(x->b.path));
	CHECK(!path_is_retiring(x->b.path));
	inject(x, msg, forge(x, msg, 41, ip, sizeof(ip)));
	CHECK_EQ(drops_of(&x->b).n[DROP_SESSION], 1);
	pass(x, &x->a, &x->b, 5);
}

TEST(a_late_session_of_the_file_before_does_not_replace_the_staged_one)
{
	_cleanup_(both_freep) struct both *x = staged_new();

	give_session(&x->b, &x->a, NUMBER + 2, true);
	CHECK(path_staged(x->b.path) != NULL);
	CHECK(path_pending(x->b.path) != NULL);
	switch_both(x);
	/* And what it had begun ends with the switch, but for what the peer has sent in it. */
	CHECK(path_pending(x->b.path) == NULL);
	CHECK_EQ(path_current(x->b.path)->id.number, NUMBER + 1);
	pass(x, &x->a, &x->b, 1);
}

TEST(a_staged_file_that_is_taken_back_is_no_one_any_more)
{
	_cleanup_(both_freep) struct both *x = staged_new();

	path_unstage(x->a.path);
	CHECK(path_staged(x->a.path) == NULL);
	path_send_proof(x->b.path);
	path_send_proof(x->a.path);
	run(x);
	CHECK_EQ(x->a.switched, 0);
	CHECK_EQ(drops_of(&x->a).n[DROP_SESSION], 1);
	pass(x, &x->a, &x->b, 1);
	CHECK_EQ(path_stage(x->a.path, x->a.next), 0);
	CHECK_EQ(path_stage(x->a.path, x->a.next), -EBUSY);
}

TEST(a_file_with_nothing_left_gives_way_to_the_staged_one)
{
	_cleanup_(both_freep) struct both *x = staged_new();
	uint8_t ip[60];

	CHECK_EQ(keys_tx_forward(x->a.keys, SLOTS * SLOT_PACKETS - 1, true), KEYS_E_NOT_READY);
	run(x);
	fill_ip(ip, sizeof(ip), 1);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(write(x->a.tun, ip, sizeof(ip)), (ssize_t)sizeof(ip));
	run(x);
	CHECK(x->a.exhausted > 0);
	path_send_proof(x->b.path);
	run(x);
	CHECK_EQ(x->a.switched, 1);
	pass(x, &x->a, &x->b, 7);
}

TEST(a_handshake_that_is_refused_is_a_drop_that_is_told)
{
	static const uint8_t hello[256] = "PSKH";
	_cleanup_(both_freep) struct both *x = both_new(1);

	inject(x, hello, sizeof(hello));
	CHECK_EQ(x->b.handshakes, 1);
	CHECK_EQ(x->b.drop_calls, 0);
	x->b.refuses = true;
	inject(x, hello, sizeof(hello));
	CHECK_EQ(x->b.handshakes, 2);
	CHECK_EQ(x->b.drop_calls, 1);
	CHECK_EQ(drops_of(&x->b).n[DROP_HS_UNEXPECTED], 1);
	CHECK_EQ(drops_of(&x->b).arrived, 1);
}

/* ---- with packet threads ---- */

/* No more on their way than the far device holds; each has a mark of its own, so that order shows. */
static void pump(struct both *x, struct end *from, struct end *to, unsigned int *sent, unsigned int *got)
{
	uint8_t ip[80], in[100];

	for (int i = 0; i < 50 && *sent - *got < 100; i++) {
		fill_ip(ip, sizeof(ip), (uint8_t)*sent);
		if (write(from->tun, ip, sizeof(ip)) != (ssize_t)sizeof(ip))
			break;
		++*sent;
	}
	loop_step(x->a.loop, 0);
	loop_step(x->b.loop, 0);
	while (read(to->tun, in, sizeof(in)) > 0) {
		CHECK_EQ(in[1], (uint8_t)*got);
		++*got;
	}
}

/* Until all has arrived; a deadline that only what hangs will see. */
static void pump_rest(struct both *x, struct end *to, const unsigned int *sent, unsigned int *got)
{
	uint8_t in[100];

	for (int i = 0; i < 3000 && *got < *sent; i++) {
		loop_step(x->a.loop, 1);
		loop_step(x->b.loop, 1);
		while (read(to->tun, in, sizeof(in)) > 0) {
			CHECK_EQ(in[1], (uint8_t)*got);
			++*got;
		}
	}
	CHECK_EQ(*got, *sent);
}

/* All that looks at a path from outside while packets pass. */
static void look(struct end *e)
{
	struct keys_info info;

	keys_info(e->keys, &info);
	CHECK(info.tx_next <= keys_end(e->keys));
	CHECK(path_counters(e->path)->tx_packets <= keys_end(e->keys));
	CHECK(!path_is_heard_from(e->path, &e->address));
	CHECK(path_rx_next(e->path) <= keys_end(e->keys));
	(void)path_copies_ecn(e->path);
	(void)path_pmtu(e->path);
	path_probe(e->path);
	path_expire(e->path, clock_now_ms());
	keys_tick(e->keys, clock_now_ms());
	path_send_keepalive(e->path, false);
}

TEST(i1_threads_pass_all_in_order_and_use_each_sequence_once_while_sessions_change)
{
	_cleanup_(packets_freep) struct packets *two = NULL;
	unsigned int sent = 0, got = 0, n = 0;

	CHECK_EQ(packets_new(&two, 2), 0);
	threads = two;
	{
		_cleanup_(both_freep) struct both *x = both_new(SLOTS);

		for (uint32_t round = 1; round <= 40; round++) {
			give_session(&x->a, &x->b, NUMBER + round, true);
			give_session(&x->b, &x->a, NUMBER + round, true);
			path_send_keepalive(x->b.path, true);
			for (int i = 0; i < 10; i++)
				pump(x, &x->a, &x->b, &sent, &got);
			look(&x->a);
			look(&x->b);
			pump_rest(x, &x->b, &sent, &got);
			wait_for(x, &x->a.proven, ++n);
			path_send_keepalive(x->a.path, false);
			wait_for(x, &x->b.proven, n);
		}
		CHECK_EQ(drops_of(&x->a).n[DROP_REPLAY] + drops_of(&x->b).n[DROP_REPLAY], 0);
		CHECK_EQ(drops_of(&x->a).n[DROP_AEAD] + drops_of(&x->b).n[DROP_AEAD], 0);
		/* They end while packets are on their way. */
		pump(x, &x->a, &x->b, &sent, &got);
	}
}

TEST(i4_threads_pass_on_what_can_be_looked_at_of_a_flood_and_count_the_rest)
{
	_cleanup_(packets_freep) struct packets *two = NULL;
	static const uint8_t hello[256] = "PSKH";
	enum { FLOOD = 500, WAITING = 64 };

	CHECK_EQ(packets_new(&two, 2), 0);
	threads = two;
	{
		_cleanup_(both_freep) struct both *x = both_new(1);

		x->b.refuses = true;
		/* b's control loop looks at nothing meanwhile. */
		for (uint64_t i = 1; i <= FLOOD; i++) {
			CHECK_EQ(sendto(x->raw, hello, sizeof(hello), 0, (struct sockaddr *)&x->b.address,
					sizeof(x->b.address)), (ssize_t)sizeof(hello));
			/* No more at once than a socket takes by default: what the kernel drops nobody counts. */
			while (i % 100 == 0 && drops_of(&x->b).n[DROP_HS_OVERLOAD] + WAITING < i)
				loop_step(x->a.loop, 1);
		}
		CHECK_EQ(x->b.handshakes, 0);
		wait_for(x, &x->b.handshakes, WAITING);
		run(x);
		CHECK_EQ(x->b.handshakes, WAITING);
		CHECK(x->b.drop_calls > 0);
		CHECK_EQ(drops_of(&x->b).n[DROP_HS_UNEXPECTED], WAITING);
		CHECK_EQ(drops_of(&x->b).arrived, FLOOD);
	}
}

static void send_raw(struct both *x, const uint8_t *msg, size_t len)
{
	CHECK_EQ(sendto(x->raw, msg, len, 0, (struct sockaddr *)&x->b.address, sizeof(x->b.address)), (ssize_t)len);
}

/* Packets of a's with the sequences from first on, and until b has received them; b's control loop hears nothing of it. */
static void send_unheard(struct both *x, uint64_t first, uint64_t n)
{
	uint8_t ip[40], msg[200];

	fill_ip(ip, sizeof(ip), 3);
	for (uint64_t i = first; i < first + n; i++)
		send_raw(x, msg, forge(x, msg, i, ip, sizeof(ip)));
	for (int i = 0; i < 60000 && keys_rx_high(x->b.keys) != first + n - 1; i++)
		loop_step(x->a.loop, 1);
	CHECK_EQ(keys_rx_high(x->b.keys), first + n - 1);
}

/* What begins like a handshake of those keys; NULL: of none that anybody has. */
static void send_hello_of(struct both *x, const struct keys *k)
{
	uint8_t msg[PSKH_HELLO_LEN] = "PSKH";

	if (k)
		keys_hint(k, msg + 8);
	send_raw(x, msg, sizeof(msg));
}

TEST(a_handshake_is_heard_with_what_had_been_received_when_it_came)
{
	_cleanup_(packets_freep) struct packets *two = NULL;

	CHECK_EQ(packets_new(&two, 2), 0);
	threads = two;
	{
		_cleanup_(both_freep) struct both *x = staged_new();

		send_unheard(x, 0, 10);
		send_hello_of(x, x->b.keys);
		send_unheard(x, 10, 50);
		CHECK_EQ(x->b.handshakes, 0);
		wait_for(x, &x->b.handshakes, 1);
		CHECK_EQ(x->b.high, 9);
		/* The same one again, later. */
		send_hello_of(x, x->b.keys);
		wait_for(x, &x->b.handshakes, 2);
		CHECK_EQ(x->b.high, 59);
		/* Each file counts for itself. */
		send_hello_of(x, x->b.next);
		wait_for(x, &x->b.handshakes, 3);
		CHECK_EQ(x->b.high, UINT64_MAX);
		send_hello_of(x, NULL);
		wait_for(x, &x->b.handshakes, 4);
		CHECK_EQ(x->b.high, UINT64_MAX);
		send_raw(x, (const uint8_t *)"PSKH", 4);
		wait_for(x, &x->b.handshakes, 5);
		CHECK_EQ(x->b.high, UINT64_MAX);
		/* Also when the staged file is the current one before the message is heard. */
		path_send_proof(x->b.path);
		wait_for(x, &x->a.switched, 1);
		path_send_keepalive(x->a.path, false);
		for (int i = 0; i < 60000 && keys_rx_high(x->b.next) == UINT64_MAX; i++)
			loop_step(x->a.loop, 1);
		send_hello_of(x, x->b.keys);
		wait_for(x, &x->b.handshakes, 6);
		CHECK_EQ(x->b.switched, 1);
		CHECK_EQ(x->b.high, 59);
		send_hello_of(x, x->b.next);
		wait_for(x, &x->b.handshakes, 7);
		CHECK_EQ(x->b.high, keys_rx_high(x->b.next));
		CHECK(x->b.high != UINT64_MAX);
	}
}

TEST(threads_lose_nothing_in_a_switch)
{
	_cleanup_(packets_freep) struct packets *two = NULL;
	unsigned int sent = 0, got = 0;

	CHECK_EQ(packets_new(&two, 2), 0);
	threads = two;
	{
		_cleanup_(both_freep) struct both *x = staged_new();

		for (int i = 0; i < 20; i++)
			pump(x, &x->a, &x->b, &sent, &got);
		path_send_proof(x->b.path);
		for (int i = 0; i < 20; i++)
			pump(x, &x->a, &x->b, &sent, &got);
		wait_for(x, &x->a.switched, 1);
		path_send_keepalive(x->a.path, false);
		wait_for(x, &x->b.switched, 1);
		pump_rest(x, &x->b, &sent, &got);
		CHECK_EQ(drops_of(&x->a).arrived + drops_of(&x->b).arrived, 0);
	}
}

TEST(a_staged_session_that_has_proven_itself_is_not_replaced_before_that_is_heard)
{
	_cleanup_(packets_freep) struct packets *two = NULL;

	CHECK_EQ(packets_new(&two, 2), 0);
	threads = two;
	{
		_cleanup_(both_freep) struct both *x = staged_new();

		path_send_proof(x->b.path);
		wait_for(x, &x->a.switched, 1);
		/* b's control loop hears of a's proof only after the next session. */
		path_send_keepalive(x->a.path, false);
		while (keys_rx_high(x->b.next) == UINT64_MAX)
			loop_step(x->a.loop, 1);
		give_staged(&x->b, &x->a, NUMBER + 2);
		pass(x, &x->a, &x->b, 5);
		CHECK_EQ(x->b.switched, 1);
		CHECK_EQ(path_current(x->b.path)->id.number, NUMBER + 1);
		CHECK_EQ(drops_of(&x->b).arrived, 0);
	}
}

TEST(the_end_of_a_file_that_is_heard_after_the_switch_is_not_the_new_ones)
{
	_cleanup_(packets_freep) struct packets *two = NULL;

	CHECK_EQ(packets_new(&two, 2), 0);
	threads = two;
	{
		_cleanup_(both_freep) struct both *x = staged_new();
		struct keys_info info = { .tx_reserved = 0 };
		uint8_t ip[60];

		CHECK_EQ(keys_tx_forward(x->a.keys, SLOTS * SLOT_PACKETS - 1, true), KEYS_E_NOT_READY);
		/* Its last sequence may be used as soon as the disk has taken it. */
		while (info.tx_reserved < SLOTS * SLOT_PACKETS) {
			run(x);
			keys_info(x->a.keys, &info);
		}
		fill_ip(ip, sizeof(ip), 1);
		for (int i = 0; i < 3; i++)
			CHECK_EQ(write(x->a.tun, ip, sizeof(ip)), (ssize_t)sizeof(ip));
		/* a's control loop hears of neither before both have happened. */
		while (drops_of(&x->a).n[DROP_SEND] == 0)
			loop_step(x->b.loop, 1);
		path_send_proof(x->b.path);
		while (keys_rx_high(x->a.next) == UINT64_MAX)
			loop_step(x->b.loop, 1);
		wait_for(x, &x->a.switched, 1);
		run(x);
		CHECK_EQ(x->a.exhausted, 0);
	}
}

/* ---- how large packets may be ---- */

/* Let both ends' questions be asked and answered until nothing is due any more; the clock is the test's. */
static void find_mtu(struct both *x, uint64_t *now)
{
	for (int i = 0; i < 200 && (path_probe_due(x->a.path) < UINT64_MAX || path_probe_due(x->b.path) < UINT64_MAX);
	     i++) {
		*now += 250;
		clock_fake_ms(*now);
		path_probe(x->a.path);
		path_probe(x->b.path);
		run(x);
	}
}

/* a's device takes more than b can receive: packets of up to 2000 bytes come through from a. */
static struct both *uneven_new(uint64_t *now)
{
	struct both *x = calloc(1, sizeof(*x));

	CHECK(x != NULL);
	CHECK_EQ(crypto_init(), 0);
	*now = 1000000;
	clock_fake_ms(*now);
	random_bytes(x->material, sizeof(x->material));
	end_init_mtu(&x->a, "a", KEYS_INITIATOR, x->material, SLOTS, false, 9000);
	end_init(&x->b, "b", KEYS_RESPONDER, x->material, SLOTS, false);
	give_session(&x->a, &x->b, NUMBER, false);
	give_session(&x->b, &x->a, NUMBER, false);
	x->raw = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return x;
}

TEST(probes_find_what_comes_through)
{
	_cleanup_(both_freep) struct both *x = NULL;
	const struct path_counters *c;
	uint64_t now;

	x = uneven_new(&now);
	CHECK_EQ(path_pmtu(x->a.path)->state, PMTU_UNKNOWN);
	find_mtu(x, &now);
	CHECK_EQ(path_pmtu(x->a.path)->state, PMTU_FOUND);
	CHECK_EQ(pmtu_limit(path_pmtu(x->a.path)), 2000);
	CHECK_EQ(pmtu_limit(path_pmtu(x->b.path)), MTU);
	CHECK(path_pmtu(x->a.path)->answers && path_pmtu(x->b.path)->answers);
	/* Probes are no packets: nothing was delivered, and nothing refused but what was too large. */
	c = path_counters(x->b.path);
	CHECK_EQ(c->rx_packets, 0);
	CHECK_EQ(c->data_received_ms, 0);
	CHECK(c->received_ms > 0);
	CHECK_EQ(c->drops.arrived, c->drops.n[DROP_LENGTH]);
	CHECK(c->drops.n[DROP_LENGTH] > 0);
	CHECK_EQ(path_probe_due(x->a.path), UINT64_MAX);
}

TEST(who_sends_what_is_too_big_is_told_and_what_may_be_cut_up_is)
{
	_cleanup_(both_freep) struct both *x = NULL;
	uint8_t ip[3000], got[3000];
	uint64_t now;

	x = uneven_new(&now);
	find_mtu(x, &now);
	fill_ip(ip, sizeof(ip), 1);
	memcpy(ip + 2, (uint8_t[]){ sizeof(ip) >> 8, sizeof(ip) & 0xff }, 2);
	ip[6] = 0x40;
	ip[7] = 0;
	ip[9] = IPPROTO_UDP;
	CHECK_EQ(write(x->a.tun, ip, sizeof(ip)), (ssize_t)sizeof(ip));
	run(x);
	CHECK_EQ(read(x->a.tun, got, sizeof(got)), 576);
	CHECK_EQ(got[20] << 8 | got[21], 3 << 8 | 4);
	CHECK_EQ(got[26] << 8 | got[27], 2000);
	CHECK_EQ(drops_of(&x->a).n[DROP_TOO_BIG], 1);
	CHECK_EQ(drops_of(&x->a).arrived, 0);
	CHECK_EQ(read(x->b.tun, got, sizeof(got)), -1);
	ip[6] = 0;
	CHECK_EQ(write(x->a.tun, ip, sizeof(ip)), (ssize_t)sizeof(ip));
	run(x);
	CHECK_EQ(read(x->b.tun, got, sizeof(got)), 1996);
	CHECK_EQ(read(x->b.tun, got, sizeof(got)), 3000 - 1976);
	CHECK_EQ(drops_of(&x->a).n[DROP_TOO_BIG], 1);
}

static void fill_udp(uint8_t *ip, size_t len, uint8_t mark, bool may_be_cut)
{
	fill_ip(ip, len, mark);
	ip[2] = (uint8_t)(len >> 8);
	ip[3] = (uint8_t)len;
	ip[6] = may_be_cut ? 0 : 0x40;
	ip[7] = 0;
	ip[9] = IPPROTO_UDP;
}

TEST(fragments_keep_their_place_among_other_packets)
{
	_cleanup_(both_freep) struct both *x = NULL;
	uint8_t ip[9000], got[3000];
	int room = 1 << 20;
	uint64_t now;

	x = uneven_new(&now);
	find_mtu(x, &now);
	CHECK_EQ(setsockopt(x->a.tun, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)), 0);
	CHECK_EQ(setsockopt(path_tun_fd(x->b.path), SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)), 0);
	/* More than a batch of them: five fragments each, with a small packet before and behind. */
	for (int i = 0; i < 15; i++) {
		fill_udp(ip, 100, (uint8_t)i, false);
		CHECK_EQ(write(x->a.tun, ip, 100), 100);
		fill_udp(ip, 9000, (uint8_t)i, true);
		CHECK_EQ(write(x->a.tun, ip, 9000), 9000);
	}
	for (int i = 0; i < 5; i++)
		run(x);
	for (int i = 0; i < 15; i++) {
		CHECK_EQ(read(x->b.tun, got, sizeof(got)), 100);
		CHECK_EQ(got[50], i);
		for (int part = 0; part < 5; part++) {
			ssize_t n = read(x->b.tun, got, sizeof(got));

			CHECK_EQ(n, part < 4 ? 1996 : 9000 - 4 * 1976);
			CHECK_EQ(got[50], i);
			CHECK_EQ((got[6] << 8 | got[7]) & 0x1fff, part * 1976 / 8);
			CHECK_EQ((got[6] & 0x20) != 0, part < 4);
		}
	}
	CHECK_EQ(read(x->b.tun, got, sizeof(got)), -1);
	CHECK_EQ(path_counters(x->a.path)->tx_packets, 15 * 6);
}

/* Slots are expanded beside the loop, and fragments wait for them as all packets do. */
TEST(fragments_cross_slots_and_none_is_lost)
{
	_cleanup_(both_freep) struct both *x = NULL;
	uint8_t ip[9000], got[3000];
	unsigned int n = 0;
	uint64_t now;

	x = uneven_new(&now);
	find_mtu(x, &now);
	for (int i = 0; i < 900; i++) {
		fill_udp(ip, 9000, (uint8_t)i, true);
		CHECK_EQ(write(x->a.tun, ip, 9000), 9000);
		if (i % 10 == 9)
			run(x);
		while (read(x->b.tun, got, sizeof(got)) > 0)
			CHECK_EQ(got[50], n++ / 5 & 0xff);
	}
	for (int i = 0; i < 20; i++)
		run(x);
	while (read(x->b.tun, got, sizeof(got)) > 0)
		CHECK_EQ(got[50], n++ / 5 & 0xff);
	CHECK_EQ(n, 4500);
	CHECK_EQ(drops_of(&x->a).n[DROP_SEND], 0);
}

TEST(i4_a_flood_of_what_is_too_big_is_answered_by_little)
{
	_cleanup_(both_freep) struct both *x = NULL;
	uint8_t ip[2500] = { 0x45, 0, 2500 >> 8, 2500 & 0xff, 0, 0, 0x40, 0, 64, IPPROTO_UDP, 0, 0,
			     10,   9, 0,	 1,	      10, 9, 0,	   2 };
	uint8_t got[3000];
	unsigned int words = 0;
	uint64_t now;

	x = uneven_new(&now);
	find_mtu(x, &now);
	for (int i = 0; i < 300; i++) {
		CHECK_EQ(write(x->a.tun, ip, sizeof(ip)), (ssize_t)sizeof(ip));
		if (i % 20 == 19)
			run(x);
		while (read(x->a.tun, got, sizeof(got)) > 0)
			words++;
	}
	CHECK_EQ(drops_of(&x->a).n[DROP_TOO_BIG], 300);
	CHECK_EQ(words, 100);
}

TEST(i6_probes_are_answered_with_less_and_not_without_end)
{
	_cleanup_(both_freep) struct both *x = both_new(SLOTS);
	uint8_t inside[200] = { 0, 1, 0, 200, 9, 9, 9, 9 }, msg[300];
	uint64_t before;

	clock_fake_ms(1000000);
	/* Its first sequences are reserved. */
	path_send_keepalive(x->b.path, false);
	run(x);
	before = keys_tx_next(x->b.keys);
	for (uint64_t i = 0; i < 150; i++) {
		size_t len = forge(x, msg, i, inside, sizeof(inside));

		CHECK_EQ(sendto(x->raw, msg, len, 0, (struct sockaddr *)&x->b.address, sizeof(x->b.address)),
			 (ssize_t)len);
	}
	run(x);
	CHECK_EQ(keys_tx_next(x->b.keys) - before, 100);
	CHECK_EQ(drops_of(&x->b).arrived, 0);
	CHECK_EQ(path_counters(x->b.path)->rx_packets, 0);
	/* Neither is an answer to nothing worth one. */
	inside[1] = 2;
	inject(x, msg, forge(x, msg, 150, inside, PSK2_PROBE_LEN));
	CHECK_EQ(keys_tx_next(x->b.keys) - before, 100);
	/* What only looks like a probe is no packet. */
	inject(x, msg, forge(x, msg, 151, inside, sizeof(inside)));
	inside[1] = 7;
	inject(x, msg, forge(x, msg, 152, inside, sizeof(inside)));
	inside[1] = 1;
	inject(x, msg, forge(x, msg, 153, inside, sizeof(inside) - 1));
	CHECK_EQ(drops_of(&x->b).n[DROP_INNER], 3);
}

TEST(a_prototype_peer_sees_no_probes_and_its_own_are_no_packets)
{
	struct end a = { 0 };
	uint8_t material[10 * SLOT_LEN];
	struct session *s;

	CHECK_EQ(crypto_init(), 0);
	random_bytes(material, sizeof(material));
	end_init(&a, "a", KEYS_INITIATOR, material, 10, true);
	CHECK_EQ(session_new(&s, NULL, KEYS_INITIATOR, path_rx_slots(8192)), 0);
	s->address = a.address;
	path_set_current(a.path, &s);
	CHECK_EQ(path_probe_due(a.path), UINT64_MAX);
	path_probe(a.path);
	CHECK_EQ(keys_tx_next(a.keys), 0);
	end_done(&a);
}

/* ---- congestion and urgency ---- */

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
	path_send_handshake(x->a.path, none, 0, &path_current(x->a.path)->address);
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

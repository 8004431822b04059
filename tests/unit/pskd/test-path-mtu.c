/* How large packets may be, how that is found, and what becomes of larger ones. */
#include "unit/pskd/path_ends.h"

#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "crypto/secret.h"
#include "pskd/packet/pmtu.h"

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

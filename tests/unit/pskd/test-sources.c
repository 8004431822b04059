/* Whom a peer may speak for, and what nobody may say through a tunnel. */
#include "pskd/packet/sources.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "unit/lib/test.h"

static struct networks networks_of(const char *a, const char *b)
{
	struct networks n = { .n = 0 };

	if (a)
		CHECK_EQ(prefix_parse(&n.v[n.n++], a), 0);
	if (b)
		CHECK_EQ(prefix_parse(&n.v[n.n++], b), 0);
	return n;
}

static struct sources fixture(const char *local, const char *peer, const struct networks *routes, const struct networks *allowed)
{
	const struct networks none = { .n = 0 };
	struct tunnel_addresses a;
	struct sources s;

	CHECK_EQ(address_parse(&a, local, peer), 0);
	a.routes = routes ? *routes : none;
	sources_init(&s, &a, allowed ? allowed : &none);
	return s;
}

static enum sources_verdict judge_v4(const struct sources *s, const char *source)
{
	uint8_t ip[28] = { 0x45, [9] = 17 };

	CHECK_EQ(inet_pton(AF_INET, source, ip + 12), 1);
	return sources_judge(s, ip, sizeof(ip));
}

static enum sources_verdict judge_v6(const struct sources *s, const char *source)
{
	uint8_t ip[48] = { 0x60, [6] = 17 };

	CHECK_EQ(inet_pton(AF_INET6, source, ip + 8), 1);
	return sources_judge(s, ip, sizeof(ip));
}

TEST(by_default_the_peer_speaks_for_itself)
{
	struct sources s = fixture("10.9.0.1/30,fd09::1/64", "10.9.0.2,fd09::2", NULL, NULL);

	CHECK_EQ(judge_v4(&s, "10.9.0.2"), SOURCES_FINE);
	CHECK_EQ(judge_v6(&s, "fd09::2"), SOURCES_FINE);
	CHECK_EQ(judge_v4(&s, "10.9.0.3"), SOURCES_FOREIGN);
	CHECK_EQ(judge_v4(&s, "192.168.1.1"), SOURCES_FOREIGN);
	CHECK_EQ(judge_v6(&s, "fd09::3"), SOURCES_FOREIGN);
	CHECK_EQ(judge_v6(&s, "2001:db8::1"), SOURCES_FOREIGN);
}

TEST(where_its_address_is_not_known_it_has_one_of_the_network)
{
	struct sources s = fixture("10.9.0.1/24,fd09::1/64", NULL, NULL, NULL);

	CHECK_EQ(judge_v4(&s, "10.9.0.77"), SOURCES_FINE);
	CHECK_EQ(judge_v6(&s, "fd09::77"), SOURCES_FINE);
	CHECK_EQ(judge_v4(&s, "10.9.1.77"), SOURCES_FOREIGN);
	CHECK_EQ(judge_v6(&s, "fd09:1::77"), SOURCES_FOREIGN);
}

TEST(a_family_that_the_tunnel_does_not_have_is_nobodys)
{
	struct sources s = fixture("10.9.0.1/30", "10.9.0.2", NULL, NULL);

	CHECK_EQ(judge_v6(&s, "fd09::2"), SOURCES_FOREIGN);
	CHECK_EQ(judge_v6(&s, "::ffff:10.9.0.2"), SOURCES_FOREIGN);
}

TEST(our_own_address_is_nobody_elses)
{
	struct networks world = networks_of("0.0.0.0/0", "::/0");
	struct sources s = fixture("10.9.0.1/24,fd09::1/64", NULL, NULL, &world);

	CHECK_EQ(judge_v4(&s, "10.9.0.1"), SOURCES_FOREIGN);
	CHECK_EQ(judge_v6(&s, "fd09::1"), SOURCES_FOREIGN);
	CHECK_EQ(judge_v4(&s, "10.9.0.2"), SOURCES_FINE);
}

TEST(what_is_routed_to_the_peer_may_come_from_there_unless_allowed_says_less)
{
	struct networks routes = networks_of("192.168.5.0/24", "fd05::/48"), less = networks_of("192.168.5.0/28", NULL);
	struct sources s = fixture("10.9.0.1/30,fd09::1/64", "10.9.0.2,fd09::2", &routes, NULL);

	CHECK_EQ(judge_v4(&s, "192.168.5.200"), SOURCES_FINE);
	CHECK_EQ(judge_v6(&s, "fd05:0:0:7::1"), SOURCES_FINE);
	CHECK_EQ(judge_v4(&s, "192.168.6.1"), SOURCES_FOREIGN);
	s = fixture("10.9.0.1/30,fd09::1/64", "10.9.0.2,fd09::2", &routes, &less);
	CHECK_EQ(judge_v4(&s, "192.168.5.15"), SOURCES_FINE);
	CHECK_EQ(judge_v4(&s, "192.168.5.16"), SOURCES_FOREIGN);
	CHECK_EQ(judge_v6(&s, "fd05:0:0:7::1"), SOURCES_FOREIGN);
	/* Itself it is always. */
	CHECK_EQ(judge_v4(&s, "10.9.0.2"), SOURCES_FINE);
}

TEST(i4_the_whole_world_is_not_this_machine_or_its_links)
{
	static const char *const never[] = { "0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.0.1", "169.254.1.1", "224.0.0.1",
					     "239.1.1.1", "255.255.255.255" };
	static const char *const never6[] = { "::", "::1", "fe80::1", "febf::1", "ff02::1", "::ffff:127.0.0.1", "::10.0.0.1" };
	struct networks world = networks_of("0.0.0.0/0", "::/0");
	struct sources s = fixture("10.9.0.1/30,fd09::1/64", "10.9.0.2,fd09::2", NULL, &world);

	for (size_t i = 0; i < ARRAY_SIZE(never); i++)
		CHECK_EQ(judge_v4(&s, never[i]), SOURCES_FOREIGN);
	for (size_t i = 0; i < ARRAY_SIZE(never6); i++)
		CHECK_EQ(judge_v6(&s, never6[i]), SOURCES_FOREIGN);
	CHECK_EQ(judge_v4(&s, "8.8.8.8"), SOURCES_FINE);
	CHECK_EQ(judge_v6(&s, "2001:db8::1"), SOURCES_FINE);
}

/* An IPv6 packet of the peer with this chain of headers in front of an ICMPv6 message. */
static size_t chain(uint8_t *ip, const uint8_t *kinds, size_t n, uint8_t type)
{
	size_t at = 40;

	memset(ip, 0, 1500);
	ip[0] = 0x60;
	CHECK_EQ(inet_pton(AF_INET6, "fd09::2", ip + 8), 1);
	ip[6] = n ? kinds[0] : 58;
	for (size_t i = 0; i < n; i++) {
		ip[at] = i + 1 < n ? kinds[i + 1] : 58;
		/* Sixteen bytes, where the kind can. */
		ip[at + 1] = kinds[i] == 51 ? 2 : kinds[i] == 44 ? 0 : 1;
		at += kinds[i] == 44 ? 8 : 16;
	}
	ip[at] = type;
	return at + 8;
}

TEST(i4_nobody_is_a_router_through_a_tunnel)
{
	struct networks world = networks_of("0.0.0.0/0", "::/0");
	struct sources s = fixture("10.9.0.1/30,fd09::1/64", "10.9.0.2,fd09::2", NULL, &world);
	static const uint8_t chains[][4] = { { 0 }, { 60 }, { 43 }, { 44 }, { 51 }, { 0, 60, 43, 44 }, { 60, 60, 51, 44 } };
	static const size_t lens[] = { 1, 1, 1, 1, 1, 4, 4 };
	uint8_t ip[1500];

	for (unsigned int type = 0; type < 256; type++) {
		enum sources_verdict wanted = type >= 133 && type <= 137 ? SOURCES_ROUTER : SOURCES_FINE;

		CHECK_EQ(sources_judge(&s, ip, chain(ip, NULL, 0, (uint8_t)type)), wanted);
		for (size_t i = 0; i < ARRAY_SIZE(lens); i++)
			CHECK_EQ(sources_judge(&s, ip, chain(ip, chains[i], lens[i], (uint8_t)type)), wanted);
	}
}

TEST(i4_no_redirect_comes_through_a_tunnel)
{
	struct sources s = fixture("10.9.0.1/30", "10.9.0.2", NULL, NULL);

	for (unsigned int words = 5; words <= 15; words++)
		for (unsigned int type = 0; type < 256; type++) {
			uint8_t ip[80] = { (uint8_t)(0x40 | words), [9] = 1, [12] = 10, 9, 0, 2 };

			ip[words * 4] = (uint8_t)type;
			CHECK_EQ(sources_judge(&s, ip, sizeof(ip)), type == 5 ? SOURCES_ROUTER : SOURCES_FINE);
			/* Of UDP, or in the middle of something, it is any byte. */
			ip[9] = 17;
			CHECK_EQ(sources_judge(&s, ip, sizeof(ip)), SOURCES_FINE);
			ip[9] = 1;
			ip[7] = 1;
			CHECK_EQ(sources_judge(&s, ip, sizeof(ip)), SOURCES_FINE);
			ip[7] = 0;
			ip[6] = 0x20;
			CHECK_EQ(sources_judge(&s, ip, sizeof(ip)), type == 5 ? SOURCES_ROUTER : SOURCES_FINE);
		}
}

TEST(i4_a_chain_without_end_hides_nothing)
{
	struct sources s = fixture("fd09::1/64", "fd09::2", NULL, NULL);
	uint8_t kinds[20], ip[1500];

	memset(kinds, 60, sizeof(kinds));
	CHECK_EQ(sources_judge(&s, ip, chain(ip, kinds, 7, 128)), SOURCES_FINE);
	CHECK_EQ(sources_judge(&s, ip, chain(ip, kinds, sizeof(kinds), 128)), SOURCES_ROUTER);
}

/* Every cut of every chain, in memory that ends there. */
TEST(i4_what_is_cut_short_is_not_read_beyond)
{
	struct sources s = fixture("10.9.0.1/30,fd09::1/64", "10.9.0.2,fd09::2", NULL, NULL);
	static const uint8_t kinds[] = { 0, 60, 43, 51, 44 };
	uint8_t whole[1500];
	size_t len = chain(whole, kinds, sizeof(kinds), 134);

	for (size_t n = 40; n <= len; n++) {
		uint8_t *cut = malloc(n);

		memcpy(cut, whole, n);
		/* The message's type is eight bytes before the end. */
		CHECK_EQ(sources_judge(&s, cut, n), n > len - 8 ? SOURCES_ROUTER : SOURCES_FINE);
		free(cut);
	}
	for (size_t n = 20; n < 60; n++) {
		uint8_t *cut = calloc(1, n);

		cut[0] = 0x4f;
		cut[9] = 1;
		memcpy(cut + 12, (uint8_t[]){ 10, 9, 0, 2 }, 4);
		CHECK_EQ(sources_judge(&s, cut, n), SOURCES_FINE);
		free(cut);
	}
}

TEST(a_later_fragment_is_no_message)
{
	struct sources s = fixture("fd09::1/64", "fd09::2", NULL, NULL);
	static const uint8_t kinds[] = { 44 };
	uint8_t ip[1500];
	size_t len = chain(ip, kinds, 1, 134);

	ip[43] = 8;
	CHECK_EQ(sources_judge(&s, ip, len), SOURCES_FINE);
	/* More to come, and the first of them. */
	ip[43] = 1;
	CHECK_EQ(sources_judge(&s, ip, len), SOURCES_ROUTER);
}

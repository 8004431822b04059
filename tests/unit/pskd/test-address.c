/* Addresses in the tunnel and of the peer: what is read, what is derived, what is refused. */
#include "pskd/network/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "pskd/packet/udp.h"
#include "unit/lib/test.h"

static const uint8_t id[16] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 };

TEST(both_sides_derive_the_same_addresses)
{
	struct tunnel_addresses a, b;

	address_derive(&a, id, KEYS_INITIATOR);
	address_derive(&b, id, KEYS_RESPONDER);
	CHECK_MEM(a.v4_local, b.v4_peer, 4);
	CHECK_MEM(a.v4_peer, b.v4_local, 4);
	CHECK_MEM(a.v6_local, b.v6_peer, 16);
	CHECK_MEM(a.v6_peer, b.v6_local, 16);
	CHECK_EQ(a.v6_local[0], 0xfd);
	CHECK_EQ(a.v6_local[15], 1);
	CHECK_EQ(b.v6_local[15], 2);
	CHECK_EQ(a.v4_local[0], 10);
	CHECK_EQ(a.v4_local[1] & 0xc0, 64);
	CHECK_EQ(a.v4_local[3] & 3, 1);
	CHECK_EQ(a.v4_peer[3] & 3, 2);
}

TEST(other_tunnels_have_other_addresses)
{
	struct tunnel_addresses a, b;
	uint8_t other[16];

	memcpy(other, id, 16);
	other[15] ^= 1;
	address_derive(&a, id, KEYS_INITIATOR);
	address_derive(&b, other, KEYS_INITIATOR);
	CHECK(memcmp(a.v6_local, b.v6_local, 8) != 0);
	CHECK(memcmp(a.v4_local, b.v4_local, 4) != 0);
}

TEST(addresses_are_read_and_shown)
{
	struct tunnel_addresses a;
	char text[ADDRESS_TEXT_MAX];

	CHECK_EQ(address_parse(&a, "10.9.0.1/30, fd00::1/64", "10.9.0.2,fd00::2"), 0);
	CHECK_STR(address_format_v4(text, &a, false), "10.9.0.1/30");
	CHECK_STR(address_format_v4(text, &a, true), "10.9.0.2");
	CHECK_STR(address_format_v6(text, &a, false), "fd00::1/64");
	CHECK_EQ(address_parse(&a, "fd00::1/64", NULL), 0);
	CHECK(address_format_v4(text, &a, false) == NULL);
	CHECK(address_format_v6(text, &a, true) == NULL);
}

TEST(bad_addresses_are_refused)
{
	static const char *const bad[] = { "", "10.0.0.1", "10.0.0.1/33", "10.0.0.1/0", "10.0.0.1/30,10.0.0.5/30",
					   "fd00::1/129", "x/24", "10.0.0.1/30,fd00::1/64,fd01::1/64", "10.0.0.1/-1" };
	struct tunnel_addresses a;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_EQ(address_parse(&a, bad[i], NULL), -EINVAL);
	CHECK_EQ(address_parse(&a, "10.0.0.1/30", "fd00::2"), -EINVAL);
	CHECK_EQ(address_parse(&a, "10.0.0.1/30", "10.0.0.2/30"), -EINVAL);
}

TEST(endpoints_are_read_and_shown)
{
	struct sockaddr_in6 a;
	char text[UDP_TEXT_MAX];

	CHECK_EQ(udp_parse(&a, "7200"), 0);
	CHECK_EQ(ntohs(a.sin6_port), 7200);
	CHECK_EQ(udp_parse(&a, "192.0.2.1:7200"), 0);
	udp_format(text, &a);
	CHECK_STR(text, "192.0.2.1:7200");
	CHECK_EQ(udp_parse(&a, "[fe80::1%lo]:7200"), 0);
	CHECK_EQ(a.sin6_scope_id, 1);
	CHECK_EQ(udp_parse(&a, "[fe80::1%1]:7200"), 0);
	CHECK_EQ(a.sin6_scope_id, 1);
	/* By name, however it was given; a number that has none stays. */
	udp_format(text, &a);
	CHECK_STR(text, "[fe80::1%lo]:7200");
	CHECK_EQ(udp_parse(&a, "[fe80:1111:2222:3333:4444:5555:6666:7777%4294967295]:65535"), 0);
	udp_format(text, &a);
	CHECK_STR(text, "[fe80:1111:2222:3333:4444:5555:6666:7777%4294967295]:65535");
	CHECK_EQ(udp_parse(&a, "[2001:db8::1]:1"), 0);
	udp_format(text, &a);
	CHECK_STR(text, "[2001:db8::1]:1");
}

TEST(bad_endpoints_are_refused)
{
	static const char *const bad[] = { "", "0", "65536", "192.0.2.1", "192.0.2.1:0", "192.0.2.1:99999", ":7200",
					   "[2001:db8::1]", "[2001:db8::1", "2001:db8::1:7200", "name:7200", "[fe80::1%nosuchif]:1" };
	struct sockaddr_in6 a;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_EQ(udp_parse(&a, bad[i]), -EINVAL);
}

TEST(hosts_are_split_from_ports)
{
	char host[64];
	uint16_t port;

	CHECK_EQ(udp_split(host, sizeof(host), &port, "pi.example.net:7200", 0), 0);
	CHECK_STR(host, "pi.example.net");
	CHECK_EQ(port, 7200);
	CHECK_EQ(udp_split(host, sizeof(host), &port, "[fd00::1]:9", 0), 0);
	CHECK_STR(host, "fd00::1");
	CHECK_EQ(udp_split(host, sizeof(host), &port, "fd00::1", 7), 0);
	CHECK_EQ(port, 7);
	CHECK_EQ(udp_split(host, 4, &port, "long.example:1", 0), -EINVAL);
}

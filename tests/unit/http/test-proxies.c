/* Whose word on the client's address counts, and for whom it then asks. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "http/proxies.h"
#include "unit/lib/test.h"

static const char *const ours[] = { "127.0.0.1", "10.0.0.0/8", "fd00::/8", "192.0.2.128/25", "2001:db8::1" };

static struct sockaddr_storage address(const char *text)
{
	struct sockaddr_storage a = { 0 };
	struct sockaddr_in *four = (void *)&a;
	struct sockaddr_in6 *six = (void *)&a;

	if (inet_pton(AF_INET, text, &four->sin_addr) == 1) {
		a.ss_family = AF_INET;
		return a;
	}
	CHECK_EQ(inet_pton(AF_INET6, text, &six->sin6_addr), 1);
	a.ss_family = AF_INET6;
	return a;
}

static bool has(const struct http_proxies *p, const char *text)
{
	struct sockaddr_storage a = address(text);

	return http_proxies_has(p, (struct sockaddr *)&a);
}

TEST(i4_what_is_no_network_is_refused)
{
	static const char *const bad[] = { "", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/8/8",
					   "10.0.0.0/ 8", "10.1.2.3/8", "10.0.0", "localhost", "::/129", "fd00::1/8",
					   "[::1]", "::1%lo", "10.0.0.0 /8", "127.0.0.1:80", "fe80::/", "300.0.0.0",
					   "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000" };
	static const char *const good[] = { "0.0.0.0/0", "::/0", "127.0.0.1", "127.0.0.1/32", "::1/128", "10.0.0.0/8",
					    "::ffff:10.0.0.0/104" };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct http_proxies *p = NULL;
		const char *const one[] = { bad[i] };

		if (!http_proxies_check(bad[i]))
			test_fail(__FILE__, __LINE__, "\"%s\" was taken", bad[i]);
		CHECK(http_proxies_new(&p, one, 1) < 0);
		CHECK(!p);
	}
	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		if (http_proxies_check(good[i]))
			test_fail(__FILE__, __LINE__, "\"%s\" was refused", good[i]);
}

TEST(networks_hold_what_they_say)
{
	_cleanup_(http_proxies_freep) struct http_proxies *p = NULL;
	const struct sockaddr none = { .sa_family = AF_UNIX };

	CHECK_EQ(http_proxies_new(&p, ours, ARRAY_SIZE(ours)), 0);
	CHECK(has(p, "127.0.0.1") && !has(p, "127.0.0.2"));
	CHECK(has(p, "10.0.0.0") && has(p, "10.255.255.255") && !has(p, "11.0.0.0") && !has(p, "9.255.255.255"));
	CHECK(has(p, "192.0.2.128") && has(p, "192.0.2.255") && !has(p, "192.0.2.127"));
	CHECK(has(p, "fd00::") && has(p, "fdff:ffff::1") && !has(p, "fe00::") && !has(p, "fc00::"));
	CHECK(has(p, "2001:db8::1") && !has(p, "2001:db8::2"));
	CHECK(has(p, "::ffff:10.1.2.3") && !has(p, "::10.1.2.3") && !has(p, "::ffff:11.1.2.3"));
	CHECK(!http_proxies_has(p, &none));
	CHECK(!has(NULL, "127.0.0.1"));
}

TEST(the_whole_of_ipv6_is_not_ipv4)
{
	_cleanup_(http_proxies_freep) struct http_proxies *six = NULL, *four = NULL;
	const char *const all_six[] = { "::/0" }, *const all_four[] = { "0.0.0.0/0" };

	CHECK_EQ(http_proxies_new(&six, all_six, 1), 0);
	CHECK_EQ(http_proxies_new(&four, all_four, 1), 0);
	CHECK(has(six, "2001:db8::1") && !has(six, "10.0.0.1") && !has(six, "::ffff:10.0.0.1"));
	CHECK(!has(four, "2001:db8::1") && has(four, "10.0.0.1") && has(four, "::ffff:10.0.0.1"));
}

static void check_client(const char *peer, const char *forwarded, const char *wanted)
{
	_cleanup_(http_proxies_freep) struct http_proxies *p = NULL;
	struct sockaddr_storage from = address(peer), got;
	struct sockaddr_in6 *six = (void *)&got;
	char text[INET6_ADDRSTRLEN];

	CHECK_EQ(http_proxies_new(&p, ours, ARRAY_SIZE(ours)), 0);
	http_proxies_client(p, (struct sockaddr *)&from, forwarded, &got);
	CHECK_EQ(got.ss_family, AF_INET6);
	inet_ntop(AF_INET6, &six->sin6_addr, text, sizeof(text));
	if (strcmp(text, wanted) != 0)
		test_fail(__FILE__, __LINE__, "%s for \"%s\" is %s, not %s", peer, forwarded, text, wanted);
}

TEST(the_nearest_address_that_is_no_proxy_is_the_client)
{
	check_client("127.0.0.1", "192.0.2.1", "::ffff:192.0.2.1");
	check_client("127.0.0.1", " 192.0.2.1 ", "::ffff:192.0.2.1");
	check_client("127.0.0.1", "192.0.2.1:4711", "::ffff:192.0.2.1");
	check_client("127.0.0.1", "2001:db8::9", "2001:db8::9");
	check_client("127.0.0.1", "[2001:db8::9]", "2001:db8::9");
	check_client("127.0.0.1", "[2001:db8::9]:4711", "2001:db8::9");
	check_client("127.0.0.1", "::ffff:192.0.2.1", "::ffff:192.0.2.1");
	check_client("127.0.0.1", "192.0.2.1, 10.0.0.1,fd00::1", "::ffff:192.0.2.1");
	check_client("2001:db8::1", "192.0.2.1, 192.0.2.2", "::ffff:192.0.2.2");
	/* Nothing said, or only proxies: a proxy of its own accord. */
	check_client("127.0.0.1", "", "::ffff:127.0.0.1");
	check_client("127.0.0.1", "10.0.0.2, 10.0.0.1", "::ffff:10.0.0.2");
}

TEST(i4_what_a_client_writes_there_itself_counts_for_nothing)
{
	check_client("127.0.0.1", "1.1.1.1, 192.0.2.1", "::ffff:192.0.2.1");
	check_client("127.0.0.1", "127.0.0.1, 192.0.2.1", "::ffff:192.0.2.1");
	check_client("127.0.0.1", "1.1.1.1, nonsense, 192.0.2.1", "::ffff:192.0.2.1");
	/* Not from a proxy at all. */
	check_client("192.0.2.9", "1.1.1.1", "::ffff:192.0.2.9");
}

TEST(i4_nonsense_gains_nothing)
{
	static const char *const bad[] = { ",", " ", "unknown", "_hidden", "192.0.2", "1.1.1.1,", "192.0.2.1:", "[192.0.2.1]",
					   "192.0.2.1:65536", "[::1", "[::1]x", "::1]", "[]", "[]:80", "fe80::1%eth0", "1.1.1.1;",
					   "[2001:db8::9]:", "2001:db8::9:10:11:12:13:14",
					   "1111111111111111111111111111111111111111111111111111111111111111111111111111" };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char behind[200];

		check_client("127.0.0.1", bad[i], "::ffff:127.0.0.1");
		snprintf(behind, sizeof(behind), "%s,10.0.0.1", bad[i]);
		check_client("127.0.0.1", behind, "::ffff:10.0.0.1");
	}
}

TEST(a_unix_socket_is_a_proxys_when_it_is_listed)
{
	static const char *const with[] = { "unix", "10.0.0.0/8" };
	const struct sockaddr local = { .sa_family = AF_UNIX };
	struct sockaddr_storage client;
	struct sockaddr_in6 *six = (void *)&client;
	char text[INET6_ADDRSTRLEN];

	for (size_t n = 1; n <= ARRAY_SIZE(with); n++) {
		_cleanup_(http_proxies_freep) struct http_proxies *p = NULL;

		CHECK(!http_proxies_check("unix"));
		CHECK_EQ(http_proxies_new(&p, with, n), 0);
		CHECK(http_proxies_has(p, &local));
		CHECK(!http_proxies_has(p, &(struct sockaddr){ .sa_family = AF_INET }));
		http_proxies_client(p, &local, "198.51.100.7, 10.0.0.1", &client);
		CHECK_EQ(client.ss_family, AF_INET6);
		CHECK_STR(inet_ntop(AF_INET6, &six->sin6_addr, text, sizeof(text)), n == 1 ? "::ffff:10.0.0.1" : "::ffff:198.51.100.7");
		/* Nonsense, or nothing: nobody's address is known. */
		http_proxies_client(p, &local, "", &client);
		CHECK_EQ(client.ss_family, AF_UNIX);
		http_proxies_client(p, &local, "x", &client);
		CHECK_EQ(client.ss_family, AF_UNIX);
	}
	{
		_cleanup_(http_proxies_freep) struct http_proxies *p = NULL;

		CHECK_EQ(http_proxies_new(&p, with + 1, 1), 0);
		CHECK(!http_proxies_has(p, &local));
		http_proxies_client(p, &local, "198.51.100.7", &client);
		CHECK_EQ(client.ss_family, AF_UNIX);
	}
}

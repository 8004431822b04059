/* Which address of listen: a socket that somebody else opened takes already. */
#include "service/listening.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/http_server.h"
#include "unit/lib/test.h"

static char text[96];

/* "HOST:<the socket's port>" */
static const char *at(const char *host, uint16_t port)
{
	snprintf(text, sizeof(text), "%s:%u", host, port);
	return text;
}

static int v6_any(bool only, uint16_t *port)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6 };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET6, SOCK_STREAM, 0), value = only;

	if (fd < 0)
		test_skip("no IPv6 here");
	CHECK_EQ(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &value, sizeof(value)), 0);
	CHECK_EQ(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	CHECK_EQ(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	*port = ntohs(a.sin6_port);
	return fd;
}

TEST(every_address_of_both_families_takes_all)
{
	uint16_t port;
	int fd = v6_any(false, &port);

	CHECK(listening_covers(fd, at("127.0.0.1", port)));
	CHECK(listening_covers(fd, at("0.0.0.0", port)));
	CHECK(listening_covers(fd, at("[::1]", port)));
	CHECK(listening_covers(fd, at("[::]", port)));
	CHECK(listening_covers(fd, at("*", port)));
	CHECK(!listening_covers(fd, at("127.0.0.1", port ^ 1)));
	close(fd);
}

TEST(every_ipv6_address_takes_no_ipv4)
{
	uint16_t port;
	int fd = v6_any(true, &port);

	CHECK(listening_covers(fd, at("[::1]", port)));
	CHECK(!listening_covers(fd, at("127.0.0.1", port)));
	CHECK(!listening_covers(fd, at("*", port)));
	close(fd);
}

TEST(one_address_takes_itself)
{
	uint16_t port;
	int fd = http_listen_tcp("127.0.0.1:0", &port);

	CHECK(fd >= 0);
	CHECK(listening_covers(fd, at("127.0.0.1", port)));
	CHECK(!listening_covers(fd, at("127.0.0.2", port)));
	CHECK(!listening_covers(fd, at("0.0.0.0", port)));
	CHECK(!listening_covers(fd, at("[::1]", port)));
	CHECK(!listening_covers(fd, at("*", port)));
	close(fd);
	fd = http_listen_tcp("0.0.0.0:0", &port);
	CHECK(fd >= 0);
	CHECK(listening_covers(fd, at("127.0.0.2", port)));
	CHECK(!listening_covers(fd, at("[::1]", port)));
	CHECK(!listening_covers(fd, at("*", port)));
	close(fd);
}

TEST(what_is_no_address_is_taken_by_nobody)
{
	int pair[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	CHECK(!listening_covers(pair[0], "127.0.0.1:7117"));
	CHECK(!listening_covers(-1, "127.0.0.1:7117"));
	CHECK(!listening_covers(pair[0], "nonsense"));
}

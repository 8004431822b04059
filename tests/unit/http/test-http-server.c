/* What the HTTP server refuses and times out, by raw socket: the holes of Debian 12's libmicrohttpd. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "event/loop.h"
#include "http/address.h"
#include "http/client.h"
#include "http/http_server.h"
#include "unit/lib/test.h"

struct fixture {
	struct loop *loop;
	struct http_server *server;
	struct http_listener *listener;
	uint16_t port;
	unsigned int requests;
	char target[256], method[16], body[2000];
	size_t body_len;
	bool has_x;
};

static void on_request(struct http_request *req, void *arg)
{
	struct fixture *f = arg;
	const void *body = http_request_body(req, &f->body_len);

	f->requests++;
	snprintf(f->target, sizeof(f->target), "%s", http_request_target(req));
	snprintf(f->method, sizeof(f->method), "%s", http_request_method(req));
	memcpy(f->body, body, f->body_len);
	f->has_x = http_request_header(req, "x-thing") != NULL;
	CHECK(http_request_listener(req) == f->listener);
	http_reply(req, 200, "text/plain", "fine", 4, NULL);
}

static void start(struct fixture *f)
{
	struct http_server_options o = {
		.limits = { .max_connections = 4, .max_connections_per_address = 3, .max_body = 1000,
			    .header_timeout_ms = 400, .body_timeout_ms = 400, .idle_timeout_ms = 400 },
		.on_request = on_request,
		.arg = f,
	};
	int fd;

	memset(f, 0, sizeof(*f));
	CHECK_EQ(loop_new(&f->loop), 0);
	CHECK_EQ(http_server_new(&f->server, f->loop, &o), 0);
	fd = http_listen_tcp("127.0.0.1:0", &f->port);
	CHECK(fd >= 0);
	CHECK_EQ(http_server_listen_handle(f->server, fd, &f->listener), 0);
}

static void stop(struct fixture *f)
{
	http_server_free(f->server);
	loop_free(f->loop);
}

static int raw_open(struct fixture *f)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(f->port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0);
	CHECK_EQ(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

/* Read to the end of the stream, at most 3 s, turning the loop. True when it ended. */
static bool read_to_end(struct fixture *f, int fd, char *buf, size_t cap)
{
	uint64_t until = clock_now_us() + 3000000;
	size_t got = 0;

	buf[0] = '\0';
	while (clock_now_us() < until) {
		ssize_t n = recv(fd, buf + got, cap - 1 - got, 0);

		if (n == 0 || (n < 0 && errno != EAGAIN))
			return true;
		if (n > 0) {
			got += (size_t)n;
			buf[got] = '\0';
		} else {
			loop_step(f->loop, 10);
		}
	}
	return false;
}

static void check_answer(const char *request, const char *status, unsigned int requests)
{
	struct fixture f;
	char buf[8192];
	int fd;

	start(&f);
	fd = raw_open(&f);
	CHECK_EQ(send(fd, request, strlen(request), MSG_NOSIGNAL), (long long)strlen(request));
	CHECK(read_to_end(&f, fd, buf, sizeof(buf)));
	if (strncmp(buf, "HTTP/1.", 7) != 0 || strncmp(buf + 9, status, 3) != 0)
		test_fail(__FILE__, __LINE__, "\"%.60s\" to \"%.120s\"", buf, request);
	if (f.requests != requests)
		test_fail(__FILE__, __LINE__, "%u requests of \"%.120s\"", f.requests, request);
	close(fd);
	stop(&f);
}

TEST(plain_requests_are_answered)
{
	check_answer("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "200", 1);
	check_answer("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc", "200", 1);
	check_answer("POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
		     "3\r\nabc\r\n0\r\n\r\n", "200", 1);
}

TEST(i4_heads_that_two_parsers_read_differently_are_refused)
{
	check_answer("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", "400", 0);
	check_answer("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "400", 0);
	check_answer("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
		     "0\r\n\r\n", "400", 0);
	check_answer("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"
		     "0\r\n\r\n", "400", 0);
	check_answer("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "400", 0);
	check_answer("POST / HTTP/1.1\r\nHost: h\r\nContent-Length : 3\r\n\r\nabc", "400", 0);
	check_answer("GET / HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n", "400", 0);
	check_answer("GET\x12G / HTTP/1.1\r\nHost: h\r\n\r\n", "400", 0);
	check_answer("GET /\x0bx HTTP/1.1\r\nHost: h\r\n\r\n", "400", 0);
	check_answer("GET /\x80 HTTP/1.1\r\nHost: h\r\n\r\n", "400", 0);
	check_answer("GET / HTTP/1.1\r\nX: y\r\n\r\n", "400", 0);
	check_answer("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\nabc", "400", 0);
	check_answer("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3, 3\r\n\r\nabc", "400", 0);
}

TEST(i4_a_request_that_expects_100_and_is_followed_at_once_is_answered_once)
{
	check_answer("GET / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\nabc", "100", 1);
}

TEST(i4_bodies_beyond_the_limit_are_refused)
{
	char request[4096];
	int n;

	check_answer("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n", "413", 0);
	check_answer("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551617\r\n\r\n", "413", 0);
	n = snprintf(request, sizeof(request),
		     "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5dc\r\n%01500d\r\n0\r\n\r\n", 0);
	CHECK(n < (int)sizeof(request));
	check_answer(request, "413", 0);
}

TEST(body_target_and_headers_arrive_as_sent)
{
	static const char request[] = "POST /a%2Fb?q=%41 HTTP/1.1\r\nHost: h\r\nX-Thing: 1\r\n"
				      "Content-Length: 5\r\nConnection: close\r\n\r\nhello";
	struct fixture f;
	char buf[4096];
	int fd;

	start(&f);
	fd = raw_open(&f);
	CHECK_EQ(send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL), sizeof(request) - 1);
	CHECK(read_to_end(&f, fd, buf, sizeof(buf)));
	CHECK_STR(f.target, "/a%2Fb?q=%41");
	CHECK_STR(f.method, "POST");
	CHECK_EQ(f.body_len, 5);
	CHECK_MEM(f.body, "hello", 5);
	CHECK(f.has_x);
	close(fd);
	stop(&f);
}

/* Send a byte every 30 ms until the server hangs up; returns how long that took in ms. */
static uint64_t drip(struct fixture *f, int fd, const char *text)
{
	uint64_t began = clock_now_us();
	size_t len = strlen(text);
	char c;

	for (size_t i = 0; i < 100; i++) {
		uint64_t next = clock_now_us() + 30000;

		(void)!send(fd, i < len ? text + i : "x", 1, MSG_NOSIGNAL);
		while (clock_now_us() < next)
			loop_step(f->loop, 5);
		if (recv(fd, &c, 1, 0) == 0)
			break;
	}
	return (clock_now_us() - began) / 1000;
}

TEST(i4_slow_heads_are_cut_off_though_bytes_keep_coming)
{
	struct http_counters n;
	struct fixture f;
	int fd;

	start(&f);
	fd = raw_open(&f);
	CHECK(drip(&f, fd, "GET / HTTP/1.1\r\nHost: h\r\nX-Slow: ") < 1500);
	http_server_counters(f.server, &n);
	CHECK_EQ(n.timeouts, 1);
	CHECK_EQ(f.requests, 0);
	close(fd);
	stop(&f);
}

TEST(i4_slow_bodies_are_cut_off_though_bytes_keep_coming)
{
	static const char head[] = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 900\r\n\r\n";
	struct fixture f;
	int fd;

	start(&f);
	fd = raw_open(&f);
	CHECK_EQ(send(fd, head, sizeof(head) - 1, MSG_NOSIGNAL), sizeof(head) - 1);
	CHECK(drip(&f, fd, "") < 1500);
	CHECK_EQ(f.requests, 0);
	close(fd);
	stop(&f);
}

TEST(i4_a_connection_that_says_nothing_is_cut_off)
{
	struct fixture f;
	char buf[64];
	int fd;

	start(&f);
	fd = raw_open(&f);
	CHECK(read_to_end(&f, fd, buf, sizeof(buf)));
	close(fd);
	stop(&f);
}

TEST(i4_connections_per_address_and_in_all_are_bounded)
{
	struct http_counters n;
	struct fixture f;
	int fds[6];

	start(&f);
	for (int i = 0; i < 6; i++)
		fds[i] = raw_open(&f);
	for (int i = 0; i < 10; i++)
		loop_step(f.loop, 5);
	http_server_counters(f.server, &n);
	CHECK_EQ(n.open, 3);
	CHECK_EQ(n.refused_limit, 3);
	for (int i = 0; i < 6; i++)
		close(fds[i]);
	for (int i = 0; i < 20; i++)
		loop_step(f.loop, 5);
	http_server_counters(f.server, &n);
	CHECK_EQ(n.open, 0);
	stop(&f);
}

static void set_descriptors(rlim_t n)
{
	struct rlimit limit;

	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = n < limit.rlim_max ? n : limit.rlim_max;
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* No descriptor beyond the next `more` ones. */
static void limit_descriptors(unsigned int more)
{
	int next = dup(0);

	CHECK(next >= 0);
	close(next);
	set_descriptors((rlim_t)next + more);
}

static bool is_answered(struct fixture *f, int fd)
{
	static const char request[] = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
	char buf[2000];

	CHECK_EQ(send(fd, request, strlen(request), MSG_NOSIGNAL), (long long)strlen(request));
	return read_to_end(f, fd, buf, sizeof(buf)) && strncmp(buf, "HTTP/1.1 200", 12) == 0;
}

static void turn(struct fixture *f, unsigned int ms)
{
	uint64_t until = clock_now_ms() + ms;

	while (clock_now_ms() < until)
		loop_step(f->loop, 10);
}

TEST(i4_a_listener_that_ran_out_of_descriptors_hears_again)
{
	struct http_counters counters;
	struct fixture f;
	int first, second;

	start(&f);
	first = raw_open(&f);
	second = raw_open(&f);
	limit_descriptors(1);
	turn(&f, 50);
	http_server_counters(f.server, &counters);
	CHECK_EQ(counters.open, 1);
	/* The one that is in ends; nothing else happens that would wake anybody. */
	close(first);
	CHECK(is_answered(&f, second));
	close(second);
	stop(&f);
}

TEST(i4_descriptors_that_come_back_elsewhere_are_used_beside_a_connection_that_stays)
{
	struct http_counters counters;
	struct fixture f;
	struct http_limits patient = { .max_connections = 8, .max_body = 1024, .max_head = 8192,
				       .header_timeout_ms = 60000, .body_timeout_ms = 60000, .idle_timeout_ms = 60000 };
	int stays, late;

	start(&f);
	/* Its end would wake the listener. */
	http_server_set_limits(f.server, &patient);
	stays = raw_open(&f);
	turn(&f, 50);
	late = raw_open(&f);
	limit_descriptors(0);
	turn(&f, 300);
	http_server_counters(f.server, &counters);
	CHECK_EQ(counters.open, 1);
	set_descriptors(RLIM_INFINITY);
	CHECK(is_answered(&f, late));
	close(late);
	close(stays);
	stop(&f);
}

TEST(i4_a_listener_without_any_descriptor_waits_and_does_not_turn)
{
	struct timespec before, after;
	struct fixture f;
	int fd;

	start(&f);
	fd = raw_open(&f);
	limit_descriptors(0);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
	turn(&f, 600);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
	CHECK((after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000 < 60);
	set_descriptors(RLIM_INFINITY);
	CHECK(is_answered(&f, fd));
	close(fd);
	stop(&f);
}

TEST(listener_that_ends_takes_its_connections_along)
{
	struct http_counters n;
	struct fixture f;
	char buf[64];
	int fd;

	start(&f);
	fd = raw_open(&f);
	loop_step(f.loop, 20);
	http_server_unlisten(f.server, f.listener);
	CHECK(read_to_end(&f, fd, buf, sizeof(buf)));
	http_server_counters(f.server, &n);
	CHECK_EQ(n.open, 0);
	close(fd);
	stop(&f);
}

TEST(i4_a_limit_that_is_lowered_during_a_body_bounds_what_follows)
{
	static const char begin[] = "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
	struct http_limits limits = { .max_connections = 4, .max_body = 1000, .header_timeout_ms = 60000,
				      .body_timeout_ms = 60000, .idle_timeout_ms = 60000 };
	char chunk[800], buf[8192];
	struct fixture f;
	int fd, n;

	start(&f);
	http_server_set_limits(f.server, &limits);
	fd = raw_open(&f);
	n = snprintf(chunk, sizeof(chunk), "%s258\r\n%0600d\r\n", begin, 0);
	CHECK_EQ(send(fd, chunk, (size_t)n, MSG_NOSIGNAL), n);
	turn(&f, 100);
	limits.max_body = 500;
	http_server_set_limits(f.server, &limits);
	n = snprintf(chunk, sizeof(chunk), "c8\r\n%0200d\r\n0\r\n\r\n", 0);
	CHECK_EQ(send(fd, chunk, (size_t)n, MSG_NOSIGNAL), n);
	CHECK(read_to_end(&f, fd, buf, sizeof(buf)));
	CHECK(strncmp(buf + 9, "413", 3) == 0);
	CHECK_EQ(f.requests, 0);
	close(fd);
	stop(&f);
}

TEST(addresses_to_listen_on_are_checked)
{
	uint16_t port;
	int fd;

	CHECK_EQ(http_listen_tcp("127.0.0.1", &port), -EINVAL);
	CHECK_EQ(http_listen_tcp(":80", &port), -EINVAL);
	CHECK_EQ(http_listen_tcp("localhost:80", &port), -EINVAL);
	CHECK_EQ(http_listen_tcp("[::1:80", &port), -EINVAL);
	CHECK_EQ(http_listen_tcp("127.0.0.1:65536", &port), -EINVAL);
	CHECK_EQ(http_listen_tcp("127.0.0.1:99999", &port), -EINVAL);
	CHECK_EQ(http_listen_tcp("127.0.0.1:-1", &port), -EINVAL);
	CHECK_EQ(http_listen_tcp("127.0.0.1:", &port), -EINVAL);
	fd = http_listen_tcp("*:0", &port);
	CHECK(fd >= 0);
	CHECK(port > 0);
	close(fd);
}

TEST(an_address_may_come_later)
{
	int fd = http_listen_tcp("192.0.2.1:0", NULL);

	CHECK(fd >= 0);
	close(fd);
	fd = http_listen_tcp("[2001:db8::1]:0", NULL);
	/* Without IPv6 there is no socket for it at all. */
	CHECK(fd >= 0 || fd == -EAFNOSUPPORT);
	if (fd >= 0)
		close(fd);
}

/* ---- counting by address ---- */

static struct address_key key_of(const char *text)
{
	struct sockaddr_in6 six = { .sin6_family = AF_INET6 };
	struct sockaddr_in four = { .sin_family = AF_INET };
	struct address_key k;

	if (inet_pton(AF_INET, text, &four.sin_addr) == 1)
		address_key_init(&k, (struct sockaddr *)&four);
	else if (inet_pton(AF_INET6, text, &six.sin6_addr) == 1)
		address_key_init(&k, (struct sockaddr *)&six);
	else
		test_fail(__FILE__, __LINE__, "%s", text);
	return k;
}

static bool same_key(const char *a, const char *b)
{
	struct address_key x = key_of(a), y = key_of(b);

	return memcmp(&x, &y, sizeof(x)) == 0;
}

TEST(i4_ipv6_counts_by_64_and_mapped_ipv4_as_ipv4)
{
	CHECK(same_key("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"));
	CHECK(!same_key("2001:db8:1:2::1", "2001:db8:1:3::1"));
	CHECK(same_key("::ffff:192.0.2.1", "192.0.2.1"));
	CHECK(!same_key("192.0.2.1", "192.0.2.2"));
	CHECK(!same_key("c000:201::", "192.0.2.1"));
}

static bool keep_odd(const void *value, void *arg)
{
	(void)arg;
	return *(const uint32_t *)value % 2;
}

TEST(address_table_grows_finds_prunes_and_removes)
{
	_cleanup_(address_table_freep) struct address_table *t = NULL;
	struct address_key k = { .family = 4 };

	CHECK_EQ(address_table_new(&t, sizeof(uint32_t)), 0);
	for (uint32_t i = 0; i < 5000; i++) {
		uint32_t *v;

		memcpy(k.b, &i, 4);
		CHECK(!address_table_get(t, &k, false));
		v = address_table_get(t, &k, true);
		CHECK_EQ(*v, 0);
		*v = i;
	}
	CHECK_EQ(address_table_count(t), 5000);
	address_table_prune(t, keep_odd, NULL);
	CHECK_EQ(address_table_count(t), 2500);
	for (uint32_t i = 0; i < 5000; i++) {
		uint32_t *v;

		memcpy(k.b, &i, 4);
		v = address_table_get(t, &k, false);
		CHECK(i % 2 ? v && *v == i : !v);
	}
	address_table_remove(t, &k);
	CHECK(!address_table_get(t, &k, false));
	CHECK_EQ(address_table_count(t), 2499);
}

/* ---- URLs ---- */

TEST(urls_are_taken_apart)
{
	struct http_url u;

	CHECK_EQ(http_url_parse(&u, "wss://relay.example/ws/A?b"), 0);
	CHECK(u.tls);
	CHECK_STR(u.host, "relay.example");
	CHECK_STR(u.port, "443");
	CHECK_STR(u.path, "/ws/A?b");
	CHECK_EQ(http_url_parse(&u, "http://[2001:db8::1]:7117"), 0);
	CHECK(!u.tls);
	CHECK_STR(u.host, "2001:db8::1");
	CHECK_STR(u.port, "7117");
	CHECK_STR(u.authority, "[2001:db8::1]:7117");
	CHECK_STR(u.path, "/");
}

TEST(urls_that_are_none_are_refused)
{
	static const char *const bad[] = { "", "relay.example", "ftp://x/", "ws://", "ws://:80/", "ws://h:0/",
					   "ws://h:65536/", "ws://h:8x/", "ws://[::1/", "ws://[::1]x/",
					   "ws://user@h/", "ws://h/a b", "ws://h/\r\nX: y", "ws://h/#f", "ws://h?q" };
	struct http_url u;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (http_url_parse(&u, bad[i]) != -EINVAL)
			test_fail(__FILE__, __LINE__, "%s was taken", bad[i]);
}

/* Server and client of common/http against each other, and RFC 6455's own examples by raw socket. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "event/loop.h"
#include "http/http_server.h"
#include "http/websocket.h"
#include "http/websocket_transport.h"
#include "unit/lib/test.h"

struct fixture {
	struct loop *loop;
	struct http_server *server;
	uint16_t port;
	struct websocket *served;
	unsigned int opened, lost, messages, closed, replies;
	uint16_t close_code;
	char last[70000];
	size_t last_len;
	struct websocket_limits limits;
	/* the client of the other side */
	struct websocket_connector *connector;
	struct websocket *client;
	int outcome;
	unsigned int status, connected, client_messages, client_closed;
	uint16_t client_code;
	char client_last[70000];
	char detail[256];
};

static void on_message(struct websocket *ws, const char *text, size_t len, void *arg)
{
	struct fixture *f = arg;

	f->messages++;
	f->last_len = len;
	memcpy(f->last, text, len);
	f->last[len] = '\0';
	websocket_send(ws, text, len);
}

static void on_close(struct websocket *ws, uint16_t code, void *arg)
{
	struct fixture *f = arg;

	(void)ws;
	f->closed++;
	f->close_code = code;
	f->served = NULL;
}

static void on_open(struct websocket *ws, void *arg)
{
	struct fixture *f = arg;
	const struct websocket_handlers h = { on_message, on_close, f };

	if (!ws) {
		f->lost++;
		return;
	}
	f->opened++;
	f->served = ws;
	websocket_start(ws, &h, &f->limits);
}

static void on_request(struct http_request *req, void *arg)
{
	struct fixture *f = arg;
	size_t len;
	const void *body = http_request_body(req, &len);

	f->replies++;
	if (strcmp(http_request_target(req), "/ws") == 0)
		http_upgrade(req, on_open, f);
	else
		http_reply(req, 200, "text/plain", body, len, NULL);
}

static void start(struct fixture *f)
{
	struct http_server_options o = {
		.limits = { .max_connections = 10, .max_connections_per_address = 8, .max_body = 1000,
			    .header_timeout_ms = 2000, .body_timeout_ms = 2000, .idle_timeout_ms = 2000 },
		.on_request = on_request,
		.arg = f,
	};
	int fd;

	memset(f, 0, sizeof(*f));
	f->limits = (struct websocket_limits){ .max_message = 16384, .max_unsent = 1 << 20 };
	CHECK_EQ(loop_new(&f->loop), 0);
	CHECK_EQ(http_server_new(&f->server, f->loop, &o), 0);
	fd = http_listen_tcp("127.0.0.1:0", &f->port);
	CHECK(fd >= 0);
	CHECK_EQ(http_server_listen(f->server, fd), 0);
}

static void stop(struct fixture *f)
{
	websocket_connector_free(f->connector);
	if (f->client)
		websocket_abort(f->client);
	http_server_free(f->server);
	loop_free(f->loop);
}

/* Turn the loop until cond, for at most 5 s. */
#define UNTIL(f, cond)                                                                        \
	do {                                                                                   \
		uint64_t until_ = clock_now_us() + 5000000;                                    \
		while (!(cond) && clock_now_us() < until_)                                     \
			loop_step((f)->loop, 20);                                              \
		CHECK(cond);                                                                   \
	} while (0)

static void turn(struct fixture *f, unsigned int ms)
{
	uint64_t until = clock_now_us() + ms * 1000;

	while (clock_now_us() < until)
		loop_step(f->loop, 5);
}

/* ---- raw sockets ---- */

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

static void raw_send(int fd, const void *data, size_t len)
{
	CHECK_EQ(send(fd, data, len, MSG_NOSIGNAL), (long long)len);
}

/* Read until want bytes are there or the peer closed; returns the length. */
static size_t raw_read(struct fixture *f, int fd, char *buf, size_t want)
{
	uint64_t until = clock_now_us() + 5000000;
	size_t got = 0;

	while (got < want && clock_now_us() < until) {
		ssize_t n = recv(fd, buf + got, want - got, 0);

		if (n == 0 || (n < 0 && errno != EAGAIN))
			break;
		if (n > 0)
			got += (size_t)n;
		else
			loop_step(f->loop, 5);
	}
	return got;
}

static size_t raw_head(struct fixture *f, int fd, char *buf, size_t cap)
{
	size_t got = 0;

	buf[0] = '\0';
	while (got + 1 < cap && !strstr(buf, "\r\n\r\n") && raw_read(f, fd, buf + got, 1) == 1)
		buf[++got] = '\0';
	return got;
}

/* The example of RFC 6455 section 1.3. */
static const char handshake[] = "GET /ws HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n"
				"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
				"Sec-WebSocket-Version: 13\r\n\r\n";

static int raw_upgrade(struct fixture *f)
{
	char head[2048];
	int fd = raw_open(f);

	raw_send(fd, handshake, sizeof(handshake) - 1);
	raw_head(f, fd, head, sizeof(head));
	CHECK(strncmp(head, "HTTP/1.1 101 ", 13) == 0);
	CHECK(strstr(head, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
	UNTIL(f, f->served);
	return fd;
}

/* A masked frame of a payload below 64 KiB. */
static size_t frame(uint8_t *out, unsigned int first, const void *payload, size_t len)
{
	static const uint8_t mask[4] = { 0x37, 0xfa, 0x21, 0x3d };
	size_t n = 0;

	out[n++] = (uint8_t)first;
	if (len < 126) {
		out[n++] = (uint8_t)(0x80 | len);
	} else {
		out[n++] = 0x80 | 126;
		out[n++] = (uint8_t)(len >> 8);
		out[n++] = (uint8_t)len;
	}
	memcpy(out + n, mask, 4);
	n += 4;
	for (size_t i = 0; i < len; i++)
		out[n++] = ((const uint8_t *)payload)[i] ^ mask[i % 4];
	return n;
}

static void expect_close(struct fixture *f, int fd, unsigned int code)
{
	uint8_t got[4] = { 0 };

	CHECK_EQ(raw_read(f, fd, (char *)got, 4), 4);
	CHECK_EQ(got[0], 0x88);
	CHECK_EQ(got[2] << 8 | got[3], code);
	UNTIL(f, f->closed == 1);
	CHECK_EQ(f->messages, 0);
}

TEST(accept_value_is_that_of_rfc_6455_section_1_3)
{
	char out[WEBSOCKET_ACCEPT_SPACE];

	websocket_accept_value(out, "dGhlIHNhbXBsZSBub25jZQ==");
	CHECK_STR(out, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

TEST(header_tokens_are_found_in_any_case_and_whole)
{
	CHECK(websocket_header_has("keep-alive, upgrade", "Upgrade"));
	CHECK(!websocket_header_has("keep-alive, upgraded", "Upgrade"));
	CHECK(!websocket_header_has(NULL, "Upgrade"));
}

TEST(single_masked_frame_of_rfc_6455_section_5_7_is_read_and_echoed)
{
	static const uint8_t hello[] = { 0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58 };
	static const uint8_t echo[] = { 0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f };
	struct fixture f;
	char got[8];
	int fd;

	start(&f);
	fd = raw_upgrade(&f);
	raw_send(fd, hello, sizeof(hello));
	CHECK_EQ(raw_read(&f, fd, got, sizeof(echo)), sizeof(echo));
	CHECK_MEM(got, echo, sizeof(echo));
	CHECK_STR(f.last, "Hello");
	close(fd);
	UNTIL(&f, f.closed == 1);
	CHECK_EQ(f.close_code, 1006);
	stop(&f);
}

TEST(message_sent_with_the_handshake_is_read)
{
	uint8_t buf[512];
	struct fixture f;
	size_t n = sizeof(handshake) - 1;
	int fd;

	start(&f);
	memcpy(buf, handshake, n);
	n += frame(buf + n, 0x81, "early", 5);
	fd = raw_open(&f);
	raw_send(fd, buf, n);
	UNTIL(&f, f.messages == 1);
	CHECK_STR(f.last, "early");
	close(fd);
	stop(&f);
}

TEST(fragments_and_a_ping_between_them_become_one_message)
{
	uint8_t buf[256];
	struct fixture f;
	size_t n;
	char got[6];
	int fd;

	start(&f);
	fd = raw_upgrade(&f);
	n = frame(buf, 0x01, "Hel", 3);
	n += frame(buf + n, 0x89, "ping", 4);
	n += frame(buf + n, 0x80, "lo", 2);
	raw_send(fd, buf, n);
	UNTIL(&f, f.messages == 1);
	CHECK_STR(f.last, "Hello");
	CHECK_EQ(raw_read(&f, fd, got, 6), 6);
	CHECK_MEM(got, "\x8a\x04ping", 6);
	close(fd);
	stop(&f);
}

TEST(i4_message_of_one_byte_above_the_limit_is_closed_with_1009)
{
	static uint8_t payload[16385], buf[17000];
	struct fixture f;
	int fd;

	memset(payload, 'a', sizeof(payload));
	start(&f);
	fd = raw_upgrade(&f);
	raw_send(fd, buf, frame(buf, 0x81, payload, sizeof(payload)));
	expect_close(&f, fd, 1009);
	close(fd);
	stop(&f);
}

TEST(message_at_the_limit_is_taken)
{
	static uint8_t payload[16384], buf[17000];
	struct fixture f;
	int fd;

	memset(payload, 'a', sizeof(payload));
	start(&f);
	fd = raw_upgrade(&f);
	raw_send(fd, buf, frame(buf, 0x81, payload, sizeof(payload)));
	UNTIL(&f, f.messages == 1);
	CHECK_EQ(f.last_len, 16384);
	close(fd);
	stop(&f);
}

TEST(i4_fragments_are_counted_together)
{
	static uint8_t payload[1000], buf[1100];
	struct fixture f;
	int fd;

	memset(payload, 'a', sizeof(payload));
	start(&f);
	fd = raw_upgrade(&f);
	raw_send(fd, buf, frame(buf, 0x01, payload, sizeof(payload)));
	for (int i = 0; i < 17; i++)
		raw_send(fd, buf, frame(buf, 0x00, payload, sizeof(payload)));
	expect_close(&f, fd, 1009);
	close(fd);
	stop(&f);
}

TEST(i4_a_length_of_2_to_the_62_is_refused_at_its_header)
{
	/* wslay tells of a frame with its first byte of payload. */
	static const uint8_t head[] = { 0x81, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5 };
	struct fixture f;
	int fd;

	start(&f);
	fd = raw_upgrade(&f);
	raw_send(fd, head, sizeof(head));
	expect_close(&f, fd, 1009);
	close(fd);
	stop(&f);
}

TEST(i4_a_million_empty_fragments_hold_no_memory_and_no_loop)
{
	static uint8_t buf[60000];
	struct fixture f;
	size_t n = 0;
	int fd;

	start(&f);
	f.limits.message_timeout_ms = 300;
	fd = raw_upgrade(&f);
	raw_send(fd, buf, frame(buf, 0x01, "", 0));
	while (n + 6 <= sizeof(buf))
		n += frame(buf + n, 0x00, "", 0);
	for (int i = 0; i < 20 && !f.closed; i++) {
		(void)!send(fd, buf, n, MSG_NOSIGNAL);
		turn(&f, 20);
	}
	UNTIL(&f, f.closed == 1);
	CHECK_EQ(f.messages, 0);
	close(fd);
	stop(&f);
}

static void check_bad_frame(unsigned int first, const char *payload, size_t len, unsigned int code)
{
	uint8_t buf[256];
	struct fixture f;
	int fd;

	start(&f);
	fd = raw_upgrade(&f);
	raw_send(fd, buf, frame(buf, first, payload, len));
	expect_close(&f, fd, code);
	close(fd);
	stop(&f);
}

TEST(binary_is_closed_with_1003)
{
	check_bad_frame(0x82, "x", 1, 1003);
}

TEST(invalid_utf8_is_closed_with_1007)
{
	check_bad_frame(0x81, "\xc0\xaf", 2, 1007);
}

TEST(truncated_utf8_is_closed_with_1007)
{
	check_bad_frame(0x81, "a\xe2\x82", 3, 1007);
}

TEST(surrogate_is_closed_with_1007)
{
	check_bad_frame(0x81, "\xed\xa0\x80", 3, 1007);
}

TEST(reserved_bits_are_closed_with_1002)
{
	check_bad_frame(0xc1, "x", 1, 1002);
}

TEST(reserved_opcode_is_closed_with_1002)
{
	check_bad_frame(0x83, "x", 1, 1002);
}

TEST(continuation_of_nothing_is_closed_with_1002)
{
	check_bad_frame(0x80, "x", 1, 1002);
}

TEST(fragmented_control_frame_is_closed)
{
	uint8_t buf[64];
	struct fixture f;
	char got[4];
	int fd;

	start(&f);
	fd = raw_upgrade(&f);
	raw_send(fd, buf, frame(buf, 0x09, "x", 1));
	/* wslay finds this in the frame's head and closes without a code. */
	CHECK_EQ(raw_read(&f, fd, got, sizeof(got)), 2);
	CHECK_MEM(got, "\x88\x00", 2);
	UNTIL(&f, f.closed == 1);
	close(fd);
	stop(&f);
}

TEST(unmasked_frame_from_a_client_is_closed_with_1002)
{
	/* RFC 6455 section 5.1 */
	static const uint8_t hello[] = { 0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f };
	struct fixture f;
	int fd;

	start(&f);
	fd = raw_upgrade(&f);
	raw_send(fd, hello, sizeof(hello));
	expect_close(&f, fd, 1002);
	close(fd);
	stop(&f);
}

TEST(close_is_answered_with_its_code_and_the_socket_closed)
{
	uint8_t buf[64];
	struct fixture f;
	char got[8];
	int fd;

	start(&f);
	fd = raw_upgrade(&f);
	raw_send(fd, buf, frame(buf, 0x88, "\x03\xe8", 2));
	CHECK_EQ(raw_read(&f, fd, got, sizeof(got)), 4);
	CHECK_MEM(got, "\x88\x02\x03\xe8", 4);
	UNTIL(&f, f.closed == 1);
	CHECK_EQ(f.close_code, 1000);
	close(fd);
	stop(&f);
}

TEST(close_that_is_never_answered_ends_within_two_seconds)
{
	struct fixture f;
	uint64_t began;
	int fd;

	start(&f);
	fd = raw_upgrade(&f);
	began = clock_now_us();
	websocket_close(f.served, 1001, "bye");
	CHECK_EQ(websocket_send(f.served, "x", 1), -ENOTCONN);
	UNTIL(&f, f.closed == 1);
	CHECK(clock_now_us() - began < 3000000);
	CHECK_EQ(f.close_code, 1006);
	close(fd);
	stop(&f);
}

TEST(i4_a_peer_that_does_not_read_is_closed_at_max_unsent)
{
	static char text[16000];
	struct fixture f;
	int fd, r = 0;

	memset(text, 'a', sizeof(text));
	start(&f);
	f.limits.max_unsent = 100000;
	fd = raw_upgrade(&f);
	for (int i = 0; i < 10000 && !r; i++)
		r = websocket_send(f.served, text, sizeof(text));
	CHECK_EQ(r, -ENOBUFS);
	UNTIL(&f, f.closed == 1);
	close(fd);
	stop(&f);
}

TEST(i4_silence_is_pinged_and_then_closed)
{
	struct fixture f;
	char got[4];
	int fd;

	start(&f);
	f.limits.ping_interval_ms = 100;
	fd = raw_upgrade(&f);
	CHECK_EQ(raw_read(&f, fd, got, 4), 4);
	CHECK_MEM(got, "\x89\x00\x89\x00", 4);
	UNTIL(&f, f.closed == 1);
	close(fd);
	stop(&f);
}

TEST(i4_message_that_does_not_end_is_closed_with_1008)
{
	uint8_t buf[64];
	struct fixture f;
	int fd;

	start(&f);
	f.limits.message_timeout_ms = 150;
	fd = raw_upgrade(&f);
	raw_send(fd, buf, frame(buf, 0x01, "Hel", 3));
	expect_close(&f, fd, 1008);
	close(fd);
	stop(&f);
}

TEST(lost_connection_is_told_once)
{
	struct fixture f;
	int fd;

	start(&f);
	fd = raw_open(&f);
	raw_send(fd, handshake, sizeof(handshake) - 1);
	close(fd);
	UNTIL(&f, f.lost + f.closed == 1);
	turn(&f, 50);
	CHECK_EQ(f.lost + f.closed, 1);
	stop(&f);
}

static void check_handshake(const char *request, const char *status)
{
	struct fixture f;
	char head[1024];
	int fd;

	start(&f);
	fd = raw_open(&f);
	raw_send(fd, request, strlen(request));
	raw_head(&f, fd, head, sizeof(head));
	if (strncmp(head + 9, status, 3) != 0)
		test_fail(__FILE__, __LINE__, "answer \"%s\" to \"%s\"", head, request);
	CHECK_EQ(f.opened, 0);
	close(fd);
	stop(&f);
}

TEST(wrong_handshakes_are_refused)
{
	check_handshake("GET /ws HTTP/1.1\r\nHost: h\r\n\r\n", "400");
	check_handshake("GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
			"Sec-WebSocket-Version: 13\r\n\r\n", "400");
	check_handshake("GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR==\r\nSec-WebSocket-Version: 13\r\n\r\n", "400");
	check_handshake("GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 8\r\n\r\n", "426");
	check_handshake("POST /ws HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nUpgrade: websocket\r\n"
			"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
			"Sec-WebSocket-Version: 13\r\n\r\n", "400");
}

/* ---- our client against our server ---- */

static void client_on_message(struct websocket *ws, const char *text, size_t len, void *arg)
{
	struct fixture *f = arg;

	(void)ws;
	f->client_messages++;
	memcpy(f->client_last, text, len);
	f->client_last[len] = '\0';
}

static void client_on_close(struct websocket *ws, uint16_t code, void *arg)
{
	struct fixture *f = arg;

	(void)ws;
	f->client_closed++;
	f->client_code = code;
	f->client = NULL;
}

static void on_connected(struct websocket *ws, int outcome, unsigned int status, const char *detail,
			 void *arg)
{
	struct fixture *f = arg;
	const struct websocket_handlers h = { client_on_message, client_on_close, f };

	f->connected++;
	f->outcome = outcome;
	f->status = status;
	snprintf(f->detail, sizeof(f->detail), "%s", detail ? detail : "");
	f->client = ws;
	if (ws)
		websocket_start(ws, &h, &f->limits);
	/* Freeing inside is allowed. */
	f->connector = websocket_connector_free(f->connector);
}

static void client_connect(struct fixture *f, const char *url, uint64_t timeout_ms)
{
	const struct websocket_connect_options o = { .url = url, .timeout_ms = timeout_ms };

	CHECK_EQ(websocket_connect(&f->connector, f->loop, &o, on_connected, f), 0);
	UNTIL(f, f->connected == 1);
}

static void client_connect_path(struct fixture *f, const char *host, const char *path)
{
	char url[128];

	snprintf(url, sizeof(url), "ws://%s:%u%s", host, f->port, path);
	client_connect(f, url, 3000);
}

TEST(client_and_server_exchange_messages_and_close)
{
	struct fixture f;

	start(&f);
	client_connect_path(&f, "127.0.0.1", "/ws");
	CHECK(f.client);
	CHECK_EQ(websocket_send(f.client, "hello", 5), 0);
	UNTIL(&f, f.client_messages == 1);
	CHECK_STR(f.client_last, "hello");
	websocket_close(f.client, 1000, "done");
	UNTIL(&f, f.client_closed == 1 && f.closed == 1);
	CHECK_EQ(f.close_code, 1000);
	CHECK_EQ(f.client_code, 1000);
	stop(&f);
}

TEST(client_finds_a_name_in_a_worker)
{
	struct fixture f;

	start(&f);
	client_connect_path(&f, "localhost", "/ws");
	CHECK(f.client);
	stop(&f);
}

TEST(server_that_closes_is_told_to_the_client_with_its_code)
{
	struct fixture f;

	start(&f);
	client_connect_path(&f, "127.0.0.1", "/ws");
	UNTIL(&f, f.served);
	websocket_close(f.served, 4000, "expired");
	UNTIL(&f, f.client_closed == 1 && f.closed == 1);
	CHECK_EQ(f.client_code, 4000);
	stop(&f);
}

TEST(many_messages_in_one_turn_arrive_in_order)
{
	static char big[3000];
	struct fixture f;

	memset(big, 'b', sizeof(big));
	start(&f);
	client_connect_path(&f, "127.0.0.1", "/ws");
	for (int i = 0; i < 200; i++)
		CHECK_EQ(websocket_send(f.client, big, sizeof(big)), 0);
	CHECK_EQ(websocket_send(f.client, "last", 4), 0);
	UNTIL(&f, f.client_messages == 201);
	CHECK_STR(f.client_last, "last");
	stop(&f);
}

TEST(client_tells_why_it_did_not_connect)
{
	struct fixture f;
	char url[64];
	int fd;

	start(&f);
	client_connect_path(&f, "127.0.0.1", "/other");
	CHECK_EQ(f.outcome, WEBSOCKET_E_REFUSED);
	CHECK_EQ(f.status, 200);
	f.connected = 0;
	client_connect(&f, "ws://127.0.0.1:1/ws", 3000);
	CHECK_EQ(f.outcome, WEBSOCKET_E_CONNECT);
	f.connected = 0;
	client_connect(&f, "ws://no-such-name.invalid:80/ws", 4000);
	CHECK(f.outcome == WEBSOCKET_E_RESOLVE || f.outcome == WEBSOCKET_E_TIMEOUT);
	f.connected = 0;
	snprintf(url, sizeof(url), "wss://127.0.0.1:%u/ws", f.port);
	client_connect(&f, url, 3000);
	CHECK_EQ(f.outcome, WEBSOCKET_E_TLS);
	/* A listener that never answers. */
	fd = http_listen_tcp("127.0.0.1:0", &f.port);
	f.connected = 0;
	snprintf(url, sizeof(url), "ws://127.0.0.1:%u/ws", f.port);
	client_connect(&f, url, 200);
	CHECK_EQ(f.outcome, WEBSOCKET_E_TIMEOUT);
	close(fd);
	stop(&f);
}

TEST(client_can_give_up_at_any_time)
{
	const struct websocket_connect_options o = { .url = "ws://localhost:1/ws", .timeout_ms = 1000 };
	struct fixture f;

	start(&f);
	CHECK_EQ(websocket_connect(&f.connector, f.loop, &o, on_connected, &f), 0);
	f.connector = websocket_connector_free(f.connector);
	CHECK_EQ(websocket_connect(&f.connector, f.loop, &o, on_connected, &f), 0);
	loop_step(f.loop, 0);
	f.connector = websocket_connector_free(f.connector);
	turn(&f, 100);
	CHECK_EQ(f.connected, 0);
	stop(&f);
}

/* ---- fetching ---- */

struct fetched {
	struct http_fetch *fetch;
	unsigned int done, status;
	int outcome;
	char body[4096];
	size_t len;
};

static void on_fetched(unsigned int status, const char *body, size_t len, int outcome,
		       const char *detail, void *arg)
{
	struct fetched *g = arg;

	(void)detail;
	g->done++;
	g->status = status;
	g->outcome = outcome;
	g->len = len;
	if (body)
		memcpy(g->body, body, len < sizeof(g->body) ? len : sizeof(g->body));
	g->fetch = http_fetch_free(g->fetch);
}

TEST(fetch_gets_status_and_body)
{
	struct fetched g = { 0 };
	struct fixture f;
	char url[64];

	start(&f);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/x", f.port);
	CHECK_EQ(http_fetch_start(&g.fetch, f.loop, "POST", url, NULL, NULL, 3000, on_fetched, &g), 0);
	UNTIL(&f, g.done == 1);
	CHECK_EQ(g.outcome, 0);
	CHECK_EQ(g.status, 200);
	CHECK_EQ(g.len, 0);
	stop(&f);
}

static void on_fetched_and_kept(unsigned int status, const char *body, size_t len, int outcome,
				const char *detail, void *arg)
{
	struct fetched *g = arg;

	(void)status;
	(void)body;
	(void)len;
	(void)detail;
	g->done++;
	g->outcome = outcome;
}

/* Both deadlines, the client's and that of the body, are due at once. */
TEST(fetch_tells_of_its_deadline_once)
{
	struct fetched g = { 0 };
	struct fixture f;
	char url[64];
	uint16_t port;
	int listener;

	start(&f);
	listener = http_listen_tcp("127.0.0.1:0", &port);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/x", port);
	clock_fake_ms(1000000);
	CHECK_EQ(http_fetch_start(&g.fetch, f.loop, "GET", url, NULL, NULL, 3000, on_fetched_and_kept, &g), 0);
	for (int i = 0; i < 5; i++)
		loop_step(f.loop, 5);
	CHECK_EQ(g.done, 0);
	clock_fake_ms(1003000);
	for (int i = 0; i < 5; i++)
		loop_step(f.loop, 5);
	CHECK_EQ(g.done, 1);
	CHECK_EQ(g.outcome, WEBSOCKET_E_TIMEOUT);
	g.fetch = http_fetch_free(g.fetch);
	clock_fake_ms(UINT64_MAX);
	close(listener);
	stop(&f);
}

/* What fetch makes of a server's answer. */
static void check_fetch(const char *answer, int outcome, const char *body)
{
	struct fetched g = { 0 };
	struct fixture f;
	char url[64];
	uint16_t port;
	int listener, fd;

	start(&f);
	listener = http_listen_tcp("127.0.0.1:0", &port);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/x", port);
	CHECK_EQ(http_fetch_start(&g.fetch, f.loop, "GET", url, NULL, NULL, 3000, on_fetched, &g), 0);
	while ((fd = accept(listener, NULL, NULL)) < 0)
		loop_step(f.loop, 5);
	turn(&f, 20);
	raw_send(fd, answer, strlen(answer));
	shutdown(fd, SHUT_WR);
	UNTIL(&f, g.done == 1);
	if (g.outcome != outcome)
		test_fail(__FILE__, __LINE__, "outcome %d, not %d, of %s", g.outcome, outcome, answer);
	if (body) {
		g.body[g.len] = '\0';
		CHECK_STR(g.body, body);
	}
	close(fd);
	close(listener);
	stop(&f);
}

TEST(fetch_reads_bodies_of_every_framing_and_refuses_damage)
{
	check_fetch("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 0, "hello");
	check_fetch("HTTP/1.1 200 OK\r\n\r\nto the end", 0, "to the end");
	check_fetch("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
		    "3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n", 0, "abcdefg");
	check_fetch("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello", WEBSOCKET_E_CONNECT, NULL);
	check_fetch("HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\nhello", WEBSOCKET_E_REFUSED, NULL);
	check_fetch("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
		    WEBSOCKET_E_REFUSED, NULL);
	check_fetch("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", WEBSOCKET_E_REFUSED, NULL);
	check_fetch("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
		    WEBSOCKET_E_CONNECT, NULL);
	check_fetch("SSH-2.0-OpenSSH\r\n\r\n", WEBSOCKET_E_CONNECT, NULL);
	check_fetch("", WEBSOCKET_E_CONNECT, NULL);
}

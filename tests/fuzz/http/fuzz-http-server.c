/*
 * Bytes from a client through a real socket into the HTTP server, in pieces: each is a byte of length, or 0 for a turn of the
 * loop and some time. Targets below /ws/ are upgraded and echo; all else gets what it sent.
 *
 * What must hold: no body beyond the limit, no head that two parsers could read differently, each request is
 * answered, and when the client has gone nothing is kept of it.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "event/loop.h"
#include "http/http_server.h"
#include "http/websocket.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_BODY = 512, MAX_MESSAGE = 256 };

static struct loop *loop;
static struct http_server *server;
static uint64_t now_ms = 1000000;
static struct sockaddr_un address = { .sun_family = AF_UNIX };
static socklen_t address_len;
static size_t n_open;

static void on_message(struct websocket *ws, const char *text, size_t len, void *arg)
{
	(void)arg;
	assert(len <= MAX_MESSAGE);
	(void)websocket_send(ws, text, len);
}

static void on_close(struct websocket *ws, uint16_t code, void *arg)
{
	(void)ws;
	(void)code;
	(void)arg;
	assert(n_open > 0);
	n_open--;
}

static void on_open(struct websocket *ws, void *arg)
{
	static const struct websocket_handlers handlers = { on_message, on_close, NULL };
	static const struct websocket_limits limits = { .max_message = MAX_MESSAGE, .max_unsent = 4096,
							.ping_interval_ms = 5000, .message_timeout_ms = 5000 };

	(void)arg;
	if (!ws)
		return;
	n_open++;
	websocket_start(ws, &handlers, &limits);
}

static bool is_plain(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s <= ' ' || *s == 0x7f)
			return false;
	return true;
}

static void on_request(struct http_request *req, void *arg)
{
	static const char *const extra[] = { "X-Answer", "yes", NULL };
	const char *target = http_request_target(req);
	const char *length = http_request_header(req, "Content-Length");
	size_t len;
	const void *body = http_request_body(req, &len);

	(void)arg;
	assert(is_plain(http_request_method(req)) && is_plain(target));
	assert(len <= MAX_BODY);
	assert(!length || !http_request_header(req, "Transfer-Encoding"));
	assert(!length || strtoull(length, NULL, 10) == len);
	assert(http_request_address(req)->sa_family == AF_UNIX);
	if (strncmp(target, "/ws/", 4) == 0)
		(void)http_upgrade(req, on_open, NULL);
	else
		http_reply(req, 200, "application/octet-stream", body, len, extra);
}

static void set_up(void)
{
	struct http_server_options o = {
		.limits = { .max_connections = 10, .max_body = MAX_BODY, .max_head = 2048, .header_timeout_ms = 5000,
			    .body_timeout_ms = 5000, .idle_timeout_ms = 5000 },
		.on_request = on_request,
	};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	log_set_level(LOG_CRIT);
	clock_fake_ms(now_ms);
	/* A name of the abstract space, chosen by the kernel. */
	assert(fd >= 0 && bind(fd, (const struct sockaddr *)(const void *)&address, sizeof(sa_family_t)) == 0);
	address_len = sizeof(address);
	assert(getsockname(fd, (struct sockaddr *)(void *)&address, &address_len) == 0 && listen(fd, 16) == 0);
	assert(loop_new(&loop) == 0 && http_server_new(&server, loop, &o) == 0 && http_server_listen(server, fd) == 0);
}

static void turn(uint64_t ms)
{
	now_ms += ms;
	clock_fake_ms(now_ms);
	loop_step(loop, 0);
}

static bool is_open(void)
{
	struct http_counters n;

	http_server_counters(server, &n);
	return n.open || n_open;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char got[4096];
	int fd;

	if (!loop)
		set_up();
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert(fd >= 0 && connect(fd, (const struct sockaddr *)(const void *)&address, address_len) == 0);
	while (size > 0) {
		size_t len = *data++;

		size--;
		if (len == 0) {
			turn(size ? *data * 10u : 0);
			continue;
		}
		/* Pieces of 255 follow each other without a turn. */
		if (len > size)
			len = size;
		if (send(fd, data, len, MSG_NOSIGNAL) < 0)
			break;
		data += len;
		size -= len;
		if (len < 255)
			turn(0);
		while (recv(fd, got, sizeof(got), 0) > 0)
			;
	}
	turn(0);
	turn(0);
	close(fd);
	for (int i = 0; i < 16 && is_open(); i++)
		turn(i > 3 ? 3000 : 0);
	assert(!is_open());
	return 0;
}

/*
 * Load for a relay: PAIRS sessions with both sides connected, each pair
 * playing ping-pong with one packet for SECONDS. Works against anything that speaks the
 * relay API on loopback.
 *
 *     relay-load PORT PAIRS SECONDS
 *
 * Prints "connected" when all are joined and waits for a line on stdin (so that
 * memory can be read), then plays and prints one line of JSON: messages per
 * second and latency percentiles in microseconds.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/clock.h"

enum { BUF = 4096, SAMPLES_MAX = 4000000 };

struct side {
	int fd;
	struct side *peer;
	uint8_t in[BUF];
	size_t in_len;
	uint64_t seq;
	uint64_t sent_us; /* when the packet under way left */
	bool ready;	  /* has had its hello, and knows of the peer */
};

static uint32_t *samples;
static size_t n_samples;
static uint64_t relayed;

static void die(const char *what)
{
	fprintf(stderr, "relay-load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int connect_to(uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		die("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

/* Send a request and read the head of the answer, and length bytes of body when a Content-Length says so. */
static size_t exchange(int fd, const char *request, char *out, size_t cap)
{
	size_t n = 0;

	if (send(fd, request, strlen(request), MSG_NOSIGNAL) < 0)
		die("send");
	for (;;) {
		ssize_t got = recv(fd, out + n, cap - 1 - n, 0);
		char *body, *length;

		if (got <= 0)
			die("answer");
		n += (size_t)got;
		out[n] = '\0';
		body = strstr(out, "\r\n\r\n");
		if (!body)
			continue;
		length = strcasestr(out, "content-length:");
		if (!length || strlen(body + 4) >= (size_t)atoi(length + 15))
			return n;
	}
}

static void new_code(uint16_t port, char code[static 9])
{
	char answer[BUF], *p;
	int fd = connect_to(port);

	exchange(fd, "POST /session HTTP/1.1\r\nHost: bench\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
		 answer, sizeof(answer));
	close(fd);
	p = strstr(answer, "\"session_code\"");
	p = p ? strchr(p + 14, '"') : NULL;
	if (!p) {
		fprintf(stderr, "relay-load: no session: %s\n", answer);
		exit(1);
	}
	memcpy(code, p + 1, 8);
	code[8] = '\0';
}

static void open_side(struct side *s, uint16_t port, const char *code, const char *role)
{
	char request[512], answer[BUF], *rest;
	size_t n;

	snprintf(request, sizeof(request),
		 "GET /ws/%s/%s HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
		 code, role);
	s->fd = connect_to(port);
	n = exchange(s->fd, request, answer, sizeof(answer));
	if (strncmp(answer, "HTTP/1.1 101", 12) != 0) {
		fprintf(stderr, "relay-load: no upgrade: %.200s\n", answer);
		exit(1);
	}
	rest = strstr(answer, "\r\n\r\n") + 4;
	s->in_len = n - (size_t)(rest - answer);
	memcpy(s->in, rest, s->in_len);
}

/* One packet in one masked text frame (the mask is zero: the relay unmasks all the same). */
static void send_packet(struct side *s)
{
	uint8_t frame[512] = { 0x81 };
	char text[256];
	int len = snprintf(text, sizeof(text),
			   "{\"type\":\"packet\",\"proto\":\"handfast-relay\",\"ver\":1,\"payload\":{\"kind\":\"bench\","
			   "\"seq\":%" PRIu64 ",\"body_b64\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}}",
			   ++s->seq);
	size_t head = 2;

	frame[1] = (uint8_t)(0x80 | (len < 126 ? len : 126));
	if (len >= 126) {
		be16_store(frame + 2, (uint16_t)len);
		head = 4;
	}
	memset(frame + head, 0, 4);
	memcpy(frame + head + 4, text, (size_t)len);
	s->sent_us = clock_now_us();
	if (send(s->fd, frame, head + 4 + (size_t)len, MSG_NOSIGNAL) < 0)
		die("send");
}

/* Take whole frames out of the buffer; fn sees each text. */
static void take_frames(struct side *s, void (*fn)(struct side *s, const char *text, size_t len))
{
	size_t at = 0;

	for (;;) {
		size_t left = s->in_len - at, head = 2, len;

		if (left < 2)
			break;
		len = s->in[at + 1] & 0x7f;
		if (len == 126) {
			if (left < 4)
				break;
			len = be16_load(s->in + at + 2);
			head = 4;
		}
		if (left < head + len)
			break;
		if ((s->in[at] & 0x0f) == 1)
			fn(s, (const char *)s->in + at + head, len);
		else if ((s->in[at] & 0x0f) == 8) {
			fprintf(stderr, "relay-load: closed by the relay: %u\n", be16_load(s->in + at + head));
			exit(1);
		}
		at += head + len;
	}
	memmove(s->in, s->in + at, s->in_len - at);
	s->in_len -= at;
}

static bool begins(const char *text, size_t len, const char *type)
{
	return memmem(text, len < 64 ? len : 64, type, strlen(type)) != NULL;
}

static void on_setup(struct side *s, const char *text, size_t len)
{
	if (begins(text, len, "peer_joined"))
		s->ready = s->peer->ready = true;
}

static void on_play(struct side *s, const char *text, size_t len)
{
	if (!begins(text, len, "\"relay\""))
		return;
	relayed++;
	if (n_samples < SAMPLES_MAX)
		samples[n_samples++] = (uint32_t)(clock_now_us() - s->peer->sent_us);
	send_packet(s);
}

static void receive(struct side *s, void (*fn)(struct side *s, const char *text, size_t len))
{
	ssize_t n = recv(s->fd, s->in + s->in_len, sizeof(s->in) - s->in_len, MSG_DONTWAIT);

	if (n == 0) {
		fprintf(stderr, "relay-load: connection lost\n");
		exit(1);
	}
	if (n < 0 && errno != EAGAIN)
		die("recv");
	if (n > 0)
		s->in_len += (size_t)n;
	take_frames(s, fn);
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static uint32_t percentile(double p)
{
	return n_samples ? samples[(size_t)((double)(n_samples - 1) * p)] : 0;
}

static void play(int ep, uint64_t seconds)
{
	uint64_t start = clock_now_us(), end = start + seconds * 1000000;
	struct epoll_event ev[256];

	while (clock_now_us() < end) {
		int n = epoll_wait(ep, ev, 256, 100);

		for (int i = 0; i < n; i++)
			receive(ev[i].data.ptr, on_play);
	}
	qsort(samples, n_samples, sizeof(*samples), compare);
	printf("{\"messages_per_s\": %.0f, \"p50_us\": %u, \"p95_us\": %u, \"p99_us\": %u}\n",
	       (double)relayed * 1e6 / (double)(clock_now_us() - start), percentile(0.50),
	       percentile(0.95), percentile(0.99));
}

int main(int argc, char **argv)
{
	uint16_t port = (uint16_t)(argc > 3 ? atoi(argv[1]) : 0);
	size_t pairs = argc > 3 ? strtoul(argv[2], NULL, 10) : 0;
	struct side *sides = calloc(pairs * 2, sizeof(*sides));
	int ep = epoll_create1(EPOLL_CLOEXEC);
	char code[9], line[16];

	if (!pairs || !sides || ep < 0) {
		fprintf(stderr, "usage: relay-load PORT PAIRS SECONDS\n");
		return 2;
	}
	samples = malloc(SAMPLES_MAX * sizeof(*samples));
	if (!samples)
		die("memory");
	for (size_t i = 0; i < pairs; i++) {
		struct side *a = &sides[i * 2], *b = a + 1;

		a->peer = b;
		b->peer = a;
		new_code(port, code);
		open_side(a, port, code, "alice");
		open_side(b, port, code, "bob");
		for (uint64_t end = clock_now_ms() + 5000; !a->ready && clock_now_ms() < end; usleep(100)) {
			receive(a, on_setup);
			receive(b, on_setup);
		}
		if (!a->ready) {
			fprintf(stderr, "relay-load: the pair %zu was not joined\n", i);
			return 1;
		}
	}
	for (size_t i = 0; i < pairs * 2; i++) {
		struct epoll_event ev = { .events = EPOLLIN, .data.ptr = &sides[i] };

		if (epoll_ctl(ep, EPOLL_CTL_ADD, sides[i].fd, &ev) < 0)
			die("epoll");
	}
	printf("connected\n");
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		return 1;
	for (size_t i = 0; i < pairs; i++)
		send_packet(&sides[i * 2]);
	play(ep, strtoul(argv[3], NULL, 10));
	return 0;
}

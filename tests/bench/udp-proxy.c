/*
 * Carries datagrams between one client and one server, and loses or reorders some: what a bad network
 * does to a tunnel, the same for each in the same seed.
 *
 *	udp-proxy OWN-ADDRESS PORT SERVER-ADDRESS PORT LOSS-PERCENT REORDER-PERCENT
 *
 * A reordered one waits until three more have gone the same way, or 2 ms. Prints "ready", and ends by a signal.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"

enum { BATCH = 64, DATAGRAM = 65536, LATER = 3, PATIENCE_MS = 2, ROOM = 4 << 20 };

/* One way through. */
struct way {
	int from, to;
	bool is_client;	 /* from: its address is learnt */
	uint8_t *bytes;	 /* BATCH datagrams, and one more that waits */
	size_t held_len; /* 0: none waits */
	unsigned int held_for;
};

static struct sockaddr_in client, server;
static uint64_t state = 0x9e3779b97f4a7c15, loss, reorder; /* in 2^-32 */

/* xorshift64*: the network's dice need not be secret. */
static bool falls(uint64_t threshold)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (state * 0x2545f4914f6cdd1d) >> 32 < threshold;
}

static void pass(const struct way *w, const uint8_t *p, size_t len)
{
	const struct sockaddr_in *to = w->is_client ? &server : &client;

	/* A full socket buffer is one more way to lose it. */
	if (to->sin_port)
		(void)!sendto(w->to, p, len, MSG_DONTWAIT | MSG_NOSIGNAL, (const struct sockaddr *)to, sizeof(*to));
}

static void release(struct way *w)
{
	if (w->held_len)
		pass(w, w->bytes + (size_t)BATCH * DATAGRAM, w->held_len);
	w->held_len = 0;
}

static void one(struct way *w, const uint8_t *p, size_t len)
{
	if (falls(loss))
		return;
	if (!w->held_len && len && falls(reorder)) {
		memcpy(w->bytes + (size_t)BATCH * DATAGRAM, p, len);
		w->held_len = len;
		w->held_for = LATER;
		return;
	}
	pass(w, p, len);
	if (w->held_len && --w->held_for == 0)
		release(w);
}

static void carry(struct way *w)
{
	struct sockaddr_in source[BATCH];
	struct mmsghdr msgs[BATCH];
	struct iovec iov[BATCH];
	int n;

	for (int i = 0; i < BATCH; i++) {
		iov[i] = (struct iovec){ w->bytes + (size_t)i * DATAGRAM, DATAGRAM };
		msgs[i].msg_hdr = (struct msghdr){ .msg_name = &source[i], .msg_namelen = sizeof(source[i]),
						   .msg_iov = &iov[i], .msg_iovlen = 1 };
	}
	n = recvmmsg(w->from, msgs, BATCH, MSG_DONTWAIT, NULL);
	for (int i = 0; i < n; i++) {
		if (w->is_client)
			client = source[i];
		one(w, iov[i].iov_base, msgs[i].msg_len);
	}
}

static int open_socket(const char *address, const char *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), room = ROOM;

	if (fd < 0 || inet_pton(AF_INET, address, &a.sin_addr) != 1 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return -1;
	/* As the tunnels do: what is lost is lost on purpose. */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)) < 0)
		return -1;
	return fd;
}

int main(int argc, char **argv)
{
	struct way up = { .is_client = true }, down = { 0 };

	if (argc != 7)
		return 2;
	up.from = down.to = open_socket(argv[1], argv[2]);
	up.to = down.from = open_socket(argv[1], "0");
	up.bytes = malloc((size_t)(BATCH + 1) * DATAGRAM);
	down.bytes = malloc((size_t)(BATCH + 1) * DATAGRAM);
	server = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[4])) };
	loss = (uint64_t)(strtod(argv[5], NULL) / 100 * 4294967296.0);
	reorder = (uint64_t)(strtod(argv[6], NULL) / 100 * 4294967296.0);
	if (up.from < 0 || up.to < 0 || !up.bytes || !down.bytes || inet_pton(AF_INET, argv[3], &server.sin_addr) != 1) {
		perror("udp-proxy");
		return 1;
	}
	puts("ready");
	fflush(stdout);
	for (;;) {
		struct pollfd p[2] = { { .fd = up.from, .events = POLLIN }, { .fd = down.from, .events = POLLIN } };
		int r = poll(p, 2, up.held_len || down.held_len ? PATIENCE_MS : -1);

		if (r < 0 && errno != EINTR)
			return 1;
		if (r == 0) {
			release(&up);
			release(&down);
		}
		if (p[0].revents)
			carry(&up);
		if (p[1].revents)
			carry(&down);
	}
}

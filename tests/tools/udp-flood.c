/*
 * udp-flood ADDRESS PORT COUNT RATE [SOURCES]: send COUNT datagrams, at most RATE a second, to an
 * IPv4 address. Their contents are the lines of stdin, in hexadecimal, in turn. With SOURCES they
 * come from that many addresses of 198.18.0.0/15 in turn, none of which is ours (needs root).
 * Prints how many were sent. For tests that send a million of each bad kind.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCH = 128, PAYLOADS_MAX = 64, PAYLOAD_MAX = 2000, HEADERS = sizeof(struct iphdr) + sizeof(struct udphdr) };

struct payload {
	uint8_t b[PAYLOAD_MAX];
	size_t len;
};

static struct payload payloads[PAYLOADS_MAX];
static size_t n_payloads;
static uint8_t headers[BATCH][HEADERS];

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bool read_payloads(void)
{
	char line[2 * PAYLOAD_MAX + 2];

	while (n_payloads < PAYLOADS_MAX && fgets(line, sizeof(line), stdin)) {
		struct payload *p = &payloads[n_payloads++];
		unsigned int byte;

		for (const char *s = line; p->len < PAYLOAD_MAX && sscanf(s, "%2x", &byte) == 1; s += 2)
			p->b[p->len++] = (uint8_t)byte;
	}
	return n_payloads > 0;
}

static void fill_headers(uint8_t *out, uint32_t source, const struct sockaddr_in *to, size_t len)
{
	struct iphdr ip = { .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP };
	struct udphdr udp = { .source = htons(7300), .dest = to->sin_port };

	ip.saddr = htonl(0xc6120000u | (source & 0x1ffffu));
	ip.daddr = to->sin_addr.s_addr;
	udp.len = htons((uint16_t)(sizeof(udp) + len));
	memcpy(out, &ip, sizeof(ip));
	memcpy(out + sizeof(ip), &udp, sizeof(udp));
}

/* One batch, waiting where the queue of the device is full. */
static bool send_batch(int fd, const struct sockaddr_in *to, uint64_t first, unsigned int n, uint32_t sources)
{
	struct sockaddr_in raw = *to;
	struct mmsghdr msgs[BATCH] = { 0 };
	struct iovec iov[BATCH][2];

	raw.sin_port = 0;
	for (unsigned int i = 0; i < n; i++) {
		const struct payload *p = &payloads[(first + i) % n_payloads];

		if (sources)
			fill_headers(headers[i], (uint32_t)((first + i) % sources), to, p->len);
		iov[i][0] = (struct iovec){ headers[i], HEADERS };
		iov[i][1] = (struct iovec){ (void *)p->b, p->len };
		msgs[i].msg_hdr = (struct msghdr){ .msg_name = sources ? &raw : (void *)to,
						   .msg_namelen = sizeof(raw),
						   .msg_iov = sources ? &iov[i][0] : &iov[i][1],
						   .msg_iovlen = sources ? 2 : 1 };
	}
	for (unsigned int done = 0; done < n;) {
		int sent = sendmmsg(fd, msgs + done, n - done, 0);

		if (sent > 0)
			done += (unsigned int)sent;
		/* A refused datagram is told with the next: it was sent all the same. */
		else if (errno != ENOBUFS && errno != EINTR && errno != ECONNREFUSED && errno != EAGAIN)
			return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	uint64_t count, rate, start;
	uint32_t sources;
	int fd;

	if (argc < 5 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1 || !read_payloads()) {
		fprintf(stderr, "Usage: udp-flood ADDRESS PORT COUNT RATE [SOURCES] <HEX-LINES\n");
		return 2;
	}
	to.sin_port = htons((uint16_t)atoi(argv[2]));
	count = strtoull(argv[3], NULL, 10);
	rate = strtoull(argv[4], NULL, 10);
	sources = argc > 5 ? (uint32_t)strtoul(argv[5], NULL, 10) : 0;
	fd = sources ? socket(AF_INET, SOCK_RAW, IPPROTO_RAW) : socket(AF_INET, SOCK_DGRAM, 0);
	if (fd < 0) {
		perror("udp-flood: socket");
		return 1;
	}
	start = now_ns();
	for (uint64_t sent = 0; sent < count;) {
		unsigned int n = count - sent < BATCH ? (unsigned int)(count - sent) : BATCH;
		uint64_t due = start + sent * 1000000000u / rate, now = now_ns();

		if (due > now)
			nanosleep(&(struct timespec){ .tv_sec = (time_t)((due - now) / 1000000000u),
						      .tv_nsec = (long)((due - now) % 1000000000u) },
				  NULL);
		if (!send_batch(fd, &to, sent, n, sources)) {
			perror("udp-flood: send");
			return 1;
		}
		sent += n;
	}
	printf("%llu\n", (unsigned long long)count);
	return 0;
}

/*
 * udp-storm INTERFACE COUNT RATE [SOURCES]: send COUNT Ethernet frames, at most RATE a second, out
 * of an interface, whatever its addresses are (needs root). They are the lines of stdin, in
 * hexadecimal, in turn: whole frames with IPv4 or IPv6 and UDP, checksums right. With SOURCES the
 * last 32 bits of the source address take as many values, and the checksums follow. Prints how
 * many were sent. For tests that send ten million of each bad kind from anywhere.
 */
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCH = 128, FRAMES_MAX = 256, FRAME_MAX = 1600 };

struct frame {
	uint8_t b[FRAME_MAX];
	size_t len;
};

static struct frame frames[FRAMES_MAX], varied[BATCH];
static size_t n_frames;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bool read_frames(void)
{
	char line[2 * FRAME_MAX + 2];

	while (n_frames < FRAMES_MAX && fgets(line, sizeof(line), stdin)) {
		struct frame *f = &frames[n_frames];
		unsigned int byte;

		f->len = 0;
		for (const char *s = line; f->len < FRAME_MAX && sscanf(s, "%2x", &byte) == 1; s += 2)
			f->b[f->len++] = (uint8_t)byte;
		/* Ethernet, IPv4 and UDP headers at least. */
		if (f->len < 14 + 20 + 8)
			return false;
		n_frames++;
	}
	return n_frames > 0;
}

static uint16_t load16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void store16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* RFC 1624: a checksum after a 16-bit word below it has changed. */
static void follow(uint8_t *checksum, uint16_t from, uint16_t to)
{
	uint32_t sum = (uint16_t)~load16(checksum) + (uint32_t)(uint16_t)~from + to;

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	store16(checksum, (uint16_t)~sum);
}

static void vary(struct frame *out, const struct frame *f, uint32_t source)
{
	bool v6 = load16(f->b + 12) == 0x86dd;
	size_t at = v6 ? 14 + 8 + 12 : 14 + 12, udp = v6 ? 14 + 40 : 14 + 20;
	uint32_t base;

	*out = *f;
	base = (uint32_t)load16(f->b + at) << 16 | load16(f->b + at + 2);
	base += source;
	for (unsigned int i = 0; i < 2; i++) {
		uint16_t from = load16(f->b + at + 2 * i), to = (uint16_t)(base >> (16 - 16 * i));

		store16(out->b + at + 2 * i, to);
		if (!v6)
			follow(out->b + 14 + 10, from, to);
		follow(out->b + udp + 6, from, to);
	}
}

/* One batch, waiting where the queue of the interface is full. */
static bool send_batch(int fd, uint64_t first, unsigned int n, uint32_t sources)
{
	struct mmsghdr msgs[BATCH] = { 0 };
	struct iovec iov[BATCH];

	for (unsigned int i = 0; i < n; i++) {
		struct frame *f = &frames[(first + i) % n_frames];

		if (sources) {
			vary(&varied[i], f, (uint32_t)((first + i) % sources));
			f = &varied[i];
		}
		iov[i] = (struct iovec){ f->b, f->len };
		msgs[i].msg_hdr = (struct msghdr){ .msg_iov = &iov[i], .msg_iovlen = 1 };
	}
	for (unsigned int done = 0; done < n;) {
		int sent = sendmmsg(fd, msgs + done, n - done, 0);

		if (sent > 0)
			done += (unsigned int)sent;
		else if (errno != ENOBUFS && errno != EINTR && errno != EAGAIN)
			return false;
	}
	return true;
}

static int open_interface(const char *name)
{
	struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(name) };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), on = 1;

	if (fd < 0 || !at.sll_ifindex || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0)
		return -1;
	setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof(on));
	return fd;
}

int main(int argc, char **argv)
{
	uint64_t count, rate, start;
	uint32_t sources;
	int fd;

	if (argc < 4 || !read_frames()) {
		fprintf(stderr, "Usage: udp-storm INTERFACE COUNT RATE [SOURCES] <HEX-LINES\n");
		return 2;
	}
	count = strtoull(argv[2], NULL, 10);
	rate = strtoull(argv[3], NULL, 10);
	sources = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : 0;
	fd = open_interface(argv[1]);
	if (fd < 0 || rate == 0) {
		perror("udp-storm: interface");
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
		if (!send_batch(fd, sent, n, sources)) {
			perror("udp-storm: send");
			return 1;
		}
		sent += n;
	}
	printf("%llu\n", (unsigned long long)count);
	return 0;
}

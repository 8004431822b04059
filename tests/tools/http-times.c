/*
 * http-times PORT PID: what each request to a server on loopback takes, one after the other on one connection that is
 * kept. For lib/twosample.py, whose samples come by the ten thousand.
 *
 * stdin: requests, each behind a head (struct ask, this machine's byte order): its length, and where in it the ticket
 * of the answer before is to be put (the value of its "login_id"; 0: nowhere), over as many bytes as were left for it.
 * stdout, when all were asked: answers, each behind a struct told: its length, how many nanoseconds were waited for it,
 * and how many process PID worked for it, on whatever processor.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { REQUEST_MAX = 16384, ANSWER_MAX = 65536, LOOKS_MAX = 1000 };

struct ask {
	uint32_t len, at, room;
};

struct told {
	uint64_t waited, worked;
	uint32_t len, unused;
};

struct answer {
	char text[ANSWER_MAX];
	size_t len;
};

static void die(const char *what)
{
	fprintf(stderr, "http-times: %s: %s\n", what, errno ? strerror(errno) : "unexpected");
	exit(1);
}

static uint64_t now(clockid_t clock)
{
	struct timespec t;

	if (clock_gettime(clock, &t))
		die("clock");
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* What a process has worked so far, as soon as it stands still: it tidies up after an answer. */
static uint64_t at_rest(clockid_t clock)
{
	uint64_t before = now(clock), then;

	for (int i = 0; i < LOOKS_MAX; i++, before = then) {
		then = now(clock);
		if (then == before)
			break;
	}
	return before;
}

static int connect_to(const char *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
	struct timeval patience = { .tv_sec = 60 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		die("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return fd;
}

/* An answer that tells its length, or has no body. */
static void receive(int fd, struct answer *a)
{
	size_t want = 0;
	char *end = NULL;

	a->len = 0;
	while (!end || a->len < want) {
		ssize_t n = recv(fd, a->text + a->len, sizeof(a->text) - 1 - a->len, 0);

		if (n <= 0)
			die("answer");
		a->len += (size_t)n;
		a->text[a->len] = '\0';
		if (!end && (end = strstr(a->text, "\r\n\r\n"))) {
			const char *length = strcasestr(a->text, "\r\ncontent-length:");

			want = (size_t)(end + 4 - a->text) + (length && length < end ? strtoul(length + 17, NULL, 10) : 0);
		}
	}
}

/* Without one in the answer, what stands there goes out as it is. */
static void put_ticket(char *to, size_t room, const struct answer *before)
{
	static const char key[] = "\"login_id\":";
	const char *found = strstr(before->text, key), *end;

	if (!found || !(found = strchr(found + sizeof(key) - 1, '"')) || !(end = strchr(found + 1, '"')))
		return;
	if ((size_t)(end - found - 1) == room)
		memcpy(to, found + 1, room);
}

int main(int argc, char **argv)
{
	static char request[REQUEST_MAX];
	static struct answer a;
	char *out = NULL;
	size_t size = 0;
	FILE *kept = open_memstream(&out, &size);
	struct ask ask;
	clockid_t work;
	int fd;

	if (argc != 3 || !kept) {
		fprintf(stderr, "http-times PORT PID: see tests/tools/http-times.c\n");
		return 2;
	}
	errno = clock_getcpuclockid((pid_t)atoi(argv[2]), &work);
	if (errno)
		die("process");
	fd = connect_to(argv[1]);
	while (fread(&ask, sizeof(ask), 1, stdin) == 1) {
		struct told told = { 0 };
		uint64_t worked, begun;

		if (ask.len > sizeof(request) || ask.at > ask.len || ask.room > ask.len - ask.at ||
		    fread(request, 1, ask.len, stdin) != ask.len)
			die("request");
		if (ask.at)
			put_ticket(request + ask.at, ask.room, &a);
		worked = at_rest(work);
		begun = now(CLOCK_MONOTONIC);
		if (send(fd, request, ask.len, MSG_NOSIGNAL) != (ssize_t)ask.len)
			die("send");
		receive(fd, &a);
		told.waited = now(CLOCK_MONOTONIC) - begun;
		told.worked = at_rest(work) - worked;
		told.len = (uint32_t)a.len;
		if (fwrite(&told, sizeof(told), 1, kept) != 1 || fwrite(a.text, 1, a.len, kept) != a.len)
			die("memory");
	}
	if (fclose(kept) || fwrite(out, 1, size, stdout) != size || fflush(stdout))
		die("answers");
	free(out);
	close(fd);
	return 0;
}

/* getaddrinfo(3) where it may take its time. */
#include "pskd/network/resolve.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "event/loop.h"
#include "pskd/packet/udp.h"

struct job {
	struct resolve_names names;
	struct sockaddr_in6 found[RESOLVE_MAX];
	size_t n;
	void (*done)(const struct sockaddr_in6 *v, size_t n, void *arg);
	void *arg;
};

static size_t look_up(struct sockaddr_in6 *out, size_t cap, const char *name, int flags)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_DGRAM, .ai_flags = flags };
	struct addrinfo *list = NULL;
	char host[256], service[8];
	uint16_t port;
	size_t n = 0;

	if (udp_split(host, sizeof(host), &port, name, 0) != 0)
		return 0;
	snprintf(service, sizeof(service), "%u", port);
	if (getaddrinfo(host, service, &hints, &list) != 0)
		return 0;
	for (const struct addrinfo *a = list; a && n < cap; a = a->ai_next) {
		struct sockaddr_storage ss = { 0 };

		if ((a->ai_family != AF_INET && a->ai_family != AF_INET6) || a->ai_addrlen > sizeof(ss))
			continue;
		memcpy(&ss, a->ai_addr, a->ai_addrlen);
		udp_from_socket(&out[n++], &ss);
	}
	freeaddrinfo(list);
	return n;
}

static size_t look_up_all(struct sockaddr_in6 *out, size_t cap, const struct resolve_names *names, int flags)
{
	size_t n = 0;

	for (size_t i = 0; i < names->n && n < cap; i++)
		n += look_up(out + n, cap - n, names->v[i], flags);
	return n;
}

size_t resolve_numbers(struct sockaddr_in6 *out, size_t cap, const struct resolve_names *names)
{
	return look_up_all(out, cap, names, AI_NUMERICHOST | AI_NUMERICSERV);
}

static void work(void *arg)
{
	struct job *j = arg;

	j->n = look_up_all(j->found, RESOLVE_MAX, &j->names, AI_NUMERICSERV);
}

static void done(void *arg, bool cancelled)
{
	struct job *j = arg;

	(void)cancelled;
	j->done(j->found, j->n, j->arg);
	free(j);
}

int resolve_start(struct loop *l, const struct resolve_names *names,
		  void (*fn)(const struct sockaddr_in6 *v, size_t n, void *arg), void *arg)
{
	_cleanup_free_ struct job *j = calloc(1, sizeof(*j));
	int r;

	if (!j)
		return -ENOMEM;
	j->names = *names;
	j->done = fn;
	j->arg = arg;
	r = worker_start(NULL, l, work, done, j);
	if (r)
		return r;
	steal(&j);
	return 0;
}

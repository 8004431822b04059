/* Listeners, passed and our own. They are found at the start and stay. */
#include "service/listening.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "event/unixsock.h"
#include "http/http_server.h"
#include "service/fds.h"

#define PASSED_MAX 64

struct listening {
	size_t n;
	char **v;
};

static bool is_zero(const void *p, size_t len)
{
	const uint8_t *b = p;

	for (size_t i = 0; i < len; i++)
		if (b[i])
			return false;
	return true;
}

static bool covers_v4(const struct sockaddr_in *have, const struct sockaddr_storage *want, bool want_all)
{
	const struct sockaddr_in *w = (const void *)want;

	return want->ss_family == AF_INET && !want_all && have->sin_port == w->sin_port &&
	       (have->sin_addr.s_addr == 0 || have->sin_addr.s_addr == w->sin_addr.s_addr);
}

static bool covers_v6(int fd, const struct sockaddr_in6 *have, const struct sockaddr_storage *want, bool want_all)
{
	const struct sockaddr_in6 *w6 = (const void *)want;
	const struct sockaddr_in *w4 = (const void *)want;
	bool any = is_zero(&have->sin6_addr, sizeof(have->sin6_addr));
	int only = 1;
	socklen_t len = sizeof(only);

	if (getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, &len) < 0)
		only = 1;
	if (want->ss_family == AF_INET)
		return have->sin6_port == w4->sin_port && any && !only;
	if (have->sin6_port != w6->sin6_port)
		return false;
	if (any)
		return !want_all || !only;
	return !want_all && memcmp(&have->sin6_addr, &w6->sin6_addr, sizeof(w6->sin6_addr)) == 0 &&
	       have->sin6_scope_id == w6->sin6_scope_id;
}

bool listening_covers(int fd, const char *address)
{
	struct sockaddr_storage have = { 0 }, want;
	socklen_t len = sizeof(have);
	bool want_all;

	if (getsockname(fd, (struct sockaddr *)&have, &len) < 0)
		return false;
	if (have.ss_family == AF_UNIX)
		return strncmp(((struct sockaddr_un *)(void *)&have)->sun_path, address,
			       sizeof(((struct sockaddr_un *)0)->sun_path)) == 0;
	if (*address == '/' || http_parse_listen(&want, &want_all, address))
		return false;
	if (have.ss_family == AF_INET)
		return covers_v4((const void *)&have, &want, want_all);
	return have.ss_family == AF_INET6 && covers_v6(fd, (const void *)&have, &want, want_all);
}

/* As it stands in the configuration where it can be told so; a Unix socket by its path. */
static char *describe(int fd)
{
	struct sockaddr_storage a = { 0 };
	const struct sockaddr_in *v4 = (const void *)&a;
	const struct sockaddr_in6 *v6 = (const void *)&a;
	const struct sockaddr_un *un = (const void *)&a;
	socklen_t len = sizeof(a);
	char host[INET6_ADDRSTRLEN], *text;
	int r;

	if (getsockname(fd, (struct sockaddr *)&a, &len) < 0)
		return NULL;
	if (a.ss_family == AF_INET)
		r = asprintf(&text, "%s:%u", inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host)),
			     ntohs(v4->sin_port));
	else if (a.ss_family == AF_INET6)
		r = asprintf(&text, "[%s]:%u", inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host)),
			     ntohs(v6->sin6_port));
	else
		r = asprintf(&text, "%.*s", (int)sizeof(un->sun_path), un->sun_path);
	return r < 0 ? NULL : text;
}

static int add(struct listening *l, char *address)
{
	char **more = address ? realloc(l->v, (l->n + 1) * sizeof(*more)) : NULL;

	if (!more) {
		free(address);
		return -ENOMEM;
	}
	l->v = more;
	l->v[l->n++] = address;
	return 0;
}

static int serve_passed(struct listening *l, struct http_server *http, struct service_fds *fds, const char *name,
			int *passed, size_t *n)
{
	int fd, r;

	while ((fd = service_fds_take(fds, name)) >= 0) {
		r = -EINVAL;
		if (*n == PASSED_MAX || !service_fd_is_listening(fd, AF_UNSPEC, SOCK_STREAM))
			close(fd);
		else
			r = add(l, describe(fd));
		if (r)
			return r;
		r = http_server_listen(http, fd);
		if (r)
			return r;
		passed[(*n)++] = fd;
	}
	return 0;
}

static bool is_passed(const int *passed, size_t n, const char *address)
{
	for (size_t i = 0; i < n; i++)
		if (listening_covers(passed[i], address))
			return true;
	return false;
}

/* Open to all of this machine, as a port on loopback is. */
static int open_listener(const char *address)
{
	return *address == '/' ? unix_listen(address, SOCK_STREAM, 0666, NULL, false) : http_listen_tcp(address, NULL);
}

int listening_new(struct listening **out, struct http_server *http, struct service_fds *fds, const char *passed_name,
		  const struct config_list *addresses, const char **failed)
{
	_cleanup_(listening_freep) struct listening *l = calloc(1, sizeof(*l));
	int passed[PASSED_MAX], r;
	size_t n = 0;

	*failed = "the socket that systemd passed";
	r = l ? serve_passed(l, http, fds, passed_name, passed, &n) : -ENOMEM;
	if (r)
		return r;
	for (size_t i = 0; i < addresses->n; i++) {
		int fd;

		*failed = addresses->v[i];
		if (is_passed(passed, n, addresses->v[i]))
			continue;
		fd = open_listener(addresses->v[i]);
		if (fd < 0)
			return fd;
		r = http_server_listen(http, fd);
		if (!r)
			r = add(l, strdup(addresses->v[i]));
		if (r)
			return r;
	}
	*out = steal(&l);
	return 0;
}

struct listening *listening_free(struct listening *l)
{
	if (!l)
		return NULL;
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i]);
	free(l->v);
	free(l);
	return NULL;
}

const char *listening_address(const struct listening *l, size_t at)
{
	return at < l->n ? l->v[at] : NULL;
}

size_t listening_count(const struct listening *l)
{
	return l->n;
}

/* tund: makes TUN devices for pskd, which has no capability of its own. See tund(8). */
#include <errno.h>
#include <pwd.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "event/unixsock.h"
#include "service/fds.h"
#include "service/service.h"

#include "tund/helper.h"
#include "tund/privilege.h"

#define USERS_MAX 16
#define DEFAULT_USER "handfast-psk"

static const struct service_option options[] = {
	{ "allow-user", "NAME",
	  "user that may ask for devices, besides root; repeatable (default " DEFAULT_USER ")" },
	{ "any-address", NULL, "also give devices addresses that are not private" },
	{ "any-route", NULL, "also set routes to networks that are not private" },
	{ 0 },
};

static const struct service_info info = {
	.name = "tund",
	.summary = "makes TUN devices, addresses and routes for pskd",
	.options = options,
	.no_state = true,
	.no_config = true,
	.no_control = true,
};

/* A name that does not exist grants nothing. */
static void add_user(uid_t users[static USERS_MAX], size_t *n, const char *name)
{
	const struct passwd *pw = getpwnam(name);

	if (!pw)
		log_debug("no user %s: nobody to allow", name);
	else if (*n < USERS_MAX)
		users[(*n)++] = pw->pw_uid;
}

static size_t find_users(uid_t users[static USERS_MAX], const struct service *svc)
{
	const char *name;
	size_t at = 0, n = 0;

	if (!service_option(svc, "allow-user"))
		add_user(users, &n, DEFAULT_USER);
	while ((name = service_option_next(svc, "allow-user", &at)))
		add_user(users, &n, name);
	return n;
}

static int listen_here(struct service *svc)
{
	_cleanup_free_ char *path = NULL;
	int fd = service_fds_take(service_fds(svc), "tund");

	if (fd >= 0 && !service_fd_is_listening(fd, AF_UNIX, SOCK_SEQPACKET)) {
		close(fd);
		return -ENOTSOCK;
	}
	if (fd != -ENOENT)
		return fd;
	path = path_join(service_runtime_dir(svc), "tund.sock");
	return path ? unix_listen(path, SOCK_SEQPACKET, 0666, NULL, true) : -ENOMEM;
}

static int run(struct service *svc)
{
	_cleanup_(helper_freep) struct helper *helper = NULL;
	_cleanup_close_ int fd = -1;
	struct helper_rules rules = { .any_address = service_option(svc, "any-address") != NULL,
				      .any_route = service_option(svc, "any-route") != NULL };
	uid_t users[USERS_MAX];
	size_t n_users;
	int r;

	n_users = find_users(users, svc);
	if (service_check_only(svc))
		return 0;
	fd = listen_here(svc);
	if (fd < 0)
		return service_fail(svc, fd, "cannot listen on tund.sock");
	r = privilege_drop();
	if (r)
		return service_fail(svc, r, "CAP_NET_ADMIN is needed to make TUN devices");
	r = helper_new(&helper, service_loop(svc), fd, users, n_users,
		       &rules);
	if (r)
		return service_fail(svc, r, "cannot serve tund.sock");
	steal_fd(&fd);
	r = service_confine(svc);
	if (r)
		return service_fail(svc, r, "cannot confine process");
	return service_run(svc);
}

int main(int argc, char **argv)
{
	return service_main(&info, argc, argv, run);
}

/* authd: password logins that never see a password, and a proof on every request. See authd(8). */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "crypto/seal.h"
#include "service/credential.h"
#include "service/export.h"
#include "service/fds.h"
#include "service/listening.h"
#include "service/service.h"

#include "authd/config.h"
#include "authd/control.h"
#include "authd/keys.h"
#include "authd/portable.h"
#include "authd/server.h"
#include "authd/state.h"

static const struct service_option own_options[] = {
	{ "import", NULL, "take state from a backup on standard input, and end" },
	{ "replace", NULL, "with --import: also in place of existing users", "import" },
	{ 0 },
};

static const struct service_info info = {
	.name = "authd",
	.summary = "password login without passwords on the server",
	.options = own_options,
};

struct daemon {
	struct authd_config *cfg;
	struct seal_key *seal; /* of secrets at rest; NULL: they are not sealed */
	struct state *state;
	struct keys *keys;
	struct authd *authd;
	struct export_server *export;
	int lock_fd; /* of the state folder: no import meanwhile */
};

static void daemon_done(struct daemon *d)
{
	export_server_free(d->export);
	authd_free(d->authd);
	keys_free(d->keys);
	state_free(d->state);
	seal_key_free(d->seal);
	authd_config_free(d->cfg);
	closep(&d->lock_fd);
}

/* ---- the configuration ---- */

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* Sockets stay what they were at the start, and so does whether they speak TLS; to say so beats to ignore the change. */
static const char *what_needs_restart(const struct authd_config *now, const struct authd_config *next)
{
	if (now->listen.n != next->listen.n)
		return "listen";
	for (size_t i = 0; i < now->listen.n; i++)
		if (!same_text(now->listen.v[i], next->listen.v[i]))
			return "listen";
	if (!same_text(now->origin, next->origin))
		return "origin";
	return !now->tls.certificate_pem == !next->tls.certificate_pem ? NULL : "tls";
}

/* A renewed certificate: whoever is connected keeps the one that they saw. */
static int renew(struct daemon *d, const struct authd_config *next, struct config_error *err)
{
	int r;

	if (!next->tls.certificate_pem || (same_text(d->cfg->tls.certificate_pem, next->tls.certificate_pem) &&
					   same_text(d->cfg->tls.key_pem, next->tls.key_pem)))
		return 0;
	r = authd_set_certificate(d->authd, next);
	if (r == -EKEYREJECTED)
		snprintf(err->text, sizeof(err->text), "%s and %s are no PEM certificate and its key; the old ones stay in use",
			 next->tls_certificate, next->tls_key);
	else if (r)
		snprintf(err->text, sizeof(err->text), "the new certificate cannot be used: %s", strerror(-r));
	return r;
}

static int refuse_missing(struct config_error *err, const struct authd_config *c)
{
	const char *what = authd_config_missing(c);

	if (!what)
		return 0;
	snprintf(err->text, sizeof(err->text), "%s: no credentials are passed to authd (LoadCredential= in authd.service)", what);
	return -1;
}

static void warn(struct service *svc, const struct authd_config *cfg)
{
	if (cfg->tls.warning[0])
		service_warn(svc, &MSG_AUTH_CERTIFICATE, cfg->tls_certificate, cfg->tls.warning);
}

/* On any error the running configuration stays in force, whole. */
static int reload(struct service *svc, void *arg, struct config_error *err)
{
	_cleanup_(authd_config_freep) struct authd_config *next = NULL;
	struct daemon *d = arg;
	const char *key;

	if (authd_config_load(&next, service_config_path(svc), service_config_is_default(svc), err) || refuse_missing(err, next))
		return -1;
	key = what_needs_restart(d->cfg, next);
	if (key) {
		snprintf(err->text, sizeof(err->text), "%s: a change of %s takes a restart of authd", service_config_path(svc), key);
		return -1;
	}
	if (renew(d, next, err))
		return -1;
	authd_set_config(d->authd, next);
	authd_config_free(d->cfg);
	d->cfg = steal(&next);
	warn(svc, d->cfg);
	return 0;
}

/* ---- the start ---- */

static int lock_state(struct service *svc, struct daemon *d)
{
	d->lock_fd = state_lock(service_state_dir(svc), false);
	if (d->lock_fd == -EWOULDBLOCK)
		return service_fail_text(svc, "a backup is being restored into the state folder");
	return d->lock_fd < 0 ? service_fail(svc, d->lock_fd, "cannot lock the state folder") : 0;
}

static int open_state(struct service *svc, struct daemon *d)
{
	char why[512] = "";
	int r;

	if (credential_state_key(&d->seal, "authd", why, sizeof(why)))
		return service_fail_config(svc, why);
	r = state_open(&d->state, service_state_dir(svc), d->seal, why, sizeof(why));
	if (!r)
		return 0;
	return r > 0 && r != STATE_E_LOCKED ? service_fail_config(svc, why) : service_fail_text(svc, why);
}

static int open_keys(struct service *svc, struct daemon *d)
{
	size_t sealed = 0;
	int r = keys_open(&d->keys, d->state, (uint32_t)(d->cfg->argon2id_memory / 1024), (uint32_t)d->cfg->argon2id_passes,
			  &sealed);

	if (r == KEYS_E_BROKEN)
		return service_fail_config(svc, "the server's keys in authd.db are damaged: restore them from a backup");
	if (r)
		return service_fail(svc, r, "cannot load the server's keys");
	if (sealed)
		log_event(LOG_NOTICE, &MSG_STATE_SEALED, LOG_NO_FIELDS, "the server's keys are sealed under the state key now");
	return 0;
}

/* Records are bound to the origin that they were made under. */
static int check_origin(struct service *svc, struct daemon *d)
{
	char before[512] = "";
	int r = state_take_origin(d->state, d->cfg->origin, before, sizeof(before));

	if (r)
		return service_fail(svc, r, "cannot read the state");
	if (*before)
		log_event(LOG_WARNING, &MSG_AUTH_ORIGIN, LOG_NO_FIELDS,
			  "users registered while origin was %s, and cannot log in while it is %s: set it back, or invite them anew",
			  before, d->cfg->origin);
	return 0;
}

/* The usual soft limit of 1024 is below the connections that we allow. Where the hard one is, too, accepting waits. */
static void raise_descriptors(const struct authd_config *cfg)
{
	enum { OTHERS = 64 };
	struct rlimit limit;
	rlim_t wanted = cfg->connections + OTHERS;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= wanted)
		return;
	limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		log_debug("cannot raise the limit of descriptors: %s", strerror(errno));
}

static int export(struct export *e, void *arg)
{
	struct daemon *d = arg;

	return portable_export(e, d->state, d->keys);
}

static int open_export(struct service *svc, struct daemon *d)
{
	int fd = service_fds_take(service_fds(svc), "authd.export");

	if (fd >= 0 && !service_fd_is_listening(fd, AF_UNIX, SOCK_SEQPACKET)) {
		close(fd);
		return -EINVAL;
	}
	return export_server_new(&d->export, service_loop(svc), service_runtime_dir(svc), fd >= 0 ? fd : -1, "authd", export, d);
}

static int fail_listen(struct service *svc, int r, const char *address)
{
	char text[256];

	if (r == -EKEYREJECTED)
		snprintf(text, sizeof(text), "the files of tls.certificate and tls.key are no PEM certificate and its key");
	else
		snprintf(text, sizeof(text), "cannot listen on %s: %s", address, strerror(-r));
	return service_fail_text(svc, text);
}

static int start(struct service *svc, struct daemon *d)
{
	const char *address = "";
	int r;

	raise_descriptors(d->cfg);
	r = authd_new(&d->authd, service_loop(svc), d->cfg, d->state, d->keys);
	if (r)
		return service_fail(svc, r, "cannot start the service");
	r = control_start(svc, d->authd);
	if (r)
		return service_fail(svc, r, "cannot answer control calls");
	r = open_export(svc, d);
	if (r)
		return service_fail(svc, r, "cannot open the socket for backups");
	r = authd_listen(d->authd, service_fds(svc), &address);
	return r ? fail_listen(svc, r, address) : 0;
}

static void on_stop(void *arg)
{
	struct daemon *d = arg;

	authd_stop(d->authd);
}

static bool is_stopped(void *arg)
{
	const struct daemon *d = arg;

	return authd_is_stopped(d->authd);
}

static int run(struct service *svc)
{
	_cleanup_(daemon_done) struct daemon d = { .lock_fd = -1 };
	struct config_error err = { "" };
	size_t n;
	int r;

	if (service_option(svc, "import"))
		return portable_import(svc);
	r = authd_config_load(&d.cfg, service_config_path(svc), service_config_is_default(svc), &err);
	if (r)
		return service_fail_config(svc, err.text);
	warn(svc, d.cfg);
	if (service_check_only(svc))
		return 0;
	if (refuse_missing(&err, d.cfg))
		return service_fail_config(svc, err.text);

	r = lock_state(svc, &d);
	if (!r)
		r = open_state(svc, &d);
	if (!r)
		r = open_keys(svc, &d);
	if (!r)
		r = check_origin(svc, &d);
	if (!r)
		r = start(svc, &d);
	if (r)
		return r;

	r = service_confine(svc);
	if (r)
		return service_fail(svc, r, "cannot confine the process");

	service_on_reload(svc, reload, &d);
	service_on_stop(svc, on_stop, &d);
	service_stop_when(svc, is_stopped);
	n = listening_count(d.authd->listening);
	service_set_status(svc, "serving %zu %s", n, n == 1 ? "address" : "addresses");
	return service_run(svc);
}

int main(int argc, char **argv)
{
	return service_main(&info, argc, argv, run);
}

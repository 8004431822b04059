/* relayd: the mailbox through which two devices pair. It forwards, and decides nothing. See relayd(8). */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "config/config.h"
#include "service/listening.h"
#include "service/service.h"

#include "relayd/config.h"
#include "relayd/control.h"
#include "relayd/lan.h"
#include "relayd/server.h"

static const struct service_info info = {
	.name = "relayd",
	.summary = "relay through which two devices pair",
	.no_state = true,
};

struct running {
	struct relay *relay;
	struct relayd_config *cfg;
};

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* Sockets stay what they were at the start, and so does whether they speak TLS; to say so beats to ignore the change. */
static const char *what_needs_restart(const struct relayd_config *now, const struct relayd_config *next)
{
	if (now->listen.n != next->listen.n)
		return "listen";
	for (size_t i = 0; i < now->listen.n; i++)
		if (!same_text(now->listen.v[i], next->listen.v[i]))
			return "listen";
	return !now->tls.certificate_pem == !next->tls.certificate_pem ? NULL : "tls";
}

/* A renewed certificate: whoever is connected keeps the one that they saw. */
static int renew(struct running *now, const struct relayd_config *next, struct config_error *err)
{
	int r;

	if (!next->tls.certificate_pem || (same_text(now->cfg->tls.certificate_pem, next->tls.certificate_pem) &&
				       same_text(now->cfg->tls.key_pem, next->tls.key_pem)))
		return 0;
	r = relay_set_certificate(now->relay, next);
	if (r == -EKEYREJECTED)
		snprintf(err->text, sizeof(err->text),
			 "%s and %s are no PEM certificate and its key; the old ones stay in use", next->tls_certificate,
			 next->tls_key);
	else if (r)
		snprintf(err->text, sizeof(err->text), "the new certificate cannot be used: %s", strerror(-r));
	return r;
}

static int refuse_missing(struct config_error *err, const struct relayd_config *c)
{
	const char *what = relayd_config_missing(c);

	if (!what)
		return 0;
	snprintf(err->text, sizeof(err->text), "%s: no credentials are passed to relayd (LoadCredential= in relayd.service)",
		 what);
	return -1;
}

/* On any error the running configuration stays in force, whole. */
static void warn(struct service *svc, const struct relayd_config *cfg)
{
	if (cfg->tls.warning[0])
		service_warn(svc, &MSG_RELAY_CERTIFICATE, cfg->tls_certificate, cfg->tls.warning);
}

static int reload(struct service *svc, void *arg, struct config_error *err)
{
	_cleanup_(relayd_config_freep) struct relayd_config *next = NULL;
	struct running *now = arg;
	struct relayd_config *old;
	const char *key;

	if (relayd_config_load(&next, service_config_path(svc), service_config_is_default(svc), err))
		return -1;
	if (refuse_missing(err, next))
		return -1;
	key = what_needs_restart(now->cfg, next);
	if (key) {
		snprintf(err->text, sizeof(err->text), "%s: a change of %s takes a restart of relayd",
			 service_config_path(svc), key);
		return -1;
	}
	if (renew(now, next, err))
		return -1;
	if (relay_reconfigure(now->relay, next)) {
		snprintf(err->text, sizeof(err->text), "out of memory");
		return -1;
	}
	old = now->cfg;
	now->cfg = steal(&next);
	relayd_config_free(old);
	warn(svc, now->cfg);
	return 0;
}

static void stop(void *arg)
{
	relay_stop(arg);
}

static bool is_stopped(void *arg)
{
	return relay_is_stopped(arg);
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

/* The usual soft limit of 1024 is below the connections that we allow. Where the hard one is, too, accepting waits. */
static void raise_descriptors(const struct relayd_config *cfg)
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

static int run(struct service *svc)
{
	_cleanup_(relayd_config_freep) struct relayd_config *cfg = NULL;
	_cleanup_(relay_freep) struct relay *relay = NULL;
	_cleanup_(lan_freep) struct lan *lan = NULL;
	struct config_error err = { "" };
	struct running running;
	struct control control;
	const char *address = "";
	size_t n;
	int r;

	r = relayd_config_load(&cfg, service_config_path(svc), service_config_is_default(svc), &err);
	if (r)
		return service_fail_config(svc, err.text);
	warn(svc, cfg);
	if (service_check_only(svc))
		return 0;
	if (refuse_missing(&err, cfg))
		return service_fail_config(svc, err.text);

	raise_descriptors(cfg);
	r = relay_new(&relay, service_loop(svc), cfg);
	if (r)
		return service_fail(svc, r, "cannot start the relay");
	r = lan_new(&lan, relay);
	if (r)
		return service_fail(svc, r, "cannot start the relay");
	control = (struct control){ relay, lan };
	r = control_init(&control, svc);
	if (r)
		return service_fail(svc, r, "cannot answer control calls");
	r = relay_listen(relay, service_fds(svc), &address);
	if (r)
		return fail_listen(svc, r, address);
	r = service_confine(svc);
	if (r)
		return service_fail(svc, r, "cannot confine process");

	running = (struct running){ relay, steal(&cfg) };
	service_on_reload(svc, reload, &running);
	service_on_stop(svc, stop, relay);
	service_stop_when(svc, is_stopped);
	n = listening_count(relay_listening(relay));
	service_set_status(svc, "serving %zu %s", n, n == 1 ? "address" : "addresses");
	r = service_run(svc);
	cfg = running.cfg;
	return r;
}

int main(int argc, char **argv)
{
	return service_main(&info, argc, argv, run);
}

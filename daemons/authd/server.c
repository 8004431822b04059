/*
 * Paths are compared as they were sent: nothing is decoded, so that a path which a proxy let pass is not
 * another one here.
 */
#include "authd/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "authd/bans.h"
#include "authd/config.h"
#include "authd/fresh.h"
#include "authd/http.h"
#include "authd/replay.h"
#include "authd/routes.h"
#include "authd/state.h"
#include "authd/ticket.h"
#include "base/log.h"
#include "service/listening.h"

/* Registrations under way, two of each, for as long as a login may take. */
enum { STARTED_MAX = 1 << 16 };

struct route {
	const char *path;
	bool changes; /* POST, from pages of our own origin; else GET or HEAD */
	void (*serve)(struct authd *a, struct http_request *req);
};

static const struct route routes[] = {
	{ "/config", false, route_config },
	{ "/healthz", false, route_health },
	{ "/metrics", false, route_metrics },
	{ "/register/start", true, route_register_start },
	{ "/register/finish", true, route_register_finish },
	{ "/login/start", true, route_login_start },
	{ "/login/finish", true, route_login_finish },
	{ "/session", false, route_session },
	{ "/logout", true, route_logout },
	{ "/unregister", true, route_unregister },
	{ "/verify", false, route_verify },
	{ "/api/whoami", false, route_whoami },
	{ "/api/transfer", true, route_transfer },
	{ "/api/transfers", false, route_transfers },
	{ "/api/metrics", false, route_api_metrics },
};

static const char *const count_names[N_COUNTED] = {
	[COUNT_REQUESTS] = "requests",
	[COUNT_REGISTERED] = "registrations",
	[COUNT_LOGINS] = "logins",
	[COUNT_LOGINS_FAILED] = "logins_failed",
	[COUNT_PROOFS_ACCEPTED] = "proofs_accepted",
	[COUNT_PROOFS_REFUSED] = "proofs_refused",
	[COUNT_REPLAYS] = "replays",
	[COUNT_BANNED] = "banned",
	[COUNT_ORIGINS_REFUSED] = "origins_refused",
	[COUNT_BAD_REQUESTS] = "bad_requests",
	[COUNT_FAILURES] = "failures",
};

static const char *const measure_names[N_MEASURED] = {
	[OP_REGISTER_START] = "register_start",
	[OP_REGISTER_FINISH] = "register_finish",
	[OP_LOGIN_START] = "login_start",
	[OP_LOGIN_FINISH] = "login_finish",
	[OP_PROOF] = "pop_verify",
};

const char *authd_count_name(enum counted what)
{
	return count_names[what];
}

const char *authd_measure_name(enum measured what)
{
	return measure_names[what];
}

/* ---- requests ---- */

/* path: as sent, without the query. */
static const struct route *find_route(const struct authd *a, const char *target)
{
	size_t prefix = strlen(a->cfg->prefix), len;

	if (strncmp(target, a->cfg->prefix, prefix) != 0)
		return NULL;
	target += prefix;
	len = strcspn(target, "?");
	for (size_t i = 0; i < ARRAY_SIZE(routes); i++)
		if (strlen(routes[i].path) == len && memcmp(routes[i].path, target, len) == 0)
			return &routes[i];
	return NULL;
}

static void reply_method(struct http_request *req, const char *allow)
{
	const char *const extra[] = { "Allow", allow, NULL };

	reply_empty(req, 405, extra);
}

/* RFC 6454: pages of others may not change things here, nor such as have no origin; programs send none. */
static bool check_origin(struct authd *a, struct http_request *req)
{
	const char *origin;

	if (http_request_header_once(req, "Origin", &origin) && (!origin || authd_config_allows_origin(a->cfg, origin)))
		return true;
	a->counted[COUNT_ORIGINS_REFUSED]++;
	reply_error(req, 403, "origin", "pages of this web origin may not do that");
	return false;
}

/* Say once when times are not taken any more, and when they are again. */
static void watch_clock(struct authd *a)
{
	const char *why_not = fresh_why_not(a->fresh);

	if (why_not == a->why_not || why_not == fresh_just_started)
		return;
	a->why_not = why_not;
	if (why_not)
		log_event(LOG_NOTICE, &MSG_AUTH_CLOCK, LOG_NO_FIELDS, "requests must carry a nonce of the server: %s", why_not);
	else
		log_event(LOG_INFO, &MSG_AUTH_CLOCK, LOG_NO_FIELDS, "requests may prove their freshness by a time now");
}

static void on_request(struct http_request *req, void *arg)
{
	struct authd *a = arg;
	const char *method = http_request_method(req);
	const struct route *route = find_route(a, http_request_target(req));
	bool reads = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;

	a->counted[COUNT_REQUESTS]++;
	watch_clock(a);
	if (!route)
		reply_not_found(req);
	else if (route->changes ? strcmp(method, "POST") != 0 : !reads)
		reply_method(req, route->changes ? "POST" : "GET, HEAD");
	else if (!route->changes || check_origin(a, req))
		route->serve(a, req);
}

/* ---- life ---- */

static int new_parts(struct authd *a, const struct authd_config *cfg)
{
	int r;

	r = bans_new(&a->bans, cfg);
	if (!r)
		r = bans_new(&a->proof_bans, cfg);
	if (!r)
		r = tickets_new(&a->tickets, cfg->login_ttl_ms);
	if (!r)
		r = replay_new(&a->started, STARTED_MAX, STARTED_MAX, cfg->login_ttl_ms);
	return r ? r : fresh_new(&a->fresh, a->state, cfg, &fresh_real_clocks);
}

int authd_new(struct authd **out, struct loop *l, const struct authd_config *cfg, struct state *state, struct keys *keys)
{
	_cleanup_(authd_freep) struct authd *a = calloc(1, sizeof(*a));
	struct http_server_options o = { .on_request = on_request, .arg = a };
	int r;

	if (!a)
		return -ENOMEM;
	a->loop = l;
	a->cfg = cfg;
	a->state = state;
	a->keys = keys;
	r = new_parts(a, cfg);
	if (r)
		return r;
	authd_config_http_limits(cfg, &o.limits);
	o.tls_cert_pem = cfg->tls.certificate_pem;
	o.tls_key_pem = cfg->tls.key_pem;
	r = http_server_new(&a->http, l, &o);
	if (r)
		return r;
	http_server_set_proxies(a->http, cfg->trusted_proxies);
	*out = steal(&a);
	return 0;
}

struct authd *authd_free(struct authd *a)
{
	if (!a)
		return NULL;
	http_server_free(a->http);
	listening_free(a->listening);
	fresh_free(a->fresh);
	replay_free(a->started);
	tickets_free(a->tickets);
	bans_free(a->proof_bans);
	bans_free(a->bans);
	free(a);
	return NULL;
}

int authd_listen(struct authd *a, struct service_fds *fds, const char **failed)
{
	return listening_new(&a->listening, a->http, fds, "authd.listen", &a->cfg->listen, failed);
}

void authd_set_config(struct authd *a, const struct authd_config *cfg)
{
	struct http_limits limits;

	authd_config_http_limits(cfg, &limits);
	http_server_set_limits(a->http, &limits);
	http_server_set_proxies(a->http, cfg->trusted_proxies);
	bans_set_config(a->bans, cfg);
	bans_set_config(a->proof_bans, cfg);
	tickets_set_ttl(a->tickets, cfg->login_ttl_ms);
	replay_set_limits(a->started, STARTED_MAX, STARTED_MAX, cfg->login_ttl_ms);
	fresh_set_config(a->fresh, cfg);
	a->cfg = cfg;
}

int authd_set_certificate(struct authd *a, const struct authd_config *cfg)
{
	return http_server_set_certificate(a->http, cfg->tls.certificate_pem, cfg->tls.key_pem);
}

int authd_storage(struct authd *a)
{
	if (a->storage_error)
		a->storage_error = state_try(a->state);
	return a->storage_error;
}

void authd_stop(struct authd *a)
{
	http_server_close_listeners(a->http);
	fresh_stop(a->fresh);
}

bool authd_is_stopped(const struct authd *a)
{
	return http_server_unanswered(a->http) == 0;
}

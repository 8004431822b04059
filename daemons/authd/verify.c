/*
 * /verify: a proxy asks whether the request that it holds is proven (nginx auth_request, Caddy forward_auth,
 * Traefik ForwardAuth). It tells of that request in X-Forwarded-Method, -Proto, -Host and -Uri and passes the
 * client's header fields on; the body it keeps, so the upstream checks Content-Digest.
 */
#include "authd/routes.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "authd/http.h"
#include "authd/proof.h"
#include "authd/server.h"
#include "authd/state.h"
#include "proto/pop.h"

static bool one(struct http_request *req, const char *name, const char **value)
{
	return http_request_header_once(req, name, value) && *value;
}

void route_verify(struct authd *a, struct http_request *req)
{
	_cleanup_(session_done) struct session s = { 0 };
	char authority[POP_AUTHORITY_SPACE], expires[24];
	struct pop_request of = { .authority = authority };
	const char *const who[] = { "X-Auth-User", s.name, "X-Auth-Expires-In", expires, NULL };
	const char *host = NULL, *scheme = NULL;

	if (!request_is_proxied(a, req)) {
		reply_error(req, 403, "no_proxy", "only a proxy that is listed may ask this");
		return;
	}
	if (!one(req, "X-Forwarded-Method", &of.method) || !one(req, "X-Forwarded-Uri", &of.target) ||
	    !one(req, "X-Forwarded-Host", &host) || !one(req, "X-Forwarded-Proto", &scheme) ||
	    pop_authority(authority, scheme, host)) {
		reply_error(req, 403, "forwarded", "the proxy must say method, URI, host and protocol, each once");
		return;
	}
	of.scheme = scheme;
	if (!prove_forwarded(a, req, &of, &s))
		return;
	snprintf(expires, sizeof(expires), "%" PRId64, s.expires_at - state_now(a->state));
	reply_empty(req, 200, who);
}

/* What needs no session. */
#include "authd/routes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <errno.h>

#include <jansson.h>

#include "authd/config.h"
#include "authd/fresh.h"
#include "authd/http.h"
#include "authd/keys.h"
#include "authd/server.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "http/http_server.h"
#include "http/proxies.h"
#include "service/exposition.h"
#include "service/service.h"

void route_config(struct authd *a, struct http_request *req)
{
	reply_json(req, 200,
		   json_pack("{s:s, s:s, s:s, s:o, s:b, s:I}", "origin", a->cfg->origin, "registration",
			     authd_registration_name(a->cfg->registration), "suite", "OPAQUE-3DH-ristretto255-SHA512", "ksf",
			     generation_json(keys_newest(a->keys)), "timestamps", !fresh_why_not(a->fresh), "window_s",
			     (json_int_t)(a->cfg->pop_window_ms / 1000)));
}

void route_health(struct authd *a, struct http_request *req)
{
	int r = authd_storage(a);

	if (r)
		reply_later(req, 503, "unavailable", r == -ENOSPC ? "the disk is full" : "the database cannot be written", 1000);
	else
		reply_json(req, 200, json_pack("{s:s}", "status", "ok"));
}

/* All as text; NULL without memory. The caller frees it. */
static char *metrics_text(struct authd *a, size_t *len)
{
	_cleanup_(exposition_freep) struct exposition *e = exposition_new();
	_cleanup_json_ json_t *reply = service_metrics(a->service), *list = NULL;
	char *text = NULL;
	FILE *f;

	if (!e || !reply)
		return NULL;
	exposition_add_reply(e, reply);
	list = exposition_list(e);
	f = list ? open_memstream(&text, len) : NULL;
	if (!f)
		return NULL;
	exposition_write(f, list);
	if (fclose(f) == 0)
		return text;
	free(text);
	return NULL;
}

/* Numbers of users, failed logins and bans are nobody else's affair: to others there is nothing here. */
void route_metrics(struct authd *a, struct http_request *req)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;

	if (request_is_forwarded(req) || !http_proxies_has(a->cfg->metrics_readers, http_request_peer(req))) {
		reply_not_found(req);
		return;
	}
	text = metrics_text(a, &len);
	if (text)
		http_reply(req, 200, "text/plain; version=0.0.4; charset=utf-8", text, len, NULL);
	else
		reply_failure(a, req, -ENOMEM, "cannot tell metrics");
}

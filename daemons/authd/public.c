/* What anybody may read. */
#include "authd/routes.h"

#include <jansson.h>

#include "authd/config.h"
#include "authd/fresh.h"
#include "authd/http.h"
#include "authd/keys.h"
#include "authd/server.h"

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
	(void)a;
	reply_json(req, 200, json_pack("{s:s}", "status", "ok"));
}

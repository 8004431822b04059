/* What a session may do with itself and its user. */
#include "authd/routes.h"

#include <jansson.h>

#include "authd/http.h"
#include "authd/keys.h"
#include "authd/proof.h"
#include "authd/server.h"
#include "authd/state.h"
#include "authd/users.h"
#include "base/log.h"

void route_session(struct authd *a, struct http_request *req)
{
	_cleanup_(session_done) struct session s = { 0 };

	if (!prove(a, req, &s))
		return;
	reply_json(req, 200,
		   json_pack("{s:s, s:I, s:b}", "user", s.name, "expires_in_s", (json_int_t)(s.expires_at - state_now(a->state)),
			     "renew", s.generation != keys_newest(a->keys)->id));
}

void route_logout(struct authd *a, struct http_request *req)
{
	_cleanup_(session_done) struct session s = { 0 };
	int r;

	if (!prove(a, req, &s))
		return;
	r = sessions_end(a->state, s.id);
	if (r < 0) {
		reply_failure(a, req, r, "cannot end a session");
		return;
	}
	log_event(LOG_INFO, &MSG_AUTH_LOGOUT, LOG_FIELDS({ FIELD_USER, s.name }), "%s logged out", s.name);
	reply_json(req, 200, NULL);
}

void route_unregister(struct authd *a, struct http_request *req)
{
	_cleanup_(session_done) struct session s = { 0 };
	int r;

	if (!prove(a, req, &s))
		return;
	r = users_delete(a->state, s.name);
	if (r < 0) {
		reply_failure(a, req, r, "cannot delete a user");
		return;
	}
	log_event(LOG_NOTICE, &MSG_AUTH_USER_DELETED, LOG_FIELDS({ FIELD_USER, s.name }), "%s deleted itself", s.name);
	reply_json(req, 200, NULL);
}

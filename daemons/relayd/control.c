/* Answers the command: figures, sessions, and their end. */
#include "relayd/control.h"

#include <string.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "event/varlink.h"
#include "http/http_server.h"
#include "proto/relay_frame.h"
#include "relayd/config.h"
#include "relayd/lan.h"
#include "relayd/metrics.h"
#include "relayd/server.h"
#include "relayd/session.h"
#include "service/listening.h"
#include "service/service.h"
#include "varlink/io.handfast.Relay.h"

static json_t *listeners(const struct relay *r)
{
	const struct listening *l = relay_listening(r);
	json_t *all = json_array();

	for (size_t i = 0; i < listening_count(l); i++)
		json_array_append_new(all, json_string(listening_address(l, i)));
	return all;
}

static json_t *refusals(const struct relay *r)
{
	const struct relay_counters *n = relay_counters(r);
	struct http_counters http;
	json_t *all = json_object();

	relay_http_counters(r, &http);
	json_object_set_new(all, "connections", json_integer((json_int_t)http.refused_limit));
	json_object_set_new(all, "requests", json_integer((json_int_t)http.refused_bad));
	json_object_set_new(all, "timeouts", json_integer((json_int_t)http.timeouts));
	for (enum refusal i = 0; i < N_REFUSALS; i++)
		json_object_set_new(all, relay_refusal_name(i), json_integer((json_int_t)n->refused[i]));
	return all;
}

static json_t *status(struct relay *r)
{
	const struct relay_counters *n = relay_counters(r);
	const struct relayd_config *c = relay_config(r);

	return json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "listeners",
			 listeners(r), "sessions", (json_int_t)sessions_count(relay_sessions(r)),
			 "sessions_max", (json_int_t)c->sessions, "connections",
			 (json_int_t)relay_connections(r), "memory_bytes", (json_int_t)relay_memory(r),
			 "memory_max_bytes", (json_int_t)c->memory, "messages", (json_int_t)n->messages,
			 "bytes", (json_int_t)n->bytes, "sessions_created",
			 (json_int_t)n->sessions_created, "sessions_expired",
			 (json_int_t)n->sessions_expired, "refused", refusals(r));
}

static void on_status_call(struct varlink_call *call, const json_t *params, void *arg)
{
	struct control *c = arg;

	(void)params;
	varlink_reply(call, status(c->relay));
}

static json_t *describe(const struct session *s, uint64_t now)
{
	return json_pack("{s:s, s:b, s:b, s:I, s:I, s:I, s:I, s:b}", "code", s->code, "alice",
			 s->members[RELAY_ALICE].place == PLACE_HERE, "bob",
			 s->members[RELAY_BOB].place == PLACE_HERE, "age_ms",
			 (json_int_t)(now - s->created_ms), "expires_in_ms",
			 (json_int_t)(s->expires_ms > now ? s->expires_ms - now : 0), "messages",
			 (json_int_t)s->messages, "bytes", (json_int_t)s->bytes, "lan", s->lan != NULL);
}

static void on_sessions_call(struct varlink_call *call, const json_t *params, void *arg)
{
	struct control *c = arg;
	struct sessions *t = relay_sessions(c->relay);
	json_t *all = json_array();
	uint64_t now = clock_now_ms();

	(void)params;
	for (struct session *s = sessions_first(t); s; s = session_next(t, s))
		json_array_append_new(all, describe(s, now));
	varlink_reply(call, json_pack("{s:o}", "sessions", all));
}

static void on_drop_call(struct varlink_call *call, const json_t *params, void *arg)
{
	struct control *c = arg;
	const char *text = json_get_str(params, "code");
	char code[RELAY_CODE_LEN + 1];
	struct session *s = NULL;

	if (text && relay_code_parse(code, text, strlen(text)) == 0)
		s = session_find(relay_sessions(c->relay), code);
	if (!s) {
		varlink_error(call, "io.handfast.Relay.NoSuchSession", "there is no session with this code",
			      "\"handfast relay sessions\" lists them");
		return;
	}
	log_event(LOG_NOTICE, &MSG_RELAY_SESSION_DROPPED, LOG_NO_FIELDS, "dropped a session by command");
	relay_session_end(c->relay, s, CLOSE_DROPPED, "dropped", "the relay's operator ended the session");
	varlink_reply(call, NULL);
}

static void on_open_lan_call(struct varlink_call *call, const json_t *params, void *arg)
{
	struct control *c = arg;

	(void)params;
	/* pairingd needs this one method of ours, and none of the admin group's other powers. */
	if (!varlink_call_has_access(call, VARLINK_CHANGE) &&
	    !relayd_config_lan_uid(relay_config(c->relay), varlink_call_caller(call)->uid)) {
		varlink_deny(call, VARLINK_CHANGE);
		return;
	}
	lan_open(c->lan, call);
}

static const struct varlink_method methods[] = {
	{ "Status", VARLINK_READ, on_status_call },
	{ "Sessions", VARLINK_READ, on_sessions_call },
	{ "Drop", VARLINK_CHANGE, on_drop_call },
	{ "OpenLan", VARLINK_ANYONE, on_open_lan_call },
	{ NULL, VARLINK_CHANGE, NULL },
};

static const struct varlink_interface relay_interface = {
	.name = "io.handfast.Relay",
	.description = varlink_io_handfast_Relay,
	.methods = methods,
};

int control_init(struct control *c, struct service *svc)
{
	service_on_status(svc, control_on_status, c);
	service_on_metrics(svc, relayd_metrics, c->relay);
	return service_add_interface(svc, &relay_interface, c);
}

void control_on_status(struct json_t *details, void *arg)
{
	struct control *c = arg;
	json_t *now = status(c->relay);

	if (now)
		json_object_update(details, now);
	json_decref(now);
}

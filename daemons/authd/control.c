/* io.handfast.Auth: users, sessions, invitations, keys and bans, for the command. */
#include "authd/control.h"

#include <jansson.h>

#include "authd/config.h"
#include "authd/metrics.h"
#include "authd/server.h"
#include "authd/sessions.h"
#include "authd/users.h"
#include "event/varlink.h"
#include "service/listening.h"
#include "service/service.h"
#include "varlink/io.handfast.Auth.h"

static json_t *listeners(const struct authd *a)
{
	json_t *all = json_array();

	for (size_t i = 0; i < listening_count(a->listening); i++)
		json_array_append_new(all, json_string(listening_address(a->listening, i)));
	return all;
}

static json_t *status(struct authd *a)
{
	int64_t users = 0, sessions = 0;

	(void)users_count(a->state, &users);
	(void)sessions_count(a->state, &sessions);
	return json_pack("{s:o, s:I, s:I}", "listeners", listeners(a), "users", (json_int_t)users, "sessions", (json_int_t)sessions);
}

static void method_status(struct varlink_call *call, const json_t *params, void *arg)
{
	(void)params;
	varlink_reply(call, status(arg));
}

static const struct varlink_method methods[] = {
	{ "Status", VARLINK_READ, method_status },
	{ NULL, VARLINK_READ, NULL },
};

static const struct varlink_interface interface = {
	.name = "io.handfast.Auth",
	.description = varlink_io_handfast_Auth,
	.methods = methods,
};

static void on_status(json_t *details, void *arg)
{
	json_t *now = status(arg);

	if (now)
		json_object_update(details, now);
	json_decref(now);
}

int control_start(struct service *svc, struct authd *a)
{
	service_on_status(svc, on_status, a);
	service_on_metrics(svc, authd_metrics, a);
	return service_add_interface(svc, &interface, a);
}

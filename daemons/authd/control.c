/* io.handfast.Auth: what is served now, which is nobody yet. */
#include "authd/control.h"

#include <jansson.h>

#include "authd/config.h"
#include "event/varlink.h"
#include "service/service.h"
#include "varlink/io.handfast.Auth.h"

static void method_status(struct varlink_call *call, const struct json_t *params, void *arg)
{
	(void)params;
	(void)arg;
	/* No listener, user or session exists before the login service does. */
	varlink_reply(call, json_pack("{s:[], s:i, s:i}", "listeners", "users", 0, "sessions", 0));
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

int control_start(struct service *svc, struct authd_config **cfg)
{
	return service_add_interface(svc, &interface, cfg);
}

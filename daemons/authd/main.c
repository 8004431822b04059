/* authd: password logins that never see a password. See authd(8). */
#include <stddef.h>

#include "base/cleanup.h"
#include "service/service.h"

#include "authd/config.h"
#include "authd/control.h"

static const struct service_info info = {
	.name = "authd",
	.summary = "password login without passwords on the server",
};

/* On any error the running configuration stays in force, whole. */
static int reload(struct service *svc, void *arg, struct config_error *err)
{
	_cleanup_(authd_config_freep) struct authd_config *next = NULL;
	struct authd_config **cfg = arg;

	if (authd_config_load(&next, service_config_path(svc), service_config_is_default(svc), err))
		return -1;
	authd_config_free(*cfg);
	*cfg = steal(&next);
	return 0;
}

static int run(struct service *svc)
{
	_cleanup_(authd_config_freep) struct authd_config *cfg = NULL;
	struct config_error err = { "" };
	int r;

	r = authd_config_load(&cfg, service_config_path(svc), service_config_is_default(svc), &err);
	if (r)
		return service_fail_config(svc, err.text);
	if (service_check_only(svc))
		return 0;

	r = control_start(svc, &cfg);
	if (r)
		return service_fail(svc, r, "cannot answer control calls");

	r = service_confine(svc);
	if (r)
		return service_fail(svc, r, "cannot confine the process");

	service_on_reload(svc, reload, &cfg);
	return service_run(svc);
}

int main(int argc, char **argv)
{
	return service_main(&info, argc, argv, run);
}

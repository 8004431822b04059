/* authd.yaml: one table says what may stand in it. */
#include "authd/config.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

/* An address that were taken and then not served would promise what nobody keeps. */
static const char *check_listen(const char *v)
{
	(void)v;
	return "nothing: this version serves no logins yet";
}

static const struct config_option options[] = {
	{ .key = "listen",
	  .type = CONFIG_LIST,
	  .offset = offsetof(struct authd_config, listen),
	  .check = check_listen,
	  .help = "where logins are served; empty in this version" },
};

const struct config_schema authd_config_schema = {
	.name = "authd.yaml",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.struct_size = sizeof(struct authd_config),
};

int authd_config_load(struct authd_config **out, const char *path, bool missing_ok, struct config_error *err)
{
	_cleanup_(authd_config_freep) struct authd_config *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	r = config_load(&authd_config_schema, c, path, missing_ok, err);
	if (r)
		return r;
	*out = steal(&c);
	return 0;
}

struct authd_config *authd_config_free(struct authd_config *c)
{
	if (!c)
		return NULL;
	config_done(&authd_config_schema, c);
	free(c);
	return NULL;
}

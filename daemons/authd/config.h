/* authd.yaml: checked values. */
#pragma once

#include "base/cleanup.h"
#include "config/config.h"

struct authd_config {
	struct config_list listen;
};

extern const struct config_schema authd_config_schema;

/* A new configuration from path. 0; -EINVAL and others with *err saying why. */
int authd_config_load(struct authd_config **out, const char *path, bool missing_ok, struct config_error *err);
struct authd_config *authd_config_free(struct authd_config *c);
DEFINE_CLEANUP(struct authd_config *, authd_config_free);

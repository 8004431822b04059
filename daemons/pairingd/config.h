/* pairingd.yaml: checked values. */
#pragma once

#include <stdint.h>

#include "base/cleanup.h"
#include "config/config.h"

struct pairingd_config {
	char *device_name; /* NULL: from the host name */
	char *relay;	   /* NULL: none */
	char *relay_ca;	   /* NULL: the system's */
	char *minimum_profile;
	uint64_t tunnel_port_base;
	struct config_list identity_users;
	uint64_t secret_ms, relay_ms, join_ms, step_ms, sas_ms;
};

extern const struct config_schema pairingd_config_schema;

/* A new configuration from path. 0; -EINVAL and others with *err saying why. */
int pairingd_config_load(struct pairingd_config **out, const char *path, bool missing_ok,
			 struct config_error *err);
struct pairingd_config *pairingd_config_free(struct pairingd_config *c);
DEFINE_CLEANUP(struct pairingd_config *, pairingd_config_free);

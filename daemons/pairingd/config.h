/* pairingd.yaml: checked values. */
#pragma once

#include <stdint.h>

#include "base/cleanup.h"
#include "config/config.h"

struct pairingd_config {
	char *device_name; /* NULL: from the host name */
	char *relay;	   /* NULL: none */
	char *relay_ca;	   /* NULL: the system's */
	char *relay_token_file; /* NULL: none */
	char *minimum_profile;
	uint64_t tunnel_port_base;
	struct config_list identity_users;
	char *relay_token; /* what that file holds; NULL: none */
	uint64_t secret_ms, relay_ms, join_ms, step_ms, sas_ms;
};

extern const struct config_schema pairingd_config_schema;

/*
 * The token to show at url (as relay_url_parse() writes it): only the configured
 * relay's, NULL everywhere else.
 */
const char *pairingd_config_token(const struct pairingd_config *c, const char *url);

/* A new configuration from path, with the files that it names. 0; -EINVAL and others with *err saying why. */
int pairingd_config_load(struct pairingd_config **out, const char *path, bool missing_ok,
			 struct config_error *err);
struct pairingd_config *pairingd_config_free(struct pairingd_config *c);
DEFINE_CLEANUP(struct pairingd_config *, pairingd_config_free);

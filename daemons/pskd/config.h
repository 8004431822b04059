/* pskd.yaml. */
#pragma once

#include "config/config.h"

struct pskd_config {
	char *tunnels_dir, *tund_socket, *identity_socket;
	uint64_t max_tunnels;
};

extern const struct config_schema pskd_schema;

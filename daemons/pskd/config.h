/* pskd.yaml. */
#pragma once

#include "config/config.h"

struct pskd_config {
	char *tunnels_dir, *tund_socket, *identity_socket;
	uint64_t max_tunnels;
	int aead;	   /* enum bulk_choice */
	bool start_paired; /* a new pairing's tunnel comes up by itself */
	struct config_list label_sources, revoked;
	char *offload; /* for offload_parse() */
	char *workers; /* for packets_parse() */
};

extern const struct config_schema pskd_schema;

/* The table of pskd.yaml; pskd.yaml(5) is tested against it. */
#include "pskd/config.h"

#include "base/cleanup.h"
#include "crypto/bulk.h"
#include "pskd/handshake/label.h"
#include "pskd/packet/offload.h"
#include "pskd/packet/packets.h"

static const char *check_offload(const char *value)
{
	unsigned int bits;

	return offload_parse(&bits, value) ? NULL :
					     "all, none, or names of vnet-header, tso, uso, udp-gso, udp-gro with commas "
					     "between them; -NAME leaves one out";
}

static const char *check_workers(const char *value)
{
	return packets_parse(value) >= 0 ? NULL : "auto, or a number from 0 to 16";
}

static const struct config_option options[] = {
	{ .key = "tunnels_dir", .type = CONFIG_PATH, .offset = offsetof(struct pskd_config, tunnels_dir),
	  .help = "folder of declared tunnels; default: tunnels beside this file" },
	{ .key = "tund_socket", .type = CONFIG_PATH, .offset = offsetof(struct pskd_config, tund_socket),
	  .help = "where tund makes devices; default: tund.sock in the runtime folder" },
	{ .key = "identity_socket", .type = CONFIG_PATH,
	  .offset = offsetof(struct pskd_config, identity_socket),
	  .help = "where pairingd signs and hands over roots; default: identity.sock in the runtime folder" },
	{ .key = "max_tunnels", .type = CONFIG_U64, .offset = offsetof(struct pskd_config, max_tunnels),
	  .def = "64", .min = 1, .max = 1024, .help = "tunnels at most, up or not" },
	{ .key = "aead", .type = CONFIG_ENUM, .offset = offsetof(struct pskd_config, aead), .def = "auto",
	  .names = bulk_choice_names, .help = "what seals packets" },
	{ .key = "start_paired", .type = CONFIG_BOOL, .offset = offsetof(struct pskd_config, start_paired),
	  .def = "true", .help = "a new pairing's tunnel comes up by itself" },
	{ .key = "label_sources", .type = CONFIG_LIST, .offset = offsetof(struct pskd_config, label_sources),
	  .def = "[machine-id]", .check = label_check_source,
	  .help = "what this machine's labels are made of: the first that can be used" },
	{ .key = "revoked", .type = CONFIG_LIST, .offset = offsetof(struct pskd_config, revoked),
	  .check = label_check_or_key, .help = "identities, and public keys, that no tunnel's peer may have" },
	{ .key = "offload", .type = CONFIG_STRING, .offset = offsetof(struct pskd_config, offload), .def = "all",
	  .check = check_offload, .help = "what of the kernel's to use for speed" },
	{ .key = "workers", .type = CONFIG_STRING, .offset = offsetof(struct pskd_config, workers), .def = "auto",
	  .check = check_workers, .help = "threads that carry packets" },
};

const struct config_schema pskd_schema = {
	.name = "pskd.yaml",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.struct_size = sizeof(struct pskd_config),
};

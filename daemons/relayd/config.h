/* relayd.yaml(5), checked. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "config/config.h"
#include "service/tls_files.h"

struct http_limits;
struct http_proxies;

struct relayd_config {
	struct config_list listen;
	struct config_list proxies;
	uint64_t lan_port;
	struct config_list lan_users;
	char *tls_certificate, *tls_key;
	char *tokens_file;
	uint64_t session_ttl_ms;
	struct config_list origins;
	bool origin_absent;

	uint64_t message_size, message_depth, message_keys;
	uint64_t messages_per_minute, message_burst;
	uint64_t token_messages_per_minute, token_message_burst;
	uint64_t connections, connections_per_address;
	uint64_t sessions, sessions_per_minute, session_burst;
	uint64_t failed_joins_per_minute, failed_join_burst;
	uint64_t memory, waiting_size, unsent_size;
	uint64_t header_timeout_ms, message_timeout_ms, ping_interval_ms;

	/* Read from the files above. */
	struct tls_files tls;
	char **tokens; /* NULL-terminated */
	struct http_proxies *trusted_proxies; /* proxies, parsed */
	uid_t *lan_uids; /* of lan_users, those that exist */
	size_t n_lan_uids;
};

extern const struct config_schema relayd_schema;

/* 0, or a negative errno with *err saying what and where. */
int relayd_config_load(struct relayd_config **out, const char *path, bool missing_ok,
		       struct config_error *err);
struct relayd_config *relayd_config_free(struct relayd_config *c);
DEFINE_CLEANUP(struct relayd_config *, relayd_config_free);

/* The tls key whose credential:NAME was not read, since there are no credentials; NULL: none. */
const char *relayd_config_missing(const struct relayd_config *c);

void relayd_config_http_limits(const struct relayd_config *c, struct http_limits *out);
/* True when token is one of the configured ones; in time that depends on lengths alone. */
bool relayd_config_knows_token(const struct relayd_config *c, const char *token);
/* Whether lan_users names this uid. */
bool relayd_config_lan_uid(const struct relayd_config *c, uid_t uid);
/* origin: the header's value, NULL when absent. */
bool relayd_config_allows_origin(const struct relayd_config *c, const char *origin);

/* authd.yaml: checked values. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "config/config.h"
#include "service/tls_files.h"

struct http_limits;
struct http_proxies;

enum registration { REGISTRATION_OPEN, REGISTRATION_INVITATION, REGISTRATION_CLOSED };
/* Whether a request may prove its freshness by a time stamp. */
enum timestamps { TIMESTAMPS_KERNEL, TIMESTAMPS_ALWAYS, TIMESTAMPS_NEVER };

struct authd_config {
	struct config_list listen;
	char *origin; /* OPAQUE's server identity; set by loading where the file has none */
	struct config_list names; /* further origins by which clients call this service */
	char *prefix; /* "", or begins with / and does not end with it */
	struct config_list proxies;
	struct config_list private_networks;
	struct config_list origins;
	struct config_list metrics;
	char *tls_certificate, *tls_key;
	int registration;
	uint64_t session_ttl_ms, invitation_ttl_ms, login_ttl_ms;
	uint64_t argon2id_memory, argon2id_passes;
	int pop_timestamps;
	uint64_t pop_window_ms;
	uint64_t ban_attempts, ban_attempts_address, ban_proofs, ban_first_ms, ban_longest_ms, ban_forgive_ms;
	uint64_t max_body, connections, connections_per_address, request_timeout_ms;
	uint64_t users, sessions_per_user, nonces, nonces_per_user, transfers_per_user;

	struct tls_files tls;
	struct http_proxies *trusted_proxies; /* proxies, parsed */
	struct http_proxies *private_peers;   /* private_networks, parsed */
	struct http_proxies *metrics_readers; /* metrics, parsed */
};

extern const struct config_schema authd_config_schema;

/* A new configuration from path. 0; -EINVAL and others with *err saying why. */
int authd_config_load(struct authd_config **out, const char *path, bool missing_ok, struct config_error *err);
struct authd_config *authd_config_free(struct authd_config *c);
DEFINE_CLEANUP(struct authd_config *, authd_config_free);

/* The tls key whose credential:NAME was not read, since there are no credentials; NULL: none. */
const char *authd_config_missing(const struct authd_config *c);
void authd_config_http_limits(const struct authd_config *c, struct http_limits *out);
/* Whether a web page of this origin may change things here. */
bool authd_config_allows_origin(const struct authd_config *c, const char *origin);
/* Whether clients call this service by that: origin, or one of names. authority: canonical. */
bool authd_config_is_ours(const struct authd_config *c, const char *scheme, const char *authority);
const char *authd_registration_name(int mode);

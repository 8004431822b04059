/* authd.yaml: one table says what may stand in it. */
#include "authd/config.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "auth/exchange.h"
#include "http/http_server.h"
#include "http/proxies.h"
#include "proto/pop.h"

static const char *const registrations[] = { "open", "invitation", "closed", NULL };
static const char *const timestamps[] = { "kernel", "always", "never", NULL };

static const char *check_listen(const char *value)
{
	static const char wanted[] =
		"an address and a port, as in 127.0.0.1:7150, [::1]:7150 or *:7150, or a Unix socket's path";
	struct sockaddr_storage a;
	bool all;

	if (*value == '/')
		return strlen(value) < sizeof(((struct sockaddr_un *)0)->sun_path) ? NULL : wanted;
	return http_parse_listen(&a, &all, value) ? wanted : NULL;
}

/* Into out, in the one spelling that everybody derives from a URL; false for what is no origin. */
static bool canonical_origin(char *out, size_t cap, const char *value)
{
	const char *scheme = strncmp(value, "https://", 8) == 0 ? "https" :
			     strncmp(value, "http://", 7) == 0	? "http" :
								  NULL;
	char authority[POP_AUTHORITY_SPACE];

	if (!scheme || pop_authority(authority, scheme, value + strlen(scheme) + 3))
		return false;
	snprintf(out, cap, "%s://%s", scheme, authority);
	return true;
}

static const char *check_origin(const char *value)
{
	char spelt[POP_AUTHORITY_SPACE + 8];

	if (canonical_origin(spelt, sizeof(spelt), value) && strcmp(spelt, value) == 0)
		return NULL;
	return "an origin as browsers send it: https://login.example.org, without a path, in lower case, without the "
	       "scheme's own port";
}

static const char *check_allowed_origin(const char *value)
{
	return strcmp(value, "null") == 0 ? NULL : check_origin(value);
}

static const char *check_prefix(const char *value)
{
	static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/";
	size_t len = strlen(value);

	if ((len > 0 && len < 256 && value[0] == '/' && value[len - 1] != '/' && value[strspn(value, good)] == '\0'))
		return NULL;
	return "a path that begins with / and does not end with it, of letters, digits, -, ., _, ~ and /";
}

#define AT(member) offsetof(struct authd_config, member)
#define OPTION(type_, key_, member, def_, ...) \
	{ .key = key_, .type = type_, .offset = AT(member), .def = def_, __VA_ARGS__ }
#define RANGE(min_, max_) .min = min_, .max = max_

enum { SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE };
#define DAY (UINT64_C(24) * HOUR)

static const struct config_option options[] = {
	OPTION(CONFIG_LIST, "listen", listen, "[\"127.0.0.1:7150\"]", .check = check_listen,
	       .help = "addresses and ports, or Unix sockets, where logins are served"),
	OPTION(CONFIG_STRING, "origin", origin, NULL, .check = check_origin,
	       .help = "what clients call this service: scheme, host and port"),
	OPTION(CONFIG_LIST, "names", names, "[]", .check = check_origin,
	       .help = "what else clients call it, in signed requests: more such origins"),
	OPTION(CONFIG_STRING, "prefix", prefix, NULL, .check = check_prefix,
	       .help = "path below which everything is served"),
	OPTION(CONFIG_LIST, "proxies", proxies, "[]", .check = http_proxies_check,
	       .help = "reverse proxies whose X-Forwarded headers count"),
	OPTION(CONFIG_LIST, "private_networks", private_networks, "[]", .check = http_proxies_check,
	       .help = "networks whose line is confidential without TLS: a tunnel's"),
	OPTION(CONFIG_LIST, "origins", origins, "[]", .check = check_allowed_origin,
	       .help = "web origins, beside the own one, whose pages may change things"),
	OPTION(CONFIG_LIST, "metrics", metrics, "[]", .check = http_proxies_check, .help = "who may read /metrics"),
	OPTION(CONFIG_STRING, "tls.certificate", tls_certificate, NULL, .check = tls_files_accepts,
	       .help = "PEM file with the certificate and its chain, or credential:NAME"),
	OPTION(CONFIG_STRING, "tls.key", tls_key, NULL, .check = tls_files_accepts,
	       .help = "PEM file with its key, or credential:NAME"),
	OPTION(CONFIG_ENUM, "registration", registration, "invitation", .names = registrations,
	       .help = "who may register"),
	OPTION(CONFIG_DURATION, "session_ttl", session_ttl_ms, "12h", RANGE(10 * SECOND, 365 * DAY), .help = "life of a session"),
	OPTION(CONFIG_DURATION, "invitation_ttl", invitation_ttl_ms, "1d", RANGE(10 * SECOND, 365 * DAY),
	       .help = "life of an invitation, where the command says nothing"),
	OPTION(CONFIG_DURATION, "login_ttl", login_ttl_ms, "1min", RANGE(SECOND, 10 * MINUTE),
	       .help = "from /login/start to /login/finish, and the same of a registration"),
	OPTION(CONFIG_SIZE, "argon2id.memory", argon2id_memory, "64MiB", RANGE(19 * 1024 * 1024, 1024 * 1024 * 1024),
	       .help = "memory of the client's password stretching, for new key generations"),
	OPTION(CONFIG_U64, "argon2id.passes", argon2id_passes, "3", RANGE(2, 16), .help = "passes of the same"),
	OPTION(CONFIG_ENUM, "pop.timestamps", pop_timestamps, "kernel", .names = timestamps,
	       .help = "whether the clock is good enough for requests with a time"),
	OPTION(CONFIG_DURATION, "pop.window", pop_window_ms, "30s", RANGE(SECOND, 5 * MINUTE),
	       .help = "how far a request's time may lie from ours"),
	OPTION(CONFIG_U64, "bans.attempts", ban_attempts, "10", RANGE(1, 1000000000),
	       .help = "failed attempts on one user before the first ban"),
	OPTION(CONFIG_U64, "bans.attempts_per_address", ban_attempts_address, "20", RANGE(1, 1000000000),
	       .help = "the same from one IPv4 address or IPv6 /64"),
	OPTION(CONFIG_U64, "bans.proofs_per_address", ban_proofs, "100", RANGE(1, 1000000000),
	       .help = "requests without a right proof from one such, before those are banned"),
	OPTION(CONFIG_DURATION, "bans.first", ban_first_ms, "10s", RANGE(100, DAY), .help = "the first ban; each further one is twice as long"),
	OPTION(CONFIG_DURATION, "bans.longest", ban_longest_ms, "15min", RANGE(100, DAY), .help = "and no longer than this"),
	OPTION(CONFIG_DURATION, "bans.forgive", ban_forgive_ms, "5min", RANGE(100, DAY), .help = "time after which one failed attempt is forgotten"),
	OPTION(CONFIG_SIZE, "limits.body", max_body, "8KiB", RANGE(2048, 1024 * 1024), .help = "body of a request"),
	OPTION(CONFIG_U64, "limits.connections", connections, "1000", RANGE(2, 1000000), .help = "connections in all"),
	OPTION(CONFIG_U64, "limits.connections_per_address", connections_per_address, "64", RANGE(0, 1000000),
	       .help = "connections from one IPv4 address or IPv6 /64; 0 for no limit"),
	OPTION(CONFIG_DURATION, "limits.request_timeout", request_timeout_ms, "10s", RANGE(100, 10 * MINUTE),
	       .help = "time for TLS and a whole request"),
	OPTION(CONFIG_U64, "limits.users", users, "100000", RANGE(1, 10000000), .help = "users in all"),
	OPTION(CONFIG_U64, "limits.sessions_per_user", sessions_per_user, "32", RANGE(1, 100000),
	       .help = "sessions of one user; a further login ends the oldest"),
	OPTION(CONFIG_U64, "limits.nonces", nonces, "1000000", RANGE(1000, 100000000),
	       .help = "requests whose nonce is remembered at a time"),
	OPTION(CONFIG_U64, "limits.nonces_per_user", nonces_per_user, "100000", RANGE(100, 100000000),
	       .help = "how many of these may be one user's"),
	OPTION(CONFIG_U64, "limits.transfers_per_user", transfers_per_user, "1000", RANGE(1, 1000000),
	       .help = "notes kept that one user sent"),
};

const struct config_schema authd_config_schema = {
	.name = "authd.yaml",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.struct_size = sizeof(struct authd_config),
};

static int __attribute__((format(printf, 3, 4)))
refuse(struct config_error *err, int r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	return r;
}

/* Where the file names none: the first address, if clients can call it by that. */
static int find_origin(struct authd_config *c, const char *path, struct config_error *err)
{
	const char *first = c->listen.n ? c->listen.v[0] : "127.0.0.1:7150";
	char url[128], spelt[POP_AUTHORITY_SPACE + 8];

	if (c->origin)
		return 0;
	if (strncmp(first, "0.0.0.0:", 8) != 0 && strncmp(first, "[::]:", 5) != 0) {
		snprintf(url, sizeof(url), "%s://%s", c->tls_certificate ? "https" : "http", first);
		if (canonical_origin(spelt, sizeof(spelt), url)) {
			c->origin = strdup(spelt);
			return c->origin ? 0 : refuse(err, -ENOMEM, "%s: out of memory", path);
		}
	}
	return refuse(err, -EINVAL,
		      "%s: listen begins with %s, by which nobody calls this service: origin must say how clients do "
		      "(origin: https://login.example.org)",
		      path, first);
}

static int parse_networks(struct authd_config *c, const char *path, struct config_error *err)
{
	int r;

	r = http_proxies_new(&c->trusted_proxies, (const char *const *)c->proxies.v, c->proxies.n);
	if (!r)
		r = http_proxies_new(&c->private_peers, (const char *const *)c->private_networks.v, c->private_networks.n);
	if (!r)
		r = http_proxies_new(&c->metrics_readers, (const char *const *)c->metrics.v, c->metrics.n);
	return r ? refuse(err, r, "%s: out of memory", path) : 0;
}

static int check_together(const struct authd_config *c, const char *path, struct config_error *err)
{
	if (c->argon2id_memory / 1024 * c->argon2id_passes > AUTH_KSF_WORK_KIB_MAX)
		return refuse(err, -EINVAL, "%s: argon2id.memory times argon2id.passes is above 4GiB, which clients refuse", path);
	if (c->ban_longest_ms < c->ban_first_ms)
		return refuse(err, -EINVAL, "%s: bans.longest is shorter than bans.first", path);
	return 0;
}

int authd_config_load(struct authd_config **out, const char *path, bool missing_ok, struct config_error *err)
{
	struct authd_config *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return refuse(err, -ENOMEM, "%s: out of memory", path);
	r = config_load(&authd_config_schema, c, path, missing_ok, err);
	if (r) {
		free(c);
		return r;
	}
	r = check_together(c, path, err);
	if (!r && !c->prefix && !(c->prefix = strdup("")))
		r = refuse(err, -ENOMEM, "%s: out of memory", path);
	if (!r)
		r = find_origin(c, path, err);
	if (!r)
		r = parse_networks(c, path, err);
	if (!r)
		r = tls_files_load(&c->tls, "authd", path, c->tls_certificate, c->tls_key, err);
	if (r) {
		authd_config_free(c);
		return r;
	}
	*out = c;
	return 0;
}

struct authd_config *authd_config_free(struct authd_config *c)
{
	if (!c)
		return NULL;
	http_proxies_free(c->trusted_proxies);
	http_proxies_free(c->private_peers);
	http_proxies_free(c->metrics_readers);
	tls_files_done(&c->tls);
	config_done(&authd_config_schema, c);
	free(c);
	return NULL;
}

const char *authd_config_missing(const struct authd_config *c)
{
	return tls_files_missing(&c->tls, c->tls_certificate, c->tls_key);
}

void authd_config_http_limits(const struct authd_config *c, struct http_limits *out)
{
	*out = (struct http_limits){
		.max_connections = c->connections,
		.max_connections_per_address = c->connections_per_address,
		.max_body = c->max_body,
		/* A target of 8 KiB may have been signed (POP_TARGET_MAX), and comes once more from a proxy. */
		.max_head = 32 * 1024,
		.header_timeout_ms = c->request_timeout_ms,
		.body_timeout_ms = c->request_timeout_ms,
		.idle_timeout_ms = c->request_timeout_ms,
	};
}

bool authd_config_allows_origin(const struct authd_config *c, const char *origin)
{
	if (strcasecmp(origin, c->origin) == 0)
		return true;
	for (size_t i = 0; i < c->origins.n; i++)
		if (strcasecmp(c->origins.v[i], origin) == 0)
			return true;
	return false;
}

bool authd_config_is_ours(const struct authd_config *c, const char *scheme, const char *authority)
{
	char origin[POP_AUTHORITY_SPACE + 8];

	snprintf(origin, sizeof(origin), "%s://%s", scheme, authority);
	if (strcmp(origin, c->origin) == 0)
		return true;
	for (size_t i = 0; i < c->names.n; i++)
		if (strcmp(c->names.v[i], origin) == 0)
			return true;
	return false;
}

const char *authd_registration_name(int mode)
{
	return registrations[mode];
}

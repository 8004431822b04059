/* The one table of relayd.yaml's options, and the files that it names. */
#include "relayd/config.h"

#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "crypto/secret.h"
#include "http/http_server.h"
#include "http/proxies.h"

enum { TOKEN_MIN = 16, TOKEN_MAX = 128, FILE_MAX = 256 * 1024 };

static const char *check_listen(const char *value)
{
	static const char wanted[] = "an address and a port, as in 127.0.0.1:7117, [::1]:7117 or *:7117";
	const char *colon = strrchr(value, ':');
	uint64_t port;

	if (!colon || colon == value || text_parse_u64(&port, colon + 1, 0, 65535))
		return wanted;
	if (strspn(value, "0123456789abcdefABCDEF.:[]*") != strlen(value))
		return wanted;
	if (*value == '[' ? colon[-1] != ']' : (size_t)(colon - value) != strcspn(value, ":"))
		return wanted;
	return NULL;
}

static const char *check_origin(const char *value)
{
	static const char wanted[] = "an origin as browsers send it (https://example.org), or null";
	const char *host;

	if (strcmp(value, "null") == 0)
		return NULL;
	if (strncmp(value, "https://", 8) == 0)
		host = value + 8;
	else if (strncmp(value, "http://", 7) == 0)
		host = value + 7;
	else
		return wanted;
	return *host && !strchr(host, '/') ? NULL : wanted;
}

#define AT(member) offsetof(struct relayd_config, member)
#define NUMBER(key_, member, def_, min_, max_, help_)                                          \
	{ .key = key_, .type = CONFIG_U64, .offset = AT(member), .def = def_, .min = min_,     \
	  .max = max_, .help = help_ }
#define SIZE(key_, member, def_, min_, max_, help_)                                            \
	{ .key = key_, .type = CONFIG_SIZE, .offset = AT(member), .def = def_, .min = min_,    \
	  .max = max_, .help = help_ }
#define DURATION(key_, member, def_, min_, max_, help_)                                        \
	{ .key = key_, .type = CONFIG_DURATION, .offset = AT(member), .def = def_,             \
	  .min = min_, .max = max_, .help = help_ }

static const struct config_option options[] = {
	{ .key = "listen", .type = CONFIG_LIST, .offset = AT(listen), .def = "[\"127.0.0.1:7117\"]",
	  .check = check_listen, .help = "addresses and ports to serve" },
	{ .key = "proxies", .type = CONFIG_LIST, .offset = AT(proxies), .def = "[]",
	  .check = http_proxies_check,
	  .help = "addresses and networks of reverse proxies, whose X-Forwarded-For counts" },
	NUMBER("lan_port", lan_port, "7118", 1, 65535,
	       "first port to try for a session opened on the local network"),
	{ .key = "lan_users", .type = CONFIG_LIST, .offset = AT(lan_users), .def = "[\"handfast-pairing\"]",
	  .help = "users that may open a session on the local network without being in the admin group" },
	{ .key = "tls.certificate", .type = CONFIG_STRING, .offset = AT(tls_certificate), .check = tls_files_accepts,
	  .help = "PEM file with the certificate and its chain, or credential:NAME" },
	{ .key = "tls.key", .type = CONFIG_STRING, .offset = AT(tls_key), .check = tls_files_accepts,
	  .help = "PEM file with its key, or credential:NAME" },
	{ .key = "tokens_file", .type = CONFIG_PATH, .offset = AT(tokens_file),
	  .help = "file of relay tokens, one a line, for the higher message rate" },
	DURATION("session_ttl", session_ttl_ms, "30min", 1000, 24 * 3600 * 1000, "life of a session"),
	{ .key = "origins.allow", .type = CONFIG_LIST, .offset = AT(origins), .def = "[]",
	  .check = check_origin, .help = "web origins that may use the relay" },
	{ .key = "origins.absent", .type = CONFIG_BOOL, .offset = AT(origin_absent), .def = "true",
	  .help = "serve requests without an Origin header: every client but browsers" },

	SIZE("limits.message_size", message_size, "16KiB", 1024, 1024 * 1024, "one message"),
	NUMBER("limits.message_depth", message_depth, "10", 2, 64, "nesting of a message"),
	NUMBER("limits.message_keys", message_keys, "100", 6, 10000, "members of a message in all"),
	NUMBER("limits.messages_per_minute", messages_per_minute, "90", 1, 1000000000,
	       "messages of one connection"),
	NUMBER("limits.message_burst", message_burst, "30", 1, 1000000, "messages at once"),
	NUMBER("limits.token_messages_per_minute", token_messages_per_minute, "900", 1, 1000000000,
	       "the same with a relay token"),
	NUMBER("limits.token_message_burst", token_message_burst, "300", 1, 1000000,
	       "the same with a relay token"),
	NUMBER("limits.connections", connections, "2100", 2, 1000000, "connections in all"),
	NUMBER("limits.connections_per_address", connections_per_address, "32", 0, 1000000,
	       "connections from one IPv4 address or IPv6 /64; 0 for no limit"),
	NUMBER("limits.sessions", sessions, "1000", 1, 1000000, "sessions in all"),
	NUMBER("limits.sessions_per_minute", sessions_per_minute, "10", 1, 1000000000,
	       "new sessions from one address"),
	NUMBER("limits.session_burst", session_burst, "10", 1, 1000000, "new sessions at once from one address"),
	NUMBER("limits.failed_joins_per_minute", failed_joins_per_minute, "30", 1, 1000000000,
	       "attempts to join with a wrong code from one address"),
	NUMBER("limits.failed_join_burst", failed_join_burst, "30", 1, 1000000,
	       "attempts with a wrong code at once from one address"),
	SIZE("limits.memory", memory, "96MiB", 1024 * 1024, UINT64_C(1) << 40, "memory for sessions, in all"),
	SIZE("limits.waiting_size", waiting_size, "128KiB", 0, 16 * 1024 * 1024,
	     "packets kept for a peer that has not joined yet, per session"),
	SIZE("limits.unsent_size", unsent_size, "512KiB", 64 * 1024, 64 * 1024 * 1024,
	     "bytes that a slow receiver may be behind"),
	DURATION("limits.header_timeout", header_timeout_ms, "10s", 100, 600 * 1000,
		 "time for TLS and a whole request"),
	DURATION("limits.message_timeout", message_timeout_ms, "10s", 100, 600 * 1000,
		 "time for a begun message to end"),
	DURATION("limits.ping_interval", ping_interval_ms, "30s", 100, 3600 * 1000,
		 "silence before a ping; after two and a half of it the connection is closed"),
};

const struct config_schema relayd_schema = {
	.name = "relayd.yaml",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.struct_size = sizeof(struct relayd_config),
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

static int read_named(char **out, const char *path, struct config_error *err)
{
	size_t len;
	int r;

	r = file_read(out, &len, path, FILE_MAX);
	if (r)
		return refuse(err, r, "%s: %s", path, strerror(-r));
	return 0;
}

const char *relayd_config_missing(const struct relayd_config *c)
{
	return tls_files_missing(&c->tls, c->tls_certificate, c->tls_key);
}

/* One token a line; empty lines and those that begin with # do not count. */
static int load_tokens(struct relayd_config *c, struct config_error *err)
{
	_cleanup_free_ char *text = NULL;
	size_t n = 0, line_number = 0;
	char *rest, *line;
	int r;

	if (!c->tokens_file)
		return 0;
	r = read_named(&text, c->tokens_file, err);
	if (r)
		return r;
	rest = text;
	while ((line = strsep(&rest, "\n"))) {
		size_t len = strlen(line);
		char **more;

		line_number++;
		if (len == 0 || *line == '#')
			continue;
		if (len < TOKEN_MIN || len > TOKEN_MAX || strcspn(line, " \t\r") != len) {
			r = refuse(err, -EINVAL, "%s:%zu: a token has %d to %d characters without blanks",
				   c->tokens_file, line_number, TOKEN_MIN, TOKEN_MAX);
			break;
		}
		more = realloc(c->tokens, (n + 2) * sizeof(*more));
		if (!more) {
			r = refuse(err, -ENOMEM, "%s: out of memory", c->tokens_file);
			break;
		}
		c->tokens = more;
		c->tokens[n + 1] = NULL;
		c->tokens[n] = strdup(line);
		if (!c->tokens[n++]) {
			r = refuse(err, -ENOMEM, "%s: out of memory", c->tokens_file);
			break;
		}
	}
	return r;
}

/* Looked up here, once: a name that does not exist grants nothing. */
static int find_lan_users(struct relayd_config *c, const char *path, struct config_error *err)
{
	c->lan_uids = calloc(c->lan_users.n + 1, sizeof(*c->lan_uids));
	if (!c->lan_uids)
		return refuse(err, -ENOMEM, "%s: out of memory", path);
	for (size_t i = 0; i < c->lan_users.n; i++) {
		const struct passwd *pw = getpwnam(c->lan_users.v[i]);

		if (pw)
			c->lan_uids[c->n_lan_uids++] = pw->pw_uid;
		else
			log_debug("lan_users: there is no user %s", c->lan_users.v[i]);
	}
	return 0;
}

static int check_together(const struct relayd_config *c, const char *path, struct config_error *err)
{
	/* What waits is handed to the peer at once when it joins. */
	if (c->waiting_size + 64 * 1024 > c->unsent_size)
		return refuse(err, -EINVAL, "%s: limits.unsent_size must be 64KiB above limits.waiting_size or more",
			      path);
	if (c->message_size + 4096 > c->unsent_size)
		return refuse(err, -EINVAL, "%s: limits.unsent_size must hold a message", path);
	return 0;
}

int relayd_config_load(struct relayd_config **out, const char *path, bool missing_ok,
		       struct config_error *err)
{
	struct relayd_config *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return refuse(err, -ENOMEM, "%s: out of memory", path);
	r = config_load(&relayd_schema, c, path, missing_ok, err);
	if (r) {
		free(c);
		return r;
	}
	r = check_together(c, path, err);
	if (!r && http_proxies_new(&c->trusted_proxies, (const char *const *)c->proxies.v, c->proxies.n))
		r = refuse(err, -ENOMEM, "%s: out of memory", path);
	if (!r)
		r = tls_files_load(&c->tls, "relayd", path, c->tls_certificate, c->tls_key, err);
	if (!r)
		r = load_tokens(c, err);
	if (!r)
		r = find_lan_users(c, path, err);
	if (r) {
		relayd_config_free(c);
		return r;
	}
	*out = c;
	return 0;
}

static void wipe_free(char *s)
{
	if (s)
		explicit_bzero(s, strlen(s));
	free(s);
}

struct relayd_config *relayd_config_free(struct relayd_config *c)
{
	if (!c)
		return NULL;
	for (char **t = c->tokens; t && *t; t++)
		wipe_free(*t);
	free(c->tokens);
	http_proxies_free(c->trusted_proxies);
	free(c->lan_uids);
	tls_files_done(&c->tls);
	config_done(&relayd_schema, c);
	free(c);
	return NULL;
}

void relayd_config_http_limits(const struct relayd_config *c, struct http_limits *out)
{
	*out = (struct http_limits){
		.max_connections = c->connections,
		.max_connections_per_address = c->connections_per_address,
		/* POST /session takes no parameters; room for an empty JSON object and no more. */
		.max_body = 256,
		/* A WebSocket keeps this memory for its life. Browsers' requests fit; they bring no cookies here. */
		.max_head = 4096,
		.header_timeout_ms = c->header_timeout_ms,
		.body_timeout_ms = c->header_timeout_ms,
		.idle_timeout_ms = c->header_timeout_ms,
	};
}

bool relayd_config_knows_token(const struct relayd_config *c, const char *token)
{
	size_t len = strlen(token);
	bool known = false;

	for (char **t = c->tokens; t && *t; t++)
		if (strlen(*t) == len)
			known |= bytes_equal(*t, token, len);
	return known;
}

bool relayd_config_lan_uid(const struct relayd_config *c, uid_t uid)
{
	for (size_t i = 0; i < c->n_lan_uids; i++)
		if (c->lan_uids[i] == uid)
			return true;
	return false;
}

bool relayd_config_allows_origin(const struct relayd_config *c, const char *origin)
{
	if (!origin)
		return c->origin_absent;
	/* RFC 6454 section 6.2 serialises origins in lower case, but people write them. */
	for (size_t i = 0; i < c->origins.n; i++)
		if (strcasecmp(c->origins.v[i], origin) == 0)
			return true;
	return false;
}

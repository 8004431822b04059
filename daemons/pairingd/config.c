/* The one table of pairingd.yaml's options. */
#include "pairingd/config.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"
#include "http/certificate.h"
#include "pairingd/pairing.h"
#include "proto/relay_frame.h"

static const char *check_name(const char *v)
{
	return text_is_name(v) ? NULL :
				 "1 to 32 of a-z A-Z 0-9 . _ -, beginning with a letter or digit";
}

static const char *check_relay(const char *v)
{
	char url[300];

	return relay_url_parse(url, sizeof(url), v) == 0 ? NULL :
							   "host:port, ws://host:port or wss://host[:port]";
}

static const char *check_profile(const char *v)
{
	for (size_t i = 0; i < pairing_n_profiles; i++)
		if (strcmp(pairing_profiles[i].name, v) == 0)
			return NULL;
	return "v40-spake2-x25519";
}

static const char *check_user(const char *v)
{
	return *v && !strpbrk(v, " :\n") ? NULL : "a user's name";
}

#define AT(member) offsetof(struct pairingd_config, member)
#define DURATION(key_, member, def_, max_, help_)                                              \
	{ .key = key_, .type = CONFIG_DURATION, .offset = AT(member), .def = def_,             \
	  .min = 1000, .max = max_, .help = help_ }

enum { HOUR_MS = 3600 * 1000, TOKEN_MIN = 16, TOKEN_MAX = 128, FILE_MAX = 4096,
       CA_MAX = 4 * 1024 * 1024 };

static const struct config_option options[] = {
	{ .key = "device_name", .type = CONFIG_STRING, .offset = AT(device_name), .check = check_name,
	  .help = "what this device calls itself to others; the host name when left out" },
	{ .key = "relay", .type = CONFIG_STRING, .offset = AT(relay), .check = check_relay,
	  .help = "relay of pairings that name none; without it the local relayd serves the LAN" },
	{ .key = "relay_ca", .type = CONFIG_PATH, .offset = AT(relay_ca),
	  .help = "PEM file of the authorities a wss:// relay is checked against; the system's when left out" },
	{ .key = "relay_token_file", .type = CONFIG_PATH, .offset = AT(relay_token_file),
	  .help = "file with the token that the relay gave out, for its higher message rate" },
	{ .key = "minimum_profile", .type = CONFIG_STRING, .offset = AT(minimum_profile),
	  .def = "v40-spake2-x25519", .check = check_profile,
	  .help = "refuse to pair with anything weaker" },
	{ .key = "tunnel_port_base", .type = CONFIG_U64, .offset = AT(tunnel_port_base), .def = "7200",
	  .min = 1, .max = 65000, .help = "first UDP port to give to a tunnel" },
	{ .key = "identity_users", .type = CONFIG_LIST, .offset = AT(identity_users),
	  .def = "[\"handfast-psk\", \"handfast-auth\"]", .check = check_user,
	  .help = "users whose daemons may use the device identity and take roots" },
	DURATION("deadlines.secret", secret_ms, "5min", HOUR_MS, "for the PIN to be handed over"),
	DURATION("deadlines.relay", relay_ms, "15s", HOUR_MS, "for the relay to answer"),
	DURATION("deadlines.join", join_ms, "30min", 24 * HOUR_MS, "for the other device to come"),
	DURATION("deadlines.step", step_ms, "60s", HOUR_MS, "for the other device's next message"),
	DURATION("deadlines.compare", sas_ms, "5min", HOUR_MS, "for a person to compare the number"),
};

const struct config_schema pairingd_config_schema = {
	.name = "pairingd.yaml",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.struct_size = sizeof(struct pairingd_config),
};

static int __attribute__((format(printf, 2, 3))) refuse(struct config_error *err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* A token on an open line is anybody's. */
static bool is_private(const char *url)
{
	return strncmp(url, "wss://", 6) == 0 || strncmp(url, "ws://127.", 9) == 0 ||
	       strncmp(url, "ws://[::1]:", 11) == 0 || strncmp(url, "ws://localhost:", 15) == 0;
}

static int check_ca(const struct pairingd_config *c, struct config_error *err)
{
	_cleanup_free_ char *pem = NULL;
	char text[120];
	size_t len;
	int r;

	if (!c->relay_ca)
		return 0;
	r = file_read(&pem, &len, c->relay_ca, CA_MAX);
	if (!r)
		r = certificate_check_authorities(pem, text, sizeof(text));
	if (r > 0)
		return refuse(err, "%s %s", c->relay_ca, text);
	if (r < 0)
		(void)refuse(err, "%s: %s", c->relay_ca, strerror(-r));
	return r;
}

/* One line; those that are empty or begin with # do not count. */
static int read_token(struct pairingd_config *c, const char *path, struct config_error *err)
{
	char *text = NULL, *rest, *line;
	char url[300];
	size_t len;
	int r;

	if (!c->relay_token_file)
		return 0;
	if (!c->relay || relay_url_parse(url, sizeof(url), c->relay) || !is_private(url))
		return refuse(err, "%s: relay_token_file needs a wss:// relay, or one on this machine", path);
	r = file_read(&text, &len, c->relay_token_file, FILE_MAX);
	if (r) {
		(void)refuse(err, "%s: %s", c->relay_token_file, strerror(-r));
		return r;
	}
	assert(text);
	rest = text;
	while ((line = strsep(&rest, "\n"))) {
		size_t n = strlen(line);

		if (n == 0 || *line == '#')
			continue;
		for (const char *p = line; *p; p++)
			if (*p <= ' ' || *p > '~')
				n = 0;
		if (n < TOKEN_MIN || n > TOKEN_MAX)
			r = refuse(err, "%s: a token has %d to %d characters without blanks",
				   c->relay_token_file, TOKEN_MIN, TOKEN_MAX);
		else if (c->relay_token)
			r = refuse(err, "%s: more than one token", c->relay_token_file);
		else if (!(c->relay_token = strdup(line)))
			r = refuse(err, "out of memory");
		if (r)
			break;
	}
	explicit_bzero(text, len);
	free(text);
	if (!r && !c->relay_token)
		r = refuse(err, "%s: there is no token in it", c->relay_token_file);
	return r;
}

const char *pairingd_config_token(const struct pairingd_config *c, const char *url)
{
	char ours[300];

	if (!c->relay_token || !c->relay || relay_url_parse(ours, sizeof(ours), c->relay))
		return NULL;
	return strcmp(ours, url) == 0 ? c->relay_token : NULL;
}

int pairingd_config_load(struct pairingd_config **out, const char *path, bool missing_ok,
			 struct config_error *err)
{
	_cleanup_(pairingd_config_freep) struct pairingd_config *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	r = config_load(&pairingd_config_schema, c, path, missing_ok, err);
	if (!r)
		r = check_ca(c, err);
	if (!r)
		r = read_token(c, path, err);
	if (r)
		return r;
	*out = steal(&c);
	return 0;
}

struct pairingd_config *pairingd_config_free(struct pairingd_config *c)
{
	if (!c)
		return NULL;
	if (c->relay_token)
		explicit_bzero(c->relay_token, strlen(c->relay_token));
	free(c->relay_token);
	config_done(&pairingd_config_schema, c);
	free(c);
	return NULL;
}

/* The one table of pairingd.yaml's options. */
#include "pairingd/config.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
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

enum { HOUR_MS = 3600 * 1000 };

static const struct config_option options[] = {
	{ .key = "device_name", .type = CONFIG_STRING, .offset = AT(device_name), .check = check_name,
	  .help = "what this device calls itself to others; the host name when left out" },
	{ .key = "relay", .type = CONFIG_STRING, .offset = AT(relay), .check = check_relay,
	  .help = "relay of pairings that name none; without it the local relayd serves the LAN" },
	{ .key = "relay_ca", .type = CONFIG_PATH, .offset = AT(relay_ca),
	  .help = "PEM file of the authorities a wss:// relay is checked against; the system's when left out" },
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

int pairingd_config_load(struct pairingd_config **out, const char *path, bool missing_ok,
			 struct config_error *err)
{
	_cleanup_(pairingd_config_freep) struct pairingd_config *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	r = config_load(&pairingd_config_schema, c, path, missing_ok, err);
	if (r)
		return r;
	*out = steal(&c);
	return 0;
}

struct pairingd_config *pairingd_config_free(struct pairingd_config *c)
{
	if (!c)
		return NULL;
	config_done(&pairingd_config_schema, c);
	free(c);
	return NULL;
}

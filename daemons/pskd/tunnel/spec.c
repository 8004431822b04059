/*
 * One table reads all three: YAML by the configuration layer, and JSON from
 * commands and state by writing it as YAML text first, so that each value is
 * checked in the same place and complained about in the same words.
 */
#include "pskd/tunnel/spec_internal.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/text.h"
#include "proto/tund_msg.h"
#include "pskd/network/address.h"
#include "pskd/packet/ecn.h"
#include "pskd/packet/udp.h"

static const char *check_endpoint(const char *value)
{
	char host[256];
	uint16_t port;

	return udp_split(host, sizeof(host), &port, value, 0) == 0 ? NULL : "host:port";
}

static const char *check_listen(const char *value)
{
	struct sockaddr_in6 a;

	return udp_parse(&a, value) == 0 ? NULL : "a port or address:port, in numbers";
}

/* What tund would never give a device; whether it gives one that is not private, it knows alone. */
static bool addresses_are_a_tunnels(const struct tunnel_addresses *a)
{
	struct tund_request q = { 0 };

	address_ask(&q, a);
	return tund_request_complaint(&q, true) == NULL;
}

static const char *check_local(const char *value)
{
	struct tunnel_addresses a;

	if (address_parse(&a, value, NULL) != 0)
		return "an address with prefix, or two: 10.9.0.1/30, fd00::1/64";
	return addresses_are_a_tunnels(&a) ?
		       NULL :
		       "an address of a network no wider than /8 (IPv6: /16), and no loopback, multicast, link-local or broadcast address";
}

int spec_parse_pin(struct sign_public *out, const char *value)
{
	if (strlen(value) == 2 * SIGN_PUBLIC_LEN)
		return hex_parse(out->b, SIGN_PUBLIC_LEN, value);
	return base64_decode_exact(out->b, SIGN_PUBLIC_LEN, value, BASE64_STANDARD);
}

static const char *check_pin(const char *value)
{
	struct sign_public pub;

	return spec_parse_pin(&pub, value) == 0 ? NULL : "the peer's public key in base64 or hex, as `handfast tunnel pin` shows it there";
}

static const char *check_interface(const char *value)
{
	if (strncmp(value, "hf", 2) == 0 && strlen(value) < 16 && strlen(value) > 2 &&
	    (strcmp(value, "hf%d") == 0 ||
	     value[strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789.-_")] == '\0'))
		return NULL;
	return "a name of at most 15 characters that begins with hf";
}

static int parse_dscp(uint8_t *out, const char *value)
{
	uint64_t n = 0;

	if (strcmp(value, "copy") == 0)
		n = ECN_DSCP_COPY;
	else if (strcmp(value, "none") != 0 && text_parse_u64(&n, value, 0, 63) != 0)
		return -EINVAL;
	*out = (uint8_t)n;
	return 0;
}

static const char *check_dscp(const char *value)
{
	uint8_t dscp;

	return parse_dscp(&dscp, value) == 0 ? NULL : "none, copy, or a number from 0 to 63";
}

const char *const spec_role_names[] = { "initiator", "responder", NULL };
const char *const spec_peer_names[] = { "handfast", "prototype", NULL };
const char *const spec_erase_names[] = { "none", "zero", "punch", NULL };

#define AT(member) offsetof(struct spec_file, member)

static const struct config_option options[] = {
	{ .key = "key_file", .type = CONFIG_PATH, .offset = AT(key_file), .required = true,
	  .help = "key material: rows of 120 bytes, the same on both sides" },
	{ .key = "role", .type = CONFIG_ENUM, .offset = AT(role), .required = true, .names = spec_role_names,
	  .help = "which half of the material is ours: the two sides must differ" },
	{ .key = "peer", .type = CONFIG_ENUM, .offset = AT(peer), .def = "handfast", .names = spec_peer_names,
	  .help = "prototype: no handshake, for peers of the published prototype" },
	{ .key = "endpoint", .type = CONFIG_STRING, .offset = AT(endpoint), .check = check_endpoint,
	  .help = "where the peer listens: host:port" },
	{ .key = "listen", .type = CONFIG_STRING, .offset = AT(listen), .check = check_listen,
	  .help = "UDP port, or address:port; default 7200, or any when there is an endpoint" },
	{ .key = "local_address", .type = CONFIG_STRING, .offset = AT(local_address), .check = check_local,
	  .help = "own addresses in the tunnel with prefixes; default: derived from the key file" },
	{ .key = "peer_address", .type = CONFIG_STRING, .offset = AT(peer_address),
	  .help = "the peer's addresses in the tunnel" },
	{ .key = "routes", .type = CONFIG_LIST, .offset = AT(routes), .check = networks_check_route,
	  .help = "networks behind the peer" },
	{ .key = "allowed", .type = CONFIG_LIST, .offset = AT(allowed), .check = networks_check_allowed,
	  .help = "networks that the peer's packets may come from; default: what routes says" },
	{ .key = "pin", .type = CONFIG_STRING, .offset = AT(pin), .check = check_pin,
	  .help = "the peer's public key: both sides then sign the handshake" },
	{ .key = "salt", .type = CONFIG_STRING, .offset = AT(salt), .check = label_check_salt,
	  .help = "of our label, the same on both sides; default: made from the key file" },
	{ .key = "allow_labels", .type = CONFIG_LIST, .offset = AT(allow_labels), .check = label_check,
	  .help = "labels that the peer may have, which nothing signs; default: any" },
	{ .key = "erase", .type = CONFIG_ENUM, .offset = AT(erase), .def = "none", .names = spec_erase_names,
	  .help = "what becomes of spent slots in the file" },
	{ .key = "window", .type = CONFIG_U64, .offset = AT(window), .def = "8192", .min = 4096, .max = 65536,
	  .help = "packets that may arrive out of order" },
	{ .key = "keepalive", .type = CONFIG_DURATION, .offset = AT(keepalive_ms), .def = "25s", .max = 3600000,
	  .help = "an empty packet after this long without one; 0: none" },
	{ .key = "mtu", .type = CONFIG_U64, .offset = AT(mtu), .def = "1400", .min = 1280, .max = 9000,
	  .help = "of the device" },
	{ .key = "dscp", .type = CONFIG_STRING, .offset = AT(dscp), .def = "none", .check = check_dscp,
	  .help = "urgency of the outer packets: none, copy (of the inner ones), or a number" },
	{ .key = "interface", .type = CONFIG_STRING, .offset = AT(interface), .def = "hf%d",
	  .check = check_interface, .help = "name of the device" },
	{ .key = "enabled", .type = CONFIG_BOOL, .offset = AT(enabled), .def = "true",
	  .help = "brought up at start" },
};

const struct config_schema spec_schema = {
	.name = "tunnels/NAME.yaml",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.struct_size = sizeof(struct spec_file),
};

struct spec *spec_free(struct spec *s)
{
	if (!s)
		return NULL;
	config_done(&spec_schema, &s->f);
	label_list_done(&s->labels);
	label_list_done(&s->revoked_ids);
	spec_texts_done(&s->revoked);
	spec_generations_done(s);
	free(s->complaint);
	free(s->ledger_for);
	free(s);
	return NULL;
}

int spec_new(struct spec **out, const char *name, enum spec_origin origin)
{
	struct spec *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	snprintf(s->name, sizeof(s->name), "%s", name);
	s->origin = origin;
	*out = s;
	return 0;
}

/* Lists become networks; what is routed needs an address to come from. */
static const char *take_networks(struct spec *s)
{
	struct tunnel_addresses a;

	if (networks_routes(&s->routes, &s->f.routes) != 0 || networks_allowed(&s->allowed, &s->f.allowed) != 0)
		return "routes and allowed: at most 64 networks each";
	if (!s->f.local_address || address_parse(&a, s->f.local_address, NULL) != 0)
		return NULL;
	if ((!a.has_v4 && networks_have_family(&s->routes, 4)) || (!a.has_v6 && networks_have_family(&s->routes, 6)))
		return "routes: of families that local_address has";
	return NULL;
}

static const char *check_peer_address(const struct spec *s)
{
	struct tunnel_addresses a;

	if (!s->f.peer_address)
		return NULL;
	if (!s->f.local_address || address_parse(&a, s->f.local_address, s->f.peer_address) != 0 || !addresses_are_a_tunnels(&a))
		return "peer_address: an address of each family that local_address has";
	if ((a.has_v4 && memcmp(a.v4_local, a.v4_peer, sizeof(a.v4_peer)) == 0) ||
	    (a.has_v6 && memcmp(a.v6_local, a.v6_peer, sizeof(a.v6_peer)) == 0))
		return "peer_address: another address than local_address: it is the other side's";
	return NULL;
}

/* What one value alone cannot tell. */
static int check_whole(struct spec *s, const char *where, struct config_error *err)
{
	const char *wrong = take_networks(s);

	if (check_peer_address(s))
		wrong = check_peer_address(s);
	if (s->f.peer && !s->f.endpoint)
		wrong = "peer: prototype needs an endpoint, since nothing else tells where the peer is";
	if (s->f.peer && s->f.pin)
		wrong = "peer: prototype has no handshake that could be signed: leave pin out";
	if (s->f.peer && (s->f.salt || s->f.allow_labels.n))
		wrong = "peer: prototype has no handshake that could carry labels: leave salt and allow_labels out";
	if (s->f.pin && s->f.allow_labels.n)
		wrong = "pin: a pinned peer signs, and has no label: leave allow_labels out";
	if (wrong) {
		snprintf(err->text, sizeof(err->text), "%s: %s", where, wrong);
		return -EINVAL;
	}
	s->f.window = (s->f.window + 63) / 64 * 64;
	parse_dscp(&s->dscp, s->f.dscp);
	s->pinned = s->f.pin && spec_parse_pin(&s->peer_public, s->f.pin) == 0;
	if (label_list_set(&s->labels, &s->f.allow_labels) == 0)
		return 0;
	snprintf(err->text, sizeof(err->text), "%s: no memory", where);
	return -ENOMEM;
}

int spec_load(struct spec **out, const char *path, const char *name, struct config_error *err)
{
	_cleanup_(spec_freep) struct spec *s = NULL;
	int r;

	r = spec_new(&s, name, SPEC_DECLARED);
	if (r)
		return r;
	r = config_load(&spec_schema, &s->f, path, false, err);
	if (!r)
		r = check_whole(s, path, err);
	if (r)
		return r;
	s->enabled = s->f.enabled;
	*out = steal(&s);
	return 0;
}

/* "key: value\n" with the value in double quotes where it is a string. */
static int append_yaml(char **text, size_t *len, const char *key, const json_t *value)
{
	_cleanup_free_ char *v = json_dumps(value, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
	char *more;
	int n;

	if (!v)
		return -ENOMEM;
	n = snprintf(NULL, 0, "%s: %s\n", key, v);
	more = realloc(*text, *len + (size_t)n + 1);
	if (!more)
		return -ENOMEM;
	snprintf(more + *len, (size_t)n + 1, "%s: %s\n", key, v);
	*text = more;
	*len += (size_t)n;
	return 0;
}

int spec_parse_members(struct spec *s, const json_t *members, struct config_error *err)
{
	_cleanup_free_ char *text = strdup("");
	size_t len = 0;
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(options) && text; i++) {
		const json_t *v = json_object_get(members, options[i].key);

		if (!v || json_is_null(v))
			continue;
		r = append_yaml(&text, &len, options[i].key, v);
		if (r)
			return r;
	}
	if (!text)
		return -ENOMEM;
	r = config_parse(&spec_schema, &s->f, "", text, len, err);
	return r ? r : check_whole(s, s->name, err);
}

int spec_make(struct spec **out, const char *name, const struct json_t *members, struct config_error *err)
{
	_cleanup_(spec_freep) struct spec *s = NULL;
	int r;

	r = spec_new(&s, name, SPEC_MADE);
	if (!r)
		r = spec_parse_members(s, members, err);
	if (r)
		return r;
	*out = steal(&s);
	return 0;
}

int spec_set_pin(struct spec *s, const char *key)
{
	struct sign_public pub = { .b = { 0 } };
	char *copy = NULL;

	if (key && spec_parse_pin(&pub, key) != 0)
		return -EINVAL;
	if (key) {
		copy = strdup(key);
		if (!copy)
			return -ENOMEM;
	}
	free(s->f.pin);
	s->f.pin = copy;
	s->pinned = key != NULL;
	s->peer_public = pub;
	/* What it is now is another thing than what it was. */
	s->last_identity[0] = '\0';
	return 0;
}

int spec_set_labels(struct spec *s, struct config_list *labels)
{
	struct config_list before = s->f.allow_labels;
	int r = label_list_set(&s->labels, labels);

	if (r)
		return r;
	s->f.allow_labels = *labels;
	*labels = before;
	return 0;
}

int spec_from_root(struct spec **out, const struct identity_root *root, const char *name)
{
	_cleanup_(spec_freep) struct spec *s = NULL;
	struct spec_file *f;
	int r;

	r = spec_new(&s, name, SPEC_PAIRED);
	if (r)
		return r;
	/* Members that a pairing does not name have the file's defaults. */
	f = &s->f;
	r = config_defaults(&spec_schema, f);
	if (r)
		return r;
	f->role = root->role == IDENTITY_ALICE ? KEYS_INITIATOR : KEYS_RESPONDER;
	s->pinned = true;
	s->peer_public = root->peer_public;
	s->own_public = root->own_public;
	memcpy(s->peer_name, root->peer_name, sizeof(s->peer_name));
	memcpy(s->peer_id, root->peer_id, sizeof(s->peer_id));
	memcpy(s->tunnel_id, root->tunnel_id, sizeof(s->tunnel_id));
	s->own_port = root->own_port;
	s->peer_port = root->peer_port;
	s->n_candidates = root->n_candidates;
	memcpy(s->candidates, root->candidates, sizeof(s->candidates));
	*out = steal(&s);
	return 0;
}

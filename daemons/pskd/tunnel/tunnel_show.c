/* A tunnel as io.handfast.Tunnel describes it. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/base64.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "crypto/bulk.h"
#include "pskd/handshake/identity_client.h"
#include "pskd/packet/offload.h"
#include "pskd/tunnel/stage.h"

static const char *const states[] = {
	[TUNNEL_DOWN] = "down",	      [TUNNEL_STARTING] = "starting",	[TUNNEL_WAITING] = "waiting",
	[TUNNEL_UP] = "up",	      [TUNNEL_NEEDS_BURN] = "needs-burn", [TUNNEL_EXHAUSTED] = "exhausted",
	[TUNNEL_FAILED] = "failed",
};

/* What it has, or will have: whoever writes a configuration need not have it up. False: not known yet. */
static bool find_addresses(const struct tunnel *t, struct tunnel_addresses *out)
{
	if (!t->path)
		return tunnel_spec_addresses(t->spec, out);
	*out = t->addresses;
	return true;
}

static json_t *addresses(const struct tunnel *t, bool peer)
{
	struct tunnel_addresses a;
	char text[ADDRESS_TEXT_MAX];
	json_t *list = json_array();

	if (!find_addresses(t, &a))
		return list;
	if (address_format_v4(text, &a, peer))
		json_array_append_new(list, json_string(text));
	if (address_format_v6(text, &a, peer))
		json_array_append_new(list, json_string(text));
	return list;
}

static json_t *networks(const struct networks *n)
{
	char text[PREFIX_TEXT_MAX];
	json_t *list = json_array();

	for (size_t i = 0; i < n->n; i++) {
		prefix_format(text, &n->v[i]);
		json_array_append_new(list, json_string(text));
	}
	return list;
}

static json_t *candidates(const struct tunnel *t)
{
	json_t *list = json_array();

	for (size_t i = 0; i < t->names.n; i++)
		json_array_append_new(list, json_string(t->names.v[i]));
	return list;
}

static json_t *offloads(const struct tunnel *t)
{
	json_t *list = json_array();

	for (unsigned int i = 0; t->path && i < N_OFFLOADS; i++)
		if (path_offload(t->path) & 1U << i)
			json_array_append_new(list, json_string(offload_name(i)));
	return list;
}

static json_t *traffic(uint64_t packets, uint64_t bytes)
{
	return json_pack("{s:I, s:I}", "packets", (json_int_t)packets, "bytes", (json_int_t)bytes);
}

static json_t *drops_to_json(const struct drops *d)
{
	json_t *o = json_object();

	for (int i = 0; i < N_DROPS; i++)
		if (d->n[i])
			json_object_set_new(o, drop_name((enum drop)i), json_integer((json_int_t)d->n[i]));
	return o;
}

/* Milliseconds since then, -1: never. */
static json_int_t age(uint64_t at_ms)
{
	return at_ms ? (json_int_t)(clock_now_ms() - at_ms) : -1;
}

static void add_peer(json_t *j, const struct tunnel *t)
{
	const struct spec *s = t->spec;
	const struct session *current = t->path ? path_current(t->path) : NULL;
	char text[UDP_TEXT_MAX] = "";
	const char *peer = s->origin == SPEC_PAIRED ? s->peer_name : s->f.peer ? "prototype" : s->name;

	json_object_set_new(j, "source", json_string(s->origin == SPEC_PAIRED ? "pairing" : "keyfile"));
	json_object_set_new(j, "peer", json_string(peer));
	json_object_set_new(j, "role", json_string(s->f.role == KEYS_INITIATOR ? "initiator" : "responder"));
	if (current)
		udp_format(text, &current->address);
	json_object_set_new(j, "endpoint", json_string(text));
	snprintf(text, sizeof(text), "%s", s->f.listen ? s->f.listen : "");
	if (t->path)
		snprintf(text, sizeof(text), "UDP port %u", udp_port(path_udp(t->path)));
	json_object_set_new(j, "listen", json_string(text));
	json_object_set_new(j, "session", json_integer(current ? current->id.number : 0));
	if (current && current->peer_software)
		json_object_set_new(j, "peer_version",
				    json_sprintf("%u.%u.%u", current->peer_software >> 24, current->peer_software >> 16 & 0xff,
						 current->peer_software & 0xffff));
}

static void add_key(json_t *j, const char *name, const struct sign_public *key)
{
	char text[BASE64_SPACE(SIGN_PUBLIC_LEN)];

	base64_encode(text, key->b, SIGN_PUBLIC_LEN, BASE64_STANDARD);
	json_object_set_new(j, name, json_string(text));
}

static void add_id(json_t *j, const char *name, const uint8_t id[static PSKH_IDENTITY_LEN])
{
	char text[2 * PSKH_IDENTITY_LEN + 1];

	hex_format(text, id, PSKH_IDENTITY_LEN);
	json_object_set_new(j, name, json_string(text));
}

static json_t *texts(const struct config_list *l)
{
	json_t *list = json_array();

	for (size_t i = 0; i < l->n; i++)
		json_array_append_new(list, json_string(l->v[i]));
	return list;
}

/* Who both sides are: keys that sign, or labels that prove nothing. A prototype peer says nothing of it. */
static void add_identity(json_t *j, const struct tunnel *t)
{
	const struct session *current = t->path ? path_current(t->path) : NULL;
	const struct sign_public *own = identity_own(t->ctx.identity);
	const struct spec *s = t->spec;

	if (s->f.peer)
		return;
	if (s->origin == SPEC_PAIRED)
		own = &s->own_public;
	if (own)
		add_key(j, "own_key", own);
	if (s->pinned)
		add_key(j, "pin", &s->peer_public);
	if (t->hello)
		add_id(j, "own_identity", t->own_identity);
	if (current)
		add_id(j, "peer_identity", tunnel_peer_identity(t, current));
	if (t->hello && t->has_label)
		json_object_set_new(j, "label_source", json_string(t->label_source));
	if (s->labels.n)
		json_object_set_new(j, "allow_labels", texts(&s->f.allow_labels));
	if (s->revoked.n)
		json_object_set_new(j, "revoked", texts(&s->revoked));
}

/* A prototype peer is asked nothing. */
static void add_mtu(json_t *j, const struct tunnel *t)
{
	const struct pmtu *p = t->path && path_current(t->path) ? path_pmtu(t->path) : NULL;

	if (!p || t->spec->f.peer)
		return;
	json_object_set_new(j, "path_mtu", json_integer(pmtu_limit(p)));
	json_object_set_new(j, "path_mtu_state", json_string(pmtu_state_name(p->state)));
}

static void add_marks(json_t *j, const struct tunnel *t)
{
	json_object_set_new(j, "dscp", json_string(t->spec->f.dscp));
	if (t->path && path_current(t->path))
		json_object_set_new(j, "ecn", json_string(path_copies_ecn(t->path) ? "copied" : "off"));
}

static void add_counters(json_t *j, const struct tunnel *t)
{
	static const struct path_counters none;
	const struct path_counters *c = t->path ? path_counters(t->path) : &none;

	json_object_set_new(j, "sent", traffic(c->tx_packets, c->tx_bytes));
	json_object_set_new(j, "received", traffic(c->rx_packets, c->rx_bytes));
	json_object_set_new(j, "drops", drops_to_json(&c->drops));
	json_object_set_new(j, "replays",
			    json_integer((json_int_t)(c->drops.n[DROP_REPLAY] + c->drops.n[DROP_OLD])));
	json_object_set_new(j, "last_received_ms", json_integer(age(c->received_ms)));
	json_object_set_new(j, "last_handshake_ms", json_integer(age(t->last_handshake_ms)));
	json_object_set_new(j, "handshakes", json_integer((json_int_t)t->handshakes));
}

json_t *tunnel_to_json(struct tunnel *t)
{
	json_t *j = json_pack("{s:s, s:s, s:b, s:s, s:o, s:o, s:I, s:o, s:s}", "name", t->spec->name, "state",
			      states[t->state], "enabled", (int)t->spec->enabled, "interface_name", t->ifname,
			      "local_addresses", addresses(t, false), "peer_addresses", addresses(t, true),
			      "mtu", (json_int_t)t->spec->f.mtu, "candidates", candidates(t), "aead",
			      bulk_info()->name);
	struct tunnel_error space;
	const struct tunnel_error *problem = tunnel_problem(t, &space);

	if (!j)
		return NULL;
	json_object_set_new(j, "aead_note", json_string(bulk_info()->note));
	json_object_set_new(j, "routes", networks(&t->spec->routes));
	/* While it is up, the peer's own addresses stand there, too. */
	json_object_set_new(j, "allowed", networks(t->path ? &t->sources.allowed : &t->spec->allowed));
	json_object_set_new(j, "settings", spec_settings(t->spec));
	add_peer(j, t);
	add_identity(j, t);
	add_mtu(j, t);
	add_marks(j, t);
	add_counters(j, t);
	if (t->spec->f.key_file)
		json_object_set_new(j, "key_file", json_string(t->spec->f.key_file));
	tunnel_fuel_to_json(t, j);
	json_object_set_new(j, "offload", offloads(t));
	if (t->thread)
		json_object_set_new(j, "thread", json_string(packet_thread_name(t->thread)));
	stage_to_json(t, j);
	if (t->rollback[0])
		json_object_set_new(j, "rollback", json_string(t->rollback));
	if (moves_is_to_and_fro(&t->moves, clock_now_ms()))
		json_object_set_new(j, "clone", json_string(t->clone));
	if (problem)
		json_object_set_new(j, "problem", json_sprintf("%s [%s]", problem->message, problem->code));
	if (problem && problem->hint[0])
		json_object_set_new(j, "hint", json_string(problem->hint));
	return j;
}

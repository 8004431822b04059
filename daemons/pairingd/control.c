/* Varlink's methods: parameters in, one answer out; the work is in the modules. */
#include "pairingd/control.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/base64.h"
#include "base/bytes.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "event/varlink.h"
#include "pairingd/errors.h"
#include "pairingd/metrics.h"
#include "pairingd/signer.h"
#include "service/service.h"
#include "varlink/io.handfast.Pairing.h"

/* name: what the caller calls the peer. */
static void answer_failure(struct varlink_call *call, int r, const char *name)
{
	char text[256];

	snprintf(text, sizeof(text), "There is no peer called %s.", name);
	if (r == PEERS_E_NO_SUCH)
		varlink_error(call, PAIRING_ERROR("NoSuchPeer"), text, "“handfast peers” lists them.");
	else if (r == PEERS_E_NAME_TAKEN)
		varlink_error(call, PAIRING_ERROR("NameTaken"), "Another peer has this name.",
			      "Choose another, or rename that one first.");
	else
		varlink_error(call, PAIRING_ERROR("StorageFailed"),
			      "The store of pairings failed; nothing was changed.",
			      "See pairingd's log, and whether the disk is full.");
}

static void on_pair(struct varlink_call *call, const struct json_t *params, void *arg)
{
	struct control *c = arg;

	sessions_pair(c->sessions, call, params);
}

static void on_compare(struct varlink_call *call, const struct json_t *params, void *arg)
{
	struct control *c = arg;
	const char *digits = json_get_str(params, "digits");

	/* A slip of the keyboard is no pick. */
	if (digits && !sas_is_digits(digits)) {
		varlink_invalid_parameter(call, "digits");
		return;
	}
	switch (sessions_compare(c->sessions, json_get_str(params, "pairing"), digits)) {
	case 0:
		varlink_reply(call, NULL);
		break;
	case SESSIONS_E_MISMATCH:
		varlink_error(call, PAIRING_ERROR("SasMismatch"),
			      "This is not the number that both screens show. The pairing is ended on both devices.",
			      "Begin anew and compare with care.");
		break;
	default:
		varlink_error(call, PAIRING_ERROR("NoSuchPairing"),
			      "No pairing of this id waits for a pick.", "");
	}
}

static void on_identity(struct varlink_call *call, const struct json_t *params, void *arg)
{
	struct control *c = arg;
	const struct sign_public *own = &c->signer->public_key;
	uint8_t id[IDENTITY_ID_LEN];
	char hex[2 * IDENTITY_ID_LEN + 1], key[BASE64_SPACE(SIGN_PUBLIC_LEN)];

	(void)params;
	identity_id(id, own);
	hex_format(hex, id, sizeof(id));
	base64_encode(key, own->b, sizeof(own->b), BASE64_STANDARD);
	varlink_reply(call, json_pack("{s:s, s:s, s:s}", "name", c->name, "id", hex, "public_key", key));
}

static void add_peer(const struct peer *peer, void *arg)
{
	json_array_append_new(arg, peer_json(peer));
}

static void on_peers(struct varlink_call *call, const struct json_t *params, void *arg)
{
	struct control *c = arg;
	json_t *list = json_array();
	int r;

	(void)params;
	r = peers_each(c->peers, add_peer, list);
	if (r) {
		json_decref(list);
		answer_failure(call, r, "");
		return;
	}
	varlink_reply(call, json_pack("{s:o}", "peers", list));
}

static void on_peer(struct varlink_call *call, const struct json_t *params, void *arg)
{
	struct control *c = arg;
	struct peer peer;
	int r;

	r = peers_find(c->peers, json_get_str(params, "name"), &peer);
	if (r)
		answer_failure(call, r, json_get_str(params, "name"));
	else
		varlink_reply(call, json_pack("{s:o}", "peer", peer_json(&peer)));
}

static void on_rename(struct varlink_call *call, const struct json_t *params, void *arg)
{
	struct control *c = arg;
	const char *name = json_get_str(params, "new_name");
	struct peer peer;
	int r;

	if (!text_is_name(name) || peers_name_is_id(name)) {
		varlink_error(call, PAIRING_ERROR("BadName"), "This cannot be a peer's name.",
			      "A name has 1 to 32 of a-z A-Z 0-9 . _ - and begins with a letter or digit; 8 or more hex digits would be an id.");
		return;
	}
	r = peers_find(c->peers, json_get_str(params, "name"), &peer);
	if (!r)
		r = peers_rename(c->peers, peer.id, name);
	if (r) {
		answer_failure(call, r, json_get_str(params, "name"));
		return;
	}
	snprintf(peer.name, sizeof(peer.name), "%s", name);
	identity_server_tell_renamed(c->identity, peer.id, name);
	varlink_reply(call, json_pack("{s:o}", "peer", peer_json(&peer)));
}

static void on_forget(struct varlink_call *call, const struct json_t *params, void *arg)
{
	struct control *c = arg;
	struct peer peer;
	int r;

	r = peers_find(c->peers, json_get_str(params, "name"), &peer);
	if (!r)
		r = peers_forget(c->peers, peer.id);
	if (r) {
		answer_failure(call, r, json_get_str(params, "name"));
		return;
	}
	log_event(LOG_NOTICE, &MSG_PEER_FORGOTTEN, LOG_FIELDS({ FIELD_PEER, peer.name }),
		  "forgot %s", peer.name);
	identity_server_tell_forgotten(c->identity, peer.id, NULL);
	varlink_reply(call, NULL);
}

static const struct varlink_method methods[] = {
	{ "Pair", VARLINK_CHANGE, on_pair },
	{ "CompareSas", VARLINK_CHANGE, on_compare },
	{ "Identity", VARLINK_READ, on_identity },
	{ "Peers", VARLINK_READ, on_peers },
	{ "Peer", VARLINK_READ, on_peer },
	{ "Rename", VARLINK_CHANGE, on_rename },
	{ "Forget", VARLINK_CHANGE, on_forget },
	{ NULL, VARLINK_READ, NULL },
};

static const struct varlink_interface interface = {
	.name = "io.handfast.Pairing",
	.description = varlink_io_handfast_Pairing,
	.methods = methods,
};

struct counts {
	unsigned int peers, unconfirmed, roots;
};

static void count_peer(const struct peer *peer, void *arg)
{
	struct counts *n = arg;

	n->peers++;
	n->unconfirmed += !peer->active;
	n->roots += peer->has_root;
}

static void on_status(struct json_t *details, void *arg)
{
	const struct control *c = arg;
	const char *phase = sessions_phase(c->sessions);
	struct counts n = { 0 };

	if (peers_each(c->peers, count_peer, &n))
		log_debug("cannot count the peers");
	json_object_set_new(details, "device", json_string(c->name));
	json_object_set_new(details, "peers", json_integer(n.peers));
	json_object_set_new(details, "unconfirmed", json_integer(n.unconfirmed));
	json_object_set_new(details, "roots_waiting", json_integer(n.roots));
	json_object_set_new(details, "pairing", json_string(phase ? phase : "none"));
}

int control_start(struct service *svc, struct control *c)
{
	int r;

	r = service_add_interface(svc, &interface, c);
	if (r)
		return r;
	service_on_status(svc, on_status, c);
	service_on_metrics(svc, pairingd_metrics, c);
	return 0;
}

/* handfast tunnel pin, allow, revoke: who may be at the other end of a tunnel. They show it, or change it. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"

#include "ctl/commands.h"
#include "ctl/ctl.h"
#include "ctl/daemon.h"

static void pin_text(const struct ctl *c, const json_t *result)
{
	const json_t *t = json_object_get(result, "tunnel");
	const char *own = clean_member(t, "own_key"), *pin = clean_member(t, "pin");

	printf("%s%s%s\n", paint_begin(&c->style, PAINT_BOLD), clean_member(t, "name"), paint_end(&c->style, PAINT_BOLD));
	fact(stdout, &c->style, "own key", "%s", *own ? own : "not known: pairingd was not reached yet");
	fact(stdout, &c->style, "pinned", "%s", *pin ? pin : "nobody: whoever has the key file may be the other side");
	if (*pin && strcmp(clean_member(t, "source"), "pairing") != 0 && *own)
		printf("The other side needs our key, too: “handfast tunnel pin TUNNEL %s” there.\n", own);
}

static int show(struct ctl *c, ctl_text_fn text)
{
	json_t *reply = NULL;
	int r = daemon_call(c, PSKD, "Tunnel.Show", json_pack("{s:s}", "name", ctl_argument(c, 0)), &reply);

	return r ? r : ctl_result(c, reply, text);
}

/* The public key of a paired device, as pairingd has it. */
static int key_of_peer(struct ctl *c, const char *peer, json_t **out)
{
	_cleanup_json_ json_t *reply = NULL;
	int r = daemon_call(c, PAIRINGD, "Pairing.Peer", json_pack("{s:s}", "name", peer), &reply);
	json_t *key = r ? NULL : json_object_get(json_object_get(reply, "peer"), "public_key");

	if (r)
		return r;
	if (!json_is_string(key))
		return ctl_fail(c, EXIT_FAILED, ERROR_BROKEN_ANSWER, NULL, "pairingd does not tell the key of %s",
				clean_text(peer));
	*out = json_incref(key);
	return EXIT_DONE;
}

int cmd_tunnel_pin(struct ctl *c)
{
	const char *key = ctl_argument(c, 1), *peer = ctl_option(c, "from-peer");
	bool none = ctl_flag(c, "none");
	json_t *params, *reply = NULL, *of_peer = NULL;
	int r = EXIT_DONE;

	if ((key != NULL) + (peer != NULL) + none > 1)
		return ctl_fail(c, EXIT_USAGE, ERROR_USAGE, "See “handfast help tunnel pin”.",
				"KEY, --from-peer and --none exclude each other");
	if (!key && !peer && !none)
		return show(c, pin_text);
	/* A variable of a script that is empty is not --none. */
	if (key && !*key)
		return ctl_fail(c, EXIT_USAGE, ERROR_USAGE, "With --none nobody is pinned.", "KEY is empty");
	params = json_pack("{s:s, s:s}", "name", ctl_argument(c, 0), "key", key ? key : "");
	if (peer)
		r = key_of_peer(c, peer, &of_peer);
	if (of_peer)
		json_object_set_new(params, "key", of_peer);
	if (r) {
		json_decref(params);
		return r;
	}
	r = daemon_call(c, PSKD, "Tunnel.Pin", params, &reply);
	return r ? r : ctl_result(c, reply, pin_text);
}

static void allow_text(const struct ctl *c, const json_t *result)
{
	const json_t *t = json_object_get(result, "tunnel"), *labels = json_object_get(t, "allow_labels"), *one;
	bool pinned = *clean_member(t, "pin");
	size_t i;

	printf("%s%s%s\n", paint_begin(&c->style, PAINT_BOLD), clean_member(t, "name"), paint_end(&c->style, PAINT_BOLD));
	if (*clean_member(t, "own_identity"))
		fact(stdout, &c->style, "own", "%s (%s)", clean_member(t, "own_identity"),
		     pinned ? "this device's key signs for it" : "a label: nothing signs for it");
	if (*clean_member(t, "peer_identity"))
		fact(stdout, &c->style, "the peer's", "%s", clean_member(t, "peer_identity"));
	json_array_foreach(labels, i, one)
		fact(stdout, &c->style, i ? "" : "allowed", "%s", clean_text(json_string_value(one)));
	if (json_array_size(labels) == 0)
		fact(stdout, &c->style, "allowed", "%s", pinned ? "the pinned device alone" : "any label");
}

int cmd_tunnel_allow(struct ctl *c)
{
	bool any = ctl_flag(c, "any");
	json_t *labels, *reply = NULL;
	int r;

	if (ctl_argument(c, 1) && any)
		return ctl_fail(c, EXIT_USAGE, ERROR_USAGE, "See “handfast help tunnel allow”.",
				"LABEL and --any exclude each other");
	if (!ctl_argument(c, 1) && !any)
		return show(c, allow_text);
	labels = json_array();
	/* One that were left out could make the list one that allows any. */
	for (size_t i = 1; ctl_argument(c, i); i++)
		if (json_array_append_new(labels, json_string(ctl_argument(c, i))) != 0) {
			json_decref(labels);
			return ctl_fail(c, EXIT_USAGE, ERROR_USAGE, NULL, "%s is no label",
					clean_text(ctl_argument(c, i)));
		}
	r = daemon_call(c, PSKD, "Tunnel.Allow", json_pack("{s:s, s:o}", "name", ctl_argument(c, 0), "labels", labels),
			&reply);
	return r ? r : ctl_result(c, reply, allow_text);
}

static void revoke_text(const struct ctl *c, const json_t *result)
{
	const json_t *t = json_object_get(result, "tunnel"), *revoked = json_object_get(t, "revoked"), *one;
	size_t i;

	printf("%s%s%s\n", paint_begin(&c->style, PAINT_BOLD), clean_member(t, "name"), paint_end(&c->style, PAINT_BOLD));
	if (*clean_member(t, "pin"))
		fact(stdout, &c->style, "pinned", "%s", clean_member(t, "pin"));
	if (*clean_member(t, "peer_identity"))
		fact(stdout, &c->style, "the peer's", "%s", clean_member(t, "peer_identity"));
	json_array_foreach(revoked, i, one)
		fact(stdout, &c->style, i ? "" : "revoked", "%s", clean_text(json_string_value(one)));
	if (json_array_size(revoked) == 0)
		fact(stdout, &c->style, "revoked", "%s", "nobody here; pskd.yaml may revoke for all tunnels");
}

int cmd_tunnel_revoke(struct ctl *c)
{
	const char *peer = ctl_option(c, "from-peer");
	bool undo = ctl_flag(c, "undo");
	json_t *identities, *key = NULL, *reply = NULL;
	int r = EXIT_DONE;

	if (ctl_argument(c, 1) && peer)
		return ctl_fail(c, EXIT_USAGE, ERROR_USAGE, "See “handfast help tunnel revoke”.",
				"IDENTITY and --from-peer exclude each other");
	if (!ctl_argument(c, 1) && !peer)
		return undo ? ctl_fail(c, EXIT_USAGE, ERROR_USAGE, "“handfast tunnel revoke TUNNEL” shows who is revoked.",
				       "--undo needs to know whose") :
			      show(c, revoke_text);
	if (peer)
		r = key_of_peer(c, peer, &key);
	if (r)
		return r;
	identities = json_array();
	if (key)
		json_array_append_new(identities, key);
	for (size_t i = 1; ctl_argument(c, i); i++)
		if (json_array_append_new(identities, json_string(ctl_argument(c, i))) != 0) {
			json_decref(identities);
			return ctl_fail(c, EXIT_USAGE, ERROR_USAGE, NULL, "%s is no identity", clean_text(ctl_argument(c, i)));
		}
	r = daemon_call(c, PSKD, "Tunnel.Revoke",
			json_pack("{s:s, s:o, s:b}", "name", ctl_argument(c, 0), "identities", identities, "undo", (int)undo), &reply);
	return r ? r : ctl_result(c, reply, revoke_text);
}

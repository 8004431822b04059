/*
 * Who may be the peer of a tunnel: the pin or the labels of one that a command made, and of any whom it revokes.
 * Each is durable before it is acknowledged, and counts at once.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "pskd/tunnel/store.h"
#include "pskd/tunnel/tunnels.h"

#define E(name) "io.handfast.Tunnel." #name

/* Why who this tunnel's peer may be is not for commands to say. */
static bool peer_is_fixed(struct tunnel *t, struct tunnel_error *e)
{
	const struct spec *spec = tunnel_spec(t);

	if (spec->origin == SPEC_DECLARED)
		tunnel_error_set(e, E(Declared), "Set “pin” or “allow_labels” in its file and reload pskd.",
				 "tunnel %s is declared in a file", spec->name);
	else if (spec->origin == SPEC_PAIRED)
		tunnel_error_set(e, E(Paired), "“handfast pair” anew when the peer has a new identity.",
				 "the pairing with %s pins its identity", spec->peer_name);
	else if (spec->f.peer)
		tunnel_error_set(e, E(BadPin), NULL, "a prototype peer has no handshake that says who it is");
	else if (tunnel_is_being_added(t))
		tunnel_error_set(e, E(NoAnswer), "Wait until its key file was read.", "%s is still being added",
				 spec->name);
	else
		return false;
	return true;
}

static int not_written(const struct spec *spec, int r, struct tunnel_error *e)
{
	tunnel_error_set(e, E(StorageFailed), NULL, "the state of tunnel %s was not written: %s", spec->name,
			 strerror(-r));
	return -1;
}

/* Why this cannot be its pin. */
static bool pin_is_bad(struct tunnels *s, const struct spec *spec, const char *key, struct tunnel_error *e)
{
	const struct sign_public *own = tunnels_own_key(s);
	struct sign_public pub;

	if (!key)
		return false;
	if (spec_parse_pin(&pub, key) != 0)
		tunnel_error_set(e, E(BadPin), "“handfast tunnel pin” on the other machine shows its public key.",
				 "this is no public key in base64 or hex");
	else if (own && memcmp(own, &pub, sizeof(pub)) == 0)
		tunnel_error_set(e, E(BadPin), "Pin the key of the other machine here, and this one there.",
				 "this is the key of this machine itself");
	else if (spec->labels.n)
		tunnel_error_set(e, E(BadPin), "“handfast tunnel allow NAME --any” takes the list away.",
				 "%s has a list of labels, which a pinned peer does not have", spec->name);
	else
		return false;
	return true;
}

int tunnels_set_pin(struct tunnels *s, struct tunnel *t, const char *key, struct tunnel_error *e)
{
	struct spec *spec = tunnel_spec_mutable(t), was;
	int r;

	if (peer_is_fixed(t, e) || pin_is_bad(s, spec, key, e))
		return -1;
	was = *spec;
	spec->f.pin = NULL;
	r = spec_set_pin(spec, key);
	if (!r)
		r = tunnel_store_save(tunnels_store(s), spec);
	if (r) {
		free(spec->f.pin);
		*spec = was;
		return not_written(spec, r, e);
	}
	free(was.f.pin);
	log_event(LOG_NOTICE, &MSG_TUNNEL_PINNED,
		  LOG_FIELDS({ FIELD_TUNNEL, spec->name }, { FIELD_PEER, tunnel_peer(t) }),
		  key ? "tunnel %s: the peer's identity is pinned; both sides sign" :
			"tunnel %s: the peer's identity is not pinned any more",
		  spec->name);
	tunnel_restart(t);
	return 0;
}

int tunnels_set_labels(struct tunnels *s, struct tunnel *t, struct config_list *labels, struct tunnel_error *e)
{
	struct spec *spec = tunnel_spec_mutable(t);
	int r;

	if (peer_is_fixed(t, e))
		return -1;
	if (spec->pinned && labels->n) {
		tunnel_error_set(e, E(BadPin), "“handfast tunnel pin NAME --none” takes the pin away.",
				 "%s is pinned, and a pinned peer has no label", spec->name);
		return -1;
	}
	r = spec_set_labels(spec, labels);
	if (r)
		return not_written(spec, r, e);
	r = tunnel_store_save(tunnels_store(s), spec);
	if (r) {
		(void)spec_set_labels(spec, labels);
		return not_written(spec, r, e);
	}
	log_event(LOG_NOTICE, &MSG_TUNNEL_PINNED,
		  LOG_FIELDS({ FIELD_TUNNEL, spec->name }, { FIELD_PEER, tunnel_peer(t) }),
		  spec->labels.n ? "tunnel %s: the peer's label must be one of a list; nothing signs it" :
				    "tunnel %s: the peer may have any label",
		  spec->name);
	tunnel_restart(t);
	return 0;
}

/* Why this is nobody to revoke. */
static bool identity_is_bad(struct tunnels *s, const char *identity, struct tunnel_error *e)
{
	const struct sign_public *own = tunnels_own_key(s);
	const char *complaint = label_check_or_key(identity);
	uint8_t id[IDENTITY_ID_LEN];

	if (complaint) {
		tunnel_error_set(e, E(BadIdentity), "“handfast tunnel show” has the peer's.", "there is one that is not %s", complaint);
		return true;
	}
	if (own)
		identity_id(id, own);
	if (!own || !label_names(identity, id))
		return false;
	tunnel_error_set(e, E(BadIdentity), "Revoke it on the other machines.", "this is the identity of this machine itself");
	return true;
}

/* The list that would be. 0, or -1 with *e. */
static int revoked_next(struct tunnels *s, const struct spec *spec, const struct config_list *identities, bool undo,
			struct config_list *next, struct tunnel_error *e)
{
	size_t at;
	int r;

	for (at = 0; at < identities->n; at++)
		if (identity_is_bad(s, identities->v[at], e))
			return -1;
	r = spec_revoke(next, spec, identities, undo, &at);
	if (r == -ENOENT)
		tunnel_error_set(e, E(NotRevoked), "“handfast tunnel revoke NAME” shows who is; the list “revoked” of pskd.yaml is another one.",
				 "%s has not revoked %.64s", spec->name, identities->v[at]);
	else if (r == -E2BIG)
		tunnel_error_set(e, E(BadIdentity), "The list “revoked” of pskd.yaml has room for more.",
				 "a tunnel revokes %d identities at most", SPEC_REVOKED_MAX);
	else if (r)
		return not_written(spec, r, e);
	return r ? -1 : 0;
}

static void tell_revoked(struct tunnel *t, const char *identity, bool undo)
{
	const struct spec *spec = tunnel_spec(t);

	log_event(LOG_NOTICE, &MSG_TUNNEL_REVOCATION,
		  LOG_FIELDS({ FIELD_TUNNEL, spec->name }, { FIELD_PEER, tunnel_peer(t) }),
		  undo ? "tunnel %s: %s is not revoked any more" : "tunnel %s: %s is revoked, and no peer of it", spec->name, identity);
}

int tunnels_revoke(struct tunnels *s, struct tunnel *t, const struct config_list *identities, bool undo, struct tunnel_error *e)
{
	_cleanup_(spec_texts_done) struct config_list next = { 0 };
	struct spec *spec = tunnel_spec_mutable(t);
	int r;

	if (spec->f.peer || tunnel_is_being_added(t))
		tunnel_error_set(e, spec->f.peer ? E(BadIdentity) : E(NoAnswer), NULL,
				 spec->f.peer ? "%s has a prototype peer, and no handshake that says who it is" : "%s is still being added",
				 spec->name);
	if (spec->f.peer || tunnel_is_being_added(t) || revoked_next(s, spec, identities, undo, &next, e))
		return -1;
	r = spec_set_revoked(spec, &next);
	if (r)
		return not_written(spec, r, e);
	r = tunnel_store_save(tunnels_store(s), spec);
	if (r) {
		(void)spec_set_revoked(spec, &next);
		return not_written(spec, r, e);
	}
	for (size_t i = 0; i < identities->n; i++)
		tell_revoked(t, identities->v[i], undo);
	tunnel_on_policy(t);
	return 0;
}

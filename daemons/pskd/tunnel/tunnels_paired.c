/*
 * Tunnels that pairings bring, rename and take away. A root's ledger and state are
 * durable before pairingd may erase its copy.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/log.h"
#include "pskd/handshake/identity_client.h"
#include "pskd/keys/keys.h"
#include "pskd/tunnel/tunnels_internal.h"

static void root_failed(const struct identity_root *root, const char *why)
{
	log_event(LOG_ERR, &MSG_ROOT_FAILED, LOG_FIELDS({ FIELD_PEER, root->peer_name }),
		  "the tunnel root of %s was not taken: %s", root->peer_name, why);
}

/* Durable in a ledger of its own; one that is there already is this root's, from before a crash. */
static int store_root(struct tunnels *s, struct identity_root *root, struct spec *spec)
{
	_cleanup_free_ char *path = NULL;
	char id[2 * 16 + 1], detail[200] = "";
	struct keys_options o;
	int r;

	hex_format(id, root->tunnel_id, 16);
	snprintf(spec->ledger, sizeof(spec->ledger), "pairing-%s.ledger", id);
	path = tunnel_store_ledger_path(&s->store, spec->ledger);
	if (!path)
		return -ENOMEM;
	o = (struct keys_options){ .ledger_path = path, .ledgers_dir = s->store.ledgers_dir,
				   .twins = s->store.twins,
				   .role = (enum keys_role)spec->f.role,
				   .window = (uint32_t)spec->f.window, .loop = s->loop };
	r = keys_create_root(&o, root->root, root->tunnel_id, detail, sizeof(detail));
	if (r && r != KEYS_E_EXISTS) {
		root_failed(root, detail[0] ? detail : strerror(r < 0 ? -r : EIO));
		return err_fold(r);
	}
	r = tunnel_store_save(&s->store, spec);
	if (r)
		root_failed(root, strerror(-r));
	return r;
}

/* The peer's name, or the first of NAME-2, NAME-3 … when another tunnel has it. */
static void free_name(struct tunnels *s, char out[static SPEC_NAME_MAX + 1], const char *name)
{
	snprintf(out, SPEC_NAME_MAX + 1, "%s", name);
	for (unsigned int i = 2; tunnels_find_exact(s, out); i++)
		snprintf(out, SPEC_NAME_MAX + 1, "%.26s-%u", name, i % 10000);
}

void tunnels_remove_ledger(struct tunnels *s, const char *ledger)
{
	_cleanup_free_ char *path = tunnel_store_ledger_path(&s->store, ledger);

	if (path && ledger[0])
		keys_remove(path);
}

/* Files, keys and all. */
static void remove_paired(struct tunnels *s, struct tunnel *t)
{
	char name[SPEC_NAME_MAX + 1], peer[IDENTITY_NAME_MAX + 1], ledger[80];

	snprintf(name, sizeof(name), "%s", tunnel_spec(t)->name);
	snprintf(peer, sizeof(peer), "%s", tunnel_spec(t)->peer_name);
	snprintf(ledger, sizeof(ledger), "%s", tunnel_spec(t)->ledger);
	tunnels_drop(s, t);
	tunnels_remove_ledger(s, ledger);
	tunnel_store_remove(&s->store, name);
	log_event(LOG_NOTICE, &MSG_TUNNEL_REMOVED, LOG_FIELDS({ FIELD_TUNNEL, name }, { FIELD_PEER, peer }),
		  "tunnel %s and its keys are gone", name);
}

/* The names a tunnel has: its own, on disk, and its peer's. */
static void set_names(struct tunnels *s, struct tunnel *t, const char *name, const char *peer_name)
{
	struct spec *spec = tunnel_spec_mutable(t);
	char old[SPEC_NAME_MAX + 1];

	snprintf(old, sizeof(old), "%s", spec->name);
	snprintf(spec->peer_name, sizeof(spec->peer_name), "%s", peer_name);
	snprintf(spec->name, sizeof(spec->name), "%s", name);
	if (tunnel_store_save(&s->store, spec) == 0 && strcmp(old, name) != 0)
		tunnel_store_remove(&s->store, old);
	if (strcmp(old, name) != 0)
		tunnel_on_renamed(t, old);
}

/*
 * The peer was seen in t, so it has the new pairing, and pairingd has made that
 * active: the earlier tunnel goes, and t takes its name. Who waits for the
 * earlier one waits for t now. Other successors stay: pairingd lists those that
 * are newer, and the rest goes then. Only pairingd knows which is newer: when the
 * peer is seen in two at once, the older one must not take the newer one away.
 */
static void succeed(struct tunnels *s, struct tunnel *t)
{
	struct spec *spec = tunnel_spec_mutable(t);
	struct tunnel *earlier = tunnels_find_peer(s, spec->peer_id, false, 0);
	char name[SPEC_NAME_MAX + 1], peer_name[IDENTITY_NAME_MAX + 1], ledger[80] = "";
	bool changes = false;

	snprintf(name, sizeof(name), "%s", spec->name);
	snprintf(peer_name, sizeof(peer_name), "%s", spec->peer_name);
	if (earlier) {
		snprintf(name, sizeof(name), "%s", tunnel_spec(earlier)->name);
		snprintf(ledger, sizeof(ledger), "%s", tunnel_spec(earlier)->ledger);
		if (s->on_succeeded)
			s->on_succeeded(earlier, t, s->arg);
		/* Not before: two at once cannot have the same routes, addresses and port. */
		changes = spec_inherit(spec, tunnel_spec(earlier)) > 0;
		tunnels_drop(s, earlier);
		tunnels_remove_ledger(s, ledger);
	}
	spec->successor = false;
	set_names(s, t, name, peer_name);
	if (tunnel_is_up(t) && s->on_event)
		s->on_event(t, "up", NULL, s->arg);
	if (changes)
		tunnel_restart(t);
}

/*
 * A root of a peer that has a tunnel makes another one beside it: which pairing
 * the peer has, too, only its first message in a tunnel shows. pairingd bounds them.
 */
static void on_root(struct identity_root *root, void *arg)
{
	struct tunnels *s = arg;
	struct tunnel *old = tunnels_find_peer(s, root->peer_id, false, 0), *t;
	_cleanup_(spec_freep) struct spec *spec = NULL;
	char name[SPEC_NAME_MAX + 1];

	/* The same root again, after a lost answer: nothing changes. */
	if (tunnels_find_pairing(s, root->tunnel_id)) {
		identity_root_stored(s->identity, root->peer_id, root->tunnel_id);
		return;
	}
	if (!old && s->n >= s->max_tunnels) {
		root_failed(root, "there are max_tunnels tunnels already");
		return;
	}
	free_name(s, name, root->peer_name);
	if (spec_from_root(&spec, root, name) != 0)
		return;
	spec->successor = old != NULL;
	/* A newer pairing follows the earlier one: who took that tunnel down wants it down, and who revoked a key means it. */
	spec->enabled = old ? tunnel_spec(old)->enabled : s->start_paired;
	if (old && spec_copy_revoked(spec, tunnel_spec(old)) != 0)
		return;
	if (store_root(s, root, spec) != 0)
		return;
	identity_root_stored(s->identity, root->peer_id, root->tunnel_id);
	log_event(LOG_NOTICE, &MSG_ROOT_TAKEN,
		  LOG_FIELDS({ FIELD_TUNNEL, name }, { FIELD_PEER, root->peer_name }),
		  "a tunnel to %s can come up: its root is here now", root->peer_name);
	if (tunnels_add_spec(s, &spec, &t) == 0 && tunnel_spec(t)->enabled)
		tunnel_start(t);
}

void tunnels_remove_peer(struct tunnels *s, const uint8_t *peer_id)
{
	uint8_t id[IDENTITY_ID_LEN];

	/* It may be in what goes. */
	memcpy(id, peer_id, sizeof(id));
	list_for_each (it, &s->list)
		if (tunnels_is_of_peer(tunnel_of_node(it), id))
			remove_paired(s, tunnel_of_node(it));
}

static void on_forgotten(const uint8_t id[static IDENTITY_ID_LEN], const uint8_t *tunnel_id, void *arg)
{
	struct tunnels *s = arg;
	struct tunnel *t = tunnel_id ? tunnels_find_pairing(s, tunnel_id) : NULL;

	if (!tunnel_id)
		tunnels_remove_peer(s, id);
	else if (t && tunnels_is_of_peer(t, id))
		remove_paired(s, t);
}

static void on_renamed(const uint8_t id[static IDENTITY_ID_LEN], const char *name, void *arg)
{
	struct tunnels *s = arg;

	list_for_each (it, &s->list) {
		struct tunnel *t = tunnel_of_node(it);
		const struct spec *spec = tunnel_spec(t);
		char new[SPEC_NAME_MAX + 1];

		if (!tunnels_is_of_peer(t, id) || strcmp(spec->peer_name, name) == 0)
			continue;
		snprintf(new, sizeof(new), "%s", spec->name);
		/* A tunnel that bore the peer's name goes on to do so. */
		if (strcmp(new, spec->peer_name) == 0)
			free_name(s, new, name);
		set_names(s, t, new, name);
	}
}

static void on_list(void *arg)
{
	struct tunnels *s = arg;

	list_for_each (it, &s->list)
		tunnel_on_identity_new(tunnel_of_node(it));
}

static void on_pairing(const uint8_t id[static IDENTITY_ID_LEN],
		       const uint8_t tunnel_id[static IDENTITY_TUNNEL_ID_LEN], const char *name, void *arg)
{
	struct tunnels *s = arg;

	list_for_each (it, &s->list) {
		struct tunnel *t = tunnel_of_node(it);

		if (!tunnels_is_of_peer(t, id))
			continue;
		if (memcmp(tunnel_spec(t)->tunnel_id, tunnel_id, IDENTITY_TUNNEL_ID_LEN) == 0)
			tunnel_set_mark(t, TUNNEL_LISTED);
		else if (tunnel_mark(t) == TUNNEL_UNLISTED)
			tunnel_set_mark(t, TUNNEL_PEER_LISTED);
	}
	on_renamed(id, name, s);
}

/*
 * What no pairing holds up any more goes. A peer's tunnel whose pairing was
 * replaced stays until its successor is proven, as if we had been there.
 */
static void on_listed(void *arg)
{
	struct tunnels *s = arg;

	list_for_each (it, &s->list) {
		struct tunnel *t = tunnel_of_node(it);
		enum tunnel_mark mark = tunnel_mark(t);

		if (tunnel_spec(t)->origin != SPEC_PAIRED || mark == TUNNEL_LISTED)
			continue;
		if (mark == TUNNEL_UNLISTED || tunnel_spec(t)->successor)
			remove_paired(s, t);
	}
	/* The next list, on this connection or another, says all anew. */
	list_for_each (it, &s->list)
		tunnel_set_mark(tunnel_of_node(it), TUNNEL_UNLISTED);
	list_for_each (it, &s->list)
		tunnel_on_identity(tunnel_of_node(it));
}

static void on_seen(const uint8_t tunnel_id[static IDENTITY_TUNNEL_ID_LEN], void *arg)
{
	struct tunnel *t = tunnels_find_pairing(arg, tunnel_id);

	if (!t)
		return;
	tunnel_on_seen(t);
	if (tunnel_spec(t)->successor)
		succeed(arg, t);
}

static void on_connected(void *arg)
{
	struct tunnels *s = arg;

	list_for_each (it, &s->list)
		tunnel_on_identity(tunnel_of_node(it));
}

const struct identity_ops tunnels_identity_ops = {
	.on_root = on_root,
	.on_forgotten = on_forgotten,
	.on_renamed = on_renamed,
	.on_list = on_list,
	.on_pairing = on_pairing,
	.on_listed = on_listed,
	.on_seen = on_seen,
	.on_connected = on_connected,
};

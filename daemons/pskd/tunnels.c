/*
 * The set of tunnels. What is acknowledged was made durable first: state files
 * before replies, a root's ledger and state before pairingd may erase its copy.
 */
#include "pskd/tunnels.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "crypto/secret.h"
#include "event/loop.h"
#include "event/wake.h"
#include "pskd/drop_log.h"
#include "pskd/identity_client.h"
#include "pskd/kept.h"
#include "pskd/keys.h"
#include "pskd/netwatch.h"
#include "pskd/store.h"

#define E(name) "io.handfast.Tunnel." #name
#define YAML ".yaml"

/* So many are on their way at once; looked at so often while more wait. */
#define STARTING_MAX 24
#define STARTING_MS 10

struct tunnels {
	struct loop *loop;
	uint64_t max_tunnels;
	bool start_paired;
	struct tunnel_store store;
	char *tund_socket, *runtime_dir;
	struct tunnel_context ctx;
	struct tunnel_policy policy;
	struct identity_client *identity;
	struct kept *kept;
	struct loop_timer *starter;
	struct netwatch *netwatch; /* NULL: none; then timers alone find a new network */
	struct drop_log *drop_log;
	struct wake *wake;
	struct list list;
	size_t n;
	bool bad_state; /* a tunnel's state could not be read */
	void (*on_event)(struct tunnel *t, const char *event, const struct tunnel_error *e, void *arg);
	void (*on_succeeded)(struct tunnel *earlier, struct tunnel *t, void *arg);
	void *arg;
};

static void on_tunnel_event(struct tunnel *t, const char *event, const struct tunnel_error *e, void *arg)
{
	struct tunnels *s = arg;

	if (s->on_event)
		s->on_event(t, event, e, s->arg);
}

static int add_spec(struct tunnels *s, struct spec **spec, struct tunnel **out)
{
	struct tunnel *t;
	int r;

	r = tunnel_new(&t, &s->ctx, spec);
	if (r)
		return r;
	list_append(&s->list, tunnel_node(t));
	s->n++;
	if (out)
		*out = t;
	return 0;
}

static void drop_tunnel(struct tunnels *s, struct tunnel *t)
{
	tunnel_stop(t);
	s->n--;
	tunnel_free(t);
}

/* Another of its name comes. */
static void replace_tunnel(struct tunnels *s, struct tunnel *t)
{
	tunnel_stop_replaced(t);
	s->n--;
	tunnel_free(t);
}

static struct tunnel *find_exact(struct tunnels *s, const char *name)
{
	list_for_each (it, &s->list)
		if (strcmp(tunnel_spec(tunnel_of_node(it))->name, name) == 0)
			return tunnel_of_node(it);
	return NULL;
}

struct tunnel *tunnels_find(struct tunnels *s, const char *name)
{
	struct tunnel *t = find_exact(s, name);

	if (t)
		return t;
	list_for_each (it, &s->list) {
		const struct spec *spec = tunnel_spec(tunnel_of_node(it));

		if (spec->origin == SPEC_PAIRED && strcmp(spec->peer_name, name) == 0)
			return tunnel_of_node(it);
	}
	return NULL;
}

static bool is_of_peer(const struct tunnel *t, const uint8_t *id)
{
	const struct spec *spec = tunnel_spec(t);

	return spec->origin == SPEC_PAIRED && memcmp(spec->peer_id, id, IDENTITY_ID_LEN) == 0;
}

/* A peer's tunnel, or the n-th of those one of which is to succeed it once the peer was seen there. */
static struct tunnel *find_peer(struct tunnels *s, const uint8_t id[static IDENTITY_ID_LEN], bool successor, size_t n)
{
	list_for_each (it, &s->list)
		if (is_of_peer(tunnel_of_node(it), id) &&
		    tunnel_spec(tunnel_of_node(it))->successor == successor && n-- == 0)
			return tunnel_of_node(it);
	return NULL;
}

static struct tunnel *find_pairing(struct tunnels *s, const uint8_t *tunnel_id)
{
	list_for_each (it, &s->list) {
		const struct spec *spec = tunnel_spec(tunnel_of_node(it));

		if (spec->origin == SPEC_PAIRED && memcmp(spec->tunnel_id, tunnel_id, 16) == 0)
			return tunnel_of_node(it);
	}
	return NULL;
}

struct tunnel *tunnels_successor(struct tunnels *s, struct tunnel *t, size_t n)
{
	const struct spec *spec = tunnel_spec(t);

	return spec->origin == SPEC_PAIRED && !spec->successor ? find_peer(s, spec->peer_id, true, n) : NULL;
}

const struct tunnel_store *tunnels_store(const struct tunnels *s)
{
	return &s->store;
}

const struct sign_public *tunnels_own_key(const struct tunnels *s)
{
	return identity_own(s->identity);
}

struct list *tunnels_list(struct tunnels *s)
{
	return &s->list;
}

size_t tunnels_count(const struct tunnels *s)
{
	return s->n;
}

/* ---- pairings ---- */

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
	for (unsigned int i = 2; find_exact(s, out); i++)
		snprintf(out, SPEC_NAME_MAX + 1, "%.26s-%u", name, i % 10000);
}

static void remove_ledger(struct tunnels *s, const char *ledger)
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
	drop_tunnel(s, t);
	remove_ledger(s, ledger);
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
	struct tunnel *earlier = find_peer(s, spec->peer_id, false, 0);
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
		drop_tunnel(s, earlier);
		remove_ledger(s, ledger);
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
	struct tunnel *old = find_peer(s, root->peer_id, false, 0), *t;
	_cleanup_(spec_freep) struct spec *spec = NULL;
	char name[SPEC_NAME_MAX + 1];

	/* The same root again, after a lost answer: nothing changes. */
	if (find_pairing(s, root->tunnel_id)) {
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
	if (add_spec(s, &spec, &t) == 0 && tunnel_spec(t)->enabled)
		tunnel_start(t);
}

static void remove_peer(struct tunnels *s, const uint8_t *peer_id)
{
	uint8_t id[IDENTITY_ID_LEN];

	/* It may be in what goes. */
	memcpy(id, peer_id, sizeof(id));
	list_for_each (it, &s->list)
		if (is_of_peer(tunnel_of_node(it), id))
			remove_paired(s, tunnel_of_node(it));
}

static void on_forgotten(const uint8_t id[static IDENTITY_ID_LEN], const uint8_t *tunnel_id, void *arg)
{
	struct tunnels *s = arg;
	struct tunnel *t = tunnel_id ? find_pairing(s, tunnel_id) : NULL;

	if (!tunnel_id)
		remove_peer(s, id);
	else if (t && is_of_peer(t, id))
		remove_paired(s, t);
}

static void on_renamed(const uint8_t id[static IDENTITY_ID_LEN], const char *name, void *arg)
{
	struct tunnels *s = arg;

	list_for_each (it, &s->list) {
		struct tunnel *t = tunnel_of_node(it);
		const struct spec *spec = tunnel_spec(t);
		char new[SPEC_NAME_MAX + 1];

		if (!is_of_peer(t, id) || strcmp(spec->peer_name, name) == 0)
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

		if (!is_of_peer(t, id))
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
	struct tunnel *t = find_pairing(arg, tunnel_id);

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

static const struct identity_ops identity_ops = {
	.on_root = on_root,
	.on_forgotten = on_forgotten,
	.on_renamed = on_renamed,
	.on_list = on_list,
	.on_pairing = on_pairing,
	.on_listed = on_listed,
	.on_seen = on_seen,
	.on_connected = on_connected,
};

/* ---- state ---- */

static void on_stored(struct spec **spec, void *arg)
{
	struct tunnels *s = arg;
	struct tunnel *twin = (*spec)->origin == SPEC_PAIRED ? find_pairing(s, (*spec)->tunnel_id) : NULL;

	/* A kill came between a tunnel's new name and the end of its old one; a successor that has succeeded is the newer. */
	if (twin && tunnel_spec(twin)->successor && !(*spec)->successor) {
		tunnel_store_remove(&s->store, tunnel_spec(twin)->name);
		drop_tunnel(s, twin);
	} else if (twin) {
		tunnel_store_remove(&s->store, (*spec)->name);
		return;
	}
	/* Declared ones come with their files. */
	if ((*spec)->origin != SPEC_DECLARED)
		add_spec(s, spec, NULL);
}

static void on_bad_file(const char *path, int r, void *arg)
{
	struct tunnels *s = arg;

	s->bad_state = true;
	log_event(LOG_ERR, &MSG_TUNNEL_FAILED, LOG_FIELDS({ FIELD_FILE, path }),
		  "the state of tunnel %s cannot be read: %s", path, strerror(r < 0 ? -r : EBADMSG));
}

static bool is_used(struct tunnels *s, const char *ledger)
{
	list_for_each (it, &s->list)
		if (strcmp(tunnel_spec(tunnel_of_node(it))->ledger, ledger) == 0)
			return true;
	return false;
}

/*
 * A crash may leave the ledger of a root that was replaced, or of one that was
 * not acknowledged and will come again: secrets that nobody needs. Not when a
 * state file is broken, for then somebody may need them.
 */
static void remove_orphans(struct tunnels *s)
{
	DIR *d = s->bad_state ? NULL : opendir(s->store.ledgers_dir);
	const struct dirent *e;

	while (d && (e = readdir(d))) {
		size_t len = strlen(e->d_name);

		if (strncmp(e->d_name, "pairing-", 8) == 0 && len > 7 &&
		    strcmp(e->d_name + len - 7, ".ledger") == 0 && !is_used(s, e->d_name))
			remove_ledger(s, e->d_name);
	}
	if (d)
		closedir(d);
}

static void on_network(void *arg)
{
	struct tunnels *s = arg;

	list_for_each (it, &s->list)
		tunnel_on_network(tunnel_of_node(it));
}

static void on_device(unsigned int ifindex, void *arg)
{
	struct tunnels *s = arg;

	list_for_each (it, &s->list)
		if (tunnel_has_device(tunnel_of_node(it), ifindex))
			tunnel_on_device(tunnel_of_node(it));
}

static unsigned int route_device(const struct prefix *to, void *arg)
{
	struct tunnels *s = arg;
	unsigned int device = 0;

	list_for_each (it, &s->list)
		if (!device)
			device = tunnel_device_of_route(tunnel_of_node(it), to);
	return device;
}

static void on_wake(uint64_t slept_ms, void *arg)
{
	struct tunnels *s = arg;
	char seconds[24], span[32];

	/* It is measured to a few milliseconds. */
	slept_ms = (slept_ms + 500) / 1000 * 1000;
	snprintf(seconds, sizeof(seconds), "%llu", (unsigned long long)(slept_ms / 1000));
	text_format_duration(span, sizeof(span), slept_ms);
	log_event(LOG_NOTICE, &MSG_MACHINE_SLEPT, LOG_FIELDS({ FIELD_COUNT, seconds }),
		  "this machine slept for %s: every tunnel asks for its peer", span);
	list_for_each (it, &s->list)
		tunnel_on_wake(tunnel_of_node(it));
}

static const struct netwatch_ops netwatch_ops = { .on_network = on_network, .on_device = on_device, .route_device = route_device };

static bool is_counted_with(const struct spec *spec, const char *ledger)
{
	if (strcmp(spec->ledger, ledger) == 0 || strcmp(spec->staged_ledger, ledger) == 0)
		return true;
	for (size_t i = 0; i < spec->n_retired; i++)
		if (strcmp(spec->retired[i].ledger, ledger) == 0)
			return true;
	return false;
}

static bool ledger_is_used(const char *ledger, void *arg)
{
	struct tunnels *s = arg;

	list_for_each (it, &s->list)
		if (is_counted_with(tunnel_spec(tunnel_of_node(it)), ledger))
			return true;
	return false;
}

/*
 * Each on its way has work waiting for the loop's workers, whose queue is
 * short. So the next ones begin when those before them have their devices.
 */
static void start_queued(void *arg)
{
	struct tunnels *s = arg;
	size_t busy = 0;
	bool more = false;

	list_for_each (it, &s->list)
		busy += tunnel_is_starting(tunnel_of_node(it));
	list_for_each (it, &s->list) {
		struct tunnel *t = tunnel_of_node(it);

		if (!tunnel_is_queued(t))
			continue;
		if (busy >= STARTING_MAX) {
			more = true;
			break;
		}
		tunnel_start(t);
		busy += tunnel_is_starting(t);
	}
	if (more)
		loop_timer_start(s->starter, STARTING_MS);
}

int tunnels_new(struct tunnels **out, const struct tunnels_options *o)
{
	_cleanup_(tunnels_freep) struct tunnels *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	list_init(&s->list);
	s->loop = o->loop;
	s->max_tunnels = o->max_tunnels;
	s->start_paired = o->start_paired;
	s->tund_socket = strdup(o->tund_socket);
	s->runtime_dir = o->runtime_dir ? strdup(o->runtime_dir) : NULL;
	if (!s->tund_socket || (o->runtime_dir && !s->runtime_dir))
		return -ENOMEM;
	r = kept_new(&s->kept, o->fds);
	if (!r)
		r = tunnel_store_init(&s->store, o->state_dir);
	if (r)
		return r;
	s->ctx = (struct tunnel_context){ .policy = &s->policy, .loop = o->loop, .store = &s->store,
					  .tund_socket = s->tund_socket, .runtime_dir = s->runtime_dir,
					  .kept = s->kept, .offload = o->offload, .on_event = on_tunnel_event,
					  .ledger_is_used = ledger_is_used, .arg = s };
	r = loop_timer_new(&s->starter, o->loop, start_queued, s);
	if (r)
		return r;
	r = drop_log_new(&s->drop_log, o->loop, &s->list);
	if (r)
		return r;
	s->ctx.drop_log = s->drop_log;
	r = wake_new(&s->wake, o->loop, on_wake, s);
	if (r)
		return r;
	s->ctx.wake = s->wake;
	/* Tunnels first: pairingd may tell of changes at once. */
	r = tunnel_store_each(&s->store, on_stored, on_bad_file, s);
	if (!r)
		remove_orphans(s);
	if (!r)
		r = identity_client_new(&s->identity, o->loop, o->identity_socket, &identity_ops, s);
	if (r)
		return r;
	s->ctx.identity = s->identity;
	r = netwatch_new(&s->netwatch, o->loop, &netwatch_ops, s);
	if (r)
		log_debug("changes of the network are not told: %s", strerror(-r));
	list_for_each (it, &s->list)
		tunnel_set_identity(tunnel_of_node(it), s->identity);
	*out = steal(&s);
	return 0;
}

struct tunnels *tunnels_free(struct tunnels *s)
{
	if (!s)
		return NULL;
	loop_timer_free(s->starter);
	drop_log_free(s->drop_log);
	kept_leave(s->kept);
	list_for_each (it, &s->list)
		tunnel_free(tunnel_of_node(it));
	kept_free(s->kept);
	netwatch_free(s->netwatch);
	wake_free(s->wake);
	identity_client_free(s->identity);
	tunnel_store_done(&s->store);
	label_list_done(&s->policy.revoked);
	free(s->tund_socket);
	free(s->runtime_dir);
	free(s);
	return NULL;
}

void tunnels_on_event(struct tunnels *s,
		      void (*fn)(struct tunnel *t, const char *event, const struct tunnel_error *e, void *arg),
		      void (*succeeded)(struct tunnel *earlier, struct tunnel *t, void *arg), void *arg)
{
	s->on_event = fn;
	s->on_succeeded = succeeded;
	s->arg = arg;
}

void tunnels_set_start_paired(struct tunnels *s, bool yes)
{
	s->start_paired = yes;
}

void tunnels_set_policy(struct tunnels *s, const struct config_list *label_sources, struct label_list *revoked)
{
	label_list_done(&s->policy.revoked);
	s->policy = (struct tunnel_policy){ .label_sources = *label_sources, .revoked = *revoked };
	*revoked = (struct label_list){ 0 };
	list_for_each (it, &s->list)
		tunnel_on_policy(tunnel_of_node(it));
}

static bool is_enabled(const char *name, void *arg)
{
	const struct tunnel *t = find_exact(arg, name);

	return t && tunnel_spec(t)->enabled;
}

void tunnels_start_enabled(struct tunnels *s)
{
	list_for_each (it, &s->list) {
		tunnel_retire(tunnel_of_node(it));
		if (tunnel_spec(tunnel_of_node(it))->enabled)
			tunnel_queue(tunnel_of_node(it));
	}
	start_queued(s);
	kept_prune(s->kept, is_enabled, s);
}

void tunnels_stop_all(struct tunnels *s)
{
	loop_timer_stop(s->starter);
	kept_leave(s->kept);
	list_for_each (it, &s->list) {
		tunnel_save_fuel(tunnel_of_node(it));
		tunnel_stop(tunnel_of_node(it));
	}
}

/* ---- declared tunnels ---- */

struct declared {
	struct spec *v[1024];
	size_t n;
};

static void declared_done(struct declared *d)
{
	for (size_t i = 0; i < d->n; i++)
		spec_free(d->v[i]);
}

static int is_declaration(const char *file, char name[static SPEC_NAME_MAX + 1])
{
	size_t len = strlen(file);

	if (len <= strlen(YAML) || strcmp(file + len - strlen(YAML), YAML) != 0 || file[0] == '.')
		return 0;
	len -= strlen(YAML);
	if (len > SPEC_NAME_MAX)
		return -EINVAL;
	memcpy(name, file, len);
	name[len] = '\0';
	return text_is_name(name) ? 1 : -EINVAL;
}

/* What somebody takes for a declaration, and would wait for. */
static bool has_other_ending(const char *file)
{
	const char *dot = strrchr(file, '.');

	return dot && dot != file && file[0] != '.' && (strcasecmp(dot, ".yml") == 0 || (strcasecmp(dot, YAML) == 0 && strcmp(dot, YAML) != 0));
}

static int read_one(struct declared *d, const char *dir, const char *file, struct config_error *err)
{
	_cleanup_free_ char *path = path_join(dir, file);
	char name[SPEC_NAME_MAX + 1];
	int r = is_declaration(file, name);

	if (!path)
		return -ENOMEM;
	if (has_other_ending(file)) {
		snprintf(err->text, sizeof(err->text), "%s: it would be read if it ended with .yaml", path);
		return -EINVAL;
	}
	if (r < 0) {
		snprintf(err->text, sizeof(err->text),
			 "%s: a tunnel's name has 1 to 32 of a-z A-Z 0-9 . _ - and begins with a letter or digit",
			 path);
		return r;
	}
	if (r == 0)
		return 0;
	if (d->n == ARRAY_SIZE(d->v)) {
		snprintf(err->text, sizeof(err->text), "%s: too many tunnels", dir);
		return -EINVAL;
	}
	r = spec_load(&d->v[d->n], path, name, err);
	if (r)
		return r;
	d->n++;
	return 0;
}

/* Of two that come up by themselves, the kernel would give the packets to one. */
static int check_routes(const struct declared *d, const char *dir, struct config_error *err)
{
	char text[PREFIX_TEXT_MAX];

	for (size_t i = 0; i < d->n; i++)
		for (size_t j = 0; j < i; j++) {
			const struct spec *a = d->v[j], *b = d->v[i];
			const struct prefix *same = a->enabled && b->enabled ? networks_common(&a->routes, &b->routes) : NULL;

			if (!same)
				continue;
			prefix_format(text, same);
			snprintf(err->text, sizeof(err->text), "%s/%s.yaml: tunnel %s has the route %s, too", dir, b->name,
				 a->name, text);
			return -EINVAL;
		}
	return 0;
}

static int read_dir(struct declared *d, const char *dir, struct config_error *err)
{
	DIR *list = opendir(dir);
	const struct dirent *e;
	int r = 0;

	if (!list && errno == ENOENT)
		return 0;
	if (!list) {
		snprintf(err->text, sizeof(err->text), "%s: %s", dir, strerror(errno));
		return -errno;
	}
	while (!r && (e = readdir(list)))
		r = read_one(d, dir, e->d_name, err);
	closedir(list);
	return r ? r : check_routes(d, dir, err);
}

int tunnels_check_dir(const char *dir, struct config_error *err)
{
	struct declared *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	r = read_dir(d, dir, err);
	declared_done(d);
	free(d);
	return r;
}

static struct spec **find_declared(struct declared *d, const char *name)
{
	for (size_t i = 0; i < d->n; i++)
		if (d->v[i] && strcmp(d->v[i]->name, name) == 0)
			return &d->v[i];
	return NULL;
}

/* What state remembers of a declared tunnel. */
static void on_stored_declared(struct spec **stored, void *arg)
{
	struct declared *d = arg;

	if ((*stored)->origin == SPEC_DECLARED && !find_declared(d, (*stored)->name))
		tunnels_tell_left(*stored, "the tunnel is declared no more; it is erased when it is again, or by hand");
	for (size_t i = 0; i < d->n; i++) {
		struct spec *s = d->v[i];

		if ((*stored)->origin != SPEC_DECLARED || strcmp(s->name, (*stored)->name) != 0)
			continue;
		if (spec_take_generations(s, *stored) != 0)
			continue;
		/* Another key file gets another ledger; the old one stays and remembers. */
		if ((*stored)->ledger_for && strcmp((*stored)->ledger_for, s->f.key_file) == 0) {
			memcpy(s->ledger, (*stored)->ledger, sizeof(s->ledger));
			s->fingerprint = (*stored)->fingerprint;
			s->fuel = (*stored)->fuel;
		}
		memcpy(s->last_endpoint, (*stored)->last_endpoint, sizeof(s->last_endpoint));
		memcpy(s->last_identity, (*stored)->last_identity, sizeof(s->last_identity));
		if (spec_set_revoked(s, &(*stored)->revoked) != 0)
			continue;
		if ((*stored)->has_enabled)
			s->enabled = (*stored)->enabled;
	}
}

/* Told at the start already. */
static void on_bad_again(const char *path, int r, void *arg)
{
	(void)path;
	(void)r;
	(void)arg;
}

static int check_declared(struct tunnels *s, const struct declared *d, const char *dir,
			  struct config_error *err)
{
	size_t others = 0;

	list_for_each (it, &s->list)
		if (tunnel_spec(tunnel_of_node(it))->origin != SPEC_DECLARED)
			others++;
	if (d->n + others > s->max_tunnels) {
		snprintf(err->text, sizeof(err->text), "%s: more than max_tunnels (%llu) tunnels", dir,
			 (unsigned long long)s->max_tunnels);
		return -EINVAL;
	}
	for (size_t i = 0; i < d->n; i++) {
		struct tunnel *t = find_exact(s, d->v[i]->name);

		if (t && tunnel_spec(t)->origin != SPEC_DECLARED) {
			snprintf(err->text, sizeof(err->text),
				 "%s/%s.yaml: there is a tunnel of this name that was made by command or pairing",
				 dir, d->v[i]->name);
			return -EINVAL;
		}
	}
	return 0;
}

/* From here on nothing fails but memory. */
static void apply(struct tunnels *s, struct declared *d)
{
	list_for_each (it, &s->list) {
		struct tunnel *t = tunnel_of_node(it);
		struct spec **next = find_declared(d, tunnel_spec(t)->name);

		if (tunnel_spec(t)->origin != SPEC_DECLARED)
			continue;
		if (next && spec_same(tunnel_spec(t), *next) && tunnel_spec(t)->enabled == (*next)->enabled)
			*next = spec_free(*next);
		else if (next)
			replace_tunnel(s, t);
		else
			drop_tunnel(s, t);
	}
	for (size_t i = 0; i < d->n; i++)
		if (d->v[i])
			add_spec(s, &d->v[i], NULL);
}

int tunnels_declare(struct tunnels *s, const char *dir, struct config_error *err)
{
	struct declared *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	r = read_dir(d, dir, err);
	if (!r)
		r = check_declared(s, d, dir, err);
	if (!r) {
		tunnel_store_each(&s->store, on_stored_declared, on_bad_again, d);
		apply(s, d);
	}
	declared_done(d);
	free(d);
	return r;
}

/* ---- commands ---- */

static int check_new_name(struct tunnels *s, const char *name, struct tunnel_error *e)
{
	if (!text_is_name(name)) {
		tunnel_error_set(e, E(BadName), NULL,
				 "a tunnel's name has 1 to 32 of a-z A-Z 0-9 . _ - and begins with a letter or digit");
		return -1;
	}
	if (find_exact(s, name)) {
		tunnel_error_set(e, E(NameTaken), NULL, "there is a tunnel %s already", name);
		return -1;
	}
	if (s->n >= s->max_tunnels) {
		tunnel_error_set(e, E(StorageFailed), "Remove one, or raise max_tunnels in pskd.yaml.",
				 "there are %zu tunnels, and no more are allowed", s->n);
		return -1;
	}
	return 0;
}

int tunnels_add(struct tunnels *s, struct tunnel **out, const char *name, const struct json_t *members,
		struct tunnel_error *e)
{
	_cleanup_(spec_freep) struct spec *spec = NULL;
	struct config_error err = { "" };

	if (check_new_name(s, name, e))
		return -1;
	if (spec_make(&spec, name, members, &err) != 0) {
		tunnel_error_set(e, "io.handfast.Daemon.BadRequest", NULL, "%s", err.text);
		return -1;
	}
	if (add_spec(s, &spec, out) != 0) {
		tunnel_error_set(e, E(StorageFailed), NULL, "no memory");
		return -1;
	}
	return 0;
}

struct forgetting {
	struct tunnels *s;
	struct tunnel *t;
};

/* One that was not added after all; state may know it already. */
static void forget(void *arg)
{
	struct forgetting *f = arg;

	list_for_each (it, &f->s->list)
		if (tunnel_of_node(it) == f->t) {
			(void)tunnel_store_remove(&f->s->store, tunnel_spec(f->t)->name);
			drop_tunnel(f->s, f->t);
			break;
		}
	free(f);
}

void tunnels_forget(struct tunnels *s, struct tunnel *t)
{
	struct forgetting *f = calloc(1, sizeof(*f));

	if (!f)
		return;
	*f = (struct forgetting){ s, t };
	if (loop_defer(s->loop, forget, f) != 0)
		free(f);
}

int tunnels_remove(struct tunnels *s, struct tunnel *t, struct tunnel_error *e)
{
	char name[SPEC_NAME_MAX + 1];
	int r;

	snprintf(name, sizeof(name), "%s", tunnel_spec(t)->name);
	switch (tunnel_spec(t)->origin) {
	case SPEC_DECLARED:
		tunnel_error_set(e, E(Declared), "Remove its file and reload pskd; “handfast tunnel down” stops it.",
				 "tunnel %s is declared in a file", name);
		return -1;
	case SPEC_PAIRED:
		remove_peer(s, tunnel_spec(t)->peer_id);
		return 0;
	case SPEC_MADE:
		break;
	}
	r = tunnel_store_remove(&s->store, name);
	if (r) {
		tunnel_error_set(e, E(StorageFailed), NULL, "tunnel %s was not removed: %s", name, strerror(-r));
		return -1;
	}
	tunnels_tell_left(tunnel_spec(t), "the tunnel is removed, so erase it by hand");
	drop_tunnel(s, t);
	log_event(LOG_NOTICE, &MSG_TUNNEL_REMOVED, LOG_FIELDS({ FIELD_TUNNEL, name }),
		  "tunnel %s is removed; its ledger stays, so that the key file cannot be used again by mistake",
		  name);
	return 0;
}

int tunnels_set_enabled(struct tunnels *s, struct tunnel *t, bool enabled, struct tunnel_error *e)
{
	struct spec *spec = tunnel_spec_mutable(t);
	int r;

	if (spec->enabled == enabled)
		return 0;
	spec->enabled = enabled;
	r = tunnel_store_save(&s->store, spec);
	if (r == 0)
		return 0;
	spec->enabled = !enabled;
	tunnel_error_set(e, E(StorageFailed), NULL, "the state of tunnel %s was not written: %s", spec->name,
			 strerror(-r));
	return -1;
}

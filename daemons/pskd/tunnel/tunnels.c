/*
 * The set of tunnels. What is acknowledged was made durable first: state files
 * before replies, a root's ledger and state before pairingd may erase its copy.
 */
#include "pskd/tunnel/tunnels.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/text.h"
#include "event/loop.h"
#include "event/wake.h"
#include "pskd/handshake/identity_client.h"
#include "pskd/network/netwatch.h"
#include "pskd/packet/drop_log.h"
#include "pskd/packet/packets.h"
#include "pskd/tunnel/close_many.h"
#include "pskd/tunnel/kept.h"
#include "pskd/tunnel/together.h"
#include "pskd/tunnel/tunnels_internal.h"

/* So many are on their way at once; looked at so often while more wait. */
#define STARTING_MAX 24
#define STARTING_MS 10

static void on_tunnel_event(struct tunnel *t, const char *event, const struct tunnel_error *e, void *arg)
{
	struct tunnels *s = arg;

	if (s->on_event)
		s->on_event(t, event, e, s->arg);
}

int tunnels_add_spec(struct tunnels *s, struct spec **spec, struct tunnel **out)
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

void tunnels_drop(struct tunnels *s, struct tunnel *t)
{
	tunnel_stop(t);
	s->n--;
	tunnel_free(t);
}

void tunnels_replace(struct tunnels *s, struct tunnel *t)
{
	tunnel_stop_replaced(t);
	s->n--;
	tunnel_free(t);
}

struct tunnel *tunnels_find_exact(struct tunnels *s, const char *name)
{
	list_for_each (it, &s->list)
		if (strcmp(tunnel_spec(tunnel_of_node(it))->name, name) == 0)
			return tunnel_of_node(it);
	return NULL;
}

struct tunnel *tunnels_find(struct tunnels *s, const char *name)
{
	struct tunnel *t = tunnels_find_exact(s, name);

	if (t)
		return t;
	list_for_each (it, &s->list) {
		const struct spec *spec = tunnel_spec(tunnel_of_node(it));

		if (spec->origin == SPEC_PAIRED && strcmp(spec->peer_name, name) == 0)
			return tunnel_of_node(it);
	}
	return NULL;
}

bool tunnels_is_of_peer(const struct tunnel *t, const uint8_t *id)
{
	const struct spec *spec = tunnel_spec(t);

	return spec->origin == SPEC_PAIRED && memcmp(spec->peer_id, id, IDENTITY_ID_LEN) == 0;
}

struct tunnel *tunnels_find_peer(struct tunnels *s, const uint8_t id[static IDENTITY_ID_LEN], bool successor, size_t n)
{
	list_for_each (it, &s->list)
		if (tunnels_is_of_peer(tunnel_of_node(it), id) &&
		    tunnel_spec(tunnel_of_node(it))->successor == successor && n-- == 0)
			return tunnel_of_node(it);
	return NULL;
}

struct tunnel *tunnels_find_pairing(struct tunnels *s, const uint8_t *tunnel_id)
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

	return spec->origin == SPEC_PAIRED && !spec->successor ? tunnels_find_peer(s, spec->peer_id, true, n) : NULL;
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

/* ---- state ---- */

static void on_stored(struct spec **spec, void *arg)
{
	struct tunnels *s = arg;
	struct tunnel *twin = (*spec)->origin == SPEC_PAIRED ? tunnels_find_pairing(s, (*spec)->tunnel_id) : NULL;

	/* A kill came between a tunnel's new name and the end of its old one; a successor that has succeeded is the newer. */
	if (twin && tunnel_spec(twin)->successor && !(*spec)->successor) {
		tunnel_store_remove(&s->store, tunnel_spec(twin)->name);
		tunnels_drop(s, twin);
	} else if (twin) {
		tunnel_store_remove(&s->store, (*spec)->name);
		return;
	}
	/* Declared ones come with their files. */
	if ((*spec)->origin != SPEC_DECLARED)
		tunnels_add_spec(s, spec, NULL);
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
			tunnels_remove_ledger(s, e->d_name);
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
	r = packets_new(&s->packets, o->workers);
	if (!r)
		r = kept_new(&s->kept, o->fds);
	if (!r)
		r = tunnel_store_init(&s->store, o->state_dir);
	if (r)
		return r;
	s->ctx = (struct tunnel_context){ .policy = &s->policy, .loop = o->loop, .store = &s->store,
					  .tund_socket = s->tund_socket, .runtime_dir = s->runtime_dir,
					  .kept = s->kept, .offload = o->offload, .packets = s->packets,
					  .on_event = on_tunnel_event, .ledger_is_used = ledger_is_used, .arg = s };
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
		r = identity_client_new(&s->identity, o->loop, o->identity_socket, &tunnels_identity_ops, s);
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
	packets_free(s->packets);
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
	const struct tunnel *t = tunnels_find_exact(arg, name);

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

static void write_fuel(size_t i, void *arg)
{
	struct tunnel **all = arg;

	tunnel_write_fuel(all[i]);
}

/* One after the other would wait for the disk twice for each. */
static void save_fuel(struct tunnels *s)
{
	_cleanup_free_ struct tunnel **all = calloc(s->n + 1, sizeof(struct tunnel *));
	size_t n = 0;

	list_for_each (it, &s->list) {
		tunnel_fuel_look(tunnel_of_node(it));
		if (all)
			all[n++] = tunnel_of_node(it);
		else
			tunnel_write_fuel(tunnel_of_node(it));
	}
	together(n, write_fuel, all);
}

void tunnels_stop_all(struct tunnels *s)
{
	_cleanup_free_ int *devices = calloc(s->n + 1, sizeof(*devices));
	size_t n = 0;

	loop_timer_stop(s->starter);
	kept_leave(s->kept);
	save_fuel(s);
	/* So that their ledgers are written beside each other. */
	list_for_each (it, &s->list)
		tunnel_begin_stop(tunnel_of_node(it));
	list_for_each (it, &s->list) {
		/* The devices go together. */
		if (devices)
			devices[n++] = tunnel_copy_device(tunnel_of_node(it));
		tunnel_stop(tunnel_of_node(it));
	}
	close_many(devices, n);
}

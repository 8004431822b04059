/* What commands set of tunnels that no file declares: durable before it is acknowledged, and in force at once. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "pskd/tunnel/store.h"
#include "pskd/tunnel/tunnels.h"

#define E(name) "io.handfast.Tunnel." #name

static bool is_fixed(struct tunnel *t, struct tunnel_error *e)
{
	const struct spec *spec = tunnel_spec(t);

	if (spec->origin == SPEC_DECLARED)
		tunnel_error_set(e, E(Declared), "Change its file and reload pskd.", "tunnel %s is declared in a file", spec->name);
	else if (tunnel_is_being_added(t))
		tunnel_error_set(e, E(NoAnswer), "Wait until its key file was read.", "%s is still being added", spec->name);
	else
		return false;
	return true;
}

/* Of two that come up by themselves, the kernel would give the packets to one. */
static bool route_is_anothers(struct tunnels *s, const struct tunnel *t, struct tunnel_error *e)
{
	const struct spec *spec = tunnel_spec(t);
	char text[PREFIX_TEXT_MAX];

	list_for_each (it, tunnels_list(s)) {
		const struct spec *other = tunnel_spec(tunnel_of_node(it));
		const struct prefix *same = other == spec || !other->enabled || other->successor ? NULL :
							networks_common(&spec->routes, &other->routes);

		if (!same || !spec->enabled)
			continue;
		prefix_format(text, same);
		tunnel_error_set(e, E(RouteConflict), "Take it away there first, or take that tunnel down.", "tunnel %s has the route %s, too",
				 other->name, text);
		return true;
	}
	return false;
}

/* The spec is as it is to be, and *earlier what it was: 0. CHANGES_NOTHING, or -1 with *e: then it is as it was. */
enum { CHANGES_NOTHING = 1 };

static int begin_change(struct tunnels *s, struct tunnel *t, struct spec **earlier, const struct json_t *members,
			const struct json_t *defaults, struct tunnel_error *e)
{
	struct spec *spec = tunnel_spec_mutable(t);
	struct config_error err = { "" };
	int r;

	if (is_fixed(t, e))
		return -1;
	r = spec_change(spec, earlier, members, defaults, &err);
	if (r) {
		tunnel_error_set(e, "io.handfast.Daemon.BadRequest", NULL, "%s", err.text[0] ? err.text : strerror(-r));
		return -1;
	}
	if (spec_same(spec, *earlier))
		return CHANGES_NOTHING;
	if (route_is_anothers(s, t, e)) {
		spec_change_back(spec, earlier);
		return -1;
	}
	return 0;
}

static bool text_same(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool has_same_networks(const struct spec *a, const struct spec *b)
{
	if (a->routes.n != b->routes.n || !text_same(a->f.local_address, b->f.local_address) ||
	    !text_same(a->f.peer_address, b->f.peer_address))
		return false;
	for (size_t i = 0; i < a->routes.n; i++)
		if (!prefix_equal(&a->routes.v[i], &b->routes.v[i]))
			return false;
	return true;
}

int tunnels_ask_change(struct tunnels *s, struct tunnel *t, const struct json_t *members, const struct json_t *defaults,
		       void (*fn)(const struct tunnel_error *e, void *arg), void *arg, struct tunnel_error *e)
{
	_cleanup_(spec_freep) struct spec *earlier = NULL;
	struct spec *spec = tunnel_spec_mutable(t);
	int r = begin_change(s, t, &earlier, members, defaults, e);
	bool asks;

	if (r)
		return r < 0 ? -1 : 0;
	asks = !has_same_networks(spec, earlier);
	r = asks ? tunnel_ask_networks(t, fn, arg) : 0;
	spec_change_back(spec, &earlier);
	if (r) {
		tunnel_error_set(e, E(DeviceFailed), NULL, "tund cannot be asked: %s", strerror(-r));
		return -1;
	}
	return asks;
}

int tunnels_change(struct tunnels *s, struct tunnel *t, const struct json_t *members, const struct json_t *defaults, struct tunnel_error *e)
{
	_cleanup_(spec_freep) struct spec *earlier = NULL;
	struct spec *spec = tunnel_spec_mutable(t);
	int r = begin_change(s, t, &earlier, members, defaults, e);

	if (r)
		return r < 0 ? -1 : 0;
	r = tunnel_store_save(tunnels_store(s), spec);
	if (r) {
		spec_change_back(spec, &earlier);
		tunnel_error_set(e, E(StorageFailed), NULL, "the state of tunnel %s was not written: %s", spec->name, strerror(-r));
		return -1;
	}
	log_event(LOG_NOTICE, &MSG_TUNNEL_CHANGED, LOG_FIELDS({ FIELD_TUNNEL, spec->name }, { FIELD_PEER, tunnel_peer(t) }),
		  "tunnel %s: its settings were changed by command", spec->name);
	tunnel_restart(t);
	return 0;
}

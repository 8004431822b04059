/* Tunnels that commands add, remove, and have up or down. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "event/loop.h"
#include "pskd/tunnel/tunnels_internal.h"

static int check_new_name(struct tunnels *s, const char *name, struct tunnel_error *e)
{
	if (!text_is_name(name)) {
		tunnel_error_set(e, E(BadName), NULL,
				 "a tunnel's name has 1 to 32 of a-z A-Z 0-9 . _ - and begins with a letter or digit");
		return -1;
	}
	if (tunnels_find_exact(s, name)) {
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
	if (tunnels_add_spec(s, &spec, out) != 0) {
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
			tunnels_drop(f->s, f->t);
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
		tunnels_remove_peer(s, tunnel_spec(t)->peer_id);
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
	tunnels_drop(s, t);
	log_event(LOG_NOTICE, &MSG_TUNNEL_REMOVED, LOG_FIELDS({ FIELD_TUNNEL, name }),
		  "tunnel %s is removed; its ledger stays, so that the key file cannot be used again by mistake",
		  name);
	return 0;
}

int tunnels_enable(struct tunnels *s, struct tunnel *t, struct tunnel_error *e)
{
	struct spec *spec = tunnel_spec_mutable(t);
	int r;

	if (spec->enabled)
		return 0;
	spec->enabled = true;
	r = tunnel_store_save(&s->store, spec);
	if (r == 0) {
		spec->unsaved = false;
		return 0;
	}
	spec->enabled = false;
	tunnel_error_set(e, E(StorageFailed), "Nothing was changed: what would not outlive a restart is not done.",
			 "the state of tunnel %s was not written: %s", spec->name,
			 strerror(-r));
	return -1;
}

/* Whoever wants no packets sent is not refused for want of a disk. */
int tunnels_disable(struct tunnels *s, struct tunnel *t, struct tunnel_error *e)
{
	struct spec *spec = tunnel_spec_mutable(t);
	int r;

	if (!spec->enabled && !spec->unsaved)
		return 0;
	spec->enabled = false;
	r = tunnel_store_save(&s->store, spec);
	spec->unsaved = r != 0;
	if (r == 0)
		return 0;
	tunnel_error_set(e, E(StorageFailed), NULL, "tunnel %s comes up again when pskd starts, for its state was not written: %s",
			 spec->name, strerror(-r));
	log_event(LOG_WARNING, &MSG_TUNNEL_NOT_KEPT_DOWN,
		  LOG_FIELDS({ FIELD_TUNNEL, spec->name }, { FIELD_PEER, tunnel_peer(t) }, { FIELD_ERROR, e->code }), "%s", e->message);
	return 1;
}

/* The timer runs only from a drop on, for a minute: where nothing comes, nothing wakes up. */
#include "pskd/packet/drop_log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/list.h"
#include "base/log.h"
#include "event/loop.h"
#include "pskd/packet/drops.h"
#include "pskd/tunnel/tunnel.h"

#define TELL_AFTER_MS 60000
#define WORTH_TELLING 100

enum { TUNNELS_NAMED = 5 };

struct drop_log {
	struct loop_timer *timer;
	struct list *tunnels;
};

struct telling {
	char text[900], count[24];
	size_t len;
	struct log_field fields[1 + 2 * TUNNELS_NAMED];
	size_t n_fields;
	unsigned int named;
	uint64_t others;
};

__attribute__((format(printf, 2, 3))) static void add(struct telling *to, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(to->text + to->len, sizeof(to->text) - to->len, fmt, ap);
	va_end(ap);
	if (n > 0)
		to->len += (size_t)n;
	if (to->len >= sizeof(to->text))
		to->len = sizeof(to->text) - 1;
}

/* "; tunnel lab: 99 magic, 1 aead", and the fields to find it by. */
static void add_tunnel(struct telling *to, const struct tunnel *t, const struct drops *drops)
{
	const char *separator = ": ";

	if (to->named == TUNNELS_NAMED) {
		to->others += drops->arrived;
		return;
	}
	add(to, "; tunnel %s", tunnel_spec(t)->name);
	for (enum drop d = 0; d < N_DROPS; d++)
		if (drops->n[d] > 0 && !drop_is_outgoing(d)) {
			add(to, "%s%llu %s", separator, (unsigned long long)drops->n[d], drop_name(d));
			separator = ", ";
		}
	to->named++;
	to->fields[to->n_fields++] = (struct log_field){ FIELD_TUNNEL, tunnel_spec(t)->name };
	to->fields[to->n_fields++] = (struct log_field){ FIELD_PEER, tunnel_peer(t) };
}

static void tell(void *arg)
{
	struct drop_log *l = arg;
	struct telling to = { .n_fields = 1 };
	struct drops drops;
	uint64_t total = 0;

	list_for_each (it, l->tunnels) {
		tunnel_untold_drops(tunnel_of_node(it), &drops);
		total += drops.arrived;
		if (drops.arrived > 0)
			add_tunnel(&to, tunnel_of_node(it), &drops);
	}
	if (total < WORTH_TELLING)
		return;
	if (to.others > 0)
		add(&to, "; other tunnels: %llu", (unsigned long long)to.others);
	snprintf(to.count, sizeof(to.count), "%llu", (unsigned long long)total);
	to.fields[0] = (struct log_field){ FIELD_COUNT, to.count };
	log_event(LOG_NOTICE, &MSG_TUNNEL_DROPS, (struct log_fields){ to.fields, to.n_fields },
		  "dropped %s packets%s", to.count, to.text);
	list_for_each (it, l->tunnels)
		tunnel_told_drops(tunnel_of_node(it));
}

int drop_log_new(struct drop_log **out, struct loop *loop, struct list *tunnels)
{
	_cleanup_(drop_log_freep) struct drop_log *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return -ENOMEM;
	r = loop_timer_new(&l->timer, loop, tell, l);
	if (r)
		return r;
	l->tunnels = tunnels;
	*out = steal(&l);
	return 0;
}

struct drop_log *drop_log_free(struct drop_log *l)
{
	if (!l)
		return NULL;
	if (l->tunnels)
		tell(l);
	loop_timer_free(l->timer);
	free(l);
	return NULL;
}

void drop_log_on_drops(struct drop_log *l)
{
	if (!loop_timer_is_running(l->timer))
		loop_timer_start(l->timer, TELL_AFTER_MS);
}

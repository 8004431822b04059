/*
 * What a flood of bad packets leaves in the log: a line a minute with the counts
 * by cause. A few stray packets leave nothing there but wait to be told with
 * more; "handfast tunnel show" has every one. The timer runs only after a drop.
 */
#include <stdio.h>

#include "base/log.h"
#include "pskd/tunnel_internal.h"

#define TELL_AFTER_MS 60000
#define WORTH_TELLING 100

void tunnel_on_drops(void *arg)
{
	struct tunnel *t = arg;

	if (!loop_timer_is_running(t->drops_timer))
		loop_timer_start(t->drops_timer, TELL_AFTER_MS);
}

void tunnel_tell_drops(void *arg)
{
	struct tunnel *t = arg;
	const struct drops *now = t->path ? &path_counters(t->path)->drops : NULL;
	char text[800] = "", count[24];
	size_t len = 0;

	if (!now || now->arrived - t->drops_told.arrived < WORTH_TELLING)
		return;
	for (enum drop d = 0; d < N_DROPS; d++) {
		uint64_t n = now->n[d] - t->drops_told.n[d];

		if (n > 0 && d != DROP_SEND && d != DROP_STALE && len < sizeof(text))
			len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%llu %s", len ? ", " : "",
						(unsigned long long)n, drop_name(d));
	}
	snprintf(count, sizeof(count), "%llu", (unsigned long long)(now->arrived - t->drops_told.arrived));
	log_event(LOG_NOTICE, &MSG_TUNNEL_DROPS,
		  LOG_FIELDS({ FIELD_TUNNEL, t->spec->name }, { FIELD_PEER, tunnel_peer(t) }, { FIELD_COUNT, count }),
		  "tunnel %s: dropped %s packets: %s", t->spec->name, count, text);
	t->drops_told = *now;
}

void tunnel_end_drops(struct tunnel *t)
{
	loop_timer_stop(t->drops_timer);
	tunnel_tell_drops(t);
	t->drops_told = (struct drops){ .arrived = 0 };
}

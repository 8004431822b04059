/* Which way packets to an address leave: looked for where a route of the tunnel's covers it, and now and then again. */
#include "pskd/packet/path_internal.h"

#include <string.h>

#include "base/clock.h"

/* So long it is taken for the same: a route that moves unheard is followed in that time. */
#define WAY_KEPT_MS 5000

static bool is_covered(const struct path *p, const struct sockaddr_in6 *to)
{
	bool v4 = IN6_IS_ADDR_V4MAPPED(&to->sin6_addr);
	const struct networks *routes = &p->o.addresses.routes;

	for (size_t i = 0; i < routes->n; i++)
		if (prefix_has(&routes->v[i], v4 ? 4 : 6, to->sin6_addr.s6_addr + (v4 ? 12 : 0)))
			return true;
	return false;
}

static uint32_t look(const struct path *p, struct ways *known, const struct sockaddr_in6 *to)
{
	struct way *w = NULL;
	uint64_t now;

	if (!is_covered(p, to))
		return 0;
	now = clock_now_ms();
	for (size_t i = 0; i < PATH_WAYS && !w; i++)
		if (known->v[i].looked_ms && memcmp(&known->v[i].to, &to->sin6_addr, sizeof(to->sin6_addr)) == 0)
			w = &known->v[i];
	if (w && now - w->looked_ms < WAY_KEPT_MS)
		return w->by;
	if (!w)
		w = &known->v[known->next++ % PATH_WAYS];
	*w = (struct way){ .to = to->sin6_addr, .by = way_find(to, p->o.ifindex), .looked_ms = now };
	return w->by;
}

uint32_t path_way(struct path *p, const struct sockaddr_in6 *to)
{
	return look(p, &p->control_ways, to);
}

uint32_t path_way_out(struct path *p, const struct sockaddr_in6 *to)
{
	return look(p, &p->ways, to);
}

void path_forget_locals(struct path *p)
{
	HOLD(p->o.hold);

	path_forget_local(p->current);
	path_forget_local(p->pending);
	path_forget_local(p->other);
}

void path_forget_ways(struct path *p)
{
	/* None covers anything: there is nothing to know. */
	if (p->o.addresses.routes.n == 0)
		return;
	HOLD(p->o.hold);

	p->ways = p->control_ways = (struct ways){ .next = 0 };
}

/* Where the peer may be: names and numbers that a tunnel tries, looked up now and then, and whether the way there leads out. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "pskd/network/way.h"
#include "pskd/tunnel/stage.h"
#include "pskd/tunnel/tunnel_internal.h"

static void add_name(struct tunnel *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void add_name(struct tunnel *t, const char *fmt, ...)
{
	va_list ap;
	char *to;

	if (t->names.n == RESOLVE_MAX)
		return;
	to = t->names.v[t->names.n];
	va_start(ap, fmt);
	vsnprintf(to, sizeof(t->names.v[0]), fmt, ap);
	va_end(ap);
	for (size_t i = 0; i < t->names.n; i++)
		if (strcmp(t->names.v[i], to) == 0)
			return;
	t->names.n++;
}

void tunnel_collect_names(struct tunnel *t)
{
	const struct spec *s = t->spec;

	t->names.n = 0;
	if (s->f.endpoint)
		add_name(t, "%s", s->f.endpoint);
	if (s->last_endpoint[0] && !s->f.peer)
		add_name(t, "%s", s->last_endpoint);
	for (size_t i = 0; i < s->n_candidates && s->peer_port; i++)
		add_name(t, "%s:%u", s->candidates[i], s->peer_port);
}

static bool is_among(const struct sockaddr_in6 *v, size_t n, const struct sockaddr_in6 *a)
{
	for (size_t i = 0; i < n; i++)
		if (udp_same(&v[i], a))
			return true;
	return false;
}

/* A prototype peer is where its endpoint says: without a handshake nothing else would prove it. */
static void start_plain(struct tunnel *t, const struct sockaddr_in6 *v, size_t n)
{
	const struct session *before = path_current(t->path);
	struct session *s;

	if ((before && is_among(v, n, &before->address)) ||
	    session_new(&s, NULL, (enum keys_role)t->spec->f.role, path_rx_slots((uint32_t)t->spec->f.window)))
		return;
	s->address = v[0];
	path_set_current(t->path, &s);
	if (before) {
		tunnel_note(t, LOG_NOTICE, &MSG_TUNNEL_MOVED, NULL, &v[0], "the peer's name is somewhere else now");
		return;
	}
	t->state = TUNNEL_UP;
	log_event(LOG_NOTICE, &MSG_TUNNEL_UP, LOG_FIELDS({ FIELD_TUNNEL, t->spec->name }, { FIELD_PEER, tunnel_peer(t) }),
		  "tunnel %s is up, without handshakes, to a prototype peer", t->spec->name);
	tunnel_tell(t, "up");
}

/* A route of ours may cover the peer itself, and there be no way beside it: our packets would go round in circles. */
static bool leads_into_itself(struct tunnel *t, const struct sockaddr_in6 *to)
{
	return path_way(t->path, to) == WAY_NONE;
}

static void check_way(struct tunnel *t, const struct sockaddr_in6 *v, size_t n)
{
	char text[UDP_TEXT_MAX];

	for (size_t i = 0; i < n && t->state == TUNNEL_WAITING && !t->problem.code; i++) {
		if (!leads_into_itself(t, &v[i]))
			continue;
		udp_format(text, &v[i]);
		tunnel_set_problem(t, E(RouteConflict), "The machine needs a default route, or the peer's address a route of its own.",
				   "the way to the peer at %s leads into the tunnel itself", text);
		tunnel_note(t, LOG_WARNING, &MSG_TUNNEL_DEVICE, t->problem.code, NULL, t->problem.message);
	}
}

void tunnel_use_candidates(struct tunnel *t, const struct sockaddr_in6 *v, size_t n)
{
	check_way(t, v, n);
	if (t->hello)
		hello_set_candidates(t->hello, v, n);
	if (t->hello)
		stage_on_candidates(t);
	else if (n > 0)
		start_plain(t, v, n);
}

static void on_resolved(const struct sockaddr_in6 *v, size_t n, void *arg)
{
	struct tunnel_link *link = arg;
	struct tunnel *t = link->t;

	free(link);
	if (!t)
		return;
	t->resolving = NULL;
	t->is_unfound = n == 0;
	if (n > 0)
		tunnel_use_candidates(t, v, n);
	tunnel_arm(t);
}

/* Numbers stay what they are, but those of a link's own: the device of that name may be another one. */
bool tunnel_has_names(const struct tunnel *t)
{
	struct sockaddr_in6 v[RESOLVE_MAX];
	size_t n = resolve_numbers(v, RESOLVE_MAX, &t->names);

	for (size_t i = 0; i < n; i++)
		if (v[i].sin6_scope_id)
			return true;
	return n < t->names.n;
}

void tunnel_resolve_again(struct tunnel *t)
{
	struct tunnel_link *link;

	if (t->resolving || t->names.n == 0)
		return;
	link = calloc(1, sizeof(*link));
	if (!link)
		return;
	if (resolve_start(t->ctx.loop, &t->names, on_resolved, link) != 0) {
		free(link);
		return;
	}
	link->t = t;
	t->resolving = link;
	t->resolved_ms = clock_now_ms();
}

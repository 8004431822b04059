/*
 * A device that somebody else changed: managers of networks clear what they do
 * not know, and people mistype. What tund had set is set again at once, but not
 * at any rate: two that do not agree do not fight without end. What somebody
 * added stays.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "pskd/packet/tun.h"
#include "pskd/tunnel/tunnel_internal.h"

/* So many times in a row, and then one in so long. */
#define MENDS_AT_ONCE 10
#define MEND_EVERY_MS 15000

static void tell_failed(struct tunnel *t, int error, const char *detail)
{
	const char *code = error == EEXIST ? E(RouteConflict) : error == EADDRINUSE ? E(AddressConflict) : E(DeviceFailed);
	bool is_news = !t->mend_failed;

	t->mend_failed = true;
	/* What keeps the tunnel from its peer says more. */
	if (!t->problem.code || t->device_problem) {
		tunnel_set_problem(t, code, NULL, "%s lacks an address or a route, which cannot be set again: %s", t->ifname,
				   detail);
		t->device_problem = true;
	}
	/* It is tried again for as long as it takes. */
	if (!is_news)
		return;
	log_event(LOG_WARNING, &MSG_TUNNEL_DEVICE,
		  LOG_FIELDS({ FIELD_TUNNEL, t->spec->name }, { FIELD_PEER, tunnel_peer(t) }, { FIELD_DEVICE, t->ifname },
			     { FIELD_ERROR, code }),
		  "tunnel %s: somebody took addresses or routes away from %s, and they cannot be set again: %s", t->spec->name,
		  t->ifname, detail);
}

static void tell_mended(struct tunnel *t)
{
	if (t->device_problem)
		tunnel_clear_problem(t);
	t->device_problem = t->mend_failed = false;
	log_event(LOG_NOTICE, &MSG_TUNNEL_DEVICE,
		  LOG_FIELDS({ FIELD_TUNNEL, t->spec->name }, { FIELD_PEER, tunnel_peer(t) }, { FIELD_DEVICE, t->ifname }),
		  "tunnel %s: somebody took addresses or routes away from %s; they are set again", t->spec->name, t->ifname);
}

static void on_mended(const struct tun_result *result, void *arg)
{
	struct tunnel_link *link = arg;
	struct tunnel *t = link->t;

	free(link);
	if (!t)
		return;
	t->mending = NULL;
	if (result->error && tun_lacks(path_tun_fd(t->path), &t->addresses) == TUN_INCOMPLETE) {
		tell_failed(t, result->error, result->detail);
		loop_timer_start(t->mend_later, MEND_EVERY_MS);
		return;
	}
	if (!result->error)
		tell_mended(t);
	/* It may have gone on meanwhile. */
	tunnel_on_device(t);
}

static void mend(struct tunnel *t)
{
	struct tunnel_link *link = calloc(1, sizeof(*link));
	int r = link ? tun_mend(t->ctx.loop, t->ctx.tund_socket, (uint16_t)t->spec->f.mtu, &t->addresses,
				path_tun_fd(t->path), on_mended, link) :
		       -ENOMEM;

	if (r) {
		free(link);
		tell_failed(t, -r, strerror(-r));
		loop_timer_start(t->mend_later, MEND_EVERY_MS);
		return;
	}
	link->t = t;
	t->mending = link;
}

/* How long to wait before it is mended again; at 0 it is counted. */
static uint64_t patience(struct tunnel *t)
{
	uint64_t now = clock_now_ms(), debt;

	if (t->mends_paid_ms < now)
		t->mends_paid_ms = now;
	debt = t->mends_paid_ms - now;
	if (debt > (MENDS_AT_ONCE - 1) * MEND_EVERY_MS)
		return debt - (MENDS_AT_ONCE - 1) * MEND_EVERY_MS;
	t->mends_paid_ms += MEND_EVERY_MS;
	return 0;
}

int tunnel_copy_device(const struct tunnel *t)
{
	return t->path ? fcntl(path_tun_fd(t->path), F_DUPFD_CLOEXEC, 0) : -1;
}

bool tunnel_has_device(const struct tunnel *t, unsigned int ifindex)
{
	return t->path && (ifindex == 0 || t->ifindex == ifindex);
}

unsigned int tunnel_device_of_route(const struct tunnel *t, const struct prefix *to)
{
	for (size_t i = 0; t->path && i < t->addresses.routes.n; i++)
		if (prefix_equal(&t->addresses.routes.v[i], to))
			return t->ifindex;
	return 0;
}

void tunnel_on_device(struct tunnel *t)
{
	struct tunnel_error e = { 0 };
	uint64_t wait;

	if (!t->path || t->mending)
		return;
	switch (tun_lacks(path_tun_fd(t->path), &t->addresses)) {
	case TUN_SAME:
		loop_timer_stop(t->mend_later);
		/* Whoever had taken it has given it back. */
		if (t->mend_failed)
			tell_mended(t);
		return;
	case TUN_OTHER:
		tunnel_error_set(&e, E(DeviceFailed), NULL, "somebody removed its device %s", t->ifname);
		tunnel_fail(t, &e);
		return;
	case TUN_INCOMPLETE:
		break;
	}
	wait = patience(t);
	if (wait > 0)
		loop_timer_start(t->mend_later, wait);
	else
		mend(t);
}

void tunnel_on_mend_later(void *arg)
{
	tunnel_on_device(arg);
}

void tunnel_forget_device(struct tunnel *t)
{
	if (t->mending)
		t->mending->t = NULL;
	t->mending = NULL;
	loop_timer_stop(t->mend_later);
	t->ifindex = 0;
	t->device_problem = t->mend_failed = false;
}

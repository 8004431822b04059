/*
 * The path's sessions and life; packets are outbound.c's and inbound.c's. At
 * most three sessions are alive: the current one, the one that a handshake has
 * just made, and the one before, whose packets may still be on their way.
 */
#include "pskd/path.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "pskd/path_internal.h"

/* Packets that waited in the device for longer than this are of no use to anyone. */
#define STALE_MS 5000

size_t path_rx_slots(uint32_t window)
{
	/* The window may begin inside a slot, and the slots ahead are beside the current one. */
	return window / PSK2_SLOT_PACKETS + 2 + PATH_SLOTS_AHEAD + 1;
}

static struct space *space_free(struct space *s)
{
	if (s)
		replay_free(s->replay);
	free(s);
	return NULL;
}

static int space_new(struct space **out, struct keys *k, uint32_t window)
{
	uint64_t high = keys_rx_high(k), floor = keys_rx_floor(k);
	struct space *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->keys = k;
	/* What an earlier life received cannot be told apart below its highest: all of that is old. */
	if (high != UINT64_MAX && high + 1 > floor)
		floor = high + 1;
	s->rx_base = s->told = floor;
	r = replay_new(&s->replay, window / 64 * 64, floor);
	if (r)
		space_free(s);
	else
		*out = s;
	return r;
}

/* Who has come to the end sends nothing: no reason to give up the slots of what is on its way. */
static void space_forward(struct space *s, uint64_t next)
{
	if (next > s->rx_base && next < keys_end(s->keys))
		s->rx_base = next;
}

int path_new(struct path **out, const struct path_options *o)
{
	_cleanup_(path_freep) struct path *p = NULL;
	int r;

	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->o = *o;
	p->o.udp.fd = -1;
	p->o.tun_fd = -1;
	p->down_since_ms = clock_now_ms();
	udp_set_df(&o->udp, UDP_DF_KERNEL);
	udp_set_class(&o->udp, path_own_class(p));
	p->offload = offload_device(o->tun_fd, o->offload) | offload_socket(o->udp.fd, o->offload);
	r = space_new(&p->space, o->keys, o->window);
	if (!r)
		r = inbound_init(p);
	if (!r)
		r = outbound_init(p);
	if (!r)
		r = mtu_init(p);
	if (!r)
		r = loop_io_new(&p->tun_io, o->loop, o->tun_fd, 0, outbound_on_tun, p);
	if (!r)
		r = loop_io_new(&p->udp_io, o->loop, o->udp.fd, LOOP_READ, inbound_on_udp, p);
	if (r)
		return r;
	p->o.udp = o->udp;
	p->o.tun_fd = o->tun_fd;
	*out = steal(&p);
	return 0;
}

struct path *path_free(struct path *p)
{
	if (!p)
		return NULL;
	loop_io_free(p->tun_io);
	loop_io_free(p->udp_io);
	udp_close(&p->o.udp);
	if (p->o.tun_fd >= 0)
		close(p->o.tun_fd);
	session_free(p->current);
	session_free(p->pending);
	session_free(p->previous);
	session_free(p->other);
	space_free(p->space);
	space_free(p->spare);
	inbound_done(p);
	outbound_done(p);
	mtu_done(p);
	free(p);
	return NULL;
}

void path_set_pending(struct path *p, struct session **s)
{
	(*s)->space = p->space;
	inbound_prepare(p, *s);
	session_free(p->pending);
	p->pending = steal(s);
}

/* The session has proven itself: its keys are the ones to send with from now on. */
static void make_current(struct path *p, struct session *s)
{
	uint64_t now = clock_now_ms();

	if (p->current) {
		session_free(p->previous);
		p->previous = p->current;
		p->previous_until_ms = now + PREVIOUS_KEPT_MS;
	} else if (now - p->down_since_ms > STALE_MS) {
		outbound_drain(p);
	}
	p->current = s;
	mtu_on_session(p);
	outbound_update(p);
}

void path_set_current(struct path *p, struct session **s)
{
	(*s)->space = p->space;
	inbound_prepare(p, *s);
	make_current(p, steal(s));
}

void path_promote_pending(struct path *p)
{
	struct session *s = steal(&p->pending);

	make_current(p, s);
	p->o.events->on_proven(p->o.arg);
}

const struct session *path_current(const struct path *p)
{
	return p->current;
}

const struct session *path_pending(const struct path *p)
{
	return p->pending;
}

void path_drop_sessions(struct path *p)
{
	if (p->current)
		p->down_since_ms = clock_now_ms();
	p->current = session_free(p->current);
	p->previous = session_free(p->previous);
	p->pending = session_free(p->pending);
	p->other = session_free(p->other);
	outbound_update(p);
}

void path_expire(struct path *p, uint64_t now_ms)
{
	if (p->previous && now_ms >= p->previous_until_ms)
		p->previous = session_free(p->previous);
	if (p->retired && now_ms >= p->retired_until_ms)
		path_unstage(p);
}

uint64_t path_expiry(const struct path *p)
{
	uint64_t at = p->previous ? p->previous_until_ms : UINT64_MAX;

	return p->retired ? min_u64(at, p->retired_until_ms) : at;
}

/* ---- another key file ---- */

int path_stage(struct path *p, struct keys *k)
{
	return p->spare ? -EBUSY : space_new(&p->spare, k, p->o.window);
}

void path_unstage(struct path *p)
{
	if (p->previous && p->previous->space == p->spare)
		p->previous = session_free(p->previous);
	p->other = session_free(p->other);
	p->spare = space_free(p->spare);
	p->retired = p->owes_proof = false;
}

void path_set_staged(struct path *p, struct session **s, uint64_t peer_tx_next)
{
	if (!p->spare || p->retired)
		return;
	space_forward(p->spare, peer_tx_next);
	(*s)->space = p->spare;
	inbound_prepare(p, *s);
	session_free(p->other);
	p->other = steal(s);
}

const struct session *path_staged(const struct path *p)
{
	return p->retired ? NULL : p->other;
}

bool path_is_retiring(const struct path *p)
{
	return p->retired;
}

void path_switch(struct path *p)
{
	struct session *s = steal(&p->other);
	struct space *before = p->space;
	uint64_t now = clock_now_ms();

	/* What the old file's handshake has begun comes too late to be sent in; the peer may have done so. */
	if (p->pending) {
		session_free(p->previous);
		p->previous = steal(&p->pending);
		p->previous_until_ms = now + PREVIOUS_KEPT_MS;
	}
	if (!p->current && now - p->down_since_ms > STALE_MS)
		outbound_drain(p);
	p->other = p->current;
	p->current = s;
	p->space = s->space;
	p->o.keys = p->space->keys;
	p->spare = before;
	p->retired = true;
	p->retired_until_ms = now + PREVIOUS_KEPT_MS;
	p->owes_keepalive = p->owes_proof = false;
	mtu_on_session(p);
	/* What waited for the old file's sequences goes with the new one's. */
	outbound_push(p);
	outbound_update(p);
	p->o.events->on_switched(p->o.arg);
}

void path_rx_forward(struct path *p, uint64_t next)
{
	space_forward(p->space, next);
	if (p->current)
		inbound_prepare(p, p->current);
}

static bool send_empty(struct path *p, struct session *s, bool *owes)
{
	uint8_t room[BULK_ROOM + PSK2_HEADER_LEN + BULK_ROOM] = { 0 };
	uint8_t *header = room + BULK_ROOM;
	int r;

	r = outbound_seal_one(p, s, header, 0);
	*owes = r == -KEYS_E_NOT_READY;
	if (r == -KEYS_E_EXHAUSTED)
		p->o.events->on_exhausted(p->o.arg);
	if (r != 0)
		return false;
	if (udp_send_by(&p->o.udp, header, PSK2_OVERHEAD, &s->address, path_way(p, &s->address), -1) != 0)
		p->counters.drops.n[DROP_SEND]++;
	p->counters.sent_ms = clock_now_ms();
	return true;
}

bool path_send_keepalive(struct path *p, bool pending)
{
	struct session *s = pending && p->pending ? p->pending : p->current;

	return s && send_empty(p, s, &p->owes_keepalive);
}

void path_send_proof(struct path *p)
{
	if (path_staged(p))
		(void)send_empty(p, p->other, &p->owes_proof);
}

void path_on_keys_ready(struct path *p)
{
	/* Slots to receive with may have been expanded, too. */
	if (p->current)
		inbound_prepare(p, p->current);
	if (p->pending)
		inbound_prepare(p, p->pending);
	if (p->other)
		inbound_prepare(p, p->other);
	if (p->owes_keepalive)
		path_send_keepalive(p, true);
	if (p->owes_proof)
		path_send_proof(p);
	p->out.waits_for_keys = false;
	outbound_push(p);
	outbound_update(p);
}

void path_send_handshake(struct path *p, const uint8_t *msg, size_t len, const struct sockaddr_in6 *to)
{
	if (udp_send_by(&p->o.udp, msg, len, to, path_way(p, to), -1) != 0)
		p->counters.drops.n[DROP_SEND]++;
}

struct path_counters *path_counters(struct path *p)
{
	return &p->counters;
}

const struct udp *path_udp(const struct path *p)
{
	return &p->o.udp;
}

int path_tun_fd(const struct path *p)
{
	return p->o.tun_fd;
}

unsigned int path_offload(const struct path *p)
{
	return p->offload;
}

bool path_copies_ecn(const struct path *p)
{
	return p->current && path_peer_obeys_ecn(p);
}

uint64_t path_rx_next(const struct path *p)
{
	return replay_next(p->space->replay);
}

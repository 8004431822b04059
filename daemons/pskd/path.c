/*
 * The path's sessions and life; packets are outbound.c's and inbound.c's. At
 * most three sessions are alive: the current one, the one that a handshake has
 * just made, and the one before, whose packets may still be on their way.
 */
#include "pskd/path.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "pskd/path_internal.h"

/* Packets that waited in the device for longer than this are of no use to anyone. */
#define STALE_MS 5000

int batch_init(struct batch *b, size_t capacity)
{
	b->capacity = capacity;
	b->stride = BULK_ROOM + PSK2_HEADER_LEN + capacity + BULK_ROOM;
	/* Each slot begins at a cache line. */
	b->stride = (b->stride + 63) / 64 * 64;
	b->memory = calloc(BATCH, b->stride);
	if (!b->memory)
		return -ENOMEM;
	for (unsigned int i = 0; i < BATCH; i++) {
		b->iov[i].iov_base = batch_header(b, i);
		b->msgs[i].msg_hdr.msg_iov = &b->iov[i];
		b->msgs[i].msg_hdr.msg_iovlen = 1;
		b->msgs[i].msg_hdr.msg_name = &b->address[i];
	}
	return 0;
}

void batch_done(struct batch *b)
{
	free(b->memory);
	b->memory = NULL;
}

size_t path_rx_slots(uint32_t window)
{
	/* The window may begin inside a slot, and the slots ahead are beside the current one. */
	return window / PSK2_SLOT_PACKETS + 2 + PATH_SLOTS_AHEAD + 1;
}

int path_new(struct path **out, const struct path_options *o)
{
	_cleanup_(path_freep) struct path *p = NULL;
	uint64_t high = keys_rx_high(o->keys), floor = keys_rx_floor(o->keys);
	/* A peer with a larger MTU than ours is heard all the same. */
	size_t capacity = o->mtu > 2000 ? o->mtu : 2000;
	int r;

	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->o = *o;
	p->o.udp.fd = -1;
	p->o.tun_fd = -1;
	p->down_since_ms = clock_now_ms();
	/* What an earlier life received cannot be told apart below its highest: all of that is old. */
	if (high != UINT64_MAX && high + 1 > floor)
		floor = high + 1;
	p->rx_base = floor;
	r = replay_new(&p->replay, o->window / 64 * 64, floor);
	if (!r)
		r = batch_init(&p->in, capacity);
	if (!r)
		r = batch_init(&p->out.batch, o->mtu);
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
	replay_free(p->replay);
	batch_done(&p->in);
	batch_done(&p->out.batch);
	free(p);
	return NULL;
}

void path_set_pending(struct path *p, struct session **s)
{
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
	outbound_update(p);
}

void path_set_current(struct path *p, struct session **s)
{
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
	outbound_update(p);
}

void path_expire(struct path *p, uint64_t now_ms)
{
	if (p->previous && now_ms >= p->previous_until_ms)
		p->previous = session_free(p->previous);
}

uint64_t path_expiry(const struct path *p)
{
	return p->previous ? p->previous_until_ms : UINT64_MAX;
}

void path_rx_forward(struct path *p, uint64_t next)
{
	/* Who has come to the end sends nothing: no reason to give up the slots of what is on its way. */
	if (next > p->rx_base && next < keys_end(p->o.keys))
		p->rx_base = next;
	if (p->current)
		inbound_prepare(p, p->current);
}

bool path_send_keepalive(struct path *p, bool pending)
{
	struct session *s = pending && p->pending ? p->pending : p->current;
	uint8_t room[BULK_ROOM + PSK2_HEADER_LEN + BULK_ROOM] = { 0 };
	uint8_t *header = room + BULK_ROOM;
	int r;

	if (!s)
		return false;
	r = outbound_seal_one(p, s, header, 0);
	p->owes_keepalive = r == -KEYS_E_NOT_READY;
	if (r == -KEYS_E_EXHAUSTED)
		p->o.events->on_exhausted(p->o.arg);
	if (r != 0)
		return false;
	if (udp_send(&p->o.udp, header, PSK2_OVERHEAD, &s->address) != 0)
		p->counters.drops.n[DROP_SEND]++;
	p->counters.sent_ms = clock_now_ms();
	return true;
}

void path_on_keys_ready(struct path *p)
{
	/* Slots to receive with may have been expanded, too. */
	if (p->current)
		inbound_prepare(p, p->current);
	if (p->pending)
		inbound_prepare(p, p->pending);
	if (p->owes_keepalive)
		path_send_keepalive(p, true);
	p->out.waits_for_keys = false;
	outbound_push(p);
	outbound_update(p);
}

void path_send_handshake(struct path *p, const uint8_t *msg, size_t len, const struct sockaddr_in6 *to)
{
	if (udp_send(&p->o.udp, msg, len, to) != 0)
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

uint64_t path_rx_next(const struct path *p)
{
	return replay_next(p->replay);
}

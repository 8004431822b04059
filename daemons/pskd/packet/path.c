/*
 * The path's sessions and life; packets are outbound.c's and inbound.c's. At
 * most three sessions are alive: the current one, the one that a handshake has
 * just made, and the one before, whose packets may still be on their way.
 */
#include "pskd/packet/path.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "pskd/packet/path_internal.h"

/* With a packet thread: how old what path_is_heard_from() knows may be. */
#define HEARD_FROM_MS 20
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
	keys_hint(k, s->hint);
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

static void on_facts(unsigned int facts, void *arg);

void path_hear_handshake(struct path *p, const uint8_t *msg, size_t len, const struct udp_ends *from, uint64_t high)
{
	uint64_t before = p->control_drops.arrived;

	p->o.events->on_handshake(msg, len, from, high, p->o.arg);
	if (p->control_drops.arrived != before)
		p->o.events->on_drops(p->o.arg);
}

static void on_message(const uint8_t *msg, size_t len, const struct udp_ends *from, uint64_t high, void *arg)
{
	path_hear_handshake(arg, msg, len, from, high);
}

static void on_own(const struct sockaddr_in6 *from, void *arg)
{
	struct path *p = arg;

	p->o.events->on_own_packet(from, p->o.arg);
}

static const struct news_ops news_ops = { on_facts, on_message, on_own };

/* From here on the packet thread knows of the path, all of which is there. */
static int watch(struct path *p)
{
	HOLD(p->o.hold);
	int r;

	r = loop_io_new(&p->tun_io, p->o.loop, p->o.tun_fd, 0, outbound_on_tun, p);
	if (!r)
		r = loop_io_new(&p->udp_io, p->o.loop, p->o.udp.fd, LOOP_READ, inbound_on_udp, p);
	return r;
}

/* And from here on no thread but ours. */
static void unwatch(struct path *p)
{
	HOLD(p->o.hold);

	p->tun_io = loop_io_free(p->tun_io);
	p->udp_io = loop_io_free(p->udp_io);
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
	if (!r && o->hold)
		r = news_new(&p->news, o->control, &news_ops, p);
	if (!r)
		r = inbound_init(p);
	if (!r)
		r = outbound_init(p);
	if (!r)
		r = mtu_init(p);
	if (r)
		return r;
	p->o.udp = o->udp;
	p->o.tun_fd = o->tun_fd;
	r = watch(p);
	if (r) {
		unwatch(p);
		/* They stay the caller's. */
		p->o.udp.fd = p->o.tun_fd = -1;
		return r;
	}
	*out = steal(&p);
	return 0;
}

struct path *path_free(struct path *p)
{
	if (!p)
		return NULL;
	unwatch(p);
	news_free(p->news);
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
	HOLD(p->o.hold);

	(*s)->space = p->space;
	inbound_prepare(p, *s);
	make_current(p, steal(s));
}

/* False: it has not proven itself. */
static bool promote_pending(struct path *p)
{
	HOLD(p->o.hold);

	if (!p->pending || !p->pending->proven)
		return false;
	make_current(p, steal(&p->pending));
	return true;
}

void path_set_pending(struct path *p, struct session **s)
{
	HOLD(p->o.hold);

	(*s)->space = p->space;
	inbound_prepare(p, *s);
	/* One that has just proven itself is good to send with until this one does, too. */
	if (promote_pending(p))
		p->untold = true;
	session_free(p->pending);
	p->pending = steal(s);
}

const struct session *path_current(const struct path *p)
{
	return p->current;
}

const struct session *path_pending(const struct path *p)
{
	return p->pending;
}

const struct session *path_previous(const struct path *p)
{
	return p->previous;
}

void path_drop_sessions(struct path *p)
{
	HOLD(p->o.hold);

	if (p->current)
		p->down_since_ms = clock_now_ms();
	p->current = session_free(p->current);
	p->previous = session_free(p->previous);
	p->pending = session_free(p->pending);
	p->other = session_free(p->other);
	p->owes_keepalive = p->owes_proof = p->untold = false;
	outbound_update(p);
}

void path_expire(struct path *p, uint64_t now_ms)
{
	if (now_ms < path_expiry(p))
		return;
	HOLD(p->o.hold);

	if (p->previous && now_ms >= p->previous_until_ms)
		p->previous = session_free(p->previous);
	if (p->retired && now_ms >= p->retired_until_ms)
		path_unstage(p);
}

uint64_t path_expiry(const struct path *p)
{
	uint64_t at = p->previous ? p->previous_until_ms : UINT64_MAX;

	return p->retired ? min_u64(at, figure_get(&p->retired_until_ms)) : at;
}

/* ---- another key file ---- */

int path_stage(struct path *p, struct keys *k)
{
	HOLD(p->o.hold);

	return p->spare ? -EBUSY : space_new(&p->spare, k, p->o.window);
}

void path_unstage(struct path *p)
{
	HOLD(p->o.hold);

	if (p->previous && p->previous->space == p->spare)
		p->previous = session_free(p->previous);
	p->other = session_free(p->other);
	p->spare = space_free(p->spare);
	p->retired = p->owes_proof = false;
}

void path_set_staged(struct path *p, struct session **s, uint64_t peer_tx_next)
{
	HOLD(p->o.hold);

	/* The initiator sends with what has proven itself to us, though that was not heard yet: it is not given up for another. */
	if (!p->spare || p->retired || (p->o.role == KEYS_RESPONDER && p->other && p->other->proven))
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

/* The staged key file's session has proven itself: that file is the current one now. */
static bool switch_over(struct path *p)
{
	HOLD(p->o.hold);
	struct space *before = p->space;
	uint64_t now = clock_now_ms();
	struct session *s;

	if (!path_staged(p) || !p->other->proven)
		return false;
	s = steal(&p->other);
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
	figure_set(&p->retired_until_ms, now + PREVIOUS_KEPT_MS);
	p->owes_keepalive = p->owes_proof = false;
	mtu_on_session(p);
	/* What waited for the old file's sequences goes with the new one's. */
	outbound_push(p);
	outbound_update(p);
	return true;
}

void path_rx_forward(struct path *p, uint64_t next)
{
	HOLD(p->o.hold);

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
	__atomic_store_n(owes, r == -KEYS_E_NOT_READY, __ATOMIC_RELAXED);
	if (r == -KEYS_E_EXHAUSTED)
		path_tell(p, FACT_EXHAUSTED);
	if (r != 0)
		return false;
	if (udp_send_by(&p->o.udp, header, PSK2_OVERHEAD, &s->address, path_way_out(p, &s->address), &s->local, -1) != 0)
		figure_add(&p->counters.drops.n[DROP_SEND], 1);
	figure_set(&p->counters.sent_ms, clock_now_ms());
	return true;
}

void path_keep_alive(struct path *p)
{
	if (p->current)
		(void)send_empty(p, p->current, &p->owes_keepalive);
}

bool path_send_keepalive(struct path *p, bool pending)
{
	HOLD(p->o.hold);
	struct session *s = pending && p->pending ? p->pending : p->current;

	return s && send_empty(p, s, &p->owes_keepalive);
}

bool path_owes_keepalive(const struct path *p)
{
	return __atomic_load_n(&p->owes_keepalive, __ATOMIC_RELAXED);
}

void path_send_proof(struct path *p)
{
	HOLD(p->o.hold);

	if (path_staged(p))
		(void)send_empty(p, p->other, &p->owes_proof);
}

void path_on_keys_ready(struct path *p)
{
	HOLD(p->o.hold);

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

void path_send_handshake(struct path *p, const uint8_t *msg, size_t len, const struct udp_ends *to)
{
	struct udp_local local = to->local;

	/* No hold: a datagram of its own, and nothing of the path changes. */
	if (udp_send_by(&p->o.udp, msg, len, &to->peer, path_way(p, &to->peer), &local, -1) != 0)
		p->control_drops.n[DROP_SEND]++;
}

const struct path_counters *path_counters(struct path *p)
{
	const uint64_t *from = (const uint64_t *)&p->counters;
	uint64_t *to = (uint64_t *)&p->shown;

	_Static_assert(sizeof(p->shown) == (8 + N_DROPS + 2) * sizeof(uint64_t), "figures, all of them");
	/* Each is right, and they need not be of the same moment. */
	for (size_t i = 0; i < sizeof(p->shown) / sizeof(*to); i++)
		to[i] = figure_get(&from[i]);
	for (int i = 0; i < N_DROPS; i++)
		p->shown.drops.n[i] += p->control_drops.n[i];
	p->shown.drops.arrived += p->control_drops.arrived;
	return &p->shown;
}

struct drops *path_drops(struct path *p)
{
	return &p->control_drops;
}

/* Calls may come at line rate, recorded ones of the peer's among them: they may not hold the packets up each time. */
static void look_where_heard(struct path *p)
{
	uint64_t now = clock_now_ms();

	if (p->news && p->heard.of == p->current && now - p->heard.at_ms < HEARD_FROM_MS)
		return;
	HOLD(p->o.hold);

	p->heard.of = p->current;
	p->heard.at_ms = now;
	p->heard.from = p->current->heard_from;
}

bool path_is_heard_from(struct path *p, const struct sockaddr_in6 *from)
{
	if (!p->current)
		return false;
	look_where_heard(p);
	return udp_same(from, &p->heard.from);
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
	return __atomic_load_n(&p->offload, __ATOMIC_RELAXED);
}

bool path_copies_ecn(struct path *p)
{
	return p->current && path_pmtu(p)->answers;
}

uint64_t path_rx_next(struct path *p)
{
	HOLD(p->o.hold);

	return replay_next(p->space->replay);
}

/* ---- what the thread that carries packets tells ---- */

static void let_keys_go_on(struct path *p)
{
	HOLD(p->o.hold);

	keys_go_on(p->space->keys);
	if (p->spare)
		keys_go_on(p->spare->keys);
}

/* As it is now: what the packet thread ran out of may have been the file before. */
static bool is_exhausted(const struct path *p)
{
	return keys_tx_next(p->o.keys) >= keys_end(p->o.keys);
}

/* Also the one before that which is pending now. */
static bool has_proven(struct path *p)
{
	bool untold = p->untold;

	p->untold = false;
	return promote_pending(p) || untold;
}

static void on_facts(unsigned int facts, void *arg)
{
	struct path *p = arg;

	if (facts & FACT_KEYS)
		let_keys_go_on(p);
	if ((facts & FACT_PROVEN) && has_proven(p))
		p->o.events->on_proven(p->o.arg);
	if ((facts & FACT_PROVEN) && path_staged(p) && switch_over(p))
		p->o.events->on_switched(p->o.arg);
	if (facts & FACT_TRAFFIC)
		p->o.events->on_traffic(p->o.arg);
	if ((facts & FACT_EXHAUSTED) && is_exhausted(p))
		p->o.events->on_exhausted(p->o.arg);
	if (facts & FACT_DROPS)
		p->o.events->on_drops(p->o.arg);
}

void path_tell(struct path *p, unsigned int facts)
{
	if (p->news)
		news_tell(p->news, facts);
	else
		on_facts(facts, p);
}

void path_tell_keys(struct path *p, const struct keys *k)
{
	if (keys_ask(k))
		path_tell(p, FACT_KEYS);
}

/*
 * The path's side of path MTU discovery (pmtu.c): sends probes, answers the
 * peer's, tells the socket whether what is too big may be cut up on its way,
 * and does with packets that are larger than the path what a router does.
 */
#include "pskd/packet/path_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#include "pskd/packet/too_big.h"

/* Of each kind a second: answers to the peer's probes, words to senders of what is too big. */
#define ANSWERS_PER_S 100
#define WORDS_PER_S 100
/* Headers of IPv6 and UDP, and ours. */
#define IPV6_OUTSIDE (40 + 8 + PSK2_OVERHEAD)
/* What deliver_own() wants in front of a packet. */
#define DEVICE_ROOM 32

static bool is_within(struct path_rate *r, uint64_t now, unsigned int per_s)
{
	if (now - r->since_ms >= 1000) {
		r->since_ms = now;
		r->n = 0;
	}
	return r->n++ < per_s;
}

static void set_df(struct path *p, enum udp_df df)
{
	if (p->mtu.df != df)
		udp_set_df(&p->o.udp, df);
	p->mtu.df = df;
}

/* Seal what is behind header and send it, at once and alone. False: it could not be sent. */
static bool send_one(struct path *p, uint8_t *header, size_t len, uint8_t class)
{
	if (outbound_seal_one(p, p->current, header, len) != 0)
		return false;
	figure_set(&p->counters.sent_ms, clock_now_ms());
	return udp_send_by(&p->o.udp, header, PSK2_OVERHEAD + len, &p->current->address,
			   path_way_out(p, &p->current->address), &p->current->local, class) == 0;
}

static bool wants_hint(const struct path *p)
{
	return p->mtu.pmtu.sent_big && p->mtu.pmtu.state == PMTU_FOUND;
}

void mtu_show_due(struct path *p)
{
	figure_set(&p->mtu.due_ms, pmtu_due(&p->mtu.pmtu));
	figure_set(&p->mtu.wants_hint, wants_hint(p));
}

/* It may be another one now. */
static void show(struct path *p)
{
	figure_add(&p->mtu.changes, 1);
	mtu_show_due(p);
}

/* For the control thread, under a hold. */
static void copy(struct path *p)
{
	p->mtu.shown = p->mtu.pmtu;
	p->mtu.shown_changes = p->mtu.changes;
}

int mtu_init(struct path *p)
{
	pmtu_init(&p->mtu.pmtu, p->o.mtu);
	p->mtu.df = UDP_DF_KERNEL;
	p->mtu.due_ms = UINT64_MAX;
	p->mtu.shown = p->mtu.pmtu;
	p->mtu.room = calloc(1, BULK_ROOM + PSK2_HEADER_LEN + (size_t)p->o.mtu + BULK_ROOM);
	return p->mtu.room ? 0 : -ENOMEM;
}

void mtu_done(struct path *p)
{
	free(p->mtu.room);
}

void mtu_on_session(struct path *p)
{
	bool moved = !udp_same(&p->mtu.at, &p->current->address);

	p->mtu.at = p->current->address;
	pmtu_start(&p->mtu.pmtu, clock_now_ms(), moved);
	set_df(p, pmtu_df(&p->mtu.pmtu));
	show(p);
}

/* ---- probes ---- */

static void send_probe(struct path *p, uint16_t size)
{
	uint8_t *header = p->mtu.room + BULK_ROOM;
	const struct psk2_probe probe = { .type = PSK2_PROBE, .size = size, .number = p->mtu.pmtu.number };

	memset(header + PSK2_HEADER_LEN, 0, size);
	psk2_probe_encode(header + PSK2_HEADER_LEN, &probe);
	/* One that is larger than the way out is as one that is lost, and is asked again. */
	(void)send_one(p, header, size, path_own_class(p));
}

/* What the network has told the kernel. */
static void take_hint(struct path *p)
{
	uint16_t payload;

	if (!wants_hint(p))
		return;
	payload = udp_route_payload(&p->o.udp, &p->current->address, path_way_out(p, &p->current->address));
	if (payload > PSK2_OVERHEAD)
		pmtu_on_hint(&p->mtu.pmtu, payload - PSK2_OVERHEAD);
}

/* Nothing is due, and nothing was sent that the network could have told the kernel of. */
static bool is_at_rest(const struct path *p)
{
	return p->news && !figure_get(&p->mtu.wants_hint) && clock_now_ms() < figure_get(&p->mtu.due_ms);
}

void path_probe(struct path *p)
{
	uint16_t sizes[PMTU_PROBES];
	uint64_t now;
	size_t n;

	if (!p->current || p->o.prototype || is_at_rest(p))
		return;
	HOLD(p->o.hold);

	/* Under the hold: what the packet thread has written before is not later. */
	now = clock_now_ms();
	take_hint(p);
	n = pmtu_tick(&p->mtu.pmtu, now, sizes);
	/* A probe that came in pieces would tell nothing. */
	if (n > 0)
		set_df(p, UDP_DF_SET);
	for (size_t i = 0; i < n; i++)
		send_probe(p, sizes[i]);
	set_df(p, pmtu_df(&p->mtu.pmtu));
	show(p);
	copy(p);
}

uint64_t path_probe_due(const struct path *p)
{
	if (!p->current || p->o.prototype)
		return UINT64_MAX;
	return p->news ? figure_get(&p->mtu.due_ms) : pmtu_due(&p->mtu.pmtu);
}

const struct pmtu *path_pmtu(struct path *p)
{
	if (p->mtu.shown_changes == figure_get(&p->mtu.changes))
		return &p->mtu.shown;
	HOLD(p->o.hold);

	copy(p);
	return &p->mtu.shown;
}

int mtu_on_probe(struct path *p, const uint8_t *inside, size_t len)
{
	uint8_t room[BULK_ROOM + PSK2_HEADER_LEN + PSK2_PROBE_LEN + BULK_ROOM] = { 0 };
	uint64_t now = clock_now_ms(), due = p->mtu.due_ms;
	struct psk2_probe probe;

	if (p->o.prototype || psk2_probe_decode(&probe, inside, len) != 0)
		return -1;
	if (probe.type == PSK2_PROBE_ANSWER) {
		pmtu_on_answer(&p->mtu.pmtu, probe.number, probe.size, now);
		set_df(p, pmtu_df(&p->mtu.pmtu));
		show(p);
		if (p->mtu.due_ms < due)
			path_tell(p, FACT_TRAFFIC);
		return 0;
	}
	if (!p->current || !is_within(&p->mtu.answers, now, ANSWERS_PER_S))
		return 0;
	probe.type = PSK2_PROBE_ANSWER;
	psk2_probe_encode(room + BULK_ROOM + PSK2_HEADER_LEN, &probe);
	(void)send_one(p, room + BULK_ROOM, PSK2_PROBE_LEN, path_own_class(p));
	return 0;
}

/* ---- what is too big ---- */

uint16_t mtu_whole(const struct path *p)
{
	uint16_t limit = mtu_limit(p);

	/* IPv6 outside carries that much anywhere, and who sends it cuts up only what the kernel was told of. */
	if (p->mtu.pmtu.state == PMTU_SMALLER && !IN6_IS_ADDR_V4MAPPED(&p->mtu.at.sin6_addr))
		limit -= IPV6_OUTSIDE;
	return limit;
}

void mtu_tell(struct path *p, const uint8_t *packet, size_t len)
{
	uint8_t room[DEVICE_ROOM + TOO_BIG_ANSWER_MAX];
	uint16_t mtu = packet[0] >> 4 == 4 ? mtu_whole(p) : mtu_limit(p);
	size_t n = too_big_answer(room + DEVICE_ROOM, packet, len, mtu, &p->o.addresses);

	if (n > 0 && is_within(&p->mtu.words, clock_now_ms(), WORDS_PER_S) &&
	    !deliver_own(p, room + DEVICE_ROOM, n))
		figure_add(&p->counters.drops.n[DROP_SEND], 1);
}

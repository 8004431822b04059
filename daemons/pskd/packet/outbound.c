/*
 * From the TUN device to the peer. What is read is cut into packets, a batch of
 * them sealed with sequences that keys.c gives out (and nobody else), and sent;
 * what cannot go on yet stays in the batch and the device is not read
 * meanwhile, so that the kernel's queue is the only one.
 */
#include "pskd/packet/path_internal.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"

#include "pskd/operations.h"
#include "pskd/packet/mss.h"
#include "pskd/packet/too_big.h"
#include "pskd/packet/vnet.h"

/* Lay the header down and encrypt what is behind it. */
static void seal(const struct path *p, struct session *s, uint8_t *header, size_t len,
		 uint64_t sequence, const struct slot_key *material)
{
	const struct slot_key *key = session_tx(s, sequence / PSK2_SLOT_PACKETS, material);
	struct psk2_header h = {
		.flags = s->plain ? 0 : PSK2_FLAG_SESSION,
		.direction = p->o.role == KEYS_INITIATOR ? PSK2_FROM_INITIATOR : PSK2_FROM_RESPONDER,
		.reserved = s->plain ? 0 : (uint8_t)s->id.number,
		.sequence = sequence,
	};
	uint8_t nonce[PSK2_NONCE_LEN];
	uint64_t begun = 0;

	memcpy(h.slot_tag, key->tag, sizeof(h.slot_tag));
	psk2_header_encode(header, &h);
	psk2_nonce(nonce, key->nonce, sequence);
	if (operation_is_sample(sequence))
		begun = opstat_begin();
	bulk_seal(header, len, nonce, key->key);
	if (begun)
		opstat_sample(&pskd_operations[OP_PACKET_SEAL], opstat_begin() - begun, len);
}

int outbound_seal_one(struct path *p, struct session *s, uint8_t *header, size_t len)
{
	const struct slot_key *material;
	uint64_t first;
	int r;

	r = keys_tx_take(s->space->keys, 1, &first, &material);
	path_tell_keys(p, s->space->keys);
	if (r < 0)
		return r;
	seal(p, s, header, len, first, material);
	opstat_count(&pskd_operations[OP_PACKET_SEAL], 1, 0, len);
	session_count(s, 1);
	return 0;
}

/* Seal what was read. 0, or -KEYS_E_ when the rest has to wait. */
static int seal_batch(struct path *p)
{
	struct session *s = p->current;

	while (p->out.sealed < p->out.n) {
		const struct slot_key *material;
		uint64_t first, bytes = 0;
		int taken;

		taken = keys_tx_take(p->o.keys, p->out.n - p->out.sealed, &first, &material);
		path_tell_keys(p, p->o.keys);
		if (taken < 0)
			return taken;
		for (int i = 0; i < taken; i++) {
			size_t len = p->out.packets[p->out.sealed].len;

			seal(p, s, p->out.memory + p->out.packets[p->out.sealed].at, len, first + (uint64_t)i, material);
			figure_add(&p->counters.tx_packets, 1);
			figure_add(&p->counters.tx_bytes, len);
			bytes += len;
			pmtu_on_sent(&p->mtu.pmtu, len);
			p->out.sealed++;
		}
		opstat_count(&pskd_operations[OP_PACKET_SEAL], (uint64_t)taken, 0, bytes);
		session_count(s, (uint64_t)taken);
	}
	return 0;
}

/* Of what was read something is not in the batch yet. */
static bool has_more(const struct path *p)
{
	return p->out.cut.len > 0 || gso_has_more(&p->out.gso);
}

static void forget_rest(struct path *p)
{
	p->out.gso = (struct gso){ .more = false };
	p->out.cut.len = 0;
}

static void clear_batch(struct path *p)
{
	p->out.n = p->out.sealed = p->out.sent = 0;
	p->out.used = 0;
}

/* What was read and has not been sent is lost. */
static void forget_batch(struct path *p)
{
	figure_add(&p->counters.drops.n[DROP_STALE],
		   p->out.n - p->out.sent + (p->out.cut.len > 0) + gso_count(&p->out.gso));
	forget_rest(p);
	clear_batch(p);
}

/* Send what is in the batch. False when some of it has to wait. */
static bool push_batch(struct path *p)
{
	int r;

	if (!p->current) {
		/* The session went away under a waiting batch. */
		forget_batch(p);
		return true;
	}
	r = seal_batch(p);
	p->out.waits_for_keys = r != 0;
	p->out.waits_for_socket = !send_sealed(p);
	if (r == -KEYS_E_EXHAUSTED) {
		figure_add(&p->counters.drops.n[DROP_SEND],
			   p->out.n - p->out.sealed + (p->out.cut.len > 0) + gso_count(&p->out.gso));
		p->out.n = p->out.sealed;
		forget_rest(p);
		path_tell(p, FACT_EXHAUSTED);
	}
	if (p->out.sent < p->out.n)
		return false;
	clear_batch(p);
	return true;
}

/* ---- the device ---- */

/* One read, judged. False: there is nothing. */
static bool read_device(struct path *p)
{
	size_t room = p->offload & OFFLOAD_VNET_HEADER ? VNET_HEADER_LEN : 0;
	ssize_t len = read(p->o.tun_fd, p->out.large, room + LARGE_MAX);
	struct virtio_net_hdr h = { .flags = 0 };
	int r;

	if (len <= 0)
		return false;
	p->out.told = false;
	memcpy(&h, p->out.large, room);
	r = (size_t)len < room ? GSO_E_MALFORMED :
				 gso_begin(&p->out.gso, &h, p->out.large + room, (size_t)len - room, p->o.mtu);
	if (r)
		figure_add(&p->counters.drops.n[r == GSO_E_TOO_BIG ? DROP_TOO_BIG : DROP_OFFLOAD], 1);
	return true;
}

/* The next fragment; 0: there is none any more. */
static size_t next_fragment(struct path *p, uint8_t *out, uint16_t max)
{
	size_t len = too_big_fragment(out, p->out.cut.packet, p->out.cut.len, max, &p->out.cut.done);

	if (len == 0)
		p->out.cut.len = 0;
	return len;
}

/* Of the same large piece it is no news. */
static void tell_once(struct path *p, const uint8_t *packet, size_t len)
{
	if (!p->out.told)
		mtu_tell(p, packet, len);
	p->out.told = true;
}

/*
 * The next packet, of which no more than `whole` bytes are sure to come through: TCP in smaller segments, what may be
 * cut up in fragments, the rest not at all, and its sender is told. Its length; 0: nothing of it goes.
 */
static size_t next_of_too_big(struct path *p, uint8_t *out, uint16_t whole)
{
	struct gso narrow = p->out.gso;
	size_t len = gso_next(&p->out.gso, out), fragment;
	/* IPv6 may be as large as it ever may, and whoever sends it on cuts it up. */
	size_t limit = out[0] >> 4 == 4 ? whole : mtu_limit(p);

	if (gso_narrow(&narrow, whole)) {
		if (len > limit)
			tell_once(p, out, len);
		p->out.gso = narrow;
		return gso_next(&p->out.gso, out);
	}
	if (len <= limit)
		return len;
	memcpy(p->out.cut.packet, out, len);
	p->out.cut.len = len;
	p->out.cut.done = 0;
	fragment = next_fragment(p, out, whole);
	if (fragment == 0) {
		figure_add(&p->counters.drops.n[DROP_TOO_BIG], 1);
		tell_once(p, out, len);
	}
	return fragment;
}

static size_t next_packet(struct path *p, uint8_t *out, uint16_t whole)
{
	if (p->out.cut.len > 0)
		return next_fragment(p, out, whole);
	if (gso_next_len(&p->out.gso) > whole)
		return next_of_too_big(p, out, whole);
	return gso_next(&p->out.gso, out);
}

static void add_segments(struct path *p)
{
	uint16_t whole = mtu_whole(p);

	while (p->out.n < BATCH && has_more(p)) {
		uint8_t *header = p->out.memory + p->out.used;
		size_t len = next_packet(p, header + PSK2_HEADER_LEN, whole);

		if (len == 0)
			continue;
		mss_clamp(header + PSK2_HEADER_LEN, len, whole);
		p->out.packets[p->out.n].at = (uint32_t)p->out.used;
		p->out.packets[p->out.n].len = (uint16_t)len;
		p->out.packets[p->out.n].class = path_class(p, header + PSK2_HEADER_LEN, len);
		p->out.n++;
		p->out.used += len + PSK2_OVERHEAD;
	}
}

bool outbound_push(struct path *p)
{
	for (;;) {
		if (!push_batch(p))
			return false;
		if (!has_more(p))
			return true;
		add_segments(p);
	}
}

void outbound_on_tun(int fd, unsigned int events, void *arg)
{
	struct path *p = arg;
	bool more = true;

	(void)fd;
	(void)events;
	for (int round = 0; more && round < ROUNDS && hold_lets(p->o.hold, round); round++) {
		for (int i = 0; i < BATCH && p->out.n < BATCH && more; i++) {
			more = read_device(p);
			/* What came in one piece is to leave in one. */
			if (p->out.n > 0 && gso_count(&p->out.gso) > BATCH - p->out.n)
				break;
			add_segments(p);
		}
		if (!outbound_push(p))
			break;
	}
	outbound_update(p);
}

void outbound_drain(struct path *p)
{
	/* It is older than what waits in the device, and the rest of a large piece lies where that is read to. */
	forget_batch(p);
	/* As many as a device can hold by default, so that a flood cannot keep us here. */
	for (int i = 0; i < 1000; i++) {
		if (read(p->o.tun_fd, p->out.large, VNET_HEADER_LEN + LARGE_MAX) <= 0)
			return;
		figure_add(&p->counters.drops.n[DROP_STALE], 1);
	}
}

int outbound_init(struct path *p)
{
	/* Not cleared: pages that no packet ever needed are none. */
	p->out.memory = malloc((size_t)BATCH * (p->o.mtu + PSK2_OVERHEAD));
	p->out.large = malloc(VNET_HEADER_LEN + LARGE_MAX);
	p->out.cut.packet = malloc(p->o.mtu);
	return p->out.memory && p->out.large && p->out.cut.packet ? 0 : -ENOMEM;
}

void outbound_done(struct path *p)
{
	free(p->out.memory);
	free(p->out.large);
	free(p->out.cut.packet);
}

void outbound_update(struct path *p)
{
	bool read_tun = p->current && p->out.n == 0 && !p->out.waits_for_keys;
	unsigned int udp_events = LOOP_READ | (p->out.waits_for_socket ? LOOP_WRITE : 0u);

	if (!p->tun_io || !p->udp_io)
		return;
	loop_io_set(p->tun_io, read_tun ? LOOP_READ : 0);
	loop_io_set(p->udp_io, udp_events);
}

/*
 * From the peer to the TUN device. The order of the checks is the design's and
 * handfast-tunnel(7)'s: what is cheap and public first, and until the packet's
 * tag was verified nothing is read, derived, written or remembered but a count.
 */
#include "pskd/packet/path_internal.h"

#include <netinet/udp.h>
#include <string.h>

#include "base/clock.h"
#include "crypto/secret.h"

#include "pskd/operations.h"
#include "pskd/packet/mss.h"

struct packet {
	uint8_t *header;
	size_t len; /* of the IP packet inside */
	struct psk2_header h;
	const struct udp_ends *from;
	uint8_t class; /* the outer packet's traffic class */
	bool is_data; /* neither a keepalive nor a probe */
};

void inbound_prepare(struct path *p, struct session *s)
{
	const struct space *c = s->space;
	uint64_t next = replay_next(c->replay), floor = replay_floor(c->replay);
	uint64_t high = c->rx_base > next ? c->rx_base : next;

	(void)p;

	/* After a jump the window's slots are of no more use than those far below it. */
	session_prepare_rx(s, c->keys, floor / PSK2_SLOT_PACKETS,
			   high / PSK2_SLOT_PACKETS + PATH_SLOTS_AHEAD);
}

static int drop(struct path *p, enum drop cause)
{
	drops_count(&p->counters.drops, cause);
	return -1;
}

static struct session *find_session(const struct path *p, const struct psk2_header *h)
{
	struct session *all[] = { p->current, p->pending, p->previous, p->other };

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (all[i] && (all[i]->plain || (uint8_t)all[i]->id.number == h->reserved))
			return all[i];
	return NULL;
}

/* Each that counts as one of ours is told of. */
static int tell_own_packet(struct path *p, const struct sockaddr_in6 *from)
{
	if (!p->news)
		p->o.events->on_own_packet(from, p->o.arg);
	else if (!news_send_own(p->news, from))
		return drop(p, DROP_HS_OVERLOAD);
	return drop(p, DROP_OWN);
}

/* Said with the message: when it is looked at, packets that came after it may have moved that on. */
static uint64_t high_of_named(const struct path *p, const uint8_t *msg, size_t len)
{
	const struct space *all[] = { p->space, p->spare };
	const uint8_t *hint = pskh_hint(msg, len);

	for (size_t i = 0; hint && i < ARRAY_SIZE(all); i++)
		if (all[i] && memcmp(all[i]->hint, hint, PSKH_HINT_LEN) == 0)
			return keys_rx_high(all[i]->keys);
	return UINT64_MAX;
}

static void tell_handshake(struct path *p, const struct packet *k, size_t len)
{
	uint64_t high = high_of_named(p, k->header, len);

	if (!p->news)
		path_hear_handshake(p, k->header, len, k->from, high);
	else if (!news_send(p->news, k->header, len, k->from, high))
		drop(p, DROP_HS_OVERLOAD);
}

/* Ours come back: the tag proves that they were made with our half of the keys. */
static int check_direction(struct path *p, const struct packet *k)
{
	uint8_t own = p->o.role == KEYS_INITIATOR ? PSK2_FROM_INITIATOR : PSK2_FROM_RESPONDER;
	const uint8_t *tag;

	if (k->h.direction == (own ^ 1))
		return 0;
	if (k->h.direction != own || !p->current)
		return drop(p, DROP_DIRECTION);
	tag = session_own_tag(p->current, k->h.sequence / PSK2_SLOT_PACKETS);
	if (!tag || !bytes_equal(tag, k->h.slot_tag, PSK2_SLOT_TAG_LEN))
		return drop(p, DROP_DIRECTION);
	return tell_own_packet(p, &k->from->peer);
}

static int check_sequence(struct path *p, const struct space *c, uint64_t sequence)
{
	uint64_t next = replay_next(c->replay);
	uint64_t base = c->rx_base > next ? c->rx_base : next;

	if (sequence >= base && sequence - base > PATH_SLOTS_AHEAD * PSK2_SLOT_PACKETS)
		return drop(p, DROP_AHEAD);
	switch (replay_check(c->replay, sequence)) {
	case REPLAY_OLD:
		return drop(p, DROP_OLD);
	case REPLAY_SEEN:
		return drop(p, DROP_REPLAY);
	case REPLAY_NEW:
		break;
	}
	return 0;
}

/* All checks up to the AEAD; on 0 the packet is decrypted in place. */
static int open_packet(struct path *p, struct packet *k, size_t len, struct session **session)
{
	static const enum drop causes[] = {
		[PSK2_E_LENGTH] = DROP_LENGTH,
		[PSK2_E_MAGIC] = DROP_MAGIC,
		[PSK2_E_VERSION] = DROP_VERSION,
	};
	const struct slot_key *key;
	uint8_t nonce[PSK2_NONCE_LEN];
	uint64_t begun = 0;
	struct session *s;
	int r;

	r = psk2_header_decode(&k->h, k->header, len);
	if (r)
		return drop(p, causes[r]);
	if (k->h.flags != (p->o.prototype ? 0 : PSK2_FLAG_SESSION))
		return drop(p, DROP_FLAGS);
	s = find_session(p, &k->h);
	if (!s || (p->o.prototype && k->h.reserved != 0))
		return drop(p, DROP_SESSION);
	if (check_direction(p, k) || check_sequence(p, s->space, k->h.sequence))
		return -1;
	key = session_rx(s, k->h.sequence / PSK2_SLOT_PACKETS);
	if (!key)
		return drop(p, DROP_SLOT);
	if (!bytes_equal(key->tag, k->h.slot_tag, PSK2_SLOT_TAG_LEN))
		return drop(p, DROP_TAG);
	k->len = len - PSK2_OVERHEAD;
	psk2_nonce(nonce, key->nonce, k->h.sequence);
	if (operation_is_sample(k->h.sequence))
		begun = opstat_begin();
	if (bulk_open(k->header, k->len, nonce, key->key) != 0)
		return drop(p, DROP_AEAD);
	if (begun)
		opstat_sample(&pskd_operations[OP_PACKET_OPEN], opstat_begin() - begun, k->len);
	*session = s;
	return 0;
}

static uint64_t slot_of_last(uint64_t next)
{
	return next ? (next - 1) / PSK2_SLOT_PACKETS : 0;
}

/*
 * Move marks and slots on: at once when a packet opens a new slot, else with
 * the batch. A prototype peer has no handshake that would end old packets, so
 * its receive mark must be durable before each packet may act. False: it must
 * be dropped.
 */
static bool advance(struct path *p, struct space *c, uint64_t sequence)
{
	uint64_t next = replay_next(c->replay);

	if (sequence < next)
		return true;
	if (p->o.prototype)
		return keys_rx_advance(c->keys, sequence);
	if (next == 0 || sequence / PSK2_SLOT_PACKETS != slot_of_last(next)) {
		keys_rx_advance(c->keys, sequence);
		path_tell_keys(p, c->keys);
	}
	return true;
}

static bool is_ip(const uint8_t *packet, size_t len)
{
	uint8_t version = packet[0] >> 4;

	return (version == 4 && len >= 20) || (version == 6 && len >= 40);
}

/* What a peer may not say, or not in this name. */
static bool is_admitted(struct path *p, const uint8_t *ip, size_t len)
{
	enum sources_verdict v = p->o.sources ? sources_judge(p->o.sources, ip, len) : SOURCES_FINE;

	if (v != SOURCES_FINE)
		drop(p, v == SOURCES_ROUTER ? DROP_ROUTER : DROP_SOURCE);
	return v == SOURCES_FINE;
}

/* What is inside, to the device when it may go there. */
static void admit(struct path *p, uint8_t *ip, size_t len, uint8_t class)
{
	if (!is_ip(ip, len)) {
		drop(p, DROP_INNER);
		return;
	}
	if (!is_admitted(p, ip, len))
		return;
	if (ecn_decapsulate(ip, len, class) != 0) {
		drop(p, DROP_ECN);
		return;
	}
	/* What it announces says how large our answers will be. */
	mss_clamp(ip, len, mtu_whole(p));
	deliver(p, ip, len);
}

/* One datagram. Returns 0 when it was authenticated. */
static int receive(struct path *p, struct packet *k, size_t len)
{
	struct session *s;
	uint8_t *inside = k->header + PSK2_HEADER_LEN;
	bool new_slot;

	if (open_packet(p, k, len, &s))
		return -1;
	if (!advance(p, s->space, k->h.sequence))
		return drop(p, DROP_MARK);
	new_slot = k->h.sequence / PSK2_SLOT_PACKETS > slot_of_last(replay_next(s->space->replay));
	replay_accept(s->space->replay, k->h.sequence);
	session_count(s, 1);
	s->heard_from = k->from->peer;
	/* From elsewhere it may come to another: what leads there is not known to lead to the peer. */
	if (udp_same(&s->address, &k->from->peer))
		s->local = k->from->local;
	if (s == p->previous || (s == p->other && p->retired))
		p->heard_previous = true;
	if (!s->proven && s != p->current) {
		s->proven = true;
		path_tell(p, FACT_PROVEN);
	}
	/* The handshake's answer may have ended the tunnel's sessions: only what is still there is prepared. */
	if (new_slot) {
		if (p->current)
			inbound_prepare(p, p->current);
		if (p->pending)
			inbound_prepare(p, p->pending);
		if (p->other)
			inbound_prepare(p, p->other);
	}
	k->is_data = k->len > 0 && !(psk2_is_probe(inside, k->len) && mtu_on_probe(p, inside, k->len) == 0);
	if (k->is_data)
		admit(p, inside, k->len, k->class);
	return 0;
}

/* The length of each datagram in a message but its last, which may be shorter. */
static size_t datagram_len(struct mmsghdr *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m->msg_hdr); c; c = CMSG_NXTHDR(&m->msg_hdr, c)) {
		int size;

		if (c->cmsg_level != IPPROTO_UDP || c->cmsg_type != UDP_GRO || c->cmsg_len < CMSG_LEN(sizeof(size)))
			continue;
		memcpy(&size, CMSG_DATA(c), sizeof(size));
		if (size > 0)
			return (size_t)size;
	}
	return m->msg_len;
}

/*
 * A responder that still sends in the session before has not heard us in the
 * new one: our first packet was lost, and a stream one way would bring no other.
 */
static void repeat_proof(struct path *p)
{
	uint64_t now = clock_now_ms();

	if (p->heard_previous && p->current && p->o.role == KEYS_INITIATOR && now - p->repeated_ms >= 1000) {
		p->repeated_ms = now;
		path_keep_alive(p);
	}
	/* It has not finished with the old key file yet, and neither may we. */
	if (p->heard_previous && p->retired)
		figure_set(&p->retired_until_ms, now + PREVIOUS_KEPT_MS);
	p->heard_previous = false;
}

/* Handshakes: what came since is told once a batch. */
static void tell_keys(struct path *p, struct space *c)
{
	uint64_t next = c ? replay_next(c->replay) : 0;

	if (!c || next <= c->told)
		return;
	c->told = next;
	keys_rx_advance(c->keys, next - 1);
	path_tell_keys(p, c->keys);
}

/* What a batch came to. */
struct tally {
	bool any, data;
	uint64_t opened, bytes;
};

static void handle_datagram(struct path *p, struct packet *k, size_t len, struct tally *t)
{
	if (len > PSK2_OVERHEAD + p->in.capacity) {
		drop(p, DROP_LENGTH);
	} else if (pskh_is_handshake(k->header, len)) {
		tell_handshake(p, k, len);
	} else if (receive(p, k, len) == 0) {
		t->any = true;
		t->data = t->data || k->is_data;
		t->opened++;
		t->bytes += k->len;
	}
}

/* One message: a datagram, or several of a kind. */
static void handle_message(struct path *p, unsigned int i, struct tally *t)
{
	struct mmsghdr *m = &p->in.room->msgs[i];
	size_t size = datagram_len(m), left = m->msg_len;
	uint8_t *at = p->in.room->iov[i].iov_base;
	uint8_t class = udp_get_class(&m->msg_hdr);
	struct udp_ends from;

	udp_from_socket(&from.peer, &p->in.room->address[i]);
	udp_get_local(&from.local, &m->msg_hdr);
	if (m->msg_hdr.msg_flags & MSG_TRUNC) {
		drop(p, DROP_LENGTH);
		return;
	}
	/* An empty datagram is one, too. */
	do {
		struct packet k = { .header = at, .from = &from, .class = class };
		size_t len = left < size ? left : size;

		handle_datagram(p, &k, len, t);
		at += len;
		left -= len;
	} while (left > 0);
}

static void handle_batch(struct path *p, unsigned int n)
{
	uint64_t drops_before = p->counters.drops.arrived;
	uint64_t forged = p->counters.drops.n[DROP_AEAD];
	struct tally t = { .any = false };

	for (unsigned int i = 0; i < n; i++)
		handle_message(p, i, &t);
	deliver_flush(p);
	forged = p->counters.drops.n[DROP_AEAD] - forged;
	if (t.opened + forged)
		opstat_count(&pskd_operations[OP_PACKET_OPEN], t.opened + forged, forged, t.bytes);
	if (!p->o.prototype) {
		tell_keys(p, p->space);
		tell_keys(p, p->spare);
	}
	if (t.data && p->counters.unanswered_since_ms <= p->counters.sent_ms)
		figure_set(&p->counters.unanswered_since_ms, clock_now_ms());
	repeat_proof(p);
	if (p->counters.drops.arrived != drops_before)
		path_tell(p, FACT_DROPS);
	if (t.any)
		path_mark(p, &p->counters.received_ms, &p->counters.data_received_ms,
			  clock_now_ms(), t.data);
}

void inbound_on_udp(int fd, unsigned int events, void *arg)
{
	struct path *p = arg;

	(void)fd;
	if (events & LOOP_WRITE) {
		outbound_push(p);
		outbound_update(p);
	}
	for (int round = 0; round < ROUNDS && hold_lets(p->o.hold, round); round++) {
		int n = room_receive(p->in.room, p->o.udp.fd, p->in.each, p->in.n_msgs);

		if (n <= 0)
			return;
		handle_batch(p, (unsigned int)n);
		if ((unsigned int)n < p->in.n_msgs)
			return;
	}
}

int inbound_init(struct path *p)
{
	struct inbound *in = &p->in;

	/* A peer with a larger MTU than ours is heard all the same. */
	in->capacity = p->o.mtu > 2000 ? p->o.mtu : 2000;
	in->each = PSK2_OVERHEAD + in->capacity;
	if (p->offload & OFFLOAD_UDP_GRO || in->each > ROOM_LARGE)
		in->each = ROOM_LARGE;
	in->n_msgs = room_capacity(in->each);
	in->gro.tcp = p->offload & OFFLOAD_TSO;
	in->gro.udp = p->offload & OFFLOAD_USO;
	return room_get(&in->room, p->o.loop);
}

void inbound_done(struct path *p)
{
	room_free(p->in.room);
}

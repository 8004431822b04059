/*
 * From the TUN device to the peer. A batch is read, sealed with sequences that
 * keys.c gives out (and nobody else), and sent; what cannot go on yet stays in
 * the batch and the device is not read meanwhile, so that the kernel's queue
 * is the only one.
 */
#include "pskd/path_internal.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"

#include "pskd/mss.h"
#include "pskd/operations.h"

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
	if (r < 0)
		return r;
	seal(p, s, header, len, first, material);
	opstat_count(&pskd_operations[OP_PACKET_SEAL], 1, 0, len);
	s->packets++;
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
		if (taken < 0)
			return taken;
		for (int i = 0; i < taken; i++) {
			struct iovec *v = &p->out.batch.iov[p->out.sealed];

			seal(p, s, v->iov_base, v->iov_len, first + (uint64_t)i, material);
			p->counters.tx_packets++;
			p->counters.tx_bytes += v->iov_len;
			bytes += v->iov_len;
			v->iov_len += PSK2_OVERHEAD;
			p->out.sealed++;
		}
		opstat_count(&pskd_operations[OP_PACKET_SEAL], (uint64_t)taken, 0, bytes);
		s->packets += (uint64_t)taken;
	}
	return 0;
}

/* Send what is sealed. False when the socket is full. */
static bool send_batch(struct path *p)
{
	struct batch *b = &p->out.batch;
	struct sockaddr_storage to;
	socklen_t len;

	if (p->out.sent == p->out.sealed)
		return true;
	len = udp_to_socket(&p->o.udp, &to, &p->current->address);
	for (unsigned int i = p->out.sent; i < p->out.sealed; i++) {
		b->msgs[i].msg_hdr.msg_name = &to;
		b->msgs[i].msg_hdr.msg_namelen = len;
	}
	while (p->out.sent < p->out.sealed) {
		int n = sendmmsg(p->o.udp.fd, b->msgs + p->out.sent, p->out.sealed - p->out.sent,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return false;
		if (n < 0) {
			/* ENETUNREACH, ECONNREFUSED …: as if the network had lost this one. */
			p->counters.drops.n[DROP_SEND]++;
			n = 1;
		}
		p->out.sent += (unsigned int)n;
	}
	path_mark(p, &p->counters.sent_ms, &p->counters.data_sent_ms, clock_now_ms(), true);
	return true;
}

bool outbound_push(struct path *p)
{
	int r;

	if (!p->current) {
		/* The session went away under a waiting batch: its packets are lost. */
		p->counters.drops.n[DROP_STALE] += p->out.n - p->out.sent;
		p->out.n = p->out.sealed = p->out.sent = 0;
		return true;
	}
	r = seal_batch(p);
	p->out.waits_for_keys = r != 0;
	p->out.waits_for_socket = !send_batch(p);
	if (r == -KEYS_E_EXHAUSTED) {
		p->counters.drops.n[DROP_SEND] += p->out.n - p->out.sealed;
		p->out.n = p->out.sealed;
		p->o.events->on_exhausted(p->o.arg);
	}
	if (p->out.sent < p->out.n)
		return false;
	p->out.n = p->out.sealed = p->out.sent = 0;
	return true;
}

/* Up to 64 packets into an empty batch. */
static void read_batch(struct path *p)
{
	struct batch *b = &p->out.batch;

	while (p->out.n < BATCH) {
		uint8_t *header = batch_header(b, p->out.n);
		ssize_t len = read(p->o.tun_fd, header + PSK2_HEADER_LEN, b->capacity);

		if (len <= 0)
			return;
		mss_clamp(header + PSK2_HEADER_LEN, (size_t)len, p->o.mtu);
		b->iov[p->out.n++].iov_len = (size_t)len;
	}
}

void outbound_on_tun(int fd, unsigned int events, void *arg)
{
	struct path *p = arg;

	(void)fd;
	(void)events;
	for (int round = 0; round < ROUNDS; round++) {
		unsigned int n;

		if (p->out.n == 0)
			read_batch(p);
		n = p->out.n;
		if (n == 0)
			break;
		if (!outbound_push(p) || n < BATCH)
			break;
	}
	outbound_update(p);
}

void outbound_drain(struct path *p)
{
	uint8_t *header = batch_header(&p->out.batch, 0);

	/* As many as a device can hold by default, so that a flood cannot keep us here. */
	for (int i = 0; i < 1000; i++) {
		if (read(p->o.tun_fd, header + PSK2_HEADER_LEN, p->out.batch.capacity) <= 0)
			return;
		p->counters.drops.n[DROP_STALE]++;
	}
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

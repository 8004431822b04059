/* The packet path of both ends in one process: UDP over loopback, and a socket pair in place of each TUN device. */
#pragma once

#include "pskd/packet/path.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "crypto/aead.h"
#include "crypto/secret.h"
#include "event/loop.h"
#include "pskd/packet/packets.h"
#include "unit/lib/test.h"

enum { SLOTS = 100, MTU = 1420, NUMBER = 300 };

struct end {
	struct loop *loop;
	struct keys *keys, *next; /* next: of a staged key file */
	struct path *path;
	struct packet_thread *thread;
	enum keys_role role;
	struct sockaddr_in6 address;
	int tun; /* the kernel's side */
	uint64_t high; /* with the last handshake */
	bool has_pending; /* at the last proof */
	unsigned int handshakes, proven, switched, exhausted, own, drop_calls;
	bool refuses; /* handshakes: counts them as dropped */
};

static inline void on_handshake(const uint8_t *msg, size_t len, const struct udp_ends *from, uint64_t high, void *arg)
{
	struct end *e = arg;

	(void)msg;
	(void)len;
	(void)from;
	e->handshakes++;
	e->high = high;
	if (e->refuses)
		drops_count(path_drops(e->path), DROP_HS_UNEXPECTED);
}

static inline void on_proven(void *arg)
{
	struct end *e = arg;

	e->proven++;
	e->has_pending = path_pending(e->path) != NULL;
}

static inline void on_switched(void *arg)
{
	((struct end *)arg)->switched++;
}

static inline void on_traffic(void *arg)
{
	(void)arg;
}

static inline void on_exhausted(void *arg)
{
	((struct end *)arg)->exhausted++;
}

static inline void on_own_packet(const struct sockaddr_in6 *from, void *arg)
{
	(void)from;
	((struct end *)arg)->own++;
}

static inline void on_drops(void *arg)
{
	((struct end *)arg)->drop_calls++;
}

static const struct path_events events = { on_handshake, on_proven, on_switched, on_traffic, on_exhausted, on_own_packet, on_drops };

static inline void on_keys(int error, void *arg)
{
	struct end *e = arg;

	CHECK_EQ(error, 0);
	if (e->path)
		path_on_keys_ready(e->path);
}

static inline void open_keys(struct end *e, const char *name, const uint8_t *material, size_t slots, bool prototype)
{
	char dir[200], ledger[256], file[256], detail[200];
	struct keys_options o;

	snprintf(dir, sizeof(dir), "%s/%s", test_tmpdir(), name);
	CHECK_EQ(mkdir(dir, 0700), 0);
	snprintf(ledger, sizeof(ledger), "%s/t.ledger", dir);
	snprintf(file, sizeof(file), "%s/key", dir);
	CHECK_EQ(file_write_atomic(file, material, slots * SLOT_LEN, 0600), 0);
	o = (struct keys_options){ .ledger_path = ledger, .ledgers_dir = dir, .role = e->role,
				   .prototype = prototype, .window = 8192, .key_file = file, .loop = e->loop,
				   .hold = packet_thread_hold(e->thread), .on_ready = on_keys, .arg = e };
	CHECK_EQ(keys_create_file(&o, NULL, NULL, detail, sizeof(detail)), 0);
	CHECK_EQ(keys_open(&e->keys, &o, NULL, detail, sizeof(detail)), 0);
}

/* What both ends may use and are to do; each test is a process of its own. */
static unsigned int offload;
static struct sockaddr_in6 listen_at = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
static uint8_t dscp_of_both;
static struct packets *threads; /* that carry what passes; NULL: the ends' own loops do */

static inline void end_init_mtu(struct end *e, const char *name, enum keys_role role, const uint8_t *material,
			 size_t slots, bool prototype, uint16_t mtu)
{
	struct sockaddr_in6 at = listen_at;
	struct path_options o = { .role = role, .prototype = prototype, .window = 8192, .mtu = mtu,
				  .offload = offload, .dscp = dscp_of_both, .events = &events, .arg = e };
	int fds[2];

	e->role = role;
	CHECK_EQ(loop_new(&e->loop), 0);
	CHECK_EQ(packets_join(&e->thread, threads), 0);
	open_keys(e, name, material, slots, prototype);
	CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	if (udp_open(&o.udp, &at) != 0)
		test_skip("no IPv6 loopback");
	e->tun = fds[0];
	e->address = at;
	e->address.sin6_port = htons(udp_port(&o.udp));
	o.tun_fd = fds[1];
	o.loop = e->thread ? packet_thread_loop(e->thread) : e->loop;
	o.hold = packet_thread_hold(e->thread);
	o.control = e->loop;
	o.keys = e->keys;
	CHECK_EQ(path_new(&e->path, &o), 0);
}

static inline void end_init(struct end *e, const char *name, enum keys_role role, const uint8_t *material,
		     size_t slots, bool prototype)
{
	end_init_mtu(e, name, role, material, slots, prototype, MTU);
}

static inline void end_done(struct end *e)
{
	path_free(e->path);
	keys_close(e->keys);
	keys_close(e->next);
	close(e->tun);
	packets_leave(e->thread);
	loop_free(e->loop);
}

struct both {
	struct end a, b;
	struct session *forge; /* keys of a's direction, to make packets with */
	uint8_t material[SLOTS * SLOT_LEN];
	int raw; /* a stranger's socket */
};

static inline struct session_id id(uint32_t number)
{
	return (struct session_id){ .number = number, .nonce_a = "nonce a", .nonce_b = "nonce b",
				    .identity_a = "alice", .identity_b = "bob" };
}

static inline void give_session(struct end *e, const struct end *peer, uint32_t number, bool pending)
{
	struct session_id i = id(number);
	struct session *s;

	CHECK_EQ(session_new(&s, &i, e->role, path_rx_slots(8192)), 0);
	s->address = peer->address;
	if (pending)
		path_set_pending(e->path, &s);
	else
		path_set_current(e->path, &s);
}

static inline struct both *both_new(size_t slots)
{
	struct both *x = calloc(1, sizeof(*x));
	struct session_id i = id(NUMBER);

	CHECK(x != NULL);
	CHECK_EQ(crypto_init(), 0);
	random_bytes(x->material, sizeof(x->material));
	end_init(&x->a, "a", KEYS_INITIATOR, x->material, slots, false);
	end_init(&x->b, "b", KEYS_RESPONDER, x->material, slots, false);
	give_session(&x->a, &x->b, NUMBER, false);
	give_session(&x->b, &x->a, NUMBER, false);
	CHECK_EQ(session_new(&x->forge, &i, KEYS_INITIATOR, 20), 0);
	x->raw = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	CHECK(x->raw >= 0);
	return x;
}

static inline void both_free(struct both *x)
{
	end_done(&x->a);
	end_done(&x->b);
	session_free(x->forge);
	close(x->raw);
	free(x);
	clock_fake_ms(UINT64_MAX);
}

DEFINE_CLEANUP(struct both *, both_free);

/* Until nothing happens any more; sockets and workers may take a moment. */
static inline void run(struct both *x)
{
	for (int i = 0; i < 10; i++) {
		loop_step(x->a.loop, 2);
		loop_step(x->b.loop, 2);
	}
}

static inline void wait_for(struct both *x, const unsigned int *what, unsigned int least)
{
	for (int i = 0; i < 3000 && *what < least; i++) {
		loop_step(x->a.loop, 1);
		loop_step(x->b.loop, 1);
	}
	CHECK(*what >= least);
}

static inline struct drops drops_of(struct end *e)
{
	return path_counters(e->path)->drops;
}

static inline void fill_ip(uint8_t *p, size_t len, uint8_t mark)
{
	memset(p, mark, len);
	p[0] = 0x45;
}

/* A packet of a's to b, as the wire has it; returns its length. */
static inline size_t forge(struct both *x, uint8_t *out, uint64_t sequence, const uint8_t *ip, size_t len)
{
	const uint8_t *slot = x->material + sequence / SLOT_PACKETS * SLOT_LEN;
	const struct slot_key *k;
	struct slot_key material;
	struct psk2_header h = { .flags = PSK2_FLAG_SESSION, .reserved = (uint8_t)NUMBER, .sequence = sequence };
	uint8_t nonce[PSK2_NONCE_LEN];

	memcpy(material.tag, slot, 16);
	memcpy(material.nonce, slot + 16, 12);
	memcpy(material.key, slot + 28, 32);
	k = session_tx(x->forge, sequence / SLOT_PACKETS, &material);
	memcpy(h.slot_tag, k->tag, 16);
	psk2_header_encode(out, &h);
	psk2_nonce(nonce, k->nonce, sequence);
	aead_seal(out + PSK2_HEADER_LEN, ip, len, out, PSK2_HEADER_LEN, nonce, k->key);
	return len + PSK2_OVERHEAD;
}

static inline void inject(struct both *x, const uint8_t *msg, size_t len)
{
	CHECK_EQ(sendto(x->raw, msg, len, 0, (struct sockaddr *)&x->b.address, sizeof(x->b.address)), (ssize_t)len);
	run(x);
}

static inline void pass(struct both *x, struct end *from, struct end *to, uint8_t mark)
{
	uint8_t ip[60], got[100];

	fill_ip(ip, sizeof(ip), mark);
	CHECK_EQ(write(from->tun, ip, sizeof(ip)), (ssize_t)sizeof(ip));
	run(x);
	CHECK_EQ(read(to->tun, got, sizeof(got)), (ssize_t)sizeof(ip));
	CHECK_MEM(got, ip, sizeof(ip));
}

static inline void stage(struct end *e, const char *name, const uint8_t *material)
{
	struct keys *own = e->keys;

	open_keys(e, name, material, SLOTS, false);
	e->next = e->keys;
	e->keys = own;
	CHECK_EQ(path_stage(e->path, e->next), 0);
}

static inline void give_staged(struct end *e, const struct end *peer, uint32_t number)
{
	struct session_id i = id(number);
	struct session *s;

	CHECK_EQ(session_new(&s, &i, e->role, path_rx_slots(8192)), 0);
	s->address = peer->address;
	path_set_staged(e->path, &s, 0);
	session_free(s);
}

/* Both have another file staged, and agreed on a session of it; nothing was sent there yet. */
static inline struct both *staged_new(void)
{
	struct both *x = both_new(SLOTS);
	uint8_t material[SLOTS * SLOT_LEN];

	clock_fake_ms(1000000);
	random_bytes(material, sizeof(material));
	stage(&x->a, "a2", material);
	stage(&x->b, "b2", material);
	give_staged(&x->a, &x->b, NUMBER + 1);
	give_staged(&x->b, &x->a, NUMBER + 1);
	return x;
}

/* Let both ends' questions be asked and answered until nothing is due any more; the clock is the test's. */
static inline void find_mtu(struct both *x, uint64_t *now)
{
	for (int i = 0; i < 200 && (path_probe_due(x->a.path) < UINT64_MAX || path_probe_due(x->b.path) < UINT64_MAX);
	     i++) {
		*now += 250;
		clock_fake_ms(*now);
		path_probe(x->a.path);
		path_probe(x->b.path);
		run(x);
	}
}

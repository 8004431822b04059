/*
 * The keys of a tunnel: from key files and roots to packets. What is drawn, derived, kept in
 * ledgers and computed into MACs is secret; packets and handshakes are public once they are made.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "crypto/seal.h"
#include "ct/ct.h"
#include "event/loop.h"
#include "pskd/handshake/hello.h"
#include "pskd/handshake/session.h"
#include "pskd/keys/keyfile.h"
#include "pskd/keys/ledger.h"
#include "pskd/keys/ratchet.h"
#include "pskd/packet/path.h"

enum { SLOTS = 600, MTU = 1420, WINDOW = 8192 };

CHECK(ratchet)
{
	_cleanup_(secret_freep) struct secret *root = marked(32);
	static const uint8_t tunnel_id[16] = "a tunnel";
	uint8_t chain[RATCHET_CHAIN_LEN];
	struct slot_key slot;

	for (unsigned int direction = 0; direction < 2; direction++) {
		ratchet_start(chain, secret_bytes(root), tunnel_id, direction);
		ratchet_slot(&slot, chain);
		ratchet_step(chain, 3);
	}
}

CHECK(session_keys)
{
	static const struct session_id id = { .number = 7, .nonce_a = "nonce a", .nonce_b = "nonce b" };
	_cleanup_(session_freep) struct session *s = NULL;
	struct slot_key slot;

	random_bytes(&slot, sizeof(slot));
	must_be(session_new(&s, &id, KEYS_INITIATOR, 20), 0, "no memory");
	must(session_tx(s, 5, &slot) && session_tx(s, 6, &slot) && session_own_tag(s, 6), "no slot to send with");
}

/* ---- ledger records ---- */

static struct ledger_record make_record(void)
{
	struct ledger_record r = { .kind = LEDGER_ROOT, .role = KEYS_RESPONDER, .tx_next = 7, .tx_reserved = 300,
				   .tx_limit = 65536, .rx_high = 5, .rx_mark = 6, .generation = 3 };

	random_bytes(r.hello_key, sizeof(r.hello_key));
	random_bytes(r.tx_chain, sizeof(r.tx_chain));
	random_bytes(r.rx_chain, sizeof(r.rx_chain));
	return r;
}

CHECK(ledger_record)
{
	struct ledger_record r = make_record(), back;
	uint8_t block[LEDGER_BLOCK_LEN];

	ledger_encode(block, &r);
	must_be(ledger_decode(&back, block), 0, "a record is refused");
	block[4095] ^= 1;
	must_be(ledger_decode(&back, block), LEDGER_E_BROKEN, "a broken record is taken");
}

CHECK(ledger_record_sealed)
{
	_cleanup_(secret_freep) struct secret *master = marked(32);
	_cleanup_(seal_key_freep) struct seal_key *key = NULL;
	struct ledger_record r = make_record(), back;
	uint8_t blocks[LEDGER_LEN];
	struct ledger_state state;

	must_be(seal_key_new(&key, master, "test"), 0, "no memory");
	mark_public(seal_key_id(key), SEAL_ID_LEN);
	ledger_use_key(key);
	ledger_encode(blocks, &r);
	r.generation++;
	ledger_encode(blocks + LEDGER_BLOCK_LEN, &r);
	must_be(ledger_decode(&back, blocks), 0, "a sealed record is refused");
	/* Both, judged: they are of the same keys. */
	must_be(ledger_judge(&state, blocks, sizeof(blocks)), 0, "a sealed ledger is refused");
	ledger_use_key(NULL);
}

/* ---- keys, handshakes and packets of two ends ---- */

struct end {
	struct loop *loop;
	struct keys *keys;
	struct keys_options o;
	char dir[256], ledger[300], file[300];
	struct path *path;
	struct hello *hello;
	struct drops drops;
	struct session *session;
	struct sockaddr_in6 address;
	int tun; /* the kernel's side */
	uint8_t msg[PSKH_MAX];
	size_t msg_len;
};

static void on_keys(int error, void *arg)
{
	struct end *e = arg;

	must(error == 0, "keys fail");
	if (e->path)
		path_on_keys_ready(e->path);
}

/* Of a key file when there is material, else of a root. */
static void open_keys(struct end *e, const char *name, enum keys_role role, const uint8_t *material)
{
	char detail[300];

	snprintf(e->dir, sizeof(e->dir), "%s/%s", ct_tmpdir(), name);
	must(mkdir(e->dir, 0700) == 0, "no folder");
	snprintf(e->ledger, sizeof(e->ledger), "%s/t.ledger", e->dir);
	snprintf(e->file, sizeof(e->file), "%s/key", e->dir);
	must_be(loop_new(&e->loop), 0, "no loop");
	e->o = (struct keys_options){ .ledger_path = e->ledger, .ledgers_dir = e->dir, .role = role,
				      .window = WINDOW, .key_file = material ? e->file : NULL, .erase = KEYS_ERASE_ZERO,
				      .loop = e->loop, .on_ready = on_keys, .arg = e };
	if (material) {
		must_be(file_write_atomic(e->file, material, SLOTS * SLOT_LEN, 0600), 0, "no key file");
		reads_are_secret = true;
		must_be(keys_create_file(&e->o, NULL, NULL, detail, sizeof(detail)), 0, "no ledger");
		reads_are_secret = false;
	}
}

static void start_keys(struct end *e)
{
	char detail[300];

	must_be(keys_open(&e->keys, &e->o, NULL, detail, sizeof(detail)), 0, "no keys");
	/* From here on only slots are read. */
	reads_are_secret = true;
}

static void take_packets(struct end *e, unsigned int n)
{
	const struct slot_key *slot;
	uint64_t first;

	for (unsigned int i = 0; i < n;) {
		int taken = keys_tx_take(e->keys, 400, &first, &slot);

		if (taken > 0)
			i += (unsigned int)taken;
		else
			loop_step(e->loop, 10);
	}
}

static void close_keys(struct end *e)
{
	e->keys = keys_close(e->keys);
	loop_free(e->loop);
}

CHECK(keys_of_a_root)
{
	static const uint8_t tunnel_id[16] = "a tunnel";
	struct end e = { 0 };
	uint8_t root[32], hello[32];
	char detail[300];

	open_keys(&e, "root", KEYS_INITIATOR, NULL);
	random_bytes(root, sizeof(root));
	must_be(keys_create_root(&e.o, root, tunnel_id, detail, sizeof(detail)), 0, "no ledger");
	start_keys(&e);
	keys_hello_key(e.keys, hello);
	take_packets(&e, 5000);
	must_be(keys_rx_forward(e.keys, 5000, false), 0, "no slots to receive with");
	close_keys(&e);
}

static uint8_t *make_material(void)
{
	uint8_t *p = malloc(SLOTS * SLOT_LEN);

	must(p != NULL, "no memory");
	random_bytes(p, SLOTS * SLOT_LEN);
	return p;
}

CHECK(keys_of_a_file)
{
	uint8_t *material = make_material();
	struct end e = { 0 };

	open_keys(&e, "file", KEYS_INITIATOR, material);
	start_keys(&e);
	take_packets(&e, 5000);
	close_keys(&e);
	free(material);
}

static void on_handshake(const uint8_t *msg, size_t len, const struct udp_ends *from, uint64_t high, void *arg)
{
	(void)high;
	(void)msg;
	(void)len;
	(void)from;
	(void)arg;
}

static void on_own_packet(const struct sockaddr_in6 *from, void *arg)
{
	(void)from;
	(void)arg;
}

static void on_nothing(void *arg)
{
	(void)arg;
}

static const struct path_events path_events = {
	.on_handshake = on_handshake,
	.on_proven = on_nothing,
	.on_switched = on_nothing,
	.on_traffic = on_nothing,
	.on_exhausted = on_nothing,
	.on_own_packet = on_own_packet,
	.on_drops = on_nothing,
};

static void open_path(struct end *e)
{
	struct sockaddr_in6 at = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct path_options o = { .role = e->o.role, .window = WINDOW, .mtu = MTU, .events = &path_events, .arg = e,
				  .loop = e->loop, .keys = e->keys };
	int fds[2];

	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0, "no socket pair");
	must_be(udp_open(&o.udp, &at), 0, "no IPv6 loopback");
	e->tun = fds[0];
	e->address = at;
	e->address.sin6_port = htons(udp_port(&o.udp));
	o.tun_fd = fds[1];
	must_be(path_new(&e->path, &o), 0, "no path");
}

static void give_session(struct end *e, const struct end *peer)
{
	static const struct session_id id = { .number = 300, .nonce_a = "nonce a", .nonce_b = "nonce b" };
	struct session *s;

	must_be(session_new(&s, &id, e->o.role, path_rx_slots(WINDOW)), 0, "no memory");
	s->address = peer->address;
	path_set_current(e->path, &s);
}

/* Two datagrams that nobody sealed: one with a wrong slot tag, one with the right one and a wrong AEAD tag. */
static void forge(const struct end *to, const struct session *s)
{
	struct psk2_header h = { .flags = PSK2_FLAG_SESSION, .reserved = (uint8_t)300, .sequence = 1500 };
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint8_t msg[200] = { 0 };

	psk2_header_encode(msg, &h);
	for (int right = 0; right < 2; right++) {
		if (right) {
			const struct slot_key *slot = session_rx(s, 1);

			must(slot != NULL, "no slot");
			memcpy(h.slot_tag, slot->tag, sizeof(h.slot_tag));
			psk2_header_encode(msg, &h);
		}
		must(sendto(fd, msg, sizeof(msg), 0, (const struct sockaddr *)&to->address, sizeof(to->address)) ==
			     (ssize_t)sizeof(msg), "cannot send");
		for (int i = 0; i < 5; i++)
			loop_step(to->loop, 2);
	}
	close(fd);
}

CHECK(packets)
{
	uint8_t *material = make_material(), ip[100] = { 0x45 }, got[200];
	struct end a = { 0 }, b = { 0 };
	unsigned int n = 0;

	open_keys(&a, "a", KEYS_INITIATOR, material);
	open_keys(&b, "b", KEYS_RESPONDER, material);
	start_keys(&a);
	reads_are_secret = false;
	start_keys(&b);
	open_path(&a);
	open_path(&b);
	give_session(&a, &b);
	give_session(&b, &a);
	/* Past the end of a slot. */
	for (int i = 0; i < 1100; i++) {
		must(write(a.tun, ip, sizeof(ip)) == (ssize_t)sizeof(ip), "the device is full");
		if (i % 50 == 49)
			for (int j = 0; j < 10; j++) {
				loop_step(a.loop, 1);
				loop_step(b.loop, 1);
			}
		while (read(b.tun, got, sizeof(got)) > 0)
			n++;
	}
	must(n > 1000, "packets do not arrive");
	forge(&b, path_current(b.path));
	must(path_counters(b.path)->drops.n[DROP_TAG] == 1, "a wrong slot tag is not counted");
	must(path_counters(b.path)->drops.n[DROP_AEAD] == 1, "a forged packet is not counted");
	path_free(a.path);
	path_free(b.path);
	close(a.tun);
	close(b.tun);
	close_keys(&a);
	close_keys(&b);
	free(material);
}

/* ---- handshakes ---- */

static void on_send(const uint8_t *msg, size_t len, const struct udp_ends *to, void *arg)
{
	struct end *e = arg;

	(void)to;
	memcpy(e->msg, msg, len);
	e->msg_len = len;
}

static int on_sign(const uint8_t hash[static PSKH_HASH_LEN], hello_signed_fn done, void *token, void *arg)
{
	(void)hash;
	(void)done;
	(void)token;
	(void)arg;
	return -EAGAIN;
}

static void on_session(struct session **s, uint64_t peer_tx_next, void *arg)
{
	(void)peer_tx_next;
	((struct end *)arg)->session = steal(s);
}

static bool may_call(const struct sockaddr_in6 *from, void *arg)
{
	(void)from;
	(void)arg;
	return true;
}

static void on_round(unsigned int round, void *arg)
{
	(void)round;
	(void)arg;
}

static void on_event(enum hello_event e, const struct sockaddr_in6 *from, uint64_t n, void *arg)
{
	(void)e;
	(void)from;
	(void)n;
	(void)arg;
}

static const struct hello_ops hello_ops = { on_send, on_sign, on_session, on_nothing, may_call, on_round, on_event };

static void open_hello(struct end *e)
{
	struct hello_options o = { .loop = e->loop, .keys = e->keys, .role = e->o.role, .window = WINDOW,
				   .ops = &hello_ops, .arg = e, .drops = &e->drops };

	memset(o.own_identity, 1 + (int)e->o.role, sizeof(o.own_identity));
	e->address = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(1000) };
	e->address.sin6_addr.s6_addr[15] = (uint8_t)(1 + e->o.role);
	must_be(hello_new(&e->hello, &o), 0, "no memory");
}

static void carry(struct end *from, struct end *to)
{
	hello_on_message(to->hello, from->msg, from->msg_len, &(struct udp_ends){ .peer = from->address }, keys_rx_high(to->keys));
}

CHECK(handshake)
{
	uint8_t *material = make_material();
	struct end a = { 0 }, b = { 0 };

	clock_fake_ms(1000000);
	open_keys(&a, "ha", KEYS_INITIATOR, material);
	open_keys(&b, "hb", KEYS_RESPONDER, material);
	start_keys(&a);
	reads_are_secret = false;
	start_keys(&b);
	open_hello(&a);
	open_hello(&b);
	hello_set_candidates(a.hello, &b.address, 1);
	hello_start(a.hello);
	carry(&a, &b);
	carry(&b, &a);
	carry(&a, &b);
	must(a.session && b.session, "no session");
	/* A MAC that is wrong. */
	a.msg[a.msg_len - 1] ^= 1;
	carry(&a, &b);
	must(b.drops.n[DROP_HS_MAC] == 1, "a wrong MAC is not counted");
	hello_free(a.hello);
	hello_free(b.hello);
	session_free(a.session);
	session_free(b.session);
	close_keys(&a);
	close_keys(&b);
	clock_fake_ms(UINT64_MAX);
	free(material);
}

/*
 * Datagrams on their way through the packet path. An even first byte: the rest
 * is the datagram, which no key has sealed and which must move nothing. An odd
 * one: two bytes of sequence, and the rest is what a peer with the right keys
 * has put inside.
 */
#include <assert.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/file.h"
#include "crypto/aead.h"
#include "crypto/secret.h"
#include "event/loop.h"
#include "pskd/packet/path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SLOTS = 80 };

static struct loop *loop;
static struct keys *keys;
static struct path *path;
static struct session *forge;
static uint8_t material[SLOTS * SLOT_LEN];
static int wire, device;
static const struct session_id id = { .number = 1, .nonce_a = "a", .nonce_b = "b" };

static void on_handshake(const uint8_t *msg, size_t len, const struct udp_ends *from, uint64_t high, void *arg)
{
	(void)high;
	(void)from;
	(void)arg;
	assert(pskh_is_handshake(msg, len));
}

static void nothing(void *arg)
{
	(void)arg;
}

static void on_own_packet(const struct sockaddr_in6 *from, void *arg)
{
	(void)from;
	(void)arg;
}

static const struct path_events events = {
	.on_handshake = on_handshake, .on_proven = nothing, .on_switched = nothing, .on_traffic = nothing,
	.on_exhausted = nothing, .on_own_packet = on_own_packet, .on_drops = nothing,
};

static char dir[] = "/tmp/handfast-fuzz-XXXXXX";

static void remove_dir(void)
{
	char file[300];
	DIR *d = opendir(dir);
	const struct dirent *e;

	while (d && (e = readdir(d))) {
		snprintf(file, sizeof(file), "%s/%.200s", dir, e->d_name);
		unlink(file);
	}
	if (d)
		closedir(d);
	rmdir(dir);
}

static void make_keys(void)
{
	char ledger[64], file[64], detail[200];
	struct keys_options o = { .role = KEYS_RESPONDER, .window = 8192, .loop = loop, .ledgers_dir = dir,
				  .ledger_path = ledger, .key_file = file };

	assert(mkdtemp(dir) && atexit(remove_dir) == 0);
	snprintf(ledger, sizeof(ledger), "%s/l", dir);
	snprintf(file, sizeof(file), "%s/k", dir);
	assert(file_write_atomic(file, material, sizeof(material), 0600) == 0);
	assert(keys_create_file(&o, NULL, NULL, detail, sizeof(detail)) == 0);
	assert(keys_open(&keys, &o, NULL, detail, sizeof(detail)) == 0);
}

static void make_path(void)
{
	struct path_options o = { .loop = loop, .keys = keys, .role = KEYS_RESPONDER, .window = 8192,
				  .mtu = 1420, .events = &events };
	int udp[2], tun[2];
	struct session *s;

	assert(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, udp) == 0);
	assert(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, tun) == 0);
	o.udp.fd = udp[0];
	wire = udp[1];
	o.tun_fd = tun[0];
	device = tun[1];
	assert(path_new(&path, &o) == 0);
	assert(session_new(&s, &id, KEYS_RESPONDER, path_rx_slots(8192)) == 0);
	path_set_current(path, &s);
	assert(session_new(&forge, &id, KEYS_INITIATOR, 1) == 0);
}

static size_t seal(uint8_t *out, uint64_t sequence, const uint8_t *ip, size_t len)
{
	const uint8_t *slot = material + sequence / SLOT_PACKETS * SLOT_LEN;
	struct psk2_header h = { .flags = PSK2_FLAG_SESSION, .reserved = 1, .sequence = sequence };
	const struct slot_key *k;
	struct slot_key from;
	uint8_t nonce[PSK2_NONCE_LEN];

	memcpy(from.tag, slot, sizeof(from.tag));
	memcpy(from.nonce, slot + 16, sizeof(from.nonce));
	memcpy(from.key, slot + 28, sizeof(from.key));
	k = session_tx(forge, sequence / SLOT_PACKETS, &from);
	memcpy(h.slot_tag, k->tag, sizeof(h.slot_tag));
	psk2_header_encode(out, &h);
	psk2_nonce(nonce, k->nonce, sequence);
	aead_seal(out + PSK2_HEADER_LEN, ip, len, out, PSK2_HEADER_LEN, nonce, k->key);
	return len + PSK2_OVERHEAD;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t msg[8192], got[8192];
	const struct path_counters *c;
	uint64_t before;

	if (!loop) {
		assert(crypto_init() == 0 && loop_new(&loop) == 0);
		random_bytes(material, sizeof(material));
		make_keys();
		make_path();
	}
	if (size < 3 || size > 4096)
		return 0;
	c = path_counters(path);
	before = c->rx_packets + path_rx_next(path);
	if (data[0] & 1)
		size = seal(msg, be16_load(data + 1), data + 3, size - 3);
	else
		memcpy(msg, data + 1, --size);
	assert(send(wire, msg, size, 0) == (ssize_t)size);
	loop_step(loop, 0);
	if (!(data[0] & 1))
		assert(path_counters(path)->rx_packets + path_rx_next(path) == before);
	while (read(device, got, sizeof(got)) > 0)
		assert(got[0] >> 4 == 4 || got[0] >> 4 == 6);
	return 0;
}

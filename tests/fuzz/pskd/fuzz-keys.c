/*
 * The key material of a tunnel as a sequence: packets sent and received, jumps, silence, and the power that fails at
 * any moment, or only the disk. The ledger's format and judgement are real, and so is all that decides over
 * sequences; the disk is two blocks here, in which a write that was cut off leaves old bytes, new ones, or half
 * of each. Some runs begin with a ledger of any content.
 *
 * What must hold (I1): over all lives, no sequence is taken twice, the keys of a slot never change, and what
 * a tunnel without handshakes has received is refused by every later life.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "event/loop.h"
#include "fuzz/lib/quick_sum.h"
#include "fuzz/lib/sequence.h"
#include "fuzz/lib/timers.h"
#include "pskd/keys/ratchet.h"

/* The format is the real one; the file, its lock and its thread are ours. */
#define sha256 quick_sum
#include "../../../daemons/pskd/keys/ledger_record.c"
#undef sha256

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SLOTS = 80, JOBS = 16, LIVES = 64, KNOWN = 4096 };

/* ---- the ratchet, made quick ---- */

/* From one chain the next, and a slot of it: as the real one, a function of the chain alone. */
static void derive(uint8_t *out, size_t len, const uint8_t chain[static 32], uint64_t label)
{
	uint64_t state[4];
	uint8_t in[32];

	memcpy(in, chain, sizeof(in));
	memcpy(state, in, sizeof(state));
	for (size_t at = 0; at < len; at += sizeof(state)) {
		quick_mix(state, label);
		memcpy(out + at, state, len - at < sizeof(state) ? len - at : sizeof(state));
	}
}

void ratchet_start(uint8_t chain[static RATCHET_CHAIN_LEN], const uint8_t root[static 32], const uint8_t tunnel_id[static 16],
		   unsigned int direction)
{
	derive(chain, RATCHET_CHAIN_LEN, root, tunnel_id[0] + direction);
}

void ratchet_slot(struct slot_key *out, const uint8_t chain[static RATCHET_CHAIN_LEN])
{
	derive((uint8_t *)out, sizeof(*out), chain, 3);
}

void ratchet_step(uint8_t chain[static RATCHET_CHAIN_LEN], uint64_t n)
{
	while (n-- > 0)
		derive(chain, RATCHET_CHAIN_LEN, chain, 4);
}

/* ---- the disk ---- */

enum fate { FATE_DONE, FATE_NOTHING, FATE_HALF, FATE_WHOLE_BUT_FAILED };

static uint8_t disk[LEDGER_LEN], fresh[4][LEDGER_LEN];
static enum fate fate; /* of the next writes */
static bool is_dead; /* the power is off: nothing is written, and nobody hears */

struct ledger {
	unsigned int newest_at;
	uint64_t generation, writes;
	bool busy;
	struct ledger_record flying, told;
	ledger_done_fn done;
	void *done_arg;
};

static struct ledger *opened;

int ledger_create(const char *path, const struct ledger_record *first)
{
	struct ledger_record r = *first;

	(void)path;
	for (unsigned int i = 0; i < 2; i++) {
		r.generation = i + 1;
		ledger_encode(disk + i * LEDGER_BLOCK_LEN, &r);
	}
	return 0;
}

int ledger_open(struct ledger **out, const char *path, struct ledger_state *state)
{
	struct ledger *l;
	int r = ledger_judge(state, disk, sizeof(disk));

	(void)path;
	if (r)
		return r;
	l = calloc(1, sizeof(*l));
	assert(l);
	l->newest_at = state->newest_at;
	l->generation = state->newest.generation;
	*out = opened = l;
	return 0;
}

static int put(struct ledger *l, struct ledger_record *r)
{
	uint8_t *old = disk + !l->newest_at * LEDGER_BLOCK_LEN, block[LEDGER_BLOCK_LEN];

	if (is_dead)
		return -EIO;
	r->generation = l->generation + 1;
	ledger_encode(block, r);
	if (fate == FATE_HALF)
		memcpy(old, block, 200);
	else if (fate != FATE_NOTHING)
		memcpy(old, block, sizeof(block));
	if (fate != FATE_DONE)
		return -EIO;
	l->newest_at = !l->newest_at;
	l->generation++;
	l->writes++;
	return 0;
}

int ledger_start(struct ledger *l, struct loop *loop, ledger_done_fn done, void *arg)
{
	(void)loop;
	l->done = done;
	l->done_arg = arg;
	return 0;
}

void ledger_submit(struct ledger *l, const struct ledger_record *r)
{
	assert(!l->busy);
	l->busy = true;
	l->flying = *r;
}

bool ledger_is_busy(const struct ledger *l)
{
	return l->busy;
}

static bool finish(struct ledger *l)
{
	int r;

	if (!l->busy)
		return false;
	r = put(l, &l->flying);
	l->told = l->flying;
	l->busy = false;
	l->done(r, &l->told, l->done_arg);
	return true;
}

bool ledger_wait(struct ledger *l, unsigned int ms)
{
	(void)ms;
	return finish(l);
}

int ledger_write(struct ledger *l, const struct ledger_record *r)
{
	struct ledger_record copy = *r;

	finish(l);
	assert(!l->busy);
	return put(l, &copy);
}

uint64_t ledger_writes(const struct ledger *l)
{
	return l->writes;
}

struct ledger *ledger_close(struct ledger *l)
{
	if (l && l->busy) {
		struct ledger_record r = l->flying;

		(void)put(l, &r);
	}
	free(l);
	return NULL;
}

int ledger_find_twin(const char *dir, const char *own, const uint8_t fingerprint[static 32], char *name, size_t name_cap)
{
	(void)dir;
	(void)own;
	(void)fingerprint;
	(void)name;
	(void)name_cap;
	return 0;
}

int ledger_material(int dir_fd, const char *name, struct stat *st, uint8_t fingerprint[static 32])
{
	(void)dir_fd;
	(void)name;
	(void)st;
	(void)fingerprint;
	return LEDGER_E_BROKEN;
}

/* ---- the threads ---- */

static struct {
	void (*work)(void *arg), (*done)(void *arg, bool cancelled);
	void *arg;
} jobs[JOBS];
static size_t n_jobs;

int worker_start(struct worker **out, struct loop *l, void (*work)(void *arg), void (*done)(void *arg, bool cancelled),
		 void *arg)
{
	(void)l;
	if (out)
		*out = NULL;
	if (n_jobs == JOBS)
		return -EAGAIN;
	jobs[n_jobs].work = work;
	jobs[n_jobs].done = done;
	jobs[n_jobs++].arg = arg;
	return 0;
}

static void run_jobs(bool cancelled)
{
	size_t n = n_jobs;

	for (size_t i = 0; i < n; i++) {
		jobs[i].work(jobs[i].arg);
		jobs[i].done(jobs[i].arg, cancelled);
	}
	memmove(jobs, jobs + n, (n_jobs - n) * sizeof(jobs[0]));
	n_jobs -= n;
}

/* What hold.c names, and nobody calls here. */
int loop_io_new(struct loop_io **out, struct loop *l, int fd, unsigned int events, loop_io_fn fn, void *arg)
{
	(void)out;
	(void)l;
	(void)fd;
	(void)events;
	(void)fn;
	(void)arg;
	abort();
}

struct loop_io *loop_io_free(struct loop_io *io)
{
	assert(!io);
	return NULL;
}

/* ---- the world ---- */

static struct keys *keys;
static struct keys_options options[4];
static char dir[64], ledger_path[4][96], key_path[96];
static uint64_t taken; /* sequences below were, or were given up */
static uint64_t received;
static uint64_t rx_acted; /* without handshakes: sequences below may have been acted on */
static unsigned int lives;
static uint64_t this_run;
static bool is_arbitrary;
/* Of each slot and direction seen so far, its key. */
static struct {
	uint64_t run, slot;
	uint8_t key[SLOT_KEY_LEN];
} known[2][KNOWN];

static void on_ready(int error, void *arg)
{
	(void)error;
	(void)arg;
}

static void check_key(unsigned int direction, uint64_t slot, const struct slot_key *k)
{
	size_t at = slot % KNOWN;

	if (known[direction][at].run == this_run && known[direction][at].slot == slot) {
		assert(memcmp(known[direction][at].key, k->key, SLOT_KEY_LEN) == 0);
		return;
	}
	known[direction][at].run = this_run;
	known[direction][at].slot = slot;
	memcpy(known[direction][at].key, k->key, SLOT_KEY_LEN);
}

static bool open_keys(const struct keys_options *o)
{
	char detail[200] = "";
	uint64_t recovered;

	if (keys_open(&keys, o, &recovered, detail, sizeof(detail))) {
		keys = NULL;
		assert(*detail);
		return false;
	}
	assert(keys_tx_next(keys) >= taken);
	if (o->prototype)
		assert(keys_rx_floor(keys) >= rx_acted);
	return true;
}

static void shut(bool clean)
{
	is_dead = !clean;
	keys = keys_close(keys);
	run_jobs(true);
	is_dead = false;
	fate = FATE_DONE;
}

static void take(unsigned int n)
{
	const struct slot_key *slot;
	uint64_t first;
	int r = keys_tx_take(keys, n, &first, &slot);

	assert(r == -KEYS_E_NOT_READY || r == -KEYS_E_EXHAUSTED || (r >= 1 && r <= (int)n));
	if (r < 1)
		return;
	assert(first >= taken && first / SLOT_PACKETS == (first + (unsigned int)r - 1) / SLOT_PACKETS);
	taken = first + (unsigned int)r;
	check_key(0, first / SLOT_PACKETS, slot);
}

static void receive(const struct keys_options *o, uint64_t sequence)
{
	const struct slot_key *k;

	/* As inbound.c does: only what has a slot is looked at. */
	if (sequence < keys_rx_floor(keys))
		return;
	k = keys_rx_slot(keys, sequence / SLOT_PACKETS);
	if (!k)
		return;
	check_key(1, sequence / SLOT_PACKETS, k);
	if (keys_rx_high(keys) != UINT64_MAX && sequence <= keys_rx_high(keys))
		return;
	if (keys_rx_advance(keys, sequence) && o->prototype && sequence >= rx_acted)
		rx_acted = sequence + 1;
	if (sequence >= received)
		received = sequence + 1;
}

/* Half the ledger's bytes as the input has them, with the checksums put right. */
static void scribble(const struct happening *h)
{
	for (unsigned int i = 0; i < 2; i++) {
		uint8_t *block = disk + i * LEDGER_BLOCK_LEN;

		for (size_t at = i; at + 2 < h->len; at += 6) {
			size_t where = happening_number(h, at, 2) % 400;

			block[where] ^= h->data[at + 2];
		}
		quick_sum(block + LEDGER_BLOCK_LEN - SHA256_LEN, block, LEDGER_BLOCK_LEN - SHA256_LEN);
	}
}

static void happen(const struct happening *h, const struct keys_options *o)
{
	uint64_t n = happening_number(h, 0, 2);
	struct keys_info info;
	uint64_t high;

	switch (h->what & 15) {
	case 0:
	case 1:
		for (unsigned int i = 0; i <= h->what >> 5; i++)
			take(1 + (unsigned int)n % 64);
		break;
	case 2:
		high = keys_rx_high(keys);
		receive(o, (high == UINT64_MAX ? keys_rx_floor(keys) : high + 1) + n);
		break;
	case 3:
		run_jobs(false);
		break;
	case 4:
		(void)finish(opened);
		break;
	case 5:
		fate = (enum fate)(n & 3);
		break;
	case 6:
		/* The power fails: what was in flight is done, or not, or in part. */
		fate = (enum fate)(n & 3);
		if (opened->busy)
			(void)put(opened, &opened->flying);
		opened->busy = false;
		/* Or a record is lost that was written: the other must do. */
		if (n & 4)
			disk[(n >> 3 & 1) * LEDGER_BLOCK_LEN + 100] ^= 1;
		shut(false);
		lives++;
		if (!open_keys(o))
			return;
		break;
	case 7:
		fate = (enum fate)(n & 3);
		shut(true);
		lives++;
		if (!open_keys(o))
			return;
		break;
	case 8:
		timers_pass(n);
		keys_tick(keys, clock_now_ms());
		break;
	case 9:
		if (keys_tx_forward(keys, keys_tx_next(keys) + n, h->what & 64) == 0)
			assert(keys_tx_next(keys) >= taken);
		break;
	case 10:
		high = keys_rx_high(keys);
		(void)keys_rx_forward(keys, (high == UINT64_MAX ? 0 : high + 1) + n, h->what & 64);
		break;
	case 11:
		(void)keys_make_durable(keys);
		break;
	case 12:
		if (!o->prototype)
			(void)keys_mark_handshaken(keys);
		break;
	case 13:
		keys_info(keys, &info);
		assert(info.tx_next <= info.tx_reserved || info.write_error || info.tx_next == keys_tx_next(keys));
		break;
	case 14:
		/* A slot's rest at once. */
		for (unsigned int i = 0; i < 40; i++)
			take(64);
		break;
	default:
		run_jobs(false);
		(void)finish(opened);
		take(1);
	}
}

static void remove_files(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	(void)!system(command);
}

static void set_up(void)
{
	static const uint8_t tunnel_id[16] = "tunnel number 1";
	uint8_t material[SLOTS * SLOT_LEN];
	char detail[200];

	sequence_own_randomness();
	assert(crypto_init() == 0);
	snprintf(dir, sizeof(dir), "%s/handfast-fuzz-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	assert(mkdtemp(dir) && atexit(remove_files) == 0);
	snprintf(key_path, sizeof(key_path), "%s/key", dir);
	random_bytes(material, sizeof(material));
	assert(file_write_atomic(key_path, material, sizeof(material), 0600) == 0);
	for (unsigned int i = 0; i < 4; i++) {
		uint8_t root[32] = "the root";

		snprintf(ledger_path[i], sizeof(ledger_path[i]), "%s/%u", dir, i);
		options[i] = (struct keys_options){ .ledger_path = ledger_path[i], .ledgers_dir = dir, .window = 1024,
						    .key_file = i & 1 ? key_path : NULL, .prototype = i & 2,
						    .loop = (struct loop *)(void *)disk, .on_ready = on_ready };
		if (i & 1)
			assert(keys_create_file(&options[i], NULL, NULL, detail, sizeof(detail)) == 0);
		else
			assert(keys_create_root(&options[i], root, tunnel_id, detail, sizeof(detail)) == 0);
		memcpy(fresh[i], disk, sizeof(disk));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sequence seq = { data, size };
	struct keys_options o;
	struct happening h;

	if (!*dir)
		set_up();
	if (size == 0)
		return 0;
	timers_begin(1000000);
	this_run++;
	taken = received = rx_acted = 0;
	lives = 0;
	fate = FATE_DONE;
	o = options[data[0] & 3];
	memcpy(disk, fresh[data[0] & 3], sizeof(disk));
	is_arbitrary = data[0] & 4;
	/* A tunnel's file may be changed to the other kind of peer. */
	if (data[0] & 8)
		o.prototype = !o.prototype;
	seq.p++;
	seq.left--;
	if (is_arbitrary && sequence_next(&seq, &h))
		scribble(&h);
	if (!open_keys(&o))
		return 0;
	while (keys && lives < LIVES && sequence_next(&seq, &h))
		happen(&h, &o);
	if (keys)
		shut(true);
	return 0;
}

/* What keys.h promises, and above all I1: no sequence is handed out twice, whatever happens in between. */
#include "pskd/keys/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "crypto/kdf.h"
#include "crypto/secret.h"
#include "event/loop.h"
#include "pskd/keys/ledger.h"
#include "pskd/keys/ratchet.h"
#include "unit/lib/test.h"

enum { WINDOW = 8192 };

static const uint8_t tunnel_id[16] = "tunnel number 1";

static bool test_is_tmpfs(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
}

/* One end of a tunnel and where it keeps things. */
struct end {
	char ledger[256], dir[200], file[256], detail[256];
	struct loop *loop;
	struct keys *keys;
	struct keys_options o;
	unsigned int n_ready;
	int last_error;
	uint64_t recovered;
};

static void on_ready(int error, void *arg)
{
	struct end *e = arg;

	e->n_ready++;
	e->last_error = error;
}

static void end_init(struct end *e, const char *name, enum keys_role role)
{
	memset(e, 0, sizeof(*e));
	CHECK_EQ(crypto_init(), 0);
	snprintf(e->dir, sizeof(e->dir), "%s/%s", test_tmpdir(), name);
	CHECK(mkdir(e->dir, 0700) == 0 || errno == EEXIST);
	snprintf(e->ledger, sizeof(e->ledger), "%s/t.ledger", e->dir);
	CHECK_EQ(loop_new(&e->loop), 0);
	e->o = (struct keys_options){
		.ledger_path = e->ledger,
		.ledgers_dir = e->dir,
		.role = role,
		.window = WINDOW,
		.loop = e->loop,
		.on_ready = on_ready,
		.arg = e,
	};
}

static void end_create_root(struct end *e)
{
	uint8_t root[32];

	for (size_t i = 0; i < sizeof(root); i++)
		root[i] = (uint8_t)i;
	CHECK_EQ(keys_create_root(&e->o, root, tunnel_id, e->detail, sizeof(e->detail)), 0);
	for (size_t i = 0; i < sizeof(root); i++)
		CHECK_EQ(root[i], 0);
}

/* A key file of n slots, the same for everyone who asks for the same name. */
static void make_file(const char *path, size_t slots)
{
	uint8_t slot[SLOT_LEN];
	int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);

	CHECK(fd >= 0);
	for (size_t i = 0; i < slots; i++) {
		for (size_t j = 0; j < sizeof(slot); j += SHA256_LEN) {
			uint8_t block[SHA256_LEN], in[16];

			memcpy(in, &i, 8);
			memcpy(in + 8, &j, 8);
			sha256(block, in, sizeof(in));
			memcpy(slot + j, block, sizeof(slot) - j < SHA256_LEN ? sizeof(slot) - j : SHA256_LEN);
		}
		CHECK_EQ(write(fd, slot, sizeof(slot)), sizeof(slot));
	}
	close(fd);
}

static void end_create_file(struct end *e, size_t slots)
{
	snprintf(e->file, sizeof(e->file), "%s/key.psk", e->dir);
	make_file(e->file, slots);
	e->o.key_file = e->file;
	CHECK_EQ(keys_create_file(&e->o, NULL, NULL, e->detail, sizeof(e->detail)), 0);
}

static int end_try_open(struct end *e)
{
	return keys_open(&e->keys, &e->o, &e->recovered, e->detail, sizeof(e->detail));
}

static void end_open(struct end *e)
{
	int r = end_try_open(e);

	if (r)
		test_fail(__FILE__, __LINE__, "keys_open: %d: %s", r, e->detail);
}

static void end_close(struct end *e)
{
	keys_close(e->keys);
	e->keys = NULL;
}

static void end_done(struct end *e)
{
	end_close(e);
	loop_free(e->loop);
}

/* Take one, waiting for the disk as long as it takes. */
static int take_wait(struct end *e, unsigned int n, uint64_t *first, const struct slot_key **slot)
{
	for (int i = 0; i < 2000; i++) {
		int r = keys_tx_take(e->keys, n, first, slot);

		if (r != -KEYS_E_NOT_READY)
			return r;
		loop_step(e->loop, 100);
	}
	return -KEYS_E_NOT_READY;
}

static uint64_t take_one(struct end *e)
{
	const struct slot_key *slot;
	uint64_t first = UINT64_MAX;
	int r = take_wait(e, 1, &first, &slot);

	if (r != 1)
		test_fail(__FILE__, __LINE__, "take: %d", r);
	return first;
}

/* A prototype's packet is dropped while the disk has not taken its mark, and comes again, as long as it takes. */
static bool rx_wait(struct end *e, uint64_t sequence)
{
	for (int i = 0; i < 2000; i++) {
		if (keys_rx_advance(e->keys, sequence))
			return true;
		loop_step(e->loop, 10);
	}
	return false;
}

static const struct slot_key *rx_slot_wait(struct end *e, uint64_t slot)
{
	const struct slot_key *s = NULL;

	for (int i = 0; i < 2000 && !(s = keys_rx_slot(e->keys, slot)); i++)
		loop_step(e->loop, 10);
	return s;
}

/* Take until it is refused and an error was told; the last one taken. */
static uint64_t take_until_error(struct end *e, uint64_t used)
{
	const struct slot_key *slot;
	uint64_t first;

	for (int i = 0; i < 500 && !e->last_error; i++) {
		int n;

		while ((n = keys_tx_take(e->keys, 1, &first, &slot)) > 0) {
			CHECK(used == UINT64_MAX || first == used + 1);
			used = first;
		}
		CHECK_EQ(n, -KEYS_E_NOT_READY);
		loop_step(e->loop, 10);
	}
	CHECK(e->last_error);
	return used;
}

/* Until nothing is under way any more. */
static void settle(struct end *e)
{
	struct keys_info before, after;

	do {
		keys_info(e->keys, &before);
		for (int i = 0; i < 5; i++)
			loop_step(e->loop, 10);
		keys_info(e->keys, &after);
	} while (before.ledger_writes != after.ledger_writes || before.slots_erased != after.slots_erased);
}

/* Five seconds in which nothing happens. */
static void be_silent(struct end *e)
{
	static uint64_t now = 1000000000;

	settle(e);
	keys_tick(e->keys, now += 1000);
	keys_tick(e->keys, now += 6000);
	settle(e);
}

/* ---- sending and receiving ---- */

TEST(both_ends_of_a_pairing_draw_the_same_slots)
{
	struct end a, b;

	end_init(&a, "a", KEYS_INITIATOR);
	end_init(&b, "b", KEYS_RESPONDER);
	end_create_root(&a);
	end_create_root(&b);
	end_open(&a);
	end_open(&b);

	for (uint64_t want = 0; want < 40000;) {
		const struct slot_key *out, *in;
		uint64_t first;
		int n = take_wait(&a, 64, &first, &out);

		CHECK(n > 0);
		CHECK_EQ(first, want);
		CHECK(first / SLOT_PACKETS == (first + (unsigned int)n - 1) / SLOT_PACKETS);
		in = rx_slot_wait(&b, first / SLOT_PACKETS);
		CHECK(in);
		CHECK_MEM(in, out, sizeof(*in));
		want = first + (unsigned int)n;
		CHECK(rx_wait(&b, want - 1));
		loop_step(b.loop, 0);
	}
	end_done(&a);
	end_done(&b);
}

TEST(a_closed_tunnel_goes_on_at_the_exact_sequence)
{
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	end_open(&a);
	for (uint64_t i = 0; i < 2500; i++)
		CHECK_EQ(take_one(&a), i);
	CHECK(rx_wait(&a, 1234));
	end_close(&a);
	end_open(&a);
	CHECK_EQ(a.recovered, 0);
	CHECK_EQ(keys_rx_high(a.keys), 1234);
	CHECK_EQ(keys_rx_floor(a.keys), 1235);
	CHECK_EQ(take_one(&a), 2500);
	end_done(&a);
}

TEST(both_ends_of_a_key_file_draw_what_lies_in_it)
{
	struct end a, b;
	uint8_t slot[SLOT_LEN];
	int fd;

	end_init(&a, "a", KEYS_INITIATOR);
	end_init(&b, "b", KEYS_RESPONDER);
	end_create_file(&a, 20);
	end_create_file(&b, 20);
	end_open(&a);
	end_open(&b);
	fd = open(a.file, O_RDONLY);
	for (uint64_t want = 0; want < 20 * SLOT_PACKETS;) {
		const struct slot_key *out, *in;
		uint64_t first;
		int n = take_wait(&a, 500, &first, &out);

		CHECK(n > 0);
		CHECK_EQ(first, want);
		CHECK_EQ(pread(fd, slot, SLOT_LEN, (off_t)(first / SLOT_PACKETS * SLOT_LEN)), SLOT_LEN);
		CHECK_MEM(out, slot, SLOT_LEN / 2);
		in = rx_slot_wait(&b, first / SLOT_PACKETS);
		CHECK(in);
		CHECK_MEM(in, slot, SLOT_LEN / 2);
		want = first + (unsigned int)n;
		CHECK(rx_wait(&b, want - 1));
		loop_step(b.loop, 0);
	}
	close(fd);
	end_done(&a);
	end_done(&b);
}


TEST(a_key_file_is_used_to_its_last_packet_and_then_refused)
{
	const struct slot_key *slot;
	struct keys_info info;
	uint64_t first, total = 0;
	struct end a;
	int n;

	end_init(&a, "a", KEYS_RESPONDER);
	end_create_file(&a, 3);
	end_open(&a);
	while ((n = take_wait(&a, 7, &first, &slot)) > 0) {
		CHECK_EQ(first, total);
		total += (unsigned int)n;
		keys_info(a.keys, &info);
		CHECK_EQ(info.packets_left, 3000 - total);
	}
	CHECK_EQ(n, -KEYS_E_EXHAUSTED);
	CHECK_EQ(total, 3000);
	end_close(&a);
	end_open(&a);
	CHECK_EQ(keys_tx_take(a.keys, 1, &first, &slot), -KEYS_E_EXHAUSTED);
	CHECK_EQ(keys_tx_forward(a.keys, 5000, true), KEYS_E_EXHAUSTED);
	end_done(&a);
}

TEST(slots_are_expanded_only_sixteen_ahead)
{
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_file(&a, 60);
	end_open(&a);
	CHECK(keys_rx_slot(a.keys, 0));
	CHECK(keys_rx_slot(a.keys, 16));
	CHECK(!keys_rx_slot(a.keys, 17));
	CHECK(rx_wait(&a, 5500));
	for (int i = 0; i < 20 && !keys_rx_slot(a.keys, 21); i++)
		loop_step(a.loop, 20);
	CHECK(keys_rx_slot(a.keys, 21));
	CHECK(!keys_rx_slot(a.keys, 22));
	CHECK(keys_rx_slot(a.keys, 0));
	/* 5500 + 9000: the window of 8192 begins in slot 6. */
	CHECK(rx_wait(&a, 14500));
	CHECK(!keys_rx_slot(a.keys, 5));
	CHECK(keys_rx_slot(a.keys, 6));
	CHECK(!keys_rx_slot(a.keys, 60));
	CHECK(!keys_rx_slot(a.keys, UINT64_MAX));
	end_done(&a);
}

/* ---- I1: crashes ---- */

struct snapshot {
	uint8_t b[LEDGER_LEN];
};

static void ledger_save(const struct end *e, struct snapshot *s)
{
	int fd = open(e->ledger, O_RDONLY);

	CHECK(fd >= 0);
	CHECK_EQ(pread(fd, s->b, LEDGER_LEN, 0), LEDGER_LEN);
	close(fd);
}

static void ledger_restore(const struct end *e, const struct snapshot *s)
{
	int fd = open(e->ledger, O_WRONLY);

	CHECK(fd >= 0);
	CHECK_EQ(pwrite(fd, s->b, LEDGER_LEN, 0), LEDGER_LEN);
	close(fd);
}

struct taken {
	uint64_t first, n;
};

/* What all lives took, in memory that outlives them. */
struct lives {
	uint64_t n;
	struct taken taken[];
};

enum { TAKEN_MAX = 4 * 1024 * 1024 };

static struct lives *lives_new(void)
{
	struct lives *l = mmap(NULL, sizeof(*l) + TAKEN_MAX * sizeof(l->taken[0]), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(l != MAP_FAILED);
	return l;
}

static int by_first(const void *a, const void *b)
{
	const struct taken *x = a, *y = b;

	return x->first < y->first ? -1 : x->first > y->first;
}

static void check_lives(struct lives *l)
{
	CHECK(l->n > 0 && l->n < TAKEN_MAX);
	qsort(l->taken, l->n, sizeof(l->taken[0]), by_first);
	for (uint64_t i = 1; i < l->n; i++)
		if (l->taken[i - 1].first + l->taken[i - 1].n > l->taken[i].first)
			test_fail(__FILE__, __LINE__, "sequence %llu was handed out twice",
				  (unsigned long long)l->taken[i].first);
}

/* Take as fast as it goes until killed; never returns. */
static void live(struct end *e, struct lives *l, unsigned int seed)
{
	const struct slot_key *slot;
	uint64_t first, now = 0;

	srand(seed);
	/* A loop of its own: one does not survive a fork. */
	if (loop_new(&e->loop))
		_exit(3);
	e->o.loop = e->loop;
	if (end_try_open(e)) {
		fprintf(stderr, "cannot open: %s\n", e->detail);
		_exit(3);
	}
	for (;;) {
		int n = keys_tx_take(e->keys, (unsigned int)rand() % 64 + 1, &first, &slot);

		if (n == -KEYS_E_EXHAUSTED)
			_exit(4);
		if (n > 0 && l->n < TAKEN_MAX - 1) {
			l->taken[l->n] = (struct taken){ first, (unsigned int)n };
			__atomic_add_fetch(&l->n, 1, __ATOMIC_SEQ_CST);
			if (e->o.erase != KEYS_ERASE_NONE)
				keys_rx_advance(e->keys, first);
		}
		/* Time passes, for the marks that follow it. */
		if (rand() % 8 == 0)
			keys_tick(e->keys, now += (uint64_t)(rand() % 4) * 2000);
		loop_step(e->loop, n < 0 ? 5 : 0);
		if (rand() % 2000 == 0) {
			/* Now and then in good order. */
			end_close(e);
			_exit(0);
		}
	}
}

/* Many lives of one tunnel, each ended by SIGKILL at some moment; between them hurt() may do something to the disk. */
static void kill_many(struct end *e, struct lives *l, unsigned int rounds, unsigned int max_ms,
		      void (*hurt)(struct end *e, unsigned int round))
{
	unsigned int n_empty = 0; /* lives in a row */

	for (unsigned int i = 0; i < rounds; i++) {
		uint64_t before = l->n;
		int status;
		pid_t pid;

		pid = fork();
		CHECK(pid >= 0);
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			live(e, l, i + 1);
		}
		usleep((useconds_t)rand() % (max_ms * 1000));
		kill(pid, SIGKILL);
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		if (WIFEXITED(status) && WEXITSTATUS(status))
			test_fail(__FILE__, __LINE__, "life %u ended with %d", i, WEXITSTATUS(status));
		if (hurt)
			hurt(e, i);
		/* On a slow machine the lives must be longer for anything to happen in them. */
		n_empty = l->n == before ? n_empty + 1 : 0;
		if (n_empty == 4 && max_ms < 150) {
			max_ms *= 2;
			n_empty = 0;
		}
	}
	check_lives(l);
}

TEST(i1_no_sequence_is_taken_twice_across_kill)
{
	struct lives *l = lives_new();
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	kill_many(&a, l, 250, 12, NULL);
	loop_free(a.loop);
}

TEST(i1_no_sequence_of_a_key_file_is_taken_twice_across_kill)
{
	struct lives *l = lives_new();
	struct end a;

	end_init(&a, "a", KEYS_RESPONDER);
	/* Two pieces, so that lives cross from one to the other. */
	end_create_file(&a, 9000);
	a.o.prototype = true;
	kill_many(&a, l, 60, 12, NULL);
	loop_free(a.loop);
}

static void damage_one_record(struct end *e, unsigned int round)
{
	struct ledger_state st;
	struct snapshot s;

	ledger_save(e, &s);
	CHECK_EQ(ledger_judge(&st, s.b, LEDGER_LEN), 0);
	/* The last life may have ended before it repaired the one before. */
	if (round % 2 || !st.other_ok)
		return;
	s.b[rand() % LEDGER_LEN] ^= 0xff;
	ledger_restore(e, &s);
}

TEST(i1_no_sequence_is_taken_twice_though_a_record_is_lost_at_every_other_kill)
{
	struct lives *l = lives_new();
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	kill_many(&a, l, 100, 12, damage_one_record);
	loop_free(a.loop);
}

TEST(i1_erasing_survives_kill)
{
	struct lives *l = lives_new();
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	a.o.erase = KEYS_ERASE_ZERO;
	a.o.window = 4096;
	end_create_file(&a, 9000);
	/* live() fails when the file does not fit its hashes. */
	kill_many(&a, l, 50, 60, NULL);
	loop_free(a.loop);
}

/*
 * tests/system/55-ledger-strace watches this one from outside: each number is
 * written to /dev/null, and must be below what was made durable before.
 */
TEST(i1_what_is_taken_is_below_what_is_durable)
{
	int fd = open("/dev/null", O_WRONLY);
	struct keys_info info;
	char text[64];
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	end_open(&a);
	for (int i = 0; i < 5000; i++) {
		uint64_t first = take_one(&a);

		keys_info(a.keys, &info);
		CHECK(first < info.tx_reserved);
		snprintf(text, sizeof(text), "taken %llu", (unsigned long long)first);
		CHECK(write(fd, text, strlen(text)) > 0);
	}
	end_done(&a);
	close(fd);
}

/* ---- I1: lost and torn records ---- */

static size_t newest_block(const struct snapshot *s)
{
	struct ledger_state st;

	CHECK_EQ(ledger_judge(&st, s->b, LEDGER_LEN), 0);
	return st.newest_at;
}

/*
 * Let go without closing, as SIGKILL would. The locks stay until the process
 * ends, so what goes on does so in another folder.
 */
static void end_crash(struct end *e, struct end *next)
{
	struct snapshot s;
	static int n;
	char name[16];

	settle(e);
	ledger_save(e, &s);
	snprintf(name, sizeof(name), "crash%d", n++);
	end_init(next, name, e->o.role);
	next->o.window = e->o.window;
	next->o.prototype = e->o.prototype;
	end_create_root(next);
	ledger_restore(next, &s);
}

TEST(i1_torn_record_burns_forward)
{
	struct snapshot before, after, torn, last = { { 0 } };
	unsigned int tried = 0;
	uint64_t used, next;
	struct end a, b;
	size_t at;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	end_open(&a);
	take_one(&a);
	settle(&a);
	ledger_save(&a, &before);
	/* The write that follows is the one to be torn: until it is durable nothing new may be used. */
	do {
		used = take_one(&a);
		ledger_save(&a, &after);
	} while (!memcmp(&before, &after, sizeof(after)));
	settle(&a);
	ledger_save(&a, &after);
	at = newest_block(&after) * LEDGER_BLOCK_LEN;
	end_crash(&a, &b);

	for (size_t cut = 0; cut <= LEDGER_BLOCK_LEN; cut++) {
		torn = after;
		memcpy(torn.b + at + cut, before.b + at + cut, LEDGER_BLOCK_LEN - cut);
		if (cut > 0 && !memcmp(&torn, &last, sizeof(torn)))
			continue;
		last = torn;
		ledger_restore(&b, &torn);
		end_open(&b);
		next = keys_tx_next(b.keys);
		if (next <= used)
			test_fail(__FILE__, __LINE__, "cut at %zu: %llu again", cut, (unsigned long long)next);
		/* Repaired: the next life starts from two good records. */
		ledger_save(&b, &torn);
		CHECK(newest_block(&torn) < 2);
		end_close(&b);
		end_open(&b);
		CHECK_EQ(keys_tx_next(b.keys), next);
		CHECK_EQ(b.recovered, 0);
		end_close(&b);
		tried++;
	}
	CHECK(tried > 30);
	end_done(&a);
	loop_free(b.loop);
}

TEST(i1_loss_of_the_newest_record_burns_past_all_that_it_allowed)
{
	struct snapshot good, bad;
	uint64_t used = 0;
	struct end a, b;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	end_open(&a);
	/* Blocks grow as this goes on: each is tried with its newest record gone. */
	for (int i = 0; i < 14; i++) {
		const struct slot_key *slot;
		uint64_t first;
		int n;

		while ((n = keys_tx_take(a.keys, 1000, &first, &slot)) > 0)
			used = first + (unsigned int)n - 1;
		CHECK_EQ(n, -KEYS_E_NOT_READY);
		end_crash(&a, &b);
		while ((n = keys_tx_take(a.keys, 1000, &first, &slot)) > 0)
			used = first + (unsigned int)n - 1;
		ledger_save(&a, &good);
		bad = good;
		bad.b[newest_block(&good) * LEDGER_BLOCK_LEN + 77] ^= 1;
		ledger_restore(&b, &bad);
		end_open(&b);
		if (keys_tx_next(b.keys) <= used)
			test_fail(__FILE__, __LINE__, "round %d: %llu again, %llu was used", i,
				  (unsigned long long)keys_tx_next(b.keys), (unsigned long long)used);
		CHECK(b.recovered > 0);
		end_done(&b);
		settle(&a);
	}
	CHECK(used > 100000);
	end_done(&a);
}

TEST(i1_a_jump_is_in_both_records_before_it_is_used)
{
	struct snapshot used, s;
	uint64_t first;
	struct end a, b;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	end_open(&a);
	CHECK_EQ(take_one(&a), 0);
	CHECK_EQ(keys_tx_forward(a.keys, 5000, false), KEYS_E_NOT_READY);
	first = take_one(&a);
	CHECK_EQ(first, 5000);
	ledger_save(&a, &used);
	end_crash(&a, &b);
	for (size_t i = 0; i < 2; i++) {
		s = used;
		s.b[i * LEDGER_BLOCK_LEN + 50] ^= 1;
		ledger_restore(&b, &s);
		end_open(&b);
		CHECK(keys_tx_next(b.keys) > first);
		end_close(&b);
	}
	end_done(&a);
	loop_free(b.loop);
}

TEST(two_broken_records_open_nothing)
{
	struct snapshot s;
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	ledger_save(&a, &s);
	s.b[0] ^= 1;
	s.b[LEDGER_LEN - 1] ^= 1;
	ledger_restore(&a, &s);
	CHECK_EQ(end_try_open(&a), KEYS_E_LEDGER);
	CHECK(strstr(a.detail, "damaged"));
	CHECK_EQ(truncate(a.ledger, 10), 0);
	CHECK_EQ(end_try_open(&a), KEYS_E_LEDGER);
	end_done(&a);
}

TEST(a_ledger_of_a_newer_version_is_refused)
{
	struct snapshot s;
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	ledger_save(&a, &s);
	s.b[19] = LEDGER_VERSION + 1;
	sha256(s.b + LEDGER_BLOCK_LEN - 32, s.b, LEDGER_BLOCK_LEN - 32);
	ledger_restore(&a, &s);
	CHECK_EQ(end_try_open(&a), KEYS_E_LEDGER);
	CHECK(strstr(a.detail, "newer"));
	end_done(&a);
}

/* ---- I1: old copies ---- */

TEST(i1_a_restored_ledger_is_brought_forward)
{
	struct snapshot old;
	uint64_t used = 0;
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_file(&a, 500);
	end_open(&a);
	take_one(&a);
	end_close(&a);
	ledger_save(&a, &old);
	end_open(&a);
	while (used < 4000)
		used = take_one(&a);
	end_close(&a);

	ledger_restore(&a, &old);
	end_open(&a);
	CHECK(keys_tx_next(a.keys) <= used);
	/* The handshake tells what the peer has seen; from there on nothing repeats. */
	CHECK_EQ(keys_tx_forward(a.keys, used + 1, false), KEYS_E_NOT_READY);
	CHECK_EQ(take_one(&a), used + 1);
	/* Told again of less, it never goes back. */
	CHECK_EQ(keys_tx_forward(a.keys, 3, true), 0);
	CHECK_EQ(take_one(&a), used + 2);
	end_done(&a);
}

TEST(a_jump_of_more_than_a_hundredth_waits_for_burn)
{
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_file(&a, 500);
	end_open(&a);
	CHECK_EQ(keys_tx_forward(a.keys, 5001, false), KEYS_E_NEEDS_BURN);
	CHECK_EQ(keys_tx_next(a.keys), 0);
	CHECK_EQ(keys_tx_forward(a.keys, 5001, true), KEYS_E_NOT_READY);
	CHECK_EQ(take_one(&a), 5001);
	CHECK_EQ(keys_tx_forward(a.keys, 500000, true), KEYS_E_EXHAUSTED);
	CHECK_EQ(keys_tx_forward(a.keys, UINT64_MAX, true), KEYS_E_EXHAUSTED);
	CHECK_EQ(keys_rx_forward(a.keys, 5001, false), KEYS_E_NEEDS_BURN);
	CHECK_EQ(keys_rx_forward(a.keys, 5000, false), 0);
	CHECK_EQ(keys_rx_forward(a.keys, 400000, true), 0);
	CHECK(keys_rx_slot(a.keys, 400));
	CHECK(!keys_rx_slot(a.keys, 399));
	CHECK_EQ(keys_rx_floor(a.keys), 400000);
	CHECK(!keys_rx_advance(a.keys, 399999));
	CHECK_EQ(keys_rx_forward(a.keys, 500001, true), -ERANGE);
	CHECK_EQ(keys_rx_forward(a.keys, 1, false), 0);
	end_done(&a);
}

TEST(no_message_makes_the_ratchet_turn_for_ever)
{
	const uint64_t limit = (UINT64_C(1) << 20) * SLOT_PACKETS;
	uint64_t began;
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	end_open(&a);
	began = clock_now_us();
	CHECK_EQ(keys_tx_forward(a.keys, limit + 1, false), KEYS_E_NEEDS_BURN);
	CHECK_EQ(keys_rx_forward(a.keys, limit + 1, false), KEYS_E_NEEDS_BURN);
	CHECK_EQ(keys_tx_forward(a.keys, UINT64_MAX / 2, true), KEYS_E_EXHAUSTED);
	CHECK_EQ(keys_tx_forward(a.keys, limit * 17, true), KEYS_E_NEEDS_BURN);
	CHECK_EQ(keys_rx_forward(a.keys, limit * 17, true), KEYS_E_NEEDS_BURN);
	/* A long way, but allowed: in a thread, not here. */
	CHECK_EQ(keys_rx_forward(a.keys, 200000 * UINT64_C(1000), false), 0);
	CHECK(clock_now_us() - began < 100000);
	for (int i = 0; i < 200 && !keys_rx_slot(a.keys, 200000); i++)
		loop_step(a.loop, 100);
	CHECK(keys_rx_slot(a.keys, 200000));
	end_done(&a);
}

TEST(after_a_long_jump_both_ends_still_agree)
{
	const struct slot_key *out, *in;
	struct end a, b;
	uint64_t first;

	end_init(&a, "a", KEYS_INITIATOR);
	end_init(&b, "b", KEYS_RESPONDER);
	end_create_root(&a);
	end_create_root(&b);
	end_open(&a);
	end_open(&b);
	CHECK_EQ(keys_tx_forward(a.keys, 7654321, false), KEYS_E_NOT_READY);
	CHECK_EQ(keys_rx_forward(b.keys, 7654321, false), 0);
	CHECK_EQ(take_wait(&a, 1, &first, &out), 1);
	CHECK_EQ(first, 7654321);
	for (int i = 0; i < 100 && !keys_rx_slot(b.keys, 7654); i++)
		loop_step(b.loop, 50);
	in = keys_rx_slot(b.keys, 7654);
	CHECK(in);
	CHECK_MEM(in, out, sizeof(*in));
	/* And from the disk: what was jumped to is what the next life begins with. */
	CHECK(rx_wait(&b, first));
	end_close(&a);
	end_close(&b);
	end_open(&a);
	end_open(&b);
	CHECK_EQ(take_wait(&a, 1, &first, &out), 1);
	CHECK_EQ(first, 7654322);
	in = keys_rx_slot(b.keys, 7654);
	CHECK(in);
	CHECK_MEM(in, out, sizeof(*in));
	end_done(&a);
	end_done(&b);
}

struct impatience {
	uint64_t enough, last;
};

static int stop_at(uint64_t done, uint64_t total, void *arg)
{
	struct impatience *i = arg;

	CHECK(done <= total);
	i->last = done;
	return done >= i->enough;
}

TEST(a_key_file_is_read_no_further_when_nobody_wants_it)
{
	struct impatience i = { .enough = 0 };
	char ledger[300], command[600];
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_file(&a, 20000);
	snprintf(ledger, sizeof(ledger), "%s/other.ledger", a.dir);
	a.o.ledger_path = ledger;
	CHECK_EQ(keys_create_file(&a.o, stop_at, &i, a.detail, sizeof(a.detail)), -ECANCELED);
	CHECK_EQ(i.last, 0);
	i.enough = 1;
	CHECK_EQ(keys_create_file(&a.o, stop_at, &i, a.detail, sizeof(a.detail)), -ECANCELED);
	CHECK(i.last > 0 && i.last < 20000 * 120);
	/* Nothing of it is left. */
	CHECK(access(ledger, F_OK) < 0);
	snprintf(command, sizeof(command), "rm %s/t.ledger* && test -z \"$(ls %s | grep ledger)\"", a.dir, a.dir);
	CHECK_EQ(system(command), 0);
	end_done(&a);
}

/* ---- I1: two of one ---- */

TEST(i1_second_daemon_is_refused)
{
	int status, ready[2];
	struct end a;
	pid_t pid;
	char c;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_file(&a, 20);
	CHECK_EQ(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (end_try_open(&a))
			_exit(1);
		(void)!write(ready[1], "x", 1);
		pause();
	}
	CHECK_EQ(read(ready[0], &c, 1), 1);
	CHECK_EQ(end_try_open(&a), KEYS_E_IN_USE);
	CHECK(strstr(a.detail, "another process"));
	kill(pid, SIGKILL);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	/* Its lock died with it. */
	end_open(&a);
	end_done(&a);
}

TEST(i1_one_key_file_serves_one_ledger)
{
	struct end a, b;

	end_init(&a, "a", KEYS_INITIATOR);
	end_init(&b, "b", KEYS_INITIATOR);
	end_create_file(&a, 20);

	/* The same file under another name, from another daemon's folder. */
	snprintf(b.file, sizeof(b.file), "%s/link.psk", b.dir);
	CHECK_EQ(link(a.file, b.file), 0);
	b.o.key_file = b.file;
	end_open(&a);
	CHECK_EQ(keys_create_file(&b.o, NULL, NULL, b.detail, sizeof(b.detail)), KEYS_E_IN_USE);
	end_close(&a);
	CHECK_EQ(keys_create_file(&b.o, NULL, NULL, b.detail, sizeof(b.detail)), 0);
	end_open(&a);
	CHECK_EQ(end_try_open(&b), KEYS_E_IN_USE);
	end_close(&a);
	end_open(&b);
	CHECK_EQ(end_try_open(&a), KEYS_E_IN_USE);
	end_done(&b);
	end_done(&a);
}

static void copy_file(const char *to, const char *from)
{
	char *text;
	size_t len;

	CHECK_EQ(file_read(&text, &len, from, 1 << 24), 0);
	CHECK_EQ(file_write_atomic(to, text, len, 0600), 0);
	free(text);
}

TEST(i1_a_copy_of_a_key_file_is_refused_beside_the_first)
{
	char copy[300], ledger[300], twin[80] = "";
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_file(&a, 20);
	snprintf(copy, sizeof(copy), "%s.copy", a.file);
	snprintf(ledger, sizeof(ledger), "%s/second.ledger", a.dir);
	copy_file(copy, a.file);
	a.o.key_file = copy;
	a.o.ledger_path = ledger;
	a.o.twin = twin;
	a.o.twin_cap = sizeof(twin);
	CHECK_EQ(keys_create_file(&a.o, NULL, NULL, a.detail, sizeof(a.detail)), KEYS_E_IN_USE);
	CHECK_STR(twin, strrchr(a.ledger, '/') + 1);
	CHECK(strstr(a.detail, "t.ledger"));
	CHECK(access(ledger, F_OK) < 0);
	end_done(&a);
}

TEST(i1_cloned_ledger_beside_its_original_is_refused)
{
	char clone[300];
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	snprintf(clone, sizeof(clone), "%s.clone", a.ledger);
	copy_file(clone, a.ledger);
	CHECK_EQ(end_try_open(&a), KEYS_E_IN_USE);
	CHECK(strstr(a.detail, "t.ledger.clone"));
	a.o.ledger_path = clone;
	CHECK_EQ(end_try_open(&a), KEYS_E_IN_USE);
	CHECK_EQ(unlink(a.ledger), 0);
	end_open(&a);
	end_done(&a);
}

TEST(i1_a_ledger_is_not_opened_in_the_other_role)
{
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	a.o.role = KEYS_RESPONDER;
	CHECK_EQ(end_try_open(&a), KEYS_E_LEDGER);
	CHECK(strstr(a.detail, "initiator"));
	end_done(&a);
}

/* ---- I1: the disk ---- */

static void disk_full(bool on)
{
	const struct rlimit none = { 0, RLIM_INFINITY }, all = { RLIM_INFINITY, RLIM_INFINITY };

	signal(SIGXFSZ, SIG_IGN);
	CHECK_EQ(setrlimit(RLIMIT_FSIZE, on ? &none : &all), 0);
}

/* Instead of libc's: the block is on the disk, and who wrote it hears that it is not. */
static bool sync_fails;
static unsigned int sync_slow_us;
static unsigned int syncs_left; /* then nothing more is written; 0: no end */

int fdatasync(int fd)
{
	int r = (int)syscall(SYS_fdatasync, fd);

	usleep(sync_slow_us);
	if (!r && syncs_left > 0 && --syncs_left == 0)
		disk_full(true);
	if (r || !sync_fails)
		return r;
	errno = EIO;
	return -1;
}

/* A lowered mark whose writing failed may be what the next life finds: nothing above it is used any more. */
TEST(i1_a_mark_that_was_lowered_in_vain_is_kept_to)
{
	const struct slot_key *slot;
	uint64_t first = 0, used;
	struct keys_info info;
	struct end a, b;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	end_open(&a);
	for (int i = 0; i < 3000; i++)
		CHECK(take_wait(&a, 64, &first, &slot) > 0);
	settle(&a);
	keys_info(a.keys, &info);
	used = info.tx_next - 1;
	CHECK(info.tx_reserved > info.tx_next + 4096);
	sync_fails = true;
	for (uint64_t t = 0; t < 8000; t += 1000)
		keys_tick(a.keys, t);
	for (int i = 0; i < 100 && !a.last_error; i++)
		loop_step(a.loop, 10);
	CHECK_EQ(a.last_error, -EIO);
	for (int n = 1; n > 0;) {
		n = keys_tx_take(a.keys, 64, &first, &slot);
		if (n > 0)
			used = first + (unsigned int)n - 1;
	}
	end_crash(&a, &b);
	sync_fails = false;
	end_open(&b);
	if (keys_tx_next(b.keys) <= used)
		test_fail(__FILE__, __LINE__, "%llu again, %llu was used", (unsigned long long)keys_tx_next(b.keys),
			  (unsigned long long)used);
	end_done(&b);
	end_done(&a);
}

/* A write that failed left the old record where it was: what that one promised binds as long. */
TEST(i1_a_jump_that_one_record_tells_of_is_not_used_when_the_other_cannot_be_written)
{
	const struct slot_key *slot;
	uint64_t first;
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_file(&a, 2000);
	end_open(&a);
	take_one(&a);
	syncs_left = 1;
	(void)keys_tx_forward(a.keys, 1500000, true);
	for (int i = 0; i < 500 && !a.last_error; i++)
		loop_step(a.loop, 10);
	CHECK(a.last_error != 0);
	CHECK_EQ(keys_tx_take(a.keys, 1, &first, &slot), -KEYS_E_NOT_READY);
	disk_full(false);
	end_done(&a);
}

/* What was burned because somebody asked for it stays burned, also when the newest record is lost. */
TEST(i1_a_burn_that_was_told_outlives_the_loss_of_a_record)
{
	struct snapshot told, lost;
	struct end a;

	for (unsigned int n = 0; n < 2; n++) {
		char name[16];

		snprintf(name, sizeof(name), "a%u", n);
		end_init(&a, name, KEYS_INITIATOR);
		end_create_file(&a, 2000);
		end_open(&a);
		take_one(&a);
		CHECK_EQ(keys_tx_forward(a.keys, 1500000, true), KEYS_E_NOT_READY);
		CHECK_EQ(keys_make_durable(a.keys), 0);
		ledger_save(&a, &told);
		end_close(&a);
		lost = told;
		lost.b[n * LEDGER_BLOCK_LEN + 77] ^= 1;
		ledger_restore(&a, &lost);
		end_open(&a);
		CHECK(keys_tx_next(a.keys) >= 1500000);
		end_done(&a);
	}
}

TEST(a_burn_that_was_made_durable_leaves_the_rest_to_be_sent)
{
	const struct slot_key *slot;
	uint64_t first;
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_file(&a, 40);
	end_open(&a);
	take_one(&a);
	settle(&a);
	CHECK_EQ(keys_tx_forward(a.keys, 30000, true), KEYS_E_NOT_READY);
	CHECK_EQ(keys_make_durable(a.keys), 0);
	settle(&a);
	for (int i = 0; i < 2000; i++)
		CHECK_EQ(take_wait(&a, 1, &first, &slot), 1);
	end_done(&a);
}

TEST(i1_full_disk_stops_sending_before_reuse)
{
	const struct slot_key *slot;
	struct keys_info info;
	uint64_t first, used;
	struct end a, b;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	end_open(&a);
	used = take_one(&a);
	settle(&a);
	disk_full(true);
	/* What is durable may be used up. Then it ends, and says so. */
	used = take_until_error(&a, used);
	CHECK_EQ(a.last_error, -EFBIG);
	keys_info(a.keys, &info);
	CHECK_EQ(info.write_error, -EFBIG);
	CHECK_EQ(used + 1, info.tx_reserved);
	disk_full(false);

	/* A crash now: the next life is past it. */
	end_crash(&a, &b);
	end_open(&b);
	CHECK(keys_tx_next(b.keys) > used);
	end_done(&b);

	/* Or room again: it goes on by itself. */
	a.n_ready = 0;
	CHECK_EQ(take_wait(&a, 1, &first, &slot), 1);
	CHECK_EQ(first, used + 1);
	settle(&a);
	CHECK(a.n_ready > 0);
	CHECK_EQ(a.last_error, 0);
	end_done(&a);
}

TEST(receiving_goes_on_while_the_ledger_cannot_be_written)
{
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	end_open(&a);
	disk_full(true);
	take_until_error(&a, UINT64_MAX);
	for (uint64_t i = 0; i < 60; i++) {
		for (int j = 0; j < 100 && !keys_rx_slot(a.keys, i); j++)
			loop_step(a.loop, 10);
		CHECK(keys_rx_slot(a.keys, i));
		CHECK(rx_wait(&a, i * SLOT_PACKETS));
	}
	disk_full(false);
	end_done(&a);
}

TEST(i1_a_close_that_cannot_be_written_gives_nothing_back)
{
	uint64_t used = 0;
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	end_open(&a);
	for (int i = 0; i < 1000; i++)
		used = take_one(&a);
	settle(&a);
	disk_full(true);
	end_close(&a);
	disk_full(false);
	end_open(&a);
	CHECK(keys_tx_next(a.keys) > used);
	end_done(&a);
}

TEST(i9_a_ledger_that_finds_no_room_is_not_made_in_part)
{
	uint8_t root[32] = { 1 };
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	disk_full(true);
	CHECK_EQ(keys_create_root(&a.o, root, tunnel_id, a.detail, sizeof(a.detail)), -EFBIG);
	disk_full(false);
	CHECK(access(a.ledger, F_OK) < 0);
	/* It was not stored, so it must not be gone. */
	CHECK_EQ(root[0], 1);
	CHECK_EQ(keys_create_root(&a.o, root, tunnel_id, a.detail, sizeof(a.detail)), 0);
	CHECK_EQ(root[0], 0);
	CHECK_EQ(keys_create_root(&a.o, root, tunnel_id, a.detail, sizeof(a.detail)), KEYS_E_EXISTS);
	end_done(&a);
}

TEST(i1_a_ledger_on_a_read_only_disk_is_not_opened)
{
	struct end a;

	if (geteuid() != 0)
		test_skip("needs root for mounting");
	end_init(&a, "a", KEYS_INITIATOR);
	if (mount("none", a.dir, "tmpfs", 0, "size=64k") < 0)
		test_skip("cannot mount: %s", strerror(errno));
	end_create_root(&a);
	CHECK_EQ(mount("none", a.dir, "tmpfs", MS_REMOUNT | MS_RDONLY, NULL), 0);
	CHECK_EQ(end_try_open(&a), -EROFS);
	CHECK(strstr(a.detail, "ead-only"));
	umount2(a.dir, MNT_DETACH);
	end_done(&a);
}

/* ---- handshakes and prototype ---- */

TEST(i1_material_that_has_seen_a_handshake_needs_them_for_ever)
{
	struct snapshot s;
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	a.o.prototype = true;
	end_open(&a);
	end_close(&a);
	a.o.prototype = false;
	end_open(&a);
	CHECK_EQ(keys_mark_handshaken(a.keys), 0);
	end_close(&a);
	a.o.prototype = true;
	CHECK_EQ(end_try_open(&a), KEYS_E_NEEDS_HANDSHAKE);
	/* Both records know it. */
	for (size_t i = 0; i < 2; i++) {
		ledger_save(&a, &s);
		s.b[i * LEDGER_BLOCK_LEN + 60] ^= 1;
		ledger_restore(&a, &s);
		CHECK_EQ(end_try_open(&a), KEYS_E_NEEDS_HANDSHAKE);
		s.b[i * LEDGER_BLOCK_LEN + 60] ^= 1;
		ledger_restore(&a, &s);
	}
	end_done(&a);
}

static void flip_first_bit(const char *path)
{
	int fd = open(path, O_RDWR);
	uint8_t b;

	CHECK(fd >= 0);
	CHECK_EQ(pread(fd, &b, 1, 0), 1);
	b ^= 1;
	CHECK_EQ(pwrite(fd, &b, 1, 0), 1);
	close(fd);
}

/* A ledger of the tunnel's name may be of the file that it had before: then the next name is tried. */
TEST(what_another_file_was_used_for_forbids_a_prototype_nothing)
{
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_file(&a, 50);
	end_open(&a);
	CHECK_EQ(keys_mark_handshaken(a.keys), 0);
	end_close(&a);
	a.o.prototype = true;
	CHECK_EQ(end_try_open(&a), KEYS_E_NEEDS_HANDSHAKE);
	flip_first_bit(a.file);
	CHECK_EQ(end_try_open(&a), KEYS_E_CHANGED);
	flip_first_bit(a.file);
	CHECK_EQ(end_try_open(&a), KEYS_E_NEEDS_HANDSHAKE);
	CHECK_EQ(truncate(a.file, (off_t)49 * SLOT_LEN), 0);
	CHECK_EQ(end_try_open(&a), KEYS_E_CHANGED);
	end_done(&a);
}

/* Erased below its middle, it is known by what is left; erased whole, by nothing, and the ledger counts. */
TEST(i1_an_erased_file_needs_handshakes_as_before)
{
	struct end a;
	uint64_t first;
	const struct slot_key *slot;

	end_init(&a, "a", KEYS_INITIATOR);
	a.o.erase = KEYS_ERASE_ZERO;
	end_create_file(&a, 50);
	end_open(&a);
	CHECK_EQ(keys_mark_handshaken(a.keys), 0);
	for (uint64_t i = 0; i < 20000; i++) {
		CHECK(take_wait(&a, 1, &first, &slot) == 1);
		CHECK(keys_rx_advance(a.keys, i));
	}
	be_silent(&a);
	end_close(&a);
	a.o.prototype = true;
	CHECK_EQ(end_try_open(&a), KEYS_E_NEEDS_HANDSHAKE);
	CHECK_EQ(ledger_finish(a.ledger, false), 0);
	CHECK_EQ(end_try_open(&a), KEYS_E_NEEDS_HANDSHAKE);
	end_done(&a);
}

/* Nothing is left to be drawn, so that no hash would show it. */
TEST(what_is_left_of_a_file_is_not_told_by_another_files_ledger)
{
	struct keys_info info;
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_file(&a, 50);
	CHECK_EQ(ledger_finish(a.ledger, false), 0);
	end_open(&a);
	keys_info(a.keys, &info);
	CHECK_EQ(info.packets_left, 0);
	end_close(&a);
	flip_first_bit(a.file);
	CHECK_EQ(end_try_open(&a), KEYS_E_CHANGED);
	flip_first_bit(a.file);
	end_open(&a);
	end_close(&a);
	/* Of a file that was erased, a copy shows itself. */
	CHECK_EQ(ledger_finish(a.ledger, true), 0);
	CHECK_EQ(end_try_open(&a), KEYS_E_CHANGED);
	CHECK_EQ(truncate(a.file, 0), 0);
	CHECK_EQ(truncate(a.file, (off_t)50 * SLOT_LEN), 0);
	end_open(&a);
	end_done(&a);
}

TEST(i1_prototype_receives_nothing_twice_across_a_crash)
{
	uint64_t got = 0;
	struct end a, b;

	end_init(&a, "a", KEYS_RESPONDER);
	end_create_root(&a);
	a.o.prototype = true;
	end_open(&a);
	for (uint64_t i = 0; i < 700; i++)
		if (keys_rx_advance(a.keys, i))
			got = i;
	CHECK(got > 600);
	end_crash(&a, &b);
	end_open(&b);
	CHECK(keys_rx_floor(b.keys) > got);
	CHECK(keys_rx_floor(b.keys) <= got + 1 + 256);
	CHECK(!keys_rx_advance(b.keys, got));
	end_done(&b);
	end_done(&a);
}

/* A path on a tmpfs, as /run is. */
static void tmpfs_path(char out[64])
{
	snprintf(out, 64, "/dev/shm/hf-test-received-%d", (int)getpid());
	unlink(out);
}

/* The process ends, the machine does not: the same key file and ledger elsewhere, and the same /run. */
static void end_crash_file(struct end *e, struct end *next, const char *name)
{
	struct snapshot s;

	settle(e);
	ledger_save(e, &s);
	end_init(next, name, e->o.role);
	next->o.prototype = true;
	next->o.received_path = e->o.received_path;
	end_create_file(next, 40);
	ledger_restore(next, &s);
}

/* A first life, with a file of what was received. */
static void end_receive_700(struct end *a, char path[64])
{
	tmpfs_path(path);
	end_init(a, "a", KEYS_RESPONDER);
	a->o.prototype = true;
	a->o.received_path = path;
	end_create_file(a, 40);
	end_open(a);
	for (uint64_t i = 0; i < 700; i++)
		CHECK(rx_wait(a, i));
}

/* The next life has no such file. It receives from what is returned on, up to *got. */
static uint64_t end_receive_without_file(struct end *a, struct end *b, uint64_t *got)
{
	uint64_t first;

	end_crash_file(a, b, "b");
	b->o.received_path = NULL;
	end_open(b);
	first = keys_rx_floor(b->keys);
	CHECK(first > 700);
	*got = 0;
	for (uint64_t i = first; i < first + 20; i++)
		if (keys_rx_advance(b->keys, i))
			*got = i;
	CHECK(*got > 0);
	return first;
}

TEST(i1_prototype_gives_up_nothing_of_its_peer_when_only_the_process_ends)
{
	char path[64], text[64];
	struct end a, b, c;
	int fd;

	end_receive_700(&a, path);
	end_crash_file(&a, &b, "b");
	end_open(&b);
	CHECK_EQ(keys_rx_floor(b.keys), 700);
	CHECK(!keys_rx_advance(b.keys, 699));
	CHECK(keys_rx_slot(b.keys, 0) != NULL);
	CHECK(rx_wait(&b, 700));

	/* What it says of other material, or nothing at all, is not believed. */
	end_crash_file(&b, &c, "c");
	fd = open(path, O_RDWR);
	CHECK(fd >= 0);
	CHECK_EQ(pread(fd, text, sizeof(text), 0), 64);
	text[20] ^= 1;
	CHECK_EQ(pwrite(fd, text, 64, 0), 64);
	end_open(&c);
	CHECK(keys_rx_floor(c.keys) > 701);
	end_close(&c);
	/* A clean stop leaves the ledger exact, and nothing else. */
	CHECK(access(path, F_OK) < 0);
	close(fd);
	end_done(&c);
	end_done(&b);
	end_done(&a);
	unlink(path);
}

TEST(i1_what_outlives_a_power_cut_is_not_believed)
{
	char path[300];
	struct end a;

	/* Beside the ledger: no tmpfs, most likely. */
	end_init(&a, "a", KEYS_RESPONDER);
	snprintf(path, sizeof(path), "%s/received", a.dir);
	a.o.prototype = true;
	a.o.received_path = path;
	end_create_file(&a, 40);
	end_open(&a);
	CHECK(rx_wait(&a, 0));
	if (!test_is_tmpfs(a.dir))
		CHECK(access(path, F_OK) < 0);
	end_done(&a);
}

TEST(received_is_believed_only_between_what_is_known_and_the_mark)
{
	uint64_t wrong[] = { 0, 1, 100000, UINT64_MAX - 1 };
	char path[64];
	struct end a, b;

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		uint64_t floor;
		char name[8];
		int fd;

		tmpfs_path(path);
		snprintf(name, sizeof(name), "a%zu", i);
		end_init(&a, name, KEYS_RESPONDER);
		a.o.prototype = true;
		a.o.received_path = path;
		end_create_file(&a, 40);
		end_open(&a);
		for (uint64_t s = 0; s < 300; s++)
			CHECK(rx_wait(&a, s));
		snprintf(name, sizeof(name), "b%zu", i);
		end_crash_file(&a, &b, name);
		fd = open(path, O_RDWR);
		CHECK(fd >= 0);
		CHECK_EQ(pwrite(fd, &wrong[i], 8, 48), 8);
		close(fd);
		end_open(&b);
		floor = keys_rx_floor(b.keys);
		CHECK(floor >= 300 && floor <= 300 + 256);
		end_done(&b);
		end_done(&a);
		unlink(path);
	}
}

/* A life without the file came in between: what it received is not in there. */
TEST(i1_what_an_older_life_received_is_not_believed)
{
	struct keys_info info;
	uint64_t first, got;
	unsigned int twice = 0;
	struct end a, b, c;
	char path[64];

	end_receive_700(&a, path);
	first = end_receive_without_file(&a, &b, &got);
	/* Of one record an older life might have told, had it been killed while writing it. */
	keys_info(b.keys, &info);
	CHECK(info.ledger_writes >= 2);
	end_crash_file(&b, &c, "c");
	c.o.received_path = path;
	end_open(&c);
	for (uint64_t i = first; i <= got; i++)
		twice += keys_rx_advance(c.keys, i);
	CHECK_EQ(twice, 0);
	end_done(&c);
	end_done(&b);
	end_done(&a);
	unlink(path);
}

/* The same when the newest record is lost as well: then the one that is left may be one that the file knows of. */
TEST(i1_what_an_older_life_received_is_not_believed_when_a_record_is_lost)
{
	unsigned int twice = 0;
	struct end a, b, c;
	struct snapshot s;
	uint64_t got = 0;
	char path[64];

	end_receive_700(&a, path);
	end_crash_file(&a, &b, "b");
	b.o.received_path = NULL;
	end_open(&b);
	for (uint64_t i = keys_rx_floor(b.keys); i < 1100 && keys_rx_advance(b.keys, i); i++)
		got = i;
	CHECK(got > 700);
	end_crash_file(&b, &c, "c");
	ledger_save(&c, &s);
	s.b[newest_block(&s) * LEDGER_BLOCK_LEN + 100] ^= 1;
	ledger_restore(&c, &s);
	c.o.received_path = path;
	end_open(&c);
	for (uint64_t i = 700; i <= got; i++)
		twice += keys_rx_advance(c.keys, i);
	CHECK_EQ(twice, 0);
	end_done(&c);
	end_done(&b);
	end_done(&a);
	unlink(path);
}

/*
 * The same when a third life, which has the file again and receives nothing, writes a record: that makes the file as
 * new as the ledger, and what it says must be this life's.
 */
TEST(i1_what_an_older_life_received_is_not_believed_after_one_that_only_sent)
{
	uint64_t first, got;
	unsigned int twice = 0;
	struct end a, b, c, d;
	char path[64];

	end_receive_700(&a, path);
	first = end_receive_without_file(&a, &b, &got);
	end_crash_file(&b, &c, "c");
	c.o.received_path = path;
	end_open(&c);
	take_one(&c);
	end_crash_file(&c, &d, "d");
	end_open(&d);
	CHECK(keys_rx_floor(d.keys) > got);
	for (uint64_t i = first; i <= got; i++)
		twice += keys_rx_advance(d.keys, i);
	CHECK_EQ(twice, 0);
	end_done(&d);
	end_done(&c);
	end_done(&b);
	end_done(&a);
	unlink(path);
}

TEST(i1_a_ledger_that_is_older_than_what_was_received_goes_forward)
{
	struct snapshot s;
	struct end a, b;
	char path[64];

	tmpfs_path(path);
	end_init(&a, "a", KEYS_RESPONDER);
	a.o.prototype = true;
	a.o.received_path = path;
	end_create_file(&a, 40);
	ledger_save(&a, &s);
	end_open(&a);
	for (uint64_t i = 0; i < 2500; i++)
		CHECK(rx_wait(&a, i));
	end_crash_file(&a, &b, "b");
	ledger_restore(&b, &s);
	end_open(&b);
	CHECK_EQ(keys_rx_floor(b.keys), 2500);
	CHECK(!keys_rx_advance(b.keys, 2499));
	CHECK(rx_wait(&b, 2500));
	end_done(&b);
	end_done(&a);
	unlink(path);
}

TEST(i4_a_full_run_ends_no_tunnel)
{
	char dir[300], path[320], fill[320];
	static const char zeros[4096];
	struct end a;
	int fd;

	if (geteuid() != 0)
		test_skip("needs root for mounting");
	end_init(&a, "a", KEYS_RESPONDER);
	snprintf(dir, sizeof(dir), "%s/run", a.dir);
	snprintf(path, sizeof(path), "%s/received", dir);
	snprintf(fill, sizeof(fill), "%s/fill", dir);
	CHECK_EQ(mkdir(dir, 0700), 0);
	if (mount("none", dir, "tmpfs", 0, "size=64k") < 0)
		test_skip("cannot mount: %s", strerror(errno));
	fd = open(fill, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	while (write(fd, zeros, sizeof(zeros)) > 0)
		;
	close(fd);
	a.o.prototype = true;
	a.o.received_path = path;
	end_create_file(&a, 40);
	end_open(&a);
	CHECK(rx_wait(&a, 0));
	CHECK(access(path, F_OK) < 0);
	end_done(&a);
	umount2(dir, MNT_DETACH);
	rmdir(dir);
}

/*
 * A packet far ahead, dropped because the disk was slow, leaves a mark that is ahead of all that was received. Then
 * enough is sent for erasing to follow.
 */
static void jump_on_a_slow_disk(struct end *a)
{
	const struct slot_key *slot;
	uint64_t first;

	a->o.erase = KEYS_ERASE_ZERO;
	end_open(a);
	for (uint64_t i = 0; i < 500; i++)
		CHECK(rx_wait(a, i));
	settle(a);
	sync_slow_us = 120000;
	CHECK(!keys_rx_advance(a->keys, 500 + 15900));
	settle(a);
	for (int i = 0; i < 50; i++)
		loop_step(a->loop, 10);
	sync_slow_us = 0;
	while (keys_tx_next(a->keys) < 20000)
		CHECK(take_wait(a, 100, &first, &slot) > 0);
	settle(a);
	for (int i = 0; i < 6; i++) {
		usleep(110000);
		CHECK(take_wait(a, 1, &first, &slot) > 0);
		settle(a);
	}
}

TEST(i9_erasing_follows_what_was_received_and_not_the_mark)
{
	struct keys_info info;
	struct end a;

	end_init(&a, "a", KEYS_RESPONDER);
	a.o.prototype = true;
	end_create_file(&a, 60);
	jump_on_a_slow_disk(&a);
	keys_info(a.keys, &info);
	CHECK_EQ(info.slots_erased, 0);
	be_silent(&a);
	end_close(&a);
	CHECK_EQ(end_try_open(&a), 0);
	CHECK_EQ(keys_rx_floor(a.keys), 500);
	CHECK(rx_wait(&a, 500));
	end_done(&a);
}

TEST(i4_a_packet_far_ahead_on_a_slow_disk_ends_no_later_life)
{
	char path[64];
	struct end a;
	int status;
	pid_t pid;

	tmpfs_path(path);
	end_init(&a, "a", KEYS_RESPONDER);
	a.o.prototype = true;
	a.o.received_path = path;
	end_create_file(&a, 60);
	pid = fork();
	if (pid == 0) {
		/* A loop of its own: one does not survive a fork. */
		CHECK_EQ(loop_new(&a.loop), 0);
		a.o.loop = a.loop;
		jump_on_a_slow_disk(&a);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	CHECK_EQ(end_try_open(&a), 0);
	CHECK_EQ(keys_rx_floor(a.keys), 500);
	CHECK(rx_wait(&a, 500));
	end_done(&a);
	unlink(path);
}

TEST(i1_prototype_drops_what_it_cannot_mark)
{
	struct end a;

	end_init(&a, "a", KEYS_RESPONDER);
	end_create_root(&a);
	a.o.prototype = true;
	end_open(&a);
	disk_full(true);
	CHECK(!keys_rx_advance(a.keys, 0));
	CHECK_EQ(keys_rx_high(a.keys), UINT64_MAX);
	disk_full(false);
	end_done(&a);
}

TEST(prototype_marks_become_exact_after_five_seconds_of_silence)
{
	struct keys_info info;
	struct end a, b;

	end_init(&a, "a", KEYS_RESPONDER);
	end_create_root(&a);
	a.o.prototype = true;
	end_open(&a);
	CHECK(rx_wait(&a, 0));
	CHECK(rx_wait(&a, 41));
	for (uint64_t t = 0; t <= 4000; t += 1000)
		keys_tick(a.keys, t);
	settle(&a);
	keys_info(a.keys, &info);
	keys_tick(a.keys, 6000);
	settle(&a);
	end_crash(&a, &b);
	end_open(&b);
	CHECK_EQ(keys_rx_floor(b.keys), 42);
	CHECK_EQ(keys_rx_high(b.keys), 41);
	end_done(&b);
	/* And the conversation goes on. */
	CHECK(rx_wait(&a, 42));
	end_done(&a);
}

/* ---- I10 ---- */

TEST(i10_idle_ledger_writes_nothing)
{
	struct keys_info before, after;
	struct stat st, st_after;
	uint64_t t = 0, high = 3000;
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	end_open(&a);
	for (int i = 0; i < 3000; i++)
		take_one(&a);
	CHECK(rx_wait(&a, high));
	for (; t < 20000; t += 1000) {
		keys_tick(a.keys, t);
		settle(&a);
	}
	keys_info(a.keys, &before);
	CHECK_EQ(stat(a.ledger, &st), 0);
	/* An hour of nothing. */
	for (; t < 60 * 60 * 1000; t += 1000) {
		keys_tick(a.keys, t);
		loop_step(a.loop, 0);
	}
	settle(&a);
	keys_info(a.keys, &after);
	CHECK_EQ(after.ledger_writes, before.ledger_writes);
	CHECK_EQ(stat(a.ledger, &st_after), 0);
	CHECK_EQ(st.st_mtim.tv_sec, st_after.st_mtim.tv_sec);
	CHECK_EQ(st.st_mtim.tv_nsec, st_after.st_mtim.tv_nsec);
	/* Another with a keepalive each way every 25 s: they use sequences, so once in 128 of them. */
	for (; t < 2 * 60 * 60 * 1000; t += 1000) {
		if (t % 25000 == 0) {
			take_one(&a);
			CHECK(rx_wait(&a, ++high));
		}
		keys_tick(a.keys, t);
		loop_step(a.loop, 0);
	}
	settle(&a);
	keys_info(a.keys, &after);
	CHECK(after.ledger_writes <= before.ledger_writes + 2);
	end_done(&a);
}

TEST(i10_erasing_comes_to_an_end)
{
	struct keys_info before, after;
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	a.o.erase = KEYS_ERASE_ZERO;
	a.o.window = 4096;
	end_create_file(&a, 200);
	end_open(&a);
	for (uint64_t i = 0; i < 20000; i++) {
		take_one(&a);
		CHECK(rx_wait(&a, i));
	}
	be_silent(&a);
	keys_info(a.keys, &before);
	CHECK_EQ(before.slots_erased, 15);
	be_silent(&a);
	be_silent(&a);
	keys_info(a.keys, &after);
	CHECK_EQ(after.ledger_writes, before.ledger_writes);
	end_done(&a);
}

TEST(i10_opening_and_closing_writes_nothing)
{
	struct snapshot before, after;
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	ledger_save(&a, &before);
	end_open(&a);
	settle(&a);
	end_close(&a);
	ledger_save(&a, &after);
	CHECK_MEM(&after, &before, sizeof(after));
	end_done(&a);
}

TEST(a_burst_gives_back_what_it_reserved)
{
	const struct slot_key *slot;
	struct keys_info info;
	uint64_t first, t;
	struct end a, b;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	end_open(&a);
	for (int i = 0; i < 3000; i++)
		CHECK(take_wait(&a, 64, &first, &slot) > 0);
	settle(&a);
	keys_info(a.keys, &info);
	CHECK(info.tx_reserved > info.tx_next + 4096);
	for (t = 0; t < 8000; t += 1000)
		keys_tick(a.keys, t);
	settle(&a);
	keys_info(a.keys, &info);
	CHECK(info.tx_reserved <= info.tx_next + 256);
	/* Lowered on disk, so lowered here: what a crash would repeat is not handed out. */
	for (int i = 0; i < 100; i++)
		CHECK(take_wait(&a, 64, &first, &slot) > 0);
	end_crash(&a, &b);
	end_open(&b);
	CHECK(keys_tx_next(b.keys) > first);
	end_done(&b);
	end_done(&a);
}

/* ---- erasing and forward secrecy ---- */

static bool slot_is_zero(const struct end *e, uint64_t slot)
{
	static const uint8_t zero[SLOT_LEN];
	uint8_t b[SLOT_LEN];
	int fd = open(e->file, O_RDONLY);

	CHECK_EQ(pread(fd, b, SLOT_LEN, (off_t)(slot * SLOT_LEN)), SLOT_LEN);
	close(fd);
	return memcmp(b, zero, SLOT_LEN) == 0;
}

static void spend(struct end *e, uint64_t until)
{
	const struct slot_key *slot;
	uint64_t first;

	while (keys_tx_next(e->keys) < until) {
		CHECK(take_wait(e, 100, &first, &slot) > 0);
		CHECK(rx_wait(e, first));
		for (int i = 0; i < 1000 && !keys_rx_slot(e->keys, first / SLOT_PACKETS + 1); i++)
			loop_step(e->loop, 10);
	}
	settle(e);
}

static void check_erasing(enum keys_erase how)
{
	struct keys_info info;
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	a.o.erase = how;
	a.o.window = 4096;
	end_create_file(&a, 200);
	end_open(&a);
	spend(&a, 60000);
	be_silent(&a);
	keys_info(a.keys, &info);
	/* 60000 less the window and a little. */
	CHECK_EQ(info.slots_erased, 55);
	CHECK_EQ(info.erase_error, 0);
	CHECK(slot_is_zero(&a, 0));
	CHECK(slot_is_zero(&a, info.slots_erased - 1));
	CHECK(!slot_is_zero(&a, info.slots_erased));
	/* The hashes follow: the file is still known, and still believed. */
	end_close(&a);
	end_open(&a);
	spend(&a, 120000);
	end_close(&a);
	end_open(&a);
	end_done(&a);
}

TEST(spent_slots_are_written_over)
{
	check_erasing(KEYS_ERASE_ZERO);
}

TEST(spent_slots_are_punched_out)
{
	check_erasing(KEYS_ERASE_PUNCH);
}

/* How far the zeros go on disk, looked at before the records, which only ever say more. */
static void check_announced(const struct end *e)
{
	uint64_t zeros = 0;
	struct snapshot s;

	while (slot_is_zero(e, zeros))
		zeros++;
	ledger_save(e, &s);
	for (size_t i = 0; i < 2; i++) {
		struct ledger_record r;

		/* One of them may be just being written. */
		if (ledger_decode(&r, s.b + i * LEDGER_BLOCK_LEN) == 0)
			CHECK(zeros <= r.erase_to);
	}
}

TEST(i1_zeros_are_announced_in_both_records_before_they_are_written)
{
	const struct slot_key *slot;
	struct keys_info info;
	uint64_t first;
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	a.o.erase = KEYS_ERASE_ZERO;
	a.o.window = 4096;
	end_create_file(&a, 200);
	end_open(&a);
	while (keys_tx_next(a.keys) < 60000) {
		CHECK(take_wait(&a, 100, &first, &slot) > 0);
		CHECK(rx_wait(&a, first));
		loop_step(a.loop, 1);
		check_announced(&a);
		if (first % 7000 < 100)
			be_silent(&a);
	}
	keys_info(a.keys, &info);
	CHECK(info.slots_erased > 10);
	end_done(&a);
}

TEST(slots_that_one_direction_still_needs_are_kept)
{
	const struct slot_key *slot;
	struct keys_info info;
	struct end a;
	uint64_t first;

	end_init(&a, "a", KEYS_INITIATOR);
	a.o.erase = KEYS_ERASE_ZERO;
	end_create_file(&a, 200);
	end_open(&a);
	while (keys_tx_next(a.keys) < 50000)
		CHECK(take_wait(&a, 100, &first, &slot) > 0);
	be_silent(&a);
	keys_info(a.keys, &info);
	CHECK_EQ(info.slots_erased, 0);
	CHECK(!slot_is_zero(&a, 0));
	end_done(&a);
}

TEST(a_used_and_erased_file_cannot_be_added_again)
{
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	a.o.erase = KEYS_ERASE_ZERO;
	a.o.window = 4096;
	end_create_file(&a, 200);
	end_open(&a);
	spend(&a, 60000);
	be_silent(&a);
	end_close(&a);
	CHECK_EQ(keys_remove(a.ledger), 0);
	CHECK_EQ(keys_create_file(&a.o, NULL, NULL, a.detail, sizeof(a.detail)), KEYS_E_BAD_FILE);
	CHECK(strstr(a.detail, "erased"));
	end_done(&a);
}

static void check_chains(const struct end *e, unsigned int n, bool there)
{
	uint8_t root[32], chain[32];
	struct snapshot s;

	for (size_t i = 0; i < sizeof(root); i++)
		root[i] = (uint8_t)i;
	ledger_save(e, &s);
	CHECK(!memmem(s.b, sizeof(s.b), root, 32));
	for (unsigned int d = 0; d < 2; d++) {
		ratchet_start(chain, root, tunnel_id, d);
		for (unsigned int i = 0; i < n; i++) {
			CHECK_EQ(memmem(s.b, sizeof(s.b), chain, 32) != NULL, there);
			ratchet_step(chain, 1);
		}
	}
}

TEST(spent_chains_are_gone_from_the_disk_after_a_silence_and_a_stop)
{
	uint64_t i = 0;
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	check_chains(&a, 1, true);
	end_open(&a);
	for (; i < 8000; i++) {
		take_one(&a);
		CHECK(rx_wait(&a, i));
	}
	be_silent(&a);
	check_chains(&a, 8, false);
	for (; i < 12500; i++) {
		take_one(&a);
		CHECK(rx_wait(&a, i));
	}
	end_close(&a);
	check_chains(&a, 12, false);
	end_done(&a);
}

/* Both records move on at a stop, also where the one before the last was written in the slot before. */
TEST(i5_chains_of_a_slot_just_left_are_gone_after_a_stop)
{
	static const uint64_t ends[] = { 12001, 12002, 12010, 12033, 12065 };

	for (size_t n = 0; n < ARRAY_SIZE(ends); n++) {
		char name[16];
		struct end a;

		snprintf(name, sizeof(name), "stop%zu", n);
		end_init(&a, name, KEYS_INITIATOR);
		end_create_root(&a);
		end_open(&a);
		for (uint64_t i = 0; i < ends[n]; i++) {
			take_one(&a);
			CHECK(rx_wait(&a, i));
		}
		end_close(&a);
		check_chains(&a, 12, false);
		end_done(&a);
	}
}

/* The blocks that a ledger had hold zeros: seen through another name of the same file. */
TEST(i5_a_removed_ledger_is_written_over)
{
	struct snapshot s;
	char other[300];
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_root(&a);
	snprintf(other, sizeof(other), "%s.other", a.ledger);
	CHECK_EQ(link(a.ledger, other), 0);
	CHECK_EQ(keys_remove(a.ledger), 0);
	CHECK(access(a.ledger, F_OK) < 0);
	CHECK_EQ(rename(other, a.ledger), 0);
	ledger_save(&a, &s);
	for (size_t i = 0; i < sizeof(s.b); i++)
		CHECK_EQ(s.b[i], 0);
	end_done(&a);
}

TEST(removing_a_ledger_leaves_neither_it_nor_its_table)
{
	char table[300];
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_file(&a, 20);
	snprintf(table, sizeof(table), "%s.chunks", a.ledger);
	CHECK_EQ(access(table, F_OK), 0);
	CHECK_EQ(keys_remove(a.ledger), 0);
	CHECK(access(a.ledger, F_OK) < 0);
	CHECK(access(table, F_OK) < 0);
	CHECK_EQ(access(a.file, F_OK), 0);
	CHECK_EQ(keys_remove(a.ledger), 0);
	CHECK_EQ(end_try_open(&a), -ENOENT);
	end_done(&a);
}

/* ---- key files that are not what they were ---- */

static void flip_byte(const char *path, off_t at)
{
	int fd = open(path, O_RDWR);
	uint8_t b;

	CHECK(fd >= 0);
	CHECK_EQ(pread(fd, &b, 1, at), 1);
	b ^= 1;
	CHECK_EQ(pwrite(fd, &b, 1, at), 1);
	close(fd);
}

TEST(a_changed_key_file_is_refused)
{
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_file(&a, 20);
	flip_byte(a.file, 1234);
	CHECK_EQ(end_try_open(&a), KEYS_E_CHANGED);
	flip_byte(a.file, 1234);
	end_open(&a);
	end_close(&a);
	CHECK_EQ(truncate(a.file, 19 * SLOT_LEN), 0);
	CHECK_EQ(end_try_open(&a), KEYS_E_CHANGED);
	CHECK(strstr(a.detail, "2280"));
	CHECK_EQ(truncate(a.file, 19 * SLOT_LEN + 7), 0);
	CHECK_EQ(end_try_open(&a), KEYS_E_CHANGED);
	end_done(&a);
}

TEST(a_change_further_on_is_noticed_before_it_is_used)
{
	struct keys_info info;
	uint64_t used;
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_file(&a, 9000);
	flip_byte(a.file, 8999 * SLOT_LEN);
	end_open(&a);
	CHECK_EQ(keys_tx_forward(a.keys, 8736000, true), KEYS_E_NOT_READY);
	used = take_until_error(&a, UINT64_MAX);
	CHECK(used == UINT64_MAX || used < 8738000);
	CHECK_EQ(a.last_error, -EBADMSG);
	/* What lies before it, and the other direction, go on. */
	while (keys_tx_next(a.keys) < 8738000)
		take_one(&a);
	for (uint64_t i = 0; i < 300; i++) {
		for (int j = 0; j < 100 && !keys_rx_slot(a.keys, i); j++)
			loop_step(a.loop, 10);
		CHECK(keys_rx_slot(a.keys, i));
		CHECK(rx_wait(&a, i * SLOT_PACKETS));
	}
	keys_info(a.keys, &info);
	CHECK_EQ(info.source_error, -EBADMSG);
	CHECK(info.tx_next <= 8738000);
	end_done(&a);
}

TEST(a_damaged_table_is_noticed)
{
	char table[300];
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_file(&a, 20);
	snprintf(table, sizeof(table), "%s.chunks", a.ledger);
	flip_byte(table, 3);
	CHECK_EQ(end_try_open(&a), KEYS_E_LEDGER);
	unlink(table);
	CHECK_EQ(end_try_open(&a), KEYS_E_LEDGER);
	end_done(&a);
}

static int try_create(struct end *e, const char *file)
{
	e->o.key_file = file;
	*e->detail = '\0';
	return keys_create_file(&e->o, NULL, NULL, e->detail, sizeof(e->detail));
}

TEST(what_is_no_key_file_is_refused)
{
	char path[300], text[SLOT_LEN * 3];
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	snprintf(path, sizeof(path), "%s/k", a.dir);
	CHECK_EQ(try_create(&a, path), KEYS_E_UNREADABLE);
	CHECK_EQ(try_create(&a, a.dir), KEYS_E_BAD_FILE);
	CHECK_EQ(mkfifo(path, 0600), 0);
	CHECK_EQ(try_create(&a, path), KEYS_E_BAD_FILE);
	unlink(path);
	memset(text, 'x', sizeof(text));
	CHECK_EQ(file_write_atomic(path, text, 0, 0600), 0);
	CHECK_EQ(try_create(&a, path), KEYS_E_BAD_FILE);
	CHECK_EQ(file_write_atomic(path, text, sizeof(text) - 1, 0600), 0);
	CHECK_EQ(try_create(&a, path), KEYS_E_BAD_FILE);
	CHECK(strstr(a.detail, "120"));
	memset(text + SLOT_LEN, 0, SLOT_LEN);
	CHECK_EQ(file_write_atomic(path, text, sizeof(text), 0600), 0);
	CHECK_EQ(try_create(&a, path), KEYS_E_BAD_FILE);
	CHECK(access(a.ledger, F_OK) < 0);
	end_done(&a);
}

TEST(want_of_descriptors_says_nothing_of_the_file)
{
	int fds[64], n = 0;
	struct rlimit had, few;
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_file(&a, 20);
	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &had), 0);
	few = (struct rlimit){ .rlim_cur = 32, .rlim_max = had.rlim_max };
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
	while (n < 64 && (fds[n] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
		n++;
	a.o.ledgers_dir = NULL;
	CHECK_EQ(end_try_open(&a), -EMFILE);
	/* The ledger's; then the key file's; then its table's. */
	close(fds[--n]);
	CHECK_EQ(end_try_open(&a), KEYS_E_SHORTAGE);
	close(fds[--n]);
	CHECK_EQ(end_try_open(&a), KEYS_E_SHORTAGE);
	while (n > 0)
		close(fds[--n]);
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &had), 0);
	end_open(&a);
	end_done(&a);
}

TEST(erasing_needs_a_file_that_can_be_written)
{
	char dir[300], path[320];
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_file(&a, 20);
	if (geteuid() == 0) {
		snprintf(dir, sizeof(dir), "%s/ro", a.dir);
		snprintf(path, sizeof(path), "%s/key.psk", dir);
		CHECK_EQ(mkdir(dir, 0700), 0);
		if (mount("none", dir, "tmpfs", 0, "size=64k") < 0)
			test_skip("cannot mount: %s", strerror(errno));
		copy_file(path, a.file);
		CHECK_EQ(mount("none", dir, "tmpfs", MS_REMOUNT | MS_RDONLY, NULL), 0);
		a.o.key_file = path;
	} else {
		CHECK_EQ(chmod(a.file, 0400), 0);
	}
	a.o.erase = KEYS_ERASE_ZERO;
	CHECK_EQ(end_try_open(&a), KEYS_E_UNREADABLE);
	CHECK(strstr(a.detail, "for writing"));
	a.o.erase = KEYS_ERASE_NONE;
	end_open(&a);
	end_done(&a);
	if (geteuid() == 0)
		umount2(dir, MNT_DETACH);
}

/* ---- names ---- */

TEST(the_hint_names_the_material_and_nothing_else)
{
	uint8_t ha[8], hb[8], ka[32], kb[32];
	struct end a, b, c;

	end_init(&a, "a", KEYS_INITIATOR);
	end_init(&b, "b", KEYS_RESPONDER);
	end_init(&c, "c", KEYS_RESPONDER);
	end_create_file(&a, 20);
	end_create_file(&b, 20);
	end_create_file(&c, 21);
	end_open(&a);
	end_open(&b);
	end_open(&c);
	keys_hint(a.keys, ha);
	keys_hint(b.keys, hb);
	CHECK_MEM(ha, hb, 8);
	/* The same slot 0, but not the same file: it is named as different. */
	keys_hint(c.keys, hb);
	CHECK(memcmp(ha, hb, 8) != 0);
	keys_hello_key(a.keys, ka);
	keys_hello_key(c.keys, kb);
	CHECK_MEM(ka, kb, 32);
	CHECK(memcmp(ha, ka, 8) != 0);
	end_done(&a);
	end_done(&b);
	end_done(&c);
}

TEST(progress_of_adding_reaches_the_end)
{
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_file(&a, 20);
	CHECK_EQ(try_create(&a, a.file), KEYS_E_EXISTS);
	end_done(&a);
}

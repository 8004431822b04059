/* I1: no sequence is handed out twice, whenever a life ends, and whatever record or old copy the next one finds. */
#include "unit/pskd/keys_end.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "crypto/kdf.h"
#include "event/loop.h"
#include "pskd/keys/ledger.h"

/* ---- I1: crashes ---- */

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

/* What keys.h promises, and above all I1: no sequence is handed out twice, whatever happens in between. */
#include "pskd/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "crypto/kdf.h"
#include "crypto/secret.h"
#include "event/loop.h"
#include "pskd/ledger.h"
#include "pskd/ratchet.h"
#include "unit/lib/test.h"

enum { WINDOW = 8192 };

static const uint8_t tunnel_id[16] = "tunnel number 1";

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
		in = keys_rx_slot(b.keys, first / SLOT_PACKETS);
		if (!in) {
			loop_step(b.loop, 10);
			in = keys_rx_slot(b.keys, first / SLOT_PACKETS);
		}
		CHECK(in);
		CHECK_MEM(in, out, sizeof(*in));
		want = first + (unsigned int)n;
		CHECK(keys_rx_advance(b.keys, want - 1));
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
	CHECK(keys_rx_advance(a.keys, 1234));
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
		in = keys_rx_slot(b.keys, first / SLOT_PACKETS);
		CHECK(in);
		CHECK_MEM(in, slot, SLOT_LEN / 2);
		want = first + (unsigned int)n;
		CHECK(keys_rx_advance(b.keys, want - 1));
		loop_step(b.loop, 0);
	}
	close(fd);
	end_done(&a);
	end_done(&b);
}

TEST(an_idle_end_settles)
{
	struct end a;

	end_init(&a, "a", KEYS_INITIATOR);
	end_create_file(&a, 20);
	end_open(&a);
	take_one(&a);
	settle(&a);
	end_done(&a);
}

/* One end of a tunnel: its key material, and where it keeps things. */
#pragma once

#include "pskd/keys/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "crypto/kdf.h"
#include "crypto/secret.h"
#include "event/loop.h"
#include "pskd/keys/ledger.h"
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

static inline void on_ready(int error, void *arg)
{
	struct end *e = arg;

	e->n_ready++;
	e->last_error = error;
}

static inline void end_init(struct end *e, const char *name, enum keys_role role)
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

static inline void end_create_root(struct end *e)
{
	uint8_t root[32];

	for (size_t i = 0; i < sizeof(root); i++)
		root[i] = (uint8_t)i;
	CHECK_EQ(keys_create_root(&e->o, root, tunnel_id, e->detail, sizeof(e->detail)), 0);
	for (size_t i = 0; i < sizeof(root); i++)
		CHECK_EQ(root[i], 0);
}

/* A key file of n slots, the same for everyone who asks for the same name. */
static inline void make_file(const char *path, size_t slots)
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

static inline void end_create_file(struct end *e, size_t slots)
{
	snprintf(e->file, sizeof(e->file), "%s/key.psk", e->dir);
	make_file(e->file, slots);
	e->o.key_file = e->file;
	CHECK_EQ(keys_create_file(&e->o, NULL, NULL, e->detail, sizeof(e->detail)), 0);
}

static inline int end_try_open(struct end *e)
{
	return keys_open(&e->keys, &e->o, &e->recovered, e->detail, sizeof(e->detail));
}

static inline void end_open(struct end *e)
{
	int r = end_try_open(e);

	if (r)
		test_fail(__FILE__, __LINE__, "keys_open: %d: %s", r, e->detail);
}

static inline void end_close(struct end *e)
{
	keys_close(e->keys);
	e->keys = NULL;
}

static inline void end_done(struct end *e)
{
	end_close(e);
	loop_free(e->loop);
}

/* Take one, waiting for the disk as long as it takes. */
static inline int take_wait(struct end *e, unsigned int n, uint64_t *first, const struct slot_key **slot)
{
	for (int i = 0; i < 2000; i++) {
		int r = keys_tx_take(e->keys, n, first, slot);

		if (r != -KEYS_E_NOT_READY)
			return r;
		loop_step(e->loop, 100);
	}
	return -KEYS_E_NOT_READY;
}

static inline uint64_t take_one(struct end *e)
{
	const struct slot_key *slot;
	uint64_t first = UINT64_MAX;
	int r = take_wait(e, 1, &first, &slot);

	if (r != 1)
		test_fail(__FILE__, __LINE__, "take: %d", r);
	return first;
}

/* A prototype's packet is dropped while the disk has not taken its mark, and comes again, as long as it takes. */
static inline bool rx_wait(struct end *e, uint64_t sequence)
{
	for (int i = 0; i < 2000; i++) {
		if (keys_rx_advance(e->keys, sequence))
			return true;
		loop_step(e->loop, 10);
	}
	return false;
}

/* Take until it is refused and an error was told; the last one taken. */
static inline uint64_t take_until_error(struct end *e, uint64_t used)
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
static inline void settle(struct end *e)
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
static inline void be_silent(struct end *e)
{
	static uint64_t now = 1000000000;

	settle(e);
	keys_tick(e->keys, now += 1000);
	keys_tick(e->keys, now += 6000);
	settle(e);
}

struct snapshot {
	uint8_t b[LEDGER_LEN];
};

static inline void ledger_save(const struct end *e, struct snapshot *s)
{
	int fd = open(e->ledger, O_RDONLY);

	CHECK(fd >= 0);
	CHECK_EQ(pread(fd, s->b, LEDGER_LEN, 0), LEDGER_LEN);
	close(fd);
}

static inline void ledger_restore(const struct end *e, const struct snapshot *s)
{
	int fd = open(e->ledger, O_WRONLY);

	CHECK(fd >= 0);
	CHECK_EQ(pwrite(fd, s->b, LEDGER_LEN, 0), LEDGER_LEN);
	close(fd);
}

static inline size_t newest_block(const struct snapshot *s)
{
	struct ledger_state st;

	CHECK_EQ(ledger_judge(&st, s->b, LEDGER_LEN), 0);
	return st.newest_at;
}

/*
 * Let go without closing, as SIGKILL would. The locks stay until the process
 * ends, so what goes on does so in another folder.
 */
static inline void end_crash(struct end *e, struct end *next)
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

static inline void copy_file(const char *to, const char *from)
{
	char *text;
	size_t len;

	CHECK_EQ(file_read(&text, &len, from, 1 << 24), 0);
	CHECK_EQ(file_write_atomic(to, text, len, 0600), 0);
	free(text);
}

static inline int try_create(struct end *e, const char *file)
{
	e->o.key_file = file;
	*e->detail = '\0';
	return keys_create_file(&e->o, NULL, NULL, e->detail, sizeof(e->detail));
}

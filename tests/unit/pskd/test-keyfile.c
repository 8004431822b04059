/* A key file as a source: believed piece by piece, erased behind an edge whose hash is known first. */
#include "pskd/keys/keyfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "crypto/secret.h"
#include "pskd/keys/erase.h"
#include "pskd/keys/ledger.h"
#include "unit/lib/test.h"

enum { SLOTS = KEYFILE_CHUNK_SLOTS + 100 };

static char path[256], ledger[256], detail[300];
static struct ledger_record record;

/* A file of two pieces, added; the ledger itself plays no part here. */
static void fixture(void)
{
	int lock_fd;

	CHECK_EQ(crypto_init(), 0);
	snprintf(path, sizeof(path), "%s/k", test_tmpdir());
	snprintf(ledger, sizeof(ledger), "%s/l", test_tmpdir());
	CHECK_EQ(keyfile_make(path, SLOTS * SLOT_LEN, NULL, NULL, NULL, NULL, NULL, detail, sizeof(detail)), 0);
	CHECK_EQ(keyfile_add(&record, &lock_fd, path, ledger, false, NULL, NULL, detail, sizeof(detail)), 0);
	CHECK_EQ(record.slots_total, SLOTS);
	CHECK_EQ(record.kind, LEDGER_FILE);
	close(lock_fd);
}

static struct keyfile *attach(bool writable)
{
	struct keyfile *f = NULL;
	int r = keyfile_attach(&f, path, ledger, writable, &record, detail, sizeof(detail));

	if (r)
		test_fail(__FILE__, __LINE__, "attach: %d %s", r, detail);
	return f;
}

static const struct keyfile_edge no_edge;

static void change(uint64_t slot)
{
	int fd = open(path, O_RDWR);
	uint8_t b;

	CHECK_EQ(pread(fd, &b, 1, (off_t)(slot * SLOT_LEN)), 1);
	b ^= 0x80;
	CHECK_EQ(pwrite(fd, &b, 1, (off_t)(slot * SLOT_LEN)), 1);
	close(fd);
}

TEST(each_direction_gets_its_half)
{
	struct slot_key keys[3];
	uint8_t raw[3 * SLOT_LEN];
	struct keyfile *f;
	int fd;

	fixture();
	f = attach(false);
	fd = open(path, O_RDONLY);
	for (uint64_t first = 8735; first < 8741; first += 3) {
		CHECK_EQ(pread(fd, raw, sizeof(raw), (off_t)(first * SLOT_LEN)), (long)sizeof(raw));
		for (unsigned int d = 0; d < 2; d++) {
			CHECK_EQ(keyfile_draw(f, d, first, 3, &no_edge, keys), 0);
			for (size_t i = 0; i < 3; i++)
				CHECK_MEM(&keys[i], raw + i * SLOT_LEN + d * SLOT_LEN / 2, SLOT_LEN / 2);
		}
	}
	CHECK_EQ(keyfile_piece_end(f, 0), KEYFILE_CHUNK_SLOTS);
	CHECK_EQ(keyfile_piece_end(f, KEYFILE_CHUNK_SLOTS), SLOTS);
	close(fd);
	keyfile_unref(f);
}

TEST(a_piece_with_one_changed_bit_gives_no_slot)
{
	struct slot_key key;
	struct keyfile *f;

	fixture();
	f = attach(false);
	change(8800);
	CHECK_EQ(keyfile_draw(f, 0, 5, 1, &no_edge, &key), 0);
	CHECK_EQ(keyfile_draw(f, 0, 5, 1, &(struct keyfile_edge){ .to = 6 }, &key), -ENODATA);
	CHECK_EQ(keyfile_draw(f, 0, 8738, 1, &no_edge, &key), KEYS_E_CHANGED);
	change(8800);
	CHECK_EQ(keyfile_draw(f, 0, 8738, 1, &no_edge, &key), 0);
	CHECK_EQ(truncate(path, 100), 0);
	CHECK_EQ(keyfile_draw(f, 0, 8738, 1, &no_edge, &key), KEYS_E_CHANGED);
	keyfile_unref(f);
}

TEST(erasing_is_followed_by_the_hashes_at_every_step)
{
	const enum keys_erase how[] = { KEYS_ERASE_ZERO, KEYS_ERASE_PUNCH };
	const uint64_t steps[] = { 1, 500, 8737, 8738, 8739, 8800, SLOTS };
	struct keyfile_edge edge = { 0 }, next;
	struct slot_key key;
	struct keyfile *f;

	fixture();
	f = attach(true);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		uint64_t mid = (edge.to + steps[i]) / 2;

		CHECK_EQ(keyfile_move_edge(f, &edge, steps[i], &next), 0);
		/* Not begun, half done, done: drawing works at each. */
		for (uint64_t until = edge.to; until <= steps[i]; until += until < mid ? mid - edge.to : steps[i] - mid) {
			CHECK_EQ(keyfile_erase(f, edge.to, until, how[i % 2]), 0);
			if (steps[i] < SLOTS)
				CHECK_EQ(keyfile_draw(f, 1, steps[i], 1, &next, &key), 0);
			if (until == steps[i])
				break;
		}
		edge = next;
	}
	keyfile_unref(f);
}

TEST(a_changed_piece_gets_no_new_edge)
{
	struct keyfile_edge next = { .to = 77 };
	struct keyfile *f;

	fixture();
	f = attach(true);
	change(8000);
	CHECK_EQ(keyfile_move_edge(f, &no_edge, 10, &next), KEYS_E_CHANGED);
	CHECK_EQ(next.to, 77);
	keyfile_unref(f);
}

TEST(i1_one_key_file_is_attached_once)
{
	struct keyfile *f, *g = NULL;

	fixture();
	f = attach(false);
	CHECK_EQ(keyfile_attach(&g, path, ledger, false, &record, detail, sizeof(detail)), KEYS_E_IN_USE);
	/* Unlocked while a thread still has a reference. */
	keyfile_ref(f);
	keyfile_unlock(f);
	CHECK(!keyfile_unref(f));
	g = attach(false);
	keyfile_unref(g);
	keyfile_unref(f);
}

TEST(erasing_tells_when_it_cannot)
{
	int fd;

	fixture();
	fd = open(path, O_RDONLY);
	CHECK_EQ(erase_range(fd, 0, 120, KEYS_ERASE_ZERO), -EBADF);
	CHECK_EQ(erase_range(fd, 0, 120, KEYS_ERASE_PUNCH), -EBADF);
	CHECK_EQ(erase_range(fd, 0, 120, KEYS_ERASE_NONE), 0);
	CHECK_EQ(erase_range(fd, 0, 0, KEYS_ERASE_ZERO), 0);
	close(fd);
}

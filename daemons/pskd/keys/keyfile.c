/*
 * Relies on crypto/keyfile_io.h for reading and hashing. The lock is flock()'s:
 * it works on a read-only descriptor, follows the inode (so hard links are one file), and ends with
 * the process.
 */
#include "pskd/keys/keyfile.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/draft.h"
#include "base/error.h"
#include "base/file.h"
#include "crypto/kdf.h"
#include "crypto/secret.h"
#include "pskd/keys/erase.h"
#include "pskd/keys/ledger.h"

static_assert(KEYFILE_SLOT_LEN == SLOT_LEN && KEYFILE_SLOT_PACKETS == SLOT_PACKETS, "one format");
static_assert(sizeof(struct slot_key) * 2 == SLOT_LEN, "a half-slot without padding");

struct keyfile {
	unsigned int refs;
	int fd, table_fd;
	uint64_t size;
};

int keyfile_table_path(char *out, size_t cap, const char *ledger_path)
{
	int n = snprintf(out, cap, "%s.chunks", ledger_path);

	return n < 0 || (size_t)n >= cap ? -ENAMETOOLONG : 0;
}

static bool is_shortage(int r)
{
	return r == -EMFILE || r == -ENFILE || r == -ENOMEM;
}

/* Open, look and lock: what adding and attaching have in common. */
static int open_locked(const char *path, bool writable, uint64_t *size, char *detail, size_t cap)
{
	_cleanup_close_ int fd = -1;
	int r;

	fd = keyfile_open(path, writable, size, &r, detail, cap);
	if (fd < 0 && r == KEYFILE_E_BAD_FILE)
		return -KEYS_E_BAD_FILE;
	if (fd < 0)
		return is_shortage(r) ? -KEYS_E_SHORTAGE : -KEYS_E_UNREADABLE;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return steal_fd(&fd);
	if (errno != EWOULDBLOCK) {
		snprintf(detail, cap, "cannot lock %s: %s", path, strerror(errno));
		return -KEYS_E_UNREADABLE;
	}
	snprintf(detail, cap, "%s is in use by another tunnel or program", path);
	return -KEYS_E_IN_USE;
}

static int write_table(const char *ledger_path, const uint8_t *table, size_t len)
{
	_cleanup_(draft_done) struct draft d = DRAFT_NONE;
	char path[PATH_MAX];
	int r;

	r = keyfile_table_path(path, sizeof(path), ledger_path);
	if (!r)
		r = draft_open(&d, path, 0600);
	if (!r)
		r = file_pwrite_all(d.fd, table, len, 0);
	if (!r && fsync(d.fd) < 0)
		r = -errno;
	if (r)
		return r;
	/* One without its ledger is from a run that was cut short. */
	if (unlink(path) < 0 && errno != ENOENT)
		return -errno;
	return draft_publish(&d, path);
}

static void derive_hello(uint8_t out[static 32], const uint8_t slot0[static SLOT_LEN])
{
	const struct slot_key *back = (const void *)(slot0 + SLOT_LEN / 2);

	hkdf_sha256(out, 32, NULL, 0, back->key, sizeof(back->key), "hello", 5);
}

int keyfile_add(struct ledger_record *r, int *lock_fd, const char *path, const char *ledger_path,
		bool writable, keyfile_progress_fn progress, void *arg, char *detail, size_t cap)
{
	_cleanup_(secret_freep) struct secret *slot = NULL;
	_cleanup_free_ uint8_t *table = NULL;
	_cleanup_close_ int fd = -1;
	uint8_t *slot0;
	uint64_t size;
	size_t len;
	int e;

	fd = open_locked(path, writable, &size, detail, cap);
	if (fd < 0)
		return -fd;

	len = (size_t)keyfile_chunks(size) * KEYFILE_HASH_LEN;
	table = malloc(len);
	e = table ? secret_new(&slot, SLOT_LEN, &slot0) : -ENOMEM;
	if (!e)
		e = keyfile_hash(fd, size, progress, arg, r->fingerprint, table);
	if (e == KEYFILE_E_BAD_FILE) {
		snprintf(detail, cap, "%s has slots that are zero: it was used and erased, or is not random",
			 path);
		return KEYS_E_BAD_FILE;
	}
	if (e == KEYFILE_E_STOPPED)
		e = -ECANCELED;
	if (!e)
		e = file_pread_all(fd, slot0, SLOT_LEN, 0);
	if (e) {
		snprintf(detail, cap, "cannot read %s: %s", path, strerror(-err_fold(e)));
		return e == -ENOMEM || e == -ECANCELED ? e : KEYS_E_UNREADABLE;
	}
	e = write_table(ledger_path, table, len);
	if (e) {
		snprintf(detail, cap, "cannot write the table of %s: %s", ledger_path, strerror(-e));
		return e;
	}

	r->kind = LEDGER_FILE;
	r->slots_total = size / SLOT_LEN;
	sha256(r->table_sum, table, len);
	derive_hello(r->hello_key, slot0);
	*lock_fd = steal_fd(&fd);
	return 0;
}

/* The table is read whole once, here, in pieces: a few entries are read again as they are needed. */
static int open_table(const char *ledger_path, const struct ledger_record *r, char *detail, size_t cap)
{
	size_t len = (size_t)keyfile_chunks(r->slots_total * SLOT_LEN) * KEYFILE_HASH_LEN;
	_cleanup_free_ uint8_t *table = NULL;
	uint8_t sum[KEYFILE_HASH_LEN];
	_cleanup_close_ int fd = -1;
	char path[PATH_MAX];
	int e;

	e = keyfile_table_path(path, sizeof(path), ledger_path);
	if (e)
		return e;
	table = malloc(len);
	if (!table)
		return -ENOMEM;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	e = fd < 0 ? -errno : file_pread_all(fd, table, len, 0);
	if (e) {
		snprintf(detail, cap, "cannot read %s, which belongs to the ledger: %s", path, strerror(-e));
		return is_shortage(e) ? -KEYS_E_SHORTAGE : -KEYS_E_LEDGER;
	}
	sha256(sum, table, len);
	if (memcmp(sum, r->table_sum, sizeof(sum)) != 0) {
		snprintf(detail, cap, "%s is damaged, or of another ledger", path);
		return -KEYS_E_LEDGER;
	}
	return steal_fd(&fd);
}

int keyfile_attach(struct keyfile **out, const char *path, const char *ledger_path, bool writable,
		   const struct ledger_record *r, char *detail, size_t cap)
{
	_cleanup_(keyfile_unrefp) struct keyfile *f = NULL;

	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->refs = 1;
	f->table_fd = -1;
	f->fd = open_locked(path, writable, &f->size, detail, cap);
	if (f->fd == -KEYS_E_BAD_FILE)
		return KEYS_E_CHANGED;
	if (f->fd < 0)
		return -f->fd;
	if (f->size != r->slots_total * SLOT_LEN) {
		snprintf(detail, cap, "%s has %llu bytes; when it was added it had %llu", path,
			 (unsigned long long)f->size, (unsigned long long)r->slots_total * SLOT_LEN);
		return KEYS_E_CHANGED;
	}
	f->table_fd = open_table(ledger_path, r, detail, cap);
	if (f->table_fd == -KEYS_E_LEDGER || f->table_fd == -KEYS_E_SHORTAGE)
		return -f->table_fd;
	if (f->table_fd < 0)
		return f->table_fd;
	*out = steal(&f);
	return 0;
}

uint64_t keyfile_piece_end(const struct keyfile *f, uint64_t slot)
{
	uint64_t end = (slot / KEYFILE_CHUNK_SLOTS + 1) * KEYFILE_CHUNK_SLOTS;

	return end < f->size / SLOT_LEN ? end : f->size / SLOT_LEN;
}

/* True when slot `to` lies inside piece number chunk and not at its beginning. */
static bool edge_cuts(uint64_t to, uint64_t chunk)
{
	return to / KEYFILE_CHUNK_SLOTS == chunk && to % KEYFILE_CHUNK_SLOTS != 0;
}

static int expected_sum(struct keyfile *f, uint64_t chunk, const struct keyfile_edge *edge,
			uint8_t out[static KEYFILE_HASH_LEN])
{
	if (edge_cuts(edge->to, chunk)) {
		memcpy(out, edge->sum, KEYFILE_HASH_LEN);
		return 0;
	}
	return file_pread_all(f->table_fd, out, KEYFILE_HASH_LEN, (off_t)(chunk * KEYFILE_HASH_LEN));
}

/* Read one piece, as it looks with the edge as it is, and believe it only if it is what was added. */
static int read_piece(struct keyfile *f, uint64_t chunk, const struct keyfile_edge *edge,
		      uint64_t first, size_t n, uint8_t *out)
{
	uint8_t sum[KEYFILE_HASH_LEN], wanted[KEYFILE_HASH_LEN];
	int r;

	r = expected_sum(f, chunk, edge, wanted);
	if (r)
		return r;
	r = keyfile_read_chunk(f->fd, f->size, chunk, edge->to, first, n, out, sum);
	if (r == KEYFILE_E_BAD_FILE)
		return KEYS_E_CHANGED;
	if (r)
		return err_fold(r);
	return memcmp(sum, wanted, sizeof(sum)) == 0 ? 0 : KEYS_E_CHANGED;
}

int keyfile_check(struct keyfile *f, const struct keyfile_edge *now, uint64_t erased)
{
	static const uint8_t zeros[SLOT_LEN];
	uint8_t slot[SLOT_LEN];
	int r;

	if (now->to < f->size / SLOT_LEN)
		return read_piece(f, now->to / KEYFILE_CHUNK_SLOTS, now, 0, 0, NULL);
	if (erased == 0)
		return 0;
	r = file_pread_all(f->fd, slot, sizeof(slot), 0);
	if (!r && memcmp(slot, zeros, sizeof(slot)) != 0)
		r = KEYS_E_CHANGED;
	explicit_bzero(slot, sizeof(slot));
	return r;
}

int keyfile_draw(struct keyfile *f, unsigned int direction, uint64_t first, size_t n,
		 const struct keyfile_edge *edge, struct slot_key *out)
{
	_cleanup_(secret_freep) struct secret *slots = NULL;
	uint8_t *bytes;
	int r;

	assert(direction < 2 && n > 0);
	assert(first + n <= keyfile_piece_end(f, first));
	/* Zeros, or about to be: whoever's mistake it is, it ends this tunnel and no other. */
	if (first < edge->to)
		return -ENODATA;
	r = secret_new(&slots, n * SLOT_LEN, &bytes);
	if (!r)
		r = read_piece(f, first / KEYFILE_CHUNK_SLOTS, edge, first, n, bytes);
	if (r)
		return r;
	for (size_t i = 0; i < n; i++)
		memcpy(&out[i], bytes + i * SLOT_LEN + direction * sizeof(*out), sizeof(*out));
	return 0;
}

int keyfile_move_edge(struct keyfile *f, const struct keyfile_edge *now, uint64_t to,
		      struct keyfile_edge *out)
{
	uint64_t chunk = to / KEYFILE_CHUNK_SLOTS;
	struct keyfile_edge next = { .to = to };
	int r;

	assert(to >= now->to && to <= f->size / SLOT_LEN);
	if (edge_cuts(to, chunk)) {
		/* Right now, or the new hash would bless what is wrong. */
		r = read_piece(f, chunk, now, 0, 0, NULL);
		if (!r)
			r = err_fold(keyfile_read_chunk(f->fd, f->size, chunk, to, 0, 0, NULL, next.sum));
		if (r)
			return r;
	}
	*out = next;
	return 0;
}

int keyfile_erase(struct keyfile *f, uint64_t from, uint64_t to, enum keys_erase how)
{
	return erase_range(f->fd, (off_t)(from * SLOT_LEN), (off_t)((to - from) * SLOT_LEN), how);
}

struct keyfile *keyfile_ref(struct keyfile *f)
{
	f->refs++;
	return f;
}

struct keyfile *keyfile_unref(struct keyfile *f)
{
	if (!f || --f->refs > 0)
		return NULL;
	closep(&f->fd);
	closep(&f->table_fd);
	free(f);
	return NULL;
}

void keyfile_unlock(struct keyfile *f)
{
	(void)flock(f->fd, LOCK_UN);
}

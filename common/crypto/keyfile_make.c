/*
 * Making key files, so that they appear complete or not at all. What is drawn goes through two locked buffers in
 * turn: while one is hashed in a thread, the other is filled and written.
 */
#include "crypto/keyfile_io.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <sodium.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/draft.h"
#include "base/file.h"
#include "base/text.h"
#include "crypto/keyfile_internal.h"
#include "crypto/keyfile_mix.h"
#include "crypto/secret.h"

enum {
	/* The sidecar, inodes, and what a filesystem likes to keep. */
	ROOM_BESIDE = 64 * 1024,
	FLUSH_LEN = 8 << 20,
};

static bool is_there(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

static int check_space(int fd, uint64_t size)
{
	struct statvfs fs;

	if (fstatvfs(fd, &fs) < 0)
		return -errno;
	if ((uint64_t)fs.f_bavail < (size + ROOM_BESIDE) / fs.f_frsize)
		return KEYFILE_E_NO_SPACE;
	/* Take the room now, rather than find out after an hour. Not every filesystem can. */
	if (fallocate(fd, 0, 0, (off_t)size) < 0) {
		if (errno == ENOSPC || errno == EDQUOT)
			return KEYFILE_E_NO_SPACE;
		if (errno != EOPNOTSUPP && errno != ENOSYS)
			return -errno;
	}
	return 0;
}

/* ---- hashing beside drawing and writing ---- */

struct hasher {
	crypto_hash_sha256_state state;
	bool has_thread;
	pthread_t thread;
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t changed;
	const uint8_t *bytes; /* to be hashed; NULL: nothing */
	size_t len;
	bool end;
};

static void *hash_pieces(void *arg)
{
	struct hasher *h = arg;

	pthread_mutex_lock(&h->lock);
	for (;;) {
		while (!h->bytes && !h->end)
			pthread_cond_wait(&h->changed, &h->lock);
		if (!h->bytes)
			break;
		pthread_mutex_unlock(&h->lock);
		crypto_hash_sha256_update(&h->state, h->bytes, h->len);
		pthread_mutex_lock(&h->lock);
		h->bytes = NULL;
		pthread_cond_broadcast(&h->changed);
	}
	pthread_mutex_unlock(&h->lock);
	return NULL;
}

/* Without a thread it is done all the same. */
static void hasher_start(struct hasher *h)
{
	sigset_t all, before;

	*h = (struct hasher){ .has_thread = false };
	crypto_hash_sha256_init(&h->state);
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->changed, NULL);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	h->has_thread = pthread_create(&h->thread, NULL, hash_pieces, h) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* bytes must stay as they are until the next call. */
static void hasher_put(struct hasher *h, const uint8_t *bytes, size_t len)
{
	if (!h->has_thread) {
		crypto_hash_sha256_update(&h->state, bytes, len);
		return;
	}
	pthread_mutex_lock(&h->lock);
	while (h->bytes)
		pthread_cond_wait(&h->changed, &h->lock);
	h->bytes = bytes;
	h->len = len;
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
}

static void hasher_end(struct hasher *h, uint8_t out[static KEYFILE_HASH_LEN])
{
	if (h->has_thread) {
		pthread_mutex_lock(&h->lock);
		h->end = true;
		pthread_cond_broadcast(&h->changed);
		pthread_mutex_unlock(&h->lock);
		pthread_join(h->thread, NULL);
	}
	pthread_cond_destroy(&h->changed);
	pthread_mutex_destroy(&h->lock);
	crypto_hash_sha256_final(&h->state, out);
	wipe(&h->state, sizeof(h->state));
}

/* ---- drawing ---- */

struct making {
	int fd;
	uint64_t size, done;
	keyfile_progress_fn progress;
	void *arg;
	struct keyfile_mix *mix; /* NULL: the kernel alone */
	char *detail;
	size_t detail_cap;
};

static int keep_waiting(void *arg)
{
	const struct making *m = arg;

	return m->progress && m->progress(m->done, m->size, m->arg);
}

static int draw(struct making *m, uint8_t *bytes, size_t n)
{
	int r = random_bulk(bytes, n);

	return r || !m->mix ? r : keyfile_mix_xor(m->mix, bytes, n, keep_waiting, m, m->detail, m->detail_cap);
}

static int write_pieces(struct making *m, struct hasher *hasher, uint8_t *const buf[static 2])
{
	unsigned int turn = 0;
	int r;

	while (m->done < m->size) {
		size_t n = m->size - m->done < KEYFILE_BUF_LEN ? (size_t)(m->size - m->done) : KEYFILE_BUF_LEN;
		uint8_t *bytes = buf[turn++ % 2];

		if (keep_waiting(m))
			return KEYFILE_E_STOPPED;
		r = draw(m, bytes, n);
		if (r)
			return r;
		hasher_put(hasher, bytes, n);
		r = file_pwrite_all(m->fd, bytes, n, (off_t)m->done);
		if (r)
			return r;
		m->done += n;
		/* The disk begins now, rather than at the end. */
		if (m->done % FLUSH_LEN < n)
			(void)sync_file_range(m->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
	}
	return 0;
}

static int write_random(struct making *m, uint8_t sha256_out[static KEYFILE_HASH_LEN])
{
	_cleanup_(secret_freep) struct secret *mem = NULL;
	struct hasher hasher;
	uint8_t *bytes;
	int r;

	r = secret_new(&mem, 2 * KEYFILE_BUF_LEN, &bytes);
	if (r)
		return r;
	hasher_start(&hasher);
	r = write_pieces(m, &hasher, (uint8_t *const[2]){ bytes, bytes + KEYFILE_BUF_LEN });
	/* Also after an error: the thread reads what is freed here. */
	hasher_end(&hasher, sha256_out);
	if (r)
		return r;
	if (fsync(m->fd) < 0)
		return -errno;
	/* The last word may still be stop, for what comes after cannot be taken back. */
	return keep_waiting(m) ? KEYFILE_E_STOPPED : 0;
}

static int write_sidecar(int fd, const char *path, const uint8_t sha256_[static KEYFILE_HASH_LEN])
{
	char hex[2 * KEYFILE_HASH_LEN + 1], copy[PATH_MAX];

	snprintf(copy, sizeof(copy), "%s", path);
	hex_format(hex, sha256_, KEYFILE_HASH_LEN);
	if (dprintf(fd, "%s  %s\n", hex, basename(copy)) < 0)
		return -errno;
	return fsync(fd) < 0 ? -errno : 0;
}

static int explain_make(char *detail, size_t cap, int r, const char *path, uint64_t size)
{
	switch (r) {
	case KEYFILE_E_NO_SPACE:
	case -ENOSPC:
	case -EDQUOT:
		return text_explain(detail, cap, KEYFILE_E_NO_SPACE,
				    "the disk has no room for %llu bytes at %s",
				    (unsigned long long)size, path);
	case KEYFILE_E_MIX:
		return r; /* said already */
	case KEYFILE_E_STOPPED:
		return text_explain(detail, cap, r, "stopped; %s was not made", path);
	default:
		return text_explain(detail, cap, r, "cannot make %s: %s", path,
				    r < 0 ? strerror(-r) : "failed");
	}
}

/* Both names, or neither. */
static int publish_both(struct draft *file, const char *path, struct draft *side,
			const char *side_path, char *detail, size_t cap)
{
	int r;

	r = draft_publish(file, path);
	if (r == -EEXIST)
		return text_explain(detail, cap, KEYFILE_E_EXISTS, "%s exists already", path);
	if (r)
		return text_explain(detail, cap, r, "cannot name %s: %s", path, strerror(-r));

	r = draft_publish(side, side_path);
	if (r) {
		unlink(path);
		if (r == -EEXIST)
			return text_explain(detail, cap, KEYFILE_E_EXISTS, "%s exists already", side_path);
		return text_explain(detail, cap, r, "cannot name %s: %s", side_path, strerror(-r));
	}
	r = file_sync_parent(path);
	if (r)
		return text_explain(detail, cap, r, "cannot make %s durable: %s", path, strerror(-r));
	return 0;
}

int keyfile_make(const char *path, uint64_t size, const char *mix_path, keyfile_progress_fn progress, void *arg,
		 uint8_t sha256_out[KEYFILE_HASH_LEN], struct keyfile_capacity *capacity,
		 char *detail, size_t detail_cap)
{
	_cleanup_(draft_done) struct draft file = DRAFT_NONE;
	_cleanup_(draft_done) struct draft side = DRAFT_NONE;
	_cleanup_(keyfile_mix_closep) struct keyfile_mix *mix = NULL;
	struct making m = { .progress = progress, .arg = arg, .detail = detail, .detail_cap = detail_cap };
	uint8_t sum[KEYFILE_HASH_LEN];
	char side_path[PATH_MAX];
	int r;

	size -= size % KEYFILE_SLOT_LEN;
	if (size == 0 || size > KEYFILE_SIZE_MAX)
		return text_explain(detail, detail_cap, KEYFILE_E_SIZE,
				    size ? "a key file has at most 1 TiB" :
					   "a key file has at least one slot of 120 bytes");
	if (snprintf(side_path, sizeof(side_path), "%s%s", path, KEYFILE_SIDECAR_SUFFIX) >=
	    (int)sizeof(side_path))
		return text_explain(detail, detail_cap, -ENAMETOOLONG, "%.200s…: the name is too long", path);
	if (is_there(path))
		return text_explain(detail, detail_cap, KEYFILE_E_EXISTS, "%s exists already", path);
	if (is_there(side_path))
		return text_explain(detail, detail_cap, KEYFILE_E_EXISTS, "%s exists already", side_path);

	r = mix_path ? keyfile_mix_open(&mix, mix_path, detail, detail_cap) : 0;
	if (r)
		return r;
	r = draft_open(&file, path, 0600);
	if (!r)
		r = check_space(file.fd, size);
	m.fd = file.fd;
	m.size = size;
	m.mix = mix;
	if (!r)
		r = write_random(&m, sum);
	if (!r)
		r = draft_open(&side, side_path, 0644);
	if (!r)
		r = write_sidecar(side.fd, path, sum);
	if (r)
		return explain_make(detail, detail_cap, r, path, size);

	r = publish_both(&file, path, &side, side_path, detail, detail_cap);
	if (r)
		return r;
	if (sha256_out)
		memcpy(sha256_out, sum, sizeof(sum));
	if (capacity)
		keyfile_capacity(capacity, size);
	return 0;
}

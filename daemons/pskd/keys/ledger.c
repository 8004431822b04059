/*
 * The ledger's format, file and thread. A record is written over the older of
 * the two, in place: the blocks were allocated when the file was made, so a
 * full disk does not stop this on most filesystems, and a write that is torn
 * by a power cut hits a block that nobody relied on. fdatasync() comes before
 * anyone hears that a record counts.
 *
 * After a failed fdatasync() the kernel may call pages clean that never reached
 * the disk; therefore a retry writes the whole block again, and never just
 * syncs again.
 */
#include "pskd/keys/ledger.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "base/bytes.h"
#include "base/draft.h"
#include "base/file.h"
#include "crypto/kdf.h"
#include "crypto/seal.h"
#include "crypto/secret.h"
#include "event/loop.h"
#include "pskd/keys/keys.h"

static const char magic[] = "handfast ledger\n";

enum {
	MAGIC_LEN = sizeof(magic) - 1,
	SUM_AT = LEDGER_BLOCK_LEN - SHA256_LEN,
	/* hello_key and the two chains, in this order, when they are sealed */
	SECRETS_LEN = 32 + 32 + 32,
	FLAG_SEALED = 1,
	FLAG_RESTORED = 2,
};

static const struct seal_key *state_key;

void ledger_use_key(const struct seal_key *key)
{
	state_key = key;
}

/* ---- format ---- */

/* After the clear part: the key's id, and what seal_make() gives, bound to all before it. */
static void seal_secrets(struct wbuf *w, const struct ledger_record *r, const struct seal_key *key)
{
	uint8_t secrets[SECRETS_LEN], sealed[SECRETS_LEN + SEAL_EXTRA];

	memcpy(secrets, r->hello_key, 32);
	memcpy(secrets + 32, r->tx_chain, 32);
	memcpy(secrets + 64, r->rx_chain, 32);
	wbuf_put(w, seal_key_id(key), SEAL_ID_LEN);
	seal_make(sealed, secrets, sizeof(secrets), w->base, w->len, key);
	wipe(secrets, sizeof(secrets));
	wbuf_put(w, sealed, sizeof(sealed));
}

static int open_secrets(struct ledger_record *r, const uint8_t *block, struct rbuf *b)
{
	uint8_t id[SEAL_ID_LEN], secrets[SECRETS_LEN];
	const uint8_t *sealed;
	size_t clear;

	rbuf_get(b, id, sizeof(id));
	clear = (size_t)(b->p - block);
	sealed = rbuf_view(b, SECRETS_LEN + SEAL_EXTRA);
	if (!state_key || !sealed)
		return LEDGER_E_SEALED;
	if (memcmp(id, seal_key_id(state_key), sizeof(id)) != 0)
		return LEDGER_E_OTHER_KEY;
	if (seal_open(secrets, sealed, SECRETS_LEN + SEAL_EXTRA, block, clear, state_key))
		return LEDGER_E_BROKEN;
	memcpy(r->hello_key, secrets, 32);
	memcpy(r->tx_chain, secrets + 32, 32);
	memcpy(r->rx_chain, secrets + 64, 32);
	wipe(secrets, sizeof(secrets));
	return 0;
}

static void encode(uint8_t block[static LEDGER_BLOCK_LEN], const struct ledger_record *r,
		   const struct seal_key *key)
{
	static const uint8_t zeros[32];
	uint8_t flags = (uint8_t)((key ? FLAG_SEALED : 0) | (r->restored ? FLAG_RESTORED : 0));
	struct wbuf w;

	memset(block, 0, LEDGER_BLOCK_LEN);
	wbuf_init(&w, block, SUM_AT);
	wbuf_put(&w, magic, MAGIC_LEN);
	/* What an older handfast can read, it may. */
	wbuf_be32(&w, flags ? LEDGER_VERSION : 1);
	wbuf_be64(&w, r->generation);
	wbuf_u8(&w, r->kind);
	wbuf_u8(&w, r->role);
	wbuf_u8(&w, r->handshaken);
	wbuf_u8(&w, flags);
	wbuf_put(&w, r->fingerprint, sizeof(r->fingerprint));
	wbuf_put(&w, r->tunnel_id, sizeof(r->tunnel_id));
	wbuf_put(&w, key ? zeros : r->hello_key, 32);
	wbuf_be64(&w, r->slots_total);
	wbuf_put(&w, r->table_sum, sizeof(r->table_sum));
	wbuf_be64(&w, r->tx_next);
	wbuf_be64(&w, r->tx_reserved);
	wbuf_be32(&w, r->tx_limit);
	wbuf_be64(&w, r->rx_high);
	wbuf_be64(&w, r->rx_mark);
	wbuf_be32(&w, r->rx_limit);
	wbuf_be64(&w, r->erase_to);
	wbuf_be64(&w, r->erased);
	wbuf_put(&w, r->edge_sum, sizeof(r->edge_sum));
	wbuf_put(&w, key ? zeros : r->tx_chain, 32);
	wbuf_put(&w, key ? zeros : r->rx_chain, 32);
	if (key)
		seal_secrets(&w, r, key);
	assert(wbuf_ok(&w));
	sha256(block + SUM_AT, block, SUM_AT);
}

void ledger_encode(uint8_t block[static LEDGER_BLOCK_LEN], const struct ledger_record *r)
{
	encode(block, r, state_key);
}

void ledger_encode_plain(uint8_t block[static LEDGER_BLOCK_LEN], const struct ledger_record *r)
{
	encode(block, r, NULL);
}

/* A checksum is no signature: what a record claims must also make sense. */
static bool record_is_sane(const struct ledger_record *r)
{
	uint64_t end = r->slots_total ? r->slots_total * SLOT_PACKETS : LEDGER_SEQ_MAX;

	if (r->kind != LEDGER_FILE && r->kind != LEDGER_ROOT)
		return false;
	if (r->role != KEYS_INITIATOR && r->role != KEYS_RESPONDER)
		return false;
	if ((r->kind == LEDGER_FILE) != (r->slots_total > 0) ||
	    r->slots_total > LEDGER_SEQ_MAX / SLOT_PACKETS)
		return false;
	if (r->tx_next > r->tx_reserved || r->tx_reserved > end)
		return false;
	if (r->tx_limit == 0 || r->tx_limit > LEDGER_TX_LIMIT_MAX || r->rx_limit > LEDGER_RX_LIMIT_MAX)
		return false;
	if (r->rx_mark > end)
		return false;
	if (r->rx_high != LEDGER_NONE && r->rx_high >= r->rx_mark)
		return false;
	/* Only what was left behind both ways is erased: nothing is drawn from below. */
	return r->erased <= r->erase_to && r->erase_to <= ledger_slot(r->tx_next) &&
	       r->erase_to <= ledger_slot(r->rx_mark);
}

int ledger_decode(struct ledger_record *r, const uint8_t block[static LEDGER_BLOCK_LEN])
{
	uint8_t sum[SHA256_LEN], found[MAGIC_LEN], handshaken, flags, reserved = 0;
	const uint8_t *rest;
	struct rbuf b;
	uint32_t version;
	size_t n;
	int e = 0;

	sha256(sum, block, SUM_AT);
	if (!bytes_equal(sum, block + SUM_AT, sizeof(sum)))
		return LEDGER_E_BROKEN;

	*r = (struct ledger_record){ 0 };
	rbuf_init(&b, block, SUM_AT);
	rbuf_get(&b, found, sizeof(found));
	version = rbuf_be32(&b);
	if (memcmp(found, magic, MAGIC_LEN) != 0 || version == 0)
		return LEDGER_E_BROKEN;
	/* Magic, version and checksum stay where they are in every version to come. */
	r->version = version;
	if (version > LEDGER_VERSION)
		return LEDGER_E_NEWER;

	r->generation = rbuf_be64(&b);
	r->kind = rbuf_u8(&b);
	r->role = rbuf_u8(&b);
	handshaken = rbuf_u8(&b);
	flags = rbuf_u8(&b);
	rbuf_get(&b, r->fingerprint, sizeof(r->fingerprint));
	rbuf_get(&b, r->tunnel_id, sizeof(r->tunnel_id));
	rbuf_get(&b, r->hello_key, sizeof(r->hello_key));
	r->slots_total = rbuf_be64(&b);
	rbuf_get(&b, r->table_sum, sizeof(r->table_sum));
	r->tx_next = rbuf_be64(&b);
	r->tx_reserved = rbuf_be64(&b);
	r->tx_limit = rbuf_be32(&b);
	r->rx_high = rbuf_be64(&b);
	r->rx_mark = rbuf_be64(&b);
	r->rx_limit = rbuf_be32(&b);
	r->erase_to = rbuf_be64(&b);
	r->erased = rbuf_be64(&b);
	rbuf_get(&b, r->edge_sum, sizeof(r->edge_sum));
	rbuf_get(&b, r->tx_chain, sizeof(r->tx_chain));
	rbuf_get(&b, r->rx_chain, sizeof(r->rx_chain));
	r->handshaken = handshaken;
	r->sealed = flags & FLAG_SEALED;
	r->restored = flags & FLAG_RESTORED;
	if ((version == 1) != (flags == 0) || flags > (FLAG_SEALED | FLAG_RESTORED))
		return LEDGER_E_BROKEN;
	if (r->sealed)
		e = open_secrets(r, block, &b);

	n = b.left;
	rest = rbuf_view(&b, n);
	for (size_t i = 0; i < n; i++)
		reserved |= rest[i];
	if (handshaken > 1 || reserved || !record_is_sane(r))
		return LEDGER_E_BROKEN;
	return e;
}

void ledger_state_wipe(struct ledger_state *s)
{
	wipe(s, sizeof(*s));
}

static bool is_same_material(const struct ledger_record *a, const struct ledger_record *b)
{
	return a->kind == b->kind && a->role == b->role && a->slots_total == b->slots_total &&
	       memcmp(a->fingerprint, b->fingerprint, sizeof(a->fingerprint)) == 0 &&
	       memcmp(a->tunnel_id, b->tunnel_id, sizeof(a->tunnel_id)) == 0 &&
	       memcmp(a->table_sum, b->table_sum, sizeof(a->table_sum)) == 0 &&
	       bytes_equal(a->hello_key, b->hello_key, sizeof(a->hello_key));
}

/* What one record alone is enough for to refuse both. */
static int worst(const int found[static 2], const struct ledger_record rec[static 2], struct ledger_state *s)
{
	static const int refused[] = { LEDGER_E_NEWER, LEDGER_E_OTHER_KEY, LEDGER_E_SEALED };

	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		for (unsigned int at = 0; at < 2; at++)
			if (found[at] == refused[i]) {
				memset(s, 0, sizeof(*s));
				s->newest = rec[at];
				return refused[i];
			}
	return 0;
}

static bool is_newer(const struct ledger_record *a, const struct ledger_record *b)
{
	if (a->generation != b->generation)
		return a->generation > b->generation;
	return a->tx_reserved > b->tx_reserved;
}

int ledger_judge(struct ledger_state *s, const uint8_t *data, size_t len)
{
	struct ledger_record rec[2] = { 0 };
	int found[2], r;
	unsigned int at;

	for (unsigned int i = 0; i < 2; i++) {
		found[i] = len >= (i + 1) * LEDGER_BLOCK_LEN ?
				   ledger_decode(&rec[i], data + i * LEDGER_BLOCK_LEN) :
				   LEDGER_E_BROKEN;
	}
	r = worst(found, rec, s);
	if (r) {
		/* said already */
	} else if (found[0] && found[1]) {
		r = LEDGER_E_BROKEN;
	} else if (!found[0] && !found[1] && !is_same_material(&rec[0], &rec[1])) {
		r = LEDGER_E_MIXED;
	} else {
		at = found[0] || (!found[1] && is_newer(&rec[1], &rec[0]));
		memset(s, 0, sizeof(*s));
		s->newest = rec[at];
		s->newest_at = at;
		s->any_plain = (!found[0] && !rec[0].sealed) || (!found[1] && !rec[1].sealed);
		s->other_ok = !found[!at] && rec[!at].generation + 1 == rec[at].generation;
		if (s->other_ok)
			s->other = rec[!at];
	}
	wipe(rec, sizeof(rec));
	return r;
}

/* ---- the file ---- */

enum phase { IDLE, SUBMITTED, WRITTEN };

struct ledger {
	int fd;
	unsigned int newest_at;
	uint64_t generation;
	uint64_t writes;
	struct secret *block_secret, *records_secret;
	uint8_t *block; /* for encoding */
	/* What the thread writes, and what done is told, which may submit the next. */
	struct ledger_record *flying, *told;

	struct loop *loop;
	struct loop_io *io;
	ledger_done_fn done;
	void *done_arg;
	int wake_fd;

	bool has_thread;
	pthread_t thread;
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t changed;
	enum phase phase;
	int error;
	bool stop;
};

int ledger_create(const char *path, const struct ledger_record *first)
{
	_cleanup_(draft_done) struct draft d = DRAFT_NONE;
	_cleanup_(secret_freep) struct secret *s = NULL;
	struct ledger_record rec = *first;
	uint8_t *blocks;
	int r;

	r = secret_new(&s, LEDGER_LEN, &blocks);
	if (r)
		return r;
	for (unsigned int i = 0; i < 2; i++) {
		rec.generation = i + 1;
		ledger_encode(blocks + i * LEDGER_BLOCK_LEN, &rec);
	}
	wipe(&rec, sizeof(rec));

	r = draft_open(&d, path, 0600);
	if (!r)
		r = file_pwrite_all(d.fd, blocks, LEDGER_LEN, 0);
	if (!r && fsync(d.fd) < 0)
		r = -errno;
	if (!r)
		r = draft_publish(&d, path);
	if (!r) {
		r = file_sync_parent(path);
		if (r)
			unlink(path);
	}
	return r;
}

/* What is there, up to two blocks; a short file gives less. */
static int read_blocks(int fd, uint8_t *data, size_t *len)
{
	*len = 0;
	while (*len < LEDGER_LEN) {
		ssize_t n = pread(fd, data + *len, LEDGER_LEN - *len, (off_t)*len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		*len += (size_t)n;
	}
	return 0;
}

static int open_locked(const char *path)
{
	_cleanup_close_ int fd = -1;
	struct stat held, named;

	fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return -errno;
	if (fstat(fd, &held) < 0 || stat(path, &named) < 0)
		return -errno;
	if (!S_ISREG(held.st_mode))
		return -EINVAL;
	/* It was replaced between opening and locking: what we hold is not the ledger. */
	if (held.st_ino != named.st_ino || held.st_dev != named.st_dev)
		return -EWOULDBLOCK;
	/* A restored copy may have come back readable for others; secrets are in it. */
	if (held.st_mode & 077)
		(void)fchmod(fd, 0600);
	return steal_fd(&fd);
}

int ledger_open(struct ledger **out, const char *path, struct ledger_state *state)
{
	_cleanup_(ledger_closep) struct ledger *l = NULL;
	_cleanup_(secret_freep) struct secret *data = NULL;
	uint8_t *bytes, *records;
	pthread_condattr_t attr;
	size_t len;
	int r;

	l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	l->fd = l->wake_fd = -1;
	pthread_mutex_init(&l->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&l->changed, &attr);
	pthread_condattr_destroy(&attr);

	l->fd = open_locked(path);
	if (l->fd < 0)
		return l->fd;
	r = secret_new(&data, LEDGER_LEN, &bytes);
	if (!r)
		r = secret_new(&l->block_secret, LEDGER_BLOCK_LEN, &l->block);
	if (!r)
		r = secret_new(&l->records_secret, 2 * sizeof(struct ledger_record), &records);
	if (!r)
		r = read_blocks(l->fd, bytes, &len);
	if (r)
		return r;
	l->flying = (void *)records;
	l->told = l->flying + 1;

	r = ledger_judge(state, bytes, len);
	if (r)
		return r;
	l->newest_at = state->newest_at;
	l->generation = state->newest.generation;
	*out = steal(&l);
	return 0;
}

static int write_block(struct ledger *l, struct ledger_record *r)
{
	unsigned int at = !l->newest_at;
	struct stat st;
	int error;

	/* Deleted or replaced under us: what we write nobody would find again. */
	if (fstat(l->fd, &st) < 0)
		return -errno;
	if (st.st_nlink == 0)
		return -ESTALE;

	r->generation = l->generation + 1;
	ledger_encode(l->block, r);
	error = file_pwrite_all(l->fd, l->block, LEDGER_BLOCK_LEN, (off_t)at * LEDGER_BLOCK_LEN);
	wipe(l->block, LEDGER_BLOCK_LEN);
	if (!error && fdatasync(l->fd) < 0)
		error = -errno;
	if (error)
		return error;
	l->newest_at = at;
	l->generation++;
	__atomic_add_fetch(&l->writes, 1, __ATOMIC_RELAXED);
	return 0;
}

static void *run(void *arg)
{
	struct ledger *l = arg;

	pthread_mutex_lock(&l->lock);
	for (;;) {
		const uint64_t one = 1;

		while (l->phase != SUBMITTED && !l->stop)
			pthread_cond_wait(&l->changed, &l->lock);
		if (l->phase != SUBMITTED)
			break;
		pthread_mutex_unlock(&l->lock);

		l->error = write_block(l, l->flying);

		pthread_mutex_lock(&l->lock);
		l->phase = WRITTEN;
		pthread_cond_broadcast(&l->changed);
		/* An eventfd takes 2^64 - 2 of these before it would block. */
		(void)!write(l->wake_fd, &one, sizeof(one));
	}
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

/* In the loop's thread: tell the outcome, once. done may close the ledger: touch nothing after it. */
static bool deliver(struct ledger *l)
{
	bool is_written;
	int error = 0;

	pthread_mutex_lock(&l->lock);
	is_written = l->phase == WRITTEN;
	if (is_written) {
		*l->told = *l->flying;
		error = l->error;
		l->phase = IDLE;
	}
	pthread_mutex_unlock(&l->lock);
	if (is_written)
		l->done(error, l->told, l->done_arg);
	return is_written;
}

static void on_wake(int fd, unsigned int events, void *arg)
{
	uint64_t n;

	(void)events;
	(void)!read(fd, &n, sizeof(n));
	deliver(arg);
}

int ledger_start(struct ledger *l, struct loop *loop, ledger_done_fn done, void *arg)
{
	sigset_t all, before;
	int r;

	l->done = done;
	l->done_arg = arg;
	l->loop = loop;
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->wake_fd < 0)
		return -errno;
	r = loop_io_new(&l->io, loop, l->wake_fd, LOOP_READ, on_wake, l);
	if (r)
		return r;

	/* Signals are for the loop. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&l->thread, NULL, run, l);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	l->has_thread = r == 0;
	return -r;
}

void ledger_submit(struct ledger *l, const struct ledger_record *r)
{
	assert(l->has_thread);
	pthread_mutex_lock(&l->lock);
	assert(l->phase == IDLE);
	*l->flying = *r;
	l->phase = SUBMITTED;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
}

bool ledger_is_busy(const struct ledger *l)
{
	struct ledger *m = (struct ledger *)l;
	bool busy;

	pthread_mutex_lock(&m->lock);
	busy = m->phase != IDLE;
	pthread_mutex_unlock(&m->lock);
	return busy;
}

bool ledger_wait(struct ledger *l, unsigned int ms)
{
	struct timespec until;
	int r = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	pthread_mutex_lock(&l->lock);
	while (l->phase == SUBMITTED && r == 0)
		r = pthread_cond_timedwait(&l->changed, &l->lock, &until);
	pthread_mutex_unlock(&l->lock);
	return deliver(l);
}

static void wait_for_flying(struct ledger *l)
{
	pthread_mutex_lock(&l->lock);
	while (l->phase == SUBMITTED)
		pthread_cond_wait(&l->changed, &l->lock);
	pthread_mutex_unlock(&l->lock);
}

int ledger_write(struct ledger *l, const struct ledger_record *r)
{
	wait_for_flying(l);
	deliver(l);
	assert(!ledger_is_busy(l));
	*l->flying = *r;
	return write_block(l, l->flying);
}

uint64_t ledger_writes(const struct ledger *l)
{
	return __atomic_load_n(&l->writes, __ATOMIC_RELAXED);
}

struct ledger *ledger_close(struct ledger *l)
{
	if (!l)
		return NULL;
	if (l->has_thread) {
		pthread_mutex_lock(&l->lock);
		l->stop = true;
		pthread_cond_broadcast(&l->changed);
		pthread_mutex_unlock(&l->lock);
		pthread_join(l->thread, NULL);
	}
	loop_io_free(l->io);
	closep(&l->wake_fd);
	closep(&l->fd);
	pthread_cond_destroy(&l->changed);
	pthread_mutex_destroy(&l->lock);
	secret_free(l->block_secret);
	secret_free(l->records_secret);
	free(l);
	return NULL;
}

int ledger_material(int dir_fd, const char *name, struct stat *st, uint8_t fingerprint[static 32])
{
	_cleanup_(secret_freep) struct secret *data = NULL, *state_secret = NULL;
	_cleanup_close_ int fd = -1;
	struct ledger_state *state;
	uint8_t *bytes, *p;
	size_t len;
	int r;

	fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 || fstat(fd, st) < 0)
		return -errno;
	if (!S_ISREG(st->st_mode) || st->st_size != LEDGER_LEN)
		return LEDGER_E_BROKEN;
	r = secret_new(&data, LEDGER_LEN, &bytes);
	if (!r)
		r = secret_new(&state_secret, sizeof(*state), &p);
	if (!r)
		r = read_blocks(fd, bytes, &len);
	if (r)
		return r;
	state = (void *)p;
	r = ledger_judge(state, bytes, len);
	/* What is sealed is of the same material for that. */
	if (r && r != LEDGER_E_SEALED && r != LEDGER_E_OTHER_KEY)
		return r;
	memcpy(fingerprint, state->newest.fingerprint, 32);
	return 0;
}

static bool is_twin(int dir_fd, const char *name, const struct stat *own,
		    const uint8_t fingerprint[static 32])
{
	uint8_t found[32];
	struct stat st;

	return ledger_material(dir_fd, name, &st, found) == 0 &&
	       (!own || st.st_dev != own->st_dev || st.st_ino != own->st_ino) &&
	       memcmp(found, fingerprint, sizeof(found)) == 0;
}

int ledger_find_twin(const char *dir, const char *own, const uint8_t fingerprint[static 32],
		     char *name, size_t name_cap)
{
	struct stat st;
	bool has_own = own && stat(own, &st) == 0;
	struct dirent *e;
	int r = 0;
	DIR *d;

	d = opendir(dir);
	if (!d)
		return -errno;
	while (!r && (e = readdir(d))) {
		if (!is_twin(dirfd(d), e->d_name, has_own ? &st : NULL, fingerprint))
			continue;
		snprintf(name, name_cap, "%s", e->d_name);
		r = 1;
	}
	closedir(d);
	return r;
}

/* ---- before the first is used ---- */

static bool is_ledger_name(const char *name)
{
	size_t len = strlen(name);

	return len > 7 && strcmp(name + len - 7, ".ledger") == 0;
}

/* Who may not have it is told why; what is broken is told when its tunnel is opened. */
static int refuse(int found, const struct ledger_record *r, const char *path, char *why, size_t cap)
{
	switch (found) {
	case LEDGER_E_NEWER:
		snprintf(why, cap,
			 "%s was written by a newer handfast (version %u, this one knows up to %d): install that "
			 "version again, or move the state folder away and restore a backup; nothing was changed",
			 path, r->version, LEDGER_VERSION);
		return 1;
	case LEDGER_E_SEALED:
		snprintf(why, cap,
			 "%s is sealed under the credential handfast.state-key, which is missing: put it back "
			 "(handfast-security(7)); nothing was changed",
			 path);
		return 1;
	case LEDGER_E_OTHER_KEY:
		snprintf(why, cap,
			 "%s is sealed under another credential handfast.state-key than this one: put the right "
			 "one back (handfast-security(7)); nothing was changed",
			 path);
		return 1;
	default:
		return 0;
	}
}

int ledger_look(const char *path, struct ledger_state *s)
{
	_cleanup_(secret_freep) struct secret *data = NULL;
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	uint8_t *bytes;
	struct stat st;
	size_t len;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	r = secret_new(&data, LEDGER_LEN, &bytes);
	if (!r)
		r = read_blocks(fd, bytes, &len);
	return r ? r : ledger_judge(s, bytes, len);
}

/*
 * The newest record again, twice: then both are sealed. Nothing is reserved by it, and nobody uses the
 * ledger meanwhile. When the other record is lost, it may have been the newer one: that stays known, by a
 * gap in the generations.
 */
static int seal_file(const char *path, struct ledger_state *s)
{
	_cleanup_(ledger_closep) struct ledger *l = NULL;
	int r = ledger_open(&l, path, s);

	for (unsigned int i = 0; !r && i < 2; i++) {
		if (!s->other_ok)
			l->generation++;
		r = ledger_write(l, &s->newest);
	}
	return r;
}

static int each_ledger(const char *dir, struct ledger_state *s, size_t *sealed, char *why, size_t cap)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int r = 0;

	if (!d)
		return errno == ENOENT ? 0 : -errno;
	while (!r && (e = readdir(d))) {
		_cleanup_free_ char *path = is_ledger_name(e->d_name) ? path_join(dir, e->d_name) : NULL;
		int found;

		if (!path)
			continue;
		found = ledger_look(path, s);
		r = refuse(found, &s->newest, path, why, cap);
		if (r || !sealed || !state_key || found || !s->any_plain)
			continue;
		r = seal_file(path, s);
		*sealed += r == 0;
		/* Another process has it: that one seals it. */
		if (r == -EWOULDBLOCK || r > 0)
			r = 0;
	}
	closedir(d);
	return r;
}

int ledgers_prepare(const char *dir, size_t *sealed, char *why, size_t cap)
{
	_cleanup_(secret_freep) struct secret *mem = NULL;
	uint8_t *bytes;
	int r = secret_new(&mem, sizeof(struct ledger_state), &bytes);

	*sealed = 0;
	if (!r)
		r = each_ledger(dir, (void *)bytes, NULL, why, cap);
	return r ? r : each_ledger(dir, (void *)bytes, sealed, why, cap);
}

int ledger_burn_restored(const char *path, uint64_t to_slot)
{
	_cleanup_(ledger_closep) struct ledger *l = NULL;
	_cleanup_(secret_freep) struct secret *mem = NULL;
	struct ledger_state *s;
	struct ledger_record *n;
	uint64_t to, used;
	uint8_t *bytes;
	int r = secret_new(&mem, sizeof(*s), &bytes);

	if (r)
		return r;
	s = (void *)bytes;
	n = &s->newest;
	r = ledger_open(&l, path, s);
	if (r)
		return r;
	if (!n->restored || n->kind != LEDGER_FILE)
		return -EINVAL;
	used = n->tx_reserved > n->rx_mark ? n->tx_reserved : n->rx_mark;
	if (!s->other_ok)
		used += n->tx_limit > n->rx_limit ? n->tx_limit : n->rx_limit;
	if (to_slot >= n->slots_total || to_slot * SLOT_PACKETS < used)
		return -ERANGE;
	to = to_slot * SLOT_PACKETS;
	n->tx_next = n->tx_reserved = n->rx_mark = to;
	n->rx_high = to ? to - 1 : LEDGER_NONE;
	n->restored = false;
	/* Both records: neither says any longer that less may be used. */
	r = ledger_write(l, n);
	return r ? r : ledger_write(l, n);
}

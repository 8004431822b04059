/*
 * The ledger's file. A record is written over the older of the two, in place:
 * the blocks were allocated when the file was made, so a full disk does not
 * stop this on most filesystems, and a write that is torn by a power cut hits a
 * block that nobody relied on. fdatasync() comes before anyone hears that a
 * record counts.
 *
 * After a failed fdatasync() the kernel may call pages clean that never reached
 * the disk; therefore a retry writes the whole block again, and never just
 * syncs again.
 */
#include "pskd/keys/ledger_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/draft.h"
#include "base/file.h"
#include "crypto/secret.h"

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

int ledger_read_blocks(int fd, uint8_t *data, size_t *len)
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
	size_t len;
	int r;

	l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	l->fd = l->wake_fd = -1;
	ledger_thread_init(l);

	l->fd = open_locked(path);
	if (l->fd < 0)
		return l->fd;
	r = secret_new(&data, LEDGER_LEN, &bytes);
	if (!r)
		r = secret_new(&l->block_secret, LEDGER_BLOCK_LEN, &l->block);
	if (!r)
		r = secret_new(&l->records_secret, 2 * sizeof(struct ledger_record), &records);
	if (!r)
		r = ledger_read_blocks(l->fd, bytes, &len);
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

int ledger_write_block(struct ledger *l, struct ledger_record *r)
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

struct ledger *ledger_close(struct ledger *l)
{
	if (!l)
		return NULL;
	ledger_thread_done(l);
	closep(&l->fd);
	secret_free(l->block_secret);
	secret_free(l->records_secret);
	free(l);
	return NULL;
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
		r = ledger_read_blocks(fd, bytes, &len);
	return r ? r : ledger_judge(s, bytes, len);
}

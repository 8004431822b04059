/*
 * One page of a tmpfs. A kill between two stores leaves a file that says nothing: the magic comes last.
 *
 * Not every life has this file: another runtime folder, none left of what opening takes, a full tmpfs. What such
 * a life received is not in here, and next must not be believed after it. That is what serial is for. The order, in
 * every life of a prototype's key file:
 *
 *   1. with this file: next is set to where the life begins;
 *   2. with it: before each record of the ledger, serial is set to the record's generation;
 *   3. with or without it: two records are durable before the first packet is acted on.
 *
 * serial is thus at most one above the newest record that its life left: one that was under way when it was killed.
 * A later life that acted on anything left at least two more, so that the newest is above serial, for good.
 * serial is no lower than the newest record of its own life, wherever that was killed. When one record of a ledger
 * is lost, it may have been the newest: serial must be above the one that is left, and the first packet waits for
 * three.
 */
#include "pskd/keys/received.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

static const char magic[16] = "hf received v2\n";

struct page {
	char magic[16];
	uint8_t fingerprint[32];
	_Atomic uint64_t next;
	_Atomic uint64_t serial;
};

struct received {
	struct page *page;
	char *path;
};

/* 0, or why nothing in this file may be believed. */
static int check_place(int fd)
{
	struct statfs fs;
	struct stat st;

	if (fstatfs(fd, &fs) < 0 || fstat(fd, &st) < 0)
		return -errno;
	/* Elsewhere it would outlive a power cut, and be older than what was received. */
	if (fs.f_type != TMPFS_MAGIC)
		return -ENOTSUP;
	/* The folder is not ours alone. */
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077) || st.st_nlink != 1)
		return -EPERM;
	return 0;
}

/* NULL: errno tells why. */
static struct page *map(int fd)
{
	void *p;
	/* Not ftruncate(): of a full tmpfs the first store would be a SIGBUS. */
	errno = posix_fallocate(fd, 0, sizeof(struct page));
	if (errno)
		return NULL;
	p = mmap(NULL, sizeof(struct page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return p == MAP_FAILED ? NULL : p;
}

int received_open(struct received **out, const char *path, const uint8_t fingerprint[static 32], uint64_t *next,
		  uint64_t *serial)
{
	_cleanup_(received_closep) struct received *r = calloc(1, sizeof(*r));
	_cleanup_close_ int fd = -1;
	int e;

	*next = RECEIVED_UNKNOWN;
	*serial = 0;
	if (!r)
		return -ENOMEM;
	r->path = strdup(path);
	if (!r->path)
		return -ENOMEM;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK, 0600);
	if (fd < 0)
		return -errno;
	e = check_place(fd);
	if (!e)
		r->page = map(fd);
	if (!r->page) {
		e = e ? e : -errno;
		if (e == -ENOTSUP || e == -ENOSPC)
			unlink(path);
		return e;
	}

	if (memcmp(r->page->magic, magic, sizeof(magic)) == 0 &&
	    memcmp(r->page->fingerprint, fingerprint, sizeof(r->page->fingerprint)) == 0) {
		*next = atomic_load(&r->page->next);
		*serial = atomic_load(&r->page->serial);
	} else {
		memset(r->page->magic, 0, sizeof(r->page->magic));
		atomic_store(&r->page->next, RECEIVED_UNKNOWN);
		atomic_store(&r->page->serial, 0);
		memcpy(r->page->fingerprint, fingerprint, sizeof(r->page->fingerprint));
		atomic_thread_fence(memory_order_seq_cst);
		memcpy(r->page->magic, magic, sizeof(magic));
	}
	*out = steal(&r);
	return 0;
}

void received_set(struct received *r, uint64_t next)
{
	atomic_store_explicit(&r->page->next, next, memory_order_seq_cst);
}

void received_expect(struct received *r, uint64_t serial)
{
	atomic_store_explicit(&r->page->serial, serial, memory_order_seq_cst);
}

struct received *received_close(struct received *r)
{
	if (!r)
		return NULL;
	if (r->page)
		munmap(r->page, sizeof(*r->page));
	free(r->path);
	free(r);
	return NULL;
}

struct received *received_remove(struct received *r)
{
	if (r)
		unlink(r->path);
	return received_close(r);
}

/*
 * Buffers that may have held a secret are wiped before they are given back to
 * the heap; that is why nothing here uses realloc.
 */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"

struct buffer {
	char *p;
	size_t len, cap;
};

static void buffer_done(struct buffer *b)
{
	if (b->p)
		explicit_bzero(b->p, b->cap);
	free(b->p);
}

static int buffer_grow(struct buffer *b, size_t cap)
{
	char *p = malloc(cap);

	if (!p)
		return -ENOMEM;
	if (b->len)
		memcpy(p, b->p, b->len);
	buffer_done(b);
	b->p = p;
	b->cap = cap;
	return 0;
}

/* hint: the size that is expected; a wrong one costs a copy, no more. */
static int read_all(char **out, size_t *len, int fd, size_t max, size_t hint)
{
	_cleanup_(buffer_done) struct buffer b = { 0 };
	int r;

	if (max > SIZE_MAX / 4)
		max = SIZE_MAX / 4;
	if (hint > max)
		hint = max;
	for (;;) {
		ssize_t n;

		if (b.len + 1 >= b.cap) {
			/* One byte beyond max shows that there is more; one is for the NUL. */
			size_t cap = b.cap ? b.cap * 2 : hint + 2;

			r = buffer_grow(&b, cap < max + 2 ? cap : max + 2);
			if (r)
				return r;
		}
		n = read(fd, b.p + b.len, b.cap - 1 - b.len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		b.len += (size_t)n;
		if (b.len > max)
			return -EFBIG;
	}
	b.p[b.len] = '\0';
	*len = b.len;
	*out = steal(&b.p);
	return 0;
}

int file_read(char **out, size_t *len, const char *path, size_t max)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	/* O_NONBLOCK: a FIFO put in the file's place must not stop us. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (st.st_size > 0 && (uintmax_t)st.st_size > max)
		return -EFBIG;
	/* Files in /proc say 0 and have something to read. */
	return read_all(out, len, fd, max, st.st_size > 0 ? (size_t)st.st_size : 4096);
}

int file_read_fd(char **out, size_t *len, int fd, size_t max)
{
	return read_all(out, len, fd, max, 4096);
}

/* The folder of path as a new string: "." when it names none. */
static char *parent_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return strdup(".");
	while (slash > path && slash[-1] == '/')
		slash--;
	return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

int file_sync_parent(const char *path)
{
	_cleanup_free_ char *dir = parent_of(path);
	_cleanup_close_ int fd = -1;

	if (!dir)
		return -ENOMEM;
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return fsync(fd) < 0 ? -errno : 0;
}

static int write_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* A file that changes hands does so before it has contents. */
static int take_owner(int fd, const struct stat *like)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_uid == like->st_uid && st.st_gid == like->st_gid)
		return 0;
	return fchown(fd, like->st_uid, like->st_gid) < 0 ? -errno : 0;
}

/* like: whose owner and group it gets; NULL: ours. */
static int write_temporary(int fd, const void *data, size_t len, mode_t mode, const struct stat *like)
{
	int r = like ? take_owner(fd, like) : 0;

	if (r)
		return r;
	if (fchmod(fd, mode) < 0)
		return -errno;
	r = write_all(fd, data, len);
	if (r)
		return r;
	return fsync(fd) < 0 ? -errno : 0;
}

static int replace(const char *path, const void *data, size_t len, mode_t mode, const struct stat *like)
{
	_cleanup_free_ char *dir = parent_of(path), *tmp = NULL;
	const char *slash = strrchr(path, '/');
	int fd, r;

	if (!dir)
		return -ENOMEM;
	if (asprintf(&tmp, "%s/.%s.XXXXXX", dir, slash ? slash + 1 : path) < 0) {
		tmp = NULL;
		return -ENOMEM;
	}
	fd = mkostemp(tmp, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = write_temporary(fd, data, len, mode, like);
	/* Network and FUSE file systems may tell of a full disk only here. */
	if (close(fd) < 0 && !r)
		r = -errno;
	if (!r && rename(tmp, path) < 0)
		r = -errno;
	if (r) {
		unlink(tmp);
		return r;
	}
	/* An error now means that the new content is there, but may not survive a power cut. */
	return file_sync_parent(path);
}

int file_write_atomic(const char *path, const void *data, size_t len, mode_t mode)
{
	return replace(path, data, len, mode, NULL);
}

int file_rewrite_atomic(const char *path, const void *data, size_t len, mode_t mode)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return errno == ENOENT ? replace(path, data, len, mode, NULL) : -errno;
	return replace(path, data, len, st.st_mode & 0777, &st);
}

int file_mkdirs(const char *path, mode_t mode)
{
	_cleanup_free_ char *copy = strdup(path);
	struct stat st;

	if (!copy)
		return -ENOMEM;
	if (!*copy)
		return -ENOENT;
	for (size_t n = strlen(copy); n > 1 && copy[n - 1] == '/'; n--)
		copy[n - 1] = '\0';
	/* Parents are shared with others: only the last folder gets the wanted mode. */
	for (char *p = copy + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(copy, 0755) < 0 && errno != EEXIST) {
			int error = errno;

			/* A folder on a read-only file system is there all the same. */
			if (stat(copy, &st) < 0)
				return -error;
		}
		*p = '/';
	}
	if (mkdir(copy, mode) == 0)
		return 0;
	if (errno != EEXIST)
		return -errno;
	if (stat(copy, &st) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int file_pread_all(int fd, void *buf, size_t len, off_t offset)
{
	char *p = buf;

	while (len) {
		ssize_t n = pread(fd, p, len, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENODATA;
		p += n;
		offset += n;
		len -= (size_t)n;
	}
	return 0;
}

int file_pwrite_all(int fd, const void *buf, size_t len, off_t offset)
{
	const char *p = buf;

	while (len) {
		ssize_t n = pwrite(fd, p, len, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		offset += n;
		len -= (size_t)n;
	}
	return 0;
}

char *path_join(const char *dir, const char *name)
{
	size_t n = strlen(dir);
	char *out;

	if (asprintf(&out, "%s%s%s", dir, n && dir[n - 1] == '/' ? "" : "/", name) < 0)
		return NULL;
	return out;
}

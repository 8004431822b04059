/*
 * A disk that keeps only what was synced, for programs that were not built for it: LD_PRELOAD this.
 *
 *   POWERCUT_PATH=text	files whose path holds it
 *   POWERCUT_CONTROL=file	four 64-bit integers, mapped:
 *	0 at	die before this change is made, counted from 1; 0: live on, nothing fails
 *	1 count	changes and syncs so far; whoever sets at sets it to 0
 *	2 how	0: killed, the kernel still writes what it has; 1: the power is cut; else live on, but
 *		from here this errno is what every change fails with; of a full disk (28) not syncs,
 *		removals and what makes files shorter
 *	3 seed	of a power cut: 0: nothing that was not synced is there; else each of it may be
 *   POWERCUT_LOG=file	a line for each change and sync
 *
 * SIGUSR2 cuts the power at once. Names are durable when their folder is synced, contents when
 * their file is.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PUBLIC __attribute__((visibility("default")))

enum kind { CONTENT, SIZE, MADE, RENAMED, REMOVED };

/* One change that is not synced: enough to undo it, and to do it again. */
struct change {
	struct change *older, *newer;
	enum kind kind;
	dev_t dev; /* of the file; of the folder where a name changed */
	ino_t ino;
	char path[PATH_MAX], to[PATH_MAX];
	off_t at, old_size, new_size;
	size_t old_len, new_len;
	unsigned char *old, *new; /* of a name: what was there before, NULL: nothing */
};

struct control {
	volatile int64_t at, count, how, seed;
};

static struct change *newest;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct control none, *control = &none;
static const char *path_part;
static int log_fd = -1;

static int (*real_open)(const char *, int, ...), (*real_openat)(int, const char *, int, ...);
static ssize_t (*real_write)(int, const void *, size_t), (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_fsync)(int), (*real_fdatasync)(int), (*real_ftruncate)(int, off_t);
static int (*real_rename)(const char *, const char *), (*real_unlink)(const char *);
static int (*real_linkat)(int, const char *, int, const char *, int);
static int (*real_renameat2)(int, const char *, int, const char *, unsigned int);
static int (*real_renameat)(int, const char *, int, const char *), (*real_unlinkat)(int, const char *, int);

/* ---- the end ---- */

static int open_again(const struct change *c)
{
	const char *paths[] = { c->path, c->to };

	for (size_t i = 0; i < 2; i++) {
		int fd = *paths[i] ? real_open(paths[i], O_WRONLY | O_CLOEXEC) : -1;
		struct stat st;

		if (fd >= 0 && fstat(fd, &st) == 0 && st.st_ino == c->ino)
			return fd;
		if (fd >= 0)
			close(fd);
	}
	return -1;
}

static void put_back(const char *path, const unsigned char *data, size_t len)
{
	int fd = real_open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd >= 0 && real_write(fd, data, len) < 0)
		_exit(99);
	close(fd);
}

static void undo(const struct change *c)
{
	int fd;

	switch (c->kind) {
	case MADE:
		real_unlink(c->path);
		return;
	case RENAMED:
		real_rename(c->to, c->path);
		if (c->old)
			put_back(c->to, c->old, c->old_len);
		return;
	case REMOVED:
		put_back(c->path, c->old, c->old_len);
		return;
	default:
		fd = open_again(c);
		if (fd < 0)
			return;
		if (c->old_len > 0 && real_pwrite(fd, c->old, c->old_len, c->at) < 0)
			_exit(99);
		if (real_ftruncate(fd, c->old_size) < 0)
			_exit(99);
		close(fd);
	}
}

static void redo(const struct change *c)
{
	int fd = c->kind == CONTENT || c->kind == SIZE ? open_again(c) : -1;

	if (fd < 0)
		return;
	if (c->kind == SIZE ? real_ftruncate(fd, c->new_size) < 0 : real_pwrite(fd, c->new, c->new_len, c->at) < 0)
		_exit(99);
	close(fd);
}

/* Undo all, then do again what the disk happened to have written, oldest first. */
static void cut(void)
{
	uint64_t x = (uint64_t)control->seed * UINT64_C(0x9E3779B97F4A7C15);
	struct change *oldest = NULL;

	for (struct change *c = newest; c; c = c->older) {
		undo(c);
		oldest = c;
	}
	for (struct change *c = oldest; c && control->seed; c = c->newer) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		if (x & 1)
			redo(c);
	}
	raise(SIGKILL);
}

static void on_signal(int signo)
{
	(void)signo;
	cut();
}

/* ---- what is done to files ---- */

static void say(const char *what, const char *path)
{
	char line[PATH_MAX + 64];
	int n = snprintf(line, sizeof(line), "%lld %s %s\n", (long long)control->count, what, path);

	if (log_fd >= 0 && real_write(log_fd, line, (size_t)n) < 0)
		log_fd = -1;
}

static bool path_of(int fd, char path[static PATH_MAX])
{
	char link[64];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, PATH_MAX - 1);
	if (n <= 0)
		return false;
	path[n] = '\0';
	return path_part && strstr(path, path_part);
}

static bool full_path(int dir, const char *path, char out[static PATH_MAX])
{
	char base[PATH_MAX] = "";

	if (*path == '/')
		snprintf(out, PATH_MAX, "%s", path);
	else if (dir == AT_FDCWD ? !getcwd(base, sizeof(base)) : !path_of(dir, base))
		return false;
	else if (snprintf(out, PATH_MAX, "%s/%s", base, path) >= PATH_MAX)
		return false;
	return path_part && strstr(out, path_part);
}

/* Before each change and sync: its number may be the last. 0, or what it fails with. */
static int tick(const char *what, const char *path, bool needs_space)
{
	control->count++;
	say(what, path);
	if (control->at == 0 || control->count < control->at)
		return 0;
	if (control->how > 1)
		return control->how != ENOSPC || needs_space ? (int)control->how : 0;
	if (control->count != control->at)
		return 0;
	if (control->how)
		cut();
	raise(SIGKILL);
	return 0;
}

static struct change *note(enum kind kind, const char *path)
{
	struct change *c = calloc(1, sizeof(*c));

	if (!c)
		abort();
	c->kind = kind;
	snprintf(c->path, sizeof(c->path), "%s", path);
	return c;
}

static void keep(struct change *c)
{
	c->older = newest;
	if (newest)
		newest->newer = c;
	newest = c;
}

static void forget(dev_t dev, ino_t ino, bool names)
{
	struct change *older;

	for (struct change *c = newest; c; c = older) {
		older = c->older;
		if (c->dev != dev || c->ino != ino || (c->kind == CONTENT || c->kind == SIZE) == names)
			continue;
		if (c->newer)
			c->newer->older = c->older;
		else
			newest = c->older;
		if (c->older)
			c->older->newer = c->newer;
		free(c->old);
		free(c->new);
		free(c);
	}
}

static void read_whole(const char *path, unsigned char **data, size_t *len)
{
	int fd = real_open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;

	if (fd < 0)
		return;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
		*data = calloc(1, (size_t)st.st_size + 1);
		*len = *data ? (size_t)pread(fd, *data, (size_t)st.st_size, 0) : 0;
	}
	close(fd);
}

static void in_folder(struct change *c, const char *path)
{
	char copy[PATH_MAX];
	struct stat st;

	snprintf(copy, sizeof(copy), "%s", path);
	if (stat(dirname(copy), &st) == 0) {
		c->dev = st.st_dev;
		c->ino = st.st_ino;
	}
}

/* len bytes at `at` will be other ones, and the size with them. */
static void keep_content(int fd, const char *path, enum kind kind, off_t at, const void *new, size_t len, off_t size)
{
	struct change *c = note(kind, path);
	char link[64];
	struct stat st;
	int in;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		free(c);
		return;
	}
	c->dev = st.st_dev;
	c->ino = st.st_ino;
	c->at = at;
	c->old_size = st.st_size;
	c->new_size = size;
	if (at < st.st_size)
		c->old_len = len < (size_t)(st.st_size - at) ? len : (size_t)(st.st_size - at);
	c->old = malloc(c->old_len + 1);
	c->new = malloc(len + 1);
	c->new_len = len;
	/* The program's own descriptor may be for writing only. A lock of its is lost with any other that is closed. */
	if (pread(fd, c->old, c->old_len, at) != (ssize_t)c->old_len) {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		in = real_open(link, O_RDONLY | O_CLOEXEC);
		if (in < 0 || pread(in, c->old, c->old_len, at) != (ssize_t)c->old_len)
			abort();
		close(in);
	}
	if (new)
		memcpy(c->new, new, len);
	else
		memset(c->new, 0, len);
	keep(c);
}

/* ---- under libc's names ---- */

/*
 * Runs what is given with the lock held, which leaves in `error` what the call is to fail with, if
 * anything.
 */
#define LOCKED(...)                          \
	do {                                 \
		int saved = errno, error = 0; \
		pthread_mutex_lock(&lock);   \
		__VA_ARGS__;                 \
		pthread_mutex_unlock(&lock); \
		errno = error ? error : saved; \
		if (error)                   \
			return -1;           \
	} while (0)

PUBLIC ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
	char path[PATH_MAX];

	if (path_of(fd, path))
		LOCKED(error = tick("write", path, true); if (!error) keep_content(fd, path, CONTENT, at, data, len, 0));
	return real_pwrite(fd, data, len, at);
}

PUBLIC ssize_t pwrite64(int fd, const void *data, size_t len, off_t at)
{
	return pwrite(fd, data, len, at);
}

PUBLIC ssize_t write(int fd, const void *data, size_t len)
{
	char path[PATH_MAX];
	off_t at;

	if (path_of(fd, path)) {
		at = lseek(fd, 0, fcntl(fd, F_GETFL) & O_APPEND ? SEEK_END : SEEK_CUR);
		if (at >= 0)
			LOCKED(error = tick("write", path, true);
			       if (!error) keep_content(fd, path, CONTENT, at, data, len, 0));
	}
	return real_write(fd, data, len);
}

PUBLIC int ftruncate(int fd, off_t size)
{
	char path[PATH_MAX];
	struct stat st;

	if (path_of(fd, path) && fstat(fd, &st) == 0)
		LOCKED(error = tick("truncate", path, size > st.st_size);
		       if (!error) keep_content(fd, path, SIZE, size, NULL,
						st.st_size > size ? (size_t)(st.st_size - size) : 0, size));
	return real_ftruncate(fd, size);
}

PUBLIC int ftruncate64(int fd, off_t size)
{
	return ftruncate(fd, size);
}

static int sync_with(int fd, int (*real)(int))
{
	char path[PATH_MAX];
	struct stat st;
	int r;

	if (path_of(fd, path))
		LOCKED(error = tick("sync", path, false));
	r = real(fd);
	if (r == 0 && fstat(fd, &st) == 0)
		LOCKED(forget(st.st_dev, st.st_ino, S_ISDIR(st.st_mode)); (void)error);
	return r;
}

PUBLIC int fsync(int fd)
{
	return sync_with(fd, real_fsync);
}

PUBLIC int fdatasync(int fd)
{
	return sync_with(fd, real_fdatasync);
}

static int keep_made(const char *what, const char *full)
{
	struct change *c;
	struct stat st;
	int error;

	if (lstat(full, &st) == 0)
		return 0;
	error = tick(what, full, true);
	if (error)
		return error;
	c = note(MADE, full);
	in_folder(c, full);
	keep(c);
	return 0;
}

PUBLIC int openat(int dir, const char *path, int flags, ...)
{
	char full[PATH_MAX];
	mode_t mode = 0;
	va_list ap;

	va_start(ap, flags);
	if (flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY)))
		mode = va_arg(ap, mode_t);
	va_end(ap);
	if (flags & O_CREAT && full_path(dir, path, full))
		LOCKED(error = keep_made("make", full));
	return real_openat(dir, path, flags, mode);
}

#define OPEN_LIKE(name)                                             \
	PUBLIC int name(const char *path, int flags, ...)           \
	{                                                           \
		mode_t mode = 0;                                    \
		va_list ap;                                         \
                                                                    \
		va_start(ap, flags);                                \
		if (flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY))) \
			mode = va_arg(ap, mode_t);                  \
		va_end(ap);                                         \
		return openat(AT_FDCWD, path, flags, mode);         \
	}
OPEN_LIKE(open)
OPEN_LIKE(open64)

PUBLIC int openat64(int dir, const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list ap;

	va_start(ap, flags);
	if (flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY)))
		mode = va_arg(ap, mode_t);
	va_end(ap);
	return openat(dir, path, flags, mode);
}

/* A file without a name gets one. */
PUBLIC int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
	char full[PATH_MAX];
	struct stat st;

	if (full_path(to_dir, to, full))
		LOCKED(error = keep_made("link", full);
		       for (struct change *e = newest; e && fstatat(from_dir, from, &st, 0) == 0; e = e->older)
			       if (e->ino == st.st_ino && (e->kind == CONTENT || e->kind == SIZE))
				       snprintf(e->to, sizeof(e->to), "%s", full));
	return real_linkat(from_dir, from, to_dir, to, flags);
}

static int keep_renamed(const char *from, const char *to)
{
	int error = tick("rename", to, true);
	struct change *c;

	if (error)
		return error;
	c = note(RENAMED, from);
	snprintf(c->to, sizeof(c->to), "%s", to);
	read_whole(to, &c->old, &c->old_len);
	in_folder(c, to);
	for (struct change *e = newest; e; e = e->older)
		if ((e->kind == CONTENT || e->kind == SIZE) && strcmp(e->path, from) == 0)
			snprintf(e->to, sizeof(e->to), "%s", to);
	keep(c);
	return 0;
}

PUBLIC int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	char a[PATH_MAX], b[PATH_MAX];

	if (full_path(from_dir, from, a) && full_path(to_dir, to, b))
		LOCKED(error = keep_renamed(a, b));
	return real_renameat(from_dir, from, to_dir, to);
}

PUBLIC int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned int flags)
{
	char a[PATH_MAX], b[PATH_MAX];

	if (!(flags & RENAME_EXCHANGE) && full_path(from_dir, from, a) && full_path(to_dir, to, b))
		LOCKED(error = keep_renamed(a, b));
	return real_renameat2(from_dir, from, to_dir, to, flags);
}

PUBLIC int rename(const char *from, const char *to)
{
	return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

static int keep_removed(const char *full)
{
	struct change *c;
	struct stat st;
	int error;

	if (lstat(full, &st) < 0)
		return 0;
	error = tick("unlink", full, false);
	if (error)
		return error;
	c = note(REMOVED, full);
	read_whole(full, &c->old, &c->old_len);
	in_folder(c, full);
	if (c->old)
		keep(c);
	else
		free(c);
	return 0;
}

PUBLIC int unlinkat(int dir, const char *path, int flags)
{
	char full[PATH_MAX];

	if (!(flags & AT_REMOVEDIR) && full_path(dir, path, full))
		LOCKED(error = keep_removed(full));
	return real_unlinkat(dir, path, flags);
}

PUBLIC int unlink(const char *path)
{
	return unlinkat(AT_FDCWD, path, 0);
}

__attribute__((constructor)) static void begin(void)
{
	const char *file = getenv("POWERCUT_CONTROL"), *log = getenv("POWERCUT_LOG");
	const struct sigaction sa = { .sa_handler = on_signal };
	void *map;
	int fd;

	*(void **)&real_open = dlsym(RTLD_NEXT, "open");
	*(void **)&real_openat = dlsym(RTLD_NEXT, "openat");
	*(void **)&real_write = dlsym(RTLD_NEXT, "write");
	*(void **)&real_pwrite = dlsym(RTLD_NEXT, "pwrite");
	*(void **)&real_fsync = dlsym(RTLD_NEXT, "fsync");
	*(void **)&real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
	*(void **)&real_ftruncate = dlsym(RTLD_NEXT, "ftruncate");
	*(void **)&real_linkat = dlsym(RTLD_NEXT, "linkat");
	*(void **)&real_renameat2 = dlsym(RTLD_NEXT, "renameat2");
	*(void **)&real_rename = dlsym(RTLD_NEXT, "rename");
	*(void **)&real_renameat = dlsym(RTLD_NEXT, "renameat");
	*(void **)&real_unlink = dlsym(RTLD_NEXT, "unlink");
	*(void **)&real_unlinkat = dlsym(RTLD_NEXT, "unlinkat");
	path_part = getenv("POWERCUT_PATH");
	fd = file ? real_open(file, O_RDWR | O_CLOEXEC) : -1;
	if (fd >= 0) {
		map = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (map != MAP_FAILED)
			control = map;
		close(fd);
	}
	if (log)
		log_fd = real_open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (control != &none)
		sigaction(SIGUSR2, &sa, NULL);
}

/*
 * A world that fails on purpose, for programs that were not built for it: LD_PRELOAD this.
 *
 *   FAULTS=call:when:what[,…]
 *	call	open write pwrite fsync fdatasync rename unlink truncate allocate malloc mmap
 *	when	3 (the third), 3+ (and all after it), * (all), 1/50 (one in fifty, by FAULT_SEED)
 *	what	an errno's name (EIO, ENOSPC, EROFS, ENOMEM, EMFILE, EDQUOT, EINTR)
 *		kill (SIGKILL before the call), killafter (after it),
 *		torn=K (write: the first K bytes, then SIGKILL), short=K (the first K bytes)
 *		noop (say that it was done)
 *   FAULT_PATH=text	only files whose path holds it (not for malloc and mmap)
 *   FAULT_CONTROL=file	64-bit integers, mapped: calls count and fail only while the first is not 0; the
 *			second is added to the wall clock, in seconds, at once; the third, where there is
 *			one, is for how long the machine has slept: CLOCK_BOOTTIME is later by it;
 *			the fourth is added to that and to CLOCK_MONOTONIC
 *   FAULT_LOG=file	a line for each fault that was made
 *
 * What is written with io_uring, or by a system call that is not libc's function, is not seen.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define RULES_MAX 16
#define PUBLIC __attribute__((visibility("default")))

enum call { OPEN, WRITE, PWRITE, FSYNC, FDATASYNC, RENAME, UNLINK, TRUNCATE, ALLOCATE, MALLOC, MMAP, CALLS };
enum what { PASS, FAIL, KILL, KILL_AFTER, TORN, SHORT, NOOP };

static const char *const names[CALLS] = { "open",   "write",	"pwrite",   "fsync",  "fdatasync", "rename",
					  "unlink", "truncate", "allocate", "malloc", "mmap" };
static const struct {
	const char *name;
	int number;
} errors[] = { { "EIO", EIO },	     { "ENOSPC", ENOSPC }, { "EROFS", EROFS }, { "ENOMEM", ENOMEM },
	       { "EMFILE", EMFILE }, { "EDQUOT", EDQUOT }, { "EINTR", EINTR } };

struct rule {
	enum call call;
	uint64_t nth, one_in; /* nth 0: all, or one in so many */
	bool onward;
	enum what what;
	long value;
	uint64_t count;
};

static struct rule rules[RULES_MAX];
static size_t n_rules;
static bool any[CALLS];
static const char *path_part;
static int log_fd = -1;
static volatile int64_t *control;
static uint64_t seed;

/* The library's own, under the names that this file takes. */
static int (*real_openat)(int, const char *, int, ...);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off64_t);
static int (*real_fsync)(int), (*real_fdatasync)(int);
static int (*real_renameat2)(int, const char *, int, const char *, unsigned int);
static int (*real_unlinkat)(int, const char *, int);
static int (*real_ftruncate)(int, off64_t);
static int (*real_fallocate)(int, int, off64_t, off64_t);
static void *(*real_mmap)(void *, size_t, int, int, int, off64_t);
static int (*real_clock_gettime)(clockid_t, struct timespec *);

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static _Noreturn void refuse(const char *text)
{
	fprintf(stderr, "fault-inject: not understood: %s\n", text);
	_exit(97);
}

static bool parse_when(struct rule *r, const char *when)
{
	char *end;

	if (strcmp(when, "*") == 0)
		return true;
	if (strncmp(when, "1/", 2) == 0) {
		r->one_in = strtoull(when + 2, &end, 10);
		return r->one_in > 0 && !*end;
	}
	r->nth = strtoull(when, &end, 10);
	r->onward = *end == '+';
	return r->nth > 0 && !end[r->onward];
}

static bool parse_what(struct rule *r, const char *what)
{
	static const struct {
		const char *name;
		enum what what;
	} plain[] = { { "kill", KILL }, { "killafter", KILL_AFTER }, { "noop", NOOP } };

	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		if (strcmp(what, plain[i].name) == 0) {
			r->what = plain[i].what;
			return true;
		}
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (strcmp(what, errors[i].name) == 0) {
			r->what = FAIL;
			r->value = errors[i].number;
			return true;
		}
	if (strncmp(what, "torn=", 5) == 0)
		r->what = TORN;
	else if (strncmp(what, "short=", 6) == 0)
		r->what = SHORT;
	else
		return false;
	r->value = atol(strchr(what, '=') + 1);
	return r->value >= 0;
}

static void parse(char *text)
{
	char *at = NULL;

	for (char *one = strtok_r(text, ",", &at); one; one = strtok_r(NULL, ",", &at)) {
		struct rule *r = &rules[n_rules];
		char *when = strchr(one, ':'), *what = when ? strchr(when + 1, ':') : NULL;
		int c;

		if (!what || n_rules == RULES_MAX)
			refuse(one);
		*when++ = *what++ = '\0';
		for (c = 0; c < CALLS && strcmp(one, names[c]) != 0; c++)
			;
		if (c == CALLS || !parse_when(r, when) || !parse_what(r, what))
			refuse(one);
		r->call = (enum call)c;
		any[c] = true;
		n_rules++;
	}
}

__attribute__((constructor)) static void start(void)
{
	const char *text = getenv("FAULTS"), *number = getenv("FAULT_SEED"), *path;
	static char copy[1024];

	real_openat = (int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, "openat64");
	real_write = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
	real_pwrite = (ssize_t(*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
	real_fsync = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
	real_fdatasync = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
	real_renameat2 = (int (*)(int, const char *, int, const char *, unsigned int))dlsym(RTLD_NEXT, "renameat2");
	real_unlinkat = (int (*)(int, const char *, int))dlsym(RTLD_NEXT, "unlinkat");
	real_ftruncate = (int (*)(int, off64_t))dlsym(RTLD_NEXT, "ftruncate64");
	real_fallocate = (int (*)(int, int, off64_t, off64_t))dlsym(RTLD_NEXT, "fallocate64");
	real_mmap = (void *(*)(void *, size_t, int, int, int, off64_t))dlsym(RTLD_NEXT, "mmap64");
	real_clock_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");

	path_part = getenv("FAULT_PATH");
	seed = number ? strtoull(number, NULL, 10) : 1;
	path = getenv("FAULT_LOG");
	if (path)
		log_fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	path = getenv("FAULT_CONTROL");
	if (path) {
		int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
		void *page = MAP_FAILED;

		if (fd >= 0)
			page = (void *)syscall(SYS_mmap, NULL, 24, PROT_READ, MAP_SHARED, fd, 0);
		if (page == MAP_FAILED)
			refuse(path);
		control = page;
		syscall(SYS_close, fd);
	}
	if (text) {
		snprintf(copy, sizeof(copy), "%s", text);
		parse(copy);
	}
}

/* ---- which call fails ---- */

static void note(const struct rule *r, const char *path)
{
	char line[512];
	int n;

	if (log_fd < 0)
		return;
	/* No allocation here: this may be malloc. */
	n = snprintf(line, sizeof(line), "%s %llu %d %s\n", names[r->call], (unsigned long long)r->count, (int)r->what,
		     path);
	if (n > 0)
		(void)!syscall(SYS_write, log_fd, line, (size_t)n);
}

static uint64_t next_random(void)
{
	uint64_t z = __atomic_add_fetch(&seed, UINT64_C(0x9e3779b97f4a7c15), __ATOMIC_RELAXED);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static bool is_due(struct rule *r)
{
	uint64_t count = __atomic_add_fetch(&r->count, 1, __ATOMIC_RELAXED);

	if (r->one_in)
		return next_random() % r->one_in == 0;
	return r->nth == 0 || count == r->nth || (r->onward && count > r->nth);
}

static _Noreturn void die(void)
{
	for (;;)
		syscall(SYS_kill, getpid(), SIGKILL);
}

/* What becomes of this call; *r when a rule made it so. fd < 0: by path alone; path NULL: no file. */
static enum what judge(enum call call, int fd, const char *path, const struct rule **which)
{
	char link[64], target[512] = "";

	if (!any[call] || (control && !control[0]))
		return PASS;
	if (fd >= 0 && !path) {
		ssize_t n;

		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		n = syscall(SYS_readlinkat, AT_FDCWD, link, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = '\0';
		path = target;
	}
	if (path && path_part && !strstr(path, path_part))
		return PASS;
	for (size_t i = 0; i < n_rules; i++) {
		struct rule *r = &rules[i];

		if (r->call != call || !is_due(r))
			continue;
		note(r, path ? path : "");
		if (r->what == KILL)
			die();
		if (r->what == FAIL)
			errno = (int)r->value;
		*which = r;
		return r->what;
	}
	return PASS;
}

/* The end of a call that was let through. */
static long done(enum what what, long result)
{
	if (what == KILL_AFTER)
		die();
	return result;
}

/* ---- files ---- */

static int open_any(int dir, const char *path, int flags, mode_t mode)
{
	const struct rule *r;
	enum what w = judge(OPEN, -1, path, &r);

	return w == FAIL ? -1 : (int)done(w, real_openat(dir, path, flags, mode));
}

#define OPEN_MODE(flags, mode)                                 \
	do {                                                   \
		va_list ap_;                                   \
		va_start(ap_, flags);                          \
		if ((flags) & (O_CREAT | __O_TMPFILE))         \
			(mode) = va_arg(ap_, mode_t);          \
		va_end(ap_);                                   \
	} while (0)

PUBLIC int open(const char *path, int flags, ...)
{
	mode_t mode = 0;

	OPEN_MODE(flags, mode);
	return open_any(AT_FDCWD, path, flags, mode);
}

PUBLIC int open64(const char *path, int flags, ...)
{
	mode_t mode = 0;

	OPEN_MODE(flags, mode);
	return open_any(AT_FDCWD, path, flags, mode);
}

PUBLIC int openat(int dir, const char *path, int flags, ...)
{
	mode_t mode = 0;

	OPEN_MODE(flags, mode);
	return open_any(dir, path, flags, mode);
}

PUBLIC int openat64(int dir, const char *path, int flags, ...)
{
	mode_t mode = 0;

	OPEN_MODE(flags, mode);
	return open_any(dir, path, flags, mode);
}

/* What open() of flags that are no constant is where libc checks its callers. */
PUBLIC int open_checked(const char *path, int flags) __asm__("__open_2");
PUBLIC int open64_checked(const char *path, int flags) __asm__("__open64_2");

PUBLIC int open_checked(const char *path, int flags)
{
	return open_any(AT_FDCWD, path, flags, 0);
}

PUBLIC int open64_checked(const char *path, int flags)
{
	return open_any(AT_FDCWD, path, flags, 0);
}

static size_t part_of(size_t len, const struct rule *r)
{
	return len < (size_t)r->value ? len : (size_t)r->value;
}

PUBLIC ssize_t write(int fd, const void *data, size_t len)
{
	const struct rule *r;
	enum what w = judge(WRITE, fd, NULL, &r);

	if (w == FAIL)
		return -1;
	if (w == NOOP)
		return (ssize_t)len;
	if (w == SHORT || w == TORN)
		len = part_of(len, r);
	if (w == TORN) {
		(void)!real_write(fd, data, len);
		die();
	}
	return done(w, real_write(fd, data, len));
}

static ssize_t pwrite_any(int fd, const void *data, size_t len, off64_t at)
{
	const struct rule *r;
	enum what w = judge(PWRITE, fd, NULL, &r);

	if (w == FAIL)
		return -1;
	if (w == NOOP)
		return (ssize_t)len;
	if (w == SHORT || w == TORN)
		len = part_of(len, r);
	if (w == TORN) {
		(void)!real_pwrite(fd, data, len, at);
		die();
	}
	return done(w, real_pwrite(fd, data, len, at));
}

PUBLIC ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
	return pwrite_any(fd, data, len, at);
}

PUBLIC ssize_t pwrite64(int fd, const void *data, size_t len, off64_t at)
{
	return pwrite_any(fd, data, len, at);
}

/* A call that succeeds with 0 and has nothing to be torn. */
#define SIMPLE(call_, fd, path, real)                                     \
	do {                                                              \
		const struct rule *r_;                                    \
		enum what w_ = judge(call_, fd, path, &r_);               \
		if (w_ == FAIL)                                           \
			return -1;                                        \
		return w_ == NOOP ? 0 : (int)done(w_, real);              \
	} while (0)

PUBLIC int fsync(int fd)
{
	SIMPLE(FSYNC, fd, NULL, real_fsync(fd));
}

PUBLIC int fdatasync(int fd)
{
	SIMPLE(FDATASYNC, fd, NULL, real_fdatasync(fd));
}

PUBLIC int rename(const char *from, const char *to)
{
	SIMPLE(RENAME, -1, to, real_renameat2(AT_FDCWD, from, AT_FDCWD, to, 0));
}

PUBLIC int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	SIMPLE(RENAME, -1, to, real_renameat2(from_dir, from, to_dir, to, 0));
}

PUBLIC int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned int flags)
{
	SIMPLE(RENAME, -1, to, real_renameat2(from_dir, from, to_dir, to, flags));
}

PUBLIC int unlink(const char *path)
{
	SIMPLE(UNLINK, -1, path, real_unlinkat(AT_FDCWD, path, 0));
}

PUBLIC int unlinkat(int dir, const char *path, int flags)
{
	SIMPLE(UNLINK, -1, path, real_unlinkat(dir, path, flags));
}

PUBLIC int ftruncate(int fd, off_t len)
{
	SIMPLE(TRUNCATE, fd, NULL, real_ftruncate(fd, len));
}

PUBLIC int ftruncate64(int fd, off64_t len)
{
	SIMPLE(TRUNCATE, fd, NULL, real_ftruncate(fd, len));
}

PUBLIC int fallocate(int fd, int mode, off_t at, off_t len)
{
	SIMPLE(ALLOCATE, fd, NULL, real_fallocate(fd, mode, at, len));
}

PUBLIC int fallocate64(int fd, int mode, off64_t at, off64_t len)
{
	SIMPLE(ALLOCATE, fd, NULL, real_fallocate(fd, mode, at, len));
}

/* ---- memory ---- */

static bool has_memory(enum call call)
{
	const struct rule *r;

	return judge(call, -1, NULL, &r) != FAIL;
}

PUBLIC void *malloc(size_t n)
{
	return has_memory(MALLOC) ? __libc_malloc(n) : NULL;
}

PUBLIC void *calloc(size_t n, size_t size)
{
	return has_memory(MALLOC) ? __libc_calloc(n, size) : NULL;
}

PUBLIC void *realloc(void *p, size_t n)
{
	return has_memory(MALLOC) ? __libc_realloc(p, n) : NULL;
}

PUBLIC int posix_memalign(void **out, size_t align, size_t n)
{
	void *p = has_memory(MALLOC) ? __libc_memalign(align, n) : NULL;

	if (!p)
		return ENOMEM;
	*out = p;
	return 0;
}

static void *mmap_any(void *at, size_t len, int prot, int flags, int fd, off64_t offset)
{
	if ((flags & MAP_ANONYMOUS) && !has_memory(MMAP))
		return MAP_FAILED;
	if (!real_mmap)
		return (void *)syscall(SYS_mmap, at, len, prot, flags, fd, offset);
	return real_mmap(at, len, prot, flags, fd, offset);
}

PUBLIC void *mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
	return mmap_any(at, len, prot, flags, fd, offset);
}

PUBLIC void *mmap64(void *at, size_t len, int prot, int flags, int fd, off64_t offset)
{
	return mmap_any(at, len, prot, flags, fd, offset);
}

/* ---- the wall clock ---- */

static time_t shift(void)
{
	return control ? (time_t)control[1] : 0;
}

PUBLIC int clock_gettime(clockid_t id, struct timespec *t)
{
	int r = real_clock_gettime ? real_clock_gettime(id, t) : (int)syscall(SYS_clock_gettime, id, t);

	if (r == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
		t->tv_sec += shift();
	/* What a shorter file does not have reads as zero. */
	if (r == 0 && id == CLOCK_BOOTTIME && control)
		t->tv_sec += (time_t)control[2];
	if (r == 0 && control && (id == CLOCK_BOOTTIME || id == CLOCK_MONOTONIC || id == CLOCK_MONOTONIC_COARSE))
		t->tv_sec += (time_t)control[3];
	return r;
}

PUBLIC time_t time(time_t *out)
{
	struct timespec t = { 0 };

	clock_gettime(CLOCK_REALTIME, &t);
	if (out)
		*out = t.tv_sec;
	return t.tv_sec;
}

PUBLIC int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	struct timespec t = { 0 };

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &t);
	tv->tv_sec = t.tv_sec;
	tv->tv_usec = t.tv_nsec / 1000;
	return 0;
}

/* The unit test harness: registration, one child a test, bounded time. */
#include "unit/lib/test.h"

#include <errno.h>
#include <ftw.h>
#include <glob.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXIT_SKIP = 77, LIMIT_S = 60 };

static struct test *tests;
static const char *running;
static char tmpdir[64];
static volatile pid_t child;
static volatile sig_atomic_t stopped;

void test_register(struct test *t)
{
	struct test **at = &tests;

	while (*at)
		at = &(*at)->next;
	*at = t;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static void remove_tmpdir(void)
{
	if (*tmpdir)
		nftw(tmpdir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void test_fail(const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	printf("FAIL %s: %s:%d: ", running, file, line);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
	remove_tmpdir();
	_exit(1);
}

void test_skip(const char *fmt, ...)
{
	va_list ap;

	printf("skip %s: ", running);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
	remove_tmpdir();
	_exit(EXIT_SKIP);
}

void test_check_str(const char *file, int line, const char *what, const char *a, const char *b)
{
	if (!a || !b ? a != b : strcmp(a, b) != 0)
		test_fail(file, line, "%s is \"%s\", not \"%s\"", what, a ? a : "(null)",
			  b ? b : "(null)");
}

void test_check_mem(const char *file, int line, const char *what, const void *a, const void *b,
		    size_t len)
{
	const unsigned char *x = a, *y = b;

	for (size_t i = 0; i < len; i++)
		if (x[i] != y[i])
			test_fail(file, line, "%s differs at byte %zu of %zu: %02x, not %02x", what,
				  i, len, x[i], y[i]);
}

const char *test_tmpdir(void)
{
	if (!*tmpdir) {
		snprintf(tmpdir, sizeof(tmpdir), "/tmp/handfast-unit-%d-XXXXXX", (int)getpid());
		if (!mkdtemp(tmpdir))
			test_fail(__FILE__, __LINE__, "mkdtemp: %s", strerror(errno));
	}
	return tmpdir;
}

const char *test_vector_path(const char *name)
{
	static char path[4096];
	const char *dir = getenv("HANDFAST_VECTORS");

	snprintf(path, sizeof(path), "%s/%s", dir && *dir ? dir : "../shared/vectors", name);
	if (access(path, R_OK) < 0)
		test_skip("no vectors at %s (set HANDFAST_VECTORS)", path);
	return path;
}

/* What a child that was killed could not remove itself. */
static void remove_leftovers(pid_t pid)
{
	char pattern[64];
	glob_t g;

	snprintf(pattern, sizeof(pattern), "/tmp/handfast-unit-%d-*", (int)pid);
	if (glob(pattern, 0, NULL, &g) != 0)
		return;
	for (size_t i = 0; i < g.gl_pathc; i++)
		nftw(g.gl_pathv[i], remove_one, 16, FTW_DEPTH | FTW_PHYS);
	globfree(&g);
}

static void on_stop(int signo)
{
	stopped = signo;
	if (child > 0)
		kill(child, SIGKILL);
}

static int run_one(struct test *t)
{
	pid_t pid;
	int status;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		return 1;
	if (pid == 0) {
		signal(SIGTERM, SIG_DFL);
		signal(SIGINT, SIG_DFL);
		running = t->name;
		alarm(LIMIT_S);
		t->fn();
		printf("ok %s\n", t->name);
		remove_tmpdir();
		/* exit, not _exit: the sanitizers look for leaks here. */
		exit(0);
	}
	child = pid;
	if (stopped)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	child = 0;
	remove_leftovers(pid);
	if (WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == EXIT_SKIP))
		return 0;
	if (WIFSIGNALED(status))
		printf("FAIL %s: killed by signal %d%s\n", t->name, WTERMSIG(status),
		       WTERMSIG(status) == SIGALRM ? " (took too long)" : "");
	else if (WEXITSTATUS(status) != 1)
		printf("FAIL %s: exit status %d\n", t->name, WEXITSTATUS(status));
	return 1;
}

int main(int argc, char **argv)
{
	int failed = 0;

	signal(SIGTERM, on_stop);
	signal(SIGINT, on_stop);
	for (struct test *t = tests; t && !stopped; t = t->next)
		if (argc < 2 || strstr(t->name, argv[1]))
			failed += run_one(t);
	return failed ? 1 : 0;
}

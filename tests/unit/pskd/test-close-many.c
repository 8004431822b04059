/* Many descriptors are closed, each once, whether or not there is anybody to help. */
#include "pskd/tunnel/close_many.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit/lib/test.h"

enum { N = 200 };

static int fds[N], others[N];

/* Every third is none; what is not given stays open. */
static void fixture(void)
{
	for (int i = 0; i < N; i++) {
		fds[i] = i % 3 == 0 ? -1 : fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 10);
		others[i] = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 10);
		CHECK(others[i] >= 0 && (fds[i] >= 0 || i % 3 == 0));
	}
}

static void check(void)
{
	for (int i = 0; i < N; i++) {
		CHECK_EQ(fcntl(fds[i], F_GETFD), -1);
		CHECK_EQ(errno, EBADF);
		CHECK(fcntl(others[i], F_GETFD) >= 0);
	}
}

TEST(all_are_closed_and_nothing_else)
{
	int rest[2];

	fixture();
	close_many(fds, N);
	check();
	close_many(NULL, 0);
	/* One, and two. */
	rest[0] = others[0];
	close_many(rest, 1);
	rest[0] = others[1];
	rest[1] = others[2];
	close_many(rest, 2);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(fcntl(others[i], F_GETFD), -1);
	CHECK(fcntl(others[3], F_GETFD) >= 0);
}

TEST(without_another_thread_all_are_closed)
{
	const struct rlimit none = { 0, 0 };
	pid_t pid = fork();
	int status;

	CHECK(pid >= 0);
	if (pid == 0) {
		fixture();
		/* The limit does not count for root. It stays, so nothing that wants a thread may come after. */
		if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
			_exit(77);
		CHECK_EQ(setrlimit(RLIMIT_NPROC, &none), 0);
		close_many(fds, N);
		check();
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		test_skip("cannot become another user");
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

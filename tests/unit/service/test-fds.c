/* Descriptors from and to the manager, whose part a socket plays: each test is a process of its own. */
#include "service/fds.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "unit/lib/test.h"

static int manager = -1;

static void be_manager(void)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/notify", test_tmpdir());
	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	CHECK_EQ(bind(manager, (struct sockaddr *)&sa, sizeof(sa)), 0);
	setenv("NOTIFY_SOCKET", sa.sun_path, 1);
}

/* What came: its text, and a descriptor or -1. */
static int heard(char text[static 512])
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(4 * sizeof(int))];
	} control;
	struct iovec iov = { text, 511 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space,
			      .msg_controllen = sizeof(control.space) };
	ssize_t n = recvmsg(manager, &msg, MSG_CMSG_CLOEXEC);
	int fd = -1;

	text[n > 0 ? n : 0] = '\0';
	for (struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL; c; c = CMSG_NXTHDR(&msg, c))
		if (c->cmsg_type == SCM_RIGHTS)
			memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

/* Lay descriptors where a manager puts them; the harness' own must not be in their way. */
static void pass(size_t n, const int *fds, const char *names)
{
	char number[16];
	int high[8];

	CHECK(n <= 8);
	for (size_t i = 0; i < n; i++)
		high[i] = fcntl(fds[i], F_DUPFD, 100);
	for (size_t i = 0; i < n; i++) {
		CHECK(dup2(high[i], 3 + (int)i) >= 0);
		close(high[i]);
	}
	snprintf(number, sizeof(number), "%zu", n);
	setenv("LISTEN_FDS", number, 1);
	snprintf(number, sizeof(number), "%d", (int)getpid());
	setenv("LISTEN_PID", number, 1);
	if (names)
		setenv("LISTEN_FDNAMES", names, 1);
	else
		unsetenv("LISTEN_FDNAMES");
}

static int listener(int type)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	static int number;
	int fd = socket(AF_UNIX, type, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/s%d", test_tmpdir(), number++);
	CHECK_EQ(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	CHECK_EQ(listen(fd, 5), 0);
	return fd;
}

TEST(without_a_manager_there_are_none_and_storing_is_done_with_nothing)
{
	struct service_fds *f;

	unsetenv("LISTEN_FDS");
	unsetenv("NOTIFY_SOCKET");
	CHECK_EQ(service_fds_new(&f), 0);
	CHECK(!service_fds_name(f, 0));
	CHECK_EQ(service_fds_take(f, "any"), -ENOENT);
	CHECK_EQ(service_fd_store("tun.pi", 0, true), 0);
	CHECK_EQ(service_fd_unstore("tun.pi"), 0);
	CHECK(!service_fds_free(f));
	CHECK(!service_fds_free(NULL));
	CHECK_EQ(service_fds_take(NULL, "any"), -ENOENT);
}

TEST(what_is_passed_is_found_by_name_and_made_ready)
{
	int fds[] = { listener(SOCK_STREAM), listener(SOCK_STREAM), listener(SOCK_SEQPACKET) };
	struct service_fds *f;
	int a, b;

	pass(3, fds, "x.listen:x.listen:tun.pi");
	CHECK_EQ(service_fds_new(&f), 0);
	CHECK(!getenv("LISTEN_FDS") && !getenv("LISTEN_PID") && !getenv("LISTEN_FDNAMES"));
	CHECK(strcmp(service_fds_name(f, 2), "tun.pi") == 0 && !service_fds_name(f, 3));
	a = service_fds_take(f, "x.listen");
	b = service_fds_take(f, "x.listen");
	CHECK_EQ(a, 3);
	CHECK_EQ(b, 4);
	CHECK_EQ(service_fds_take(f, "x.listen"), -ENOENT);
	CHECK(fcntl(a, F_GETFL) & O_NONBLOCK);
	CHECK(fcntl(a, F_GETFD) & FD_CLOEXEC);
	CHECK(service_fd_is_listening(a, AF_UNIX, SOCK_STREAM));
	CHECK(service_fd_is_listening(a, AF_UNSPEC, SOCK_STREAM));
	CHECK(!service_fd_is_listening(a, AF_INET, SOCK_STREAM));
	CHECK(!service_fd_is_listening(a, AF_UNIX, SOCK_SEQPACKET));
	/* The third goes with the rest; what was taken is ours. */
	service_fds_free(f);
	CHECK(fcntl(5, F_GETFD) < 0);
	CHECK(fcntl(a, F_GETFD) >= 0 && fcntl(b, F_GETFD) >= 0);
}

TEST(descriptors_without_names_are_known_as_such)
{
	int fds[] = { listener(SOCK_STREAM) };
	struct service_fds *f;

	pass(1, fds, NULL);
	CHECK_EQ(service_fds_new(&f), 0);
	CHECK(strcmp(service_fds_name(f, 0), "unknown") == 0);
	service_fds_free(f);
}

TEST(descriptors_for_another_process_are_left_alone)
{
	int fds[] = { listener(SOCK_STREAM) };
	struct service_fds *f;

	pass(1, fds, "x.listen");
	setenv("LISTEN_PID", "1", 1);
	CHECK_EQ(service_fds_new(&f), 0);
	CHECK_EQ(service_fds_take(f, "x.listen"), -ENOENT);
	service_fds_free(f);
	CHECK(fcntl(3, F_GETFD) >= 0);
}

TEST(nonsense_in_the_environment_is_an_error_and_no_more)
{
	static const char *const numbers[] = { "-1", "x", "99999999999", "2000000000", "1 " };
	struct service_fds *f;
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		setenv("LISTEN_PID", pid, 1);
		setenv("LISTEN_FDS", numbers[i], 1);
		CHECK(service_fds_new(&f) < 0);
		CHECK(!f);
	}
	/* A number without the descriptors. */
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "200", 1);
	CHECK(service_fds_new(&f) < 0);
	CHECK(!f);
}

TEST(storing_sends_the_descriptor_and_its_name)
{
	char text[512];
	int fd, got, end[2];

	be_manager();
	CHECK_EQ(pipe(end), 0);
	CHECK_EQ(service_fd_store("tun.pi-2", end[1], true), 0);
	got = heard(text);
	CHECK(strstr(text, "FDSTORE=1\n") && strstr(text, "FDNAME=tun.pi-2") && !strstr(text, "FDPOLL"));
	CHECK(got >= 0 && write(got, "x", 1) == 1 && read(end[0], text, 1) == 1);
	CHECK_EQ(service_fd_store("udp.pi", end[1], false), 0);
	fd = heard(text);
	CHECK(fd >= 0 && strstr(text, "FDPOLL=0"));
	CHECK_EQ(service_fd_unstore("udp.pi"), 0);
	CHECK_EQ(heard(text), -1);
	CHECK(strstr(text, "FDSTOREREMOVE=1\n") && strstr(text, "FDNAME=udp.pi"));
}

static bool has_hung_up(int fd)
{
	struct pollfd at = { .fd = fd };

	return poll(&at, 1, 0) == 1 && (at.revents & POLLHUP);
}

TEST(a_barrier_hangs_up_when_the_manager_has_come_to_it)
{
	char text[512];
	int fd, got;

	be_manager();
	CHECK_EQ(service_fd_barrier(&fd), 0);
	CHECK(fd >= 0 && (fcntl(fd, F_GETFD) & FD_CLOEXEC) && !has_hung_up(fd));
	got = heard(text);
	CHECK(got >= 0 && strcmp(text, "BARRIER=1") == 0 && !has_hung_up(fd));
	close(got);
	CHECK(has_hung_up(fd));
	close(fd);
	unsetenv("NOTIFY_SOCKET");
	CHECK_EQ(service_fd_barrier(&fd), 0);
	CHECK_EQ(fd, -1);
}

TEST(names_that_the_manager_would_not_take_are_refused)
{
	static const char *const bad[] = { "", "a:b", "a\nFDPOLL=0", "a b", "\x7f", "\xc3\xa9" };
	char text[512], longest[SERVICE_FD_NAME_MAX + 2];

	be_manager();
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		CHECK_EQ(service_fd_store(bad[i], 0, true), -EINVAL);
		CHECK_EQ(service_fd_unstore(bad[i]), -EINVAL);
	}
	memset(longest, 'n', sizeof(longest));
	longest[SERVICE_FD_NAME_MAX + 1] = '\0';
	CHECK_EQ(service_fd_store(longest, 0, true), -EINVAL);
	CHECK_EQ(heard(text), -1);
	longest[SERVICE_FD_NAME_MAX] = '\0';
	CHECK_EQ(service_fd_store(longest, 0, true), 0);
	CHECK(heard(text) >= 0 && strstr(text, longest));
}

TEST(a_manager_that_is_gone_is_an_error)
{
	be_manager();
	close(manager);
	CHECK(service_fd_store("tun.pi", 0, true) < 0);
	CHECK(service_fd_unstore("tun.pi") < 0);
}

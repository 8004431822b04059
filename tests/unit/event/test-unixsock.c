/* Unix sockets: final mode from the first moment, stale and live ones, callers, descriptors. */
#include "event/unixsock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "event/loop.h"
#include "unit/lib/test.h"

static const char *socket_path(void)
{
	static char path[108];

	snprintf(path, sizeof(path), "%s/s.sock", test_tmpdir());
	return path;
}

TEST(a_listener_has_its_mode_whatever_the_umask)
{
	struct stat st;
	int fd;

	umask(0077);
	fd = unix_listen(socket_path(), SOCK_STREAM, 0666, NULL, false);
	CHECK(fd >= 0);
	CHECK_EQ(stat(socket_path(), &st), 0);
	CHECK_EQ(st.st_mode & 07777, 0666);
	CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
	CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
}

static atomic_int watching;
static atomic_int seen_wrong;

/* Look at the name all the time: it is either not there or complete. */
static void *watch(void *arg)
{
	while (watching) {
		struct stat st;
		int fd;

		if (stat(arg, &st) < 0)
			continue;
		if ((st.st_mode & 07777) != 0640)
			seen_wrong = 1;
		fd = unix_connect(arg, SOCK_STREAM, true);
		if (fd == -ECONNREFUSED && watching == 1)
			seen_wrong = 2;
		if (fd >= 0)
			close(fd);
	}
	return NULL;
}

TEST(nobody_sees_a_listener_before_it_is_complete)
{
	char path[108];
	pthread_t t;

	watching = 1;
	snprintf(path, sizeof(path), "%s", socket_path());
	CHECK_EQ(pthread_create(&t, NULL, watch, path), 0);
	for (int i = 0; i < 300; i++) {
		int fd;

		watching = 1;
		fd = unix_listen(path, SOCK_STREAM, 0640, NULL, false);
		CHECK(fd >= 0);
		/* The watcher may be refused from here on: the end is not what is tested. */
		watching = 2;
		unlink(path);
		close(fd);
	}
	watching = 0;
	pthread_join(t, NULL);
	CHECK_EQ(seen_wrong, 0);
}

TEST(a_stale_socket_is_replaced)
{
	int fd = unix_listen(socket_path(), SOCK_STREAM, 0666, NULL, false);

	CHECK(fd >= 0);
	close(fd);
	fd = unix_listen(socket_path(), SOCK_STREAM, 0600, NULL, false);
	CHECK(fd >= 0);
	close(fd);
}

TEST(a_live_socket_is_left_alone)
{
	int fd = unix_listen(socket_path(), SOCK_STREAM, 0666, NULL, false);
	int client;

	CHECK(fd >= 0);
	CHECK_EQ(unix_listen(socket_path(), SOCK_STREAM, 0666, NULL, false), -EADDRINUSE);
	CHECK_EQ(unix_listen(socket_path(), SOCK_SEQPACKET, 0666, NULL, false), -EADDRINUSE);
	client = unix_connect(socket_path(), SOCK_STREAM, false);
	CHECK(client >= 0);
	close(client);
	close(fd);
}

TEST(what_is_no_socket_is_not_replaced)
{
	FILE *f = fopen(socket_path(), "w");

	CHECK(f);
	fclose(f);
	CHECK_EQ(unix_listen(socket_path(), SOCK_STREAM, 0666, NULL, false), -EEXIST);
	CHECK_EQ(access(socket_path(), F_OK), 0);
}

TEST(nothing_is_left_behind_when_listening_fails)
{
	char path[108], left[200];

	snprintf(path, sizeof(path), "%s", socket_path());
	CHECK_EQ(unix_listen(path, SOCK_STREAM, 0666, "no-such-group-here", false), -ENOENT);
	snprintf(left, sizeof(left), "%s/.hf-%d-0", test_tmpdir(), (int)getpid());
	CHECK(access(left, F_OK) < 0);
	CHECK(access(path, F_OK) < 0);
	CHECK(unix_listen(path, SOCK_STREAM, 0666, "no-such-group-here", true) >= 0);
}

TEST(long_and_empty_paths_are_refused)
{
	char path[200];

	memset(path, 'a', sizeof(path));
	path[0] = '/';
	path[199] = '\0';
	CHECK_EQ(unix_listen(path, SOCK_STREAM, 0666, NULL, false), -ENAMETOOLONG);
	CHECK_EQ(unix_connect(path, SOCK_STREAM, false), -ENAMETOOLONG);
	CHECK_EQ(unix_connect("", SOCK_STREAM, false), -EINVAL);
}

TEST(connecting_tells_why_it_fails)
{
	int fd;

	CHECK_EQ(unix_connect(socket_path(), SOCK_STREAM, false), -ENOENT);
	fd = unix_listen(socket_path(), SOCK_STREAM, 0666, NULL, false);
	CHECK(fd >= 0);
	close(fd);
	CHECK_EQ(unix_connect(socket_path(), SOCK_STREAM, false), -ECONNREFUSED);
}

TEST(connecting_to_who_takes_no_calls_ends)
{
	int fd = unix_listen(socket_path(), SOCK_STREAM, 0666, NULL, false), r;
	uint64_t from;
	struct timeval limit;
	socklen_t len = sizeof(limit);

	CHECK(fd >= 0);
	CHECK_EQ(listen(fd, 0), 0);
	r = unix_connect_within(socket_path(), SOCK_STREAM, 50);
	CHECK(r >= 0);
	/* What is sent later waits as long as ever. */
	CHECK_EQ(getsockopt(r, SOL_SOCKET, SO_SNDTIMEO, &limit, &len), 0);
	CHECK(limit.tv_sec == 0 && limit.tv_usec == 0);
	do
		r = unix_connect(socket_path(), SOCK_STREAM, true);
	while (r >= 0);
	CHECK_EQ(r, -EAGAIN);
	from = clock_now_ms();
	CHECK_EQ(unix_connect_within(socket_path(), SOCK_STREAM, 50), -ETIMEDOUT);
	CHECK(clock_now_ms() - from >= 40);
	close(fd);
}

TEST(the_kernel_says_who_calls)
{
	struct unix_caller c;
	int fds[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	CHECK_EQ(unix_caller_init(&c, fds[0]), 0);
	CHECK_EQ(c.uid, getuid());
	CHECK_EQ(c.gid, getgid());
	CHECK_EQ(c.pid, getpid());
	CHECK(!unix_caller_in_group(&c, "no-such-group-here"));
	CHECK(!unix_caller_in_group(&c, NULL));
	if (getgid() == 0)
		CHECK(unix_caller_in_group(&c, "root"));
	unix_caller_done(&c);
	close(fds[0]);
	close(fds[1]);
}

TEST(datagrams_carry_a_descriptor)
{
	int fds[2], pipe_fds[2], got = -1;
	char buf[16];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
	CHECK_EQ(pipe(pipe_fds), 0);
	CHECK_EQ(unix_send(fds[0], "hello", 5, pipe_fds[1]), 0);
	CHECK_EQ(unix_recv(fds[1], buf, sizeof(buf), &got), 5);
	CHECK(got >= 0);
	CHECK(fcntl(got, F_GETFD) & FD_CLOEXEC);
	CHECK_EQ(write(got, "x", 1), 1);
	CHECK_EQ(read(pipe_fds[0], buf, 1), 1);
	close(got);
	CHECK_EQ(unix_send(fds[0], "plain", 5, -1), 0);
	CHECK_EQ(unix_recv(fds[1], buf, sizeof(buf), &got), 5);
	CHECK_EQ(got, -1);
	close(fds[0]);
	CHECK_EQ(unix_recv(fds[1], buf, sizeof(buf), &got), 0);
}

static int n_open_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void send_fds(int fd, int pass, size_t n)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(32 * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)"x", .iov_len = 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.space,
			      .msg_controllen = CMSG_SPACE(n * sizeof(int)) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	for (size_t i = 0; i < n; i++)
		memcpy(CMSG_DATA(c) + i * sizeof(int), &pass, sizeof(int));
	CHECK_EQ(sendmsg(fd, &msg, 0), 1);
}

TEST(i4_descriptors_beyond_the_first_do_not_stay)
{
	int fds[2], got = -1, before;
	char buf[4];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
	before = n_open_fds();
	/* A few, more than fit our buffer, and none wanted. */
	send_fds(fds[0], 0, 5);
	CHECK_EQ(unix_recv(fds[1], buf, sizeof(buf), &got), 1);
	CHECK_EQ(n_open_fds(), before + 1);
	close(got);
	send_fds(fds[0], 0, 32);
	CHECK_EQ(unix_recv(fds[1], buf, sizeof(buf), &got), 1);
	CHECK_EQ(n_open_fds(), before + 1);
	close(got);
	send_fds(fds[0], 0, 3);
	CHECK_EQ(unix_recv(fds[1], buf, sizeof(buf), NULL), 1);
	CHECK_EQ(n_open_fds(), before);
}

TEST(a_cut_datagram_is_an_error)
{
	int fds[2], got = -1, before;
	char buf[4];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
	before = n_open_fds();
	CHECK_EQ(unix_send(fds[0], "too long", 8, 0), 0);
	CHECK_EQ(unix_recv(fds[1], buf, sizeof(buf), &got), -EMSGSIZE);
	CHECK_EQ(got, -1);
	CHECK_EQ(n_open_fds(), before);
}

struct accepted {
	struct unix_server *s;
	int fds[8], n;
};

static void on_accept(int fd, const struct unix_caller *caller, void *arg)
{
	struct accepted *a = arg;

	CHECK_EQ(caller->uid, getuid());
	CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
	a->fds[a->n++] = fd;
}

TEST(i4_a_listener_holds_no_more_connections_than_it_may)
{
	_cleanup_(loop_freep) struct loop *l = NULL;
	struct accepted a = { 0 };
	int clients[5];
	char c;

	CHECK_EQ(loop_new(&l), 0);
	CHECK_EQ(unix_server_new(&a.s, l, unix_listen(socket_path(), SOCK_STREAM, 0666, NULL, false), 2,
				 on_accept, &a),
		 0);
	for (int i = 0; i < 5; i++) {
		clients[i] = unix_connect(socket_path(), SOCK_STREAM, true);
		CHECK(clients[i] >= 0);
	}
	loop_step(l, 1000);
	CHECK_EQ(a.n, 2);
	CHECK_EQ(read(clients[4], &c, 1), 0);
	close(a.fds[0]);
	unix_server_conn_closed(a.s);
	clients[4] = unix_connect(socket_path(), SOCK_STREAM, true);
	loop_step(l, 1000);
	CHECK_EQ(a.n, 3);
	unix_server_free(a.s);
}

/* What is kept for tunnels, and whether a socket is the one a tunnel asks for. A socket plays the manager. */
#include "pskd/tunnel/kept.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "pskd/packet/udp.h"
#include "service/fds.h"
#include "unit/lib/test.h"

static int manager = -1;
static char told[4096];

static void be_manager(void)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/notify", test_tmpdir());
	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	CHECK_EQ(bind(manager, (struct sockaddr *)&sa, sizeof(sa)), 0);
	setenv("NOTIFY_SOCKET", sa.sun_path, 1);
}

/* All that was told since the last time, a line with a blank before and after each word. */
static const char *heard(void)
{
	size_t len = 0;
	ssize_t n;

	told[0] = '\0';
	while (len + 300 < sizeof(told) && (n = recv(manager, told + len, 256, 0)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			if (told[len + (size_t)i] == '\n')
				told[len + (size_t)i] = ' ';
		len += (size_t)n;
		told[len++] = '|';
		told[len] = '\0';
	}
	return told;
}

/* Pipes' ends, passed under these names from 3 on. */
static struct kept *kept_with(size_t n, const char *names)
{
	struct service_fds *f;
	struct kept *k;
	char text[16];
	int high[8], end[2];

	for (size_t i = 0; i < n; i++) {
		CHECK_EQ(pipe(end), 0);
		high[i] = fcntl(end[0], F_DUPFD, 100);
		close(end[0]);
		close(end[1]);
	}
	for (size_t i = 0; i < n; i++) {
		CHECK(dup2(high[i], 3 + (int)i) >= 0);
		close(high[i]);
	}
	snprintf(text, sizeof(text), "%zu", n);
	setenv("LISTEN_FDS", text, 1);
	snprintf(text, sizeof(text), "%d", (int)getpid());
	setenv("LISTEN_PID", text, 1);
	setenv("LISTEN_FDNAMES", names, 1);
	be_manager();
	CHECK_EQ(service_fds_new(&f), 0);
	CHECK_EQ(kept_new(&k, f), 0);
	service_fds_free(f);
	return k;
}

static bool is_pi(const char *tunnel, void *arg)
{
	(void)arg;
	return strcmp(tunnel, "pi") == 0;
}

TEST(what_was_left_is_taken_once_and_the_rest_pruned)
{
	struct kept *k = kept_with(5, "tun.pi:udp.pi:tun.gone:tun.:x.listen");

	/* Names of nobody are left to who closes them. */
	CHECK(fcntl(6, F_GETFD) < 0 && fcntl(7, F_GETFD) < 0);
	CHECK_EQ(kept_take_tun(k, "pi"), 3);
	CHECK_EQ(kept_take_tun(k, "pi"), -1);
	CHECK_EQ(kept_take_udp(k, "gone"), -1);
	kept_prune(k, is_pi, NULL);
	CHECK(fcntl(5, F_GETFD) < 0);
	CHECK(strcmp(heard(), "FDSTOREREMOVE=1 FDNAME=tun.gone|") == 0);
	CHECK_EQ(kept_take_udp(k, "pi"), 4);
	kept_free(k);
}

TEST(dropping_tells_the_manager_until_the_process_ends)
{
	struct kept *k = kept_with(2, "tun.pi:udp.pi");

	kept_drop(k, "pi");
	CHECK(fcntl(3, F_GETFD) < 0 && fcntl(4, F_GETFD) < 0);
	CHECK(strcmp(heard(), "FDSTOREREMOVE=1 FDNAME=tun.pi|FDSTOREREMOVE=1 FDNAME=udp.pi|") == 0);
	kept_store_tun(k, "pi", 0);
	kept_leave(k);
	kept_drop(k, "pi");
	CHECK(strcmp(heard(), "FDSTORE=1 FDNAME=tun.pi|") == 0);
	kept_free(k);
}

TEST(what_was_dropped_is_waited_for)
{
	struct kept *k = kept_with(2, "tun.pi:udp.pi");

	CHECK(kept_is_settled(NULL));
	CHECK(kept_is_settled(k));
	kept_drop(k, "pi");
	CHECK(!kept_is_settled(k) && !kept_is_settled(k));
	/* Asked once; what takes no descriptors lets go of them. */
	CHECK(strcmp(heard(), "FDSTOREREMOVE=1 FDNAME=tun.pi|FDSTOREREMOVE=1 FDNAME=udp.pi|BARRIER=1|") == 0);
	CHECK(kept_is_settled(k));
	/* A manager that never comes to it. */
	clock_fake_ms(1000);
	kept_drop(k, "pi");
	CHECK(!kept_is_settled(k));
	clock_fake_ms(5999);
	CHECK(!kept_is_settled(k));
	clock_fake_ms(6000);
	CHECK(kept_is_settled(k));
	/* Another one dropped meanwhile is waited for as well. */
	kept_drop(k, "pi");
	CHECK(!kept_is_settled(k));
	heard();
	kept_drop(k, "raspi");
	CHECK(!kept_is_settled(k));
	heard();
	CHECK(kept_is_settled(k));
	clock_fake_ms(UINT64_MAX);
	kept_free(k);
}

TEST(a_new_name_is_told_after_the_old_one_was_removed)
{
	struct kept *k = kept_with(2, "tun.pi:udp.pi");

	/* Not taken yet. */
	kept_rename(k, "pi", "raspi", -1, -1);
	CHECK(strcmp(heard(), "FDSTOREREMOVE=1 FDNAME=tun.pi|FDSTOREREMOVE=1 FDNAME=udp.pi|"
			      "FDSTORE=1 FDNAME=tun.raspi|FDSTORE=1 FDNAME=udp.raspi FDPOLL=0|") == 0);
	CHECK_EQ(kept_take_tun(k, "pi"), -1);
	CHECK_EQ(kept_take_tun(k, "raspi"), 3);
	/* In use. */
	kept_rename(k, "raspi", "pi", 3, 4);
	CHECK(strstr(heard(), "FDNAME=udp.raspi|FDSTORE=1 FDNAME=tun.pi|"));
	CHECK_EQ(kept_take_udp(k, "raspi"), -1);
	kept_free(k);
}

TEST(what_is_handed_over_is_there_for_the_next_and_still_kept)
{
	struct kept *k = kept_with(1, "tun.other");
	int end[2], got;

	CHECK_EQ(pipe(end), 0);
	kept_hand_over(k, "pi", end[0], end[1]);
	close(end[0]);
	got = kept_take_tun(k, "pi");
	CHECK(got >= 0 && fcntl(got, F_GETFD) == FD_CLOEXEC);
	CHECK(kept_take_udp(k, "pi") >= 0);
	CHECK(strcmp(heard(), "") == 0);
	kept_free(k);
}

TEST(nothing_is_done_without_a_keeper)
{
	CHECK_EQ(kept_take_tun(NULL, "pi"), -1);
	kept_store_udp(NULL, "pi", 0);
	kept_drop(NULL, "pi");
	kept_rename(NULL, "pi", "raspi", -1, -1);
	kept_hand_over(NULL, "pi", 0, 0);
	kept_leave(NULL);
	CHECK(!kept_free(NULL));
}

static int adopts(const char *at, int fd)
{
	struct sockaddr_in6 a;
	struct udp u;

	CHECK_EQ(udp_parse(&a, at), 0);
	return udp_adopt(&u, fd, &a);
}

TEST(a_socket_is_adopted_when_it_is_bound_as_asked)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6 };
	struct sockaddr_storage ss;
	struct udp u, again;
	char text[UDP_TEXT_MAX];
	int other;

	CHECK_EQ(udp_open(&u, &any), 0);
	CHECK_EQ(udp_adopt(&again, u.fd, &any), 0);
	CHECK(again.fd == u.fd && again.v4_only == u.v4_only);
	snprintf(text, sizeof(text), "%u", udp_port(&u));
	CHECK_EQ(adopts(text, u.fd), 0);
	snprintf(text, sizeof(text), "%u", udp_port(&u) ^ 1u);
	CHECK(adopts(text, u.fd) < 0);
	snprintf(text, sizeof(text), "127.0.0.1:%u", udp_port(&u));
	CHECK(adopts(text, u.fd) < 0);
	/* Connected: it would hear one peer alone. */
	any.sin6_port = htons(9);
	CHECK_EQ(connect(u.fd, (struct sockaddr *)&ss, udp_to_socket(&u, &ss, &any)), 0);
	any.sin6_port = 0;
	CHECK(udp_adopt(&again, u.fd, &any) < 0);
	udp_close(&u);

	CHECK_EQ(udp_parse(&any, "127.0.0.1:1"), 0);
	any.sin6_port = 0;
	CHECK_EQ(udp_open(&u, &any), 0);
	snprintf(text, sizeof(text), "127.0.0.1:%u", udp_port(&u));
	CHECK_EQ(adopts(text, u.fd), 0);
	snprintf(text, sizeof(text), "%u", udp_port(&u));
	CHECK(adopts(text, u.fd) < 0);
	udp_close(&u);

	other = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(adopts("7200", other) < 0);
	close(other);
	other = socket(AF_INET, SOCK_DGRAM, 0);
	CHECK(adopts("7200", other) < 0);
	close(other);
	other = socket(AF_UNIX, SOCK_DGRAM, 0);
	CHECK(adopts("7200", other) < 0);
	close(other);
	other = open("/dev/null", O_RDWR);
	CHECK(adopts("7200", other) < 0);
	close(other);
}

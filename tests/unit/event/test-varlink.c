/* The Varlink server against raw bytes, and both clients against the server. */
#include "event/varlink.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/json.h"
#include "event/loop.h"
#include "unit/lib/test.h"

static const char description[] = "interface org.example.test\n"
				  "method Echo(text: string, n: ?int) -> (text: string)\n"
				  "method Later(name: string) -> (name: string)\n"
				  "method Many(n: int, size: ?int) -> (i: int, fill: ?string)\n"
				  "method Wrong() -> (i: int)\n"
				  "method Change() -> ()\n"
				  "method Fail() -> ()\n"
				  "method Unmade() -> ()\n"
				  "error NoLuck (message: string, hint: string)\n";

struct fixture {
	struct loop *l;
	struct varlink_server *s;
	struct varlink_call *later[32];
	size_t n_later;
	int gone, echoed;
};

static struct fixture f;

static void echo(struct varlink_call *call, const json_t *params, void *arg)
{
	CHECK(arg == &f);
	f.echoed++;
	varlink_reply(call, json_pack("{s:s}", "text", json_get_str(params, "text")));
}

static void on_gone(void *arg)
{
	(void)arg;
	f.gone++;
}

static void later(struct varlink_call *call, const json_t *params, void *arg)
{
	(void)arg;
	(void)params;
	f.later[f.n_later++] = call;
}

static void many(struct varlink_call *call, const json_t *params, void *arg)
{
	int64_t n = json_get_int(params, "n", 0), size = json_get_int(params, "size", 0);
	char *fill = malloc((size_t)size + 1);

	(void)arg;
	memset(fill, 'x', (size_t)size);
	fill[size] = '\0';
	for (int64_t i = 1; i < n; i++)
		varlink_notify(call, json_pack("{s:I, s:s}", "i", (json_int_t)i, "fill", fill));
	free(fill);
	varlink_reply(call, json_pack("{s:I}", "i", (json_int_t)n));
}

static void wrong(struct varlink_call *call, const json_t *params, void *arg)
{
	(void)arg;
	(void)params;
	varlink_reply(call, json_pack("{s:s}", "i", "no number"));
}

static void change(struct varlink_call *call, const json_t *params, void *arg)
{
	(void)arg;
	(void)params;
	varlink_reply(call, NULL);
}

static void fail(struct varlink_call *call, const json_t *params, void *arg)
{
	(void)arg;
	(void)params;
	varlink_error(call, "org.example.test.NoLuck", "no luck\x1b[31m today", "try tomorrow");
}

static const struct varlink_method methods[] = {
	{ "Echo", VARLINK_READ, echo },	    { "Later", VARLINK_READ, later },
	{ "Many", VARLINK_READ, many },	    { "Wrong", VARLINK_READ, wrong },
	{ "Change", VARLINK_CHANGE, change }, { "Fail", VARLINK_READ, fail },
	{ 0 },
};

static const struct varlink_interface interface = { "org.example.test", description, methods };

static const char *socket_path(void)
{
	static char path[108];

	snprintf(path, sizeof(path), "%s/v.sock", test_tmpdir());
	return path;
}

static void serve(void)
{
	static const struct varlink_info info = {
		.vendor = "example",
		.product = "test",
		.version = "1",
		.url = "https://example.org",
		.read_group = "no-such-group-r",
		.admin_group = "no-such-group-a",
	};

	CHECK_EQ(loop_new(&f.l), 0);
	CHECK_EQ(varlink_server_new(&f.s, f.l, &info), 0);
	CHECK_EQ(varlink_server_add(f.s, &interface, &f), 0);
	CHECK_EQ(varlink_server_listen(f.s, unix_listen(socket_path(), SOCK_STREAM, 0666, NULL, false)),
		 0);
}

static void end(void)
{
	varlink_server_free(f.s);
	loop_free(f.l);
}

/* Run the loop until nothing is left to do at once. */
static void settle(void)
{
	for (int i = 0; i < 60; i++)
		loop_step(f.l, 1);
}

static int dial(void)
{
	int fd = unix_connect(socket_path(), SOCK_STREAM, true);

	CHECK(fd >= 0);
	return fd;
}

static void say(int fd, const char *text)
{
	CHECK_EQ(send(fd, text, strlen(text) + 1, MSG_NOSIGNAL), strlen(text) + 1);
}

/* Everything that was answered by now; each NUL becomes a newline. "EOF" stands for the end. */
static const char *hear(int fd)
{
	static char buf[2 << 20];
	ssize_t n;
	size_t len = 0;

	settle();
	while ((n = recv(fd, buf + len, sizeof(buf) - 8 - len, 0)) > 0) {
		len += (size_t)n;
		CHECK(len < sizeof(buf) - 8);
		settle();
	}
	for (size_t i = 0; i < len; i++)
		if (!buf[i])
			buf[i] = '\n';
	strcpy(buf + len, n == 0 || errno != EAGAIN ? "EOF" : "");
	return buf;
}

static void check_says(int fd, const char *call, const char *answer)
{
	say(fd, call);
	CHECK_STR(hear(fd), answer);
}

#define T "org.example.test."

TEST(a_call_is_answered)
{
	int fd;

	serve();
	fd = dial();
	check_says(fd, "{\"method\":\"" T "Echo\",\"parameters\":{\"text\":\"hi\"}}",
		   "{\"parameters\":{\"text\":\"hi\"}}\n");
	check_says(fd, "{\"method\":\"" T "Change\"}", "{\"parameters\":{}}\n");
	check_says(fd, "{\"method\":\"" T "Change\",\"parameters\":null,\"more\":false}",
		   "{\"parameters\":{}}\n");
	end();
}

TEST(the_service_describes_itself)
{
	int fd;

	serve();
	fd = dial();
	check_says(fd, "{\"method\":\"org.varlink.service.GetInfo\"}",
		   "{\"parameters\":{\"vendor\":\"example\",\"product\":\"test\",\"version\":\"1\","
		   "\"url\":\"https://example.org\",\"interfaces\":[\"org.varlink.service\","
		   "\"org.example.test\"]}}\n");
	say(fd, "{\"method\":\"org.varlink.service.GetInterfaceDescription\","
		"\"parameters\":{\"interface\":\"org.example.test\"}}");
	CHECK(strstr(hear(fd), "interface org.example.test\\nmethod Echo"));
	check_says(fd,
		   "{\"method\":\"org.varlink.service.GetInterfaceDescription\","
		   "\"parameters\":{\"interface\":\"a.b\"}}",
		   "{\"error\":\"org.varlink.service.InterfaceNotFound\",\"parameters\":{\"interface\":"
		   "\"a.b\"}}\n");
	end();
}

TEST(wrong_calls_get_the_typed_errors)
{
	static const char *const calls[][3] = {
		{ "a.b.C", "{}", "InterfaceNotFound\",\"parameters\":{\"interface\":\"a.b\"}" },
		{ "nodot", "{}", "InterfaceNotFound\",\"parameters\":{\"interface\":\"nodot\"}" },
		{ T "Nope", "{}", "MethodNotFound\",\"parameters\":{\"method\":\"org.example.test.Nope\"}" },
		{ T "Unmade", "{}", "MethodNotImplemented\",\"parameters\":{\"method\":\"org.example.test.Unmade\"}" },
		{ T "Echo", "{}", "InvalidParameter\",\"parameters\":{\"parameter\":\"text\"}" },
		{ T "Echo", "{\"text\":7}", "InvalidParameter\",\"parameters\":{\"parameter\":\"text\"}" },
		{ T "Echo", "{\"text\":\"a\",\"n\":\"b\"}", "InvalidParameter\",\"parameters\":{\"parameter\":\"n\"}" },
		{ T "Echo", "{\"text\":\"a\",\"z\":1}", "InvalidParameter\",\"parameters\":{\"parameter\":\"z\"}" },
	};
	char call[300], answer[300];
	int fd;

	serve();
	fd = dial();
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		snprintf(call, sizeof(call), "{\"method\":\"%s\",\"parameters\":%s}", calls[i][0], calls[i][1]);
		snprintf(answer, sizeof(answer), "{\"error\":\"org.varlink.service.%s}\n", calls[i][2]);
		check_says(fd, call, answer);
	}
	/* After all of them the connection still serves. */
	check_says(fd, "{\"method\":\"" T "Change\"}", "{\"parameters\":{}}\n");
	end();
}

TEST(errors_carry_clean_words)
{
	int fd;

	serve();
	fd = dial();
	check_says(fd, "{\"method\":\"" T "Fail\"}",
		   "{\"error\":\"org.example.test.NoLuck\",\"parameters\":{\"message\":\"no luck[31m "
		   "today\",\"hint\":\"try tomorrow\"}}\n");
	end();
}

TEST(an_answer_that_breaks_its_description_is_not_sent)
{
	int fd;

	serve();
	fd = dial();
	say(fd, "{\"method\":\"" T "Wrong\"}");
	CHECK(strstr(hear(fd), "io.handfast.Daemon.Internal"));
	end();
}

TEST(pipelined_calls_are_answered_in_order)
{
	int fd;

	serve();
	fd = dial();
	for (int i = 0; i < 10; i++) {
		char call[200];

		snprintf(call, sizeof(call),
			 i == 3 ? "{\"method\":\"" T "Later\",\"parameters\":{\"name\":\"%d\"}}" :
				  "{\"method\":\"" T "Echo\",\"parameters\":{\"text\":\"%d\"}}",
			 i);
		say(fd, call);
	}
	CHECK_STR(hear(fd), "{\"parameters\":{\"text\":\"0\"}}\n{\"parameters\":{\"text\":\"1\"}}\n"
			    "{\"parameters\":{\"text\":\"2\"}}\n");
	CHECK_EQ(f.n_later, 1);
	varlink_reply(f.later[0], json_pack("{s:s}", "name", "3"));
	CHECK_STR(hear(fd), "{\"parameters\":{\"name\":\"3\"}}\n{\"parameters\":{\"text\":\"4\"}}\n"
			    "{\"parameters\":{\"text\":\"5\"}}\n{\"parameters\":{\"text\":\"6\"}}\n"
			    "{\"parameters\":{\"text\":\"7\"}}\n{\"parameters\":{\"text\":\"8\"}}\n"
			    "{\"parameters\":{\"text\":\"9\"}}\n");
	end();
}

TEST(a_call_may_come_byte_by_byte)
{
	static const char call[] = "{\"method\":\"" T "Echo\",\"parameters\":{\"text\":\"slow\"}}";
	int fd;

	serve();
	fd = dial();
	for (size_t i = 0; i < sizeof(call); i++) {
		CHECK_EQ(write(fd, call + i, 1), 1);
		loop_step(f.l, 100);
	}
	CHECK_STR(hear(fd), "{\"parameters\":{\"text\":\"slow\"}}\n");
	end();
}

TEST(one_way_calls_run_and_say_nothing)
{
	int fd;

	serve();
	fd = dial();
	check_says(fd, "{\"method\":\"" T "Echo\",\"parameters\":{\"text\":\"a\"},\"oneway\":true}", "");
	CHECK_EQ(f.echoed, 1);
	check_says(fd, "{\"method\":\"" T "Nope\",\"oneway\":true}", "");
	check_says(fd, "{\"method\":\"" T "Fail\",\"oneway\":true}", "");
	check_says(fd, "{\"method\":\"" T "Change\"}", "{\"parameters\":{}}\n");
	end();
}

TEST(more_brings_notifications_and_then_the_answer)
{
	int fd;

	serve();
	fd = dial();
	check_says(fd, "{\"method\":\"" T "Many\",\"parameters\":{\"n\":3},\"more\":true}",
		   "{\"parameters\":{\"i\":1,\"fill\":\"\"},\"continues\":true}\n"
		   "{\"parameters\":{\"i\":2,\"fill\":\"\"},\"continues\":true}\n"
		   "{\"parameters\":{\"i\":3}}\n");
	check_says(fd, "{\"method\":\"" T "Many\",\"parameters\":{\"n\":3}}", "{\"parameters\":{\"i\":3}}\n");
	end();
}

static void check_refused(const char *bytes, size_t len, const char *why)
{
	int fd = dial();
	const char *answer;

	CHECK_EQ(send(fd, bytes, len, MSG_NOSIGNAL), len);
	answer = hear(fd);
	if (!strstr(answer, "io.handfast.Daemon.BadRequest") || !strstr(answer, why) || !strstr(answer, "\nEOF"))
		test_fail(__FILE__, __LINE__, "%.60s gives %s, not %s", bytes, answer, why);
	close(fd);
}

#define REFUSED(text, why) check_refused(text, sizeof(text), why)

TEST(i4_what_is_no_call_is_answered_and_ends_the_connection)
{
	char deep[200] = "{\"method\":\"" T "Change\",\"parameters\":";

	serve();
	REFUSED("", "JSON");
	REFUSED("hello", "JSON");
	REFUSED("[]", "JSON");
	REFUSED("{\"method\":\"a.b.C\"", "JSON");
	REFUSED("{\"method\":\"a.b.C\"}{}", "JSON");
	REFUSED("{\"method\":\"a.b.C\",\"method\":\"a.b.D\"}", "JSON");
	REFUSED("{\"method\":\"a.b.\xff\"}", "JSON");
	REFUSED("{}", "no Varlink call");
	REFUSED("{\"method\":7}", "no Varlink call");
	REFUSED("{\"method\":\"a.b.C\",\"parameters\":[]}", "no Varlink call");
	REFUSED("{\"method\":\"a.b.C\",\"more\":1}", "no Varlink call");
	REFUSED("{\"method\":\"a.b.C\",\"more\":true,\"oneway\":true}", "no Varlink call");
	REFUSED("{\"method\":\"" T "Change\",\"upgrade\":true}", "upgrade");
	for (int i = 0; i < 25; i++)
		strcat(deep, "{\"a\":");
	check_refused(deep, strlen(deep) + 1, "deep");
	end();
}

TEST(calls_before_the_garbage_are_answered_first)
{
	int fd;
	const char *answer;

	serve();
	fd = dial();
	say(fd, "{\"method\":\"" T "Change\"}");
	say(fd, "garbage");
	say(fd, "{\"method\":\"" T "Change\"}");
	answer = hear(fd);
	CHECK(strncmp(answer, "{\"parameters\":{}}\n{\"error\":", 27) == 0);
	CHECK(!strstr(answer + 20, "\"parameters\":{}"));
	end();
}

/* Send all of it while the loop runs; false when the other end closed. */
static bool pour(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN)
			return false;
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
		loop_step(f.l, 1);
	}
	return true;
}

TEST(i4_a_message_is_at_most_1_mib)
{
	size_t max = 1 << 20;
	char *text = malloc(max + 2);
	static const char head[] = "{\"method\":\"" T "Echo\",\"parameters\":{\"text\":\"";
	int fd;

	serve();
	memset(text, 'a', max);
	memcpy(text, head, sizeof(head) - 1);
	memcpy(text + max - 3, "\"}}", 4);
	fd = dial();
	CHECK(pour(fd, text, max + 1));
	CHECK(strstr(hear(fd), "aaaa"));
	CHECK_EQ(f.echoed, 1);
	close(fd);

	fd = dial();
	memset(text, ' ', max + 2);
	pour(fd, text, max + 2);
	CHECK(strstr(hear(fd), "longer than 1 MiB"));
	end();
	free(text);
}

TEST(i4_a_half_call_is_cut_off_after_ten_seconds)
{
	int fd, idle;

	clock_fake_ms(1000);
	serve();
	fd = dial();
	idle = dial();
	CHECK_EQ(write(fd, "{\"meth", 6), 6);
	settle();
	clock_fake_ms(1000 + 9000);
	CHECK_EQ(write(fd, "od", 2), 2);
	CHECK_STR(hear(fd), "");
	clock_fake_ms(1000 + 10000);
	CHECK_STR(hear(fd), "EOF");
	/* Who has begun nothing may stay. */
	clock_fake_ms(10000000);
	CHECK_STR(hear(idle), "");
	end();
}

TEST(i4_a_half_call_behind_a_long_one_has_its_own_time)
{
	int fd;

	clock_fake_ms(1000);
	serve();
	fd = dial();
	say(fd, "{\"method\":\"" T "Later\",\"parameters\":{\"name\":\"a\"}}");
	settle();
	clock_fake_ms(100000);
	CHECK_STR(hear(fd), "");
	varlink_reply(f.later[0], json_pack("{s:s}", "name", "a"));
	CHECK_STR(hear(fd), "{\"parameters\":{\"name\":\"a\"}}\n");
	end();
}

TEST(i4_no_more_is_read_than_may_wait)
{
	static const char call[] = "{\"method\":\"" T "Echo\",\"parameters\":{\"text\":\"x\"}}";
	int fd;

	serve();
	fd = dial();
	say(fd, "{\"method\":\"" T "Later\",\"parameters\":{\"name\":\"a\"}}");
	settle();
	/* The kernel's buffer is what the flood fills; then the caller has to wait. */
	for (int i = 0; i < 20000; i++) {
		if (send(fd, call, sizeof(call), MSG_NOSIGNAL) < 0)
			break;
		if (i % 8 == 0)
			loop_step(f.l, 0);
	}
	settle();
	CHECK(send(fd, call, sizeof(call), MSG_NOSIGNAL) < 0 && errno == EAGAIN);
	CHECK_EQ(f.echoed, 0);
	varlink_call_on_gone(f.later[0], on_gone, NULL);
	/* That the caller goes is seen all the same. */
	close(fd);
	settle();
	CHECK_EQ(f.gone, 1);
	end();
}

TEST(a_flood_of_calls_is_answered_to_the_last)
{
	static const char call[] = "{\"method\":\"" T "Change\"}";
	static char got[1 << 16];
	size_t answers = 0, sent = 0, cut = 0;
	int fd;

	serve();
	fd = dial();
	while (answers < 5000) {
		ssize_t n = 1;

		while (sent < 5000 && n > 0) {
			n = send(fd, call + cut, sizeof(call) - cut, MSG_NOSIGNAL);
			if (n > 0)
				cut += (size_t)n;
			if (cut == sizeof(call)) {
				cut = 0;
				sent++;
			}
		}
		loop_step(f.l, 100);
		n = recv(fd, got, sizeof(got), 0);
		CHECK(n > 0 || errno == EAGAIN);
		for (ssize_t i = 0; i < n; i++)
			answers += !got[i];
	}
	end();
}

TEST(i4_a_reader_that_does_not_read_is_closed_at_8_mib)
{
	static char c[1 << 16];
	int slow, other;
	size_t got = 0;
	ssize_t n;

	serve();
	slow = dial();
	other = dial();
	/* 20 MB, of which the caller reads nothing until they were all said. */
	say(slow, "{\"method\":\"" T "Many\",\"parameters\":{\"n\":2000,\"size\":10000},\"more\":true}");
	settle();
	check_says(other, "{\"method\":\"" T "Change\"}", "{\"parameters\":{}}\n");
	while ((n = recv(slow, c, sizeof(c), 0)) > 0) {
		got += (size_t)n;
		loop_step(f.l, 1);
	}
	CHECK_EQ(n, 0);
	CHECK(got < 8 << 20);
	end();
}

TEST(i4_unsent_bytes_that_do_not_move_end_the_connection)
{
	static const char call[] = "{\"method\":\"" T "Many\",\"parameters\":{\"n\":100,\"size\":10000},\"more\":true}";
	char c[4096];
	size_t got = 0;
	ssize_t n;
	int fd;

	clock_fake_ms(1000);
	serve();
	fd = dial();
	say(fd, call);
	settle();
	clock_fake_ms(1000 + 29000);
	settle();
	CHECK_EQ(send(fd, "", 0, MSG_NOSIGNAL), 0);
	clock_fake_ms(1000 + 31000);
	settle();
	while ((n = recv(fd, c, sizeof(c), 0)) > 0)
		got += (size_t)n;
	CHECK_EQ(n, 0);
	CHECK(got < 1000000);
	end();
}

TEST(who_goes_during_a_call_is_missed)
{
	int fd;

	serve();
	fd = dial();
	say(fd, "{\"method\":\"" T "Later\",\"parameters\":{\"name\":\"a\"},\"more\":true}");
	settle();
	varlink_call_on_gone(f.later[0], on_gone, NULL);
	varlink_notify(f.later[0], json_pack("{s:s}", "name", "step"));
	close(fd);
	settle();
	CHECK_EQ(f.gone, 1);
	end();
	CHECK_EQ(f.gone, 1);
}

TEST(a_call_whose_caller_went_may_still_be_answered)
{
	int fd;

	serve();
	fd = dial();
	say(fd, "{\"method\":\"" T "Later\",\"parameters\":{\"name\":\"a\"}}");
	settle();
	close(fd);
	settle();
	CHECK_EQ(varlink_call_caller(f.later[0])->uid, getuid());
	varlink_notify(f.later[0], NULL);
	varlink_reply(f.later[0], NULL);
	end();
}

TEST(the_end_of_the_server_is_told_to_calls_that_wait)
{
	int a, b;

	serve();
	a = dial();
	b = dial();
	say(a, "{\"method\":\"" T "Later\",\"parameters\":{\"name\":\"a\"}}");
	say(b, "{\"method\":\"" T "Later\",\"parameters\":{\"name\":\"b\"}}");
	settle();
	varlink_call_on_gone(f.later[0], on_gone, NULL);
	end();
	CHECK_EQ(f.gone, 1);
	varlink_error(f.later[1], "a.b.C", "too late", NULL);
}

TEST(i4_connections_are_bounded)
{
	int fds[70];
	size_t open = 0;

	serve();
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = unix_connect(socket_path(), SOCK_STREAM, true);
		loop_step(f.l, 10);
	}
	settle();
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		char c;

		open += fds[i] >= 0 && recv(fds[i], &c, 1, 0) < 0 && errno == EAGAIN;
	}
	CHECK_EQ(open, getuid() == 0 ? 48 : 16);
	close(fds[0]);
	settle();
	check_says(dial(), "{\"method\":\"" T "Change\"}", "{\"parameters\":{}}\n");
	end();
}

TEST(i4_one_process_does_not_lock_out_another)
{
	int fds[200], ready[2], go[2], status;
	pid_t pid;
	char c;

	if (getuid() != 0)
		test_skip("of other users all processes count together");
	serve();
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = unix_connect(socket_path(), SOCK_STREAM, true);
		loop_step(f.l, 10);
	}
	CHECK(pipe(ready) == 0 && pipe(go) == 0);
	pid = fork();
	if (pid == 0) {
		int fd = unix_connect(socket_path(), SOCK_STREAM, true);
		bool went = write(ready[1], "x", 1) == 1 && read(go[0], &c, 1) == 1;

		/* Neither an answer nor an end. */
		_exit(fd >= 0 && went && recv(fd, &c, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN ? 0 : 1);
	}
	CHECK_EQ(read(ready[0], &c, 1), 1);
	settle();
	CHECK_EQ(write(go[1], "x", 1), 1);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	end();
}

/* ---- clients ------------------------------------------------------------------------------- */

/* A server in a child process, since the client blocks. */
static pid_t serve_in_child(void)
{
	int ready[2];
	char c;
	pid_t pid;

	socket_path(); /* both processes share the folder */
	CHECK_EQ(pipe(ready), 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve();
		CHECK_EQ(write(ready[1], "r", 1), 1);
		loop_run(f.l);
		_exit(0);
	}
	CHECK_EQ(read(ready[0], &c, 1), 1);
	return pid;
}

static void end_child(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static int count_more(const json_t *params, void *arg)
{
	int *n = arg;

	++*n;
	CHECK_EQ(json_get_int(params, "i", 0), *n);
	return *n == 100 ? 42 : 0;
}

TEST(the_blocking_client_calls_and_follows)
{
	_cleanup_(varlink_client_freep) struct varlink_client *c = NULL;
	_cleanup_json_ json_t *reply = NULL;
	struct varlink_failure failure;
	pid_t pid = serve_in_child();
	int n = 0;

	CHECK_EQ(varlink_client_open(&c, socket_path()), 0);
	CHECK_EQ(varlink_client_call(c, T "Echo", json_pack("{s:s}", "text", "hi"), NULL, NULL, &reply, &failure), 0);
	CHECK_STR(json_get_str(reply, "text"), "hi");
	json_decref(reply);
	reply = NULL;
	CHECK_EQ(varlink_client_call(c, T "Many", json_pack("{s:i}", "n", 50), count_more, &n, &reply, &failure), 0);
	CHECK_EQ(n, 49);
	CHECK_EQ(json_get_int(reply, "i", 0), 50);
	end_child(pid);
}

TEST(the_blocking_client_hands_over_errors)
{
	_cleanup_(varlink_client_freep) struct varlink_client *c = NULL;
	_cleanup_json_ json_t *reply = NULL;
	struct varlink_failure failure;
	pid_t pid = serve_in_child();

	CHECK_EQ(varlink_client_open(&c, socket_path()), 0);
	CHECK_EQ(varlink_client_call(c, T "Fail", NULL, NULL, NULL, &reply, &failure), VARLINK_E_ERROR);
	CHECK_STR(failure.error, "org.example.test.NoLuck");
	CHECK_STR(failure.message, "no luck[31m today");
	CHECK_STR(failure.hint, "try tomorrow");
	varlink_failure_done(&failure);
	CHECK_EQ(varlink_client_call(c, T "Echo", NULL, NULL, NULL, &reply, &failure), VARLINK_E_ERROR);
	CHECK_STR(failure.error, "org.varlink.service.InvalidParameter");
	CHECK_STR(failure.message, "Invalid parameter: text");
	varlink_failure_done(&failure);
	/* An error ends its call, not the connection. */
	CHECK_EQ(varlink_client_call(c, T "Change", NULL, NULL, NULL, &reply, &failure), 0);
	CHECK(!reply || json_object_size(reply) == 0);
	end_child(pid);
}

TEST(a_call_left_early_spoils_the_connection)
{
	_cleanup_(varlink_client_freep) struct varlink_client *c = NULL;
	_cleanup_json_ json_t *reply = NULL;
	struct varlink_failure failure;
	pid_t pid = serve_in_child();
	int n = 0;

	CHECK_EQ(varlink_client_open(&c, socket_path()), 0);
	CHECK_EQ(varlink_client_call(c, T "Many", json_pack("{s:i}", "n", 200), count_more, &n, &reply, &failure), 42);
	CHECK_EQ(varlink_client_call(c, T "Change", NULL, NULL, NULL, &reply, &failure), -EPROTO);
	end_child(pid);
}

TEST(a_daemon_that_says_nothing_is_not_waited_for_longer_than_asked)
{
	_cleanup_(varlink_client_freep) struct varlink_client *c = NULL;
	_cleanup_json_ json_t *reply = NULL;
	struct varlink_failure failure;
	pid_t pid = serve_in_child();

	CHECK_EQ(varlink_client_open(&c, socket_path()), 0);
	varlink_client_set_timeout(c, 50);
	CHECK_EQ(varlink_client_call(c, T "Later", json_pack("{s:s}", "name", "a"), NULL, NULL, &reply, &failure),
		 -ETIMEDOUT);
	end_child(pid);
}

TEST(a_daemon_that_is_gone_is_told_apart)
{
	_cleanup_(varlink_client_freep) struct varlink_client *c = NULL;
	_cleanup_json_ json_t *reply = NULL;
	struct varlink_failure failure;
	pid_t pid;

	CHECK_EQ(varlink_client_open(&c, socket_path()), -ENOENT);
	pid = serve_in_child();
	CHECK_EQ(varlink_client_open(&c, socket_path()), 0);
	end_child(pid);
	CHECK_EQ(varlink_client_call(c, T "Change", NULL, NULL, NULL, &reply, &failure), -ECONNRESET);
	varlink_client_free(c);
	c = NULL;
	CHECK_EQ(varlink_client_open(&c, socket_path()), -ECONNREFUSED);
}

/* A server that answers with given bytes whatever is asked. */
static pid_t answer_with(const char *bytes, size_t len)
{
	int fd = unix_listen(socket_path(), SOCK_STREAM, 0666, NULL, false);
	pid_t pid;

	CHECK(fd >= 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		char buf[4096];
		int c;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fcntl(fd, F_SETFL, 0);
		c = accept(fd, NULL, NULL);
		if (read(c, buf, sizeof(buf)) > 0 && write(c, bytes, len) > 0)
			shutdown(c, SHUT_WR);
		while (read(c, buf, sizeof(buf)) > 0)
			;
		_exit(0);
	}
	close(fd);
	return pid;
}

TEST(i4_a_client_survives_wrong_answers)
{
	static const struct {
		const char *bytes;
		int r;
	} answers[] = {
		{ "x", -EPROTO },
		{ "[]", -EPROTO },
		{ "{\"error\":7}", -EPROTO },
		{ "{\"parameters\":[]}", -EPROTO },
		{ "{\"continues\":1}", -EPROTO },
		{ "{\"error\":\"a.b.C\",\"continues\":true}", -EPROTO },
		{ "{\"parameters\":{},\"continues\":true}", -ECONNRESET },
		{ "{\"error\":\"a.b.C\",\"parameters\":{\"message\":7}}", VARLINK_E_ERROR },
		{ "{}", 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
		_cleanup_(varlink_client_freep) struct varlink_client *c = NULL;
		_cleanup_json_ json_t *reply = NULL;
		struct varlink_failure failure;
		pid_t pid = answer_with(answers[i].bytes, strlen(answers[i].bytes) + 1);

		CHECK_EQ(varlink_client_open(&c, socket_path()), 0);
		CHECK_EQ(varlink_client_call(c, "a.b.C", NULL, NULL, NULL, &reply, &failure), answers[i].r);
		varlink_failure_done(&failure);
		end_child(pid);
	}
}

struct async_log {
	struct varlink_async *a;
	int n, last;
	char error[64];
	bool free_at_first;
};

static void on_reply(const json_t *params, const char *error, bool continues, void *arg)
{
	struct async_log *g = arg;

	g->n++;
	if (!continues)
		g->last++;
	snprintf(g->error, sizeof(g->error), "%s", error ? error : "");
	if (!error)
		CHECK(params);
	if (g->free_at_first)
		g->a = varlink_async_free(g->a);
}

TEST(the_client_in_the_loop_gets_every_answer)
{
	struct async_log g = { 0 };

	serve();
	CHECK_EQ(varlink_async_call(&g.a, f.l, socket_path(), T "Many", json_pack("{s:i}", "n", 20), true, on_reply, &g),
		 0);
	settle();
	CHECK_EQ(g.n, 20);
	CHECK_EQ(g.last, 1);
	CHECK_STR(g.error, "");
	varlink_async_free(g.a);
	end();
}

TEST(the_client_in_the_loop_may_be_freed_in_its_callback)
{
	struct async_log g = { .free_at_first = true };

	serve();
	CHECK_EQ(varlink_async_call(&g.a, f.l, socket_path(), T "Many", json_pack("{s:i}", "n", 20), true, on_reply, &g),
		 0);
	settle();
	CHECK_EQ(g.n, 1);
	CHECK(!g.a);
	end();
}

TEST(the_client_in_the_loop_is_told_of_errors_and_loss)
{
	struct async_log e = { 0 }, lost = { 0 };

	CHECK_EQ(loop_new(&f.l), 0);
	CHECK_EQ(varlink_async_call(&e.a, f.l, socket_path(), T "Fail", NULL, false, on_reply, &e), -ENOENT);
	loop_free(f.l);
	serve();
	CHECK_EQ(varlink_async_call(&e.a, f.l, socket_path(), T "Fail", NULL, false, on_reply, &e), 0);
	CHECK_EQ(varlink_async_call(&lost.a, f.l, socket_path(), T "Later", json_pack("{s:s}", "name", "a"), false,
				    on_reply, &lost),
		 0);
	settle();
	CHECK_STR(e.error, "org.example.test.NoLuck");
	CHECK_EQ(lost.n, 0);
	varlink_call_on_gone(f.later[0], on_gone, NULL);
	f.s = varlink_server_free(f.s);
	settle();
	CHECK_STR(lost.error, "connection");
	CHECK_EQ(lost.last, 1);
	varlink_async_free(e.a);
	varlink_async_free(lost.a);
	end();
}

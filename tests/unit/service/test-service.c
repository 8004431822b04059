/* A daemon's life, as a whole program in a child: folders, notifications, control, stop. */
#include "service/service.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "base/json.h"
#include "config/config.h"
#include "event/varlink.h"
#include "unit/lib/test.h"

static const struct service_info info = { .name = "exampled", .summary = "an example" };

static char dir[64], state[96], run_dir[96], config[96], sock[128];
static int notify_fd = -1;
static bool as_nobody;
static char told[8192];

static void prepare(void)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	snprintf(dir, sizeof(dir), "%s", test_tmpdir());
	snprintf(state, sizeof(state), "%s/a/b/state", dir);
	snprintf(run_dir, sizeof(run_dir), "%s/run", dir);
	snprintf(config, sizeof(config), "%s/x.yaml", dir);
	snprintf(sock, sizeof(sock), "%s/exampled.sock", run_dir);
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/notify", dir);
	notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	CHECK_EQ(bind(notify_fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	setenv("NOTIFY_SOCKET", sa.sun_path, 1);
	unsetenv("WATCHDOG_USEC");
	unsetenv("JOURNAL_STREAM");
	unsetenv("STATE_DIRECTORY");
}

static pid_t start(int (*run)(struct service *svc), const char *extra)
{
	char *argv[] = { (char *)(uintptr_t)"exampled",	       (char *)(uintptr_t)"--config",	   config,
			 (char *)(uintptr_t)"--state-dir",   state,
			 (char *)(uintptr_t)"--runtime-dir", run_dir,
			 (char *)(uintptr_t)extra,	       NULL };
	pid_t pid;

	fflush(stdout);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		char log[96];
		struct rlimit core;

		snprintf(log, sizeof(log), "%s/log", dir);
		dup2(open(log, O_WRONLY | O_CREAT | O_APPEND, 0600), 2);
		if (as_nobody)
			CHECK_EQ(setresuid(65534, 65534, 65534), 0);
		/* As a shell would have started it: a change of user id forbids dumps by itself. */
		prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
		getrlimit(RLIMIT_CORE, &core);
		core.rlim_cur = core.rlim_max;
		setrlimit(RLIMIT_CORE, &core);
		/* Not to stay when a check fails. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(service_main(&info, extra ? 8 : 7, argv, run));
	}
	return pid;
}

/* Wait until sd_notify brought text. */
static bool hears(const char *text)
{
	for (int i = 0; i < 500 && !strstr(told, text); i++) {
		size_t len = strlen(told);
		ssize_t n = recv(notify_fd, told + len, sizeof(told) - len - 2, MSG_DONTWAIT);

		if (n > 0)
			strcpy(told + len + n, "\n");
		else
			nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	}
	return strstr(told, text);
}

static bool log_has(const char *text)
{
	char path[96], buf[8192];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/log", dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	buf[n > 0 ? n : 0] = '\0';
	return strstr(buf, text);
}

static int end(pid_t pid, int signo)
{
	int status = 0;

	if (signo)
		kill(pid, signo);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* ---- what the daemon under test does ------------------------------------------------------- */

static int reload_ok = 1;

static int reload(struct service *svc, void *arg, struct config_error *err)
{
	(void)svc;
	if (*(int *)arg)
		return 0;
	snprintf(err->text, sizeof(err->text), "x.yaml:3:1: no");
	return -1;
}

static void add_details(struct json_t *details, void *arg)
{
	(void)arg;
	json_object_set_new(details, "answer", json_integer(42));
}

static void on_stop(void *arg)
{
	(void)arg;
	fprintf(stderr, "stop was told\n");
}

static int run_plain(struct service *svc)
{
	if (service_check_only(svc))
		return 0;
	service_on_reload(svc, reload, &reload_ok);
	service_on_status(svc, add_details, NULL);
	service_on_stop(svc, on_stop, NULL);
	if (service_confine(svc))
		return 9;
	return service_run(svc);
}

static int run_failing(struct service *svc)
{
	return service_fail(svc, -EACCES, "cannot do it");
}

/* A method that never answers, and an object that it belongs to. */
static char *object;
static const char waiting_description[] = "interface org.example.wait\nmethod Wait() -> ()\n";

static void on_gone(void *arg)
{
	fprintf(stderr, "gone while %s lives\n", *(char **)arg);
}

static void wait_method(struct varlink_call *call, const struct json_t *params, void *arg)
{
	(void)params;
	varlink_call_on_gone(call, on_gone, arg);
	fprintf(stderr, "waiting\n");
}

static const struct varlink_method wait_methods[] = { { "Wait", VARLINK_READ, wait_method }, { 0 } };
static const struct varlink_interface wait_interface = { "org.example.wait", waiting_description, wait_methods };

static int run_waiting(struct service *svc)
{
	int r;

	object = strdup("object");
	if (service_add_interface(svc, &wait_interface, &object))
		return 9;
	r = service_run(svc);
	free(object);
	object = NULL;
	return r;
}

/* ---- tests --------------------------------------------------------------------------------- */

TEST(a_daemon_tells_its_life_to_systemd)
{
	pid_t pid;

	prepare();
	pid = start(run_plain, NULL);
	CHECK(hears("READY=1"));
	kill(pid, SIGHUP);
	CHECK(hears("RELOADING=1\nMONOTONIC_USEC="));
	CHECK_EQ(end(pid, SIGTERM), 0);
	CHECK(hears("STOPPING=1"));
	CHECK(log_has("stop was told"));
	CHECK(!strstr(told, "WATCHDOG=1"));
}

TEST(the_watchdog_is_fed_only_when_asked)
{
	pid_t pid;

	prepare();
	setenv("WATCHDOG_USEC", "100000", 1);
	pid = start(run_plain, NULL);
	CHECK(hears("WATCHDOG=1"));
	CHECK_EQ(end(pid, SIGINT), 0);
}

TEST(folders_are_made_with_their_modes)
{
	struct stat st;
	pid_t pid;

	prepare();
	umask(0002);
	pid = start(run_plain, NULL);
	CHECK(hears("READY=1"));
	CHECK_EQ(stat(run_dir, &st), 0);
	CHECK_EQ(st.st_mode & 07777, 0755);
	CHECK_EQ(stat(state, &st), 0);
	CHECK_EQ(st.st_mode & 07777, 0700);
	CHECK_EQ(stat(sock, &st), 0);
	CHECK_EQ(st.st_mode & 07777, 0666);
	CHECK_EQ(end(pid, SIGTERM), 0);
	CHECK(stat(sock, &st) < 0);
}

TEST(a_state_folder_that_others_may_enter_is_refused)
{
	prepare();
	mkdir(run_dir, 0755);
	snprintf(state, sizeof(state), "%s/state", dir);
	CHECK_EQ(mkdir(state, 0700), 0);
	CHECK_EQ(chmod(state, 0710), 0);
	CHECK_EQ(end(start(run_plain, NULL), 0), 78);
	CHECK(log_has("chmod it to 0700"));
}

TEST(a_state_folder_that_is_a_file_is_refused)
{
	prepare();
	snprintf(state, sizeof(state), "%s/state", dir);
	close(open(state, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	CHECK_EQ(end(start(run_plain, NULL), 0), 78);
	CHECK(log_has("is no folder"));
}

TEST(check_touches_nothing)
{
	struct stat st;

	prepare();
	CHECK_EQ(end(start(run_plain, "--check"), 0), 0);
	CHECK(stat(run_dir, &st) < 0);
	CHECK(stat(state, &st) < 0);
}

TEST(a_failure_is_logged_once_and_told)
{
	prepare();
	CHECK_EQ(end(start(run_failing, NULL), 0), 1);
	CHECK(log_has("cannot do it: Permission denied"));
	CHECK(hears("ERRNO=13"));
	CHECK(hears("STATUS=cannot do it: Permission denied"));
}

static int call(const char *method, json_t *params, json_t **reply, struct varlink_failure *failure)
{
	_cleanup_(varlink_client_freep) struct varlink_client *c = NULL;

	CHECK_EQ(varlink_client_open(&c, sock), 0);
	return varlink_client_call(c, method, params, NULL, NULL, reply, failure);
}

TEST(status_and_reload_answer_over_the_control_socket)
{
	_cleanup_json_ json_t *status = NULL;
	_cleanup_json_ json_t *reply = NULL;
	struct varlink_failure failure;
	pid_t pid;

	prepare();
	pid = start(run_plain, NULL);
	CHECK(hears("READY=1"));
	CHECK_EQ(call("io.handfast.Daemon.Status", NULL, &status, &failure), 0);
	CHECK_STR(json_get_str(status, "name"), "exampled");
	CHECK_EQ(json_get_int(status, "pid", 0), pid);
	CHECK_EQ(json_get_int(json_object_get(status, "details"), "answer", 0), 42);
	CHECK_EQ(call("io.handfast.Daemon.Reload", NULL, &reply, &failure), 0);
	CHECK_EQ(end(pid, SIGTERM), 0);
}

TEST(a_reload_that_fails_says_why_to_its_caller)
{
	_cleanup_json_ json_t *reply = NULL;
	struct varlink_failure failure;
	pid_t pid;

	prepare();
	reload_ok = 0;
	pid = start(run_plain, NULL);
	CHECK(hears("READY=1"));
	CHECK_EQ(call("io.handfast.Daemon.Reload", NULL, &reply, &failure), VARLINK_E_ERROR);
	CHECK_STR(failure.error, "io.handfast.Daemon.ReloadRefused");
	CHECK_STR(failure.message, "x.yaml:3:1: no");
	varlink_failure_done(&failure);
	CHECK(log_has("reload-refused"));
	CHECK_EQ(end(pid, SIGTERM), 0);
}

TEST(at_the_stop_calls_end_before_what_they_belong_to)
{
	static const char text[] = "{\"method\":\"org.example.wait.Wait\"}";
	pid_t pid;
	int fd;
	char c;

	prepare();
	pid = start(run_waiting, NULL);
	CHECK(hears("READY=1"));
	fd = unix_connect(sock, SOCK_STREAM, false);
	CHECK(fd >= 0);
	CHECK_EQ(send(fd, text, sizeof(text), 0), sizeof(text));
	for (int i = 0; i < 300 && !log_has("waiting"); i++)
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	CHECK_EQ(end(pid, SIGTERM), 0);
	CHECK(log_has("gone while object lives"));
	CHECK_EQ(read(fd, &c, 1), 0);
	close(fd);
}

TEST(i5_a_daemon_leaves_no_core_and_gains_no_privilege)
{
	char path[96], buf[4096];
	struct stat st;
	ssize_t n;
	pid_t pid;
	int fd;

	prepare();
	/* A process that must not be dumped belongs to root in /proc, whoever runs it. */
	as_nobody = geteuid() == 0;
	if (as_nobody) {
		snprintf(path, sizeof(path), "%s/notify", dir);
		CHECK_EQ(chown(dir, 65534, 65534), 0);
		CHECK_EQ(chown(path, 65534, 65534), 0);
	}
	pid = start(run_plain, NULL);
	CHECK(hears("READY=1"));
	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	CHECK(n > 0);
	buf[n] = '\0';
	CHECK(strstr(buf, "NoNewPrivs:\t1"));
	snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
	CHECK_EQ(stat(path, &st), 0);
	CHECK_EQ(st.st_uid, 0);
	snprintf(path, sizeof(path), "/proc/%d/limits", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	CHECK(n > 0);
	buf[n] = '\0';
	CHECK(strstr(buf, "Max core file size        0                    0 "));
	CHECK_EQ(end(pid, SIGTERM), 0);
}

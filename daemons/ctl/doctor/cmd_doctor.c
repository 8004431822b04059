/* handfast doctor: runs the checks of the table, shows what they found, sums it up. */
#include "ctl/doctor/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"

#include "ctl/commands.h"

enum { ANSWER_MS = 2000, TEXT_MAX = 1024, TEXTS = 8 };

/* In this order they are run and shown: what others rest on comes first. */
const struct doctor_check doctor_checks[] = {
	{ "units", "the services of systemd", doctor_units },
	{ "daemons", "whether each daemon answers", doctor_daemons },
	{ "sockets", "the sockets in the runtime folder", doctor_sockets },
	{ "groups", "the groups that decide who may ask and change", doctor_groups },
	{ "versions", "versions of command, daemons and peers", doctor_versions },
	{ "configuration", "the configuration files", doctor_configuration },
	{ "files", "owners and modes of files", doctor_files },
	{ "credential", "the key that secrets at rest are sealed with", doctor_credential },
	{ "disk", "room in the state folders", doctor_disk },
	{ "memory", "how much memory may be locked", doctor_memory },
	{ "entropy", "the kernel's random generator", doctor_entropy },
	{ "clock", "the clock", doctor_clock },
	{ "tun", "TUN devices", doctor_tun },
	{ "buffers", "socket buffers", doctor_buffers },
	{ "sealing", "what seals packets", doctor_sealing },
	{ "relay", "the configured relay", doctor_relay },
	{ "peers", "the pairings", doctor_peers },
	{ "keys", "key files and their fuel", doctor_keys },
	{ "path", "the way to each peer, and its MTU", doctor_path },
	{ "firewall", "whether a firewall may be in the way", doctor_firewall },
	{ .name = NULL },
};

static const char *const verdicts[N_VERDICTS] = { "ok", "note", "warning", "failure" };

/* ---- for the checks ---- */

void doctor_tell(struct doctor *d, enum verdict v, const char *about, const char *todo, const char *what, ...)
{
	char text[TEXT_MAX];
	va_list ap;

	va_start(ap, what);
	vsnprintf(text, sizeof(text), what, ap);
	va_end(ap);
	d->n[v]++;
	json_array_append_new(d->findings, json_pack("{s:s, s:s, s:s, s:s, s:s}", "check", d->check, "verdict",
						     verdicts[v], "about", clean_text(about), "message", clean_text(text), "todo",
						     todo ? clean_text(todo) : ""));
}

const char *doctor_text(const char *fmt, ...)
{
	static char texts[TEXTS][TEXT_MAX];
	static unsigned int at;
	char *text = texts[at++ % TEXTS];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, TEXT_MAX, fmt, ap);
	va_end(ap);
	return text;
}

const char *doctor_detail(const struct doctor *d, size_t which, const char *key)
{
	const char *value = json_get_str(json_object_get(d->status[which], "details"), key);

	return value ? value : "";
}

void doctor_state_dir(const struct doctor *d, size_t which, char *out, size_t cap)
{
	const char *told = doctor_detail(d, which, "state_dir");

	if (*told)
		snprintf(out, cap, "%s", told);
	else
		snprintf(out, cap, "/var/lib/handfast/%s", awake_names[which]);
}

void doctor_config_file(const struct doctor *d, size_t which, char *out, size_t cap)
{
	const char *told = doctor_detail(d, which, "config");

	if (*told)
		snprintf(out, cap, "%s", told);
	else
		snprintf(out, cap, "/etc/handfast/%s.yaml", awake_names[which]);
}

static uid_t uid_of_process(int64_t pid)
{
	char path[64], text[2048];
	const char *line;
	unsigned int uid;

	snprintf(path, sizeof(path), "/proc/%lld/status", (long long)pid);
	if (pid <= 0 || !doctor_read(path, text, sizeof(text)))
		return DOCTOR_NOBODY;
	line = strstr(text, "\nUid:");
	/* Real, effective, …: what it makes files as is the second. */
	return line && sscanf(line, "\nUid: %*u %u", &uid) == 1 ? uid : DOCTOR_NOBODY;
}

uid_t doctor_uid(const struct doctor *d, size_t which)
{
	static const char *const accounts[AWAKE_MAX] = {
		[AWAKE_RELAYD] = "handfast-relay",
		[AWAKE_PAIRINGD] = "handfast-pairing",
		[AWAKE_PSKD] = "handfast-psk",
		[AWAKE_AUTHD] = "handfast-auth",
	};
	const struct passwd *p = d->own ? getpwnam(accounts[which]) : NULL;
	uid_t uid = uid_of_process(d->awake.service[which].main_pid);

	if (uid != DOCTOR_NOBODY)
		return uid;
	if (d->own)
		return p ? p->pw_uid : DOCTOR_NOBODY;
	return uid_of_process(json_get_int(d->status[which], "pid", 0));
}

const char *doctor_user(uid_t uid)
{
	const struct passwd *p = getpwuid(uid);

	return p ? doctor_text("%s", p->pw_name) : doctor_text("uid %u", (unsigned int)uid);
}

/* Until the end of what it prints, or of the time. */
static int take_output(int fd, char *out, size_t cap, uint64_t end_ms)
{
	char sink[512] = "";
	size_t len = 0;

	for (;;) {
		uint64_t now = clock_now_ms();
		struct pollfd p = { .fd = fd, .events = POLLIN };
		size_t room = cap - 1 - len;
		ssize_t n;

		out[len] = '\0';
		if (now >= end_ms || poll(&p, 1, (int)(end_ms - now)) == 0)
			return -ETIMEDOUT;
		n = read(fd, room ? out + len : sink, room ? room : sizeof(sink));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		if (room)
			len += (size_t)n;
	}
}

/* Its exit status, once it has ended; killed when the time is over before, or r says that something failed. */
static int take_end(pid_t pid, int r, uint64_t end_ms)
{
	const struct timespec moment = { .tv_nsec = 5 * 1000 * 1000 };
	int status = 0;
	pid_t ended = 0;

	while (!r && (ended = waitpid(pid, &status, WNOHANG)) == 0) {
		if (clock_now_ms() >= end_ms)
			r = -ETIMEDOUT;
		else
			nanosleep(&moment, NULL);
	}
	if (r) {
		kill(pid, SIGKILL);
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
		return r;
	}
	return ended > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -ECHILD;
}

int doctor_run(char *const argv[], char *out, size_t cap, int timeout_ms)
{
	/* Its words are compared, and it must find iptables, which is in sbin. */
	static char *const environment[] = { (char *)"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
					     (char *)"LC_ALL=C", NULL };
	posix_spawn_file_actions_t actions;
	uint64_t end_ms = clock_now_ms() + (uint64_t)timeout_ms;
	int fds[2], r;
	pid_t pid;

	out[0] = '\0';
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
	posix_spawn_file_actions_adddup2(&actions, fds[1], 2);
	r = -posix_spawnp(&pid, argv[0], &actions, NULL, argv, environment);
	posix_spawn_file_actions_destroy(&actions);
	close(fds[1]);
	if (!r) {
		r = take_output(fds[0], out, cap, end_ms);
		r = take_end(pid, r, end_ms);
	}
	close(fds[0]);
	return r;
}

bool doctor_read(const char *path, char *out, size_t cap)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n;

	out[0] = '\0';
	if (fd < 0)
		return false;
	n = read(fd, out, cap - 1);
	close(fd);
	if (n < 0)
		return false;
	out[n] = '\0';
	if (n && out[n - 1] == '\n')
		out[n - 1] = '\0';
	return true;
}

long long doctor_number(const char *path, long long fallback)
{
	char text[64], *end;
	long long v;

	if (!doctor_read(path, text, sizeof(text)))
		return fallback;
	v = strtoll(text, &end, 10);
	return end == text ? fallback : v;
}

/* ---- the command ---- */

static json_t *list_of(struct doctor *d, size_t which, const char *method, const char *key)
{
	_cleanup_json_ json_t *reply = NULL;
	struct failure f = { 0 };

	if (!d->status[which] || awake_ask(&d->awake, d->c, which, method, &reply, &f) != EXIT_DONE)
		return NULL;
	return json_incref(json_object_get(reply, key));
}

static void look_around(struct doctor *d)
{
	d->root = geteuid() == 0;
	d->own = strcmp(d->c->runtime_dir, "/run/handfast") == 0;
	awake_look(&d->awake, d->c);
	for (size_t i = 0; i < AWAKE_MAX; i++)
		if (awake_ask(&d->awake, d->c, i, "Daemon.Status", &d->status[i], &d->failure[i]) != EXIT_DONE)
			d->status[i] = NULL;
	d->peers = list_of(d, AWAKE_PAIRINGD, "Pairing.Peers", "peers");
	d->tunnels = list_of(d, AWAKE_PSKD, "Tunnel.List", "tunnels");
}

static void doctor_done(struct doctor *d)
{
	for (size_t i = 0; i < AWAKE_MAX; i++)
		json_decref(d->status[i]);
	json_decref(d->peers);
	json_decref(d->tunnels);
	json_decref(d->findings);
}

static enum paint verdict_paint(const char *verdict)
{
	return strcmp(verdict, "ok") == 0      ? PAINT_GREEN :
	       strcmp(verdict, "failure") == 0 ? PAINT_RED :
	       strcmp(verdict, "warning") == 0 ? PAINT_YELLOW :
						 PAINT_PLAIN;
}

enum { INDENT = 9 };

static void finding_text(const struct ctl *c, const json_t *one)
{
	const char *verdict = json_get_str(one, "verdict"), *todo = clean_member(one, "todo");
	const char *about = clean_member(one, "about");
	enum paint p = verdict_paint(verdict);
	char line[2 * TEXT_MAX];

	snprintf(line, sizeof(line), "%s%s%s.", about, *about ? ": " : "", clean_member(one, "message"));
	printf("%s%-*s%s", paint_begin(&c->style, p), INDENT, verdict, paint_end(&c->style, p));
	text_wrap(stdout, &c->style, line, INDENT, INDENT);
	if (!*todo)
		return;
	printf("%*s-> ", INDENT, "");
	text_wrap(stdout, &c->style, todo, INDENT + 3, INDENT + 3);
}

static void doctor_answer(const struct ctl *c, const json_t *result)
{
	const json_t *one, *sums = json_object_get(result, "counts");
	const char *check = "";
	size_t i;

	json_array_foreach(json_object_get(result, "findings"), i, one) {
		if (strcmp(json_get_str(one, "check"), check) != 0) {
			check = json_get_str(one, "check");
			printf("%s%s%s%s\n", i ? "\n" : "", paint_begin(&c->style, PAINT_BOLD), check,
			       paint_end(&c->style, PAINT_BOLD));
		}
		finding_text(c, one);
	}
	printf("\n%lld fine, %lld to know, %lld to look at, %lld wrong.\n",
	       (long long)json_get_int(sums, "ok", 0), (long long)json_get_int(sums, "note", 0),
	       (long long)json_get_int(sums, "warning", 0), (long long)json_get_int(sums, "failure", 0));
	if (!json_is_true(json_object_get(result, "root")))
		printf("What only root can see was left out: “sudo handfast doctor” sees all.\n");
}

/* NULL: all. */
static bool is_chosen(const char *only, const char *name)
{
	size_t len = strlen(name);

	for (const char *p = only; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
		if (strncmp(p, name, len) == 0 && (p[len] == ',' || !p[len]))
			return true;
	return !only;
}

static bool names_a_check(const char *word, size_t len)
{
	for (const struct doctor_check *k = doctor_checks; k->name; k++)
		if (strlen(k->name) == len && strncmp(k->name, word, len) == 0)
			return true;
	return false;
}

static int check_only(struct ctl *c, const char *only)
{
	for (const char *p = only; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
		if (!names_a_check(p, strcspn(p, ",")))
			return ctl_fail(c, EXIT_USAGE, ERROR_USAGE, "“handfast doctor --list” has their names.",
					"there is no check %.*s", (int)strcspn(p, ","), p);
	return EXIT_DONE;
}

static void list_text(const struct ctl *c, const json_t *result)
{
	const json_t *one;
	size_t i;

	json_array_foreach(json_object_get(result, "checks"), i, one)
		fact(stdout, &c->style, json_get_str(one, "name"), "%s", json_get_str(one, "about"));
}

static int list_checks(struct ctl *c)
{
	json_t *list = json_array();

	for (const struct doctor_check *k = doctor_checks; k->name; k++)
		json_array_append_new(list, json_pack("{s:s, s:s}", "name", k->name, "about", k->about));
	return ctl_result(c, json_pack("{s:o}", "checks", list), list_text);
}

int cmd_doctor(struct ctl *c)
{
	_cleanup_(doctor_done) struct doctor d = { .c = c, .findings = json_array() };
	const char *only = ctl_option(c, "only");
	struct failure f;
	json_t *result;
	int r;

	if (ctl_flag(c, "list"))
		return list_checks(c);
	r = check_only(c, only);
	if (r)
		return r;
	c->answer_ms = ANSWER_MS;
	look_around(&d);
	for (const struct doctor_check *k = doctor_checks; k->name; k++) {
		d.check = k->name;
		if (is_chosen(only, k->name))
			k->fn(&d);
	}
	result = json_pack("{s:O, s:{s:i, s:i, s:i, s:i}, s:b}", "findings", d.findings, "counts", "ok",
			   (int)d.n[DOCTOR_OK], "note", (int)d.n[DOCTOR_NOTE], "warning", (int)d.n[DOCTOR_WARNING],
			   "failure", (int)d.n[DOCTOR_FAILURE], "root", (int)d.root);
	if (!d.n[DOCTOR_FAILURE])
		return ctl_result(c, result, doctor_answer);
	failure_set(&f, EXIT_FAILED, ERROR_UNWELL, NULL, "%u of %zu findings are failures", d.n[DOCTOR_FAILURE],
		    json_array_size(d.findings));
	return ctl_result_failed(c, result, doctor_answer, &f);
}

/* Children that read a bundle from a memory file and answer with one line. */
#include "ctl/backup/import.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <jansson.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"

#include "ctl/ctl.h"
#include "ctl/daemon.h"

/* An answer names every peer and tunnel that was taken. */
enum { ANSWER_MAX = 16 << 20 };

static const struct json_limits limits = { .max_bytes = ANSWER_MAX, .max_depth = 5, .max_keys = 400000 };

const struct import_part import_parts[IMPORT_PARTS] = {
	{ PAIRINGD, "handfast-pairing" },
	{ PSKD, "handfast-psk" },
	{ AUTHD, "handfast-auth" },
};

void import_owner(const struct import_part *part, const char *state_dir, uid_t *uid, gid_t *gid)
{
	const struct passwd *pw;
	struct stat st;

	if (stat(state_dir, &st) == 0) {
		*uid = st.st_uid;
		*gid = st.st_gid;
		return;
	}
	*uid = geteuid();
	*gid = getegid();
	pw = *uid == 0 ? getpwnam(part->user) : NULL;
	if (pw) {
		*uid = pw->pw_uid;
		*gid = pw->pw_gid;
	}
}

/* Wait for pid, whose output comes through fd: its exit code, its first line in text. */
static int collect_child(pid_t pid, int fd, char **text)
{
	size_t len = 0;
	int status;

	if (file_read_fd(text, &len, fd, ANSWER_MAX))
		*text = NULL;
	close(fd);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (*text)
		(*text)[strcspn(*text, "\n")] = '\0';
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* In the child: become who owns the folder; nothing is printed by who must not. */
static int become(uid_t uid, gid_t gid)
{
	if (geteuid() != 0 || uid == 0)
		return 0;
	return setgroups(0, NULL) < 0 || setgid(gid) < 0 || setuid(uid) < 0 ? -1 : 0;
}

static int spawn(const struct import_run *run, char *const argv[], char **text)
{
	int out[2];
	pid_t pid;
	uid_t uid;
	gid_t gid;

	import_owner(run->part, run->state_dir, &uid, &gid);
	if (lseek(run->bundle, 0, SEEK_SET) < 0 || pipe2(out, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid < 0) {
		int r = -errno;

		close(out[0]);
		close(out[1]);
		return r;
	}
	if (pid == 0) {
		if (dup2(run->bundle, 0) < 0 || dup2(out[1], 1) < 0 || dup2(out[1], 2) < 0 ||
		    (run->hold >= 0 && fcntl(run->hold, F_SETFD, 0) < 0) || become(uid, gid) < 0)
			_exit(127);
		execv(argv[0], argv);
		_exit(127);
	}
	close(out[1]);
	return collect_child(pid, out[0], text);
}

int import_run(const struct ctl *c, const struct import_run *run, struct json_t **answer, char *why, size_t cap)
{
	_cleanup_free_ char *text = NULL;
	char program[4200];
	char *argv[9];
	size_t n = 0;
	int r;

	if (!daemon_program(program, sizeof(program), run->part->daemon)) {
		snprintf(why, cap, "there is no program %s", run->part->daemon);
		return -ENOENT;
	}
	argv[n++] = program;
	argv[n++] = (char *)"--import";
	argv[n++] = (char *)"--state-dir";
	argv[n++] = (char *)(uintptr_t)run->state_dir;
	argv[n++] = (char *)"--runtime-dir";
	argv[n++] = (char *)(uintptr_t)c->runtime_dir;
	if (run->replace)
		argv[n++] = (char *)"--replace";
	if (run->check)
		argv[n++] = (char *)"--check";
	argv[n] = NULL;
	r = spawn(run, argv, &text);
	if (r == 0 && text && json_parse(answer, text, strlen(text), &limits) == 0)
		return 0;
	if (r < 0)
		snprintf(why, cap, "%s", strerror(-r));
	else if (r >= 126 || !text || !*text)
		snprintf(why, cap, "it ended before it had answered");
	else
		snprintf(why, cap, "%s", text);
	return r ? r : 128;
}

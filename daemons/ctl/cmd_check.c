/*
 * handfast check: each daemon knows its own configuration, so it is asked:
 * `DAEMON --check [--config FILE]`, from beside this program or where packages put it.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <spawn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"

#include "ctl/commands.h"
#include "ctl/ctl.h"
#include "ctl/daemon.h"

enum { COMPLAINT_MAX = 4096 };

static const char *const daemons[] = { RELAYD, PAIRINGD, PSKD, AUTHD };

/* Its exit status, or negative errno; what it said against the file in complaint. */
static int ask(const char *program, const char *file, char *complaint, size_t cap)
{
	char *argv[] = { (char *)(uintptr_t)program, (char *)"--check",
			 file ? (char *)"--config" : NULL, (char *)(uintptr_t)file, NULL };
	posix_spawn_file_actions_t actions;
	_cleanup_free_ char *text = NULL;
	int out[2], status, r;
	size_t len;
	pid_t pid;

	if (pipe2(out, O_CLOEXEC) < 0)
		return -errno;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, out[1], 1);
	posix_spawn_file_actions_adddup2(&actions, out[1], 2);
	r = posix_spawn(&pid, program, &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(out[1]);
	if (r) {
		close(out[0]);
		return -r;
	}
	r = file_read_fd(&text, &len, out[0], COMPLAINT_MAX);
	close(out[0]);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	snprintf(complaint, cap, "%s", r == 0 ? text : "");
	complaint[strcspn(complaint, "\n")] = '\0';
	/* That it is fine is said by its status; there may be a warning before. */
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && strncmp(complaint, "warning: ", 9) != 0)
		*complaint = '\0';
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* DIR/tunnels/NAME.yaml: what pskd reads beside DIR/pskd.yaml. */
static bool is_tunnel(const char *file)
{
	const char *name = strrchr(file, '/'), *folder = name;

	if (!name)
		return false;
	while (folder > file && folder[-1] != '/')
		folder--;
	return (size_t)(name - folder) == strlen("tunnels") &&
	       strncmp(folder, "tunnels", strlen("tunnels")) == 0;
}

/* The pskd.yaml whose tunnels include file. */
static void config_of_tunnel(char *out, size_t cap, const char *file)
{
	int len = (int)(strrchr(file, '/') - file - (ptrdiff_t)strlen("tunnels"));

	snprintf(out, cap, "%.*spskd.yaml", len, file);
}

/* relayd.yaml, and also relayd.yaml.new or relayd-test.yaml, is relayd's. */
static const char *daemon_of(const struct ctl *c, const char *file)
{
	const char *chosen = ctl_option(c, "daemon"), *name = strrchr(file, '/');

	if (chosen)
		return chosen;
	if (is_tunnel(file))
		return PSKD;
	name = name ? name + 1 : file;
	for (size_t i = 0; i < ARRAY_SIZE(daemons); i++)
		if (strncmp(name, daemons[i], strlen(daemons[i])) == 0)
			return daemons[i];
	return NULL;
}

struct verdict {
	json_t *files;
	int refused;
};

/* file NULL: the daemon's own. EXIT_DONE, whatever the verdict, or an exit code with *f filled. */
static int check_one(struct verdict *v, const char *daemon, const char *file, struct failure *f)
{
	char program[4200], complaint[COMPLAINT_MAX], shown[4200], config[4200];
	const char *given = file;
	int r;

	if (file && strcmp(daemon, PSKD) == 0 && is_tunnel(file)) {
		config_of_tunnel(config, sizeof(config), file);
		given = config;
	}

	if (!daemon_program(program, sizeof(program), daemon))
		return failure_set(f, EXIT_FAILED, ERROR_NO_SUCH_FILE,
				   "It belongs beside this program or in /usr/libexec/handfast.",
				   "there is no program %s", daemon);
	r = ask(program, given, complaint, sizeof(complaint));
	if (r < 0)
		return failure_set(f, EXIT_FAILED, ERROR_INTERNAL, NULL, "cannot run %s: %s", program,
				   strerror(-r));
	if (file)
		snprintf(shown, sizeof(shown), "%s", file);
	else
		snprintf(shown, sizeof(shown), "/etc/handfast/%s.yaml", daemon);
	v->refused += r != 0;
	json_array_append_new(v->files, json_pack("{s:s, s:s%, s:b, s:s}", "daemon", daemon, "file",
						  shown, strlen(shown), "ok", r == 0, "message",
						  clean_text(complaint)));
	return EXIT_DONE;
}

/* Of what is installed; a machine that only runs a relay has only that. */
static int check_installed(struct verdict *v, struct failure *f)
{
	char program[4200];
	int r = EXIT_DONE;

	for (size_t i = 0; !r && i < ARRAY_SIZE(daemons); i++)
		if (daemon_program(program, sizeof(program), daemons[i]))
			r = check_one(v, daemons[i], NULL, f);
	if (!r && json_array_size(v->files) == 0)
		r = failure_set(f, EXIT_FAILED, ERROR_NO_SUCH_FILE,
				"They belong beside this program or in /usr/libexec/handfast.",
				"none of the daemons is installed");
	return r;
}

static void check_text(const struct ctl *c, const json_t *result)
{
	const json_t *one;
	size_t i;

	json_array_foreach(json_object_get(result, "files"), i, one) {
		bool fine = json_is_true(json_object_get(one, "ok"));
		const char *message = clean_member(one, "message");
		enum paint p = !fine ? PAINT_RED : *message ? PAINT_YELLOW : PAINT_GREEN;

		printf("%s%-6s%s %s (%s)%s%s\n", paint_begin(&c->style, p), fine ? "ok" : "FAILED",
		       paint_end(&c->style, p), clean_member(one, "file"),
		       clean_member(one, "daemon"), *message ? "\n       " : "", message);
	}
}

int cmd_check(struct ctl *c)
{
	struct verdict v = { json_array(), 0 };
	struct failure f = { 0 };
	int r = EXIT_DONE;

	for (size_t i = 0; !r && ctl_argument(c, i); i++) {
		const char *file = ctl_argument(c, i), *daemon = daemon_of(c, file);

		if (!daemon)
			r = failure_set(&f, EXIT_USAGE, ERROR_USAGE,
					"Say --daemon NAME: relayd, pairingd, pskd or authd.",
					"%s: whose configuration is this?", clean_text(file));
		else if (access(file, R_OK) != 0)
			r = failure_set(&f, errno == EACCES ? EXIT_PERMISSION : EXIT_NO_SUCH,
					ERROR_NO_SUCH_FILE, NULL, "cannot read %s: %s",
					clean_text(file), strerror(errno));
		else
			r = check_one(&v, daemon, file, &f);
	}
	if (!r && !ctl_argument(c, 0))
		r = check_installed(&v, &f);
	if (r) {
		json_decref(v.files);
		return ctl_fail_with(c, &f);
	}
	if (!v.refused)
		return ctl_result(c, json_pack("{s:o}", "files", v.files), check_text);
	failure_set(&f, EXIT_FAILED, ERROR_CONFIGURATION,
		    "A running daemon keeps the configuration that it has.",
		    "%d of %zu configurations would be refused", v.refused,
		    json_array_size(v.files));
	return ctl_result_failed(c, json_pack("{s:o}", "files", v.files), check_text, &f);
}

/*
 * handfast restore: everything is checked, then asked about, then done. Each
 * daemon takes its own part back (`NAME --import`, as the owner of its state
 * folder), whole or not at all; configuration files that differ are kept beside the new ones.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <jansson.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "crypto/archive.h"
#include "crypto/secret.h"
#include "proto/bundle.h"
#include "service/export.h"

#include "ctl/backup_file.h"
#include "ctl/commands.h"
#include "ctl/ctl.h"
#include "ctl/daemon.h"
#include "ctl/terminal.h"

#define STATE_DIR "/var/lib/handfast"
#define CONFIG_DIR "/etc/handfast"
#define RUNTIME_DIR "/run/handfast"

enum { ANSWER_MAX = 1 << 16, OLD_TRIES = 1000 };

static const struct json_limits limits = { .max_bytes = ANSWER_MAX, .max_depth = 5, .max_keys = 20000 };

/* In the order in which they take their state. */
static const struct part {
	const char *daemon;
	const char *user; /* who owns the state folder when it has to be made */
} parts[] = {
	{ PAIRINGD, "handfast-pairing" },
	{ PSKD, "handfast-psk" },
};

/* Stopped while state is replaced, sockets first, so that nobody starts a daemon meanwhile. */
static const char *const units[] = {
	"pskd.socket", "pairingd.socket", "pskd.service", "pairingd.service",
};

struct restore {
	struct ctl *c;
	const char *config_dir, *state_dir;
	struct pages bundle;
	int part_fds[ARRAY_SIZE(parts)]; /* each daemon's bundle; -1: the backup has none */
	bool was_active[ARRAY_SIZE(units)];
	bool stopped;
	json_t *imported; /* daemon: its answer */
	json_t *kept;	  /* configuration files that were moved away */
	json_t *notes;
};

static void restore_done(struct restore *s)
{
	pages_done(&s->bundle);
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		if (s->part_fds[i] >= 0)
			close(s->part_fds[i]);
	json_decref(s->imported);
	json_decref(s->kept);
	json_decref(s->notes);
}

/* ---- taking the backup apart ---- */

static int write_fd(int fd, const void *data, size_t len, off_t *at)
{
	int r = file_pwrite_all(fd, data, len, *at);

	*at += (off_t)len;
	return r;
}

/* The pieces of one daemon as a bundle of their own, which never touches a disk. */
static int extract(struct restore *s, size_t n)
{
	static const uint8_t end[BUNDLE_END_LEN];
	uint8_t prefix[BUNDLE_PREFIX_MAX];
	struct bundle_piece piece;
	struct bundle_reader reader;
	char wanted[32];
	size_t found = 0;
	off_t at = 0;
	int fd, r;

	fd = memfd_create("handfast-import", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	s->part_fds[n] = fd;
	snprintf(wanted, sizeof(wanted), "%s/", parts[n].daemon);
	bundle_head(prefix);
	r = write_fd(fd, prefix, BUNDLE_HEAD_LEN, &at);
	bundle_open(&reader, s->bundle.p, s->bundle.len, NULL);
	while (!r && bundle_next(&reader, &piece) == 1) {
		if (strncmp(piece.name, wanted, strlen(wanted)) != 0)
			continue;
		found++;
		r = write_fd(fd, prefix, bundle_prefix(prefix, piece.name + strlen(wanted), piece.len), &at);
		if (!r)
			r = write_fd(fd, piece.data, piece.len, &at);
	}
	if (!r)
		r = write_fd(fd, end, sizeof(end), &at);
	if (found == 0 || r) {
		close(fd);
		s->part_fds[n] = -1;
	}
	return r;
}

/* ---- running programs ---- */

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

static int run_import(const char *program, char *const argv[], int in, uid_t uid, gid_t gid, char **text)
{
	int out[2];
	pid_t pid;

	if (lseek(in, 0, SEEK_SET) < 0 || pipe2(out, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid < 0) {
		int r = -errno;

		close(out[0]);
		close(out[1]);
		return r;
	}
	if (pid == 0) {
		if (dup2(in, 0) < 0 || dup2(out[1], 1) < 0 || dup2(out[1], 2) < 0 || become(uid, gid) < 0)
			_exit(127);
		execv(program, argv);
		_exit(127);
	}
	close(out[1]);
	return collect_child(pid, out[0], text);
}

static char *state_path(const struct restore *s, const struct part *part)
{
	return path_join(s->state_dir, part->daemon);
}

/* Whose folder it is, or will be. */
static int find_owner(const struct part *part, const char *dir, uid_t *uid, gid_t *gid)
{
	const struct passwd *pw;
	struct stat st;

	if (stat(dir, &st) == 0) {
		*uid = st.st_uid;
		*gid = st.st_gid;
		return 0;
	}
	*uid = geteuid();
	*gid = getegid();
	pw = *uid == 0 ? getpwnam(part->user) : NULL;
	if (pw) {
		*uid = pw->pw_uid;
		*gid = pw->pw_gid;
	}
	return 0;
}

static int make_state_dir(const char *dir, uid_t uid, gid_t gid)
{
	_cleanup_free_ char *parent = strdup(dir);
	int r;

	if (!parent)
		return -ENOMEM;
	*strrchr(parent, '/') = '\0';
	r = *parent ? file_mkdirs(parent, 0755) : 0;
	if (r)
		return r;
	if (mkdir(dir, 0700) < 0)
		return errno == EEXIST ? 0 : -errno;
	return chown(dir, uid, gid) < 0 ? -errno : 0;
}

/* Let the daemon check its part, or take it. */
static int import_part(struct restore *s, size_t n, bool check, struct failure *f)
{
	const struct part *part = &parts[n];
	_cleanup_free_ char *dir = state_path(s, part), *text = NULL;
	char program[4200];
	char *argv[10];
	json_t *answer = NULL;
	size_t k = 0;
	uid_t uid;
	gid_t gid;
	int r;

	if (!dir || !daemon_program(program, sizeof(program), part->daemon))
		return failure_set(f, EXIT_FAILED, ERROR_NO_SUCH_FILE,
				   "It belongs beside this program or in /usr/libexec/handfast.",
				   "there is no program %s", part->daemon);
	find_owner(part, dir, &uid, &gid);
	if (!check) {
		r = make_state_dir(dir, uid, gid);
		if (r)
			return failure_set(f, EXIT_FAILED, ERROR_FILE, NULL, "cannot make %s: %s", dir,
					   strerror(-r));
	}
	argv[k++] = program;
	argv[k++] = (char *)"--import";
	argv[k++] = (char *)"--state-dir";
	argv[k++] = dir;
	argv[k++] = (char *)"--runtime-dir";
	argv[k++] = (char *)(uintptr_t)s->c->runtime_dir;
	if (ctl_flag(s->c, "replace"))
		argv[k++] = (char *)"--replace";
	if (check)
		argv[k++] = (char *)"--check";
	argv[k] = NULL;
	r = run_import(program, argv, s->part_fds[n], uid, gid, &text);
	if (r == 0 && text && json_parse(&answer, text, strlen(text), &limits) == 0) {
		json_object_set_new(s->imported, part->daemon, answer);
		return EXIT_DONE;
	}
	json_decref(answer);
	/* What a running daemon has is seen once it is stopped. */
	if (r == IMPORT_RUNNING && ctl_flag(s->c, "dry-run"))
		return EXIT_DONE;
	return failure_set(f, EXIT_FAILED, ERROR_REFUSED, check ? "Nothing was changed." : NULL, "%s: %s", part->daemon,
			   r < 0 ? strerror(-r) : text && *text ? text : "it did not take its part");
}

/* ---- units ---- */

/* systemctl VERB UNIT, quietly: its exit code. */
static int systemctl(const char *verb, const char *unit)
{
	char *argv[] = { (char *)"systemctl", (char *)"--quiet", (char *)(uintptr_t)verb,
			 (char *)(uintptr_t)unit, NULL };
	posix_spawn_file_actions_t actions;
	int status = 0, r;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
	r = posix_spawnp(&pid, "systemctl", &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (r)
		return 127;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* Only what is installed is systemd's to stop; instances with folders of their own are whoever's they are. */
static bool has_units(const struct restore *s)
{
	return strcmp(s->state_dir, STATE_DIR) == 0 && strcmp(s->c->runtime_dir, RUNTIME_DIR) == 0 &&
	       access("/run/systemd/system", F_OK) == 0;
}

static int stop_units(struct restore *s, struct failure *f)
{
	if (!has_units(s))
		return EXIT_DONE;
	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		s->was_active[i] = systemctl("is-active", units[i]) == 0;
	s->stopped = true;
	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (s->was_active[i] && systemctl("stop", units[i]) != 0)
			return failure_set(f, EXIT_FAILED, ERROR_INTERNAL, "Nothing was changed.",
					   "“systemctl stop %s” failed", units[i]);
	return EXIT_DONE;
}

static void start_units(struct restore *s)
{
	if (!s->stopped)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (s->was_active[i] && systemctl("start", units[i]) != 0)
			json_array_append_new(s->notes, json_sprintf("%s does not start: see “journalctl -u %s”",
								     units[i], units[i]));
	/* They have nothing but configuration. */
	systemctl("try-restart", "relayd.service");
	systemctl("try-restart", "authd.service");
}

/* ---- configuration ---- */

static bool is_same(const char *path, const struct bundle_piece *piece)
{
	_cleanup_free_ char *text = NULL;
	size_t len;

	return file_read(&text, &len, path, 1 << 20) == 0 && len == piece->len && memcmp(text, piece->data, len) == 0;
}

/* Give the present file another name: FILE.handfast-old, or that with a number. */
static int keep_old(struct restore *s, const char *path)
{
	char old[4200];

	for (unsigned int i = 0; i < OLD_TRIES; i++) {
		if (i == 0)
			snprintf(old, sizeof(old), "%s.handfast-old", path);
		else
			snprintf(old, sizeof(old), "%s.handfast-old.%u", path, i);
		if (link(path, old) == 0) {
			json_array_append_new(s->kept, json_string(clean_text(old)));
			return 0;
		}
		if (errno != EEXIST)
			return errno == ENOENT ? 0 : -errno;
	}
	return -EEXIST;
}

static int restore_file(struct restore *s, const struct bundle_piece *piece)
{
	_cleanup_free_ char *path = path_join(s->config_dir, piece->name + strlen("config/"));
	mode_t mode = 0644;
	struct stat st;
	int r;

	if (!path)
		return -ENOMEM;
	if (is_same(path, piece))
		return 0;
	if (stat(path, &st) == 0)
		mode = st.st_mode & 0777;
	r = keep_old(s, path);
	return r ? r : file_write_atomic(path, piece->data, piece->len, mode);
}

static void restore_config(struct restore *s)
{
	_cleanup_free_ char *tunnels = path_join(s->config_dir, "tunnels");
	mode_t old = umask(0022);
	struct bundle_piece piece;
	struct bundle_reader reader;
	int r = tunnels ? file_mkdirs(tunnels, 0755) : -ENOMEM;

	bundle_open(&reader, s->bundle.p, s->bundle.len, NULL);
	while (bundle_next(&reader, &piece) == 1) {
		if (strncmp(piece.name, "config/", strlen("config/")) != 0)
			continue;
		if (!r)
			r = restore_file(s, &piece);
		if (r)
			json_array_append_new(s->notes, json_sprintf("%s/%s was not restored: %s", s->config_dir,
								     piece.name + strlen("config/"), strerror(-r)));
		r = 0;
	}
	umask(old);
}

/* Only these two folders: whatever a backup says, nothing is written elsewhere. */
static bool config_is_known(const char *name)
{
	const char *rest = name + strlen("config/");

	if (strncmp(rest, "tunnels/", strlen("tunnels/")) == 0)
		rest += strlen("tunnels/");
	return !strchr(rest, '/') && strlen(rest) > 5 && strcmp(rest + strlen(rest) - 5, ".yaml") == 0;
}

static int check_config(const struct restore *s, struct failure *f)
{
	struct bundle_piece piece;
	struct bundle_reader reader;

	bundle_open(&reader, s->bundle.p, s->bundle.len, NULL);
	while (bundle_next(&reader, &piece) == 1)
		if (strncmp(piece.name, "config/", strlen("config/")) == 0 && !config_is_known(piece.name))
			return failure_set(f, EXIT_VERIFICATION, ERROR_VERIFICATION, "Nothing was changed.",
					   "the backup holds %s, which is no configuration file", piece.name);
	return EXIT_DONE;
}

/* ---- asking and telling ---- */

static void not_again(const struct json_t *result)
{
	const json_t *peers = json_object_get(result, "peers"), *one;
	size_t i;

	if (json_array_size(peers) > 0) {
		printf("Pair again, for a tunnel:");
		json_array_foreach(peers, i, one)
			printf("%s %s", i ? "," : "", clean_text(json_string_value(one)));
		printf("\n");
	}
	printf("The machine this came from must not go on with the same identity: switch it off, or remove "
	       "its /var/lib/handfast.\n");
}

static void restored_text(const struct ctl *c, const json_t *result)
{
	const json_t *one;
	size_t i;

	printf("Restored from %s:\n", clean_text(ctl_argument(c, 0)));
	backup_contents_text(c, result);
	json_array_foreach(json_object_get(result, "kept"), i, one)
		fact(stdout, &c->style, i ? "" : "kept", "%s", clean_text(json_string_value(one)));
	json_array_foreach(json_object_get(result, "notes"), i, one)
		printf("%s\n", clean_text(json_string_value(one)));
	not_again(result);
}

static void dry_text(const struct ctl *c, const json_t *result)
{
	printf("%s can be restored here. It holds:\n", clean_text(ctl_argument(c, 0)));
	backup_contents_text(c, result);
	printf("Nothing was changed.\n");
}

static int confirm(const struct restore *s, const json_t *contents, struct failure *f)
{
	int r;

	if (ctl_flag(s->c, "yes"))
		return EXIT_DONE;
	if (!s->c->json)
		backup_contents_text(s->c, contents);
	r = terminal_confirm("Make this device what the backup holds?");
	if (r == TERMINAL_E_NONE)
		return failure_set(f, EXIT_USAGE, ERROR_NO_TERMINAL, "Say --yes.",
				   "there is no terminal to ask on whether to restore");
	if (r == TERMINAL_E_INTERRUPTED)
		return failure_set(f, interrupt_exit(), ERROR_INTERRUPTED, NULL, "interrupted; nothing was changed");
	if (r)
		return failure_set(f, EXIT_FAILED, ERROR_DECLINED, NULL, "nothing was changed");
	return EXIT_DONE;
}

/* What tunnels still need: key files that are not there, and words of the administrator. */
static void note_tunnels(struct restore *s, const json_t *contents)
{
	const json_t *one;
	size_t i;

	json_array_foreach(json_object_get(contents, "tunnels"), i, one) {
		const char *name = clean_member(one, "name"), *file = json_get_str(one, "key_file");

		if (file && *file && access(file, F_OK) != 0)
			json_array_append_new(s->notes, json_sprintf("Tunnel %s needs its key file, %s: carry it there.",
								     name, clean_text(file)));
	}
	json_array_foreach(json_object_get(json_object_get(s->imported, PSKD), "needs_burn"), i, one) {
		const char *name = clean_text(json_string_value(one));

		json_array_append_new(s->notes,
				      json_sprintf("Tunnel %s to a prototype peer stays down: say “handfast tunnel burn %s "
						   "--to-slot N” with an N that neither side has reached.", name, name));
	}
}

/* ---- doing ---- */

static int load(struct restore *s, struct failure *f)
{
	_cleanup_(secret_freep) struct secret *passphrase = NULL;
	_cleanup_(pages_done) struct pages sealed = { 0 };
	const char *path = ctl_argument(s->c, 0), *from = ctl_option(s->c, "passphrase-file");
	int r;

	if (strcmp(path, "-") == 0 && from && strcmp(from, "-") == 0)
		return failure_set(f, EXIT_USAGE, ERROR_USAGE, NULL,
				   "the backup and its passphrase cannot both come from standard input");
	r = backup_read(path, &sealed, f);
	if (!r)
		r = backup_check_head(path, &sealed, f);
	if (!r)
		r = backup_passphrase(s->c, false, &passphrase, f);
	if (!r)
		r = backup_open(path, &sealed, passphrase, &s->bundle, f);
	if (!r)
		r = check_config(s, f);
	for (size_t i = 0; !r && i < ARRAY_SIZE(parts); i++)
		if (extract(s, i))
			r = failure_set(f, EXIT_FAILED, ERROR_INTERNAL, NULL, "no memory");
	return r;
}

static int each_part(struct restore *s, bool check, struct failure *f)
{
	int r = EXIT_DONE;

	for (size_t i = 0; !r && i < ARRAY_SIZE(parts); i++)
		if (s->part_fds[i] >= 0)
			r = import_part(s, i, check, f);
	return r;
}

/* From here to the end an interrupt would only leave daemons stopped. */
static int apply(struct restore *s, const json_t *contents, struct failure *f)
{
	int r;

	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	r = stop_units(s, f);
	/* All say yes before one begins. */
	if (!r)
		r = each_part(s, true, f);
	if (!r)
		r = each_part(s, false, f);
	if (!r) {
		restore_config(s);
		note_tunnels(s, contents);
	}
	start_units(s);
	return r;
}

static int may_restore(const struct restore *s, struct failure *f)
{
	if (geteuid() == 0 || strcmp(s->state_dir, STATE_DIR) != 0)
		return EXIT_DONE;
	return failure_set(f, EXIT_PERMISSION, ERROR_NO_PERMISSION, "Say it as root: “sudo handfast restore …”.",
			   "only root may restore a backup");
}

int cmd_restore(struct ctl *c)
{
	_cleanup_(restore_done) struct restore s = { .c = c, .part_fds = { -1, -1 }, .imported = json_object(),
						     .kept = json_array(), .notes = json_array() };
	bool dry = ctl_flag(c, "dry-run");
	struct failure f = { 0 };
	json_t *contents;
	int r;

	s.config_dir = ctl_option(c, "config-dir") ? ctl_option(c, "config-dir") : CONFIG_DIR;
	s.state_dir = ctl_option(c, "state-dir") ? ctl_option(c, "state-dir") : STATE_DIR;
	if (crypto_init() != 0)
		return ctl_fail(c, EXIT_FAILED, ERROR_INTERNAL, NULL, "the cryptographic library does not start");
	r = dry ? EXIT_DONE : may_restore(&s, &f);
	if (!r)
		r = load(&s, &f);
	if (r)
		return ctl_fail_with(c, &f);
	contents = backup_contents(&s.bundle);
	json_object_set_new(contents, "file", json_string(clean_text(ctl_argument(c, 0))));
	if (dry)
		r = each_part(&s, true, &f);
	else
		r = confirm(&s, contents, &f);
	if (!r && dry)
		return ctl_result(c, contents, dry_text);
	if (!r)
		r = apply(&s, contents, &f);
	if (r) {
		json_decref(contents);
		return ctl_fail_with(c, &f);
	}
	json_object_set(contents, "imported", s.imported);
	json_object_set(contents, "kept", s.kept);
	json_object_set(contents, "notes", s.notes);
	return ctl_result(c, contents, restored_text);
}
